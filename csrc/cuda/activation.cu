// Activations element by element, forward and backward: y = f(x), dx = g f'(x).
//
// A row of the table is a struct: its formula, and its slope from what the forward pass keeps, y where f' is a function of
// y (tanh, sigmoid, relu), else x. Bytes that have to move: forward 2 count sizeof(T), backward 3.
#include "elements.cuh"

// --- the table ----------------------------------------------------------------------------------------------------------

// 1 / (1 + exp(-x)), without overflow, and with all its digits where it is next to 0.
template <typename C>
__device__ __forceinline__ C logistic(C x) {
  const C small = exp_(-abs_(x));
  return (x >= C(0) ? C(1) : small) / (C(1) + small);
}

struct Relu {  // of y; the gradient at 0 is 0; NaN stays NaN
  template <typename C>
  static __device__ __forceinline__ C value(C x) { return x < C(0) ? C(0) : x; }
  template <typename C>
  static __device__ __forceinline__ C slope(C y) { return y > C(0) ? C(1) : C(0); }
};

struct Tanh {  // of y
  template <typename C>
  static __device__ __forceinline__ C value(C x) { return tanh_(x); }
  template <typename C>
  static __device__ __forceinline__ C slope(C y) { return C(1) - y * y; }
};

struct Sigmoid {  // of y
  template <typename C>
  static __device__ __forceinline__ C value(C x) { return logistic(x); }
  template <typename C>
  static __device__ __forceinline__ C slope(C y) { return y * (C(1) - y); }
};

struct Silu {  // of x: x sigmoid(x) (Hendrycks, Gimpel 2016; Elfwing, Uchibe, Doya 2018)
  template <typename C>
  static __device__ __forceinline__ C value(C x) { return x * logistic(x); }
  template <typename C>
  static __device__ __forceinline__ C slope(C x) {
    const C gate = logistic(x);
    return gate * (C(1) + x * (C(1) - gate));
  }
};

struct Gelu {  // of x: x Phi(x), Phi the normal distribution's function (Hendrycks, Gimpel 2016)
  template <typename C>
  static __device__ __forceinline__ C phi(C x) { return C(0.5) + C(0.5) * erf_(x * C(0.70710678118654752440)); }
  template <typename C>
  static __device__ __forceinline__ C value(C x) { return x * phi(x); }
  template <typename C>
  static __device__ __forceinline__ C slope(C x) {
    const C density = exp_(C(-0.5) * (x * x)) * C(0.39894228040143267794);  // 1 / sqrt(2 pi)
    return phi(x) + x * density;
  }
};

struct GeluTanh {  // of x: their approximation Phi(x) = (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2
  template <typename C>
  static __device__ __forceinline__ C phi(C x) {
    const C inner = (x + C(0.044715) * (x * x * x)) * C(0.79788456080286535588);  // sqrt(2 / pi)
    return C(0.5) + C(0.5) * tanh_(inner);
  }
  template <typename C>
  static __device__ __forceinline__ C value(C x) { return x * phi(x); }
  template <typename C>
  static __device__ __forceinline__ C slope(C x) {
    const C p = phi(x);  // with t = 2 p - 1: (1 - t^2) / 2 = 2 p (1 - p)
    const C density = C(2) * p * (C(1) - p) * ((C(1) + C(3 * 0.044715) * (x * x)) * C(0.79788456080286535588));
    return p + x * density;
  }
};

// --- clear: an element a thread -------------------------------------------------------------------------------------------
// Not yet measured.

template <typename T, typename F>
__global__ void activation_forward(const T* x, T* y, long long count) {
  const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i < count) y[i] = from_compute<T>(F::value(to_compute(x[i])));
}

// kept: y or x, as the table says.
template <typename T, typename F>
__global__ void activation_backward(const T* g, const T* kept, T* dx, long long count) {
  const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i < count) dx[i] = from_compute<T>(to_compute(g[i]) * F::slope(to_compute(kept[i])));
}

// --- packs: 16 bytes a thread at a time -----------------------------------------------------------------------------------
// Arrays may begin anywhere, but equally far behind multiples of 16 bytes. Not yet measured.

template <typename T, typename F>
__global__ void __launch_bounds__(ELEMENTS_BLOCK) activation_forward_packs(const T* x, T* y, long long count) {
  const auto result = [](T value) { return from_compute<T>(F::value(to_compute(value))); };
  walk_elements<Pack<T>::size>(
      count, elements_before_pack(x, count), [&](long long i) { y[i] = result(x[i]); },
      [&](long long i) {
        Pack<T> pack = load_pack(x + i);
#pragma unroll
        for (int j = 0; j < pack.size; j++) pack[j] = result(pack[j]);
        store_pack(y + i, pack);
      });
}

template <typename T, typename F>
__global__ void __launch_bounds__(ELEMENTS_BLOCK)
    activation_backward_packs(const T* g, const T* kept, T* dx, long long count) {
  const auto result = [](T slope, T value) {
    return from_compute<T>(to_compute(slope) * F::slope(to_compute(value)));
  };
  walk_elements<Pack<T>::size>(
      count, elements_before_pack(g, count), [&](long long i) { dx[i] = result(g[i], kept[i]); },
      [&](long long i) {
        Pack<T> pack = load_pack(g + i);
        const Pack<T> values = load_pack(kept + i);
#pragma unroll
        for (int j = 0; j < pack.size; j++) pack[j] = result(pack[j], values[j]);
        store_pack(dx + i, pack);
      });
}
