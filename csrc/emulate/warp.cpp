// What the last lane to come to a meeting does for all of them.
#include <string.h>

#include "scheduler.h"
#include "warp.h"

namespace emulate {

void deliver_nothing(Warp&, unsigned) {}

void deliver_shuffle(Warp& warp, unsigned lanes) {
  unsigned long long sent[32];
  for (int lane = 0; lane < 32; lane++) {
    if (lanes >> lane & 1u) memcpy(&sent[lane], warp.lanes[lane].exchange.bits, 8);
  }
  for (int lane = 0; lane < 32; lane++) {
    if ((lanes >> lane & 1u) == 0) continue;
    Exchange& mine = warp.lanes[lane].exchange;
    const unsigned source = static_cast<unsigned>(mine.source);
    const bool there = source < 32 && (lanes >> source & 1u);
    const unsigned long long received = there ? sent[source] : ~0ull;
    memcpy(mine.bits, &received, 8);
  }
}

void deliver_ballot(Warp& warp, unsigned lanes) {
  unsigned votes = 0;
  for (int lane = 0; lane < 32; lane++) {
    if (lanes >> lane & 1u) votes |= static_cast<unsigned>(warp.lanes[lane].exchange.bits[0]) << lane;
  }
  for (int lane = 0; lane < 32; lane++) {
    if (lanes >> lane & 1u) memcpy(warp.lanes[lane].exchange.bits, &votes, sizeof votes);
  }
}

void deliver_match(Warp& warp, unsigned lanes) {
  unsigned long long values[32];
  for (int lane = 0; lane < 32; lane++) {
    if (lanes >> lane & 1u) memcpy(&values[lane], warp.lanes[lane].exchange.bits, 8);
  }
  for (int lane = 0; lane < 32; lane++) {
    if ((lanes >> lane & 1u) == 0) continue;
    unsigned same = 0;
    for (int other = 0; other < 32; other++) {
      if ((lanes >> other & 1u) && values[other] == values[lane]) same |= 1u << other;
    }
    memcpy(warp.lanes[lane].exchange.bits, &same, sizeof same);
  }
}

}  // namespace emulate
