// The instruction sets for which kernels are compiled, and the best that this process may use.
#pragma once

#include <cstdlib>
#include <string_view>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace ringleader {

enum class Level { baseline, avx2, avx512 };

// What the processor has; the environment variable RINGLEADER_CPU=baseline|avx2 lowers it.
inline Level best_level() {
#if defined(__x86_64__)
    const char* asked = std::getenv("RINGLEADER_CPU");
    const std::string_view most = asked == nullptr ? "avx512" : asked;
    unsigned eax, ebx, ecx = 0, edx;
    __get_cpuid(1, &eax, &ebx, &ecx, &edx);  // __builtin_cpu_supports does not know f16c in every compiler
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && (ecx & bit_F16C) != 0;
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    if (avx512 && most != "avx2" && most != "baseline") return Level::avx512;
    if (avx2 && most != "baseline") return Level::avx2;
#endif
    return Level::baseline;
}

inline const char* name_of(Level level) {
    return level == Level::avx512 ? "avx512" : level == Level::avx2 ? "avx2" : "baseline";
}

}  // namespace ringleader
