// The kernels for what every processor of the architecture has (x86-64: SSE2).
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "fold_kernels.h"

#define LEVEL 0
namespace ringleader::baseline {
#include "fold_kernels.inc"
}
