// The table of kernels that each instruction set fills: entry fold * type_count + type.
#pragma once

#include "fold.h"

namespace ringleader {

struct Kernels {
    Folder folders[fold_count * type_count];
};

namespace baseline { extern const Kernels kernels; }
#if defined(__x86_64__)
namespace avx2 { extern const Kernels kernels; }
namespace avx512 { extern const Kernels kernels; }
#endif

}  // namespace ringleader
