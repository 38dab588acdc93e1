// Planted bugs. Each kernel takes BUG: true with it, false repaired. The tests look for the lines marked with "bug:".
#include "common.cuh"
#include "ptx.cuh"

// y = x, each block's 64 reversed.
template <bool BUG>
__global__ void missing_barrier(const float* x, float* y) {
  __shared__ float tile[64];
  tile[threadIdx.x] = x[blockIdx.x * 64 + threadIdx.x];
  if (!BUG) __syncthreads();
  y[blockIdx.x * 64 + threadIdx.x] = tile[63 - threadIdx.x];  // bug: missing_barrier
}

// The tile is written again while others still read it.
template <bool BUG>
__global__ void missing_second_barrier(const float* x, float* y, int rounds) {
  __shared__ float tile[64];
  float sum = 0;
  for (int round = 0; round < rounds; round++) {
    tile[threadIdx.x] = x[round * 64 + threadIdx.x];  // bug: missing_second_barrier
    __syncthreads();
    sum += tile[63 - threadIdx.x];
    if (!BUG) __syncthreads();
  }
  y[threadIdx.x] = sum;
}

template <bool BUG>
__global__ void missing_syncwarp(const float* x, float* y) {
  __shared__ float tile[32];
  tile[threadIdx.x] = x[threadIdx.x];
  if (!BUG) __syncwarp();
  y[threadIdx.x] = tile[31 - threadIdx.x];  // bug: missing_syncwarp
}

template <bool BUG>
__global__ void one_too_far(const float* x, float* y, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (BUG ? i <= n : i < n) y[i] = x[i];  // bug: one_too_far
}

template <bool BUG>
__global__ void past_shared(const float* x, float* y) {
  __shared__ float tile[64];
  __shared__ float neighbour[64];
  neighbour[threadIdx.x] = 0;
  tile[threadIdx.x + BUG] = x[threadIdx.x];  // bug: past_shared
  __syncthreads();
  y[threadIdx.x] = tile[threadIdx.x] + neighbour[threadIdx.x];
}

template <bool BUG>
__global__ void past_dynamic(const float* x, float* y) {
  DYNAMIC_SHARED(float, tile);
  tile[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  y[threadIdx.x] = tile[threadIdx.x + BUG];  // bug: past_dynamic
}

template <bool BUG>
__global__ void uninitialised(const float* x, float* y) {
  __shared__ float sums[64];
  if (!BUG || threadIdx.x < 63) sums[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  y[threadIdx.x] = sums[threadIdx.x];  // bug: uninitialised
}

template <bool BUG>
__global__ void missing_wait(const float* x, float* y) {
  __shared__ __align__(16) float tile[128];
  cp_async<16>(&tile[threadIdx.x * 4], x + threadIdx.x * 4);
  cp_async_commit();
  if (!BUG) cp_async_wait<0>();
  __syncthreads();
  for (int i = 0; i < 4; i++) y[i * 32 + threadIdx.x] = tile[i * 32 + threadIdx.x];  // bug: missing_wait
}

// Two groups under way, and one too many is left so.
template <bool BUG>
__global__ void wait_for_too_few(const float* x, float* y) {
  __shared__ __align__(16) float tile[2][128];
  for (int i = 0; i < 2; i++) {
    cp_async<16>(&tile[i][threadIdx.x * 4], x + i * 128 + threadIdx.x * 4);
    cp_async_commit();
  }
  cp_async_wait<BUG ? 1 : 0>();
  __syncthreads();
  y[threadIdx.x] = tile[1][threadIdx.x];  // bug: wait_for_too_few
}

template <bool BUG>
__global__ void divergent_barrier(float* y) {
  if (BUG && threadIdx.x < 16) {
    y[threadIdx.x] = 1;
    __syncthreads();
  } else {
    y[threadIdx.x] = 2;
    __syncthreads();
  }
  if (!BUG) __syncthreads();
}

template <bool BUG>
__global__ void missing_lane(const float* x, float* y) {
  float value = x[threadIdx.x];
  if (!BUG || threadIdx.x != 7) value += __shfl_xor_sync(0xffffffffu, value, 1);  // bug: missing_lane
  __syncthreads();
  y[threadIdx.x] = value;
}

// All blocks write to the same sum.
template <bool BUG>
__global__ void blocks_collide(float* y) {
  if (threadIdx.x != 0) return;
  if (BUG) {
    y[0] = blockIdx.x;  // bug: blocks_collide
  } else {
    y[blockIdx.x] = blockIdx.x;
  }
}

// A 32 x 32 transpose; a row of 33 has no bank conflicts.
template <bool BUG>
__global__ void bank_conflicts(const float* x, float* y) {
  __shared__ float tile[32][BUG ? 32 : 33];
  tile[threadIdx.y][threadIdx.x] = x[threadIdx.y * 32 + threadIdx.x];
  __syncthreads();
  y[threadIdx.y * 32 + threadIdx.x] = tile[threadIdx.x][threadIdx.y];  // bug: bank_conflicts
}

// The same without shared memory: a column is 32 sectors.
__global__ void strided(const float* x, float* y) {
  y[threadIdx.y * 32 + threadIdx.x] = x[threadIdx.x * 32 + threadIdx.y];  // bug: strided
}

__global__ void wild(float* y, long long far) { y[far + threadIdx.x] = 1; }  // bug: wild

__global__ void deep(float* y, int depth) {
  volatile float room[32 * 1024];  // as much as there is of a stack
  room[depth] = 1;
  y[threadIdx.x] = room[depth];
}
