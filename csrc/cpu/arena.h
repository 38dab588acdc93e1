// Memory that the other ranks of the node can read: one file in memory (memfd) a rank, mapped by all of them.
//
// The file is large and sparse, and nothing of it lies in /dev/shm or has a name: when the last process that
// mapped it has ended, however it ended, the memory is gone. An address is (rank, offset). Pages are claimed when
// memory is allocated, so that exhaustion is an error there and never a bus error later.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <sys/types.h>

namespace ringleader {

constexpr size_t kLine = 64;    // bytes of a cache line: what one rank writes and others watch has its own
constexpr size_t kPage = 4096;

constexpr size_t round_up(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

// How another rank finds an arena.
struct Address {
    int64_t pid = 0;
    int64_t fd = -1;
    uint64_t size = 0;
    uint64_t start = 0;     // offset of what its owner wants to be known first
    uint64_t identity = 0;  // of the file: in another container the same numbers mean another one
};

class Arena {
public:
    explicit Arena(size_t size);  // throws std::system_error
    ~Arena();
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;

    // Offset of `bytes` zeroed or used bytes, aligned to a cache line (to a page from one page on). Throws
    // std::bad_alloc when address space or memory is exhausted.
    size_t allocate(size_t bytes);
    void release(size_t offset);  // peers that still read there read zeros; the mapping itself stays

    char* at(size_t offset) const { return base_ + offset; }
    // Offset of memory that lies wholly in this arena; kNowhere otherwise.
    size_t find(const void* pointer, size_t bytes) const;
    size_t size() const { return size_; }
    int fd() const { return fd_; }
    bool is_owner() const;  // false in a forked child: the memory is its parent's
    uint64_t identity() const;

    static constexpr size_t kNowhere = ~size_t(0);

private:
    char* base_ = nullptr;
    size_t size_ = 0;
    int fd_ = -1;
    pid_t owner_ = 0;
    std::mutex mutex_;
    std::map<size_t, size_t> free_, used_;  // offset -> bytes
};

// Another rank's arena in this process, and whether that rank still lives.
class Neighbour {
public:
    // `own`: this process's arena at that address if both ranks are threads of one process, so that memory is
    // known to everyone (thread sanitizers too) by one address. Throws std::system_error.
    Neighbour(const Address& address, const Arena* own);
    ~Neighbour();
    Neighbour(const Neighbour&) = delete;
    Neighbour& operator=(const Neighbour&) = delete;

    char* at(size_t offset) const { return base_ + offset; }
    bool alive();

private:
    char* base_ = nullptr;
    size_t size_ = 0;
    int pidfd_ = -1;
    bool mapped_ = false, dead_ = false;
    int64_t pid_ = 0;
};

// Bytes that this process may still claim, by the machine's and its control group's own word.
size_t available_memory();

}  // namespace ringleader
