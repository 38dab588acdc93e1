// Which kernels this process uses.
#include "fold.h"

#include "fold_kernels.h"
#include "level.h"

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

const char* cpu_level() { return name_of(level()); }

}  // namespace ringleader
