// The kernels for what every processor of the architecture has (x86-64: SSE2).
#include <cstddef>
#include <cstdint>

#include "kernels.h"

#define LEVEL 0
namespace ringleader::kernels::baseline {
#include "kernels.inc"
}
