// Which accesses of other threads have happened before now: happened-before, kept as clocks.
//
// A block's time goes on at each barrier, and at each atomic operation by which it tells others of its writes. Within a
// warp each lane has ticks, which go on when lanes meet. An access is stamped with both.
#pragma once

#include <stdint.h>

#include <algorithm>
#include <array>
#include <unordered_map>
#include <vector>

namespace emulate {

struct Stamp {
  uint32_t thread = 0;  // in the grid, + 1; 0: there was no access
  uint32_t time = 0;    // of the block
  uint32_t tick = 0;    // of the lane
  uint32_t place : 31;  // number of the place in the source
  uint32_t atomic : 1;
  Stamp() : place(0), atomic(0) {}
};

class BlockClock {
 public:
  explicit BlockClock(unsigned threads) : ticks_(threads, 1), known_(threads), fenced_(threads) {}

  uint32_t time() const { return time_; }
  uint32_t tick(unsigned thread) const { return ticks_[thread]; }

  void barrier() { barrier_time_ = ++time_; }

  // Lanes of a warp meet: each knows now what any of them knew.
  void meet(unsigned first_thread, unsigned lanes) {
    std::array<uint32_t, 32> all{};
    for (unsigned lane = 0; lane < 32; lane++) {
      if ((lanes >> lane & 1u) == 0) continue;
      auto& known = known_[first_thread + lane];
      known[lane] = ticks_[first_thread + lane]++;
      for (unsigned i = 0; i < 32; i++) all[i] = std::max(all[i], known[i]);
    }
    for (unsigned lane = 0; lane < 32; lane++) {
      if (lanes >> lane & 1u) known_[first_thread + lane] = all;
    }
  }

  // Whether thread `other` of this block did what it stamped before what `thread` does now.
  bool before(const Stamp& stamp, unsigned other, unsigned thread) const {
    if (other == thread || stamp.time < barrier_time_) return true;
    return other / 32 == thread / 32 && known_[thread][other % 32] >= stamp.tick;
  }
  // The same for a thread of another block.
  bool before(const Stamp& stamp, unsigned other_block) const {
    return other_block < blocks_.size() && blocks_[other_block] >= stamp.time;
  }

  // An atomic operation, on a word whose clock is `word`: it learns what others told there, and tells, after a fence.
  void acquire(const std::vector<uint32_t>& word) { join(blocks_, word); }
  void release(std::vector<uint32_t>& word, unsigned own_block) {
    join(word, blocks_);
    if (word.size() <= own_block) word.resize(own_block + 1);
    word[own_block] = std::max(word[own_block], time_);
    time_++;
  }

  // A thread's writes are told of by atomics only after a fence.
  void fence(unsigned thread) { fenced_[thread] = true; }
  void wrote_global(unsigned thread) { fenced_[thread] = false; }
  bool fenced(unsigned thread) const { return fenced_[thread]; }

 private:
  static void join(std::vector<uint32_t>& into, const std::vector<uint32_t>& from) {
    if (into.size() < from.size()) into.resize(from.size());
    for (size_t i = 0; i < from.size(); i++) into[i] = std::max(into[i], from[i]);
  }

  uint32_t time_ = 1, barrier_time_ = 1;
  std::vector<uint32_t> ticks_;                   // of each thread
  std::vector<std::array<uint32_t, 32>> known_;   // of each thread: ticks of its warp's lanes
  std::vector<bool> fenced_;
  std::vector<uint32_t> blocks_;                  // times of other blocks that this one was told of
};

}  // namespace emulate
