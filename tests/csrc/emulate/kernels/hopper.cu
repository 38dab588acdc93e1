// Hopper's barriers, tile copies and products, each against what the PTX ISA says; and what goes wrong without a wait.
#include "hopper.cuh"

// A box of an array of bytes as tma_load leaves it in shared memory; bytes: of the box.
__global__ void fetch(const TensorMap* map, unsigned char* out, int bytes, int column, int row, int head, int batch) {
  DYNAMIC_SHARED(unsigned char, tile);
  uint64_t* const full = reinterpret_cast<uint64_t*>(tile + bytes);
  if (threadIdx.x == 0) {
    mbarrier_init(full, 1);
    mbarrier_init_fence();
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    tensor_map_acquire(map);
    mbarrier_arrive_expect(full, bytes);
    tma_load(tile, map, full, column, row, head, batch);
  }
#ifndef NO_WAIT
  mbarrier_wait(full, 0);
#endif
  for (int i = threadIdx.x; i < bytes; i += blockDim.x) out[i] = tile[i];
}

// One warpgroup: d (64, N) = a (64, K) b, K = 16 STEPS. Rows along K: a is given as it is, b as (N, K); else a as (K, 64) and
// b as (K, N). Tiles lie as tma_load leaves them: slabs of 64 columns.
template <typename T, int N, bool ROWS_ALONG_K, bool A_ROWS_ALONG_K, bool FROM_REGISTERS, int STEPS>
__global__ void product(const T* a, const T* b, float* d) {
  constexpr int K = 16 * STEPS, A_ROWS = A_ROWS_ALONG_K ? 64 : K, A_COLUMNS = A_ROWS_ALONG_K ? K : 64, B_ROWS = ROWS_ALONG_K ? N : K, B_COLUMNS = ROWS_ALONG_K ? K : N;
  DYNAMIC_SHARED(unsigned char, shared);
  T* const a_tile = reinterpret_cast<T*>(shared);
  T* const b_tile = a_tile + 64 * ((K + 63) / 64 * 64);
  const auto place = [](int row, int column, int rows) {  // swizzled, in slabs
    const int in_slab = row * 64 + column % 64;
    return column / 64 * rows * 64 + (in_slab ^ (row % 8) * 8);
  };
  for (int i = threadIdx.x; i < 64 * K; i += 128) {
    a_tile[place(i / A_COLUMNS, i % A_COLUMNS, A_ROWS)] = a[i];
  }
  for (int i = threadIdx.x; i < B_ROWS * B_COLUMNS; i += 128) {
    b_tile[place(i / B_COLUMNS, i % B_COLUMNS, B_ROWS)] = b[i];
  }
  __syncthreads();
  const int lane = threadIdx.x % 32, row = threadIdx.x / 32 * 16 + lane / 4;
  float sum[N / 2];
  for (int i = 0; i < N / 2; i++) sum[i] = 100;  // overwritten: the first product is not added
  wgmma_fence();
  for (int step = 0; step < STEPS; step++) {
    const int k = step * 16;
    const uint64_t b_place = ROWS_ALONG_K ? wgmma_descriptor(b_tile + k / 64 * N * 64 + k % 64)
                                          : wgmma_descriptor(b_tile + k * 64, K * 128);
    if (FROM_REGISTERS) {
      uint32_t part[4];
      for (int i = 0; i < 4; i++) {
        const T* from = a + (row + i % 2 * 8) * K + k + lane % 4 * 2 + i / 2 * 8;
        part[i] = pack_pair<T>(to_compute(from[0]), to_compute(from[1]));
      }
      wgmma<T, !ROWS_ALONG_K>(sum, part, b_place, step > 0);
    } else {
      const uint64_t a_place =
          A_ROWS_ALONG_K ? wgmma_descriptor(a_tile + k / 64 * 64 * 64 + k % 64) : wgmma_descriptor(a_tile + k * 64);
      wgmma<T, !ROWS_ALONG_K, !A_ROWS_ALONG_K>(sum, a_place, b_place, step > 0);
    }
  }
  wgmma_commit();
  wgmma_wait<0>();
  wgmma_hold(sum);
  for (int i = 0; i < N / 2; i++) d[(row + i / 2 % 2 * 8) * N + i / 4 * 8 + lane % 4 * 2 + i % 2] = sum[i];
}

// A producer hands 128 numbers a round to a warp through two stages; each waits for the other by barriers. EARLY: the warp
// says that it has done with a stage before it has read it.
template <bool EARLY>
__global__ void hand_over(const int* x, int* y, int rounds) {
  DYNAMIC_SHARED(int, stages);
  uint64_t *const full = reinterpret_cast<uint64_t*>(stages + 256), *const empty = full + 2;
  if (threadIdx.x == 0) {
    for (int s = 0; s < 2; s++) {
      mbarrier_init(full + s, 32);
      mbarrier_init(empty + s, 32);
    }
    mbarrier_init_fence();
  }
  __syncthreads();
  const int lane = threadIdx.x % 32;
  for (int round = 0; round < rounds; round++) {
    const int s = round % 2, parity = round / 2 % 2;
    int* const stage = stages + s * 128;
    if (threadIdx.x < 32) {
      mbarrier_wait(empty + s, parity ^ 1);
      for (int i = lane; i < 128; i += 32) stage[i] = x[round * 128 + i];
      mbarrier_arrive(full + s);
    } else {
      mbarrier_wait(full + s, parity);
      if (EARLY) mbarrier_arrive(empty + s);
      for (int i = lane; i < 128; i += 32) y[round * 128 + i] = stage[127 - i];
      if (!EARLY) mbarrier_arrive(empty + s);
    }
  }
}

// Reads a product before it has waited for it.
__global__ void read_early(float* out) {
  DYNAMIC_SHARED(__half, tile);
  for (int i = threadIdx.x; i < 64 * 64; i += 128) tile[i] = from_compute<__half>(1);
  __syncthreads();
  float sum[32] = {};
  wgmma_fence();
  wgmma<__half, false>(sum, wgmma_descriptor(tile), wgmma_descriptor(tile), true);
  wgmma_commit();
  out[threadIdx.x] = sum[0];
  wgmma_wait<0>();
  out[128 + threadIdx.x] = sum[0];
}

// Waits for more bytes than come.
__global__ void expect_too_much(const TensorMap* map) {
  DYNAMIC_SHARED(unsigned char, tile);
  uint64_t* const full = reinterpret_cast<uint64_t*>(tile + 1024);
  if (threadIdx.x == 0) {
    mbarrier_init(full, 1);
    mbarrier_arrive_expect(full, 2048);
    tma_load(tile, map, full, 0, 0, 0, 0);
  }
  __syncthreads();
  mbarrier_wait(full, 0);
}
