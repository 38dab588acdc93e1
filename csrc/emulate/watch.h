// What checked mode remembers of memory, and of the launch.
#pragma once

#include <map>
#include <tuple>

#include "checker.h"
#include "clocks.h"
#include "scheduler.h"
#include "traffic.h"

namespace emulate {

struct Cell {
  Stamp writer, reader, other;  // the last reader, and the last one of another warp
  uint32_t copying = 0;         // the thread + 1 whose copy is under way to here
};

struct Watched {
  Memory memory;
  std::vector<Cell> cells;
};

struct BlockState {
  BlockClock clock;
  Requests requests;
  std::vector<std::vector<Cell>> shared;  // of each static array; then of dynamic shared memory
  Memory dynamic;
  std::unordered_map<const uint64_t*, std::vector<uint32_t>> mbarriers;  // their clocks
};

struct Checker {
  std::vector<Watched> arguments;  // by address
  std::vector<Memory> shared;      // by address
  std::vector<Where> places;
  std::unordered_map<size_t, uint32_t> place_of_pc;
  std::map<std::pair<const char*, int>, uint32_t> place_of_line;
  std::map<std::tuple<const char*, uint32_t, uint32_t>, Fault> faults;  // by kind, place, the other's place
  std::unordered_map<uint64_t, std::vector<uint32_t>> words;            // clocks of words that atomics worked on
  Requests::Totals totals;
  unsigned long long accesses = 0;  // so far
  std::vector<Fault> found;
  std::vector<Traffic> traffic;
};
extern Checker* checker;

inline BlockState& state_of(const Block& block) { return *static_cast<BlockState*>(block.state); }

// checker.cpp
uint32_t place_of(size_t pc);
uint32_t place_of(Site site);
void look(uint64_t address, size_t bytes, Access access, uint32_t place);  // an access of the thread that runs
Stamp stamp_of(const Thread& thread, uint32_t place, bool atomic);  // now

// What an address belongs to: shared memory or an argument; else memory is null.
struct Target {
  const Memory* memory = nullptr;
  std::vector<Cell>* cells = nullptr;
  bool shared = false;
};
Target find(uint64_t address, size_t bytes);

template <typename Do>
void for_cells(const Target& target, uint64_t address, size_t bytes, Do what) {
  const unsigned granule = target.memory->granule;
  const uint64_t offset = address - target.memory->start;
  for (uint64_t i = offset / granule; i <= (offset + bytes - 1) / granule; i++) what((*target.cells)[i], i * granule);
}

}  // namespace emulate
