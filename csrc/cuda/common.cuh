// What every kernel file starts from: types, 16-byte vectors, reductions, math for float and double.
//
// The same text is compiled by NVRTC for a GPU and by g++ for the emulator (csrc/emulate), which brings the CUDA
// language itself (threadIdx, __syncthreads, __half, ...) in a header of its own.
#pragma once

#ifdef RINGLEADER_EMULATE
#include "cuda.h"  // of csrc/emulate
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>
using uint8_t = unsigned char;
using uint16_t = unsigned short;
using uint32_t = unsigned int;
#endif

// --- Types -----------------------------------------------------------------------------------------------------------

// What arithmetic on stored T is done in: float, and double for double.
template <typename T>
struct ComputeOf {
  using type = float;
};
template <>
struct ComputeOf<double> {
  using type = double;
};
template <typename T>
using Compute = typename ComputeOf<T>::type;

__device__ __forceinline__ float to_compute(float value) { return value; }
__device__ __forceinline__ double to_compute(double value) { return value; }
__device__ __forceinline__ float to_compute(__half value) { return __half2float(value); }
__device__ __forceinline__ float to_compute(__nv_bfloat16 value) { return __bfloat162float(value); }

// Rounds to nearest, ties to even.
template <typename T>
__device__ __forceinline__ T from_compute(Compute<T> value) {
  return value;
}
template <>
__device__ __forceinline__ __half from_compute<__half>(float value) {
  return __float2half_rn(value);
}
template <>
__device__ __forceinline__ __nv_bfloat16 from_compute<__nv_bfloat16>(float value) {
  return __float2bfloat16_rn(value);
}

template <typename T>
constexpr T INFINITY_OF = T(__builtin_bit_cast(float, 0x7f800000));  // of a compute type: float or double
template <typename T>
constexpr T NAN_OF = T(__builtin_bit_cast(float, 0x7fffffff));

// Two numbers in one register, as mma and ldmatrix have them: the first in the lower half. T: __half or __nv_bfloat16.
template <typename T>
__device__ __forceinline__ uint32_t pack_pair(float first, float second);
template <>
__device__ __forceinline__ uint32_t pack_pair<__half>(float first, float second) {
  const __half2 pair = __floats2half2_rn(first, second);
  return reinterpret_cast<const uint32_t&>(pair);
}
template <>
__device__ __forceinline__ uint32_t pack_pair<__nv_bfloat16>(float first, float second) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(first, second);
  return reinterpret_cast<const uint32_t&>(pair);
}

template <typename T>
__device__ __forceinline__ float2 unpack_pair(uint32_t pair);
template <>
__device__ __forceinline__ float2 unpack_pair<__half>(uint32_t pair) {
  return __half22float2(reinterpret_cast<const __half2&>(pair));
}
template <>
__device__ __forceinline__ float2 unpack_pair<__nv_bfloat16>(uint32_t pair) {
  return __bfloat1622float2(reinterpret_cast<const __nv_bfloat162&>(pair));
}

// --- Memory ----------------------------------------------------------------------------------------------------------

// 16 bytes of T: what one thread loads or stores at once. Addresses are multiples of 16 bytes.
template <typename T>
struct alignas(16) Pack {
  static constexpr int size = 16 / sizeof(T);
  T at[size];
  __device__ __forceinline__ T& operator[](int i) { return at[i]; }
  __device__ __forceinline__ const T& operator[](int i) const { return at[i]; }
};

template <typename T>
__device__ __forceinline__ Pack<T> load_pack(const T* from) {
  const uint4 bits = *reinterpret_cast<const uint4*>(from);
  return reinterpret_cast<const Pack<T>&>(bits);
}

template <typename T>
__device__ __forceinline__ void store_pack(T* to, const Pack<T>& pack) {
  *reinterpret_cast<uint4*>(to) = reinterpret_cast<const uint4&>(pack);
}

// T* name: the block's dynamic shared memory (launched with shared=bytes), aligned to 128 bytes. Once a kernel.
#ifndef RINGLEADER_EMULATE
#define DYNAMIC_SHARED(T, name)                                        \
  extern __shared__ __align__(128) unsigned char dynamic_shared_raw[]; \
  T* name = reinterpret_cast<T*>(dynamic_shared_raw)
#endif

// --- Math: one name for float and double -----------------------------------------------------------------------------

#define RINGLEADER_UNARY(name, of_float, of_double)                                  \
  __device__ __forceinline__ float name(float value) { return of_float(value); }     \
  __device__ __forceinline__ double name(double value) { return of_double(value); }
RINGLEADER_UNARY(exp_, expf, exp)
RINGLEADER_UNARY(exp2_, exp2f, exp2)
RINGLEADER_UNARY(fast_exp_, __expf, exp)  // about 2 ulp near 0, more for large |value|
RINGLEADER_UNARY(log_, logf, log)
RINGLEADER_UNARY(log1p_, log1pf, log1p)
RINGLEADER_UNARY(tanh_, tanhf, tanh)
RINGLEADER_UNARY(erf_, erff, erf)
RINGLEADER_UNARY(sqrt_, sqrtf, sqrt)
RINGLEADER_UNARY(rsqrt_, rsqrtf, rsqrt)
RINGLEADER_UNARY(abs_, fabsf, fabs)
#undef RINGLEADER_UNARY

__device__ __forceinline__ float fma_(float a, float b, float c) { return fmaf(a, b, c); }
__device__ __forceinline__ double fma_(double a, double b, double c) { return fma(a, b, c); }

// a b, rounded: a compiler never makes one fma of it and of a sum, as it may of a * b + c.
__device__ __forceinline__ float mul_(float a, float b) { return __fmul_rn(a, b); }
__device__ __forceinline__ double mul_(double a, double b) { return __dmul_rn(a, b); }

// The larger one, not NaN if only one is; the same for min_.
__device__ __forceinline__ float max_(float a, float b) { return fmaxf(a, b); }
__device__ __forceinline__ double max_(double a, double b) { return fmax(a, b); }
__device__ __forceinline__ int max_(int a, int b) { return a < b ? b : a; }
__device__ __forceinline__ float min_(float a, float b) { return fminf(a, b); }
__device__ __forceinline__ double min_(double a, double b) { return fmin(a, b); }
__device__ __forceinline__ int min_(int a, int b) { return b < a ? b : a; }

// --- Reductions: always in the same order, so results are the same bits in every run ---------------------------------

// Over WIDTH neighbouring lanes (a power of two); all of them get it. All 32 lanes must call.
template <int WIDTH = 32, typename T>
__device__ __forceinline__ T warp_sum(T value) {
#pragma unroll
  for (int offset = WIDTH / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffu, value, offset);
  return value;
}

template <int WIDTH = 32, typename T>
__device__ __forceinline__ T warp_max(T value) {
#pragma unroll
  for (int offset = WIDTH / 2; offset > 0; offset /= 2) {
    value = max_(value, __shfl_xor_sync(0xffffffffu, value, offset));
  }
  return value;
}

// Over a block of BLOCK threads along x (a multiple of 32); all of them must call and get it.
template <int BLOCK, typename T>
__device__ __forceinline__ T block_sum(T value) {
  static_assert(BLOCK % 32 == 0 && BLOCK <= 1024, "a block is whole warps");
  __shared__ T partial[BLOCK / 32];
  value = warp_sum(value);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
  __syncthreads();
  T sum = partial[0];
#pragma unroll
  for (int warp = 1; warp < BLOCK / 32; warp++) sum += partial[warp];
  __syncthreads();  // the next call may write to partial
  return sum;
}

template <int BLOCK, typename T>
__device__ __forceinline__ T block_max(T value) {
  static_assert(BLOCK % 32 == 0 && BLOCK <= 1024, "a block is whole warps");
  __shared__ T partial[BLOCK / 32];
  value = warp_max(value);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
  __syncthreads();
  T largest = partial[0];
#pragma unroll
  for (int warp = 1; warp < BLOCK / 32; warp++) largest = max_(largest, partial[warp]);
  __syncthreads();  // the next call may write to partial
  return largest;
}

// --- Waiting for other blocks: only for grids that fit the GPU at once -----------------------------------------------

// What a loop that waits for another block reads: `while (poll(flag) < wanted) {}`. The emulator runs other blocks here.
#ifndef RINGLEADER_EMULATE
__device__ __forceinline__ unsigned poll(const unsigned* address) {
  return *reinterpret_cast<const volatile unsigned*>(address);
}
#endif

// grid_barrier in two halves, for work between them that waits for no other block. All threads call both; what arrive
// returns is what wait takes.
__device__ __forceinline__ unsigned grid_arrive(unsigned* counter) {
  __syncthreads();
  if (threadIdx.x != 0 || threadIdx.y != 0 || threadIdx.z != 0) return 0;
  const unsigned blocks = gridDim.x * gridDim.y * gridDim.z;
  __threadfence();
  const unsigned ticket = atomicAdd(counter, 1u);
  return (ticket / blocks + 1) * blocks;
}

__device__ __forceinline__ void grid_wait(const unsigned* counter, unsigned wanted) {
  if (threadIdx.x == 0 && threadIdx.y == 0 && threadIdx.z == 0) {
    while (poll(counter) < wanted) {
    }
    __threadfence();
  }
  __syncthreads();
}

// All threads of all blocks wait here; what any wrote to global memory before it, all read after it (not through __ldg).
// *counter is 0 before the launch and used by nothing else.
__device__ __forceinline__ void grid_barrier(unsigned* counter) { grid_wait(counter, grid_arrive(counter)); }
