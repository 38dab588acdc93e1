// Recurrent layers, the persistent version: one launch for all steps (Diamos et al. 2016, "Persistent RNNs"). A block keeps
// its rows of the recurrent weights in shared memory from the first step to the last; what all blocks need of a step, h or
// the gradients of the products, they exchange through global memory (L2), with a grid barrier between steps.
//
// All blocks must be on the GPU at once: the launcher takes no more than there are multiprocessors, one on each. Two such
// launches must not run at the same time in two streams: each could hold what the other waits for.
//
// The product of a step, ROWS rows of weights with all sequences' states, is cut over the block's warps: groups of 16
// sequences (a "group"), and for each group the sum over k (a "split"). The splits' partial sums meet in shared memory.
//
// Measured: not yet measured.
#include "ptx.cuh"
#include "recurrent_cells.cuh"

constexpr int WARPS = 8, THREADS = 32 * WARPS;
constexpr int GROUP = 16;       // sequences of a warp's product
constexpr int PARTIAL = 17;     // numbers from row to row of partial sums: 16, and 1 against bank conflicts
constexpr int K_MULTIPLE = 32;  // the exchanged vectors are padded with zeros to a multiple of this

// --- A warp's product: partial[r][s] = sum over its k of weights[r][k] vectors[s][k] ------------------------------------------

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
      for (int i = 0; i < 8; i++) {
        kept[at][i] = weight(tile * 16 + half * 8 + lane / 4, block * K_BLOCK + lane % 4 * 8 + i);
      }
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
        const int mine = block + i < last ? block + i : first;
#pragma unroll
        for (int j = 0; j < 2; j++) {
          columns[i][j] = load_pack_l2(vectors + size_t(8 * j + row) * depth + mine * K_BLOCK + 8 * quarter);
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
          partial[(tile * 16 + row + i / 2 * 8) * PARTIAL + 8 * j + 2 * quarter + i % 2] = sums[tile][j][i];
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
      for (int i = 0; i < Pack<T>::size; i++) kept[at][i] = weight(row, block * K_BLOCK + which * Pack<T>::size + i);
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
        const int mine = block + i < last ? block + i : first;
#pragma unroll
        for (int j = 0; j < 4; j++) {
          const T* vector = vectors + size_t(column + 4 * j) * depth;
          columns[i][j] = load_pack_l2(vector + mine * K_BLOCK + which * Pack<T>::size);
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
        if (which == 0) partial[(row + 4 * r) * PARTIAL + column + 4 * j] = both;
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
                      blocks * (split + 1) / splits, partials + warp * Product::ROWS * PARTIAL);
  }

  template <int ROWS, typename C>
  __device__ __forceinline__ C sum(const C* partials, int row, int sequence) const {
    const int within = sequence - first * GROUP;
    const C* at = partials + (within / GROUP * splits * ROWS + row) * PARTIAL + within % GROUP;
    C sum = at[0];
    for (int split = 1; split < splits; split++) sum += at[split * ROWS * PARTIAL];
    return sum;
  }
};

// Dynamic shared memory: the weights, then the partial sums, then what is loaded ahead for each sequence and unit.
template <typename Product, typename Ahead>
struct Shared {
  using T = typename Product::Element;
  Pack<T>* weights;
  Compute<T>* partials;
  Ahead* ahead;

  __device__ __forceinline__ Shared(unsigned char* memory, int depth)
      : weights(reinterpret_cast<Pack<T>*>(memory)),
        partials(reinterpret_cast<Compute<T>*>(weights + Product::ROWS * depth / Pack<T>::size)),
        ahead(reinterpret_cast<Ahead*>(partials + WARPS * Product::ROWS * PARTIAL)) {}
};

// --- Kernels ------------------------------------------------------------------------------------------------------------------

// Grid: one block for every `units` units, units G <= Product::ROWS; block: THREADS. padded = H, rounded up to K_MULTIPLE.
// exchange: (2, groups 16, padded), h of the step before and of this one; h_first in the first, zeros elsewhere.
template <typename Cell, typename Product, typename T = typename Product::Element>
__global__ void __launch_bounds__(THREADS, 1)
    persistent_forward(const T* inputs, const T* h_first, const T* c_first, const T* weights, const T* bias,
                       const int* lengths, T* outputs, T* gates, Compute<T>* kept, T* h_last, T* c_last, T* exchange,
                       unsigned* counter, int steps, int count, int hidden, int reverse, int units) {
  using C = Compute<T>;
  constexpr int G = Cell::GATES;
  const Sequences sequences{lengths, steps, count, reverse};
  const Forward<Cell, T> layer{inputs, h_first, c_first, bias,   outputs,   gates,
                               kept,   h_last,  c_last,  sequences, hidden};
  const int padded = (hidden + K_MULTIPLE - 1) / K_MULTIPLE * K_MULTIPLE, groups = (count + GROUP - 1) / GROUP;
  const int first_unit = blockIdx.x * units, own = min_(units, hidden - first_unit);
  DYNAMIC_SHARED(unsigned char, memory);
  const Shared<Product, Unit<Cell, C>> shared(memory, padded);

  Product::keep(shared.weights, padded, [&](int row, int k) {  // row = gate x units + unit
    const int g = row / units, unit = row % units;
    const bool inside = g < G && unit < own && k < hidden;
    return inside ? weights[(size_t(g) * hidden + first_unit + unit) * hidden + k] : from_compute<T>(0);
  });
  const auto load_ahead = [&](int step) {
    for (int at = threadIdx.x; at < count * own; at += THREADS) {
      const int sequence = at / own, row = sequences.row(step, sequence);
      if (row >= 0) layer.load(shared.ahead[at], row, step, sequence, first_unit + at % own);
    }
  };
  load_ahead(0);
  __syncthreads();

  for (int step = 0; step < steps; step++) {
    const T* before = exchange + size_t(step % 2) * groups * GROUP * padded;
    T* after = exchange + size_t((step + 1) % 2) * groups * GROUP * padded;
    for (int first = 0; first < groups; first += WARPS) {
      const Round round(first, groups);
      if (first > 0) __syncthreads();  // the partial sums of the round before have been read
      round.template multiply<Product>(shared.weights, before, padded, shared.partials);
      __syncthreads();
      const int end = min_(count, (first + round.groups) * GROUP) * own;
      for (int at = first * GROUP * own + threadIdx.x; at < end; at += THREADS) {
        const int sequence = at / own, unit = at % own, row = sequences.row(step, sequence);
        if (row < 0) continue;
        C product[G];
        for (int g = 0; g < G; g++) {
          product[g] = round.template sum<Product::ROWS>(shared.partials, g * units + unit, sequence);
        }
        Unit<Cell, C> cell = shared.ahead[at];
        Cell::forward(cell, product);
        layer.store(cell, row, step, sequence, first_unit + unit);
        after[size_t(sequence) * padded + first_unit + unit] = from_compute<T>(cell.hidden);
      }
    }
    if (step + 1 == steps) return;
    const unsigned wanted = grid_arrive(counter);
    load_ahead(step + 1);
    grid_wait(counter, wanted);
  }
}

// Grid: one block for every `units` units, units <= Product::ROWS; block: THREADS. The rows are the units, as the weights'
// columns; k goes over the gates, each padded.
// exchange: (2, groups 16, G padded), the gradients of the products of the step after and of this one; zeros at first.
template <typename Cell, typename Product, typename T = typename Product::Element>
__global__ void __launch_bounds__(THREADS, 1)
    persistent_backward(const T* h_first, const T* c_first, const T* weights, const int* lengths, const T* outputs,
                        const T* gates, const Compute<T>* kept, const T* doutputs, T* dinputs, T* dproducts,
                        Compute<T>* dhidden, Compute<T>* dcell, T* exchange, unsigned* counter, int steps, int count,
                        int hidden, int reverse, int units) {
  using C = Compute<T>;
  constexpr int G = Cell::GATES;
  const Sequences sequences{lengths, steps, count, reverse};
  const Backward<Cell, T> layer{h_first, c_first,   outputs, gates, kept,      doutputs,
                                dinputs, dproducts, dhidden, dcell, sequences, hidden};
  const int padded = (hidden + K_MULTIPLE - 1) / K_MULTIPLE * K_MULTIPLE, groups = (count + GROUP - 1) / GROUP;
  const int depth = G * padded, first_unit = blockIdx.x * units, own = min_(units, hidden - first_unit);
  DYNAMIC_SHARED(unsigned char, memory);
  const Shared<Product, UnitGradient<Cell, C>> shared(memory, depth);

  Product::keep(shared.weights, depth, [&](int unit, int k) {
    const bool inside = unit < own && k % padded < hidden;
    return inside ? weights[(size_t(k / padded) * hidden + k % padded) * hidden + first_unit + unit]
                  : from_compute<T>(0);
  });
  const auto load_ahead = [&](int step) {
    for (int at = threadIdx.x; at < count * own; at += THREADS) {
      const int sequence = at / own, row = sequences.row(step, sequence);
      if (row >= 0 || step < 0) layer.load(shared.ahead[at], row, step, sequence, first_unit + at % own);
    }
  };
  load_ahead(steps - 1);
  __syncthreads();

  for (int step = steps - 1; step >= -1; step--) {
    const T* after = exchange + size_t((step + 1) % 2) * groups * GROUP * depth;
    T* before = exchange + size_t((step + 2) % 2) * groups * GROUP * depth;
    for (int first = 0; first < groups; first += WARPS) {
      const Round round(first, groups);
      if (first > 0) __syncthreads();
      round.template multiply<Product>(shared.weights, after, depth, shared.partials);
      __syncthreads();
      const int end = min_(count, (first + round.groups) * GROUP) * own;
      for (int at = first * GROUP * own + threadIdx.x; at < end; at += THREADS) {
        const int sequence = at / own, unit = at % own, row = sequences.row(step, sequence);
        if (row < 0 && step >= 0) continue;
        UnitGradient<Cell, C> cell = shared.ahead[at];
        cell.hidden += round.template sum<Product::ROWS>(shared.partials, unit, sequence);
        if (step < 0) {
          dhidden[size_t(sequence) * hidden + first_unit + unit] = cell.hidden;
          continue;
        }
        Cell::backward(cell);
        layer.store(cell, row, sequence, first_unit + unit);
        T* to = before + size_t(sequence) * depth + first_unit + unit;
        for (int g = 0; g < G; g++) to[g * padded] = layer.of_product(cell, g);
      }
    }
    if (step < 0) return;
    const unsigned wanted = grid_arrive(counter);
    load_ahead(step - 1);
    grid_wait(counter, wanted);
  }
}
