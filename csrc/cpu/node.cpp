#include "node.h"

#include <algorithm>
#include <mutex>
#include <sched.h>
#include <stdexcept>
#include <system_error>
#include <unistd.h>

#include "wait.h"

namespace ringleader {

namespace {

// Arenas of this process, by file descriptor: ranks may be threads.
std::mutex own_mutex;
std::map<int64_t, const Arena*> own_arenas;

}  // namespace

Node::Node(int index, int size, size_t bytes)
    : arena_(index >= 0 && index < size ? bytes : throw std::invalid_argument("no such rank of a node")), head_(arena_.allocate(sizeof(Head))), device_(arena_, index, size) {
    auto* head = new (arena_.at(head_)) Head{};
    sched_getaffinity(0, sizeof head->cores, &head->cores);
    head->rings.store(device_.ring_to(0));
    std::lock_guard lock(own_mutex);
    own_arenas[arena_.fd()] = &arena_;
}

Node::~Node() {
    std::lock_guard lock(own_mutex);
    own_arenas.erase(arena_.fd());
}

Address Node::address() const {
    return {getpid(), arena_.fd(), arena_.size(), head_, arena_.identity()};
}

void Node::connect(const std::vector<Address>& addresses) {
    if (addresses.size() != static_cast<size_t>(device_.size()))
        throw std::invalid_argument("a node needs the addresses of all its ranks");
    std::vector<Neighbour*> neighbours;
    std::vector<size_t> rings;
    const size_t mine = static_cast<size_t>(device_.index()) * sizeof(Ring);
    for (const Address& address : addresses) {
        const Arena* own = nullptr;
        if (address.pid == getpid()) {
            std::lock_guard lock(own_mutex);
            const auto found = own_arenas.find(address.fd);
            if (found == own_arenas.end() || found->second->identity() != address.identity)
                throw std::system_error(ESTALE, std::generic_category(), "another process has this one's number");
            own = found->second;
        }
        neighbours_.push_back(std::make_unique<Neighbour>(address, own));
        neighbours.push_back(neighbours_.back().get());
        heads_.push_back(address.start);
        rings.push_back(head(static_cast<int>(heads_.size()) - 1).rings.load() + mine);
    }
    device_.connect(neighbours, rings);
    // Ranks that share cores must let each other run. A launcher may have given each rank a core of its own.
    cpu_set_t cores;
    CPU_ZERO(&cores);
    for (int r = 0; r < device_.size(); ++r) CPU_OR(&cores, &cores, &head(r).cores);
    crowded_ = device_.size() > CPU_COUNT(&cores);
    spins_before_yield = crowded_ ? 5 : 1000;
}

Node::Head& Node::head(int index) const {
    return *reinterpret_cast<Head*>(neighbours_.at(static_cast<size_t>(index))->at(heads_[index]));
}

void Node::leave() {
    if (arena_.is_owner()) head(device_.index()).left.store(1, std::memory_order_release);
}

bool Node::left(int index) const { return head(index).left.load(std::memory_order_acquire) != 0; }

}  // namespace ringleader
