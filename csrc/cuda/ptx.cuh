// The PTX instructions that kernels use, one function each: the only place with inline assembly.
//
// Fragments are those of the PTX ISA ("Matrix fragments for mma.m16n8k16" and following): lane l holds, with
// group = l / 4 and pair = l % 4,
//   a (16 x 16, rows): a[0] row group, columns 2 pair, +1;  a[1] row group + 8;  a[2], a[3] the same, columns + 8
//   b (16 x 8, columns): b[0] rows 2 pair, +1 of column group;  b[1] rows + 8
//   d (16 x 8): d[0], d[1] row group, columns 2 pair, +1;  d[2], d[3] row group + 8
// cp.async, mma.m16n8k16 and tf32 need compute capability 8.0: kernels that use them say `least=80`.
#pragma once

#include "common.cuh"

#ifdef RINGLEADER_EMULATE
#include "ptx.h"  // of csrc/emulate
#else

// --- cp.async: global to shared memory, past the registers -----------------------------------------------------------

// Starts copying BYTES (4, 8 or 16; both addresses multiples of it); writes zeros, and does not read, if not wanted.
template <int BYTES>
__device__ __forceinline__ void cp_async(void* shared, const void* global, bool wanted = true) {
  static_assert(BYTES == 4 || BYTES == 8 || BYTES == 16, "cp.async copies 4, 8 or 16 bytes");
  const uint32_t to = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  const int bytes = wanted ? BYTES : 0;
  if constexpr (BYTES == 16) {  // past L1, which has no use for what goes to shared memory
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(global), "r"(bytes) : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(to), "l"(global), "n"(BYTES), "r"(bytes)
                 : "memory");
  }
}

// Closes a group of this thread's copies.
__device__ __forceinline__ void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Until at most PENDING of this thread's latest groups are under way. Other threads' copies need __syncthreads besides.
template <int PENDING>
__device__ __forceinline__ void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

// --- ldmatrix: 8 x 8 matrices of 16-bit numbers from shared memory ---------------------------------------------------

// Lane l gives the address of row l % 8 of matrix l / 8 (x2: lanes 0 to 15 count): 16 bytes, a multiple of 16.
// It gets row l / 4, columns 2 (l % 4), +1 of each; with _trans, of the transposed matrices.
#define RINGLEADER_LDMATRIX_X4(name, transposed)                                                            \
  __device__ __forceinline__ void name(uint32_t (&r)[4], const void* row) {                                 \
    const uint32_t from = static_cast<uint32_t>(__cvta_generic_to_shared(row));                             \
    asm volatile("ldmatrix.sync.aligned.m8n8.x4" transposed ".shared.b16 {%0, %1, %2, %3}, [%4];"           \
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])                                           \
                 : "r"(from)                                                                                \
                 : "memory");                                                                               \
  }
#define RINGLEADER_LDMATRIX_X2(name, transposed)                                                            \
  __device__ __forceinline__ void name(uint32_t (&r)[2], const void* row) {                                 \
    const uint32_t from = static_cast<uint32_t>(__cvta_generic_to_shared(row));                             \
    asm volatile("ldmatrix.sync.aligned.m8n8.x2" transposed ".shared.b16 {%0, %1}, [%2];"                   \
                 : "=r"(r[0]), "=r"(r[1])                                                                   \
                 : "r"(from)                                                                                \
                 : "memory");                                                                               \
  }
RINGLEADER_LDMATRIX_X4(ldmatrix_x4, "")
RINGLEADER_LDMATRIX_X4(ldmatrix_x4_trans, ".trans")
RINGLEADER_LDMATRIX_X2(ldmatrix_x2, "")
RINGLEADER_LDMATRIX_X2(ldmatrix_x2_trans, ".trans")
#undef RINGLEADER_LDMATRIX_X4
#undef RINGLEADER_LDMATRIX_X2

// --- mma: d += a b, sums in float ------------------------------------------------------------------------------------

#define RINGLEADER_MMA(shape_and_types)                                                                     \
  asm volatile("mma.sync.aligned." shape_and_types " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "        \
               "{%0, %1, %2, %3};"                                                                          \
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                                             \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]))

// T: __half or __nv_bfloat16, two in a register.
template <typename T>
__device__ __forceinline__ void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);
template <>
__device__ __forceinline__ void mma_m16n8k16<__half>(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  RINGLEADER_MMA("m16n8k16.row.col.f32.f16.f16.f32");
}
template <>
__device__ __forceinline__ void mma_m16n8k16<__nv_bfloat16>(float (&d)[4], const uint32_t (&a)[4],
                                                            const uint32_t (&b)[2]) {
  RINGLEADER_MMA("m16n8k16.row.col.f32.bf16.bf16.f32");
}

// a (16 x 8): a[0] row group, column pair; a[1] row group + 8; a[2], a[3] the same, column + 4.
// b (8 x 8): b[0] row pair of column group; b[1] row + 4. Registers are of to_tf32().
__device__ __forceinline__ void mma_m16n8k8_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  RINGLEADER_MMA("m16n8k8.row.col.f32.tf32.tf32.f32");
}
#undef RINGLEADER_MMA

// Rounded to 10 bits of mantissa, to nearest, ties away from zero.
__device__ __forceinline__ uint32_t to_tf32(float value) {
  uint32_t rounded;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(value));
  return rounded;
}

#endif

// load_pack from L2: what other blocks wrote before a grid barrier, of which this multiprocessor's L1 may hold an old copy.
template <typename T>
__device__ __forceinline__ Pack<T> load_pack_l2(const T* from) {
#ifdef RINGLEADER_EMULATE
  return load_pack(from);
#else
  uint4 bits;
  asm volatile("ld.global.cg.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(bits.x), "=r"(bits.y), "=r"(bits.z), "=r"(bits.w)
               : "l"(from)
               : "memory");
  return reinterpret_cast<const Pack<T>&>(bits);
#endif
}
