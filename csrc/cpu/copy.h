// Copies that say what the caches should do.
#pragma once

#include "arena.h"

#include <algorithm>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace ringleader {

constexpr size_t kCached = 32 << 20;  // bytes of all ranks' results that caches may still hold

// Asks for lines to be this core's own before it writes to them: other ranks have read them, and taking them back one
// by one, store by store, would take longer. On processors without the instruction it does nothing.
inline void claim(const char* at, size_t bytes) {
#if defined(__x86_64__)
    for (size_t i = 0; i < bytes; i += kLine) asm volatile("prefetchw %0" : : "m"(at[i]));
#else
    (void)at, (void)bytes;
#endif
}

// memcpy out of lines that others have written and this rank will write next.
inline void copy_claiming(char* to, const char* from, size_t bytes) {
    constexpr size_t kAhead = 1024, kStep = 256;
    claim(from, std::min(bytes, kAhead));
    size_t at = 0;
    for (; at + kStep <= bytes; at += kStep) {
        if (at + kAhead + kStep <= bytes) claim(from + at + kAhead, kStep);
        std::memcpy(to + at, from + at, kStep);
    }
    std::memcpy(to + at, from + at, bytes - at);
}

// memcpy to memory that no cache holds and none could hold: past them, so that it is not read before it is written.
inline void copy_past_caches(char* to, const char* from, size_t bytes) {
#if defined(__x86_64__)
    const size_t head = std::min(bytes, -reinterpret_cast<uintptr_t>(to) % kLine);
    std::memcpy(to, from, head);
    size_t at = head;
    for (; at + kLine <= bytes; at += kLine)
        for (size_t i = at; i < at + kLine; i += sizeof(__m128i))
            _mm_stream_si128(reinterpret_cast<__m128i*>(to + i),
                             _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i)));
    std::memcpy(to + at, from + at, bytes - at);
    _mm_sfence();  // such stores are not in order with the flag that says that they are done
#else
    std::memcpy(to, from, bytes);
#endif
}

}  // namespace ringleader
