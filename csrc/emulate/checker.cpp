// Checked mode: every access of the kernel is looked at before it is made.
//
// g++ -fsanitize=thread puts a call before each access (__tsan_read4 and the like): to functions in hooks.cpp, in the
// place of the sanitizer's own library. Of each byte of shared memory and each element of the arguments, the last write
// and two reads are kept; a new access that conflicts with one that did not happen before it (clocks.h) is a race.
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "watch.h"

extern "C" char __ehdr_start[] __attribute__((visibility("hidden")));  // of this shared object: by the linker
extern "C" char _end[] __attribute__((visibility("hidden")));

namespace emulate {

Checker* checker;

uint32_t place_of(size_t pc) {
  const auto [at, fresh] = checker->place_of_pc.try_emplace(pc, static_cast<uint32_t>(checker->places.size()));
  if (fresh) checker->places.push_back({pc, nullptr, 0});
  return at->second;
}

uint32_t place_of(Site site) {
  const auto key = std::make_pair(site.file, site.line);
  const auto [at, fresh] = checker->place_of_line.try_emplace(key, static_cast<uint32_t>(checker->places.size()));
  if (fresh) checker->places.push_back({0, site.file, site.line});
  return at->second;
}

Stamp stamp_of(const Thread& thread, uint32_t place, bool atomic) {
  const BlockClock& clock = state_of(*thread.block).clock;
  Stamp stamp;
  stamp.thread = thread.block->linear * static_cast<uint32_t>(thread.block->threads.size()) + thread.linear + 1;
  stamp.time = clock.time();
  stamp.tick = clock.tick(thread.linear);
  stamp.place = place & 0x7fffffff;
  stamp.atomic = atomic;
  return stamp;
}

namespace {

constexpr size_t MOST_FAULTS = 200;  // different ones
constexpr uint64_t NEAR = 4096;      // bytes: an address so near to an array was meant to be in it

// --- Faults ----------------------------------------------------------------------------------------------------------

constexpr uint32_t NO_PLACE = ~0u;

__attribute__((format(printf, 4, 5))) void note(const char* kind, uint32_t place, uint32_t other, const char* format,
                                                ...) {
  const auto key = std::make_tuple(kind, place, other);
  auto at = checker->faults.find(key);
  if (at == checker->faults.end()) {
    if (checker->faults.size() >= MOST_FAULTS) return;
    Fault fault{};
    fault.kind = kind;
    va_list values;
    va_start(values, format);
    vsnprintf(fault.message, sizeof fault.message, format, values);
    va_end(values);
    fault.where = checker->places[place];
    if (other != NO_PLACE) fault.other = checker->places[other];
    const View& at_work = current()->view;
    const unsigned block[3] = {at_work.block.x, at_work.block.y, at_work.block.z};
    const unsigned thread[3] = {at_work.thread.x, at_work.thread.y, at_work.thread.z};
    memcpy(fault.block, block, sizeof block);
    memcpy(fault.thread, thread, sizeof thread);
    at = checker->faults.emplace(key, fault).first;
  }
  Fault& fault = at->second;
  if (fault.last != checker->accesses) fault.count++;
  fault.last = checker->accesses;
}

const char* verb(Access access) {
  return access == Access::read ? "reads" : access == Access::write ? "writes" : "changes";
}

// What follows an access to nowhere means nothing, and may crash: the launch ends here.
[[noreturn]] void out_of_bounds(uint64_t address, size_t bytes, Access access, uint32_t place) {
  const Memory* nearest = nullptr;
  uint64_t distance = NEAR;
  const auto consider = [&](const Memory& memory) {
    const uint64_t end = memory.start + memory.bytes;
    const uint64_t away = address >= end ? address - end : address < memory.start ? memory.start - address : 0;
    if (away >= distance) return;
    distance = away;
    nearest = &memory;
  };
  for (const Watched& argument : checker->arguments) consider(argument.memory);
  for (const Memory& array : checker->shared) consider(array);
  const Memory& dynamic = state_of(*current()->block).dynamic;
  if (dynamic.bytes > 0) consider(dynamic);
  const char* kind = "out of bounds";
  if (nearest == nullptr) {
    note(kind, place, NO_PLACE, "%s %zu bytes at %#llx, far from all memory that it was given", verb(access), bytes,
         static_cast<unsigned long long>(address));
  } else {
    note(kind, place, NO_PLACE, "%s %zu bytes at byte %lld of %s, which has %zu", verb(access), bytes,
         static_cast<long long>(address - nearest->start), nearest->name, nearest->bytes);
  }
  fail("out of bounds", {}, "the launch ended here");
}

// --- Finding what an address belongs to ------------------------------------------------------------------------------

template <typename Item, typename Get>
size_t last_not_after(const std::vector<Item>& items, uint64_t address, Get memory) {  // items.size(): none
  const auto at = std::upper_bound(items.begin(), items.end(), address,
                                   [&](uint64_t a, const Item& item) { return a < memory(item).start; });
  return at == items.begin() ? items.size() : static_cast<size_t>(at - items.begin()) - 1;
}

bool inside(const Memory& memory, uint64_t address, size_t bytes) {
  return address >= memory.start && address + bytes <= memory.start + memory.bytes;
}

}  // namespace

Target find(uint64_t address, size_t bytes) {
  BlockState& state = state_of(*current()->block);
  if (inside(state.dynamic, address, bytes)) return {&state.dynamic, &state.shared.back(), true};
  const size_t array = last_not_after(checker->shared, address, [](const Memory& m) -> const Memory& { return m; });
  if (array < checker->shared.size() && inside(checker->shared[array], address, bytes)) {
    return {&checker->shared[array], &state.shared[array], true};
  }
  const auto memory_of = [](const Watched& watched) -> const Memory& { return watched.memory; };
  const size_t argument = last_not_after(checker->arguments, address, memory_of);
  if (argument < checker->arguments.size() && inside(checker->arguments[argument].memory, address, bytes)) {
    Watched& watched = checker->arguments[argument];
    return {&watched.memory, &watched.cells, false};
  }
  return {};
}

namespace {

// Memory that is no business of ours: the thread's own stack, constants. Between shared arrays nothing is.
bool is_private(uint64_t address, size_t bytes) {
  const uint64_t stack = reinterpret_cast<uint64_t>(current()->stack);
  if (address >= stack && address + bytes <= stack + STACK_BYTES) return true;
  for (const Memory& array : checker->shared) {
    if (address + bytes > array.start - GAP && address < array.start + array.bytes + GAP) return false;
  }
  return address >= reinterpret_cast<uint64_t>(__ehdr_start) && address < reinterpret_cast<uint64_t>(_end);
}

// --- One access ------------------------------------------------------------------------------------------------------

bool happened_before(const Stamp& stamp) {
  const Thread& thread = *current();
  const unsigned size = static_cast<unsigned>(thread.block->threads.size());
  const unsigned block = (stamp.thread - 1) / size, other = (stamp.thread - 1) % size;
  const BlockClock& clock = state_of(*thread.block).clock;
  return block == thread.block->linear ? clock.before(stamp, other, thread.linear) : clock.before(stamp, block);
}

void check_race(const Stamp& earlier, const char* did, Access access, uint32_t place, const Target& target,
                uint64_t offset) {
  const bool both_atomic = earlier.atomic && (access == Access::atomic || access == Access::poll);
  if (earlier.thread == 0 || both_atomic || happened_before(earlier)) return;
  const unsigned size = static_cast<unsigned>(current()->block->threads.size());
  const unsigned block = (earlier.thread - 1) / size, thread = (earlier.thread - 1) % size;
  const char* missing = block != current()->block->linear ? "blocks run in any order"
                        : thread / 32 == current()->linear / 32 ? "no __syncwarp between"
                                                                : "no __syncthreads between";
  const uint3 by = current()->block->threads[thread].view.thread;
  const dim3 grid = current()->view.grid_extent;
  note("race", place, earlier.place, "%s byte %llu of %s, which thread (%u, %u, %u) of block (%u, %u, %u) %s (%s)",
       verb(access), static_cast<unsigned long long>(offset), target.memory->name, by.x, by.y, by.z, block % grid.x,
       block / grid.x % grid.y, block / grid.x / grid.y, did, missing);
}

bool same_warp(const Stamp& a, const Stamp& b) {
  const unsigned size = static_cast<unsigned>(current()->block->threads.size());
  const unsigned x = a.thread - 1, y = b.thread - 1;
  return x / size == y / size && x % size / 32 == y % size / 32;
}

void check_cell(Cell& cell, const Stamp& now, Access access, const Target& target, uint64_t offset) {
  if (cell.copying != 0) {
    note("copy under way", now.place, NO_PLACE, "%s byte %llu of %s, where a copy goes that nobody has waited for",
         verb(access), static_cast<unsigned long long>(offset), target.memory->name);
  } else if (target.shared && access != Access::write && cell.writer.thread == 0) {
    note("uninitialised", now.place, NO_PLACE, "%s byte %llu of %s, where nothing was written", verb(access),
         static_cast<unsigned long long>(offset), target.memory->name);
  }
  check_race(cell.writer, "wrote", access, now.place, target, offset);
  if (access == Access::write || access == Access::atomic) {
    check_race(cell.reader, "read", access, now.place, target, offset);
    check_race(cell.other, "read", access, now.place, target, offset);
    cell.writer = now;
  } else if (access == Access::read) {
    if (cell.reader.thread != 0 && !same_warp(cell.reader, now)) cell.other = cell.reader;
    cell.reader = now;
  }
}

Target checked_target(uint64_t address, size_t bytes, Access access, uint32_t place) {
  checker->accesses++;
  const Target target = find(address, bytes);
  if (target.memory == nullptr && !is_private(address, bytes)) out_of_bounds(address, bytes, access, place);
  return target;
}

}  // namespace

void look(uint64_t address, size_t bytes, Access given, uint32_t place) {
  const bool by_unit = given == Access::unit_read || given == Access::unit_write;  // no request of a warp
  const Access access = given == Access::unit_read ? Access::read : given == Access::unit_write ? Access::write : given;
  const Target target = checked_target(address, bytes, access, place);
  if (target.memory == nullptr) return;
  Thread& thread = *current();
  BlockState& state = state_of(*thread.block);
  const bool atomic = access == Access::atomic || access == Access::poll;
  if (atomic) {
    std::vector<uint32_t>& word = checker->words[address];
    state.clock.acquire(word);
    if (access == Access::atomic && state.clock.fenced(thread.linear)) state.clock.release(word, thread.block->linear);
  }
  const Stamp now = stamp_of(thread, place, atomic);
  const auto check = [&](Cell& cell, uint64_t offset) { check_cell(cell, now, access, target, offset); };
  for_cells(target, address, bytes, check);
  if (!target.shared && access == Access::write) state.clock.wrote_global(thread.linear);
  if (!atomic && !by_unit) {
    state.requests.add(place, target.shared, thread.linear / 32, thread.view.lane, address - target.memory->origin,
                       static_cast<unsigned>(bytes));
  }
}

}  // namespace emulate
