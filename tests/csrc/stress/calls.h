// Collective calls of the stress test, with what each must give. Every draw is the same on all ranks.
#pragma once

#include "world.h"

#include <fstream>

namespace stress {

// Element j of rank r: small enough that every sum is exact in every type used here.
constexpr size_t kPeriod = 1009;
inline size_t coded(size_t j, int rank) { return j % kPeriod * 8 + static_cast<size_t>(rank); }

template <class T>
T folded(Fold fold, size_t j, int n) {
    if (fold == Fold::min) return static_cast<T>(coded(j, 0));
    if (fold == Fold::max) return static_cast<T>(coded(j, n - 1));
    size_t value = 0;
    for (int r = 0; r < n; ++r) value = fold == Fold::bxor ? value ^ coded(j, r) : value + coded(j, r);
    return static_cast<T>(value);
}

template <class T>
Call typed_allreduce(Rank& me, Comm& comm, Plan plan, bool is_shared, size_t skip) {
    Call call;
    call.comm = &comm;
    call.output = std::make_unique<Array>(me, plan.count * sizeof(T), is_shared, skip * sizeof(T));
    T* x = call.output->as<T>();
    const int n = comm.group.size();
    const size_t factor = plan.divide ? static_cast<size_t>(n) : 1;
    for (size_t j = 0; j < plan.count; ++j) x[j] = static_cast<T>(coded(j, comm.group.rank()) * factor);
    call.check = [&me, x, plan, n] {
        for (size_t j = 0; j < plan.count; ++j)
            if (x[j] != folded<T>(plan.fold, j, n)) fail(me, "element " + std::to_string(j) + " is wrong");
    };
    call.job = make_job(comm, plan, nullptr, call.output->at());
    return call;
}

// AllReduce one-shot or two-shot; null if this rank is no member. Some ranks' arrays lie in arenas if they `may_share`.
inline std::unique_ptr<Call> allreduce(Rank& me, Comm* comm, Random random, Way way, bool may_share) {
    static const std::vector<size_t> kShort{0, 1, 2, 7, 33, 1000}, kLong{1, 7, 100, 4099, kStage / 8, kStage / 8 + 1,
                                                                        3 * kStage / 8 + 5, 5 * kStage / 8 - 3};
    Plan plan;
    plan.way = way;
    plan.digest = random() >> 32;
    plan.count = one_of(random, way == Way::small ? kShort : kLong);
    plan.type = one_of<Type>(random, {Type::i64, Type::f32, Type::u16});
    plan.fold = one_of<Fold>(random, {Fold::sum, Fold::sum, Fold::min, Fold::max, Fold::bxor});
    if (plan.type == Type::f32 && plan.fold == Fold::bxor) plan.fold = Fold::sum;
    plan.divide = plan.type == Type::f32 && plan.fold == Fold::sum && below(random, 2);
    const uint64_t shared_ranks = one_of<uint64_t>(random, {0, ~uint64_t(0), random()});
    const size_t skip = below(random, 3);
    if (!comm) return nullptr;
    const bool is_shared = may_share && shared_ranks >> comm->group.rank() & 1;
    switch (plan.type) {
        case Type::i64: return std::make_unique<Call>(typed_allreduce<int64_t>(me, *comm, plan, is_shared, skip));
        case Type::f32: return std::make_unique<Call>(typed_allreduce<float>(me, *comm, plan, is_shared, skip));
        default: return std::make_unique<Call>(typed_allreduce<uint16_t>(me, *comm, plan, is_shared, skip));
    }
}

// A collective as all its ranks run it, of int64 sums. `promise[r][b]`: rank r's output block b is the fold over
// ranks lo ... hi - 1 of their input block `slot`; lo == hi: as it was; lo < 0: anything.
struct Promise {
    int slot, lo, hi;
};
struct Case {
    std::string name;
    int n;
    size_t count, blocks_in, blocks_out;  // count: elements of a block
    bool in_place, synchronous;
    std::vector<std::vector<Promise>> promise;
    std::vector<std::shared_ptr<const Program>> programs;
};

inline std::vector<Place> read_places(std::istream& in) {
    size_t count;
    in >> count;
    std::vector<Place> places(count);
    for (Place& place : places) in >> place.buffer >> place.start >> place.bytes;
    return places;
}

inline std::shared_ptr<const Program> read_program(std::istream& in) {
    auto program = std::make_shared<Program>();
    size_t operations, count;
    in >> program->scratch >> program->stage >> operations;
    for (size_t i = 0; i < operations; ++i) {
        Operation operation{};
        int kind, how;
        in >> kind >> operation.peer;
        operation.kind = static_cast<Operation::Kind>(kind);
        operation.from = read_places(in);
        operation.to = read_places(in);
        for (size_t j = 0; j < operation.to.size(); ++j) {
            in >> how;
            operation.enter.push_back(static_cast<Enter>(how));
        }
        in >> count;
        operation.after.resize(count);
        for (int& message : operation.after) in >> message;
        program->operations.push_back(std::move(operation));
    }
    return program;
}

inline std::vector<Case> read_cases(const char* path) {
    std::ifstream in(path);
    std::vector<Case> cases;
    for (Case c; in >> c.name >> c.n >> c.count >> c.blocks_in >> c.blocks_out >> c.in_place >> c.synchronous;) {
        c.promise.assign(static_cast<size_t>(c.n), std::vector<Promise>(c.blocks_out));
        c.programs.clear();
        for (auto& blocks : c.promise) {
            for (Promise& p : blocks) in >> p.slot >> p.lo >> p.hi;
            c.programs.push_back(read_program(in));
        }
        if (!in) throw std::runtime_error("cannot read case " + c.name);
        cases.push_back(c);
    }
    return cases;
}

// Any collective, as a program; null if this rank is no member or no case fits the communicator.
inline std::unique_ptr<Call> program(Rank& me, Comm* comm, size_t members, Random random, const std::vector<Case>& cases,
                                     bool may_share) {
    std::vector<const Case*> fitting;
    for (const Case& c : cases)
        if (static_cast<size_t>(c.n) == members) fitting.push_back(&c);
    if (fitting.empty()) return nullptr;
    const Case& c = *one_of(random, fitting);
    const uint64_t digest = random() >> 32, shared_ranks = random();
    if (!comm) return nullptr;
    const int rank = comm->group.rank();
    const bool is_shared = may_share && shared_ranks >> rank & 1;
    auto call = std::make_unique<Call>();
    call->comm = comm;
    const size_t block = c.count * sizeof(int64_t);
    call->output = std::make_unique<Array>(me, c.blocks_out * block, is_shared);
    if (!c.in_place) call->input = std::make_unique<Array>(me, c.blocks_in * block, is_shared);
    auto *out = call->output->as<int64_t>(), *in = c.in_place ? out : call->input->as<int64_t>();
    std::fill(out, out + c.blocks_out * c.count, -7);
    for (size_t j = 0; j < c.blocks_in * c.count; ++j) in[j] = static_cast<int64_t>(coded(j, rank));
    call->check = [&me, &c, in, out, rank] {
        me.step += " " + c.name;
        for (size_t b = 0; b < c.blocks_out; ++b) {
            const Promise& p = c.promise[static_cast<size_t>(rank)][b];
            for (size_t j = 0; j < c.count && p.lo >= 0; ++j) {
                int64_t expected = p.lo == p.hi ? -7 : 0;
                for (int r = p.lo; r < p.hi; ++r)
                    expected += static_cast<int64_t>(coded(static_cast<size_t>(p.slot) * c.count + j, r));
                if (out[b * c.count + j] != expected)
                    fail(me, "block " + std::to_string(b) + ", element " + std::to_string(j) + " is wrong");
            }
        }
        for (size_t j = 0; in != out && j < c.blocks_in * c.count; ++j)
            if (in[j] != static_cast<int64_t>(coded(j, rank))) fail(me, "the input has changed");
    };
    Plan plan;
    plan.digest = digest;
    plan.type = Type::i64;
    plan.synchronous = c.synchronous;
    plan.program = c.programs[static_cast<size_t>(rank)];
    call->job = make_job(*comm, plan, call->input ? call->input->at() : nullptr, call->output->at());
    return call;
}

}  // namespace stress
