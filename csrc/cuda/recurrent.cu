// Recurrent layers, the clear version: one launch a step, in which a block computes all gates of 16 units of 16 sequences.
// The persistent version, one launch for all steps, is in recurrent_persistent.cu; the formulas are in recurrent_cells.cuh.
//
// What the inputs contribute, x = W_x input + b for all steps, is one matrix product before, and the gradients of W_x, W
// and the inputs are after (Appleyard, Kocisky and Blunsom 2016): here is only what needs the step before.
//
// Measured: not yet measured.
#include "recurrent_cells.cuh"

constexpr int TILE = 16;

// step of all sequences: p = W h of the step before, in tiles through shared memory, then the cell.
// Grid: units / 16, sequences / 16, rounded up; block: 16 x 16, x along units. weights: (G H, H).
template <typename Cell, typename T>
__global__ void recurrent_step(const T* inputs, const T* h_first, const T* c_first, const T* weights, const T* bias,
                               const int* lengths, T* outputs, T* gates, Compute<T>* kept, T* h_last, T* c_last,
                               int step, int steps, int count, int hidden, int reverse) {
  using C = Compute<T>;
  constexpr int G = Cell::GATES;
  const Sequences sequences{lengths, steps, count, reverse};
  const Forward<Cell, T> layer{inputs, h_first, c_first, bias,   outputs,   gates,
                               kept,   h_last,  c_last,  sequences, hidden};
  const int x = threadIdx.x, y = threadIdx.y, first_unit = blockIdx.x * TILE;
  const int unit = first_unit + x, sequence = blockIdx.y * TILE + y;
  const int row = sequence < count ? sequences.row(step, sequence) : -1;

  __shared__ C h_tile[TILE][TILE];         // sequences x k
  __shared__ C w_tile[G][TILE][TILE + 1];  // gates x units x k; one more, so that a column lies in 16 banks
  C product[G] = {};
  for (int k = 0; k < hidden; k += TILE) {
    h_tile[y][x] = row >= 0 && k + x < hidden ? layer.hidden_before(step, sequence, k + x) : C(0);
    for (int g = 0; g < G; g++) {
      const bool inside = first_unit + y < hidden && k + x < hidden;
      w_tile[g][y][x] = inside ? to_compute(weights[(size_t(g) * hidden + first_unit + y) * hidden + k + x]) : C(0);
    }
    __syncthreads();
    for (int i = 0; i < TILE; i++) {
      for (int g = 0; g < G; g++) product[g] += w_tile[g][x][i] * h_tile[y][i];
    }
    __syncthreads();
  }
  if (row < 0 || unit >= hidden) return;
  Unit<Cell, C> cell;
  layer.load(cell, row, step, sequence, unit);
  Cell::forward(cell, product);
  layer.store(cell, row, step, sequence, unit);
}

// The gradient of recurrent_step, steps from the last to the first: to what waits in dhidden comes what the step after took
// from h through its products, then the cell turns it into the gradients of this step's gates. Called once more with
// step = -1, it leaves the gradients of the first states in dhidden and dcell.
// Grid and block as of recurrent_step. dproducts: dinputs itself, but for the GRU.
template <typename Cell, typename T>
__global__ void recurrent_step_backward(const T* h_first, const T* c_first, const T* weights, const int* lengths,
                                        const T* outputs, const T* gates, const Compute<T>* kept, const T* doutputs,
                                        T* dinputs, T* dproducts, Compute<T>* dhidden, Compute<T>* dcell, int step,
                                        int steps, int count, int hidden, int reverse) {
  using C = Compute<T>;
  constexpr int G = Cell::GATES;
  const Sequences sequences{lengths, steps, count, reverse};
  const Backward<Cell, T> layer{h_first, c_first,   outputs, gates, kept,      doutputs,
                                dinputs, dproducts, dhidden, dcell, sequences, hidden};
  const int x = threadIdx.x, y = threadIdx.y;
  const int unit = blockIdx.x * TILE + x, sequence = blockIdx.y * TILE + y;
  const int row_after = sequence < count ? sequences.row(step + 1, sequence) : -1;

  __shared__ C d_tile[TILE][TILE];  // sequences x k, rows of the weights
  __shared__ C w_tile[TILE][TILE];  // k x units
  C sum = 0;
  for (int k = 0; k < G * hidden; k += TILE) {
    const bool in_columns = row_after >= 0 && k + x < G * hidden, in_rows = k + y < G * hidden && unit < hidden;
    d_tile[y][x] = in_columns ? to_compute(dproducts[size_t(row_after) * G * hidden + k + x]) : C(0);
    w_tile[y][x] = in_rows ? to_compute(weights[size_t(k + y) * hidden + unit]) : C(0);
    __syncthreads();
    for (int i = 0; i < TILE; i++) sum += d_tile[y][i] * w_tile[i][x];
    __syncthreads();
  }
  const int row = sequence < count ? sequences.row(step, sequence) : -1;
  if (sequence >= count || unit >= hidden || (row < 0 && step >= 0)) return;
  UnitGradient<Cell, C> cell;
  layer.load(cell, row, step, sequence, unit);
  cell.hidden += sum;
  if (step < 0) {
    dhidden[size_t(sequence) * hidden + unit] = cell.hidden;
    return;
  }
  Cell::backward(cell);
  layer.store(cell, row, sequence, unit);
}
