// The ranks of one communicator on one node, as one of them sees it: it runs collective calls.
#pragma once

#include "device.h"
#include "fold.h"
#include "program.h"
#include "wait.h"

#include <condition_variable>
#include <deque>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace ringleader {

constexpr size_t kSmall = 64 << 10;   // bytes a rank may show at once on the latency path
constexpr size_t kStage = 128 << 10;  // bytes of one chunk of the direct AllReduce, staged
constexpr size_t kDepth = 3;          // chunks under way at once
constexpr size_t kBoard = 8;          // calls whose signatures a rank shows

// How a call runs. The first two are what their schedules' programs do, in the same order of folds, with fewer
// steps: one-shot (also a barrier, which shows nothing) and two-shot AllReduce.
enum class Way : uint8_t { small, direct, program };

struct Plan {
    Way way = Way::program;
    std::string text;     // the call's signature, for error messages
    uint64_t digest = 0;  // of it
    Type type = Type::u8;
    Fold fold = Fold::sum;
    size_t count = 0;        // elements (small, direct)
    bool divide = false;     // by the number of ranks at the end (small, direct; f32 and f64)
    bool synchronous = false;
    std::shared_ptr<const Program> program;
};

// Thrown out of a call that was cancelled.
struct Stopped {};

struct Job {
    std::shared_ptr<const Plan> plan;
    uint64_t number = 0;
    const char* input = nullptr;  // the same as output, or null: in place
    char* output = nullptr;
    std::atomic<bool> done{false}, cancelled{false};
    std::atomic<int> missing{-1};
    std::string error;
};

// What a rank of a group keeps in its arena. Only its owner writes here, but for `alarm` and the results in
// `blocks`; in a direct AllReduce of arrays that lie in arenas themselves, others write results into these.
struct Area {
    alignas(kLine) std::atomic<uint64_t> alarm;  // reports that other ranks have sent to this one
    struct Entry {
        std::atomic<uint64_t> number, digest;  // number: of the call, from 1 on
    };
    alignas(kLine) Entry board[kBoard];
    alignas(kLine) std::atomic<uint64_t> laid_out;  // chunks that others may fold
    alignas(kLine) std::atomic<uint64_t> folded;    // chunks whose results lie in the others' blocks
    alignas(kLine) std::atomic<uint64_t> finished;  // direct calls in which this rank has stopped touching others
    struct alignas(kLine) Announcement {
        std::atomic<uint64_t> turn;  // number of the direct call, from 1 on
        uint64_t digest, input, output;  // places of the arrays in the arena, or kNowhere
    } announced;
    struct alignas(kLine) Cell {
        std::atomic<uint64_t> turn;
        uint64_t digest;
        char payload[kSmall];
    } cells[2];
    alignas(kLine) char blocks[kDepth][kStage];
};

class Group {
public:
    // `members[r]`: the device's number of rank r; `context` .. context + kContexts - 1: unused by other groups.
    Group(Device& device, uint32_t context, int rank, std::vector<int> members);
    ~Group();
    size_t area() const { return area_; }
    void connect(const std::vector<size_t>& areas);
    void free();  // no rank uses the group any more

    static constexpr uint32_t kContexts = 3;
    enum Purpose : uint32_t { collective, direct_messages, control };
    uint32_t context(Purpose purpose) const { return context_ + purpose; }

    // A call of its own number: the board shows it from here on.
    void enter(uint64_t number, uint64_t digest);
    void run(Job& job, Guard& guard);           // in this thread; call only if `idle`
    void submit(std::shared_ptr<Job> job);      // to the group's thread, behind all others
    void await(Job& job, Guard& guard);         // until `done`; std::runtime_error if it failed there
    void stop(Job& job);                        // returns when this rank touches its arrays no more
    bool idle() const { return !queued_.load(std::memory_order_acquire); }
    // No more calls: after one that was given up, they would not match the other ranks'. An exception out of `run`
    // closes the group too.
    void close() { closed_ = true; }
    bool closed() const { return closed_; }

    // Has a rank come to this call with another signature?
    bool conflict(uint64_t number) const;
    // A rank that has died, which no call can do without; `hint` if none has.
    int suspect(int hint);
    bool dead(int rank) { return !device_.neighbour(members_[rank]).alive(); }
    void raise_alarm(int rank) { areas_[rank]->alarm.fetch_add(1, std::memory_order_acq_rel); }
    uint64_t alarms() const { return mine_->alarm.load(std::memory_order_acquire); }

    Device& device() { return device_; }
    int rank() const { return rank_; }
    int size() const { return size_; }
    const std::vector<int>& members() const { return members_; }
    int rank_of(int member) const;  // kAny if it is none

private:
    void dispatch(Job& job, Guard& guard);
    void small(Job& job, Guard& guard);
    void direct(Job& job, Guard& guard);
    void shared(Job& job, Guard& guard, const std::vector<const char*>& inputs, const std::vector<char*>& outputs);
    void staged(Job& job, Guard& guard);
    void lay_out(Job& job, uint64_t c);
    void fold_part(Job& job, uint64_t c, Guard& guard);
    void take_in(Job& job, uint64_t c, Guard& guard);
    char* block(int rank, uint64_t c);
    void await_all(std::atomic<uint64_t> Area::*flag, uint64_t least, Guard& guard);
    void fold_all(const Plan& plan, char* to, const std::vector<const char*>& from, size_t bytes);
    void program(Job& job, Guard& guard);
    char* workspace(size_t bytes);
    void work();

    Device& device_;
    const uint32_t context_;
    const int rank_, size_;
    const std::vector<int> members_;
    size_t area_ = 0;
    Area* mine_ = nullptr;
    std::vector<Area*> areas_;
    uint64_t small_turn_ = 0, direct_turn_ = 0, chunks_ = 0;
    size_t workspace_ = Arena::kNowhere, workspace_bytes_ = 0;
    std::atomic<bool> closed_{false};

    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<std::shared_ptr<Job>> queue_;  // its front is running
    std::atomic<size_t> queued_{0};           // jobs there, for who does not want to wait for the lock
    bool closing_ = false;
    std::thread thread_;
};

}  // namespace ringleader
