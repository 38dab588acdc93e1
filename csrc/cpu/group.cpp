#include "group.h"

#include <algorithm>
#include <stdexcept>

namespace ringleader {

Group::Group(Device& device, uint32_t context, int rank, std::vector<int> members)
    : device_(device), context_(context), rank_(rank), size_(static_cast<int>(members.size())),
      members_(std::move(members)), area_(device.arena().allocate(sizeof(Area))) {
    for (int member : members_)
        if (member < 0 || member >= device.size()) throw std::invalid_argument("a member that is no rank of the node");
    if (rank < 0 || rank >= size_) throw std::invalid_argument("the rank is no member of its group");
    mine_ = reinterpret_cast<Area*>(device.arena().at(area_));
    std::memset(static_cast<void*>(mine_), 0, offsetof(Area, blocks));
}

void Group::connect(const std::vector<size_t>& areas) {
    if (areas.size() != members_.size()) throw std::invalid_argument("a group needs the areas of all its members");
    for (int r = 0; r < size_; ++r)
        areas_.push_back(reinterpret_cast<Area*>(device_.neighbour(members_[r]).at(areas[r])));
    areas_[rank_] = mine_;
}

Group::~Group() {
    {
        std::lock_guard lock(mutex_);
        closing_ = true;
        for (auto& job : queue_) job->cancelled = true;
    }
    changed_.notify_all();
    if (thread_.joinable()) thread_.join();
    device_.forget(context_, context_ + kContexts);
    // Without `free` the area stays, since peers may still look at it, until the arena goes.
}

void Group::free() {
    if (workspace_ != Arena::kNowhere) device_.arena().release(workspace_);
    device_.arena().release(area_);
    workspace_ = Arena::kNowhere;
    workspace_bytes_ = 0;
}

int Group::rank_of(int member) const {
    const auto found = std::find(members_.begin(), members_.end(), member);
    return found == members_.end() ? kAny : static_cast<int>(found - members_.begin());
}

// Who calls what

void Group::enter(uint64_t number, uint64_t digest) {
    Area::Entry& entry = mine_->board[number % kBoard];
    entry.number.store(0, std::memory_order_relaxed);
    entry.digest.store(digest, std::memory_order_release);
    entry.number.store(number + 1, std::memory_order_release);
}

bool Group::conflict(uint64_t number) const {
    const uint64_t mine = mine_->board[number % kBoard].digest.load(std::memory_order_relaxed);
    for (const Area* area : areas_) {
        const Area::Entry& entry = area->board[number % kBoard];
        if (entry.number.load(std::memory_order_acquire) != number + 1) continue;
        const uint64_t digest = entry.digest.load(std::memory_order_acquire);
        if (digest != mine && entry.number.load(std::memory_order_acquire) == number + 1) return true;
    }
    return false;
}

int Group::suspect(int hint) {
    for (int r = 0; r < size_; ++r)
        if (dead(r)) return r;
    return hint;
}

// Running calls

void Group::run(Job& job, Guard& guard) {
    if (closed_) throw std::runtime_error("an earlier call was given up, so this communicator cannot be used any more");
    if (!job.input) job.input = job.output;
    try {
        dispatch(job, guard);
    } catch (...) {
        closed_ = true;
        throw;
    }
}

void Group::dispatch(Job& job, Guard& guard) {
    if (job.plan->way != Way::program && size_ == 1) {  // nothing to fold
        if (job.input != job.output) std::memcpy(job.output, job.input, job.plan->count * size_of(job.plan->type));
        return;
    }
    switch (job.plan->way) {
        case Way::small: small(job, guard); break;
        case Way::direct: direct(job, guard); break;
        case Way::program: program(job, guard); break;
    }
}

// Calls under way at the same time: one thread runs them in the order in which they were made, which is the same
// on all ranks, so none waits for one that is behind another.

namespace {

class ThreadGuard final : public Guard {
public:
    explicit ThreadGuard(Job& job) : job_(job) {}
    void peek() override {
        if (job_.cancelled.load(std::memory_order_relaxed)) throw Stopped{};
    }
    void look(int missing) override { job_.missing.store(missing, std::memory_order_relaxed); }

private:
    Job& job_;
};

}  // namespace

void Group::submit(std::shared_ptr<Job> job) {
    std::lock_guard lock(mutex_);
    queue_.push_back(std::move(job));
    queued_.fetch_add(1, std::memory_order_relaxed);
    if (!thread_.joinable()) thread_ = std::thread(&Group::work, this);
    changed_.notify_all();
}

void Group::work() {
    std::unique_lock lock(mutex_);
    for (;;) {
        changed_.wait(lock, [&] { return closing_ || !queue_.empty(); });
        if (queue_.empty()) return;
        std::shared_ptr<Job> job = queue_.front();
        lock.unlock();
        ThreadGuard guard(*job);
        try {
            guard.peek();
            run(*job, guard);
        } catch (const Stopped&) {
            job->error = "cancelled";
        } catch (const std::exception& error) {
            job->error = error.what();
        }
        lock.lock();
        job->done.store(true, std::memory_order_release);
        queue_.pop_front();
        queued_.fetch_sub(1, std::memory_order_release);
        changed_.notify_all();
    }
}

void Group::await(Job& job, Guard& guard) {
    guard.settle();
    std::unique_lock lock(mutex_);
    while (!changed_.wait_for(lock, std::chrono::milliseconds(5), [&] { return job.done.load(); })) {
        lock.unlock();
        guard.look(job.missing.load(std::memory_order_relaxed));
        lock.lock();
    }
    if (!job.error.empty()) throw std::runtime_error(job.error);
}

void Group::stop(Job& job) {
    job.cancelled = true;
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return job.done.load(); });
}

}  // namespace ringleader
