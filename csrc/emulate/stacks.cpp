#include "stacks.h"

#include <sys/mman.h>

#include <vector>

namespace emulate {

namespace {

constexpr size_t GUARD_BYTES = 4096, STACKS_AT_ONCE = 64;
std::vector<char*>* free_stacks;

}  // namespace

char* take_stack() {
  if (free_stacks == nullptr) free_stacks = new std::vector<char*>;
  if (free_stacks->empty()) {
    const size_t each = GUARD_BYTES + STACK_BYTES;
    void* memory = mmap(nullptr, each * STACKS_AT_ONCE, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return nullptr;
    for (size_t i = STACKS_AT_ONCE; i-- > 0;) {
      char* guard = static_cast<char*>(memory) + each * i;
      mprotect(guard, GUARD_BYTES, PROT_NONE);
      free_stacks->push_back(guard + GUARD_BYTES);
    }
  }
  char* stack = free_stacks->back();
  free_stacks->pop_back();
  return stack;
}

void give_stack(char* stack) { free_stacks->push_back(stack); }

size_t usable(const char* stack) {
  const size_t number = reinterpret_cast<size_t>(stack) / (GUARD_BYTES + STACK_BYTES);
  return STACK_BYTES - number % 20 * 192;
}

}  // namespace emulate
