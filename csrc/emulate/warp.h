// What the last lane to come to a meeting does for all of them (warp.cpp).
#pragma once

#include "thread.h"

namespace emulate {

// Each lane takes the value of its source lane; from one that does not take part, all ones (NaN, or -1).
void deliver_nothing(Warp& warp, unsigned lanes);
void deliver_shuffle(Warp& warp, unsigned lanes);
void deliver_ballot(Warp& warp, unsigned lanes);
void deliver_match(Warp& warp, unsigned lanes);

}  // namespace emulate
