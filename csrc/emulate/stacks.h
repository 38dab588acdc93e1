// Stacks for fibers, kept for the next launch: only what a thread touched of one takes memory.
#pragma once

#include <stddef.h>

namespace emulate {

constexpr size_t STACK_BYTES = 128 << 10;  // below it lies a page that may not be touched

char* take_stack();  // null: no memory
void give_stack(char* stack);

// Where on a stack to begin: not at the same place in all, or their tops would share a few sets of the cache.
size_t usable(const char* stack);

}  // namespace emulate
