// Layer norm (Ba, Kiros, Hinton 2016) and RMS norm (Zhang, Sennrich 2019) along rows of contiguous memory.
//
//   n = (x - mean) r,  r = 1 / sqrt(mean((x - mean)^2) + eps);  RMS norm: the same without mean      y = n weight + bias
//   with h = g weight:  dx = r (h - mean(h) - n mean(h n)), RMS norm without mean(h);  dweight = sum g n, dbias = sum g
//
// Means are over a row, the sums of dweight and dbias over all rows. CENTRED selects layer norm. mean and r are kept for the
// backward pass, one number a row each, of the type of the arithmetic. The variance is that of x - mean, in a second pass:
// sum x^2 - mean^2 would cancel. dweight and dbias take two stages, both in an order that depends on the shape alone: blocks
// of rows, then blocks. Bytes that have to move: forward 2 rows columns sizeof(T), backward 3.
#include "rows.cuh"

constexpr int CLEAR_BLOCK = 128;
constexpr int LONG_BLOCK = 512;
constexpr int SUM_WARPS = 8;  // of a block that adds partial sums

// n weight + bias; either may be null.
template <typename T>
__device__ __forceinline__ Compute<T> affine(Compute<T> n, const T* weight, const T* bias, int column) {
  if (weight != nullptr) n *= to_compute(weight[column]);
  if (bias != nullptr) n += to_compute(bias[column]);
  return n;
}

template <typename T>
__device__ __forceinline__ Compute<T> times(Compute<T> g, const T* weight, int column) {
  return weight == nullptr ? g : g * to_compute(weight[column]);
}

// --- clear: a block a row, an element a thread at a time -----------------------------------------------------------------
// Three passes forward; backward two for dx and another over g and x for dweight and dbias. Not yet measured.

// x, y (rows, columns); weight, bias (columns), or null; mean, r (rows), mean null without CENTRED.
template <typename T, bool CENTRED>
__global__ void norm_forward(const T* x, const T* weight, const T* bias, T* y, Compute<T>* mean, Compute<T>* r, int columns,
                             Compute<T> eps) {
  using C = Compute<T>;
  const T* from = x + size_t(blockIdx.x) * columns;
  T* to = y + size_t(blockIdx.x) * columns;

  C middle = 0;
  if (CENTRED) {
    C sum = 0;
    for (int i = threadIdx.x; i < columns; i += CLEAR_BLOCK) sum += to_compute(from[i]);
    middle = block_sum<CLEAR_BLOCK>(sum) / C(columns);
  }
  C squares = 0;
  for (int i = threadIdx.x; i < columns; i += CLEAR_BLOCK) {
    const C d = to_compute(from[i]) - middle;
    squares += d * d;
  }
  const C scale = C(1) / sqrt_(block_sum<CLEAR_BLOCK>(squares) / C(columns) + eps);
  for (int i = threadIdx.x; i < columns; i += CLEAR_BLOCK) {
    to[i] = from_compute<T>(affine((to_compute(from[i]) - middle) * scale, weight, bias, i));
  }
  if (threadIdx.x == 0) {
    if (CENTRED) mean[blockIdx.x] = middle;
    r[blockIdx.x] = scale;
  }
}

// g, x, dx (rows, columns), and what the forward pass was given and has kept.
template <typename T, bool CENTRED>
__global__ void norm_backward(const T* g, const T* x, const T* weight, const Compute<T>* mean, const Compute<T>* r, T* dx,
                              int columns) {
  using C = Compute<T>;
  const size_t start = size_t(blockIdx.x) * columns;
  const C middle = CENTRED ? mean[blockIdx.x] : C(0), scale = r[blockIdx.x];

  C sum = 0, dot = 0;  // of h, of h n
  for (int i = threadIdx.x; i < columns; i += CLEAR_BLOCK) {
    const C h = times(to_compute(g[start + i]), weight, i);
    sum += h;
    dot += h * ((to_compute(x[start + i]) - middle) * scale);
  }
  const C mean_h = CENTRED ? block_sum<CLEAR_BLOCK>(sum) / C(columns) : C(0);
  const C mean_hn = block_sum<CLEAR_BLOCK>(dot) / C(columns);
  for (int i = threadIdx.x; i < columns; i += CLEAR_BLOCK) {
    const C h = times(to_compute(g[start + i]), weight, i), n = (to_compute(x[start + i]) - middle) * scale;
    dx[start + i] = from_compute<T>(scale * (h - mean_h - n * mean_hn));
  }
}

// First stage of dweight and dbias: block (p, q) adds rows p, p + gridDim.x, ... for 128 columns. partial_weight,
// partial_bias (gridDim.x, columns).
template <typename T, bool CENTRED>
__global__ void norm_parameters(const T* g, const T* x, const Compute<T>* mean, const Compute<T>* r,
                                Compute<T>* partial_weight, Compute<T>* partial_bias, long long rows, int columns) {
  using C = Compute<T>;
  const int column = blockIdx.y * CLEAR_BLOCK + threadIdx.x;
  if (column >= columns) return;
  C weights = 0, biases = 0;
  for (long long row = blockIdx.x; row < rows; row += gridDim.x) {
    const C slope = to_compute(g[row * columns + column]);
    weights += slope * ((to_compute(x[row * columns + column]) - (CENTRED ? mean[row] : C(0))) * r[row]);
    biases += slope;
  }
  partial_weight[(long long)blockIdx.x * columns + column] = weights;
  partial_bias[(long long)blockIdx.x * columns + column] = biases;
}

// Second stage: total (columns) = sum over p of partial (parts, columns). A block has 32 columns, a warp every eighth part.
template <typename T>
__global__ void __launch_bounds__(32 * SUM_WARPS) norm_total(const Compute<T>* partial, T* total, int parts, int columns) {
  using C = Compute<T>;
  __shared__ C sums[SUM_WARPS][32];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, column = blockIdx.x * 32 + lane;
  C sum = 0;
  if (column < columns) {
    for (int p = warp; p < parts; p += SUM_WARPS) sum += partial[(long long)p * columns + column];
  }
  sums[warp][lane] = sum;
  __syncthreads();
  if (warp > 0 || column >= columns) return;
  for (int other = 1; other < SUM_WARPS; other++) sum += sums[other][lane];
  total[column] = from_compute<T>(sum);
}

// --- registers: the row is read once and stays in registers --------------------------------------------------------------
// Not yet measured.

// Where no number of blocks is said, ptxas saves registers for sm_75 and spills.
template <typename T, int THREADS, int PACKS, bool CENTRED>
__global__ void __launch_bounds__(BLOCK_OF<THREADS>, 1)
    norm_forward_registers(const T* x, const T* weight, const T* bias, T* y, Compute<T>* mean, Compute<T>* r,
                           long long rows, int columns, Compute<T> eps) {
  using C = Compute<T>;
  const int place = threadIdx.x / THREADS;  // among the block's rows
  for (long long first = (long long)blockIdx.x * ROWS_OF<THREADS>; first < rows;
       first += (long long)gridDim.x * ROWS_OF<THREADS>) {
    const long long row = first + place;
    const int there = row < rows ? columns : 0;  // threads without a row take part in the reductions
    RowPart<T, THREADS, PACKS> part;
    part.load(x + row * columns, there);

    C middle = 0;
    if (CENTRED) {
#pragma unroll
      for (int i = 0; i < part.size; i++) middle += part[i];
      middle = row_sum<THREADS>(middle) / C(columns);
    }
    C squares = 0;
#pragma unroll
    for (int i = 0; i < part.size; i++) {
      part[i] -= middle;
      if (part.column(i) < there) squares += part[i] * part[i];
    }
    const C scale = C(1) / sqrt_(row_sum<THREADS>(squares) / C(columns) + eps);
#pragma unroll
    for (int i = 0; i < part.size; i++) part[i] *= scale;

    if (weight != nullptr) part.with(weight, there, [](C n, C scaling) { return n * scaling; });
    if (bias != nullptr) part.with(bias, there, [](C scaled, C shift) { return scaled + shift; });
    part.store(y + row * columns, there);
    if (threadIdx.x % THREADS == 0 && row < rows) {
      if (CENTRED) mean[row] = middle;
      r[row] = scale;
    }
  }
}

// A thread has the same columns in all rows, and so the sums of its dweight and dbias: a block's are added at the end and
// written to partial_weight, partial_bias (gridDim.x, columns), which are null where nobody asks.
template <typename T, int THREADS, int PACKS, bool CENTRED>
__global__ void __launch_bounds__(BLOCK_OF<THREADS>)
    norm_backward_registers(const T* g, const T* x, const T* weight, const Compute<T>* mean, const Compute<T>* r, T* dx,
                            Compute<T>* partial_weight, Compute<T>* partial_bias, long long rows, int columns) {
  using C = Compute<T>;
  using Part = RowPart<T, THREADS, PACKS>;
  const int place = threadIdx.x / THREADS, lane = threadIdx.x % THREADS;
  C weights[Part::size] = {}, biases[Part::size] = {};
  for (long long first = (long long)blockIdx.x * ROWS_OF<THREADS>; first < rows;
       first += (long long)gridDim.x * ROWS_OF<THREADS>) {
    const long long row = first + place;
    const int there = row < rows ? columns : 0;
    const C middle = CENTRED && there > 0 ? mean[row] : C(0), scale = there > 0 ? r[row] : C(0);
    Part h, n;  // h is g at first: 0 beyond the end, so it does not matter what n is there
    h.load(g + row * columns, there);
    n.load(x + row * columns, there);
#pragma unroll
    for (int i = 0; i < Part::size; i++) {
      n[i] = (n[i] - middle) * scale;
      weights[i] += h[i] * n[i];
      biases[i] += h[i];
    }
    if (weight != nullptr) h.with(weight, there, [](C slope, C scaling) { return slope * scaling; });
    C sum = 0, dot = 0;
#pragma unroll
    for (int i = 0; i < Part::size; i++) {
      sum += h[i];
      dot += h[i] * n[i];
    }
    const C mean_h = CENTRED ? row_sum<THREADS>(sum) / C(columns) : C(0);
    const C mean_hn = row_sum<THREADS>(dot) / C(columns);
#pragma unroll
    for (int i = 0; i < Part::size; i++) h[i] = scale * (h[i] - mean_h - n[i] * mean_hn);
    h.store(dx + row * columns, there);
  }

  if (partial_weight == nullptr) return;
  if constexpr (ROWS_OF<THREADS> > 1) {  // the groups of threads one after the other, the last has the sums then
    __shared__ C shared_weights[Part::size][THREADS], shared_biases[Part::size][THREADS];
    for (int turn = 0; turn < ROWS_OF<THREADS>; turn++) {
      if (place == turn) {
#pragma unroll
        for (int i = 0; i < Part::size; i++) {
          if (turn > 0) {
            weights[i] += shared_weights[i][lane];
            biases[i] += shared_biases[i][lane];
          }
          shared_weights[i][lane] = weights[i];
          shared_biases[i][lane] = biases[i];
        }
      }
      __syncthreads();
    }
  }
  if (place < ROWS_OF<THREADS> - 1) return;
#pragma unroll
  for (int i = 0; i < Part::size; i++) {
    const int column = Part::column(i);
    if (column >= columns) continue;
    partial_weight[(long long)blockIdx.x * columns + column] = weights[i];
    partial_bias[(long long)blockIdx.x * columns + column] = biases[i];
  }
}

// --- long: rows too long for registers ------------------------------------------------------------------------------------
// The passes of the clear version with 16 bytes a thread; all but the first mostly read from the L2 cache. dweight and dbias
// are those of the clear version. Rows may have any length. Not yet measured.

template <typename T, bool CENTRED>
__global__ void __launch_bounds__(LONG_BLOCK)
    norm_forward_long(const T* x, const T* weight, const T* bias, T* y, Compute<T>* mean, Compute<T>* r, int columns,
                      Compute<T> eps) {
  using C = Compute<T>;
  const T* from = x + size_t(blockIdx.x) * columns;
  T* to = y + size_t(blockIdx.x) * columns;
  const auto visit = [&](auto each) {
    walk_row(
        from, columns, [&](int i) { each(to_compute(from[i])); },
        [&](int i) {
          const Pack<T> pack = load_pack(from + i);
#pragma unroll
          for (int j = 0; j < pack.size; j++) each(to_compute(pack[j]));
        });
  };

  C middle = 0;
  if (CENTRED) {
    C sum = 0;
    visit([&](C value) { sum += value; });
    middle = block_sum<LONG_BLOCK>(sum) / C(columns);
  }
  C squares = 0;
  visit([&](C value) { squares += (value - middle) * (value - middle); });
  const C scale = C(1) / sqrt_(block_sum<LONG_BLOCK>(squares) / C(columns) + eps);

  const auto result = [&](int i, T value) {
    return from_compute<T>(affine((to_compute(value) - middle) * scale, weight, bias, i));
  };
  walk_row(
      from, columns, [&](int i) { to[i] = result(i, from[i]); },
      [&](int i) {
        Pack<T> pack = load_pack(from + i);
#pragma unroll
        for (int j = 0; j < pack.size; j++) pack[j] = result(i + j, pack[j]);
        store_pack(to + i, pack);
      });
  if (threadIdx.x == 0) {
    if (CENTRED) mean[blockIdx.x] = middle;
    r[blockIdx.x] = scale;
  }
}

template <typename T, bool CENTRED>
__global__ void __launch_bounds__(LONG_BLOCK)
    norm_backward_long(const T* g, const T* x, const T* weight, const Compute<T>* mean, const Compute<T>* r, T* dx,
                       int columns) {
  using C = Compute<T>;
  const size_t start = size_t(blockIdx.x) * columns;
  const T *slopes = g + start, *from = x + start;
  T* to = dx + start;
  const C middle = CENTRED ? mean[blockIdx.x] : C(0), scale = r[blockIdx.x];

  C sum = 0, dot = 0;
  const auto add = [&](int i, T slope, T value) {
    const C h = times(to_compute(slope), weight, i);
    sum += h;
    dot += h * ((to_compute(value) - middle) * scale);
  };
  walk_row(
      slopes, columns, [&](int i) { add(i, slopes[i], from[i]); },
      [&](int i) {
        const Pack<T> slope = load_pack(slopes + i), value = load_pack(from + i);
#pragma unroll
        for (int j = 0; j < slope.size; j++) add(i + j, slope[j], value[j]);
      });
  const C mean_h = CENTRED ? block_sum<LONG_BLOCK>(sum) / C(columns) : C(0);
  const C mean_hn = block_sum<LONG_BLOCK>(dot) / C(columns);

  const auto result = [&](int i, T slope, T value) {
    const C h = times(to_compute(slope), weight, i), n = (to_compute(value) - middle) * scale;
    return from_compute<T>(scale * (h - mean_h - n * mean_hn));
  };
  walk_row(
      slopes, columns, [&](int i) { to[i] = result(i, slopes[i], from[i]); },
      [&](int i) {
        Pack<T> slope = load_pack(slopes + i);
        const Pack<T> value = load_pack(from + i);
#pragma unroll
        for (int j = 0; j < slope.size; j++) slope[j] = result(i + j, slope[j], value[j]);
        store_pack(to + i, slope);
      });
}
