// Barriers of a block, and what the lanes of a warp do together: shuffles, votes, reductions.
#pragma once

#include "warp.h"

namespace emulate {

template <typename T>
__attribute__((no_sanitize("thread"))) inline T shuffle(unsigned mask, T value, int source, const char* name,
                                                        Site site) {
  static_assert(sizeof(T) <= 8, "a shuffle takes up to 8 bytes");
  Exchange& mine = exchange();
  __builtin_memcpy(mine.bits, &value, sizeof value);
  mine.source = source;
  meet(mask, deliver_shuffle, name, site);
  __builtin_memcpy(&value, mine.bits, sizeof value);
  return value;
}

__attribute__((no_sanitize("thread"))) inline unsigned ballot(unsigned mask, bool predicate, const char* name,
                                                              Site site) {
  Exchange& mine = exchange();
  const unsigned vote = predicate;
  __builtin_memcpy(mine.bits, &vote, sizeof vote);
  meet(mask, deliver_ballot, name, site);
  unsigned votes;
  __builtin_memcpy(&votes, mine.bits, sizeof votes);
  return votes;
}

// value of all lanes of mask, combined; each lane gets it.
template <typename T, typename Combine>
inline T reduce(unsigned mask, T value, Combine combine, const char* name, Site site) {
  T result{};
  bool first = true;
  const unsigned takes_part = ballot(mask, true, name, site);
  for (int source = 0; source < 32; source++) {
    if ((takes_part >> source & 1u) == 0) continue;
    const T other = shuffle(mask, value, source, name, site);
    result = first ? other : combine(result, other);
    first = false;
  }
  return result;
}

}  // namespace emulate

#define RINGLEADER_SITE emulate::Site site = emulate::here()

inline void __syncthreads(RINGLEADER_SITE) { emulate::barrier(false, "__syncthreads", site); }
inline int __syncthreads_count(int predicate, RINGLEADER_SITE) {
  return emulate::barrier(predicate != 0, "__syncthreads_count", site);
}
inline int __syncthreads_or(int predicate, RINGLEADER_SITE) {
  return emulate::barrier(predicate != 0, "__syncthreads_or", site) != 0;
}
inline int __syncthreads_and(int predicate, RINGLEADER_SITE) {
  return emulate::barrier(predicate == 0, "__syncthreads_and", site) == 0;
}
inline void __syncwarp(unsigned mask = 0xffffffffu, RINGLEADER_SITE) {
  emulate::meet(mask, emulate::deliver_nothing, "__syncwarp", site);
}

// width: the warp is cut into segments of so many lanes; lanes are counted within the segment.
template <typename T>
inline T __shfl_sync(unsigned mask, T value, int source, int width = 32, RINGLEADER_SITE) {
  const int lane = static_cast<int>(emulate::lane());
  return emulate::shuffle(mask, value, (lane & ~(width - 1)) | (source & (width - 1)), "__shfl_sync", site);
}
template <typename T>
inline T __shfl_xor_sync(unsigned mask, T value, int with, int width = 32, RINGLEADER_SITE) {
  const int lane = static_cast<int>(emulate::lane()), source = lane ^ with;
  const bool inside = source / width <= lane / width;  // an earlier segment may be read, a later one not
  return emulate::shuffle(mask, value, inside ? source : lane, "__shfl_xor_sync", site);
}
template <typename T>
inline T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32, RINGLEADER_SITE) {
  const int lane = static_cast<int>(emulate::lane()), place = lane & (width - 1);
  const bool inside = place + static_cast<int>(by) < width;
  return emulate::shuffle(mask, value, inside ? lane + static_cast<int>(by) : lane, "__shfl_down_sync", site);
}
template <typename T>
inline T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32, RINGLEADER_SITE) {
  const int lane = static_cast<int>(emulate::lane()), place = lane & (width - 1);
  const bool inside = place >= static_cast<int>(by);
  return emulate::shuffle(mask, value, inside ? lane - static_cast<int>(by) : lane, "__shfl_up_sync", site);
}

inline unsigned __ballot_sync(unsigned mask, int predicate, RINGLEADER_SITE) {
  return emulate::ballot(mask, predicate != 0, "__ballot_sync", site);
}
inline int __any_sync(unsigned mask, int predicate, RINGLEADER_SITE) {
  return emulate::ballot(mask, predicate != 0, "__any_sync", site) != 0;
}
inline int __all_sync(unsigned mask, int predicate, RINGLEADER_SITE) {
  return emulate::ballot(mask, predicate == 0, "__all_sync", site) == 0;
}
// Lanes never run in lockstep here: a lane is alone.
inline unsigned __activemask() { return 1u << emulate::lane(); }

template <typename T>
__attribute__((no_sanitize("thread"))) inline unsigned __match_any_sync(unsigned mask, T value, RINGLEADER_SITE) {
  emulate::Exchange& mine = emulate::exchange();
  const unsigned long long none = 0;
  __builtin_memcpy(mine.bits, &none, sizeof none);
  __builtin_memcpy(mine.bits, &value, sizeof value);
  emulate::meet(mask, emulate::deliver_match, "__match_any_sync", site);
  unsigned same;
  __builtin_memcpy(&same, mine.bits, sizeof same);
  return same;
}

#define RINGLEADER_REDUCE(name, T, expression)                                                          \
  inline T name(unsigned mask, T value, RINGLEADER_SITE) {                                              \
    return emulate::reduce(mask, value, [](T a, T b) -> T { return expression; }, #name, site);         \
  }
RINGLEADER_REDUCE(__reduce_add_sync, int, a + b)
RINGLEADER_REDUCE(__reduce_add_sync, unsigned, a + b)
RINGLEADER_REDUCE(__reduce_max_sync, int, a < b ? b : a)
RINGLEADER_REDUCE(__reduce_max_sync, unsigned, a < b ? b : a)
RINGLEADER_REDUCE(__reduce_min_sync, int, b < a ? b : a)
RINGLEADER_REDUCE(__reduce_min_sync, unsigned, b < a ? b : a)
RINGLEADER_REDUCE(__reduce_and_sync, unsigned, a & b)
RINGLEADER_REDUCE(__reduce_or_sync, unsigned, a | b)
RINGLEADER_REDUCE(__reduce_xor_sync, unsigned, a ^ b)
#undef RINGLEADER_REDUCE
#undef RINGLEADER_SITE
