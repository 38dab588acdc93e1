// Cross-entropy of softmax along rows of contiguous memory and integer targets, forward and backward, in one operator.
//
// With m = max x, L = log sum exp(x - m), the target t, the weight w of each class (1 if none are given), and label
// smoothing e, which puts s_j = e w_j / C on every class (Szegedy et al. 2016, section 7), S = sum s_j:
//
//   loss  = (1 - e) w_t (L - (x_t - m)) + S L - sum s_j (x_j - m)
//   dx_j  = g [ p_j ((1 - e) w_t + S) - s_j - (j = t) (1 - e) w_t ],   p_j = exp(x_j - m - L)
//
// Where t is ignore_index, loss and gradient are 0. A target that is no class makes NaN, and no read out of bounds: to
// ask for it before the launch would mean to wait for the GPU. Losses, weights, g and the statistics (m, L) of each
// row, which the backward needs, are of the type of the arithmetic: float for 16-bit x. Bytes that have to move: forward
// rows columns sizeof(T), backward twice that; probabilities are never stored.
#include "rows.cuh"

// What the kernels are told of classes and targets besides x.
template <typename T>
struct Classes {
  using C = Compute<T>;
  const long long* target;  // (rows)
  const C* weight;          // (columns), or null
  const C* weight_sum;      // one number, where there are weights
  long long ignore_index;
  C smoothing;
  int columns;

  __device__ __forceinline__ bool ignored(long long row) const { return target[row] == ignore_index; }
  __device__ __forceinline__ bool is_class(long long t) const { return t >= 0 && t < columns; }
  __device__ __forceinline__ C smooth(int column) const {
    return (weight == nullptr ? C(1) : weight[column]) * (smoothing / C(columns));
  }
  __device__ __forceinline__ C smooth_sum() const {
    return weight == nullptr ? smoothing : *weight_sum * (smoothing / C(columns));
  }
  // (1 - e) w_t
  __device__ __forceinline__ C on_target(long long t) const {
    return (C(1) - smoothing) * (weight == nullptr ? C(1) : weight[t]);
  }

  // What one thread writes at the end of a row. smoothed: sum s_j (x_j - m).
  __device__ __forceinline__ void finish(long long row, const T* x, C m, C sum, C smoothed, C* losses, C* statistics) const {
    const C log_sum = log_(sum);
    statistics[2 * row] = m;
    statistics[2 * row + 1] = log_sum;
    const long long t = target[row];
    C loss = 0;
    if (t != ignore_index) {
      loss = is_class(t) ? on_target(t) * (log_sum - (to_compute(x[t]) - m)) : NAN_OF<C>;
      if (smoothing != C(0)) loss += smooth_sum() * log_sum - smoothed;
    }
    losses[row] = loss;
  }
};

// The gradient at any column of one row.
template <typename T>
struct RowGradient {
  using C = Compute<T>;
  C m, log_sum, up, total, target_part;
  long long t;
  bool ignored;

  __device__ __forceinline__ RowGradient(const Classes<T>& classes, long long row, const C* g, const C* statistics)
      : m(statistics[2 * row]), log_sum(statistics[2 * row + 1]), t(classes.target[row]) {
    ignored = t == classes.ignore_index;
    const C on_target = !classes.is_class(t) ? NAN_OF<C> : classes.on_target(t);
    up = g[row];
    total = up * (on_target + classes.smooth_sum());
    target_part = up * on_target;
  }
  __device__ __forceinline__ C at(const Classes<T>& classes, int column, C x) const {
    if (ignored) return C(0);
    C slope = exp_(x - m - log_sum) * total;
    if (classes.smoothing != C(0)) slope -= classes.smooth(column) * up;
    return column == t ? slope - target_part : slope;
  }
};

// --- clear: a block a row, an element a thread at a time -----------------------------------------------------------------
// Two passes forward, one backward. Not yet measured.

constexpr int CLEAR_BLOCK = 128;

// x (rows, columns); losses (rows); statistics (rows, 2).
template <typename T>
__global__ void cross_entropy_forward(const T* x, const long long* target, const Compute<T>* weight,
                                      const Compute<T>* weight_sum, Compute<T>* losses, Compute<T>* statistics,
                                      int columns, long long ignore_index, Compute<T> smoothing) {
  using C = Compute<T>;
  const Classes<T> classes{target, weight, weight_sum, ignore_index, smoothing, columns};
  const long long row = blockIdx.x;
  const T* from = x + row * columns;

  C largest = -INFINITY_OF<C>;
  for (int i = threadIdx.x; i < columns; i += CLEAR_BLOCK) largest = max_(largest, to_compute(from[i]));
  largest = block_max<CLEAR_BLOCK>(largest);

  C sum = 0, smoothed = 0;
  for (int i = threadIdx.x; i < columns; i += CLEAR_BLOCK) {
    const C below = to_compute(from[i]) - largest;
    sum += exp_(below);
    if (smoothing != C(0)) smoothed += classes.smooth(i) * below;
  }
  sum = block_sum<CLEAR_BLOCK>(sum);
  smoothed = block_sum<CLEAR_BLOCK>(smoothed);
  if (threadIdx.x == 0) classes.finish(row, from, largest, sum, smoothed, losses, statistics);
}

// g (rows); x, dx (rows, columns); statistics (rows, 2).
template <typename T>
__global__ void cross_entropy_backward(const Compute<T>* g, const T* x, const Compute<T>* statistics,
                                       const long long* target, const Compute<T>* weight, const Compute<T>* weight_sum,
                                       T* dx, int columns, long long ignore_index, Compute<T> smoothing) {
  const Classes<T> classes{target, weight, weight_sum, ignore_index, smoothing, columns};
  const long long row = blockIdx.x;
  const RowGradient<T> gradient(classes, row, g, statistics);
  for (int i = threadIdx.x; i < columns; i += CLEAR_BLOCK) {
    dx[row * columns + i] = from_compute<T>(gradient.at(classes, i, to_compute(x[row * columns + i])));
  }
}

// --- registers: the row is read once and stays in registers --------------------------------------------------------------
// Not yet measured.

template <typename T, int THREADS, int PACKS>
__global__ void __launch_bounds__(BLOCK_OF<THREADS>)
    cross_entropy_forward_registers(const T* x, const long long* target, const Compute<T>* weight,
                                    const Compute<T>* weight_sum, Compute<T>* losses, Compute<T>* statistics,
                                    long long rows, int columns, long long ignore_index, Compute<T> smoothing) {
  using C = Compute<T>;
  const Classes<T> classes{target, weight, weight_sum, ignore_index, smoothing, columns};
  const int place = threadIdx.x / THREADS;
  for (long long first = (long long)blockIdx.x * ROWS_OF<THREADS>; first < rows;
       first += (long long)gridDim.x * ROWS_OF<THREADS>) {
    const long long row = first + place;
    const int there = row < rows ? columns : 0;  // threads without a row take part in the reductions
    const T* from = x + row * columns;
    RowPart<T, THREADS, PACKS> part;
    part.load(from, there, -INFINITY_OF<C>);

    C largest = part[0];
#pragma unroll
    for (int i = 1; i < part.size; i++) largest = max_(largest, part[i]);
    largest = row_max<THREADS>(largest);

    C sum = 0, smoothed = 0;
#pragma unroll
    for (int i = 0; i < part.size; i++) {
      const C below = part[i] - largest;
      const int column = part.column(i);
      sum += column < there ? exp_(below) : C(0);
      if (smoothing != C(0) && column < there) smoothed += classes.smooth(column) * below;
    }
    sum = row_sum<THREADS>(sum);
    smoothed = row_sum<THREADS>(smoothed);
    if (threadIdx.x % THREADS == 0 && there > 0) {
      classes.finish(row, from, largest, sum, smoothed, losses, statistics);
    }
  }
}

template <typename T, int THREADS, int PACKS>
__global__ void __launch_bounds__(BLOCK_OF<THREADS>)
    cross_entropy_backward_registers(const Compute<T>* g, const T* x, const Compute<T>* statistics,
                                     const long long* target, const Compute<T>* weight, const Compute<T>* weight_sum,
                                     T* dx, long long rows, int columns, long long ignore_index, Compute<T> smoothing) {
  const Classes<T> classes{target, weight, weight_sum, ignore_index, smoothing, columns};
  const int place = threadIdx.x / THREADS;
  for (long long row = (long long)blockIdx.x * ROWS_OF<THREADS> + place; row < rows;
       row += (long long)gridDim.x * ROWS_OF<THREADS>) {
    const RowGradient<T> gradient(classes, row, g, statistics);
    RowPart<T, THREADS, PACKS> part;
    part.load(x + row * columns, columns);
#pragma unroll
    for (int i = 0; i < part.size; i++) {
      const int column = part.column(i);
      if (column < columns) part[i] = gradient.at(classes, column, part[i]);
    }
    part.store(dx + row * columns, columns);
  }
}

// --- long: rows too long for registers, as of large vocabularies --------------------------------------------------------
// Still one pass: the maximum and the sum together. Rows may have any length. Not yet measured.

constexpr int LONG_BLOCK = 512;

template <typename T>
__global__ void __launch_bounds__(LONG_BLOCK)
    cross_entropy_forward_long(const T* x, const long long* target, const Compute<T>* weight,
                               const Compute<T>* weight_sum, Compute<T>* losses, Compute<T>* statistics, int columns,
                               long long ignore_index, Compute<T> smoothing) {
  using C = Compute<T>;
  const Classes<T> classes{target, weight, weight_sum, ignore_index, smoothing, columns};
  const long long row = blockIdx.x;
  const T* from = x + row * columns;

  OnlineSum<C> online;
  C smoothed = 0;  // sum s_j x_j at first: the maximum is not known yet
  const auto smooth = [&](int i, T value) {
    if (smoothing != C(0)) smoothed += classes.smooth(i) * to_compute(value);
  };
  walk_row(
      from, columns,
      [&](int i) {
        online.add(to_compute(from[i]));
        smooth(i, from[i]);
      },
      [&](int i) {
        const Pack<T> pack = load_pack(from + i);
        online.add_pack(pack);
#pragma unroll
        for (int j = 0; j < pack.size; j++) smooth(i + j, pack[j]);
      });
  const C largest = block_max<LONG_BLOCK>(online.largest);
  const C sum = block_sum<LONG_BLOCK>(online.sum_below(largest));
  smoothed = block_sum<LONG_BLOCK>(smoothed) - classes.smooth_sum() * largest;
  if (threadIdx.x == 0) classes.finish(row, from, largest, sum, smoothed, losses, statistics);
}

template <typename T>
__global__ void __launch_bounds__(LONG_BLOCK)
    cross_entropy_backward_long(const Compute<T>* g, const T* x, const Compute<T>* statistics, const long long* target,
                                const Compute<T>* weight, const Compute<T>* weight_sum, T* dx, int columns,
                                long long ignore_index, Compute<T> smoothing) {
  const Classes<T> classes{target, weight, weight_sum, ignore_index, smoothing, columns};
  const long long row = blockIdx.x;
  const T* from = x + row * columns;
  T* to = dx + row * columns;
  const RowGradient<T> gradient(classes, row, g, statistics);
  const auto result = [&](int i, T value) { return from_compute<T>(gradient.at(classes, i, to_compute(value))); };
  walk_row(
      from, columns, [&](int i) { to[i] = result(i, from[i]); },
      [&](int i) {
        Pack<T> pack = load_pack(from + i);
#pragma unroll
        for (int j = 0; j < pack.size; j++) pack[j] = result(i + j, pack[j]);
        store_pack(to + i, pack);
      });
}
