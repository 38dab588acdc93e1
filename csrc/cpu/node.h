// A rank's place on its node: its arena, its device, and the other ranks there.
#pragma once

#include "device.h"

#include <memory>
#include <sched.h>
#include <vector>

namespace ringleader {

class Node {
public:
    Node(int index, int size, size_t bytes);
    ~Node();

    // What the other ranks of the node must be told, and what they told: where each one's memory is.
    Address address() const;
    void connect(const std::vector<Address>& addresses);

    void leave();  // this rank makes no more calls
    bool left(int index) const;
    bool dead(int index) { return !neighbours_.at(static_cast<size_t>(index))->alive(); }

    bool crowded() const { return crowded_; }  // do ranks share cores?

    Arena& arena() { return arena_; }
    Device& device() { return device_; }

private:
    struct Head {
        std::atomic<uint32_t> left;
        std::atomic<uint64_t> rings;  // offset of the ring to rank 0 of the node
        cpu_set_t cores;              // that this rank may run on
    };
    Head& head(int index) const;

    Arena arena_;
    const size_t head_;
    Device device_;
    std::vector<std::unique_ptr<Neighbour>> neighbours_;
    std::vector<uint64_t> heads_;
    bool crowded_ = false;
};

}  // namespace ringleader
