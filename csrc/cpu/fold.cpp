// Which kernels this process uses.
#include "fold.h"

#include "fold_kernels.h"
#include "level.h"

#include <algorithm>

namespace ringleader {
namespace {

Level level() {
    static const Level chosen = best_level();
    return chosen;
}

const Kernels& chosen_kernels() {
#if defined(__x86_64__)
    if (level() == Level::avx512) return avx512::kernels;
    if (level() == Level::avx2) return avx2::kernels;
#endif
    return baseline::kernels;
}

size_t entry(Fold fold, Type type) { return size_t(fold) * type_count + size_t(type); }

}  // namespace

size_t size_of(Type type) {
    constexpr uint8_t sizes[type_count] = {1, 1, 1, 2, 2, 4, 4, 8, 8, 2, 2, 4, 8, 8, 16};
    return sizes[size_t(type)];
}

Folder find_folder(Fold fold, Type type) {
    static const Kernels& kernels = chosen_kernels();
    return kernels.folders[entry(fold, type)];
}

void fold_all(Folder folder, size_t size, char* dst, const std::vector<const char*>& from, size_t bytes) {
    // Bytes of each array in turn: the sum in progress stays in the L1 cache, and after longer runs the processor would no
    // longer fetch the other arrays ahead (measured on 8 arrays: 512 bytes take 0.6 to 0.7 of the time of 4096).
    constexpr size_t kRun = 512;
    const size_t run = from.size() > 2 ? kRun : bytes;
    for (size_t at = 0; at < bytes; at += run) {
        const size_t count = std::min(run, bytes - at) / size;
        folder(dst + at, from[0] + at, from[1] + at, count);
        for (size_t i = 2; i < from.size(); ++i) folder(dst + at, dst + at, from[i] + at, count);
    }
}

const char* cpu_level() { return name_of(level()); }

}  // namespace ringleader
