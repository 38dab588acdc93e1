// Rows of memory that stay in registers while one warp, a part of one, or a block works on them.
//
// THREADS threads share a row. A thread holds PACKS packs of 16 bytes; neighbouring threads hold neighbouring packs, so
// that a warp reads 512 bytes at once, and all loads of a thread are under way together. The row is read once. Rows must
// begin at multiples of 16 bytes and end at one, and have at most 16 THREADS PACKS bytes.
#pragma once

#include "common.cuh"

constexpr int SHORT_BLOCK = 128;  // threads of a block that has several rows

// Threads of a block, and how many rows it works on at a time.
template <int THREADS>
constexpr int BLOCK_OF = THREADS > 32 ? THREADS : SHORT_BLOCK;
template <int THREADS>
constexpr int ROWS_OF = BLOCK_OF<THREADS> / THREADS;

// Over the threads of a row; all of the block must call.
template <int THREADS, typename C>
__device__ __forceinline__ C row_sum(C value) {
  if constexpr (THREADS <= 32) {
    return warp_sum<THREADS>(value);
  } else {
    return block_sum<THREADS>(value);
  }
}

template <int THREADS, typename C>
__device__ __forceinline__ C row_max(C value) {
  if constexpr (THREADS <= 32) {
    return warp_max<THREADS>(value);
  } else {
    return block_max<THREADS>(value);
  }
}

// A thread's part of a row, in the type of its arithmetic; beyond the row's end, and in no row, it is `padding`.
template <typename T, int THREADS, int PACKS>
struct RowPart {
  using C = Compute<T>;
  static constexpr int lanes = Pack<T>::size, size = PACKS * lanes;
  C at[size];

  __device__ __forceinline__ C& operator[](int i) { return at[i]; }
  __device__ __forceinline__ const C& operator[](int i) const { return at[i]; }

  // The column of the part's element i; there is none where it is >= columns.
  static __device__ __forceinline__ int column(int i) {
    return (i / lanes * THREADS + int(threadIdx.x) % THREADS) * lanes + i % lanes;
  }

  __device__ __forceinline__ void load(const T* row, int columns, C padding = C(0)) {
#pragma unroll
    for (int k = 0; k < PACKS; k++) {
      const int from = column(k * lanes);
      Pack<T> pack;
      const bool there = from < columns;
      if (there) pack = load_pack(row + from);
#pragma unroll
      for (int j = 0; j < lanes; j++) at[k * lanes + j] = there ? to_compute(pack[j]) : padding;
    }
  }

  // With another row, a pack of it at a time: at[i] = combine(at[i], of that row).
  template <typename Combine>
  __device__ __forceinline__ void with(const T* row, int columns, Combine combine) {
#pragma unroll
    for (int k = 0; k < PACKS; k++) {
      const int from = column(k * lanes);
      if (from >= columns) continue;
      const Pack<T> pack = load_pack(row + from);
#pragma unroll
      for (int j = 0; j < lanes; j++) at[k * lanes + j] = combine(at[k * lanes + j], to_compute(pack[j]));
    }
  }

  __device__ __forceinline__ void store(T* row, int columns) const {
#pragma unroll
    for (int k = 0; k < PACKS; k++) {
      const int to = column(k * lanes);
      if (to >= columns) continue;
      Pack<T> pack;
#pragma unroll
      for (int j = 0; j < lanes; j++) pack[j] = from_compute<T>(at[k * lanes + j]);
      store_pack(row + to, pack);
    }
  }
};

// body(column) for each element of a row that is too long for registers: as `packs` of 16 bytes, and as `single`s before
// the first multiple of 16 bytes and after the last one. Called by a block along x. All rows that the bodies read or
// write at these columns must lie as `row` does relative to multiples of 16 bytes.
template <typename T, typename Single, typename Packs>
__device__ __forceinline__ void walk_row(const T* row, int columns, Single single, Packs packs) {
  constexpr int lanes = Pack<T>::size;
  const int misplaced = int(reinterpret_cast<size_t>(row) / sizeof(T)) & (lanes - 1);
  const int head = min_((lanes - misplaced) & (lanes - 1), columns);
  const int tail = head + (columns - head) / lanes * lanes;  // where the last elements begin
  if (int(threadIdx.x) < head) single(int(threadIdx.x));
  for (int at = head + int(threadIdx.x) * lanes; at < tail; at += int(blockDim.x) * lanes) packs(at);
  if (tail + int(threadIdx.x) < columns) single(tail + int(threadIdx.x));
}

// The maximum of numbers and, with it, sum exp(number - maximum), in one pass over them (Milakov, Gimelshein 2018).
template <typename C>
struct OnlineSum {
  C largest = -INFINITY_OF<C>, sum = 0;

  // Of numbers up to `high`, which may be the largest so far.
  __device__ __forceinline__ void raise(C high) {
    if (high > largest) {
      sum *= exp_(largest - high);  // at first 0 * 0
      largest = high;
    }
  }
  // -inf adds nothing; without the question, -inf - -inf would make a NaN that later numbers cannot undo.
  __device__ __forceinline__ void count(C value) {
    if (value != -INFINITY_OF<C>) sum += exp_(value - largest);
  }
  __device__ __forceinline__ void add(C value) {
    raise(value);
    count(value);
  }
  template <typename T>
  __device__ __forceinline__ void add_pack(const Pack<T>& pack) {
    C high = to_compute(pack[0]);
#pragma unroll
    for (int j = 1; j < pack.size; j++) high = max_(high, to_compute(pack[j]));
    raise(high);
#pragma unroll
    for (int j = 0; j < pack.size; j++) count(to_compute(pack[j]));
  }
  // The sum, for a maximum that is at least this one. 0 where there was nothing but -inf.
  __device__ __forceinline__ C sum_below(C high) const {
    return largest == -INFINITY_OF<C> ? sum : sum * exp_(largest - high);
  }
};
