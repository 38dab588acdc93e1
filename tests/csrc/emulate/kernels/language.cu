// Small kernels, one for each thing of the CUDA language that the emulator must get right.
#include "common.cuh"

// out[thread in the grid] = its coordinates, packed.
__global__ void coordinates(int* out) {
  const int block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  const int thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  const int at = block * blockDim.x * blockDim.y * blockDim.z + thread;
  out[at] = ((blockIdx.z * 10 + blockIdx.y) * 10 + blockIdx.x) * 1000;
  out[at] += (threadIdx.z * 10 + threadIdx.y) * 10 + threadIdx.x;
}

// Reverses each block's part of x through shared memory: static, of a template's size, and dynamic.
template <typename T, int BLOCK>
__global__ void __launch_bounds__(BLOCK) reverse(const T* __restrict__ x, T* __restrict__ y) {
  __shared__ T tile[BLOCK];
  DYNAMIC_SHARED(T, again);
  const int start = blockIdx.x * BLOCK;
  tile[threadIdx.x] = x[start + threadIdx.x];
  __syncthreads();
  again[threadIdx.x] = tile[BLOCK - 1 - threadIdx.x];
  __syncthreads();
  y[start + BLOCK - 1 - threadIdx.x] = again[BLOCK - 1 - threadIdx.x];
}

// Sum of each row, by 64 threads a row.
template <typename T>
__global__ void row_sums(const T* x, T* sums, T* largest, int columns) {
  Compute<T> sum = 0, most = -INFINITY_OF<Compute<T>>;
  for (int i = threadIdx.x; i < columns; i += 64) {
    const Compute<T> value = to_compute(x[blockIdx.x * columns + i]);
    sum += value;
    most = max_(most, value);
  }
  sum = block_sum<64>(sum);
  most = block_max<64>(most);
  if (threadIdx.x == 0) {
    sums[blockIdx.x] = from_compute<T>(sum);
    largest[blockIdx.x] = from_compute<T>(most);
  }
}

// out (9 x 32): what each lane gets, by shuffle and vote.
__global__ void warp_functions(int* out) {
  const int lane = threadIdx.x;
  out[lane] = __shfl_sync(0xffffffffu, lane * lane, 5);
  out[32 + lane] = __shfl_xor_sync(0xffffffffu, lane, 3);
  out[64 + lane] = __shfl_down_sync(0xffffffffu, lane, 4, 16);
  out[96 + lane] = __shfl_up_sync(0xffffffffu, lane, 4, 16);
  out[128 + lane] = static_cast<int>(__ballot_sync(0xffffffffu, lane % 3 == 0));
  out[160 + lane] = __any_sync(0xffffffffu, lane == 31) * 10 + __all_sync(0xffffffffu, lane < 31);
  if (lane < 16) {  // two halves of the warp go different ways
    out[192 + lane] = __shfl_xor_sync(0x0000ffffu, lane, 1);
  } else {
    out[192 + lane] = __shfl_xor_sync(0xffff0000u, 100 + lane, 2);
  }
  __syncwarp();
  out[224 + lane] = __syncthreads_count(lane < 7) * 100 + __syncthreads_or(lane == 9) * 10;
  out[224 + lane] += __syncthreads_and(lane < 31);
  out[256 + lane] = static_cast<int>(__match_any_sync(0xffffffffu, lane / 8));
}

__global__ void reductions(int* out) {
  const int lane = threadIdx.x;
  out[lane] = __reduce_add_sync(0xffffffffu, lane);
  out[32 + lane] = __reduce_max_sync(0xffffffffu, lane - 40);
  out[64 + lane] = static_cast<int>(__reduce_xor_sync(0xffffffffu, static_cast<unsigned>(lane)));
}

// *out += the number of each thread in the grid.
template <typename T>
__global__ void atomic_sum(T* out) {
  atomicAdd(out, static_cast<T>(blockIdx.x * blockDim.x + threadIdx.x));
}

// out: one counter for each operation.
__global__ void integer_atomics(unsigned* out) {
  const unsigned value = blockIdx.x * blockDim.x + threadIdx.x;
  atomicMax(&out[0], value);
  atomicMin(&out[1], value);
  atomicOr(&out[2], 1u << value % 32);
  atomicAnd(&out[3], ~(1u << value % 8));
  unsigned seen = out[4], old;
  do {  // addition, the long way
    old = seen;
    seen = atomicCAS(&out[4], old, old + 2);
  } while (seen != old);
  atomicInc(&out[5], 9);
  atomicExch(&out[6], 7u);
}

// Each number through the type and back; and the same two numbers in one register.
template <typename T>
__global__ void convert(const float* x, T* rounded, float* back, float* paired, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  rounded[i] = from_compute<T>(x[i]);
  back[i] = to_compute(rounded[i]);
  const float2 pair = unpack_pair<T>(pack_pair<T>(1.0f, x[i]));
  paired[i] = pair.x == 1.0f ? pair.y : -1.0f;
}

// y = a x by packs of 16 bytes.
template <typename T>
__global__ void scale_packs(const T* x, T* y, float a, int packs) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= packs) return;
  Pack<T> pack = load_pack(x + i * Pack<T>::size);
  for (int j = 0; j < Pack<T>::size; j++) pack[j] = from_compute<T>(Compute<T>(a) * to_compute(pack[j]));
  store_pack(y + i * Pack<T>::size, pack);
}

template <typename T>
__global__ void math(const T* x, T* out, int n) {
  const int i = threadIdx.x;
  if (i >= n) return;
  out[i] = exp_(x[i]);
  out[n + i] = log_(x[i]);
  out[2 * n + i] = tanh_(x[i]);
  out[3 * n + i] = erf_(x[i]);
  out[4 * n + i] = sqrt_(x[i]);
  out[5 * n + i] = rsqrt_(x[i]);
  out[6 * n + i] = exp2_(x[i]);
  out[7 * n + i] = fma_(x[i], x[i], T(1));
  out[8 * n + i] = max_(x[i], T(1)) + min_(x[i], T(1));
}

__global__ void subnormals(const float* x, float* out) { out[threadIdx.x] = x[threadIdx.x] * 0.5f; }

// Threads that have ended count neither at a barrier nor in a warp.
__global__ void some_end_early(int* out) {
  if (threadIdx.x >= 40) return;
  __syncthreads();
  out[threadIdx.x] = __popc(__ballot_sync(0xffffffffu, 1));
}

struct Shape {
  int rows, columns;
};
__global__ void by_value(Shape shape, bool wanted, long long big, double* out, const int* missing) {
  if (threadIdx.x == 0) out[0] = shape.rows * 100 + shape.columns + (wanted ? 0.5 : 0) + static_cast<double>(big);
  if (threadIdx.x == 1) out[1] = missing == nullptr;
}
