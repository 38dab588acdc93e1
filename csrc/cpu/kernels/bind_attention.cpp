// Attention. Arrays of four axes with any strides, but for the last axis, whose elements must follow each other.
#include "args.h"

#include <algorithm>
#include <numeric>

namespace ringleader::kernels {
namespace {

template <class T> Heads<const T> heads(const char* name, const Array& array, const Sizes& shape) {
    check_dtype<T>(name, array);
    if (shape_of(array) != shape)
        throw py::value_error(std::string(name) + " must have shape " + text_of(shape) + ", it has " +
                              text_of(shape_of(array)));
    ptrdiff_t strides[4];
    bool fits = (array.flags() & py::detail::npy_api::NPY_ARRAY_ALIGNED_) != 0;
    for (int axis = 0; axis < 4; ++axis) {
        strides[axis] = array.strides(axis) / ptrdiff_t(sizeof(T));
        fits = fits && array.strides(axis) % ptrdiff_t(sizeof(T)) == 0;
    }
    if (!fits || (shape[3] > 1 && strides[3] != 1))
        throw py::value_error(std::string(name) + " must be aligned, and contiguous along its last axis");
    return {static_cast<const T*>(array.data()), strides[0], strides[1], strides[2]};
}

// A new array of this shape, not set; its axes lie in memory in the order in which those of `model` do.
template <class T> Array make_like(const Array& model, const Sizes& shape) {
    size_t order[4] = {0, 1, 2, 3};  // from the innermost, which is the last in any case
    std::stable_sort(order, order + 3, [&](size_t a, size_t b) {
        const auto x = std::abs(model.strides(py::ssize_t(a))), y = std::abs(model.strides(py::ssize_t(b)));
        return x != y ? x < y : a > b;
    });
    Sizes strides(4);
    strides[3] = sizeof(T);
    py::ssize_t step = py::ssize_t(sizeof(T)) * shape[3];
    for (size_t i = 0; i < 3; ++i) strides[order[i]] = step, step *= shape[order[i]];
    return Array(py::dtype::of<T>(), shape, strides);
}

template <class T> Heads<T> to_write(Array& array, const Sizes& shape) {
    const Heads<const T> read = heads<T>("result", array, shape);
    return {const_cast<T*>(read.at), read.batch, read.head, read.row};
}

Attention shape_for(const Array& q, const Array& k, const Array& v, double scale, bool causal) {
    for (const auto& [name, array] : {std::pair<const char*, const Array&>("q", q), {"k", k}, {"v", v}}) {
        check_axes(name, array, 4);
        if (array.size() == 0) throw py::value_error(std::string(name) + " must not be empty");
    }
    if (q.shape(1) % k.shape(1) != 0)
        throw py::value_error("q has " + std::to_string(q.shape(1)) + " heads, no multiple of the " +
                              std::to_string(k.shape(1)) + " of k");
    return {size_t(q.shape(0)), size_t(k.shape(1)), size_t(q.shape(1) / k.shape(1)), size_t(q.shape(2)),
            size_t(k.shape(2)), size_t(q.shape(3)), size_t(v.shape(3)), scale, causal};
}

Sizes q_shape(const Attention& s, size_t last) {
    return {py::ssize_t(s.batch), py::ssize_t(s.kv_heads * s.groups), py::ssize_t(s.queries), py::ssize_t(last)};
}
Sizes k_shape(const Attention& s, size_t last) {
    return {py::ssize_t(s.batch), py::ssize_t(s.kv_heads), py::ssize_t(s.keys), py::ssize_t(last)};
}

// body(begin, end, room) for all heads of keys, on several threads where there is much to do.
template <class T, class Body> void by_heads(const Attention& s, size_t products, Body body) {
    const double scores = double(s.queries) * double(s.keys) * (s.causal ? 0.5 : 1), heads = double(s.batch * s.kv_heads);
    const double sums = double(products) * double(s.size + s.value_size) / 2 * scores * heads * double(s.groups);
    call_in_parts(s.batch * s.kv_heads, 1, sums / (sizeof(T) == sizeof(float) ? 50 : 25), [&](size_t begin, size_t end) {
        body(begin, end, room<T>(table<T>().attention_room(s)));
    });
}

py::tuple attention(const Array& q, const Array& k, const Array& v, double scale, bool causal) {
    const Attention s = shape_for(q, k, v, scale, causal);
    return by_dtype("q", q, [&](auto zero) -> py::tuple {
        using T = decltype(zero);
        const auto from_q = heads<T>("q", q, q_shape(s, s.size)), from_k = heads<T>("k", k, k_shape(s, s.size));
        const auto from_v = heads<T>("v", v, k_shape(s, s.value_size));
        Array out = make_like<T>(q, q_shape(s, s.value_size));
        auto log_sums = make<T>({q.shape(0), q.shape(1), q.shape(2)});
        const auto to = to_write<T>(out, q_shape(s, s.value_size));
        T* const sums = log_sums.mutable_data();
        by_heads<T>(s, 2, [&](size_t begin, size_t end, T* room) {
            table<T>().attention(to, sums, from_q, from_k, from_v, s, begin, end, room);
        });
        return py::make_tuple(out, log_sums);
    });
}

py::tuple attention_backward(const Array& g, const Array& q, const Array& k, const Array& v, const Array& out,
                             const Array& log_sums, double scale, bool causal) {
    const Attention s = shape_for(q, k, v, scale, causal);
    return by_dtype("q", q, [&](auto zero) -> py::tuple {
        using T = decltype(zero);
        const auto from_q = heads<T>("q", q, q_shape(s, s.size)), from_k = heads<T>("k", k, k_shape(s, s.size));
        const auto from_v = heads<T>("v", v, k_shape(s, s.value_size));
        const auto up = heads<T>("g", g, q_shape(s, s.value_size)), y = heads<T>("out", out, q_shape(s, s.value_size));
        const T* sums = read<T>("log_sums", log_sums, {q.shape(0), q.shape(1), q.shape(2)});
        Array dq = make_like<T>(q, q_shape(s, s.size)), dk = make_like<T>(k, k_shape(s, s.size));
        Array dv = make_like<T>(v, k_shape(s, s.value_size));
        const auto to_q = to_write<T>(dq, q_shape(s, s.size)), to_k = to_write<T>(dk, k_shape(s, s.size));
        const auto to_v = to_write<T>(dv, k_shape(s, s.value_size));
        by_heads<T>(s, 5, [&](size_t begin, size_t end, T* room) {
            table<T>().attention_backward(to_q, to_k, to_v, up, from_q, from_k, from_v, y, sums, s, begin, end, room);
        });
        return py::make_tuple(dq, dk, dv);
    });
}

}  // namespace

void bind_attention(py::module_& m) {
    using py::arg;
    m.def("attention", &attention, arg("q"), arg("k"), arg("v"), arg("scale"), arg("causal") = false);
    m.def("attention_backward", &attention_backward, arg("g"), arg("q"), arg("k"), arg("v"), arg("out"),
          arg("log_sums"), arg("scale"), arg("causal") = false);
}

}  // namespace ringleader::kernels
