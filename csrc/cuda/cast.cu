// Between floating-point types, scaled on the way: y = (To)(x scale), and whether all of y is finite.
//
// For training with 16-bit gradients and loss scaling (Micikevicius et al., "Mixed precision training", 2018): scale is
// 1 / loss scale, and a step whose gradients are not all finite is left out. Rounding is to nearest, ties to even. Bytes
// that have to move: count (sizeof(From) + sizeof(To)).
#include "elements.cuh"

template <typename From, typename To>
struct Convert {
  Compute<From> scale;
  bool finite = true;

  __device__ __forceinline__ To operator()(From x) {
    const To y = from_compute<To>(Compute<To>(to_compute(x) * scale));
    finite &= abs_(to_compute(y)) < INFINITY_OF<Compute<To>>;  // false for NaN
    return y;
  }
  // Any thread that has seen one says so; the others leave the flag alone.
  __device__ __forceinline__ void report(int* not_finite) const {
    if (!finite && not_finite != nullptr) atomicExch(not_finite, 1);
  }
};

// --- clear: an element a thread -------------------------------------------------------------------------------------------
// Not yet measured.

// not_finite: one number, set to 1 if an element of y is inf or NaN, or null.
template <typename From, typename To>
__global__ void cast(const From* x, To* y, int* not_finite, long long count, Compute<From> scale) {
  const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  Convert<From, To> convert{scale};
  y[i] = convert(x[i]);
  convert.report(not_finite);
}

// --- packs: 16 bytes of the narrower type a thread at a time --------------------------------------------------------------
// Arrays begin at multiples of 16 bytes. Not yet measured.

template <typename From, typename To>
__global__ void __launch_bounds__(ELEMENTS_BLOCK)
    cast_packs(const From* x, To* y, int* not_finite, long long count, Compute<From> scale) {
  constexpr int N = 16 / (sizeof(From) < sizeof(To) ? sizeof(From) : sizeof(To));
  Convert<From, To> convert{scale};
  walk_elements<N>(
      count, 0, [&](long long i) { y[i] = convert(x[i]); },
      [&](long long i) {
        const Elements<From, N> from = Elements<From, N>::load(x + i);
        Elements<To, N> to;
#pragma unroll
        for (int j = 0; j < N; j++) to[j] = convert(from[j]);
        to.store(y + i);
      });
  convert.report(not_finite);
}
