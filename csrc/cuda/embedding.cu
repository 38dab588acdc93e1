// Rows of a table by number, and the gradient of the table.
//
//   y[i] = table[index[i]]                    dtable[v] = sum of g[i] over all i with index[i] = v
//
// The gradient adds in an order that depends on the indices alone, without atomics: the launcher sorts the positions by
// their index, so that those of row v are order[starts[v]] ... order[starts[v + 1] - 1], and a block owns a part of row v.
// An index that is no row makes NaN, and no read out of bounds: to ask for it before the launch would mean to wait for the
// GPU. Bytes that have to move: forward 2 count D sizeof(T), backward (count + rows) D sizeof(T).
#include "elements.cuh"

constexpr int CLEAR_BLOCK = 128;
constexpr int SUM_WARPS = 8;  // of a block that sums: each takes every eighth position

// --- clear: a block a row, an element a thread at a time -----------------------------------------------------------------
// Not yet measured.

// table (rows, columns); index (gridDim.x); y (gridDim.x, columns).
template <typename T>
__global__ void embedding_forward(const T* table, const long long* index, T* y, long long rows, int columns) {
  const long long row = index[blockIdx.x];
  const bool there = row >= 0 && row < rows;
  T* to = y + (long long)blockIdx.x * columns;
  for (int i = threadIdx.x; i < columns; i += CLEAR_BLOCK) {
    to[i] = there ? table[row * columns + i] : from_compute<T>(NAN_OF<Compute<T>>);
  }
}

// g (count, columns); order (count); starts (gridDim.x + 1); dtable (gridDim.x, columns). Row `padding` gets no gradient;
// it is -1 if there is none.
template <typename T>
__global__ void embedding_backward(const T* g, const long long* order, const long long* starts, T* dtable, int columns,
                                   long long padding) {
  const long long row = blockIdx.x, begin = starts[row], end = row == padding ? begin : starts[row + 1];
  for (int i = threadIdx.x; i < columns; i += CLEAR_BLOCK) {
    Compute<T> sum = 0;
    for (long long at = begin; at < end; at++) sum += to_compute(g[order[at] * columns + i]);
    dtable[row * columns + i] = from_compute<T>(sum);
  }
}

// --- packs: 16 bytes a thread at a time -----------------------------------------------------------------------------------
// Rows begin at multiples of 16 bytes. Not yet measured.

template <typename T>
__global__ void __launch_bounds__(ELEMENTS_BLOCK)
    embedding_forward_packs(const T* table, const long long* index, T* y, long long count, long long rows, int columns) {
  const int packs = columns / Pack<T>::size;  // of a row
  const long long threads = (long long)gridDim.x * blockDim.x;
  for (long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x; at < count * packs; at += threads) {
    const long long row = index[at / packs], column = at % packs * Pack<T>::size;
    Pack<T> pack;
    if (row >= 0 && row < rows) {
      pack = load_pack(table + row * columns + column);
    } else {
#pragma unroll
      for (int j = 0; j < pack.size; j++) pack[j] = from_compute<T>(NAN_OF<Compute<T>>);
    }
    store_pack(y + at * Pack<T>::size, pack);
  }
}

// Blocks (rows, parts of 32 packs) of SUM_WARPS warps, a warp for every eighth position: for rows that are asked for very
// often, such as of a padding token. A thread owns a pack of columns; the warps' sums are added in order.
template <typename T>
__global__ void __launch_bounds__(32 * SUM_WARPS)
    embedding_backward_packs(const T* g, const long long* order, const long long* starts, T* dtable, int columns,
                             long long padding) {
  using C = Compute<T>;
  constexpr int lanes = Pack<T>::size;
  __shared__ C sums[SUM_WARPS][lanes][32];
  const long long row = blockIdx.x, begin = starts[row], end = row == padding ? begin : starts[row + 1];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, column = (blockIdx.y * 32 + lane) * lanes;

  C sum[lanes] = {};
  if (column < columns) {
    for (long long at = begin + warp; at < end; at += SUM_WARPS) {
      const Pack<T> pack = load_pack(g + order[at] * columns + column);
#pragma unroll
      for (int j = 0; j < lanes; j++) sum[j] += to_compute(pack[j]);
    }
  }
#pragma unroll
  for (int j = 0; j < lanes; j++) sums[warp][j][lane] = sum[j];
  __syncthreads();
  if (warp > 0 || column >= columns) return;
  const int busy = end - begin < SUM_WARPS ? int(end - begin) : SUM_WARPS;
  for (int other = 1; other < busy; other++) {
#pragma unroll
    for (int j = 0; j < lanes; j++) sum[j] += sums[other][j][lane];
  }
  Pack<T> pack;
#pragma unroll
  for (int j = 0; j < lanes; j++) pack[j] = from_compute<T>(sum[j]);
  store_pack(dtable + row * columns + column, pack);
}
