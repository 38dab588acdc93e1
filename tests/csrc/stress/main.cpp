// Random calls on the engine, many at once, by ranks that are threads of one process: for sanitizers to watch.
//
//     stress FILE RANKS SEED SECONDS
//
// FILE: programs, as tests/csrc/test_sanitizers.py writes them. All ranks draw the same steps from SEED. Results are
// compared with coded integers; an array is poisoned as soon as its call has returned. Ranks meet through the engine
// alone, so that nothing else orders what they do.
#include "calls.h"
#include "messages.h"

namespace stress {

constexpr size_t kArena = size_t(1) << 30;
constexpr size_t kDoomed = 8;  // groups that are given up: their areas stay in the arena

std::vector<std::vector<int>> subsets(int n) {
    std::vector<int> all, reversed, even, odd;
    for (int r = 0; r < n; ++r) {
        all.push_back(r);
        reversed.insert(reversed.begin(), r);
        (r % 2 ? odd : even).push_back(r);
    }
    std::vector<std::vector<int>> found{all, reversed, even, {n - 1}};
    if (!odd.empty()) found.push_back(odd);
    return found;
}

std::unique_ptr<Call> draw_call(Rank& me, const std::vector<Case>& cases, Comm* comm, size_t members, Random random,
                                bool may_share) {
    switch (below(random, 4)) {
        case 0: return allreduce(me, comm, random, Way::small, may_share);
        case 1: return allreduce(me, comm, random, Way::direct, may_share);
        default: return program(me, comm, members, random, cases, may_share);
    }
}

// Several calls on several communicators; some are blocking, and the others are awaited in an order of this
// rank's own, perhaps after messages point to point.
void burst(Rank& me, const std::vector<Case>& cases) {
    const auto groups = subsets(me.n);
    std::vector<std::unique_ptr<Call>> pending;
    for (size_t calls = 1 + below(me.common, 6); calls; --calls) {
        const size_t at = below(me.common, groups.size());
        const bool blocking = below(me.common, 2);
        auto call = draw_call(me, cases, me.comms[at].get(), groups[at].size(), Random(me.common()), true);
        if (!call) continue;
        if (blocking) {
            run(me, *call->comm, call->job);
            call->check();
        } else {
            call->comm->group.submit(call->job);
            pending.push_back(std::move(call));
        }
    }
    switch (below(me.common, 5)) {  // while the groups' threads are at work
        case 0: exchange_letters(me); break;
        case 1: exchange_notes(me); break;
        case 2: cancel_messages(me); break;
        default: break;
    }
    std::shuffle(pending.begin(), pending.end(), me.own);
    for (auto& call : pending) {
        Watch watch(me);
        call->comm->group.await(*call->job, watch);
        call->check();
        call.reset();
    }
}

// Calls to which one rank never comes: the others give them up, some in the midst of them. Their arrays are private:
// who gives up a call cannot know when its peers have ceased to read what lies in its arena.
void doomed(Rank& me, const std::vector<Case>& cases) {
    const auto everyone = subsets(me.n)[0];
    const int absent = static_cast<int>(below(me.common, everyone.size()));
    auto comm = split(me, everyone);
    std::vector<std::unique_ptr<Call>> calls;
    for (size_t i = 1 + below(me.common, 3); i; --i) {
        Random random(me.common());
        if (me.rank == absent) continue;
        auto call = draw_call(me, cases, comm.get(), everyone.size(), random, false);
        if (call) calls.push_back(std::move(call));
    }
    for (auto& call : calls) comm->group.submit(call->job);
    std::this_thread::sleep_for(std::chrono::microseconds(below(me.own, 3000)));
    for (auto& call : calls) comm->group.stop(*call->job);
}

void step(Rank& me, const std::vector<Case>& cases, size_t& doomed_left) {
    switch (below(me.common, 8)) {
        case 0:
        case 1:
            me.step += " (letters)";
            return exchange_letters(me);
        case 2:
            me.step += " (cancelled messages)";
            return cancel_messages(me);
        case 3:
            if (doomed_left && below(me.common, 4) == 0) {
                --doomed_left;
                me.step += " (doomed calls)";
                return doomed(me, cases);
            }
            [[fallthrough]];
        default:
            me.step += " (burst)";
            return burst(me, cases);
    }
}

size_t live(Rank& me, const std::vector<Case>& cases, double seconds, const std::vector<size_t>& areas) {
    const auto start = Clock::now();
    me.comms[0]->group.connect(areas);
    const auto groups = subsets(me.n);
    for (size_t g = 1; g < groups.size(); ++g) me.comms.push_back(split(me, groups[g]));
    size_t steps = 0, doomed_left = kDoomed;
    for (bool over = false; !over;) {
        for (int i = 0; i < 10; ++i) {
            me.step = "step " + std::to_string(steps++);
            step(me, cases, doomed_left);
        }
        over = exchange(me, std::chrono::duration<double>(Clock::now() - start).count() > seconds)[0];
    }
    exchange(me, 0);
    me.comms.clear();
    return steps;
}

}  // namespace stress

int main(int argc, char** argv) {
    using namespace stress;
    if (argc != 5) return std::fprintf(stderr, "stress FILE RANKS SEED SECONDS\n"), 2;
    const std::vector<Case> cases = read_cases(argv[1]);
    const int n = std::atoi(argv[2]);
    const uint64_t seed = std::strtoull(argv[3], nullptr, 10);
    const double seconds = std::atof(argv[4]);
    std::vector<std::unique_ptr<Node>> nodes;
    std::vector<Rank> ranks(static_cast<size_t>(n));
    std::vector<Address> addresses;
    std::vector<size_t> areas;
    for (int r = 0; r < n; ++r) nodes.push_back(std::make_unique<Node>(r, n, kArena));
    for (auto& node : nodes) addresses.push_back(node->address());
    for (auto& node : nodes) node->connect(addresses);
    for (int r = 0; r < n; ++r) {
        Rank& me = ranks[static_cast<size_t>(r)];
        me.rank = r;
        me.n = n;
        me.node = nodes[static_cast<size_t>(r)].get();
        me.common.seed(seed);
        me.own.seed(seed * 1000 + static_cast<uint64_t>(r));
        me.comms.push_back(std::make_unique<Comm>(me.device(), 10, r, subsets(n)[0]));
        me.next_context = 10 + Group::kContexts;
        areas.push_back(me.comms[0]->group.area());
    }
    std::vector<std::thread> threads;
    std::vector<size_t> steps(static_cast<size_t>(n));
    for (size_t r = 0; r < ranks.size(); ++r)
        threads.emplace_back([&, r] { steps[r] = live(ranks[r], cases, seconds, areas); });
    for (auto& thread : threads) thread.join();
    std::printf("%zu cases, %d ranks, seed %" PRIu64 ": %zu steps, all right\n", cases.size(), n, seed, steps[0]);
}
