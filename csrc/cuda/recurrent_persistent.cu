// Recurrent layers, the persistent version: one launch for all steps (Diamos et al. 2016, "Persistent RNNs"). A block keeps
// its rows of the recurrent weights in shared memory from the first step to the last; what all blocks need of a step, h or
// the gradients of the products, they exchange through global memory (L2), with a grid barrier between steps.
//
// All blocks must be on the GPU at once: the launcher takes no more than there are multiprocessors, one on each. Two such
// launches must not run at the same time in two streams: each could hold what the other waits for.
//
// Measured: not yet measured.
#include "recurrent_cells.cuh"
#include "recurrent_products.cuh"

// Structs of numbers C, of a block's sequences and units, field by field: threads that read the same field do not conflict.
template <typename Values, typename C>
struct Fields {
  static constexpr int COUNT = sizeof(Values) / sizeof(C);
  C* numbers;
  int size;  // how many structs

  __device__ __forceinline__ void put(int at, const Values& values) const {
#pragma unroll
    for (int f = 0; f < COUNT; f++) numbers[f * size + at] = reinterpret_cast<const C*>(&values)[f];
  }
  __device__ __forceinline__ Values get(int at) const {
    Values values;
#pragma unroll
    for (int f = 0; f < COUNT; f++) reinterpret_cast<C*>(&values)[f] = numbers[f * size + at];
    return values;
  }
};

// Dynamic shared memory: the weights, the partial sums, and what is loaded ahead for each sequence and unit.
template <typename Product, typename Values>
struct Shared {
  using T = typename Product::Element;
  using C = Compute<T>;
  Pack<T>* weights;
  C* partials;
  Fields<Values, C> ahead;

  __device__ __forceinline__ Shared(unsigned char* memory, int depth, int cells)
      : weights(reinterpret_cast<Pack<T>*>(memory)),
        partials(reinterpret_cast<C*>(weights + Product::ROWS * depth / Pack<T>::size)),
        ahead{partials + WARPS * GROUP * (Product::ROWS + PAD), cells} {}
};

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
  const Shared<Product, Unit<Cell, C>> shared(memory, padded, count * units);

  Product::keep(shared.weights, padded, [&](int row, int k) {  // row = gate x units + unit
    const int g = row / units, unit = row % units;
    const bool inside = g < G && unit < own && k < hidden;
    return inside ? weights[(size_t(g) * hidden + first_unit + unit) * hidden + k] : from_compute<T>(0);
  });
  const auto load_ahead = [&](int step) {
    for (int at = threadIdx.x; at < count * own; at += THREADS) {
      const int sequence = at / own, row = sequences.row(step, sequence);
      if (row < 0) continue;
      Unit<Cell, C> cell;
      layer.load(cell, row, step, sequence, first_unit + at % own);
      shared.ahead.put(at, cell);
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
        Unit<Cell, C> cell = shared.ahead.get(at);
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
  const Shared<Product, UnitGradient<Cell, C>> shared(memory, depth, count * units);

  Product::keep(shared.weights, depth, [&](int unit, int k) {
    const bool inside = unit < own && k % padded < hidden;
    return inside ? weights[(size_t(k / padded) * hidden + k % padded) * hidden + first_unit + unit]
                  : from_compute<T>(0);
  });
  const auto load_ahead = [&](int step) {
    for (int at = threadIdx.x; at < count * own; at += THREADS) {
      const int sequence = at / own, row = sequences.row(step, sequence);
      if (row < 0 && step >= 0) continue;
      UnitGradient<Cell, C> cell;
      layer.load(cell, row, step, sequence, first_unit + at % own);
      shared.ahead.put(at, cell);
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
        UnitGradient<Cell, C> cell = shared.ahead.get(at);
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
