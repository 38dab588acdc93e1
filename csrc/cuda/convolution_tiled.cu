// Convolution as a product of matrices in tiles, on the ordinary arithmetic units: exact float32 (and float64), any
// strides of the arrays, any number of channels. See convolution.cuh for the matrices.
//
// Version "tiled": not yet measured.
//
// A block computes a tile of TILE_M x TILE_N elements of the result. Step by step along the summed index it brings
// TILE_K columns of A and rows of B into shared memory, while in registers the next ones are on their way already; each
// thread then adds to its 8 x 4 elements TILE_K outer products.
#include "convolution.cuh"

constexpr int TILE_M = 128, TILE_N = 64, TILE_K = 16, THREADS = 256;
constexpr int THREAD_M = 8, THREAD_N = 4;  // elements of the result a thread computes
constexpr int PAD = 4;                     // keeps rows of 16 bytes aligned, and columns off each other's banks

// One of the two matrices: where its elements are in global memory.
template <typename T>
struct Operand {
  const T* data;
  int height, width;   // pixels outside are 0
  bool along_k;        // whether elements next to each other along the summed index are next to each other in memory

  __device__ Compute<T> at(const Place& fixed, const Place& moving) const {
    const bool inside = unsigned(fixed.h + moving.h) < unsigned(height) &&
                        unsigned(fixed.w + moving.w) < unsigned(width);
    return inside ? to_compute(data[fixed.offset + moving.offset]) : Compute<T>(0);
  }
};

// What a thread brings of a tile of SIZE x TILE_K: element ``entry`` of it, counted along the axis that lies in memory.
template <int SIZE>
struct Entry {
  int fixed, k;
  __device__ Entry(int entry, bool along_k)
      : fixed(along_k ? entry / TILE_K : entry % SIZE), k(along_k ? entry % TILE_K : entry / SIZE) {}
};

// Where the rows of A and columns of B of this block lie (fixed), and where each step along k adds to (moving).
struct Tables {
  Place fixed_a[TILE_M], fixed_b[TILE_N], moving_a[TILE_K], moving_b[TILE_K];
};

template <typename T>
struct Tiles {
  Compute<T> a[TILE_K][TILE_M + PAD], b[TILE_K][TILE_N + PAD];
};

// sums = A B over k_begin <= k < k_end for the block's tile. move(k, a, b) says where column k of A and row k of B lie,
// OUTSIDE from k_end on; tables.fixed_* are filled by the caller, before a barrier.
template <typename T, typename Move>
__device__ void multiply(Compute<T> (&sums)[THREAD_M][THREAD_N], const Operand<T>& a, const Operand<T>& b,
                         Tables& tables, Tiles<T>& tiles, int k_begin, int k_end, Move move) {
  constexpr int SHARE_A = TILE_M * TILE_K / THREADS, SHARE_B = TILE_N * TILE_K / THREADS;
  Compute<T> next_a[SHARE_A], next_b[SHARE_B];
  const int row = threadIdx.x / (TILE_N / THREAD_N) * THREAD_M, column = threadIdx.x % (TILE_N / THREAD_N) * THREAD_N;

  const auto fetch = [&](int k) {
    if (threadIdx.x < TILE_K) move(k + threadIdx.x, tables.moving_a[threadIdx.x], tables.moving_b[threadIdx.x]);
    __syncthreads();
#pragma unroll
    for (int i = 0; i < SHARE_A; ++i) {
      const Entry<TILE_M> e(threadIdx.x + i * THREADS, a.along_k);
      next_a[i] = a.at(tables.fixed_a[e.fixed], tables.moving_a[e.k]);
    }
#pragma unroll
    for (int i = 0; i < SHARE_B; ++i) {
      const Entry<TILE_N> e(threadIdx.x + i * THREADS, b.along_k);
      next_b[i] = b.at(tables.fixed_b[e.fixed], tables.moving_b[e.k]);
    }
  };

  if (k_begin < k_end) fetch(k_begin);
  for (int k = k_begin; k < k_end; k += TILE_K) {
#pragma unroll
    for (int i = 0; i < SHARE_A; ++i) {
      const Entry<TILE_M> e(threadIdx.x + i * THREADS, a.along_k);
      tiles.a[e.k][e.fixed] = next_a[i];
    }
#pragma unroll
    for (int i = 0; i < SHARE_B; ++i) {
      const Entry<TILE_N> e(threadIdx.x + i * THREADS, b.along_k);
      tiles.b[e.k][e.fixed] = next_b[i];
    }
    __syncthreads();
    if (k + TILE_K < k_end) fetch(k + TILE_K);
#pragma unroll
    for (int step = 0; step < TILE_K; ++step) {
      Compute<T> from_a[THREAD_M], from_b[THREAD_N];
#pragma unroll
      for (int i = 0; i < THREAD_M; ++i) from_a[i] = tiles.a[step][row + i];
#pragma unroll
      for (int j = 0; j < THREAD_N; ++j) from_b[j] = tiles.b[step][column + j];
#pragma unroll
      for (int i = 0; i < THREAD_M; ++i)
#pragma unroll
        for (int j = 0; j < THREAD_N; ++j) sums[i][j] = fma_(from_a[i], from_b[j], sums[i][j]);
    }
    __syncthreads();  // the tiles are free again
  }
}

// Forward, or backward-data: result = activation(bias + U(source) filter).
// Grid: (rows / TILE_M, channels / TILE_N, groups and phases).
template <typename T, int PASS>
__global__ void __launch_bounds__(THREADS)
    convolution_tiled(const T* source, const T* weight, const T* bias, T* result, int activation, GEOMETRY_PARAMETERS) {
  __shared__ Tables tables;
  __shared__ Tiles<T> tiles;
  const Geometry g = GEOMETRY;
  const Product product = make_product<PASS>(g, blockIdx.z);
  const int first_row = blockIdx.x * TILE_M, first_column = blockIdx.y * TILE_N;
  if (first_row >= product.source.rows) return;  // the whole block: phases may differ in their number of pixels

  if (threadIdx.x < TILE_M) tables.fixed_a[threadIdx.x] = product.source.pixel(first_row + threadIdx.x);
  if (threadIdx.x < TILE_N) {
    const int channel = first_column + threadIdx.x;
    tables.fixed_b[threadIdx.x] = {channel * product.filter_result, channel < product.results ? 0 : OUTSIDE, 0};
  }
  const Operand<T> a{source, product.source.height, product.source.width, product.source.c == 1};
  const Operand<T> b{weight, 1, 1, product.filter_c == 1};
  Compute<T> sums[THREAD_M][THREAD_N] = {};
  multiply(sums, a, b, tables, tiles, 0, product.source.columns, [&](int k, Place& in_a, Place& in_b) {
    in_a = product.source.tap(k);
    in_b = k < product.source.columns ? Place{product.filter_tap(k), 0, 0} : Place{0, OUTSIDE, 0};
  });

  const int row = first_row + threadIdx.x / (TILE_N / THREAD_N) * THREAD_M;
  const int column = first_column + threadIdx.x % (TILE_N / THREAD_N) * THREAD_N;
#pragma unroll
  for (int i = 0; i < THREAD_M; ++i) {
    if (row + i >= product.source.rows) break;
    const long long to = product.result(row + i);
#pragma unroll
    for (int j = 0; j < THREAD_N; ++j) {
      if (column + j >= product.results) break;
      Compute<T> value = sums[i][j];
      if (bias != nullptr) value += to_compute(bias[product.first_result + column + j]);
      result[to + (column + j) * product.c] = from_compute<T>(activate(value, activation));
    }
  }
}

// Backward-weight: partial[split] = dy^T U(x) over the split's share of the pixels, (splits, O, R S C / groups).
// Grid: (features / TILE_M, taps / TILE_N, groups times splits); convolution_sum_splits adds the splits up.
template <typename T>
__global__ void __launch_bounds__(THREADS)
    convolution_tiled_weight(const T* x, const T* dy, Compute<T>* partial, int pixels_per_split, GEOMETRY_PARAMETERS) {
  __shared__ Tables tables;
  __shared__ Tiles<T> tiles;
  const Geometry g = GEOMETRY;
  const int group = blockIdx.z % g.groups, split = blockIdx.z / g.groups, share = g.feature_share();
  const Unrolled unrolled = unroll_image(g, group);
  const int first_feature = blockIdx.x * TILE_M, first_tap = blockIdx.y * TILE_N;
  const int begin = split * pixels_per_split, end = min_(begin + pixels_per_split, unrolled.rows);

  if (threadIdx.x < TILE_M) {
    const int feature = first_feature + threadIdx.x;
    tables.fixed_a[threadIdx.x] = {(group * share + feature) * g.y_c, feature < share ? 0 : OUTSIDE, 0};
  }
  if (threadIdx.x < TILE_N) tables.fixed_b[threadIdx.x] = unrolled.tap(first_tap + threadIdx.x);
  const Operand<T> a{dy, 1, 1, g.y_c != 1}, b{x, g.height, g.width, g.x_c != 1};
  Compute<T> sums[THREAD_M][THREAD_N] = {};
  multiply(sums, a, b, tables, tiles, begin, end, [&](int k, Place& in_a, Place& in_b) {
    if (k >= end) {
      in_a = in_b = {0, OUTSIDE, OUTSIDE};
      return;
    }
    const int q = k % g.grid_width, p = k / g.grid_width % g.grid_height, n = k / g.grid_width / g.grid_height;
    in_a = {n * g.y_n + p * g.y_h + q * g.y_w, 0, 0};
    in_b = unrolled.pixel(n, p, q);
  });

  const int row = first_feature + threadIdx.x / (TILE_N / THREAD_N) * THREAD_M;
  const int column = first_tap + threadIdx.x % (TILE_N / THREAD_N) * THREAD_N;
  Compute<T>* to = partial + ((long long)split * g.features + group * share) * unrolled.columns;
#pragma unroll
  for (int i = 0; i < THREAD_M; ++i)
#pragma unroll
    for (int j = 0; j < THREAD_N; ++j)
      if (row + i < share && column + j < unrolled.columns)
        to[(long long)(row + i) * unrolled.columns + column + j] = sums[i][j];
}

// dw[o, c, r, s] = the sum of its splits, always in the same order: partial (splits, O, R, S, C / groups).
template <typename T>
__global__ void __launch_bounds__(THREADS)
    convolution_sum_splits(const Compute<T>* partial, T* dw, int splits, GEOMETRY_PARAMETERS) {
  const Geometry g = GEOMETRY;
  const int share = g.channel_share();
  const long long size = (long long)g.features * g.kernel_height * g.kernel_width * share;
  const long long element = (long long)blockIdx.x * THREADS + threadIdx.x;
  if (element >= size) return;
  Compute<T> sum = 0;
  for (int split = 0; split < splits; ++split) sum += partial[split * size + element];
  const int c = element % share, s = element / share % g.kernel_width;
  const int r = element / share / g.kernel_width % g.kernel_height;
  const int o = element / share / g.kernel_width / g.kernel_height;
  dw[o * g.w_o + c * g.w_c + r * g.w_r + s * g.w_s] = from_compute<T>(sum);
}
