// One step of an optimiser on flat arrays, in one pass over memory.
//
// Weights and state are of the type of the arithmetic, float or double. T is that of the gradient, and of a copy of the
// weights that is written along if there is one: with T = __half or __nv_bfloat16 the weights are the "master copy" of
// mixed-precision training (Micikevicius et al. 2018), and the copy is what the next forward pass reads. Formulas and their
// order are those of runtime/autograd/optim, and so are the bits: products are never fused with sums (mul_), which costs
// nothing where memory is what limits. Subnormal floats count as zero.
#include "elements.cuh"

// --- rules: one element's weight, gradient and state --------------------------------------------------------------------
// Options come rounded to C from double, as numpy takes them. Every rule takes two states; those it has no use for are dead.

template <typename C>
struct Sgd {
  C lr, momentum, take, weight_decay;  // take: 1 - dampening
  int nesterov, first;                 // first: this is step 1

  // g += decay w;  v = momentum v + (1 - dampening) g, in step 1 v = g;  w -= lr v, or with nesterov lr (g + momentum v)
  __device__ __forceinline__ void update(C& w, C g, C& v, C&) const {
    if (weight_decay != C(0)) g += mul_(w, weight_decay);
    if (momentum != C(0)) {
      v = first ? g : mul_(v, momentum) + mul_(g, take);
      g = nesterov ? g + mul_(v, momentum) : v;
    }
    w -= mul_(g, lr);
  }
};

template <typename C>
struct Adam {
  C step, beta1, rest1, beta2, rest2, eps, correction;  // lr / (1 - b1^t); rest: 1 - beta; sqrt(1 - b2^t)
  C weight_decay, shrink;                               // one of them: decay, or decoupled 1 - lr decay; else 0 and 1

  // g += decay w;  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  w -= step m / (sqrt(v) / correction + eps)
  __device__ __forceinline__ void update(C& w, C g, C& m, C& v) const {
    if (shrink != C(1)) w = mul_(w, shrink);
    if (weight_decay != C(0)) g += mul_(w, weight_decay);
    m = mul_(m, beta1) + mul_(g, rest1);
    v = mul_(v, beta2) + mul_(mul_(g, g), rest2);
    w -= mul_(m / (sqrt_(v) / correction + eps), step);
  }
};

template <typename C>
struct Adagrad {
  C lr, eps, weight_decay;

  // g += decay w;  s += g^2;  w -= lr g / (sqrt(s) + eps)
  __device__ __forceinline__ void update(C& w, C g, C& s, C&) const {
    if (weight_decay != C(0)) g += mul_(w, weight_decay);
    s += mul_(g, g);
    w -= mul_(g / (sqrt_(s) + eps), lr);
  }
};

// --- arrays: an element a thread, or a pack of gradients ------------------------------------------------------------------

// Weights w (count), their copy of T or null, gradients g, and the states that the rule has: the others are null.
template <typename T>
struct Arrays {
  using C = Compute<T>;
  C* w;
  T* copy;
  const T* g;
  C *state0, *state1;
  long long count;

  template <typename Rule>
  __device__ __forceinline__ void update_one(const Rule& rule, long long i) const {
    C weight = w[i], first = state0 ? state0[i] : C(0), second = state1 ? state1[i] : C(0);
    rule.update(weight, to_compute(g[i]), first, second);
    w[i] = weight;
    if (copy) copy[i] = from_compute<T>(weight);
    if (state0) state0[i] = first;
    if (state1) state1[i] = second;
  }

  template <typename Rule>
  __device__ __forceinline__ void update_packs(const Rule& rule) const {
    constexpr int N = Pack<T>::size;
    walk_elements<N>(
        count, 0, [&](long long i) { update_one(rule, i); },
        [&](long long i) {
          Elements<C, N> weight = Elements<C, N>::load(w + i), first{}, second{};
          const Pack<T> slope = load_pack(g + i);
          if (state0) first = Elements<C, N>::load(state0 + i);
          if (state1) second = Elements<C, N>::load(state1 + i);
#pragma unroll
          for (int j = 0; j < N; j++) rule.update(weight[j], to_compute(slope[j]), first[j], second[j]);
          weight.store(w + i);
          if (state0) first.store(state0 + i);
          if (state1) second.store(state1 + i);
          if (copy == nullptr) return;
          Pack<T> rounded;
#pragma unroll
          for (int j = 0; j < N; j++) rounded[j] = from_compute<T>(weight[j]);
          store_pack(copy + i, rounded);
        });
  }
};

// PACKS: 16 bytes of gradients a thread at a time, in arrays that begin at multiples of 16 bytes; else an element a thread,
// which is the clear version. Bytes that have to move with T and float weights, an element: 16 + sizeof(T) for a rule with
// one state, 8 more with two, and sizeof(T) for the copy. Neither has been measured yet.
template <bool PACKS, typename T, typename Rule>
__device__ __forceinline__ void update(const Arrays<T>& arrays, const Rule& rule) {
  if constexpr (PACKS) {
    arrays.update_packs(rule);
  } else {
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < arrays.count) arrays.update_one(rule, i);
  }
}

// --- kernels --------------------------------------------------------------------------------------------------------------

// velocity: null without momentum.
template <typename T, bool PACKS>
__global__ void __launch_bounds__(ELEMENTS_BLOCK)
    sgd(Compute<T>* w, T* copy, const T* g, Compute<T>* velocity, long long count, Compute<T> lr, Compute<T> momentum,
        Compute<T> take, Compute<T> weight_decay, int nesterov, int first) {
  const Sgd<Compute<T>> rule{lr, momentum, take, weight_decay, nesterov, first};
  update<PACKS>(Arrays<T>{w, copy, g, velocity, nullptr, count}, rule);
}

template <typename T, bool PACKS>
__global__ void __launch_bounds__(ELEMENTS_BLOCK)
    adam(Compute<T>* w, T* copy, const T* g, Compute<T>* m, Compute<T>* v, long long count, Compute<T> step,
         Compute<T> beta1, Compute<T> rest1, Compute<T> beta2, Compute<T> rest2, Compute<T> eps, Compute<T> correction,
         Compute<T> weight_decay, Compute<T> shrink) {
  const Adam<Compute<T>> rule{step, beta1, rest1, beta2, rest2, eps, correction, weight_decay, shrink};
  update<PACKS>(Arrays<T>{w, copy, g, m, v, count}, rule);
}

template <typename T, bool PACKS>
__global__ void __launch_bounds__(ELEMENTS_BLOCK)
    adagrad(Compute<T>* w, T* copy, const T* g, Compute<T>* sum, long long count, Compute<T> lr, Compute<T> eps,
            Compute<T> weight_decay) {
  const Adagrad<Compute<T>> rule{lr, eps, weight_decay};
  update<PACKS>(Arrays<T>{w, copy, g, sum, nullptr, count}, rule);
}
