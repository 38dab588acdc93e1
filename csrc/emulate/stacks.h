// Stacks for fibers, kept for the next launch: only what a thread touched of one takes memory.
#pragma once

#include <stddef.h>

namespace emulate {

constexpr size_t STACK_BYTES = 128 << 10;  // below it lies a page that may not be touched

// Those in use by nobody. One for all kernels of a process: each of them is a shared object, which would have its own.
struct StackPool {
  char** stacks;
  size_t count, capacity;
};

char* take_stack(StackPool& pool);  // null: no memory
void give_stack(StackPool& pool, char* stack);
void trim(StackPool& pool);  // after a launch: a few thousand are kept

// How much of it to use: tops all at the same place of a page would share a few sets of the cache.
size_t usable(const char* stack);

}  // namespace emulate
