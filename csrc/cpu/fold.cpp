// Which kernels this process uses.
#include "fold.h"

#include <cstdlib>
#include <string_view>

#include "fold_kernels.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace ringleader {
namespace {

struct Level {
    const char* name;
    const Kernels* kernels;
};

Level choose_level() {
#if defined(__x86_64__)
    const char* asked = std::getenv("RINGLEADER_CPU");
    const std::string_view most = asked == nullptr ? "avx512" : asked;
    unsigned eax, ebx, ecx = 0, edx;
    __get_cpuid(1, &eax, &ebx, &ecx, &edx);  // __builtin_cpu_supports does not know f16c in every compiler
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && (ecx & bit_F16C) != 0;
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    if (avx512 && most != "avx2" && most != "baseline") return {"avx512", &avx512::kernels};
    if (avx2 && most != "baseline") return {"avx2", &avx2::kernels};
#endif
    return {"baseline", &baseline::kernels};
}

const Level& level() {
    static const Level chosen = choose_level();
    return chosen;
}

size_t entry(Fold fold, Type type) { return size_t(fold) * type_count + size_t(type); }

}  // namespace

size_t size_of(Type type) {
    constexpr uint8_t sizes[type_count] = {1, 1, 1, 2, 2, 4, 4, 8, 8, 2, 2, 4, 8, 8, 16};
    return sizes[size_t(type)];
}

Folder find_folder(Fold fold, Type type) { return level().kernels->folders[entry(fold, type)]; }

const char* cpu_level() { return level().name; }

}  // namespace ringleader
