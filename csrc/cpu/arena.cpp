#include "arena.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <limits>
#include <new>
#include <poll.h>
#include <string>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <system_error>
#include <unistd.h>

namespace ringleader {

namespace {

constexpr size_t kLarge = 1 << 20;     // from here on, released memory goes back to the system at once
constexpr size_t kChecked = 16 << 20;  // from here on, an allocation asks first what is left: the system
                                       // would rather end the process than refuse
constexpr size_t kReserve = 32 << 20;  // left for everything else

std::system_error failure(const char* what) { return {errno, std::generic_category(), what}; }

struct stat status(int fd) {
    struct stat found {};
    if (fstat(fd, &found) != 0) throw failure("fstat");
    return found;
}

size_t read_number(const char* path) {
    std::ifstream file(path);
    size_t value;
    return file >> value ? value : std::numeric_limits<size_t>::max();  // "max" and a missing file: no limit
}

}  // namespace

size_t available_memory() {
    size_t available = std::numeric_limits<size_t>::max();
    std::ifstream meminfo("/proc/meminfo");
    for (std::string key, unit; meminfo >> key;) {
        size_t kib;
        if (key == "MemAvailable:" && meminfo >> kib) available = kib * 1024;
        std::getline(meminfo, unit);
    }
    for (auto [most, used] : {std::pair("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
                              std::pair("/sys/fs/cgroup/memory/memory.limit_in_bytes",
                                        "/sys/fs/cgroup/memory/memory.usage_in_bytes")}) {
        size_t limit = read_number(most), now = read_number(used);
        if (limit != std::numeric_limits<size_t>::max() && now != std::numeric_limits<size_t>::max())
            available = std::min(available, limit > now ? limit - now : 0);
    }
    return available;
}

Arena::Arena(size_t size) : size_(round_up(size, kPage)), owner_(getpid()) {
    fd_ = static_cast<int>(syscall(SYS_memfd_create, "ringleader", 3u /* close on exec, allow seals */));
    if (fd_ < 0) throw failure("memfd_create");
    if (ftruncate(fd_, static_cast<off_t>(size_)) != 0) {
        auto error = failure("ftruncate");
        close(fd_);
        throw error;
    }
    fcntl(fd_, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW);  // nobody can cut it off under a reader
    void* base = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd_, 0);
    if (base == MAP_FAILED) {
        auto error = failure("mmap");
        close(fd_);
        throw error;
    }
    base_ = static_cast<char*>(base);
    madvise(base_, size_, MADV_HUGEPAGE);
    free_[0] = size_;
}

Arena::~Arena() {
    munmap(base_, size_);
    close(fd_);
}

uint64_t Arena::identity() const { return status(fd_).st_ino; }

bool Arena::is_owner() const { return getpid() == owner_; }

size_t Arena::allocate(size_t bytes) {
    const size_t unit = bytes >= kPage ? kPage : kLine;
    if (bytes > size_) throw std::bad_alloc();
    bytes = std::max(round_up(bytes, unit), kLine);
    if (bytes >= kChecked && bytes + kReserve > available_memory()) throw std::bad_alloc();
    std::lock_guard lock(mutex_);
    for (auto [start, room] : free_) {
        const size_t offset = round_up(start, unit), skipped = offset - start;
        if (room < skipped + bytes) continue;
        const size_t first = offset / kPage * kPage, last = round_up(offset + bytes, kPage);
        int failed;
        do {
            failed = fallocate(fd_, 0, static_cast<off_t>(first), static_cast<off_t>(last - first));
        } while (failed && errno == EINTR);
        if (failed) throw std::bad_alloc();
        free_.erase(start);
        if (skipped) free_[start] = skipped;
        if (room > skipped + bytes) free_[offset + bytes] = room - skipped - bytes;
        used_[offset] = bytes;
        return offset;
    }
    throw std::bad_alloc();
}

void Arena::release(size_t offset) {
    if (!is_owner()) return;
    std::lock_guard lock(mutex_);
    auto entry = used_.find(offset);
    if (entry == used_.end()) return;
    size_t bytes = entry->second;
    used_.erase(entry);
    if (bytes >= kLarge)
        fallocate(fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                  static_cast<off_t>(bytes));
    auto next = free_.lower_bound(offset);
    if (next != free_.end() && next->first == offset + bytes) {
        bytes += next->second;
        next = free_.erase(next);
    }
    if (next != free_.begin() && std::prev(next)->first + std::prev(next)->second == offset)
        std::prev(next)->second += bytes;
    else
        free_[offset] = bytes;
}

size_t Arena::find(const void* pointer, size_t bytes) const {
    auto* start = static_cast<const char*>(pointer);
    if (start < base_ || start + bytes > base_ + size_) return kNowhere;
    return static_cast<size_t>(start - base_);
}

Neighbour::Neighbour(const Address& address, const Arena* own) : size_(address.size), pid_(address.pid) {
    if (own) {
        base_ = own->at(0);
        return;
    }
    char path[64];
    std::snprintf(path, sizeof path, "/proc/%lld/fd/%lld", static_cast<long long>(address.pid),
                  static_cast<long long>(address.fd));
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) throw failure(path);
    const struct stat found = status(fd);
    if (found.st_ino != address.identity || static_cast<uint64_t>(found.st_size) != address.size) {
        close(fd);
        errno = ESTALE;
        throw failure("the process of that number is not the other rank; are the ranks in different containers?");
    }
    void* base = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (base == MAP_FAILED) {
        auto error = failure("mmap of another rank's memory");
        close(fd);
        throw error;
    }
    close(fd);
    base_ = static_cast<char*>(base);
    mapped_ = true;
    madvise(base_, size_, MADV_HUGEPAGE);
    pidfd_ = static_cast<int>(syscall(434 /* pidfd_open, Linux 5.3 */, static_cast<pid_t>(pid_), 0));
}

Neighbour::~Neighbour() {
    if (mapped_) munmap(base_, size_);
    if (pidfd_ >= 0) close(pidfd_);
}

bool Neighbour::alive() {
    if (dead_ || !mapped_) return !dead_;
    if (pidfd_ >= 0) {  // becomes readable when the process ends, even before its parent has heard of it
        pollfd ended{pidfd_, POLLIN, 0};
        dead_ = poll(&ended, 1, 0) > 0;
    } else {
        dead_ = kill(static_cast<pid_t>(pid_), 0) != 0 && errno == ESRCH;
    }
    return !dead_;
}

}  // namespace ringleader
