// What threads wait for: the barrier of a block, meetings of a warp's lanes, other blocks.
#include "state.h"

namespace emulate {

namespace {

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

}  // namespace

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

int barrier(bool predicate, const char* name, Site site) {
  Block& block = *running->block;
  const Wait& other = block.barrier;
  if (block.arrived > 0 && !same(other.site, site)) {
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

void wait_in(List& waiting, const char* name, Site site) {
  waiting.push(running);
  pause(name, site);
}

void wake(List& waiting, bool current_queues) {
  if (waiting.first != nullptr) release(waiting, current_queues);
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

}  // namespace emulate
