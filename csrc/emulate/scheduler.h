// The scheduler: each thread of a kernel is a fiber with a stack of its own; one runs at a time.
//
// A thread that must wait leaves the processor to the next ready one of its block and is made ready again by the thread
// that completes what it waits for. Blocks run one after another, except where the threads of one poll: then the others
// get their turn. When nobody can go on, that is a deadlock, and the launch fails and says who waits where.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "context.h"
#include "stacks.h"
#include "tensor.h"
#include "thread.h"

struct TensorMap;

namespace emulate {

struct Block;
struct Thread;

// What a thread waits for, and the line where.
struct Wait {
  const char* name = nullptr;
  Site site{};
};

struct Copy {  // of cp.async, put off until its wait
  void* to;
  const void* from;
  unsigned bytes;
  bool wanted;
  unsigned group;
  Site site;
};

struct PendingProduct {  // of wgmma, put off until its wait
  float* d;
  unsigned columns;
  bool from_registers;
  uint32_t a[4];
  uint64_t a_place, b_place;
  bool transposed_a, transposed_b, add;
  Factor factor;
  unsigned group;
  Site site;
};

struct BoxCopy {  // of tma_load, put off until somebody waits for its barrier
  void* to;
  const TensorMap* map;
  uint64_t* barrier;
  int at[4];
  unsigned bytes;
  Thread* by;
  Site site;
};

struct Thread {
  View view;
  Context context;
  char* stack = nullptr;
  Thread* next = nullptr;  // in the list that it is in
  Block* block;
  Warp* warp;
  unsigned linear;  // in the block
  bool ended;
  Wait wait;
  Exchange exchange;
  unsigned polled;            // what the last poll read
  std::vector<Copy> copies;   // in the order of issue
  unsigned groups;            // of copies closed so far
  std::vector<PendingProduct> products;
  unsigned product_groups;                     // closed so far
  std::map<float*, std::vector<float>> held;   // what the registers d of products under way really have
};

struct List {  // of threads, first in first out
  Thread* first = nullptr;
  Thread* last = nullptr;
  void push(Thread* thread);
  Thread* take();
  void append(List& other);  // which is empty after it
};

struct Meeting {  // under way: some lanes of mask are there, not all
  unsigned mask;
  unsigned arrived;
  Deliver deliver;
  Wait wait;
  List waiting;
};

struct Warp {
  Thread* lanes;  // the first thread's address
  unsigned live;  // lanes that have not ended
  unsigned open;  // meetings
  Meeting meetings[32];
};

struct Block {
  unsigned linear;  // in the grid
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  std::vector<unsigned> order;  // in which threads start
  unsigned started, live;
  List ready, polling, at_barrier;
  std::map<const uint64_t*, List> at_mbarrier;
  std::vector<BoxCopy> boxes;  // under way
  unsigned arrived;  // at the barrier
  int votes, result;
  Wait barrier;
  std::vector<unsigned char> saved;  // the contents of static shared memory while another block runs
  std::vector<unsigned char> dynamic_shared;
  void* state = nullptr;             // of checked mode
};

struct Region {
  unsigned char* start;
  size_t bytes;
};

// A launch, as Python describes it (native.py has the same fields).
struct Launch {
  unsigned grid[3], block[3];
  size_t shared;            // bytes of dynamic shared memory
  void** arguments;         // the address of each
  int scrambled;            // seeded orders, poisoned shared memory
  unsigned long long seed;
  const Region* regions;    // the kernel's static shared arrays
  size_t region_count;
  StackPool* stacks;
};

struct Failure {
  char kind[32];
  char message[1024];
  char file[256];
  int line;
  unsigned block[3], thread[3];
};

[[noreturn]] void fail(const char* kind, Site site, const char* format, ...) __attribute__((format(printf, 3, 4)));
Thread* current();
const Launch& launch();
void wait_in(List& waiting, const char* name, Site site);  // until wake(waiting)
void wake(List& waiting, bool current_queues);

// What checked mode hears (checker.cpp); elsewhere they do nothing.
#ifdef RINGLEADER_CHECKED
void block_starts(Block& block, unsigned char* dynamic_shared);
void block_ends(Block& block);
void barrier_done(Block& block);
void met(Warp& warp, unsigned lanes);
void copy_issued(const Copy& copy);
void copy_done(const Copy& copy);
void box_issued(const BoxCopy& copy);
void box_done(const BoxCopy& copy);
void mbarrier_told(Thread& by, const uint64_t* barrier);  // arrived: what `by` did is told to those who wait
void mbarrier_heard(const uint64_t* barrier);
#else
inline void block_starts(Block&, unsigned char*) {}
inline void block_ends(Block&) {}
inline void barrier_done(Block&) {}
inline void met(Warp&, unsigned) {}
inline void copy_issued(const Copy&) {}
inline void copy_done(const Copy&) {}
inline void box_issued(const BoxCopy&) {}
inline void box_done(const BoxCopy&) {}
inline void mbarrier_told(Thread&, const uint64_t*) {}
inline void mbarrier_heard(const uint64_t*) {}
#endif

}  // namespace emulate
