// What a kernel sees of the scheduler: the thread that runs, and the ways in which it waits for others.
#pragma once

#include <stddef.h>
#include <stdint.h>

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

namespace emulate {

// A line of a kernel file. As a default argument, `Site site = here()` is where the caller was called.
struct Site {
  const char* file;
  int line;
};
constexpr Site here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) { return {file, line}; }

// The part of a thread that kernel code reads often; scheduler.h has the rest.
struct View {
  uint3 thread;
  uint3 block;
  dim3 block_extent;
  dim3 grid_extent;
  unsigned lane;  // in the warp
  void* dynamic_shared;
};
extern const View* view __attribute__((visibility("hidden")));  // of the thread that runs

// By value, and not instrumented in checked mode: these are registers on a GPU, no memory.
#define RINGLEADER_REGISTER inline __attribute__((no_sanitize("thread")))
RINGLEADER_REGISTER uint3 thread_index() { return view->thread; }
RINGLEADER_REGISTER uint3 block_index() { return view->block; }
RINGLEADER_REGISTER dim3 block_extent() { return view->block_extent; }
RINGLEADER_REGISTER dim3 grid_extent() { return view->grid_extent; }
RINGLEADER_REGISTER unsigned lane() { return view->lane; }
RINGLEADER_REGISTER void* dynamic_shared() { return view->dynamic_shared; }
#undef RINGLEADER_REGISTER

// All threads of the block that have not ended wait here. Returns the number of threads with a true predicate.
int barrier(bool predicate, const char* name, Site site);

// All lanes of `mask` that have not ended meet here. The last one to come runs deliver(warp, lanes) for all.
struct Warp;
using Deliver = void (*)(Warp& warp, unsigned lanes);
void meet(unsigned mask, Deliver deliver, const char* name, Site site);

// What a lane brings to a meeting and takes from it.
struct Exchange {
  alignas(16) unsigned char bits[48];  // a value; for mma: a, b and d
  int source;                          // shuffles: the lane whose value is wanted
};
Exchange& exchange();  // of the thread that runs

// Lets other blocks run, then reads: what a loop that waits for another block calls.
unsigned poll(const unsigned* address, Site site);

// Checked mode only: a fence, and accesses that the compiler does not instrument.
enum class Access { read, write, atomic, poll };
#ifdef RINGLEADER_CHECKED
void fence();
void touch(const void* address, size_t bytes, Access access, Site site);
#else
inline void fence() {}
inline void touch(const void*, size_t, Access, Site) {}
#endif

}  // namespace emulate
