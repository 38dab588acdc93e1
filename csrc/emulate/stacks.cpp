#include "stacks.h"

#include <stdlib.h>
#include <sys/mman.h>

namespace emulate {

namespace {

constexpr size_t GUARD_BYTES = 4096, EACH = GUARD_BYTES + STACK_BYTES;
constexpr size_t AT_ONCE = 64;  // mapped
// Linux allows a process 65,530 mappings, and a stack with its guard is two.
constexpr size_t MOST_KEPT = 2048;

}  // namespace

char* take_stack(StackPool& pool) {
  if (pool.count == 0) {
    void* memory = mmap(nullptr, EACH * AT_ONCE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                        -1, 0);
    if (memory == MAP_FAILED) return nullptr;
    for (size_t i = AT_ONCE; i-- > 0;) {
      char* guard = static_cast<char*>(memory) + EACH * i;
      mprotect(guard, GUARD_BYTES, PROT_NONE);
      give_stack(pool, guard + GUARD_BYTES);
    }
  }
  return pool.stacks[--pool.count];
}

void give_stack(StackPool& pool, char* stack) {
  if (pool.count == pool.capacity) {
    pool.capacity = 2 * pool.capacity + AT_ONCE;
    pool.stacks = static_cast<char**>(realloc(pool.stacks, pool.capacity * sizeof *pool.stacks));
  }
  pool.stacks[pool.count++] = stack;
}

void trim(StackPool& pool) {
  while (pool.count > MOST_KEPT) munmap(pool.stacks[--pool.count] - GUARD_BYTES, EACH);
}

size_t usable(const char* stack) { return STACK_BYTES - reinterpret_cast<size_t>(stack) / EACH % 20 * 192; }

}  // namespace emulate
