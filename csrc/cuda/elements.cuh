// Kernels element by element: which thread has which elements.
//
// The clear versions give each thread one element. The fast ones give it N neighbours at a time, 16 bytes of the narrowest
// array or more, and stride over the grid: they read and write memory once, with loads of 16 bytes.
#pragma once

#include "common.cuh"

constexpr int ELEMENTS_BLOCK = 256;  // threads

// N neighbours of an array, in registers. As memory they begin at a multiple of 16 bytes; N sizeof(T) is one, too.
template <typename T, int N>
struct Elements {
  static_assert(N * sizeof(T) % 16 == 0, "whole packs");
  T at[N];
  __device__ __forceinline__ T& operator[](int i) { return at[i]; }
  __device__ __forceinline__ const T& operator[](int i) const { return at[i]; }

  static __device__ __forceinline__ Elements load(const T* from) {
    Elements elements;
#pragma unroll
    for (int k = 0; k < N / Pack<T>::size; k++) {
      const Pack<T> pack = load_pack(from + k * Pack<T>::size);
#pragma unroll
      for (int j = 0; j < pack.size; j++) elements.at[k * pack.size + j] = pack[j];
    }
    return elements;
  }
  __device__ __forceinline__ void store(T* to) const {
#pragma unroll
    for (int k = 0; k < N / Pack<T>::size; k++) {
      Pack<T> pack;
#pragma unroll
      for (int j = 0; j < pack.size; j++) pack[j] = at[k * pack.size + j];
      store_pack(to + k * pack.size, pack);
    }
  }
};

// How many elements lie before the first multiple of 16 bytes, at most `count`.
template <typename T>
__device__ __forceinline__ long long elements_before_pack(const T* array, long long count) {
  constexpr int lanes = Pack<T>::size;
  const int misplaced = int(reinterpret_cast<size_t>(array) / sizeof(T)) & (lanes - 1);
  const long long head = (lanes - misplaced) & (lanes - 1);
  return head < count ? head : count;
}

// several(i) for i, i + 1, ..., i + N - 1 as long as they fit; single(i) for the first `head` and for what is left.
template <int N, typename Single, typename Several>
__device__ __forceinline__ void walk_elements(long long count, long long head, Single single, Several several) {
  const long long thread = (long long)blockIdx.x * blockDim.x + threadIdx.x, threads = (long long)gridDim.x * blockDim.x;
  const long long tail = head + (count - head) / N * N;
  for (long long i = head + thread * N; i < tail; i += threads * N) several(i);
  if (thread < head) single(thread);
  if (tail + thread < count) single(tail + thread);
}
