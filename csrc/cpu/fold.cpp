// Which kernels this process uses, and what is built from any of them: streaming and two results at once.
#include "fold.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <utility>

#include "fold_kernels.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <emmintrin.h>
#endif

namespace ringleader {
namespace {

struct Level {
    const char* name;
    const Kernels* kernels;
};

Level choose_level() {
#if defined(__x86_64__)
    const char* asked = std::getenv("RINGLEADER_CPU");
    const std::string_view most = asked == nullptr ? "avx512" : asked;
    unsigned eax, ebx, ecx = 0, edx;
    __get_cpuid(1, &eax, &ebx, &ecx, &edx);  // __builtin_cpu_supports does not know f16c in every compiler
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && (ecx & bit_F16C) != 0;
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    if (avx512 && most != "avx2" && most != "baseline") return {"avx512", &avx512::kernels};
    if (avx2 && most != "baseline") return {"avx2", &avx2::kernels};
#endif
    return {"baseline", &baseline::kernels};
}

const Level& level() {
    static const Level chosen = choose_level();
    return chosen;
}

constexpr size_t line = 64;           // bytes of a cache line
constexpr size_t buffer_size = 4096;  // bytes: stays in the first-level cache next to its operands

char* at(void* start, size_t offset) { return static_cast<char*>(start) + offset; }
const char* at(const void* start, size_t offset) { return static_cast<const char*>(start) + offset; }

// Bytes from here to the next cache line.
size_t to_line(const void* here) { return -reinterpret_cast<uintptr_t>(here) % line; }

// As a number, because it may lie past the end of the array.
uintptr_t address(const void* start, size_t offset) { return reinterpret_cast<uintptr_t>(start) + offset; }

// Whole lines go past the caches; what lies before the first and after the last of them is written as usual.
// For each line written one is prefetched from each address of `next`: reads and writes share the memory's time.
// The caller ends with `fence()` before anybody else may look.
template <class... Address> void stream(void* dst, const void* src, size_t bytes, [[maybe_unused]] Address... next) {
#if defined(__x86_64__)
    const size_t head = std::min(to_line(dst), bytes);
    std::memcpy(dst, src, head);
    size_t done = head;
    for (; done + line <= bytes; done += line) {
        const auto* from = reinterpret_cast<const __m128i*>(at(src, done));
        auto* to = reinterpret_cast<__m128i*>(at(dst, done));
        const __m128i w0 = _mm_loadu_si128(from), w1 = _mm_loadu_si128(from + 1);
        const __m128i w2 = _mm_loadu_si128(from + 2), w3 = _mm_loadu_si128(from + 3);
        (_mm_prefetch(reinterpret_cast<const char*>(next + done), _MM_HINT_T0), ...);
        _mm_stream_si128(to, w0);
        _mm_stream_si128(to + 1, w1);
        _mm_stream_si128(to + 2, w2);
        _mm_stream_si128(to + 3, w3);
    }
    std::memcpy(at(dst, done), at(src, done), bytes - done);
#else
    std::memcpy(dst, src, bytes);
#endif
}

// Orders streamed bytes before whatever is written next, such as a flag that says they are there.
void fence() {
#if defined(__x86_64__)
    _mm_sfence();
#endif
}

// Calls each(first, last) with byte ranges of whole elements that together are all `bytes`. All but the first end
// where the lines of dst end, if elements can: then no line is half streamed.
template <class Each> void in_buffers(const void* dst, size_t bytes, size_t element, Each each) {
    size_t done = 0, size = buffer_size + to_line(dst) / element * element;
    for (; done < bytes; size = buffer_size) {
        size = std::min(size, bytes - done);
        each(done, size);
        done += size;
    }
}

void fold_streaming(Folder folder, size_t element, void* dst, const void* a, const void* b, size_t count) {
    if (dst == a || dst == b) return folder(dst, a, b, count);
    alignas(line) char buffer[buffer_size + line];
    in_buffers(dst, count * element, element, [&](size_t from, size_t bytes) {
        folder(buffer, at(a, from), at(b, from), bytes / element);
        stream(at(dst, from), buffer, bytes, address(a, from + bytes), address(b, from + bytes));
    });
    fence();
}

void fold_twice(Folder folder, size_t element, void* dst1, void* dst2, const void* a, const void* b, size_t count) {
    in_buffers(dst1, count * element, element, [&](size_t from, size_t bytes) {
        folder(at(dst1, from), at(a, from), at(b, from), bytes / element);
        std::memcpy(at(dst2, from), at(dst1, from), bytes);
    });
}

void fold_twice_streaming(Folder folder, size_t element, void* dst1, void* dst2, const void* a, const void* b,
                          size_t count) {
    alignas(line) char buffer[buffer_size + line];
    const auto put = [&](void* dst, size_t from, size_t bytes, const void* next) {
        if (dst == a || dst == b) std::memcpy(at(dst, from), buffer, bytes);
        else stream(at(dst, from), buffer, bytes, address(next, from + bytes));
    };
    in_buffers(dst1, count * element, element, [&](size_t from, size_t bytes) {
        folder(buffer, at(a, from), at(b, from), bytes / element);
        put(dst1, from, bytes, a);
        put(dst2, from, bytes, b);
    });
    fence();
}

// A Folder is a plain function, so the operation and the type become part of it.
template <Fold fold, Type type> void streaming(void* dst, const void* a, const void* b, size_t count) {
    fold_streaming(find_folder(fold, type), size_of(type), dst, a, b, count);
}
template <Fold fold, Type type> void twice(void* dst1, void* dst2, const void* a, const void* b, size_t count) {
    fold_twice(find_folder(fold, type), size_of(type), dst1, dst2, a, b, count);
}
template <Fold fold, Type type>
void twice_streaming(void* dst1, void* dst2, const void* a, const void* b, size_t count) {
    fold_twice_streaming(find_folder(fold, type), size_of(type), dst1, dst2, a, b, count);
}

struct Built {
    Folder streaming;
    Folder2 twice, twice_streaming;
};

template <size_t... entry> constexpr auto build(std::index_sequence<entry...>) {
    struct Table { Built entries[sizeof...(entry)]; };
    return Table{{Built{streaming<Fold(entry / type_count), Type(entry % type_count)>,
                        twice<Fold(entry / type_count), Type(entry % type_count)>,
                        twice_streaming<Fold(entry / type_count), Type(entry % type_count)>}...}};
}

constexpr auto built = build(std::make_index_sequence<fold_count * type_count>());

size_t entry(Fold fold, Type type) { return size_t(fold) * type_count + size_t(type); }

}  // namespace

size_t size_of(Type type) {
    constexpr uint8_t sizes[type_count] = {1, 1, 1, 2, 2, 4, 4, 8, 8, 2, 2, 4, 8, 8, 16};
    return sizes[size_t(type)];
}

Folder find_folder(Fold fold, Type type) { return level().kernels->folders[entry(fold, type)]; }

Folder find_streaming_folder(Fold fold, Type type) {
    return find_folder(fold, type) == nullptr ? nullptr : built.entries[entry(fold, type)].streaming;
}

Folder2 find_folder2(Fold fold, Type type, bool streaming) {
    if (find_folder(fold, type) == nullptr) return nullptr;
    const Built& found = built.entries[entry(fold, type)];
    return streaming ? found.twice_streaming : found.twice;
}

void copy_streaming(void* dst, const void* src, size_t bytes) {
    stream(dst, src, bytes);
    fence();
}

const char* cpu_level() { return level().name; }

}  // namespace ringleader
