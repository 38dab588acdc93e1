#include "group.h"

#include <algorithm>
#include <stdexcept>

namespace ringleader {

namespace {

constexpr size_t kBlock = 16 << 10;  // bytes folded at a time, so that a sum in progress stays in the L1 cache

void divide(const Plan& plan, char* at, size_t bytes, int n) {
    if (plan.type == Type::f32) {
        auto* x = reinterpret_cast<float*>(at);
        for (size_t i = 0; i < bytes / sizeof *x; ++i) x[i] /= static_cast<float>(n);
    } else {
        auto* x = reinterpret_cast<double*>(at);
        for (size_t i = 0; i < bytes / sizeof *x; ++i) x[i] /= n;
    }
}

// Where rank r's part of `bytes` begins, on a cache line's boundary; rank n's is the end.
size_t cut(size_t bytes, int r, int n) {
    return r == n ? bytes : bytes * static_cast<size_t>(r) / static_cast<size_t>(n) / kLine * kLine;
}

// The ranks are not in the same call: wait until the guard gives up.
[[noreturn]] void disagree(Guard& guard, int rank) {
    for (Pause pause(guard);;) pause.turn(rank);
}

}  // namespace

Group::Group(Device& device, uint32_t context, int rank, std::vector<int> members)
    : device_(device), context_(context), rank_(rank), size_(static_cast<int>(members.size())),
      members_(std::move(members)), area_(device.arena().allocate(sizeof(Area))) {
    for (int member : members_)
        if (member < 0 || member >= device.size()) throw std::invalid_argument("a member that is no rank of the node");
    if (rank < 0 || rank >= size_) throw std::invalid_argument("the rank is no member of its group");
    mine_ = reinterpret_cast<Area*>(device.arena().at(area_));
    std::memset(static_cast<void*>(mine_), 0, offsetof(Area, stage_in));
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

int Group::suspect(uint64_t, int hint) {
    for (int r = 0; r < size_; ++r)
        if (dead(r)) return r;
    return hint;
}

// Running calls

void Group::run(Job& job, Guard& guard) {
    if (closed_) throw std::runtime_error("an earlier call was given up, so this communicator cannot be used any more");
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

// One-shot: every rank shows its array and folds all of them in rank order. A rank that shows its array for call
// t + 2 has seen all ranks in call t + 1, so all have done with its array of call t: two cells are enough.
void Group::small(Job& job, Guard& guard) {
    const Plan& plan = *job.plan;
    const uint64_t turn = ++small_turn_;
    const size_t bytes = plan.count * size_of(plan.type);
    Area::Cell& cell = mine_->cells[turn % 2];
    if (bytes) std::memcpy(cell.payload, job.input, bytes);
    cell.digest = plan.digest;
    cell.turn.store(turn, std::memory_order_release);
    const Folder folder = bytes ? find_folder(plan.fold, plan.type) : nullptr;
    const char* value = areas_[0]->cells[turn % 2].payload;
    for (int r = 0; r < size_; ++r) {
        Area::Cell& other = areas_[r]->cells[turn % 2];
        wait_until([&] { return other.turn.load(std::memory_order_acquire) == turn; }, guard, r);
        if (other.digest != plan.digest) disagree(guard, r);
        if (!bytes || r == 0) continue;
        folder(job.output, value, other.payload, plan.count);
        value = job.output;
    }
    if (plan.divide) divide(plan, job.output, bytes, size_);
}

// Two-shot: rank r folds everyone's part r, and everyone gets it.
void Group::direct(Job& job, Guard& guard) {
    const Plan& plan = *job.plan;
    const uint64_t turn = ++direct_turn_;
    const size_t bytes = plan.count * size_of(plan.type);
    Area::Announcement& mine = mine_->announced;
    mine.digest = plan.digest;
    mine.input = device_.arena().find(job.input, bytes);
    mine.output = device_.arena().find(job.output, bytes);
    const bool mine_lie_here = mine.input != Arena::kNowhere && mine.output != Arena::kNowhere;
    mine.turn.store(turn, std::memory_order_release);
    if (!mine_lie_here) return staged(job, guard);
    std::vector<const char*> inputs(size_);
    std::vector<char*> outputs(size_);
    for (int r = 0; r < size_; ++r) {
        const Area::Announcement& other = areas_[r]->announced;
        wait_until([&] { return other.turn.load(std::memory_order_acquire) == turn; }, guard, r);
        if (other.digest != plan.digest) disagree(guard, r);
        if (other.input == Arena::kNowhere || other.output == Arena::kNowhere) return staged(job, guard);
        inputs[r] = device_.neighbour(members_[r]).at(other.input);
        outputs[r] = device_.neighbour(members_[r]).at(other.output);
    }
    shared(job, guard, inputs, outputs);
}

void Group::fold_all(const Plan& plan, char* to, const std::vector<const char*>& from, size_t bytes) {
    const Folder folder = find_folder(plan.fold, plan.type);
    const size_t count = bytes / size_of(plan.type);
    folder(to, from[0], from[1], count);
    for (size_t i = 2; i < from.size(); ++i) folder(to, to, from[i], count);
    if (plan.divide) divide(plan, to, bytes, size_);
}

// All arrays lie in arenas: each rank folds its part straight out of them and writes the result into all of them.
// Nobody else touches that part, so the ranks meet only at the beginning and at the end.
void Group::shared(Job& job, Guard& guard, const std::vector<const char*>& inputs,
                   const std::vector<char*>& outputs) {
    const Plan& plan = *job.plan;
    const size_t bytes = plan.count * size_of(plan.type);
    const size_t first = cut(bytes, rank_, size_), last = cut(bytes, rank_ + 1, size_);
    std::vector<const char*> from(size_);
    for (size_t at = first; at < last; at += kBlock) {
        const size_t part = std::min(kBlock, last - at);
        for (int r = 0; r < size_; ++r) from[r] = inputs[r] + at;
        fold_all(plan, outputs[0] + at, from, part);
        for (int r = 1; r < size_; ++r) std::memcpy(outputs[r] + at, outputs[0] + at, part);
    }
    mine_->finished.store(direct_turn_, std::memory_order_release);
    for (int r = 0; r < size_; ++r)
        wait_until([&] { return areas_[r]->finished.load(std::memory_order_acquire) >= direct_turn_; }, guard, r);
}

// Some array is private: chunk by chunk, each rank shows the parts that others fold, folds its own part of what
// all have shown, shows the result, and fetches the others'. The three steps work on successive chunks, so that a
// rank seldom waits; what is shown stays in the caches, as there are only kDepth chunks of it.
void Group::staged(Job& job, Guard& guard) {
    const Plan& plan = *job.plan;
    const size_t bytes = plan.count * size_of(plan.type);
    const uint64_t chunks = (bytes + kStage - 1) / kStage, base = chunks_;
    std::vector<const char*> from(size_);
    auto length = [&](uint64_t k) { return std::min(kStage, bytes - k * kStage); };
    auto all = [&](std::atomic<uint64_t> Area::*flag, uint64_t least) {
        for (int r = 0; r < size_; ++r)
            wait_until([&] { return (areas_[r]->*flag).load(std::memory_order_acquire) >= least; }, guard, r);
    };
    for (uint64_t k = 0; k < chunks + 2; ++k) {
        if (k < chunks) {
            const char* array = job.input + k * kStage;
            char* stage = mine_->stage_in[(base + k) % kDepth];
            if (base + k >= kDepth) all(&Area::fetched, base + k + 1 - kDepth);
            const size_t first = cut(length(k), rank_, size_), last = cut(length(k), rank_ + 1, size_);
            std::memcpy(stage, array, first);
            std::memcpy(stage + last, array + last, length(k) - last);
            mine_->staged.store(base + k + 1, std::memory_order_release);
        }
        if (k >= 1 && k - 1 < chunks) {
            const uint64_t c = k - 1;
            const size_t first = cut(length(c), rank_, size_), last = cut(length(c), rank_ + 1, size_);
            const char* own = job.input + c * kStage + first;
            char* array = job.output + c * kStage + first;
            char* result = mine_->stage_out[(base + c) % kDepth];
            all(&Area::staged, base + c + 1);
            for (int r = 0; r < size_; ++r) {
                if (c == 0 && areas_[r]->announced.digest != plan.digest) disagree(guard, r);
                from[r] = r == rank_ ? own : areas_[r]->stage_in[(base + c) % kDepth] + first;
            }
            for (size_t at = 0; at < last - first; at += kBlock) {
                const size_t part = std::min(kBlock, last - first - at);
                fold_all(plan, result + at, from, part);
                std::memcpy(array + at, result + at, part);
                for (const char*& operand : from) operand += part;
            }
            mine_->reduced.store(base + c + 1, std::memory_order_release);
        }
        if (k >= 2) {
            const uint64_t c = k - 2;
            for (int i = 1; i < size_; ++i) {
                const int r = (rank_ + i) % size_;
                wait_until([&] { return areas_[r]->reduced.load(std::memory_order_acquire) >= base + c + 1; }, guard, r);
                const size_t first = cut(length(c), r, size_), last = cut(length(c), r + 1, size_);
                std::memcpy(job.output + c * kStage + first, areas_[r]->stage_out[(base + c) % kDepth], last - first);
            }
            mine_->fetched.store(base + c + 1, std::memory_order_release);
        }
    }
    chunks_ = base + chunks;
}

void Group::program(Job& job, Guard& guard) {
    const Plan& plan = *job.plan;
    char* room = workspace(plan.program->scratch + plan.program->stage);
    std::array<char*, kBuffers> buffers{const_cast<char*>(job.input), job.output, room, room + plan.program->scratch};
    const uint64_t key = job.number << 32 | plan.digest;
    Run run(device_, *plan.program, buffers, find_folder(plan.fold, plan.type), size_of(plan.type),
            context(collective), key, plan.synchronous, members_);
    if (run.advance()) return;
    Pause pause(guard);
    for (size_t moved = run.moved(); !run.advance(); moved = run.moved()) {
        if (run.moved() != moved) pause.reset();
        pause.turn(run.missing());
    }
}

// Scratch and staging room for programs, in the arena, so that peers read from it without a copy.
char* Group::workspace(size_t bytes) {
    if (bytes > workspace_bytes_) {
        if (workspace_ != Arena::kNowhere) device_.arena().release(workspace_);
        workspace_ = Arena::kNowhere;
        workspace_bytes_ = 0;
        workspace_ = device_.arena().allocate(bytes);
        workspace_bytes_ = bytes;
    }
    return workspace_ == Arena::kNowhere ? nullptr : device_.arena().at(workspace_);
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

bool Group::idle() {
    std::lock_guard lock(mutex_);
    return queue_.empty();
}

void Group::submit(std::shared_ptr<Job> job) {
    std::lock_guard lock(mutex_);
    queue_.push_back(std::move(job));
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
