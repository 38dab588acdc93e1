// Which kernels this process uses.
#include "../level.h"
#include "kernels.h"

namespace ringleader::kernels {
namespace {

Level level() {
    static const Level chosen = best_level();
    return chosen;
}

const Tables& tables() {
#if defined(__x86_64__)
    if (level() == Level::avx512) return avx512::tables;
    if (level() == Level::avx2) return avx2::tables;
#endif
    return baseline::tables;
}

}  // namespace

template <> const Table<float>& table<float>() { return tables().f32; }
template <> const Table<double>& table<double>() { return tables().f64; }

const char* cpu_level() { return name_of(level()); }

}  // namespace ringleader::kernels
