// The kernels for processors with AVX2 and FMA. Headers come before the target is set: their inline functions must
// stay fit for every processor, because the linker keeps one copy of each for the whole program.
#if defined(__x86_64__)
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels.h"

#define LEVEL 1
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#endif

namespace ringleader::kernels::avx2 {
#include "kernels.inc"
}

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
