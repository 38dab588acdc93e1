// Recurrent cells: the formulas of one unit of one sequence in one step, forward and backward, and where a layer's arrays
// hold what they need. Both the clear and the persistent kernels are made of these.
//
//   RNN    h' = f(x + p), f = tanh or relu                                  (Elman 1990, whose f is a sigmoid)
//   LSTM   i, f, o = sigmoid(x + p), g = tanh(x + p);  c' = f c + i g;  h' = o tanh(c')
//          (Hochreiter and Schmidhuber 1997; the forget gate f of Gers, Schmidhuber and Cummins 2000; no peepholes)
//   GRU    r, z = sigmoid(x + p), n = tanh(x + r (p + b));  h' = (1 - z) n + z h
//          (Cho et al. 2014, who write W (r h) for r (W h + b) and swap z with 1 - z; this is the form of PyTorch and cuDNN)
//
// x is what the step's input contributes to a gate, p = W h what the state before does. Gates in the order above.
#pragma once

#include "common.cuh"

// 1 / (1 + exp(-x)); exp may overflow to infinity, which gives 0.
template <typename C>
__device__ __forceinline__ C sigmoid(C x) {
  return C(1) / (C(1) + exp_(-x));
}

// A step of one unit. gates come in as x and go out as the gates' values; kept is what backward needs besides.
template <typename Cell, typename C>
struct Unit {
  C gates[Cell::GATES];
  C hidden;  // h, going out as h'
  C kept;    // LSTM: c, going out as c'; GRU: b, going out as p + b of the gate n
};

// The gradient of a step of one unit.
template <typename Cell, typename C>
struct UnitGradient {
  C gates[Cell::GATES];  // the gates' values, going out as the gradients of x
  C hidden_before;       // h
  C kept, kept_before;   // Unit::kept of this step and of the one before
  C hidden;              // gradient of h', going out as that of h on the ways around p
  C cell;                // LSTM: gradient of c', going out as that of c
  C of_product;          // going out as the gradient of p of the last gate; of the others it is that of x
};

struct TanhCell {
  static constexpr int GATES = 1;
  template <typename C>
  static __device__ __forceinline__ void forward(Unit<TanhCell, C>& unit, const C (&product)[1]) {
    unit.gates[0] = unit.hidden = tanh_(unit.gates[0] + product[0]);
  }
  template <typename C>
  static __device__ __forceinline__ void backward(UnitGradient<TanhCell, C>& unit) {
    const C y = unit.gates[0];
    unit.gates[0] = unit.of_product = (1 - y * y) * unit.hidden;
    unit.hidden = 0;
  }
};

struct ReluCell {
  static constexpr int GATES = 1;
  template <typename C>
  static __device__ __forceinline__ void forward(Unit<ReluCell, C>& unit, const C (&product)[1]) {
    const C sum = unit.gates[0] + product[0];
    unit.gates[0] = unit.hidden = sum < 0 ? C(0) : sum;  // NaN stays NaN
  }
  template <typename C>
  static __device__ __forceinline__ void backward(UnitGradient<ReluCell, C>& unit) {
    unit.gates[0] = unit.of_product = unit.gates[0] > 0 ? unit.hidden : C(0);
    unit.hidden = 0;
  }
};

struct LstmCell {
  static constexpr int GATES = 4;
  template <typename C>
  static __device__ __forceinline__ void forward(Unit<LstmCell, C>& unit, const C (&product)[4]) {
    const C i = sigmoid(unit.gates[0] + product[0]);
    const C f = sigmoid(unit.gates[1] + product[1]);
    const C g = tanh_(unit.gates[2] + product[2]);
    const C o = sigmoid(unit.gates[3] + product[3]);
    unit.kept = f * unit.kept + i * g;
    unit.hidden = o * tanh_(unit.kept);
    unit.gates[0] = i, unit.gates[1] = f, unit.gates[2] = g, unit.gates[3] = o;
  }
  template <typename C>
  static __device__ __forceinline__ void backward(UnitGradient<LstmCell, C>& unit) {
    const C i = unit.gates[0], f = unit.gates[1], g = unit.gates[2], o = unit.gates[3];
    const C tanh_c = tanh_(unit.kept);
    const C dc = unit.cell + unit.hidden * o * (1 - tanh_c * tanh_c);
    unit.gates[0] = dc * g * i * (1 - i);
    unit.gates[1] = dc * unit.kept_before * f * (1 - f);
    unit.gates[2] = dc * i * (1 - g * g);
    unit.gates[3] = unit.of_product = unit.hidden * tanh_c * o * (1 - o);
    unit.cell = dc * f;
    unit.hidden = 0;
  }
};

struct GruCell {
  static constexpr int GATES = 3;
  template <typename C>
  static __device__ __forceinline__ void forward(Unit<GruCell, C>& unit, const C (&product)[3]) {
    const C r = sigmoid(unit.gates[0] + product[0]);
    const C z = sigmoid(unit.gates[1] + product[1]);
    unit.kept += product[2];
    const C n = tanh_(unit.gates[2] + r * unit.kept);
    unit.hidden = n + z * (unit.hidden - n);
    unit.gates[0] = r, unit.gates[1] = z, unit.gates[2] = n;
  }
  template <typename C>
  static __device__ __forceinline__ void backward(UnitGradient<GruCell, C>& unit) {
    const C r = unit.gates[0], z = unit.gates[1], n = unit.gates[2], dh = unit.hidden;
    const C dn = dh * (1 - z) * (1 - n * n);
    unit.gates[0] = dn * unit.kept * r * (1 - r);
    unit.gates[1] = dh * (unit.hidden_before - n) * z * (1 - z);
    unit.gates[2] = dn;
    unit.of_product = dn * r;
    unit.hidden = dh * z;
  }
};

template <typename Cell>
constexpr bool IS_LSTM = false;
template <>
constexpr bool IS_LSTM<LstmCell> = true;
template <typename Cell>
constexpr bool IS_GRU = false;
template <>
constexpr bool IS_GRU<GruCell> = true;

// N sequences of at most T steps in arrays (T, N, ...), padded at the end. A sequence shorter than T, of lengths[n] steps,
// starts and ends by itself; reverse: its last time is its first step.
struct Sequences {
  const int* lengths;  // (N,), or null: all have T
  int steps, count, reverse;

  __device__ __forceinline__ int length(int sequence) const { return lengths ? lengths[sequence] : steps; }

  // The row, of (T N, ...), that a sequence's step works on; -1 if it has no such step.
  __device__ __forceinline__ int row(int step, int sequence) const {
    const int own = length(sequence);
    if (step < 0 || step >= own) return -1;
    return (reverse ? own - 1 - step : step) * count + sequence;
  }
};

// The arrays of a layer's forward pass. H = hidden units, G = gates; C = Compute<T>.
template <typename Cell, typename T>
struct Forward {
  using C = Compute<T>;
  const T* inputs;          // (T, N, G H): x
  const T *h_first, *c_first;  // (N, H); c of the LSTM
  const T* bias;            // (H,): b of the GRU, or null
  T* outputs;               // (T, N, H): h of each step
  T* gates;                 // (T, N, G H): the gates' values; of an RNN, outputs
  C* kept;                  // (T, N, H): Unit::kept of each step; null for an RNN
  T *h_last, *c_last;       // (N, H)
  Sequences sequences;
  int hidden;

  __device__ __forceinline__ C hidden_before(int step, int sequence, int unit) const {
    if (step == 0) return to_compute(h_first[size_t(sequence) * hidden + unit]);
    return to_compute(outputs[size_t(sequences.row(step - 1, sequence)) * hidden + unit]);
  }

  // row = sequences.row(step, sequence), which is not -1; here and in store.
  __device__ __forceinline__ void load(Unit<Cell, C>& into, int row, int step, int sequence, int unit) const {
    into = {};
    for (int g = 0; g < Cell::GATES; g++) {
      into.gates[g] = to_compute(inputs[(size_t(row) * Cell::GATES + g) * hidden + unit]);
    }
    if constexpr (IS_GRU<Cell>) {
      into.hidden = hidden_before(step, sequence, unit);
      into.kept = bias ? to_compute(bias[unit]) : C(0);
    }
    if constexpr (IS_LSTM<Cell>) {
      into.kept = step == 0 ? to_compute(c_first[size_t(sequence) * hidden + unit])
                            : kept[size_t(sequences.row(step - 1, sequence)) * hidden + unit];
    }
  }

  __device__ __forceinline__ void store(const Unit<Cell, C>& from, int row, int step, int sequence, int unit) const {
    const size_t at = size_t(row) * hidden + unit, state = size_t(sequence) * hidden + unit;
    const T h = from_compute<T>(from.hidden);
    outputs[at] = h;
    if constexpr (Cell::GATES > 1) {
      for (int g = 0; g < Cell::GATES; g++) {
        gates[(size_t(row) * Cell::GATES + g) * hidden + unit] = from_compute<T>(from.gates[g]);
      }
      kept[at] = from.kept;
    }
    if (step != sequences.length(sequence) - 1) return;
    h_last[state] = h;
    if constexpr (IS_LSTM<Cell>) c_last[state] = from_compute<T>(from.kept);
  }
};

// The arrays of its backward pass.
template <typename Cell, typename T>
struct Backward {
  using C = Compute<T>;
  const T *h_first, *c_first, *outputs, *gates;  // as above
  const C* kept;
  const T* doutputs;   // (T, N, H)
  T *dinputs;          // (T, N, G H)
  T* dproducts;        // (T, N, G H): gradients of p; but for the GRU they are dinputs
  C *dhidden, *dcell;  // (N, H): gradients of the last states, on their way back to the first ones
  Sequences sequences;
  int hidden;

  // In place of the step before the first, -1, there is only the gradient of the first state.
  __device__ __forceinline__ void load(UnitGradient<Cell, C>& into, int row, int step, int sequence, int unit) const {
    const size_t state = size_t(sequence) * hidden + unit, at = size_t(row) * hidden + unit;
    into = {};
    into.hidden = dhidden[state];
    if (step < 0) return;
    into.hidden += to_compute(doutputs[at]);
    for (int g = 0; g < Cell::GATES; g++) {
      into.gates[g] = to_compute(gates[(size_t(row) * Cell::GATES + g) * hidden + unit]);
    }
    if constexpr (Cell::GATES == 1) return;
    const size_t before = step == 0 ? state : size_t(sequences.row(step - 1, sequence)) * hidden + unit;
    into.kept = kept[at];
    if constexpr (IS_GRU<Cell>) into.hidden_before = to_compute((step == 0 ? h_first : outputs)[before]);
    if constexpr (IS_LSTM<Cell>) {
      into.cell = dcell[state];
      into.kept_before = step == 0 ? to_compute(c_first[before]) : kept[before];
    }
  }

  // After Cell::backward.
  __device__ __forceinline__ void store(const UnitGradient<Cell, C>& from, int row, int sequence, int unit) const {
    const size_t state = size_t(sequence) * hidden + unit;
    for (int g = 0; g < Cell::GATES; g++) {
      const size_t at = (size_t(row) * Cell::GATES + g) * hidden + unit;
      dinputs[at] = from_compute<T>(from.gates[g]);
      if constexpr (IS_GRU<Cell>) dproducts[at] = of_product(from, g);
    }
    dhidden[state] = from.hidden;
    if constexpr (IS_LSTM<Cell>) dcell[state] = from.cell;
  }

  // The gradient of gate g's product p, as it is stored.
  static __device__ __forceinline__ T of_product(const UnitGradient<Cell, C>& from, int g) {
    return from_compute<T>(g == Cell::GATES - 1 ? from.of_product : from.gates[g]);
  }
};
