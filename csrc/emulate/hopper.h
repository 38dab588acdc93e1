// What csrc/cuda/hopper.cuh has of Hopper, on the emulator: the same functions, over the runtime in hopper.cpp.
#pragma once

#include "ptx.h"
#include "warpgroup.h"

#define RINGLEADER_SITE emulate::Site site = emulate::here()

inline void mbarrier_init(uint64_t* barrier, unsigned arrivals, RINGLEADER_SITE) {
  emulate::mbarrier_init(barrier, arrivals, site);
}
inline void async_fence() {}
inline void mbarrier_init_fence() {}
inline void mbarrier_arrive(uint64_t* barrier, RINGLEADER_SITE) { emulate::mbarrier_arrive(barrier, 0, site); }
inline void mbarrier_arrive_expect(uint64_t* barrier, unsigned bytes, RINGLEADER_SITE) {
  emulate::mbarrier_arrive(barrier, bytes, site);
}
inline void mbarrier_wait(uint64_t* barrier, unsigned parity, RINGLEADER_SITE) {
  emulate::mbarrier_wait(barrier, parity, site);
}

inline void tensor_map_acquire(const TensorMap*) {}
inline void tma_load(void* shared, const TensorMap* map, uint64_t* barrier, int column, int row, int head, int batch,
                     RINGLEADER_SITE) {
  emulate::tma_load(shared, map, barrier, {column, row, head, batch}, site);
}

template <int REGISTERS>
inline void fewer_registers() {}
template <int REGISTERS>
inline void more_registers() {}

inline void wgmma_fence() {}
inline void wgmma_commit() { emulate::wgmma_commit(); }
template <int PENDING>
inline void wgmma_wait(RINGLEADER_SITE) {
  emulate::wgmma_wait(PENDING, site);
}
template <int N>
inline void wgmma_hold(float (&)[N]) {}

inline uint64_t wgmma_descriptor(const void* at, unsigned slab_bytes = 16) {
  return uint64_t((emulate::shared_address(at) & 0x3ffff) >> 4) | uint64_t(slab_bytes >> 4) << 16 |
         uint64_t(1024 >> 4) << 32 | uint64_t(1) << 62;
}
template <typename T, bool TRANSPOSED_B, bool TRANSPOSED_A = false, int N>
inline void wgmma(float (&d)[N], uint64_t a, uint64_t b, bool add, RINGLEADER_SITE) {
  emulate::wgmma({d, 2 * N, nullptr, a, b, TRANSPOSED_A, TRANSPOSED_B, add, emulate::FactorOf<T>::value}, site);
}
template <typename T, bool TRANSPOSED_B, int N>
inline void wgmma(float (&d)[N], const uint32_t (&a)[4], uint64_t b, bool add, RINGLEADER_SITE) {
  emulate::wgmma({d, 2 * N, a, 0, b, false, TRANSPOSED_B, add, emulate::FactorOf<T>::value}, site);
}
#undef RINGLEADER_SITE
