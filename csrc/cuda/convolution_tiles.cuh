// Products of tiles on tensor cores: how tiles lie in shared memory, how fragments come from there, the loop over them.
//
// A block computes a tile SIZE x SIZE of the result, each warp a part of WARP_M x WARP_N. Along the summed index,
// STAGES tiles of A and B are in shared memory or on their way there (cp.async), 16 bytes a copy. One tile is 64 bytes
// of the summed index for each of SIZE rows or columns of the result.
#pragma once

#include "convolution.cuh"
#include "ptx.cuh"

constexpr int STAGES = 3;
constexpr int STEP_BYTES = 64;                      // of the summed index, in one tile
constexpr int CHUNK_BYTES = 16, CHUNKS = STEP_BYTES / CHUNK_BYTES;
constexpr int COPIES = 2;                           // a thread, of each matrix, for each tile: see Shape

// What follows from the size of a tile of the result and the type.
template <typename T, int SIZE_>
struct Shape {
  static constexpr int SIZE = SIZE_;
  static constexpr int WARP_M = SIZE == 128 ? 64 : 32, WARP_N = 32;
  static constexpr int THREADS = SIZE / WARP_M * (SIZE / WARP_N) * 32;
  static constexpr int CHUNK = CHUNK_BYTES / sizeof(T);  // elements
  static constexpr int STEP = STEP_BYTES / sizeof(T);    // elements of the summed index in a tile
  static constexpr int ROW_CHUNKS = SIZE / CHUNK;        // of a tile that lies along the result
  static constexpr int TILE_BYTES = SIZE * STEP_BYTES;
  static constexpr int COPY_BYTES = TILE_BYTES / COPIES;  // between a thread's copies: a multiple of 8 rows of a tile
  static_assert(TILE_BYTES == COPIES * THREADS * CHUNK_BYTES, "each thread makes COPIES copies");
};

// ---- Tiles in shared memory -----------------------------------------------------------------------------------------
//
// A tile lies either along the summed index, (SIZE, 64 bytes), or along the result, (STEP, SIZE elements), as it lies
// in global memory. The chunks of a row are permuted by the row's number, so that the eight rows that one ldmatrix
// reads (tf32: the 32 numbers of one load) are on different banks.

// Byte where a chunk of row ``line`` lies, along the summed index.
__device__ inline int along_sum(int line, int chunk) {
  return line * STEP_BYTES + (chunk ^ (line >> 1 & 3)) * CHUNK_BYTES;
}

// Byte where a chunk of step ``k`` lies, along the result.
template <typename S, typename T>
__device__ int along_result(int k, int chunk) {
  const int permuted = chunk ^ (sizeof(T) == 2 ? k & 7 : (k & 3) << 1);
  return (k * S::ROW_CHUNKS + permuted) * CHUNK_BYTES;
}

// The four registers of tf32 come from ldmatrix or single loads as they are in memory: round them.
template <typename T, int N>
__device__ void round_fragment(uint32_t (&fragment)[N]) {
  if constexpr (sizeof(T) == 4)
    for (int i = 0; i < N; ++i) fragment[i] = to_tf32(__uint_as_float(fragment[i]));
}

template <typename S, typename T>
__device__ uint32_t load_single(const unsigned char* tile, int k, int line) {
  const int byte = along_result<S, T>(k, line / S::CHUNK) + line % S::CHUNK * int(sizeof(T));
  return *reinterpret_cast<const uint32_t*>(tile + byte);
}

// Fragment a of rows line .. line + 15 for the half (0 or 1) of the tile's summed index.
template <typename S, typename T, bool ALONG_SUM>
__device__ void load_a(uint32_t (&a)[4], const unsigned char* tile, int line, int half) {
  const int lane = threadIdx.x % 32, matrix = lane / 8, row = lane % 8;
  if constexpr (ALONG_SUM) {
    ldmatrix_x4(a, tile + along_sum(line + (matrix & 1) * 8 + row, half * 2 + (matrix >> 1)));
  } else if constexpr (sizeof(T) == 2) {
    const int k = half * 16 + (matrix >> 1) * 8 + row;
    ldmatrix_x4_trans(a, tile + along_result<S, T>(k, line / 8 + (matrix & 1)));
  } else {
    for (int i = 0; i < 4; ++i)
      a[i] = load_single<S, T>(tile, half * 8 + i / 2 * 4 + lane % 4, line + i % 2 * 8 + lane / 4);
  }
  round_fragment<T>(a);
}

// Fragments b of columns line .. line + 7 (b[0], b[1]) and line + 8 .. line + 15 (b[2], b[3]).
template <typename S, typename T, bool ALONG_SUM>
__device__ void load_b(uint32_t (&b)[4], const unsigned char* tile, int line, int half) {
  const int lane = threadIdx.x % 32, matrix = lane / 8, row = lane % 8;
  if constexpr (ALONG_SUM) {
    ldmatrix_x4(b, tile + along_sum(line + (matrix >> 1) * 8 + row, half * 2 + (matrix & 1)));
  } else if constexpr (sizeof(T) == 2) {
    const int k = half * 16 + (matrix & 1) * 8 + row;
    ldmatrix_x4_trans(b, tile + along_result<S, T>(k, line / 8 + (matrix >> 1)));
  } else {
    for (int i = 0; i < 4; ++i)
      b[i] = load_single<S, T>(tile, half * 8 + i % 2 * 4 + lane % 4, line + i / 2 * 8 + lane / 4);
  }
  round_fragment<T>(b);
}

template <typename T>
__device__ void mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  if constexpr (sizeof(T) == 2)
    mma_m16n8k16<T>(d, a, b);
  else
    mma_m16n8k8_tf32(d, a, b);
}

// The sums of one thread: d[i][j] is its fragment of the 16 x 8 elements at (16 i, 8 j) of the warp's part.
template <typename S>
struct Sums {
  float d[S::WARP_M / 16][S::WARP_N / 8][4];

  __device__ static int first_row() { return threadIdx.x / 32 / (S::SIZE / S::WARP_N) * S::WARP_M; }
  __device__ static int first_column() { return threadIdx.x / 32 % (S::SIZE / S::WARP_N) * S::WARP_N; }

  // d += A B for one tile of each.
  template <typename T, bool A_ALONG_SUM, bool B_ALONG_SUM>
  __device__ void add(const unsigned char* tile_a, const unsigned char* tile_b) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      uint32_t a[S::WARP_M / 16][4], b[S::WARP_N / 16][4];
#pragma unroll
      for (int i = 0; i < S::WARP_M / 16; ++i) load_a<S, T, A_ALONG_SUM>(a[i], tile_a, first_row() + 16 * i, half);
#pragma unroll
      for (int j = 0; j < S::WARP_N / 16; ++j) load_b<S, T, B_ALONG_SUM>(b[j], tile_b, first_column() + 16 * j, half);
#pragma unroll
      for (int i = 0; i < S::WARP_M / 16; ++i)
#pragma unroll
        for (int j = 0; j < S::WARP_N / 8; ++j) mma<T>(d[i][j], a[i], {b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]});
    }
  }

  // Where the 8 columns are that ``each`` gives to this thread.
  __device__ static int column_of_eight() { return first_column() + threadIdx.x % 4 * 8; }

  // visit(row, column, values): each 8 neighbouring elements of a row, by their place in the block's tile.
  template <typename Visit>
  __device__ void each(Visit visit) const {
    static_assert(S::WARP_N == 32, "four lanes hold four times two columns of a row");
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < S::WARP_M / 16; ++i)
#pragma unroll
      for (int below = 0; below < 2; ++below) {
        float values[4][2];
#pragma unroll
        for (int j = 0; j < 4; ++j) values[j][0] = d[i][j][2 * below], values[j][1] = d[i][j][2 * below + 1];
        transpose(values);
        visit(first_row() + 16 * i + 8 * below + lane / 4, column_of_eight(), &values[0][0]);
      }
  }

  // Lane t of each four has columns 2 t and 2 t + 1 of four fragments, side by side, and gets all 8 columns of fragment
  // t.
  __device__ static void transpose(float (&values)[4][2]) {
#pragma unroll
    for (int bit = 1; bit < 4; bit *= 2) {
      const bool upper = threadIdx.x & bit;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        if (j & bit) continue;
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const float sent = upper ? values[j][i] : values[j | bit][i];
          const float got = __shfl_xor_sync(0xffffffffu, sent, bit);
          (upper ? values[j][i] : values[j | bit][i]) = got;
        }
      }
    }
  }
};

// The loop over ``steps`` tiles: fetch(a, b) starts the thread's copies of the next one. Dynamic shared memory: STAGES
// tiles of A, each followed by one of B.
template <typename S, typename T, bool A_ALONG_SUM, bool B_ALONG_SUM, typename Fetch>
__device__ void pipeline(Sums<S>& sums, unsigned char* shared, int steps, Fetch fetch) {
  const auto stage = [&](int step) { return shared + step % STAGES * 2 * S::TILE_BYTES; };
  for (int step = 0; step < STAGES - 1; ++step) {
    if (step < steps) fetch(stage(step), stage(step) + S::TILE_BYTES);
    cp_async_commit();
  }
  for (int step = 0; step < steps; ++step) {
    cp_async_wait<STAGES - 2>();  // this step's tile, as far as this thread copied it
    __syncthreads();              // as far as all did; and all have done with the tile before
    const int ahead = step + STAGES - 1;
    if (ahead < steps) fetch(stage(ahead), stage(ahead) + S::TILE_BYTES);
    cp_async_commit();
    sums.template add<T, A_ALONG_SUM, B_ALONG_SUM>(stage(step), stage(step) + S::TILE_BYTES);
  }
}

// 16 bytes of T.
__device__ inline void store_chunk(float* to, const float* values) {
  *reinterpret_cast<float4*>(to) = {values[0], values[1], values[2], values[3]};
}
template <typename T>
__device__ void store_chunk(T* to, const float* values) {
  *reinterpret_cast<uint4*>(to) = {pack_pair<T>(values[0], values[1]), pack_pair<T>(values[2], values[3]),
                                   pack_pair<T>(values[4], values[5]), pack_pair<T>(values[6], values[7])};
}
