// Matrix products of the persistent recurrent kernels: rows of weights that stay in a block's shared memory, times vectors
// of which all blocks have written parts.
//
// Cut over a block's warps: groups of 16 sequences (a "group"), and for each group the sum over k (a "split"). The splits'
// partial sums meet in shared memory.
#pragma once

#include "common.cuh"
#include "ptx.cuh"

constexpr int WARPS = 8, THREADS = 32 * WARPS;
constexpr int GROUP = 16;       // sequences of a warp's product
constexpr int PAD = 4;          // numbers between the partial sums of one sequence and the next, against bank conflicts
constexpr int K_MULTIPLE = 32;  // the exchanged vectors are padded with zeros to a multiple of this

// --- A warp's product: partial[s][r] = sum over its k of weights[r][k] vectors[s][k] ------------------------------------------

// On tensor cores, for __half and __nv_bfloat16. Which k a lane's registers stand for does not matter to the sum, as long
// as it is the same for both operands: lane l takes 8 neighbouring ones, k = 8 (l % 4), of row or sequence l / 4 by a load
// of 16 bytes, and hands them to two mma: elements 0 to 3 and 4 to 7.
template <typename T, int ROWS_>
struct TensorCores {
  using Element = T;
  static constexpr int ROWS = ROWS_, K_BLOCK = 32, TILES = ROWS / 16, AHEAD = 4;
  static_assert(ROWS % 16 == 0, "an mma has 16 rows");

  // Where weights(row, k .. k + 7) are, in the order in which lanes load them: nothing conflicts.
  template <typename Weight>
  static __device__ __forceinline__ void keep(Pack<T>* kept, int depth, Weight weight) {
    for (int at = threadIdx.x; at < ROWS * depth / 8; at += THREADS) {
      const int lane = at % 32, half = at / 32 % 2, tile = at / 64 % TILES, block = at / (64 * TILES);
      Pack<T> pack;
      for (int i = 0; i < 8; i++) {
        pack[i] = weight(tile * 16 + half * 8 + lane / 4, block * K_BLOCK + lane % 4 * 8 + i);
      }
      kept[at] = pack;
    }
  }

  static __device__ __forceinline__ uint32_t pair(const Pack<T>& pack, int i) {
    return reinterpret_cast<const uint32_t*>(&pack)[i];
  }

  // Blocks first to last of K_BLOCK; vectors (16, depth).
  static __device__ __forceinline__ void multiply(const Pack<T>* kept, const T* vectors, int depth, int first, int last,
                                                  float* partial) {
    const int lane = threadIdx.x % 32, row = lane / 4, quarter = lane % 4;
    float sums[TILES][2][4] = {};
    for (int block = first; block < last; block += AHEAD) {
      Pack<T> columns[AHEAD][2];  // all loads under way before the first is needed
#pragma unroll
      for (int i = 0; i < AHEAD; i++) {
        if (block + i >= last) break;
#pragma unroll
        for (int j = 0; j < 2; j++) {
          const T* vector = vectors + size_t(row + 8 * j) * depth;
          columns[i][j] = load_pack_l2(vector + (block + i) * K_BLOCK + 8 * quarter);
        }
      }
#pragma unroll
      for (int i = 0; i < AHEAD; i++) {
        if (block + i >= last) break;
#pragma unroll
        for (int tile = 0; tile < TILES; tile++) {
          const Pack<T>* rows = kept + ((block + i) * TILES + tile) * 64 + lane;
          const Pack<T> low = rows[0], high = rows[32];
#pragma unroll
          for (int half = 0; half < 4; half += 2) {
            const uint32_t a[4] = {pair(low, half), pair(high, half), pair(low, half + 1), pair(high, half + 1)};
#pragma unroll
            for (int j = 0; j < 2; j++) {
              const uint32_t b[2] = {pair(columns[i][j], half), pair(columns[i][j], half + 1)};
              mma_m16n8k16<T>(sums[tile][j], a, b);
            }
          }
        }
      }
    }
#pragma unroll
    for (int tile = 0; tile < TILES; tile++) {
#pragma unroll
      for (int j = 0; j < 2; j++) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
          partial[(8 * j + 2 * quarter + i % 2) * (ROWS + PAD) + tile * 16 + i / 2 * 8 + row] = sums[tile][j][i];
        }
      }
    }
  }
};

// With FMA, for float and double. Of a block of two packs of k, the lanes 2 i take the first and 2 i + 1 the second; of the
// rows and sequences, lane l takes every fourth, from l / 8 and from l / 2 % 4.
template <typename T, int ROWS_>
struct FusedMultiplyAdd {
  using Element = T;
  static constexpr int ROWS = ROWS_, K_BLOCK = 2 * Pack<T>::size, AHEAD = 2;
  static_assert(ROWS % 4 == 0, "every fourth row");

  template <typename Weight>
  static __device__ __forceinline__ void keep(Pack<T>* kept, int depth, Weight weight) {
    for (int at = threadIdx.x; at < ROWS * depth / Pack<T>::size; at += THREADS) {
      const int which = at % 2, row = at / 2 % ROWS, block = at / (2 * ROWS);
      Pack<T> pack;
      for (int i = 0; i < Pack<T>::size; i++) pack[i] = weight(row, block * K_BLOCK + which * Pack<T>::size + i);
      kept[at] = pack;
    }
  }

  static __device__ __forceinline__ void multiply(const Pack<T>* kept, const T* vectors, int depth, int first, int last,
                                                  T* partial) {
    const int lane = threadIdx.x % 32, which = lane % 2, column = lane / 2 % 4, row = lane / 8;
    T sums[ROWS / 4][4] = {};
    for (int block = first; block < last; block += AHEAD) {
      Pack<T> columns[AHEAD][4];
#pragma unroll
      for (int i = 0; i < AHEAD; i++) {
        if (block + i >= last) break;
#pragma unroll
        for (int j = 0; j < 4; j++) {
          const T* vector = vectors + size_t(column + 4 * j) * depth;
          columns[i][j] = load_pack_l2(vector + (block + i) * K_BLOCK + which * Pack<T>::size);
        }
      }
#pragma unroll
      for (int i = 0; i < AHEAD; i++) {
        if (block + i >= last) break;
#pragma unroll
        for (int r = 0; r < ROWS / 4; r++) {
          const Pack<T> weights = kept[((block + i) * ROWS + row + 4 * r) * 2 + which];
#pragma unroll
          for (int j = 0; j < 4; j++) {
#pragma unroll
            for (int e = 0; e < Pack<T>::size; e++) sums[r][j] = fma_(weights[e], columns[i][j][e], sums[r][j]);
          }
        }
      }
    }
#pragma unroll
    for (int r = 0; r < ROWS / 4; r++) {
#pragma unroll
      for (int j = 0; j < 4; j++) {
        const T both = sums[r][j] + __shfl_xor_sync(0xffffffffu, sums[r][j], 1);
        if (which == 0) partial[(column + 4 * j) * (ROWS + PAD) + row + 4 * r] = both;
      }
    }
  }
};

// --- A block's product: all groups of a round, cut over its warps -------------------------------------------------------------

// As many groups at once as there are warps; the warps that are left share the sums over k.
struct Round {
  int first, groups, splits;  // first group of it

  __device__ __forceinline__ Round(int first, int all_groups)
      : first(first), groups(min_(all_groups - first, WARPS)), splits(WARPS / groups) {}

  // vectors (groups x 16, depth), of which all blocks have written parts.
  template <typename Product>
  __device__ __forceinline__ void multiply(const Pack<typename Product::Element>* kept,
                                           const typename Product::Element* vectors, int depth,
                                           Compute<typename Product::Element>* partials) const {
    const int warp = threadIdx.x / 32, group = warp / splits, split = warp % splits, blocks = depth / Product::K_BLOCK;
    if (group >= groups) return;
    Product::multiply(kept, vectors + size_t(first + group) * GROUP * depth, depth, blocks * split / splits,
                      blocks * (split + 1) / splits, partials + warp * GROUP * (Product::ROWS + PAD));
  }

  template <int ROWS, typename C>
  __device__ __forceinline__ C sum(const C* partials, int row, int sequence) const {
    const int within = sequence - first * GROUP;
    const C* at = partials + (within / GROUP * splits * GROUP + within % GROUP) * (ROWS + PAD) + row;
    C sum = at[0];
#pragma unroll 4
    for (int split = 1; split < splits; split++) sum += at[split * GROUP * (ROWS + PAD)];
    return sum;
  }
};
