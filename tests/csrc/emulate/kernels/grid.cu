// Blocks that wait for each other.
#include "common.cuh"

// Each round, every block adds 1 to its number, and then all read the sum of all. rounds (rounds x blocks).
__global__ void in_rounds(unsigned* barrier, float* numbers, float* sums, int rounds) {
  __shared__ float own[32];
  own[threadIdx.x] = blockIdx.x;  // must survive while other blocks run
  for (int round = 0; round < rounds; round++) {
    if (threadIdx.x == 0) numbers[blockIdx.x] += 1;
    grid_barrier(barrier);
    float sum = 0;
    for (unsigned block = 0; block < gridDim.x; block++) sum += numbers[block];
    grid_barrier(barrier);
    if (threadIdx.x == 31) sums[round * gridDim.x + blockIdx.x] = own[threadIdx.x] == blockIdx.x ? sum : -1;
  }
}

// Sum of x over all blocks: the last block to finish its part adds the parts. FENCED = false is a planted bug.
template <bool FENCED>
__global__ void sum_by_last_block(const float* x, float* parts, unsigned* finished, float* sum, int n) {
  __shared__ bool last;
  float part = 0;
  for (int i = blockIdx.x * 64 + threadIdx.x; i < n; i += gridDim.x * 64) part += x[i];
  part = block_sum<64>(part);
  if (threadIdx.x == 0) {
    parts[blockIdx.x] = part;
    if (FENCED) __threadfence();
    last = atomicAdd(finished, 1u) == gridDim.x - 1;
  }
  __syncthreads();
  if (!last) return;
  float all = 0;
  for (int i = threadIdx.x; i < static_cast<int>(gridDim.x); i += 64) all += parts[i];
  all = block_sum<64>(all);
  if (threadIdx.x == 0) *sum = all;
}

// A flag that nobody ever sets.
__global__ void wait_for_ever(const unsigned* flag) {
  while (poll(flag) == 0) {  // bug: wait_for_ever
  }
}
