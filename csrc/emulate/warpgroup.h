// What hopper.cpp does for the instructions of hopper.h.
#pragma once

#include "tensor.h"

// As EmulatedDevice.tensor_map fills it in: an array of four axes, columns first, and the box that one copy takes.
struct alignas(64) TensorMap {
  const unsigned char* start;
  long long extents[4];
  long long strides[4];  // in bytes
  int box[4];
  int item;  // bytes of a number
};

namespace emulate {

// Where shared memory lies in a block's address space: dynamic shared memory begins at 0.
inline uint32_t shared_address(const void* shared) {
  return static_cast<uint32_t>(static_cast<const char*>(shared) - static_cast<const char*>(dynamic_shared()));
}

void mbarrier_init(uint64_t* barrier, unsigned arrivals, Site site);
void mbarrier_arrive(uint64_t* barrier, unsigned bytes, Site site);
void mbarrier_wait(uint64_t* barrier, unsigned parity, Site site);
void tma_load(void* shared, const TensorMap* map, uint64_t* barrier, const int (&at)[4], Site site);

// A product as wgmma is told it. a: this lane's registers, or null: `a_place` describes it in shared memory.
struct WarpgroupProduct {
  float* d;
  unsigned columns;
  const uint32_t* a;
  uint64_t a_place, b_place;
  bool transposed_a, transposed_b, add;
  Factor factor;
};
void wgmma(const WarpgroupProduct& product, Site site);
void wgmma_commit();
void wgmma_wait(unsigned pending, Site site);

}  // namespace emulate
