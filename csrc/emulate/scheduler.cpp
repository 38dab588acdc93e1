#include "scheduler.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <algorithm>
#include <deque>
#include <utility>

#include "parameters.h"
#ifdef __SSE__
#include <xmmintrin.h>
#endif

namespace emulate {

const View* view;

namespace {

// Everything of the launch under way. One at a time in a process: kernel.py holds a lock.
struct State {
  const Launch* launch;
  Failure* failure;  // null until something fails
  Failure* report;   // where it is written
  Context host;      // the caller of run()
  unsigned long long random;
  std::vector<std::unique_ptr<Block>> free_blocks;
  std::deque<std::unique_ptr<Block>> live;  // started, not finished: all of them poll
  Block* loaded;                            // whose contents static shared memory has
  bool progress;  // since the host last looked: something other than polling in vain
};
State* state;
Thread* running;

constexpr int VAIN_ROUNDS = 10000;  // of all blocks polling, before it counts as a deadlock

unsigned long long random_number() {  // splitmix64
  unsigned long long z = state->random += 0x9e3779b97f4a7c15ull;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ z >> 27) * 0x94d049bb133111ebull;
  return z ^ z >> 31;
}

template <typename T>
void shuffle_order(std::vector<T>& items) {
  for (size_t i = items.size(); i > 1; i--) std::swap(items[i - 1], items[random_number() % i]);
}

// --- Switching ----------------------------------------------------------------------------------------------------------

void run_threads();

void start(Thread* thread) {
  thread->stack = take_stack(*state->launch->stacks);
  if (thread->stack == nullptr) fail("memory", {}, "no memory for another thread's stack");
  prepare_context(thread->context, thread->stack, usable(thread->stack), run_threads);
}

void make_current(Thread* thread) {
  running = thread;
  view = thread ? &thread->view : nullptr;
}

// The thread that goes on next in the block, and whether it has yet to be started. Null: none can.
std::pair<Thread*, bool> choose_next(Block& block) {
  const bool fresh = block.started < block.threads.size();
  const bool prefer_fresh = fresh && state->launch->scrambled && random_number() % 2 == 0;
  if (block.ready.first != nullptr && !prefer_fresh) return {block.ready.take(), false};
  if (fresh) return {&block.threads[block.order[block.started++]], true};
  return {nullptr, false};
}

// Gives the processor away; back when this thread is chosen again.
void leave() {
  Thread* self = running;
  const auto [next, fresh] = choose_next(*self->block);
  if (next == self) return;
  if (fresh) start(next);
  make_current(next);
  switch_context(self->context, next != nullptr ? next->context : state->host);
}

void pause(const char* name, Site site) {
  Thread* self = running;
  self->wait = {name, site};
  leave();
  self->wait = {};
}

// Makes the waiting ones ready. Scrambled: in a random order, and the thread that runs must queue, too.
void release(List& waiting, bool current_queues) {
  state->progress = true;
  Block& block = *running->block;
  if (!state->launch->scrambled) {
    block.ready.append(waiting);
    return;
  }
  std::vector<Thread*> threads;
  while (waiting.first != nullptr) threads.push_back(waiting.take());
  if (current_queues) threads.push_back(running);
  shuffle_order(threads);
  for (Thread* thread : threads) block.ready.push(thread);
  threads = {};
  if (current_queues) leave();
}

// --- Waiting ------------------------------------------------------------------------------------------------------------

void complete_barrier(Block& block, bool current_queues) {
  block.result = block.votes;
  block.arrived = 0;
  block.votes = 0;
  barrier_done(block);
  release(block.at_barrier, current_queues);
}

void complete_meeting(Warp& warp, unsigned index, bool current_queues) {
  Meeting meeting = warp.meetings[index];
  warp.meetings[index] = warp.meetings[--warp.open];
  meeting.deliver(warp, meeting.arrived);
  met(warp, meeting.arrived);
  release(meeting.waiting, current_queues);
}

Meeting& find_meeting(Warp& warp, unsigned mask, Deliver deliver, Wait wait) {
  for (unsigned i = 0; i < warp.open; i++) {
    Meeting& meeting = warp.meetings[i];
    if (meeting.mask != mask) continue;
    if (meeting.deliver != deliver) {
      fail("divergent warp", wait.site, "lanes of a warp call %s here while others wait in %s at %s:%d", wait.name,
           meeting.wait.name, meeting.wait.site.file, meeting.wait.site.line);
    }
    return meeting;
  }
  Meeting& meeting = warp.meetings[warp.open++];
  meeting = {mask, 0, deliver, wait, {}};
  return meeting;
}

// --- A thread's life ------------------------------------------------------------------------------------------------------

void end_thread(Thread* thread) {
  Block& block = *thread->block;
  Warp& warp = *thread->warp;
  thread->ended = true;
  thread->copies.clear();
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

// --- Blocks ---------------------------------------------------------------------------------------------------------------

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
  if (fresh) start(next);
  make_current(next);
  switch_context(state->host, next->context);
  make_current(nullptr);
}

// --- Failures ---------------------------------------------------------------------------------------------------------------

void record(const char* kind, Site site, const Thread* thread, const char* message) {
  Failure& failure = *(state->failure = state->report);
  snprintf(failure.kind, sizeof failure.kind, "%s", kind);
  snprintf(failure.message, sizeof failure.message, "%s", message);
  snprintf(failure.file, sizeof failure.file, "%s", site.file ? site.file : "");
  failure.line = site.line;
  if (thread == nullptr) return;
  const uint3 b = thread->view.block, t = thread->view.thread;
  const unsigned block[3] = {b.x, b.y, b.z}, index[3] = {t.x, t.y, t.z};
  memcpy(failure.block, block, sizeof block);
  memcpy(failure.thread, index, sizeof index);
}

// Who waits where, and how many have ended: the message of a deadlock.
void record_deadlock(Block& block, const char* kind) {
  char message[sizeof(Failure::message)];
  size_t used = 0;
  const auto say = [&](const char* format, auto... values) {
    if (used < sizeof message) {
      used += static_cast<size_t>(snprintf(message + used, sizeof message - used, format, values...));
    }
  };
  std::vector<bool> told(block.threads.size());
  const Thread* first_waiting = nullptr;
  for (size_t i = 0; i < block.threads.size(); i++) {
    const Thread& thread = block.threads[i];
    if (told[i] || thread.ended) continue;
    if (first_waiting == nullptr) first_waiting = &thread;
    int count = 0;
    for (size_t j = i; j < block.threads.size(); j++) {
      const Wait& other = block.threads[j].wait;
      if (block.threads[j].ended || other.name != thread.wait.name || other.site.line != thread.wait.site.line) continue;
      told[j] = true;
      count++;
    }
    const uint3 at = thread.view.thread;
    say("%d thread%s, first (%u, %u, %u), wait%s in %s at %s:%d; ", count, count == 1 ? "" : "s", at.x, at.y, at.z,
        count == 1 ? "s" : "", thread.wait.name, thread.wait.site.file, thread.wait.site.line);
  }
  say("%u ended", static_cast<unsigned>(block.threads.size()) - block.live);
  record(kind, first_waiting->wait.site, first_waiting, message);
}

// A wild pointer: the launch fails, the process lives. pc: of the instruction, for kernel.py to find the line.
size_t crash_pc;

void on_crash(int signal, siginfo_t* info, void* machine) {
  if (running == nullptr) {  // not the kernel's doing
    struct sigaction usual {};
    usual.sa_handler = SIG_DFL;
    sigaction(signal, &usual, nullptr);
    return;  // and it happens again
  }
#ifdef __x86_64__
  crash_pc = static_cast<size_t>(static_cast<ucontext_t*>(machine)->uc_mcontext.gregs[16]);  // RIP
#else
  static_cast<void>(machine);
#endif
  if (signal == SIGFPE) fail("crash", {}, "divides an integer by zero");
  fail("crash", {}, "address %p is no memory, or not aligned for the access, or the stack of %zu KB is used up",
       info->si_addr, STACK_BYTES >> 10);
}

struct CrashGuard {
  static constexpr int SIGNALS[3] = {SIGSEGV, SIGBUS, SIGFPE};
  struct sigaction before[3];
  stack_t stack_before;
  CrashGuard() {
    static char* stack = new char[64 << 10];
    stack_t own{};
    own.ss_sp = stack;
    own.ss_size = 64 << 10;
    sigaltstack(&own, &stack_before);
    struct sigaction action {};
    action.sa_sigaction = on_crash;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    for (int i = 0; i < 3; i++) sigaction(SIGNALS[i], &action, &before[i]);
  }
  ~CrashGuard() {
    for (int i = 0; i < 3; i++) sigaction(SIGNALS[i], &before[i], nullptr);
    sigaltstack(&stack_before, nullptr);
  }
};

// As CuPy compiles for a GPU (-ftz=true): subnormal results and operands are zero. Here those of double, too.
struct FlushSubnormals {
#ifdef __SSE__
  unsigned before = _mm_getcsr();
  FlushSubnormals() { _mm_setcsr(before | 0x8040); }
  ~FlushSubnormals() { _mm_setcsr(before); }
#endif
};

// --- The launch -------------------------------------------------------------------------------------------------------------

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
      record_deadlock(*block, "deadlock");
      state->live.push_back(std::move(block));
    } else {
      state->live.push_back(std::move(block));
      if (vain > VAIN_ROUNDS * static_cast<int>(state->live.size())) record_deadlock(*state->live.front(), "deadlock");
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

int barrier(bool predicate, const char* name, Site site) {
  Block& block = *running->block;
  const Wait& other = block.barrier;
  if (block.arrived > 0 && (other.site.line != site.line || strcmp(other.site.file, site.file) != 0)) {
    fail("divergent barrier", site, "%s here, while %u of the block's threads wait in %s at %s:%d", name,
         block.arrived, other.name, other.site.file, other.site.line);
  }
  block.barrier = {name, site};
  block.votes += predicate;
  if (++block.arrived == block.live) {
    complete_barrier(block, true);
  } else {
    block.at_barrier.push(running);
    pause(name, site);
  }
  return block.result;
}

void meet(unsigned mask, Deliver deliver, const char* name, Site site) {
  Thread* self = running;
  Warp& warp = *self->warp;
  const unsigned own = 1u << self->view.lane;
  if ((mask & own) == 0) fail("divergent warp", site, "%s with mask %#x by lane %u, which is not in it", name, mask,
                              self->view.lane);
  Meeting& meeting = find_meeting(warp, mask, deliver, {name, site});
  meeting.arrived |= own;
  if (meeting.arrived == (mask & warp.live)) {
    complete_meeting(warp, static_cast<unsigned>(&meeting - warp.meetings), true);
  } else {
    meeting.waiting.push(self);
    pause(name, site);
  }
}

unsigned poll(const unsigned* address, Site site) {
  Thread* self = running;
  self->block->polling.push(self);
  pause("poll", site);
  touch(address, sizeof *address, Access::poll, site);
  const unsigned value = *static_cast<const volatile unsigned*>(address);
  if (value != self->polled) state->progress = true;
  self->polled = value;
  return value;
}

void fail(const char* kind, Site site, const char* format, ...) {
  char message[sizeof(Failure::message)];
  va_list values;
  va_start(values, format);
  vsnprintf(message, sizeof message, format, values);
  va_end(values);
  Thread* self = running;
  record(kind, site, self, message);
  make_current(nullptr);
  switch_context(self->context, state->host);
  __builtin_unreachable();
}

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
  crash_pc = 0;
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
