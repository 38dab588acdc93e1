// Requests to memory as warps make them: the accesses of 32 lanes at one place, the nth of each lane together.
#pragma once

#include <stdint.h>

#include <algorithm>
#include <utility>
#include <unordered_map>
#include <vector>

namespace emulate {

struct Lanes {  // of one request
  unsigned there = 0;
  uint64_t address[32];
};

// Shared memory has 32 banks of 4 bytes. Lanes that want different words of one bank wait for each other; requests of 8
// and 16 bytes a lane are served for 16 and 8 lanes at a time.
inline std::pair<unsigned, unsigned> shared_cost(const Lanes& lanes, unsigned bytes) {
  const unsigned together = bytes >= 16 ? 8 : bytes >= 8 ? 16 : 32;
  unsigned cost = 0, ideal = 0;
  for (unsigned first = 0; first < 32; first += together) {
    std::vector<uint64_t> words;
    for (unsigned lane = first; lane < first + together; lane++) {
      if ((lanes.there >> lane & 1u) == 0) continue;
      for (uint64_t word = lanes.address[lane] / 4; word <= (lanes.address[lane] + bytes - 1) / 4; word++) {
        words.push_back(word);
      }
    }
    if (words.empty()) continue;
    std::sort(words.begin(), words.end());
    words.erase(std::unique(words.begin(), words.end()), words.end());
    unsigned in_bank[32] = {};
    for (const uint64_t word : words) in_bank[word % 32]++;
    cost += *std::max_element(in_bank, in_bank + 32);
    ideal++;
  }
  return {cost, ideal};
}

// Global memory moves in sectors of 32 bytes.
inline std::pair<unsigned, unsigned> global_cost(const Lanes& lanes, unsigned bytes) {
  std::vector<uint64_t> sectors, addresses;
  for (unsigned lane = 0; lane < 32; lane++) {
    if ((lanes.there >> lane & 1u) == 0) continue;
    const uint64_t address = lanes.address[lane];
    addresses.push_back(address);
    for (uint64_t sector = address / 32; sector <= (address + bytes - 1) / 32; sector++) sectors.push_back(sector);
  }
  const auto distinct = [](std::vector<uint64_t>& values) {
    std::sort(values.begin(), values.end());
    return static_cast<unsigned>(std::unique(values.begin(), values.end()) - values.begin());
  };
  return {distinct(sectors), (distinct(addresses) * bytes + 31) / 32};
}

// The requests of one block.
class Requests {
 public:
  struct Total {
    bool shared = false;
    uint64_t requests = 0, cost = 0, ideal = 0;
  };
  using Totals = std::unordered_map<uint64_t, Total>;  // by place and space

  void add(uint32_t place, bool shared, unsigned warp, unsigned lane, uint64_t address, unsigned bytes) {
    Stream& stream = streams_[key(place, shared) << 6 | warp];  // at most 32 warps
    stream.bytes = bytes;
    const uint32_t number = stream.count[lane]++;
    if (stream.open.size() <= number) stream.open.resize(number + 1);
    stream.open[number].there |= 1u << lane;
    stream.open[number].address[lane] = address;
  }

  // At a barrier, and at the end: all requests under way are complete.
  void flush(Totals& totals) {
    for (auto& [id, stream] : streams_) {
      const bool shared = id >> 6 & 1;
      Total& total = totals[id >> 6];
      total.shared = shared;
      for (const Lanes& lanes : stream.open) {
        const auto [cost, ideal] = shared ? shared_cost(lanes, stream.bytes) : global_cost(lanes, stream.bytes);
        total.requests++;
        total.cost += cost;
        total.ideal += ideal;
      }
    }
    streams_.clear();
  }

  static uint64_t key(uint32_t place, bool shared) { return static_cast<uint64_t>(place) << 1 | shared; }
  static uint32_t place(uint64_t key) { return static_cast<uint32_t>(key >> 1); }

 private:
  struct Stream {
    uint32_t count[32] = {};
    unsigned bytes = 0;
    std::vector<Lanes> open;
  };
  std::unordered_map<uint64_t, Stream> streams_;
};

}  // namespace emulate
