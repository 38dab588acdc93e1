// What scheduler.cpp, waiting.cpp and failure.cpp share: the launch under way.
#pragma once

#include <string.h>

#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "scheduler.h"

namespace emulate {

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
extern State* state;
extern Thread* running;

unsigned long long random_number();

inline bool same(Site a, Site b) {
  return a.line == b.line && (a.file == b.file || strcmp(a.file, b.file) == 0);
}

template <typename T>
void shuffle_order(std::vector<T>& items) {
  for (size_t i = items.size(); i > 1; i--) std::swap(items[i - 1], items[random_number() % i]);
}

// scheduler.cpp
void make_current(Thread* thread);
void leave();                              // gives the processor away; back when this thread is chosen again
void pause(const char* name, Site site);   // the same, and says what it waits for

// waiting.cpp
void complete_barrier(Block& block, bool current_queues);
void complete_meeting(Warp& warp, unsigned index, bool current_queues);

// failure.cpp
void record(const char* kind, Site site, const Thread* thread, const char* message);  // thread: null, if of none
void record_deadlock(Block& block);

// While it lives, a wild pointer of the kernel is a failure of the launch and no end of the process.
class CrashGuard {
 public:
  CrashGuard();
  ~CrashGuard();
  CrashGuard(const CrashGuard&) = delete;
  CrashGuard& operator=(const CrashGuard&) = delete;
};
extern size_t crash_pc;  // the instruction that crashed; 0: none did

}  // namespace emulate
