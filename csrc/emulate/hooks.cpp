// Where checked mode is called from: the scheduler, the kernel, Python, and g++ -fsanitize=thread.
#include <string.h>

#include "watch.h"

namespace emulate {

namespace {

// pc: where the call returns to, just past it.
void look_from(const void* address, size_t bytes, Access access, const void* pc) {
  if (current() == nullptr || checker == nullptr || bytes == 0) return;
  look(reinterpret_cast<uint64_t>(address), bytes, access, place_of(reinterpret_cast<size_t>(pc) - 1));
}

}  // namespace

// --- What the scheduler and the kernel tell --------------------------------------------------------------------------

void touch(const void* address, size_t bytes, Access access, Site site) {
  look(reinterpret_cast<uint64_t>(address), bytes, access, place_of(site));
}

void fence() { state_of(*current()->block).clock.fence(current()->linear); }

void block_starts(Block& block, unsigned char* dynamic_shared) {
  auto* state = new BlockState{BlockClock(static_cast<unsigned>(block.threads.size())), {}, {}, {}, {}};
  for (const Memory& array : checker->shared) state->shared.emplace_back(array.bytes / array.granule);
  const size_t start = reinterpret_cast<size_t>(dynamic_shared);
  state->dynamic = {start, launch().shared, 0, 1, "dynamic shared memory"};
  state->shared.emplace_back(launch().shared);
  block.state = state;
}

void block_ends(Block& block) {
  state_of(block).requests.flush(checker->totals);
  delete static_cast<BlockState*>(block.state);
  block.state = nullptr;
}

void barrier_done(Block& block) {
  state_of(block).clock.barrier();
  state_of(block).requests.flush(checker->totals);
}

void met(Warp& warp, unsigned lanes) {
  state_of(*warp.lanes->block).clock.meet(warp.lanes->linear, lanes);
}

void copy_issued(const Copy& copy) {
  if (copy.wanted) touch(copy.from, copy.bytes, Access::read, copy.site);
  touch(copy.to, copy.bytes, Access::write, copy.site);
  const uint64_t to = reinterpret_cast<uint64_t>(copy.to);
  const uint32_t thread = current()->linear + 1;
  for_cells(find(to, copy.bytes), to, copy.bytes, [&](Cell& cell, uint64_t) { cell.copying = thread; });
}

void copy_done(const Copy& copy) {
  const uint64_t to = reinterpret_cast<uint64_t>(copy.to);
  const Stamp now = stamp_of(*current(), place_of(copy.site), false);
  for_cells(find(to, copy.bytes), to, copy.bytes, [&](Cell& cell, uint64_t) {
    cell.copying = 0;
    cell.writer = now;
  });
}

void box_issued(const BoxCopy& copy) {
  touch(copy.to, copy.bytes, Access::unit_write, copy.site);
  const uint64_t to = reinterpret_cast<uint64_t>(copy.to);
  for_cells(find(to, copy.bytes), to, copy.bytes, [&](Cell& cell, uint64_t) { cell.copying = copy.by->linear + 1; });
}

void box_done(const BoxCopy& copy) {
  const uint64_t to = reinterpret_cast<uint64_t>(copy.to);
  const Stamp now = stamp_of(*copy.by, place_of(copy.site), false);
  for_cells(find(to, copy.bytes), to, copy.bytes, [&](Cell& cell, uint64_t) {
    cell.copying = 0;
    cell.writer = now;
  });
  mbarrier_told(*copy.by, copy.barrier);
}

void mbarrier_told(Thread& by, const uint64_t* barrier) {
  BlockState& state = state_of(*by.block);
  state.clock.tell(state.mbarriers[barrier], by.linear);
}

void mbarrier_heard(const uint64_t* barrier) {
  BlockState& state = state_of(*current()->block);
  state.clock.hear(state.mbarriers[barrier], current()->linear);
}

}  // namespace emulate

// --- What Python calls -----------------------------------------------------------------------------------------------

#define RINGLEADER_EXPORT extern "C" __attribute__((visibility("default")))

RINGLEADER_EXPORT void ringleader_check_forget() {
  delete emulate::checker;
  emulate::checker = nullptr;
}

RINGLEADER_EXPORT void ringleader_check_begin(const emulate::Memory* arguments, size_t argument_count,
                                              const emulate::Memory* shared, size_t shared_count) {
  using namespace emulate;
  ringleader_check_forget();
  checker = new Checker;
  for (size_t i = 0; i < argument_count; i++) {
    const Memory& memory = arguments[i];
    checker->arguments.push_back({memory, std::vector<Cell>(memory.bytes / memory.granule + 1)});
  }
  checker->shared.assign(shared, shared + shared_count);
}

RINGLEADER_EXPORT void ringleader_check_end() {
  using namespace emulate;
  for (const auto& [key, fault] : checker->faults) checker->found.push_back(fault);
  for (const auto& [key, total] : checker->totals) {
    checker->traffic.push_back(
        {checker->places[Requests::place(key)], total.shared, total.requests, total.cost, total.ideal});
  }
}

RINGLEADER_EXPORT size_t ringleader_check_faults(const emulate::Fault** faults) {
  *faults = emulate::checker->found.data();
  return emulate::checker->found.size();
}

RINGLEADER_EXPORT size_t ringleader_check_traffic(const emulate::Traffic** traffic) {
  *traffic = emulate::checker->traffic.data();
  return emulate::checker->traffic.size();
}

// --- What g++ -fsanitize=thread calls --------------------------------------------------------------------------------

#define RINGLEADER_HOOK(bytes)                                                                            \
  RINGLEADER_EXPORT void __tsan_read##bytes(void* address) {                                              \
    emulate::look_from(address, bytes, emulate::Access::read, __builtin_return_address(0));               \
  }                                                                                                       \
  RINGLEADER_EXPORT void __tsan_write##bytes(void* address) {                                             \
    emulate::look_from(address, bytes, emulate::Access::write, __builtin_return_address(0));              \
  }                                                                                                       \
  RINGLEADER_EXPORT void __tsan_unaligned_read##bytes(void* address) {                                    \
    emulate::look_from(address, bytes, emulate::Access::read, __builtin_return_address(0));               \
  }                                                                                                       \
  RINGLEADER_EXPORT void __tsan_unaligned_write##bytes(void* address) {                                   \
    emulate::look_from(address, bytes, emulate::Access::write, __builtin_return_address(0));              \
  }                                                                                                       \
  RINGLEADER_EXPORT void __tsan_volatile_read##bytes(void* address) {                                     \
    emulate::look_from(address, bytes, emulate::Access::read, __builtin_return_address(0));               \
  }                                                                                                       \
  RINGLEADER_EXPORT void __tsan_volatile_write##bytes(void* address) {                                    \
    emulate::look_from(address, bytes, emulate::Access::write, __builtin_return_address(0));              \
  }
RINGLEADER_HOOK(1)
RINGLEADER_HOOK(2)
RINGLEADER_HOOK(4)
RINGLEADER_HOOK(8)
RINGLEADER_HOOK(16)
RINGLEADER_EXPORT void __tsan_read_range(void* address, size_t bytes) {
  emulate::look_from(address, bytes, emulate::Access::read, __builtin_return_address(0));
}
RINGLEADER_EXPORT void __tsan_write_range(void* address, size_t bytes) {
  emulate::look_from(address, bytes, emulate::Access::write, __builtin_return_address(0));
}
RINGLEADER_EXPORT void __tsan_init() {}
RINGLEADER_EXPORT void __tsan_func_entry(void*) {}
RINGLEADER_EXPORT void __tsan_func_exit() {}
