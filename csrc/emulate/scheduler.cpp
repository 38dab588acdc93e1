#include "scheduler.h"

#include <string.h>

#include <algorithm>

#include "parameters.h"
#include "state.h"
#ifdef __SSE__
#include <xmmintrin.h>
#endif

namespace emulate {

const View* view;
State* state;
Thread* running;

unsigned long long random_number() {  // splitmix64
  unsigned long long z = state->random += 0x9e3779b97f4a7c15ull;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ z >> 27) * 0x94d049bb133111ebull;
  return z ^ z >> 31;
}

namespace {

constexpr int VAIN_ROUNDS = 10000;  // of all blocks polling, before it counts as a deadlock

// --- Switching -------------------------------------------------------------------------------------------------------

void run_threads();

constexpr const char* NO_STACK = "no memory for another thread's stack";

bool start(Thread* thread) {  // false: NO_STACK
  thread->stack = take_stack(*state->launch->stacks);
  if (thread->stack == nullptr) return false;
  prepare_context(thread->context, thread->stack, usable(thread->stack), run_threads);
  return true;
}

// The thread that goes on next in the block, and whether it has yet to be started. Null: none can.
std::pair<Thread*, bool> choose_next(Block& block) {
  const bool fresh = block.started < block.threads.size();
  const bool prefer_fresh = fresh && state->launch->scrambled && random_number() % 2 == 0;
  if (block.ready.first != nullptr && !prefer_fresh) return {block.ready.take(), false};
  if (fresh) return {&block.threads[block.order[block.started++]], true};
  return {nullptr, false};
}

}  // namespace

void make_current(Thread* thread) {
  running = thread;
  view = thread ? &thread->view : nullptr;
}

void leave() {
  Thread* self = running;
  const auto [next, fresh] = choose_next(*self->block);
  if (next == self) return;
  if (fresh && !start(next)) fail("memory", {}, NO_STACK);
  make_current(next);
  switch_context(self->context, next != nullptr ? next->context : state->host);
}

void pause(const char* name, Site site) {
  Thread* self = running;
  self->wait = {name, site};
  leave();
  self->wait = {};
}

namespace {

// --- A thread's life -------------------------------------------------------------------------------------------------

void end_thread(Thread* thread) {
  Block& block = *thread->block;
  Warp& warp = *thread->warp;
  thread->ended = true;
  thread->copies.clear();
  thread->products.clear();
  thread->held.clear();
  block.live--;
  warp.live &= ~(1u << thread->view.lane);
  state->progress = true;
  if (block.live > 0 && block.arrived == block.live) complete_barrier(block, false);
  for (unsigned i = warp.open; i-- > 0;) {
    if (warp.meetings[i].arrived == (warp.meetings[i].mask & warp.live)) complete_meeting(warp, i, false);
  }
}

// What runs on each stack: threads, one after another as long as none of them has to wait.
void run_threads() {
  for (;;) {
    Thread* self = running;
    ringleader_entry.call(state->launch->arguments);
    end_thread(self);
    const auto [next, fresh] = choose_next(*self->block);
    char* stack = std::exchange(self->stack, nullptr);
    if (fresh) {
      next->stack = stack;
      make_current(next);
      continue;
    }
    give_stack(*state->launch->stacks, stack);  // nobody takes it before the switch
    make_current(next);
    Context ended;
    switch_context(ended, next != nullptr ? next->context : state->host);
  }
}

// --- Blocks ----------------------------------------------------------------------------------------------------------

std::unique_ptr<Block> new_block() {
  auto block = std::make_unique<Block>();
  const auto& extent = state->launch->block;
  const unsigned size = extent[0] * extent[1] * extent[2];
  block->threads.resize(size);
  block->warps.resize((size + 31) / 32);
  block->order.resize(size);
  for (unsigned i = 0; i < size; i++) {
    Thread& thread = block->threads[i];
    thread.linear = i;
    thread.block = block.get();
    thread.warp = &block->warps[i / 32];
    thread.view.thread = {i % extent[0], i / extent[0] % extent[1], i / (extent[0] * extent[1])};
    thread.view.block_extent = {extent[0], extent[1], extent[2]};
    thread.view.grid_extent = {state->launch->grid[0], state->launch->grid[1], state->launch->grid[2]};
    thread.view.lane = i % 32;
    block->order[i] = i;
  }
  return block;
}

constexpr size_t DYNAMIC_ALIGNMENT = 1024;

void enter_block(Block& block, unsigned linear) {
  const Launch& launch = *state->launch;
  const unsigned size = static_cast<unsigned>(block.threads.size());
  block.linear = linear;
  block.started = block.arrived = 0;
  block.votes = block.result = 0;
  block.live = size;
  block.ready = block.polling = block.at_barrier = {};
  block.at_mbarrier.clear();
  block.boxes.clear();
  block.dynamic_shared.resize(launch.shared + 2 * DYNAMIC_ALIGNMENT);  // more than asked for, on both sides
  const size_t address = reinterpret_cast<size_t>(block.dynamic_shared.data());
  unsigned char* dynamic = block.dynamic_shared.data() + (DYNAMIC_ALIGNMENT - address % DYNAMIC_ALIGNMENT);
  for (unsigned i = 0; i < block.warps.size(); i++) {
    const unsigned lanes = std::min(32u, size - 32 * i);
    block.warps[i].lanes = &block.threads[32 * i];
    block.warps[i].live = lanes == 32 ? ~0u : (1u << lanes) - 1;
    block.warps[i].open = 0;
  }
  for (Thread& thread : block.threads) {
    thread.view.block = {linear % launch.grid[0], linear / launch.grid[0] % launch.grid[1],
                         linear / (launch.grid[0] * launch.grid[1])};
    thread.view.dynamic_shared = dynamic;
    thread.ended = false;
    thread.wait = {};
    thread.groups = 0;
    thread.product_groups = 0;
    thread.polled = 0;
  }
  if (launch.scrambled) {
    shuffle_order(block.order);
    memset(dynamic, 0xff, launch.shared);  // NaN of every float type
    for (size_t i = 0; i < launch.region_count; i++) memset(launch.regions[i].start, 0xff, launch.regions[i].bytes);
  }
  block_starts(block, dynamic);
}

// Static shared memory becomes the block's: another live block's contents are put away.
void load_shared(Block* block) {
  if (state->loaded == block) return;
  const Launch& launch = *state->launch;
  if (state->loaded != nullptr) {
    state->loaded->saved.clear();
    for (size_t i = 0; i < launch.region_count; i++) {
      const Region& region = launch.regions[i];
      state->loaded->saved.insert(state->loaded->saved.end(), region.start, region.start + region.bytes);
    }
  }
  const unsigned char* saved = block->saved.data();
  for (size_t i = 0; i < launch.region_count && !block->saved.empty(); i++) {
    memcpy(launch.regions[i].start, saved, launch.regions[i].bytes);
    saved += launch.regions[i].bytes;
  }
  state->loaded = block;
}

// Runs the block until it is finished or all its threads wait for other blocks.
void run_block(Block& block) {
  block.ready.append(block.polling);
  const auto [next, fresh] = choose_next(block);
  if (fresh && !start(next)) {
    record("memory", {}, next, NO_STACK);
    return;
  }
  make_current(next);
  switch_context(state->host, next->context);
  make_current(nullptr);
}

// As CuPy compiles for a GPU (-ftz=true): subnormal results and operands are zero. Here those of double, too.
struct FlushSubnormals {
#ifdef __SSE__
  unsigned before = _mm_getcsr();
  FlushSubnormals() { _mm_setcsr(before | 0x8040); }
  ~FlushSubnormals() { _mm_setcsr(before); }
#endif
};

// --- The launch ------------------------------------------------------------------------------------------------------

void run_grid() {
  const Launch& launch = *state->launch;
  std::vector<unsigned> order(launch.grid[0] * launch.grid[1] * launch.grid[2]);
  for (unsigned i = 0; i < order.size(); i++) order[i] = i;
  if (launch.scrambled) shuffle_order(order);
  size_t next = 0;
  int vain = 0;
  while (state->failure == nullptr && (next < order.size() || !state->live.empty())) {
    std::unique_ptr<Block> block;
    if (next < order.size()) {  // a new one: those that live, if any, wait for others
      if (state->free_blocks.empty()) state->free_blocks.push_back(new_block());
      block = std::move(state->free_blocks.back());
      state->free_blocks.pop_back();
      block->saved.clear();
      load_shared(block.get());
      enter_block(*block, order[next++]);
    } else {
      block = std::move(state->live.front());
      state->live.pop_front();
      load_shared(block.get());
    }
    state->progress = false;
    run_block(*block);
    vain = state->progress ? 0 : vain + 1;
    if (state->failure != nullptr) {
      state->live.push_back(std::move(block));
    } else if (block->live == 0) {
      block_ends(*block);
      state->loaded = nullptr;
      state->free_blocks.push_back(std::move(block));
    } else if (block->polling.first == nullptr) {
      record_deadlock(*block);
      state->live.push_back(std::move(block));
    } else {
      state->live.push_back(std::move(block));
      if (vain > VAIN_ROUNDS * static_cast<int>(state->live.size())) record_deadlock(*state->live.front());
    }
  }
  for (auto& block : state->live) {  // of a failed launch
    block_ends(*block);
    for (Thread& thread : block->threads) {
      if (thread.stack != nullptr) give_stack(*state->launch->stacks, thread.stack);
    }
  }
}

}  // namespace

void List::push(Thread* thread) {
  thread->next = nullptr;
  (first == nullptr ? first : last->next) = thread;
  last = thread;
}

Thread* List::take() {
  Thread* thread = first;
  first = first->next;
  return thread;
}

void List::append(List& other) {
  if (other.first == nullptr) return;
  (first == nullptr ? first : last->next) = other.first;
  last = other.last;
  other = {};
}

Thread* current() { return running; }
const Launch& launch() { return *state->launch; }
Exchange& exchange() { return running->exchange; }

}  // namespace emulate

// 0: it ran; else *failure says what went wrong, and *pc where if that is known by an instruction only.
extern "C" __attribute__((visibility("default"))) int ringleader_launch(const emulate::Launch* launch,
                                                                        emulate::Failure* failure, size_t* pc) {
  using namespace emulate;
  State own{};
  own.launch = launch;
  own.report = failure;
  own.random = launch->seed;
  state = &own;
  {
    CrashGuard guard;
    FlushSubnormals flush;
    run_grid();
  }
  trim(*launch->stacks);
  state = nullptr;
  *pc = crash_pc;
  return own.failure != nullptr;
}
