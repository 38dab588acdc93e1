// Memory of large arrays that is kept for the next one of its size, instead of going back to the system, which gives it
// page by page and zeroed: that costs a training step more than its element-wise arithmetic. An allocator for numpy as in
// NEP 49: only arrays made by the thread that asked for it are concerned, and each knows how it is freed.
#include <malloc.h>

#include <cstring>
#include <mutex>

#include "args.h"

namespace ringleader::kernels {
namespace {

constexpr size_t smallest = size_t(1) << 16, most_kept = size_t(1) << 30;  // bytes of an array, and of all that is kept
constexpr int octaves = 15, steps = 4, classes = octaves * steps;

// 64 KiB (4 + i) / 4 2^octave, in whole huge pages where there are some.
constexpr size_t size_of(int number) {
    const size_t size = (smallest >> 2) * size_t(steps + number % steps) << (number / steps);
    return size < huge_from ? size : (size + huge_page - 1) / huge_page * huge_page;
}

// The first class that is not smaller; `classes` if there is none.
int class_for(size_t bytes) {
    int number = 0;
    while (number < classes && size_of(number) < bytes) ++number;
    return number;
}

class Kept {
  public:
    void* take(int number) {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (blocks_[number].empty()) return nullptr;
        void* const block = blocks_[number].back();
        blocks_[number].pop_back();
        bytes_ -= size_of(number);
        return block;
    }
    bool keep(void* block, int number) {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (bytes_ + size_of(number) > most_kept) return false;
        blocks_[number].push_back(block);
        bytes_ += size_of(number);
        return true;
    }
    size_t bytes() {
        const std::lock_guard<std::mutex> lock(mutex_);
        return bytes_;
    }

  private:
    std::mutex mutex_;
    std::vector<void*> blocks_[classes];
    size_t bytes_ = 0;
};

Kept& kept() {
    static Kept* const all = new Kept;  // never destroyed: arrays are freed at exit, too
    return *all;
}

void* allocate(void*, size_t bytes) {
    const int number = bytes < smallest ? classes : class_for(bytes);
    if (number == classes) return std::malloc(bytes);
    void* const block = kept().take(number);
    return block ? block : aligned(size_of(number));
}

// A block that was used before is cleared here; a new one comes cleared from the system, without being touched.
void* allocate_zeroed(void*, size_t count, size_t size) {
    const size_t bytes = count * size;
    const int number = bytes < smallest ? classes : class_for(bytes);
    void* const block = number == classes ? nullptr : kept().take(number);
    if (block) return std::memset(block, 0, bytes);
    return number == classes ? std::calloc(count, size) : std::calloc(1, size_of(number));
}

void* resize(void*, void* block, size_t bytes) { return std::realloc(block, bytes); }

// The class by what the block can hold, whoever allocated it and however large numpy thinks it is.
void release(void*, void* block, size_t) {
    const size_t usable = block ? malloc_usable_size(block) : 0;
    if (usable >= smallest && usable <= size_of(classes - 1)) {
        const int number = class_for(usable);
        if (kept().keep(block, size_of(number) == usable ? number : class_for(size_of(number - 1)))) return;
    }
    std::free(block);
}

// numpy's PyDataMem_Handler, and the place of PyDataMem_SetHandler in its table of functions (since numpy 1.22).
struct Handler {
    char name[127];
    uint8_t version;
    void* context;
    void* (*malloc)(void*, size_t);
    void* (*calloc)(void*, size_t, size_t);
    void* (*realloc)(void*, void*, size_t);
    void (*free)(void*, void*, size_t);
};
constexpr size_t set_handler = 304;

void keep_memory() {
    static Handler handler = {"ringleader", 1, nullptr, allocate, allocate_zeroed, resize, release};
    const auto numpy = py::module_::import("numpy");
    const auto core = py::hasattr(numpy, "_core") ? "numpy._core._multiarray_umath" : "numpy.core._multiarray_umath";
    const py::capsule table = py::module_::import(core).attr("_ARRAY_API");
    const auto set = reinterpret_cast<PyObject* (*)(PyObject*)>(table.get_pointer<void*>()[set_handler]);
    const py::capsule capsule(&handler, "mem_handler");
    const auto before = py::reinterpret_steal<py::object>(set(capsule.ptr()));
    if (!before) throw py::error_already_set();
}

}  // namespace

void bind_memory(py::module_& m) {
    m.def("keep_memory", &keep_memory);
    m.def("bytes_kept", [] { return kept().bytes(); });
}

}  // namespace ringleader::kernels
