// How calls run: the latency path, the direct AllReduce, and programs.
#include "copy.h"
#include "group.h"

#include <algorithm>

namespace ringleader {

namespace {

constexpr size_t kBite = 4 << 10;  // bytes folded at a time, so that what goes to all ranks stays in the L1 cache

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

// Results of this call that are written past the caches: more than those hold, and not over what has just been read.
bool past_caches(const Plan& plan, const char* input, const char* output, int n) {
    return input != output && plan.count * size_of(plan.type) * static_cast<size_t>(n) > kCached;
}

void put(char* to, const char* from, size_t bytes, bool past) {
    past ? copy_past_caches(to, from, bytes) : static_cast<void>(std::memcpy(to, from, bytes));
}

// The ranks are not in the same call: wait until the guard gives up.
[[noreturn]] void disagree(Guard& guard, int rank) {
    for (Pause pause(guard);;) pause.turn(rank);
}

}  // namespace

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
    claim(reinterpret_cast<const char*>(&mine_->cells[(turn + 1) % 2]), std::min(16 + bytes, kPage));  // for the next call
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
    ringleader::fold_all(find_folder(plan.fold, plan.type), size_of(plan.type), to, from, bytes);
    if (plan.divide) divide(plan, to, bytes, size_);
}

// All arrays lie in arenas: each rank folds its part straight out of them and writes the result into all of them.
// Nobody else touches that part, so the ranks meet only at the beginning and at the end.
void Group::shared(Job& job, Guard& guard, const std::vector<const char*>& inputs,
                   const std::vector<char*>& outputs) {
    const Plan& plan = *job.plan;
    const size_t bytes = plan.count * size_of(plan.type);
    const size_t first = cut(bytes, rank_, size_), last = cut(bytes, rank_ + 1, size_);
    alignas(kLine) char sum[kBite];
    std::vector<const char*> from(size_);
    for (size_t at = first; at < last; at += kBite) {
        const size_t bite = std::min(kBite, last - at);
        for (int r = 0; r < size_; ++r) from[r] = inputs[r] + at;
        const bool past = past_caches(plan, inputs[0], outputs[0], size_);
        char* to = past ? sum : outputs[0] + at;
        fold_all(plan, to, from, bite);
        for (int r = past ? 0 : 1; r < size_; ++r)
            put(outputs[r] + at, to, bite, past_caches(plan, inputs[r], outputs[r], size_));
    }
    mine_->finished.store(direct_turn_, std::memory_order_release);
    await_all(&Area::finished, direct_turn_, guard);
}

// Some array is private. Chunk by chunk, each rank lays what others fold into its block, folds its own part of the
// chunk out of all blocks, writes the result over what it has folded, and takes the others' results out of its block.
// So a cache line travels twice, each time together with the right to write to it: what its owner lays into it next
// then costs no third journey. The three steps work on successive chunks, so that a rank seldom waits.
void Group::staged(Job& job, Guard& guard) {
    const size_t bytes = job.plan->count * size_of(job.plan->type);
    const uint64_t chunks = (bytes + kStage - 1) / kStage;
    for (uint64_t k = 0; k < chunks + 2; ++k) {
        if (k < chunks) lay_out(job, k);
        if (k >= 1 && k - 1 < chunks) fold_part(job, k - 1, guard);
        if (k >= 2) take_in(job, k - 2, guard);
    }
    chunks_ += chunks;
}

// Chunk c of an array of `bytes`: where it begins, and where part r of it begins within.
struct Chunk {
    Chunk(const Plan& plan, uint64_t c, int n)
        : start(c * kStage), length(std::min(kStage, plan.count * size_of(plan.type) - start)), n(n) {}
    size_t part(int r) const { return cut(length, r, n); }

    size_t start, length;
    int n;
};

char* Group::block(int rank, uint64_t c) { return areas_[rank]->blocks[(chunks_ + c) % kDepth]; }

void Group::await_all(std::atomic<uint64_t> Area::*flag, uint64_t least, Guard& guard) {
    for (int r = 0; r < size_; ++r)
        wait_until([&] { return (areas_[r]->*flag).load(std::memory_order_acquire) >= least; }, guard, r);
}

void Group::lay_out(Job& job, uint64_t c) {
    const Chunk chunk(*job.plan, c, size_);
    const char* array = job.input + chunk.start;
    const size_t first = chunk.part(rank_), last = chunk.part(rank_ + 1);
    std::memcpy(block(rank_, c), array, first);
    std::memcpy(block(rank_, c) + last, array + last, chunk.length - last);
    mine_->laid_out.store(chunks_ + c + 1, std::memory_order_release);
}

void Group::fold_part(Job& job, uint64_t c, Guard& guard) {
    const Plan& plan = *job.plan;
    const Chunk chunk(plan, c, size_);
    const size_t first = chunk.part(rank_), last = chunk.part(rank_ + 1);
    await_all(&Area::laid_out, chunks_ + c + 1, guard);
    for (int r = 0; r < size_; ++r)
        if (areas_[r]->announced.digest != plan.digest) disagree(guard, r);
    std::vector<const char*> from(size_);
    std::vector<char*> others;
    for (int r = 0; r < size_; ++r)
        if (r != rank_) others.push_back(block(r, c));
    auto claim_others = [&](size_t at) {
        if (at < last)
            for (char* other : others) claim(other + at, std::min(kBite, last - at));
    };
    const bool past = past_caches(plan, job.input, job.output, size_);
    claim_others(first);
    for (size_t at = first; at < last; at += kBite) {
        const size_t bite = std::min(kBite, last - at);
        claim_others(at + kBite);
        for (int r = 0; r < size_; ++r) from[r] = (r == rank_ ? job.input + chunk.start : block(r, c)) + at;
        // Over the operand that is read first, since in place the own one may be needed last.
        fold_all(plan, others[0] + at, from, bite);
        for (size_t i = 1; i < others.size(); ++i) std::memcpy(others[i] + at, others[0] + at, bite);
        put(job.output + chunk.start + at, others[0] + at, bite, past);
    }
    mine_->folded.store(chunks_ + c + 1, std::memory_order_release);
}

void Group::take_in(Job& job, uint64_t c, Guard& guard) {
    const Chunk chunk(*job.plan, c, size_);
    const bool past = past_caches(*job.plan, job.input, job.output, size_);
    for (int i = 1; i < size_; ++i) {
        const int r = (rank_ + i) % size_;
        wait_until([&] { return areas_[r]->folded.load(std::memory_order_acquire) >= chunks_ + c + 1; }, guard, r);
        const size_t first = chunk.part(r), last = chunk.part(r + 1);
        char *to = job.output + chunk.start + first, *from = block(rank_, c) + first;
        past ? copy_past_caches(to, from, last - first) : copy_claiming(to, from, last - first);
    }
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

}  // namespace ringleader
