// Softmax and its logarithm along rows of contiguous memory, forward and backward.
//
//   softmax      y = exp(x - max x) / sum exp(x - max x)             dx = y (g - sum g y)
//   log_softmax  y = x - max x - log sum exp(x - max x)              dx = g - exp(y) sum g
//
// Sums and maxima are over the row. The maximum keeps exp from overflow (LOG selects log_softmax everywhere). A row with
// a NaN or a +inf becomes all NaN, and so does one that is all -inf. Bytes that have to move: forward 2 rows columns
// sizeof(T), backward 3: these kernels are as fast as memory if they read everything once.
#include "rows.cuh"

// --- clear: a block a row, an element a thread at a time -----------------------------------------------------------------
// Three passes forward, two backward. Not yet measured.

constexpr int CLEAR_BLOCK = 128;

// x, y (rows, columns); a block for each row.
template <typename T, bool LOG = false>
__global__ void softmax_forward(const T* x, T* y, int columns) {
  using C = Compute<T>;
  const T* from = x + size_t(blockIdx.x) * columns;
  T* to = y + size_t(blockIdx.x) * columns;

  C largest = -INFINITY_OF<C>;
  for (int i = threadIdx.x; i < columns; i += CLEAR_BLOCK) largest = max_(largest, to_compute(from[i]));
  largest = block_max<CLEAR_BLOCK>(largest);

  C sum = 0;
  for (int i = threadIdx.x; i < columns; i += CLEAR_BLOCK) sum += exp_(to_compute(from[i]) - largest);
  sum = block_sum<CLEAR_BLOCK>(sum);

  for (int i = threadIdx.x; i < columns; i += CLEAR_BLOCK) {
    const C below = to_compute(from[i]) - largest;
    to[i] = from_compute<T>(LOG ? below - log_(sum) : exp_(below) / sum);
  }
}

// g, y, dx (rows, columns): gradient of the output, output, gradient of the input; a block for each row.
template <typename T, bool LOG = false>
__global__ void softmax_backward(const T* g, const T* y, T* dx, int columns) {
  using C = Compute<T>;
  const size_t start = size_t(blockIdx.x) * columns;

  C sum = 0;
  for (int i = threadIdx.x; i < columns; i += CLEAR_BLOCK) {
    const C slope = to_compute(g[start + i]);
    sum += LOG ? slope : slope * to_compute(y[start + i]);
  }
  sum = block_sum<CLEAR_BLOCK>(sum);

  for (int i = threadIdx.x; i < columns; i += CLEAR_BLOCK) {
    const C slope = to_compute(g[start + i]), out = to_compute(y[start + i]);
    dx[start + i] = from_compute<T>(LOG ? slope - exp_(out) * sum : out * (slope - sum));
  }
}

// --- registers: the row is read once and stays in registers --------------------------------------------------------------
// From a fourth of a warp to a block of 512 threads a row. Not yet measured.

template <typename T, int THREADS, int PACKS, bool LOG = false>
__global__ void __launch_bounds__(BLOCK_OF<THREADS>)
    softmax_forward_registers(const T* x, T* y, long long rows, int columns) {
  using C = Compute<T>;
  const int place = threadIdx.x / THREADS;  // among the block's rows
  for (long long first = (long long)blockIdx.x * ROWS_OF<THREADS>; first < rows;
       first += (long long)gridDim.x * ROWS_OF<THREADS>) {
    const long long row = first + place;
    const int there = row < rows ? columns : 0;  // threads without a row take part in the reductions
    RowPart<T, THREADS, PACKS> part;
    part.load(x + row * columns, there, -INFINITY_OF<C>);

    C largest = part[0];
#pragma unroll
    for (int i = 1; i < part.size; i++) largest = max_(largest, part[i]);
    largest = row_max<THREADS>(largest);

    C sum = 0;
#pragma unroll
    for (int i = 0; i < part.size; i++) {
      part[i] -= largest;
      const C power = exp_(part[i]);
      sum += power;  // padding adds 0, or NaN to a row that is NaN anyway
      if (!LOG) part[i] = power;
    }
    sum = row_sum<THREADS>(sum);

    const C scale = LOG ? log_(sum) : C(1) / sum;
#pragma unroll
    for (int i = 0; i < part.size; i++) part[i] = LOG ? part[i] - scale : part[i] * scale;
    part.store(y + row * columns, there);
  }
}

template <typename T, int THREADS, int PACKS, bool LOG = false>
__global__ void __launch_bounds__(BLOCK_OF<THREADS>)
    softmax_backward_registers(const T* g, const T* y, T* dx, long long rows, int columns) {
  using C = Compute<T>;
  const int place = threadIdx.x / THREADS;
  for (long long first = (long long)blockIdx.x * ROWS_OF<THREADS>; first < rows;
       first += (long long)gridDim.x * ROWS_OF<THREADS>) {
    const long long row = first + place;
    const int there = row < rows ? columns : 0;
    RowPart<T, THREADS, PACKS> slope, out;
    slope.load(g + row * columns, there);
    out.load(y + row * columns, there);

    C sum = 0;
#pragma unroll
    for (int i = 0; i < slope.size; i++) sum += LOG ? slope[i] : slope[i] * out[i];
    sum = row_sum<THREADS>(sum);

#pragma unroll
    for (int i = 0; i < slope.size; i++) {
      slope[i] = LOG ? slope[i] - exp_(out[i]) * sum : out[i] * (slope[i] - sum);
    }
    slope.store(dx + row * columns, there);
  }
}

// --- long: rows too long for registers ----------------------------------------------------------------------------------
// The maximum and the sum in one pass (Milakov, Gimelshein, "Online normalizer calculation for softmax", 2018); the second
// pass mostly reads from the L2 cache. Rows may have any length. Not yet measured.

constexpr int LONG_BLOCK = 512;

template <typename T, bool LOG = false>
__global__ void __launch_bounds__(LONG_BLOCK) softmax_forward_long(const T* x, T* y, int columns) {
  using C = Compute<T>;
  const T* from = x + size_t(blockIdx.x) * columns;
  T* to = y + size_t(blockIdx.x) * columns;

  OnlineSum<C> online;
  walk_row(
      from, columns, [&](int i) { online.add(to_compute(from[i])); },
      [&](int i) { online.add_pack(load_pack(from + i)); });
  const C largest = block_max<LONG_BLOCK>(online.largest);
  const C sum = block_sum<LONG_BLOCK>(online.sum_below(largest));

  const C scale = LOG ? log_(sum) : C(1) / sum;
  const auto result = [&](T value) {
    const C below = to_compute(value) - largest;
    return from_compute<T>(LOG ? below - scale : exp_(below) * scale);
  };
  walk_row(
      from, columns, [&](int i) { to[i] = result(from[i]); },
      [&](int i) {
        Pack<T> pack = load_pack(from + i);
#pragma unroll
        for (int j = 0; j < pack.size; j++) pack[j] = result(pack[j]);
        store_pack(to + i, pack);
      });
}

template <typename T, bool LOG = false>
__global__ void __launch_bounds__(LONG_BLOCK) softmax_backward_long(const T* g, const T* y, T* dx, int columns) {
  using C = Compute<T>;
  const size_t start = size_t(blockIdx.x) * columns;
  const T *slopes = g + start, *outs = y + start;
  T* to = dx + start;

  C sum = 0;
  const auto add = [&](T slope, T out) { sum += LOG ? to_compute(slope) : to_compute(slope) * to_compute(out); };
  walk_row(
      slopes, columns, [&](int i) { add(slopes[i], outs[i]); },
      [&](int i) {
        const Pack<T> slope = load_pack(slopes + i), out = load_pack(outs + i);
#pragma unroll
        for (int j = 0; j < slope.size; j++) add(slope[j], out[j]);
      });
  sum = block_sum<LONG_BLOCK>(sum);

  const auto result = [&](T slope, T out) {
    const C high = to_compute(slope), low = to_compute(out);
    return from_compute<T>(LOG ? high - exp_(low) * sum : low * (high - sum));
  };
  walk_row(
      slopes, columns, [&](int i) { to[i] = result(slopes[i], outs[i]); },
      [&](int i) {
        Pack<T> slope = load_pack(slopes + i);
        const Pack<T> out = load_pack(outs + i);
#pragma unroll
        for (int j = 0; j < slope.size; j++) slope[j] = result(slope[j], out[j]);
        store_pack(to + i, slope);
      });
}
