// A rank's program (see collectives/program.py), placed on buffers of a given size, and a run of it.
#pragma once

#include "device.h"
#include "fold.h"

#include <array>
#include <memory>
#include <vector>

namespace ringleader {

constexpr int kBuffers = 4;  // input, output, scratch, stage

struct Place {
    int buffer;
    size_t start, bytes;
};

// How bytes that arrive enter their place.
enum class Enter : uint8_t { copy, behind, before };  // replaced; place op message; message op place

struct Operation {
    enum Kind { send, receive, copy, reduce } kind;
    int peer;
    std::vector<Place> from, to;
    std::vector<Enter> enter;  // receive: one for each of `to`
    std::vector<int> after;    // messages that must be complete first
};

struct Program {
    std::vector<Operation> operations;
    size_t scratch = 0, stage = 0;  // bytes
    size_t input = 0, output = 0;   // bytes that it needs there at least
    int ranks = 1;                  // that it sends to or receives from, at most
};

// One execution. Operations start in order and complete in any order that `after` allows; copies and reductions
// are complete at once.
class Run {
public:
    // `folder` with elements of `item` bytes; `members[r]`: the device's number of rank r.
    Run(Device& device, const Program& program, std::array<char*, kBuffers> buffers, Folder folder, size_t item,
        uint32_t context, uint64_t key, bool synchronous, const std::vector<int>& members);
    ~Run();  // cancels what is under way
    bool advance();
    int missing() const { return missing_; }  // rank that is waited for
    size_t moved() const { return moved_; }   // grows whenever something has happened

private:
    struct Message {
        std::unique_ptr<Send> send;
        std::unique_ptr<Receive> receive;
    };

    bool complete(int index);
    void start(int index);
    void consume(const Operation& operation, const char* at, size_t bytes, size_t position);
    void reduce(const Operation& operation);
    char* at(const Place& place) const { return buffers_[place.buffer] + place.start; }

    Device& device_;
    const Program& program_;
    const std::array<char*, kBuffers> buffers_;
    const Folder folder_;
    const size_t item_;
    const uint32_t context_;
    const uint64_t key_;
    const bool synchronous_;
    const std::vector<int>& members_;
    size_t next_ = 0;
    std::vector<Message> messages_;
    std::vector<int> open_;  // started and not complete
    int missing_ = -1;
    size_t moved_ = 0;
};

}  // namespace ringleader
