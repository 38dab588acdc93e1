// Dropout (Srivastava et al. 2014), scaled in training: y = x f, where f is scale at elements that are kept, else 0.
//
// The backward pass is the forward pass of the gradient: dx = g f. The mask is given, as bytes, or it comes from a counter:
// element i is kept if word i % 4 of Philox(counter i / 4) is at least the threshold, so nothing has to be stored, and the
// backward pass draws the same numbers again. Bytes that have to move: 2 count sizeof(T), and the mask if there is one.
#include "elements.cuh"

// Four random words of a counter of 128 bits and a key of 64: Philox 4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random
// numbers: as easy as 1, 2, 3", 2011, section 4). Here: counter (index, offset), key seed.
struct Philox {
  uint32_t word[4];

  __device__ __forceinline__ Philox(unsigned long long index, unsigned long long offset, unsigned long long seed) {
    uint32_t c[4] = {uint32_t(index), uint32_t(index >> 32), uint32_t(offset), uint32_t(offset >> 32)};
    uint32_t key0 = uint32_t(seed), key1 = uint32_t(seed >> 32);
#pragma unroll
    for (int round = 0; round < 10; round++) {
      const unsigned long long product0 = 0xD2511F53ull * c[0], product1 = 0xCD9E8D57ull * c[2];
      const uint32_t next0 = uint32_t(product1 >> 32) ^ c[1] ^ key0, next2 = uint32_t(product0 >> 32) ^ c[3] ^ key1;
      c[1] = uint32_t(product1);
      c[3] = uint32_t(product0);
      c[0] = next0;
      c[2] = next2;
      key0 += 0x9E3779B9u;  // the golden ratio
      key1 += 0xBB67AE85u;  // sqrt(3) - 1
    }
#pragma unroll
    for (int j = 0; j < 4; j++) word[j] = c[j];
  }
};

// x f, rounded as the numpy op rounds it: f is of T.
template <typename T>
__device__ __forceinline__ T drop(T x, bool keep, Compute<T> scale) {
  const Compute<T> factor = keep ? to_compute(from_compute<T>(scale)) : Compute<T>(0);
  return from_compute<T>(to_compute(x) * factor);
}

// --- clear: an element a thread -------------------------------------------------------------------------------------------
// Draws four words and uses one. Not yet measured.

// threshold: 2^32 times the probability that an element is dropped.
template <typename T>
__global__ void dropout(const T* x, T* y, long long count, Compute<T> scale, long long threshold, long long seed,
                        long long offset) {
  const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const Philox random(i / 4, offset, seed);
  y[i] = drop(x[i], (long long)random.word[i % 4] >= threshold, scale);
}

// keep: bytes, 0 or not.
template <typename T>
__global__ void masked_dropout(const T* x, const uint8_t* keep, T* y, long long count, Compute<T> scale) {
  const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i < count) y[i] = drop(x[i], keep[i] != 0, scale);
}

// --- packs: at least four elements and 16 bytes a thread at a time --------------------------------------------------------
// Arrays begin at multiples of 16 bytes. Not yet measured.

template <typename T>
__global__ void __launch_bounds__(ELEMENTS_BLOCK)
    dropout_packs(const T* x, T* y, long long count, Compute<T> scale, long long threshold, long long seed,
                  long long offset) {
  constexpr int N = Pack<T>::size < 4 ? 4 : Pack<T>::size;
  walk_elements<N>(
      count, 0,
      [&](long long i) {
        const Philox random(i / 4, offset, seed);
        y[i] = drop(x[i], (long long)random.word[i % 4] >= threshold, scale);
      },
      [&](long long i) {
        Elements<T, N> values = Elements<T, N>::load(x + i);
#pragma unroll
        for (int four = 0; four < N; four += 4) {
          const Philox random((i + four) / 4, offset, seed);
#pragma unroll
          for (int j = 0; j < 4; j++) {
            values[four + j] = drop(values[four + j], (long long)random.word[j] >= threshold, scale);
          }
        }
        values.store(y + i);
      });
}

template <typename T>
__global__ void __launch_bounds__(ELEMENTS_BLOCK)
    masked_dropout_packs(const T* x, const uint8_t* keep, T* y, long long count, Compute<T> scale) {
  constexpr int N = 16;  // bytes of the mask
  walk_elements<N>(
      count, 0, [&](long long i) { y[i] = drop(x[i], keep[i] != 0, scale); },
      [&](long long i) {
        Elements<T, N> values = Elements<T, N>::load(x + i);
        const Elements<uint8_t, N> kept = Elements<uint8_t, N>::load(keep + i);
#pragma unroll
        for (int j = 0; j < N; j++) values[j] = drop(values[j], kept[j] != 0, scale);
        values.store(y + i);
      });
}
