// Ranks as threads of one process, for the stress test: each has a node of its own and the same seed.
#pragma once

#include "group.h"
#include "node.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>

namespace stress {

using namespace ringleader;
using Random = std::mt19937_64;
using Clock = std::chrono::steady_clock;

constexpr auto kPatience = std::chrono::seconds(90);  // for one wait: sanitizers are slow, CI machines too
constexpr unsigned char kPoison = 0xEE;               // what an array holds once its call has returned

inline size_t below(Random& random, size_t n) { return random() % n; }

template <class T>
const T& one_of(Random& random, const std::vector<T>& choices) {
    return choices[below(random, choices.size())];
}

struct Rank;

// What a communicator is in Python: a group that counts its calls.
struct Comm {
    Comm(Device& device, uint32_t context, int rank, std::vector<int> members)
        : group(device, context, rank, std::move(members)) {}
    Group group;
    uint64_t calls = 0;
};

struct Rank {
    int rank = 0, n = 0;
    Node* node = nullptr;
    Random common, own;                        // drawn alike by all ranks; this rank's alone
    std::vector<std::unique_ptr<Comm>> comms;  // the first is of all ranks; null: this rank is no member
    uint32_t next_context = 0;
    std::string step;                          // for messages
    Device& device() { return node->device(); }
};

[[noreturn]] inline void fail(const Rank& me, const std::string& what) {
    std::printf("rank %d of %d, %s: %s\n", me.rank, me.n, me.step.c_str(), what.c_str());
    std::fflush(stdout);
    std::_Exit(3);
}

// Keeps messages moving while a rank waits, as the Python side does, and ends a wait that is in vain.
class Watch final : public Guard {
public:
    explicit Watch(Rank& me) : me_(me), start_(Clock::now()) {}
    void look(int missing) override {
        me_.device().progress();
        if (Clock::now() - start_ > kPatience) fail(me_, "waits in vain for rank " + std::to_string(missing));
    }

private:
    Rank& me_;
    const Clock::time_point start_;
};

// An array of a call: in the rank's arena or private, poisoned and given back as soon as it is not needed.
class Array {
public:
    Array(Rank& me, size_t bytes, bool is_shared, size_t skip = 0) : me_(&me), bytes_(bytes + skip), skip_(skip) {
        if (is_shared)
            offset_ = me.node->arena().allocate(bytes_);
        else
            private_.reset(new char[bytes_]);
    }
    ~Array() {
        std::memset(whole(), kPoison, bytes_);
        if (!private_) me_->node->arena().release(offset_);
    }
    Array(const Array&) = delete;
    Array& operator=(const Array&) = delete;
    char* at() { return whole() + skip_; }
    template <class T>
    T* as() { return reinterpret_cast<T*>(at()); }

private:
    char* whole() { return private_ ? private_.get() : me_->node->arena().at(offset_); }
    Rank* me_;
    size_t bytes_, skip_, offset_ = 0;
    std::unique_ptr<char[]> private_;
};

// A call under way, or ready to start.
struct Call {
    Comm* comm = nullptr;
    std::shared_ptr<Job> job;
    std::unique_ptr<Array> input, output;
    std::function<void()> check;
};

inline std::shared_ptr<Job> make_job(Comm& comm, const Plan& plan, char* input, char* output) {
    auto job = std::make_shared<Job>();
    job->plan = std::make_shared<const Plan>(plan);
    job->number = comm.calls++;
    job->input = input;
    job->output = output;
    comm.group.enter(job->number, plan.digest);
    return job;
}

// Blocking, by the rule of the Python binding: in this thread unless calls are under way.
inline void run(Rank& me, Comm& comm, const std::shared_ptr<Job>& job) {
    Watch watch(me);
    if (comm.group.idle()) return comm.group.run(*job, watch);
    comm.group.submit(job);
    comm.group.await(*job, watch);
}

// Every rank's number, by a call on the first communicator.
inline std::vector<size_t> exchange(Rank& me, size_t mine) {
    std::vector<size_t> all(static_cast<size_t>(me.n), 0);
    all[static_cast<size_t>(me.rank)] = mine;
    Plan plan;
    plan.way = Way::small;
    plan.digest = 1;
    plan.type = Type::u64;
    plan.count = all.size();
    run(me, *me.comms[0], make_job(*me.comms[0], plan, nullptr, reinterpret_cast<char*>(all.data())));
    return all;
}

// A communicator of these ranks, in this order; null for ranks that are not among them. All ranks call it.
inline std::unique_ptr<Comm> split(Rank& me, const std::vector<int>& members) {
    const auto place = std::find(members.begin(), members.end(), me.rank);
    std::unique_ptr<Comm> comm;
    if (place != members.end())
        comm = std::make_unique<Comm>(me.device(), me.next_context, static_cast<int>(place - members.begin()), members);
    me.next_context += Group::kContexts;
    const std::vector<size_t> areas = exchange(me, comm ? comm->group.area() : 0);
    std::vector<size_t> theirs;
    for (int member : members) theirs.push_back(areas[static_cast<size_t>(member)]);
    if (comm) comm->group.connect(theirs);
    return comm;
}

}  // namespace stress
