// Tensor-core instructions, each against what the PTX ISA says, and a product of matrices out of all of them.
#include "common.cuh"
#include "ptx.cuh"

// One warp: d (16 x 8) = a (16 x 16) b (16 x 8), fragments filled by the definition.
template <typename T>
__global__ void product(const T* a, const T* b, float* d) {
  const int group = threadIdx.x / 4, pair = threadIdx.x % 4;
  uint32_t a_part[4], b_part[2];
  for (int i = 0; i < 4; i++) {
    const T* from = a + (group + i % 2 * 8) * 16 + pair * 2 + i / 2 * 8;
    a_part[i] = *reinterpret_cast<const uint32_t*>(from);
  }
  for (int i = 0; i < 2; i++) {
    const T* from = b + (pair * 2 + i * 8) * 8 + group;
    b_part[i] = pack_pair<T>(to_compute(from[0]), to_compute(from[8]));
  }
  float sum[4] = {1, 1, 1, 1};
  mma_m16n8k16<T>(sum, a_part, b_part);
  for (int i = 0; i < 4; i++) d[(group + i / 2 * 8) * 8 + pair * 2 + i % 2] = sum[i];
}

// d (16 x 8) = a (16 x 8) b (8 x 8), in tf32.
__global__ void product_tf32(const float* a, const float* b, float* d) {
  const int group = threadIdx.x / 4, pair = threadIdx.x % 4;
  const uint32_t a_part[4] = {to_tf32(a[group * 8 + pair]), to_tf32(a[(group + 8) * 8 + pair]),
                              to_tf32(a[group * 8 + pair + 4]), to_tf32(a[(group + 8) * 8 + pair + 4])};
  const uint32_t b_part[2] = {to_tf32(b[pair * 8 + group]), to_tf32(b[(pair + 4) * 8 + group])};
  float sum[4] = {};
  mma_m16n8k8_tf32(sum, a_part, b_part);
  for (int i = 0; i < 4; i++) d[(group + i / 2 * 8) * 8 + pair * 2 + i % 2] = sum[i];
}

// matrices (4 x 8 x 8) of 16-bit numbers; out (12 x 32): the registers of x4, x4_trans, x2, x2_trans.
__global__ void load_matrices(const uint4* matrices, uint32_t* out) {
  __shared__ uint4 rows[32];
  rows[threadIdx.x] = matrices[threadIdx.x];
  __syncwarp();
  uint32_t four[4], two[2];
  ldmatrix_x4(four, &rows[threadIdx.x]);
  for (int i = 0; i < 4; i++) out[i * 32 + threadIdx.x] = four[i];
  ldmatrix_x4_trans(four, &rows[threadIdx.x]);
  for (int i = 0; i < 4; i++) out[(4 + i) * 32 + threadIdx.x] = four[i];
  ldmatrix_x2(two, &rows[threadIdx.x % 16]);
  for (int i = 0; i < 2; i++) out[(8 + i) * 32 + threadIdx.x] = two[i];
  ldmatrix_x2_trans(two, &rows[threadIdx.x % 16]);
  for (int i = 0; i < 2; i++) out[(10 + i) * 32 + threadIdx.x] = two[i];
}

// Copies n floats, 4 a thread, in two groups a round; what lies past n becomes 0.
__global__ void copy_in_groups(const float* x, float* y, int n) {
  __shared__ __align__(16) float buffers[2][128];
  const int rounds = (n + 127) / 128, mine = threadIdx.x * 4;
  const auto fetch = [&](int round) {
    const int at = round * 128 + mine;
    if (round < rounds) cp_async<16>(&buffers[round % 2][mine], x + (at + 4 <= n ? at : 0), at + 4 <= n);
    cp_async_commit();
  };
  fetch(0);
  for (int round = 0; round < rounds; round++) {
    fetch(round + 1);
    cp_async_wait<1>();
    __syncthreads();
    for (int i = 0; i < 4; i++) y[round * 128 + i * 32 + threadIdx.x] = buffers[round % 2][i * 32 + threadIdx.x];
    __syncthreads();
  }
}

// c (M x N) = a (M x K) b (K x N), rows after rows; M, N multiples of 64, K of 32. 4 warps, each a tile of 32 x 32.
// WAIT = false is a planted bug.
template <typename T, bool WAIT>
__global__ void __launch_bounds__(128) multiply(const T* a, const T* b, float* c, int N, int K) {
  constexpr int A_ROW = 40, B_ROW = 72;  // elements: no bank conflicts for ldmatrix
  DYNAMIC_SHARED(T, a_tile);             // 64 rows of 32, then 32 rows of 64 of b
  T* b_tile = a_tile + 64 * A_ROW;
  const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
  const int row = warp / 2 * 32, column = warp % 2 * 32;
  float sums[2][4][4] = {};
  for (int k0 = 0; k0 < K; k0 += 32) {
    for (int i = thread; i < 256; i += 128) {
      const int r = i / 4, k = i % 4 * 8;
      cp_async<16>(a_tile + r * A_ROW + k, a + (blockIdx.y * 64 + r) * K + k0 + k);
    }
    for (int i = thread; i < 256; i += 128) {
      const int k = i / 8, n = i % 8 * 8;
      cp_async<16>(b_tile + k * B_ROW + n, b + (k0 + k) * N + blockIdx.x * 64 + n);
    }
    cp_async_commit();
    if (WAIT) cp_async_wait<0>();
    __syncthreads();
    for (int k = 0; k < 32; k += 16) {
      uint32_t a_part[2][4], b_part[4][2];
      for (int i = 0; i < 2; i++) {
        ldmatrix_x4(a_part[i], a_tile + (row + i * 16 + lane % 16) * A_ROW + k + lane / 16 * 8);
      }
      for (int j = 0; j < 4; j++) ldmatrix_x2_trans(b_part[j], b_tile + (k + lane % 16) * B_ROW + column + j * 8);
      for (int i = 0; i < 2; i++) {
        for (int j = 0; j < 4; j++) mma_m16n8k16<T>(sums[i][j], a_part[i], b_part[j]);
      }
    }
    __syncthreads();
  }
  for (int i = 0; i < 2; i++) {
    for (int j = 0; j < 4; j++) {
      float* to = c + (blockIdx.y * 64 + row + i * 16 + lane / 4) * N + blockIdx.x * 64 + column + j * 8 + lane % 4 * 2;
      to[0] = sums[i][j][0];
      to[1] = sums[i][j][1];
      to[8 * N] = sums[i][j][2];
      to[8 * N + 1] = sums[i][j][3];
    }
  }
}
