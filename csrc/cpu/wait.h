// Waiting for another rank: spin a little, then let others run, then sleep; and now and then look up.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <climits>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace ringleader {

// What a waiting loop asks of its caller.
class Guard {
public:
    virtual ~Guard() = default;
    // The wait will not be a short one (Python's lock is released here).
    virtual void settle() {}
    // Called every few milliseconds. Throws to give up. `missing`: the rank that is waited for, -1 if several.
    virtual void look(int missing) = 0;
    // Called more often, so cheap: must the wait end at once? Throws then.
    virtual void peek() {}
};

inline void relax() {
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

// Sleep while `word`, in memory that processes share, has this value, for at most so long, or until `wake`.
inline void wait_while(std::atomic<uint32_t>& word, uint32_t value, std::chrono::nanoseconds most) {
    constexpr auto kSecond = std::chrono::nanoseconds(std::chrono::seconds(1));
    const timespec time{most / kSecond, (most % kSecond).count()};
    syscall(SYS_futex, &word, FUTEX_WAIT, value, &time, nullptr, 0);
}

inline void wake(std::atomic<uint32_t>& word) { syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0); }

// Spins before a waiting rank yields its core: few where ranks share cores, since who is waited for may need
// this very core. Set once, when the ranks of the node have met.
inline std::atomic<int> spins_before_yield{1000};

// One waiting loop; call `turn` until what is waited for is there.
class Pause {
public:
    explicit Pause(Guard& guard) : guard_(guard), spins_(spins_before_yield.load(std::memory_order_relaxed)) {}

    // Something has moved: the next wait is a new one.
    void reset() { turns_ = 0; }

    void turn(int missing) {
        ++turns_;
        if (turns_ <= spins_) {
            if (turns_ == kShort) guard_.settle();
            return relax();
        }
        if (turns_ < kShort) turns_ += kYield;  // takes longer than a spin
        if (turns_ >= kShort) guard_.settle();
        if (turns_ % 16 == 0) guard_.peek();
        if (turns_ <= spins_ + kShort + kYields) {
            sched_yield();
        } else {
            timespec nap{0, 50'000};
            nanosleep(&nap, nullptr);
        }
        if (turns_ % 32 == 0) {
            auto now = std::chrono::steady_clock::now();
            if (last_ == std::chrono::steady_clock::time_point{}) last_ = now;
            if (now - last_ >= std::chrono::milliseconds(5)) {
                last_ = now;
                guard_.look(missing);
            }
        }
    }

private:
    static constexpr int kShort = 40;     // spins, about 2 us (or some yields): with Python's lock held, if it is
    static constexpr int kYield = 10;     // spins that take as long as letting another rank run
    static constexpr int kYields = 2000;  // before sleeping

    Guard& guard_;
    const int64_t spins_;
    int64_t turns_ = 0;
    std::chrono::steady_clock::time_point last_{};
};

template <class Ready>
void wait_until(Ready ready, Guard& guard, int missing) {
    if (ready()) return;
    Pause pause(guard);
    while (!ready()) pause.turn(missing);
}

}  // namespace ringleader
