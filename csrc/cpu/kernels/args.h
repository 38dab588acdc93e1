// Arrays from Python, checked: dtype, shape, contiguous in C order, aligned, and writeable where they are written.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <sys/mman.h>

#include <cstdlib>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels.h"
#include "threads.h"

namespace ringleader::kernels {

namespace py = pybind11;
using Array = py::array;
using Sizes = std::vector<py::ssize_t>;

inline Sizes shape_of(const Array& array) { return Sizes(array.shape(), array.shape() + array.ndim()); }

inline std::string text_of(const Sizes& shape) {
    std::string text = "(";
    for (size_t i = 0; i < shape.size(); ++i) text += (i > 0 ? ", " : "") + std::to_string(shape[i]);
    return text + (shape.size() == 1 ? ",)" : ")");
}

inline std::string dtype_of(const Array& array) { return py::cast<std::string>(py::str(array.dtype())); }

template <class T> void check_dtype(const char* name, const Array& array) {
    if (!py::isinstance<py::array_t<T>>(array))
        throw py::type_error(std::string(name) + " must be " + py::cast<std::string>(py::str(py::dtype::of<T>())) +
                             ", it is " + dtype_of(array));
}

template <class T> const T* read(const char* name, const Array& array, const Sizes& shape) {
    constexpr int aligned = py::detail::npy_api::NPY_ARRAY_ALIGNED_;
    check_dtype<T>(name, array);
    if (shape_of(array) != shape)
        throw py::value_error(std::string(name) + " must have shape " + text_of(shape) + ", it has " +
                              text_of(shape_of(array)));
    if ((array.flags() & Array::c_style) == 0 || (array.flags() & aligned) == 0)
        throw py::value_error(std::string(name) + " must be contiguous and aligned");
    return static_cast<const T*>(array.data());
}

template <class T> const T* read(const char* name, const std::optional<Array>& array, const Sizes& shape) {
    return array ? read<T>(name, *array, shape) : nullptr;
}

template <class T> T* write(const char* name, Array& array, const Sizes& shape) {
    read<T>(name, array, shape);
    if (!array.writeable()) throw py::value_error(std::string(name) + " must be writeable");
    return static_cast<T*>(array.mutable_data());
}

inline void check_axes(const char* name, const Array& array, py::ssize_t axes) {
    if (array.ndim() != axes)
        throw py::value_error(std::string(name) + " must have " + std::to_string(axes) + " axes, it has shape " +
                              text_of(shape_of(array)));
}

// A new array, not set.
template <class T> py::array_t<T> make(const Sizes& shape) { return py::array_t<T>(shape); }

template <class T> py::array_t<T> zeros(const Sizes& shape) {
    py::array_t<T> array(shape);
    std::memset(array.mutable_data(), 0, size_t(array.nbytes()));
    return array;
}

// Zeros, as the widest vectors have them aligned.
template <class T> class Scratch {
public:
    explicit Scratch(size_t count) : memory(count * sizeof(T) + alignment) {
        void* start = memory.data();
        size_t room = memory.size();
        begin = static_cast<T*>(std::align(alignment, count * sizeof(T), start, room));
    }
    T* data() { return begin; }

private:
    static constexpr size_t alignment = 64;
    std::vector<char> memory;
    T* begin;
};

// Calls body(T()) for the element type T of `array`. TypeError: not float32 or float64.
template <class Body> auto by_dtype(const char* name, const Array& array, Body body) {
    if (py::isinstance<py::array_t<float>>(array)) return body(float());
    if (py::isinstance<py::array_t<double>>(array)) return body(double());
    throw py::type_error(std::string(name) + " must be float32 or float64, it is " + dtype_of(array));
}

// Calls the kernel without the interpreter's lock.
template <class Kernel, class... Args> void call(Kernel kernel, Args... args) {
    py::gil_scoped_release released;
    kernel(args...);
}

// The same in parts on several threads: body(begin, end) for parts of 0 ... count (threads.h).
template <class Body> void call_in_parts(size_t count, size_t unit, double nanoseconds, Body body) {
    py::gil_scoped_release released;
    parallel(count, unit, nanoseconds, body);
}

constexpr size_t huge_page = size_t(1) << 21, huge_from = size_t(1) << 22;

// Memory on a cache line; from 4 MiB on in huge pages, where the system gives them to those who ask: a matrix then needs few
// entries of the processor's table of pages. Null: there is none.
inline void* aligned(size_t bytes) {
    if (bytes < huge_from) return std::aligned_alloc(64, (bytes + 63) / 64 * 64);
    const size_t whole = (bytes + huge_page - 1) / huge_page * huge_page;
    void* const memory = std::aligned_alloc(huge_page, whole);
    if (memory) madvise(memory, whole, MADV_HUGEPAGE);  // no matter if it fails
    return memory;
}

// `count` elements that are not set, on a cache line: of this thread, the same memory in every call.
template <class T> T* room(size_t count) {
    struct Free { void operator()(void* memory) const { std::free(memory); } };
    thread_local std::unique_ptr<void, Free> memory;
    thread_local size_t bytes = 0;
    const size_t wanted = count * sizeof(T);
    if (wanted > bytes) {
        memory.reset(), bytes = 0;
        memory.reset(aligned(wanted));
        if (!memory) throw std::bad_alloc();
        bytes = wanted;
    }
    return static_cast<T*>(memory.get());
}

void bind_memory(py::module_& m);
void bind_pointwise(py::module_& m);
void bind_products(py::module_& m);
void bind_rows(py::module_& m);
void bind_recurrent(py::module_& m);
void bind_optimisers(py::module_& m);
void bind_images(py::module_& m);
void bind_attention(py::module_& m);

}  // namespace ringleader::kernels
