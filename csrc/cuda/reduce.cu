// Flat-buffer kernels of the collectives: several buffers become one, element by element.
//
//   fold   out = (((b0 op b1) op b2) ... ) in the order given, op one of sum, prod, max, min
//   mean   out = the fold's sum / divisor
//
// Results are those of the CPU's kernels (csrc/cpu/fold_kernels.inc), bit for bit, and so of numpy: 16-bit floats are
// computed in float and rounded after *each* step, so a fold of k buffers at once is that of two at a time. Two exceptions:
// subnormal floats and bfloat16s count as zero (they are compiled so), and a sum or product that is NaN may be another NaN.
// Bytes that have to move: (k + 1) count sizeof(T).
#include "elements.cuh"

constexpr int MOST_BUFFERS = 8;  // in one launch

template <typename T>
struct Buffers {
  const T* at[MOST_BUFFERS];
};

// --- operations: integers wrap around, so they are computed unsigned ------------------------------------------------------

template <typename T>
struct UnsignedOf {
  using type = unsigned int;
};
template <>
struct UnsignedOf<long long> {
  using type = unsigned long long;
};

__device__ __forceinline__ int to_compute(int value) { return value; }
__device__ __forceinline__ long long to_compute(long long value) { return value; }
template <typename T>
constexpr bool IS_INTEGER = T(0.5f) == T(0);
template <>
constexpr bool IS_INTEGER<__half> = false;
template <>
constexpr bool IS_INTEGER<__nv_bfloat16> = false;

struct Sum {
  template <typename T>
  static __device__ __forceinline__ T combine(T a, T b) {
    if constexpr (IS_INTEGER<T>) {
      using U = typename UnsignedOf<T>::type;
      return T(U(a) + U(b));
    } else {
      return from_compute<T>(to_compute(a) + to_compute(b));
    }
  }
};

struct Prod {
  template <typename T>
  static __device__ __forceinline__ T combine(T a, T b) {
    if constexpr (IS_INTEGER<T>) {
      using U = typename UnsignedOf<T>::type;
      return T(U(a) * U(b));
    } else {
      return from_compute<T>(mul_(to_compute(a), to_compute(b)));
    }
  }
};

// Of equals numpy keeps the first for float16, else the second: it shows where 0 meets -0.
template <typename T>
constexpr bool KEEPS_FIRST = false;
template <>
constexpr bool KEEPS_FIRST<__half> = true;

struct Max {  // a NaN is kept
  template <typename T>
  static __device__ __forceinline__ T combine(T a, T b) {
    const auto x = to_compute(a), y = to_compute(b);
    return x != x || (KEEPS_FIRST<T> ? y <= x : y < x) ? a : b;
  }
};

struct Min {
  template <typename T>
  static __device__ __forceinline__ T combine(T a, T b) {
    const auto x = to_compute(a), y = to_compute(b);
    return x != x || (KEEPS_FIRST<T> ? x <= y : x < y) ? a : b;
  }
};

// --- clear: an element a thread -------------------------------------------------------------------------------------------
// Not yet measured.

template <typename T, typename Op>
__device__ __forceinline__ T fold_at(const Buffers<T>& buffers, int k, long long i) {
  T folded = buffers.at[0][i];
#pragma unroll
  for (int b = 1; b < MOST_BUFFERS; b++) {
    if (b < k) folded = Op::combine(folded, buffers.at[b][i]);
  }
  return folded;
}

// k: of the buffers b0, b1, ...; the others are null. out may be one of them.
template <typename T, typename Op>
__global__ void fold(T* out, long long count, int k, const T* b0, const T* b1, const T* b2, const T* b3, const T* b4,
                     const T* b5, const T* b6, const T* b7) {
  const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i < count) out[i] = fold_at<T, Op>({{b0, b1, b2, b3, b4, b5, b6, b7}}, k, i);
}

// out may be sum.
template <typename T>
__global__ void divide(T* out, const T* sum, long long count, Compute<T> divisor) {
  const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i < count) out[i] = from_compute<T>(to_compute(sum[i]) / divisor);
}

// --- packs: 16 bytes a thread at a time, of all buffers at once -----------------------------------------------------------
// Buffers may begin anywhere, but equally far behind multiples of 16 bytes. Not yet measured.

template <typename T, typename Op>
__global__ void __launch_bounds__(ELEMENTS_BLOCK)
    fold_packs(T* out, long long count, int k, const T* b0, const T* b1, const T* b2, const T* b3, const T* b4,
               const T* b5, const T* b6, const T* b7) {
  const Buffers<T> buffers{{b0, b1, b2, b3, b4, b5, b6, b7}};
  walk_elements<Pack<T>::size>(
      count, elements_before_pack(out, count), [&](long long i) { out[i] = fold_at<T, Op>(buffers, k, i); },
      [&](long long i) {
        Pack<T> packs[MOST_BUFFERS];  // loaded before the first is needed
#pragma unroll
        for (int b = 0; b < MOST_BUFFERS; b++) {
          if (b < k) packs[b] = load_pack(buffers.at[b] + i);
        }
#pragma unroll
        for (int b = 1; b < MOST_BUFFERS; b++) {
          if (b >= k) continue;
#pragma unroll
          for (int j = 0; j < Pack<T>::size; j++) packs[0][j] = Op::combine(packs[0][j], packs[b][j]);
        }
        store_pack(out + i, packs[0]);
      });
}

// Where no number of blocks is said, ptxas saves registers for sm_100 and spills.
template <typename T>
__global__ void __launch_bounds__(ELEMENTS_BLOCK, 4)
    divide_packs(T* out, const T* sum, long long count, Compute<T> divisor) {
  const auto result = [&](T value) { return from_compute<T>(to_compute(value) / divisor); };
  walk_elements<Pack<T>::size>(
      count, elements_before_pack(out, count), [&](long long i) { out[i] = result(sum[i]); },
      [&](long long i) {
        Pack<T> pack = load_pack(sum + i);
#pragma unroll
        for (int j = 0; j < pack.size; j++) pack[j] = result(pack[j]);
        store_pack(out + i, pack);
      });
}
