// The PTX instructions of csrc/cuda/ptx.cuh on the emulator: the same functions, over the runtime in ptx.cpp.
#pragma once

#include "tensor.h"

namespace emulate {

template <typename T>
struct FactorOf;
template <>
struct FactorOf<__half> {
  static constexpr Factor value = Factor::half;
};
template <>
struct FactorOf<__nv_bfloat16> {
  static constexpr Factor value = Factor::bfloat16;
};

}  // namespace emulate

#define RINGLEADER_SITE emulate::Site site = emulate::here()

template <int BYTES>
inline void cp_async(void* shared, const void* global, bool wanted = true, RINGLEADER_SITE) {
  static_assert(BYTES == 4 || BYTES == 8 || BYTES == 16, "cp.async copies 4, 8 or 16 bytes");
  emulate::cp_async(shared, global, BYTES, wanted, site);
}
inline void cp_async_commit() { emulate::cp_async_commit(); }
template <int PENDING>
inline void cp_async_wait() {
  emulate::cp_async_wait(PENDING);
}

inline void ldmatrix_x4(uint32_t (&r)[4], const void* row, RINGLEADER_SITE) {
  emulate::ldmatrix(r, row, 4, false, "ldmatrix_x4", site);
}
inline void ldmatrix_x4_trans(uint32_t (&r)[4], const void* row, RINGLEADER_SITE) {
  emulate::ldmatrix(r, row, 4, true, "ldmatrix_x4_trans", site);
}
inline void ldmatrix_x2(uint32_t (&r)[2], const void* row, RINGLEADER_SITE) {
  emulate::ldmatrix(r, row, 2, false, "ldmatrix_x2", site);
}
inline void ldmatrix_x2_trans(uint32_t (&r)[2], const void* row, RINGLEADER_SITE) {
  emulate::ldmatrix(r, row, 2, true, "ldmatrix_x2_trans", site);
}

template <typename T>
inline void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], RINGLEADER_SITE) {
  emulate::mma(d, a, b, emulate::FactorOf<T>::value, "mma_m16n8k16", site);
}
inline void mma_m16n8k8_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], RINGLEADER_SITE) {
  emulate::mma(d, a, b, emulate::Factor::tf32, "mma_m16n8k8_tf32", site);
}

// Adding half of the last place kept and cutting the rest off rounds ties away from zero.
inline uint32_t to_tf32(float value) {
  const uint32_t bits = emulate::bit_cast<uint32_t>(value);
  if ((bits & 0x7f800000) == 0x7f800000) return bits;  // infinite, NaN
  return (bits + 0x1000) & 0xffffe000;
}
#undef RINGLEADER_SITE
