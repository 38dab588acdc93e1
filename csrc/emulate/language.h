// The words of CUDA C++ that g++ does not know: function and memory spaces, vector types, threadIdx and friends.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "thread.h"

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))

// One block's shared memory exists at a time: blocks run one after another, or it is copied out and in between them
// (scheduler.cpp). So a static variable of the function will do.
#define __shared__ static

#define DYNAMIC_SHARED(T, name) T* name = reinterpret_cast<T*>(emulate::dynamic_shared())

#define threadIdx (emulate::thread_index())
#define blockIdx (emulate::block_index())
#define blockDim (emulate::block_extent())
#define gridDim (emulate::grid_extent())
constexpr int warpSize = 32;

// --- Vector types: aligned to their size, as on a GPU ----------------------------------------------------------------

#define RINGLEADER_VECTOR(T, name, alignment2, alignment4)                                      \
  struct alignas(sizeof(T)) name##1 { T x; };                                                   \
  struct alignas(alignment2) name##2 { T x, y; };                                               \
  struct name##3 { T x, y, z; };                                                                \
  struct alignas(alignment4) name##4 { T x, y, z, w; };                                         \
  inline name##1 make_##name##1(T x) { return {x}; }                                            \
  inline name##2 make_##name##2(T x, T y) { return {x, y}; }                                    \
  inline name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; }                            \
  inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
RINGLEADER_VECTOR(signed char, char, 2, 4)
RINGLEADER_VECTOR(unsigned char, uchar, 2, 4)
RINGLEADER_VECTOR(short, short, 4, 8)
RINGLEADER_VECTOR(unsigned short, ushort, 4, 8)
RINGLEADER_VECTOR(int, int, 8, 16)
RINGLEADER_VECTOR(long long, longlong, 16, 16)
RINGLEADER_VECTOR(unsigned long long, ulonglong, 16, 16)
RINGLEADER_VECTOR(float, float, 8, 16)
RINGLEADER_VECTOR(double, double, 16, 16)
#undef RINGLEADER_VECTOR
struct alignas(4) uint1 { unsigned x; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
inline uint1 make_uint1(unsigned x) { return {x}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint3 make_uint3(unsigned x, unsigned y, unsigned z) { return {x, y, z}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
