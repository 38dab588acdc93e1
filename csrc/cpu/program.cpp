#include "program.h"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace ringleader {

Run::Run(Device& device, const Program& program, std::array<char*, kBuffers> buffers, Folder folder, size_t item,
         uint32_t context, uint64_t key, bool synchronous, const std::vector<int>& members)
    : device_(device), program_(program), buffers_(buffers), folder_(folder), item_(item), context_(context),
      key_(key), synchronous_(synchronous), members_(members), messages_(program.operations.size()) {}

Run::~Run() {
    for (int index : open_) {
        if (messages_[index].send) device_.cancel(*messages_[index].send);
        if (messages_[index].receive) device_.cancel(*messages_[index].receive);
    }
}

bool Run::advance() {
    for (int index : std::vector<int>(open_)) complete(index);  // all keep moving, whichever is waited for
    for (; next_ < program_.operations.size(); ++next_) {
        for (int message : program_.operations[next_].after)
            if (!complete(message)) return false;
        start(static_cast<int>(next_));
    }
    return open_.empty();
}

bool Run::complete(int index) {
    auto open = std::find(open_.begin(), open_.end(), index);
    if (open == open_.end()) return true;
    const Operation& operation = program_.operations[index];
    Message& message = messages_[index];
    const size_t passed = message.send ? message.send->passed.load() : 0;
    const bool done = message.send ? device_.advance(*message.send)
                                   : device_.advance(*message.receive, [&](const char* from, size_t bytes, size_t p) {
                                         consume(operation, from, bytes, p);
                                     });
    if (!done) {
        missing_ = operation.peer;
        moved_ += message.send && message.send->passed != passed;
        return false;
    }
    ++moved_;
    open_.erase(open);
    if (message.receive && message.receive->wrong_length)
        throw std::runtime_error("a message of " + std::to_string(message.receive->total) + " bytes came from rank " +
                                 std::to_string(operation.peer) + ", which is not what its call asks for");
    return true;
}

void Run::start(int index) {
    ++moved_;
    const Operation& operation = program_.operations[index];
    Message& message = messages_[index];
    switch (operation.kind) {
        case Operation::send:
            message.send = std::make_unique<Send>();
            message.send->peer = members_[operation.peer];
            message.send->context = context_;
            message.send->key = key_;
            message.send->synchronous = synchronous_;
            for (const Place& place : operation.from) message.send->spans.push_back({at(place), place.bytes});
            if (!device_.start(*message.send)) open_.push_back(index);
            break;
        case Operation::receive:
            message.receive = std::make_unique<Receive>();
            message.receive->peer = members_[operation.peer];
            message.receive->context = context_;
            message.receive->key = key_;
            for (const Place& place : operation.to) message.receive->total += place.bytes;
            device_.start(*message.receive);
            open_.push_back(index);
            break;
        case Operation::copy:
            if (operation.to[0].bytes)
                std::memmove(at(operation.to[0]), at(operation.from[0]), operation.to[0].bytes);
            break;
        case Operation::reduce:
            reduce(operation);
            break;
    }
}

void Run::consume(const Operation& operation, const char* from, size_t bytes, size_t position) {
    ++moved_;
    for (size_t i = 0; i < operation.to.size() && bytes; ++i) {
        const Place& place = operation.to[i];
        if (position >= place.bytes) {
            position -= place.bytes;
            continue;
        }
        const size_t part = std::min(bytes, place.bytes - position);
        char* to = at(place) + position;
        switch (operation.enter[i]) {
            case Enter::copy: std::memcpy(to, from, part); break;
            case Enter::behind: folder_(to, to, from, part / item_); break;
            case Enter::before: folder_(to, from, to, part / item_); break;
        }
        from += part;
        bytes -= part;
        position = 0;
    }
}

// A left fold in order, block by block. The target may be an operand, so it is written by the last fold only.
void Run::reduce(const Operation& operation) {
    constexpr size_t kBlock = 16 << 10;
    alignas(kLine) char block[kBlock];
    const size_t bytes = operation.to[0].bytes, operands = operation.from.size();
    for (size_t start = 0; start < bytes; start += kBlock) {
        const size_t count = std::min(kBlock, bytes - start) / item_;
        const char* value = at(operation.from[0]) + start;
        for (size_t i = 1; i < operands; ++i) {
            char* to = i + 1 == operands ? at(operation.to[0]) + start : block;
            folder_(to, value, at(operation.from[i]) + start, count);
            value = to;
        }
    }
}

}  // namespace ringleader
