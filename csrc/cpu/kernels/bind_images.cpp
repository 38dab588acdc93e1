// Convolution, pooling, and the gradient of an embedding.
#include "args.h"

namespace ringleader::kernels {
namespace {

using Padding = std::pair<py::ssize_t, py::ssize_t>;

// ValueError: no convolution of these sizes.
Convolution convolution(const Sizes& x, const Sizes& weight, Padding padding) {
    if (x.size() != 4 || weight.size() != 4 || x[1] != weight[1])
        throw py::value_error("conv2d: x must be (N, C, H, W) and weight (O, C, kh, kw), they are " + text_of(x) +
                              " and " + text_of(weight));
    if (padding.first < 0 || padding.second < 0 || weight[1] == 0 || weight[2] == 0 || weight[3] == 0 ||
        weight[2] > x[2] + 2 * padding.first || weight[3] > x[3] + 2 * padding.second)
        throw py::value_error("conv2d: a kernel " + text_of(weight) + " does not fit into images " + text_of(x) +
                              " with padding " + text_of({padding.first, padding.second}));
    return {size_t(x[0]),      size_t(x[1]),      size_t(x[2]),          size_t(x[3]),          size_t(weight[0]),
            size_t(weight[2]), size_t(weight[3]), size_t(padding.first), size_t(padding.second)};
}

Sizes output_of(const Convolution& s) {
    return {py::ssize_t(s.n), py::ssize_t(s.o), py::ssize_t(s.oh()), py::ssize_t(s.ow())};
}

// body(some of the images, the first of them) on several threads where there is much to do.
template <class T, class Body> void each_image(const Convolution& s, Body body) {
    const double products = double(s.n) * double(s.o * s.oh() * s.ow()) * double(s.taps());
    call_in_parts(s.n, 1, products / (sizeof(T) == sizeof(float) ? 40 : 20), [&](size_t begin, size_t end) {
        Convolution some = s;
        some.n = end - begin;
        body(some, begin);
    });
}

Array conv2d(const Array& x, const Array& weight, const std::optional<Array>& bias, Padding padding) {
    return by_dtype("x", x, [&](auto zero) -> Array {
        using T = decltype(zero);
        const Convolution s = convolution(shape_of(x), shape_of(weight), padding);
        const T *from = read<T>("x", x, shape_of(x)), *w = read<T>("weight", weight, shape_of(weight));
        const T* shift = read<T>("bias", bias, {weight.shape(0)});
        auto y = make<T>(output_of(s));
        T* const to = y.mutable_data();
        each_image<T>(s, [&](const Convolution& some, size_t first) {
            Scratch<T> scratch(conv_scratch(some).forward);
            table<T>().conv2d(to + first * s.o * s.oh() * s.ow(), from + first * s.c * s.h * s.w, w, shift, some,
                              scratch.data());
        });
        return y;
    });
}

Array conv2d_backward_data(const Array& g, const Array& weight, const Sizes& x_shape, Padding padding) {
    return by_dtype("g", g, [&](auto zero) -> Array {
        using T = decltype(zero);
        const Convolution s = convolution(x_shape, shape_of(weight), padding);
        const T *up = read<T>("g", g, output_of(s)), *w = read<T>("weight", weight, shape_of(weight));
        auto dx = make<T>(x_shape);
        T* const to = dx.mutable_data();
        each_image<T>(s, [&](const Convolution& some, size_t first) {
            Scratch<T> scratch(conv_scratch(some).data);
            table<T>().conv2d_backward_data(to + first * s.c * s.h * s.w, up + first * s.o * s.oh() * s.ow(), w, some,
                                            scratch.data());
        });
        return dx;
    });
}

py::tuple conv2d_backward_weight(const Array& g, const Array& x, const Sizes& weight_shape, Padding padding) {
    return by_dtype("g", g, [&](auto zero) -> py::tuple {
        using T = decltype(zero);
        const Convolution s = convolution(shape_of(x), weight_shape, padding);
        const T *up = read<T>("g", g, output_of(s)), *from = read<T>("x", x, shape_of(x));
        auto dweight = zeros<T>(weight_shape), dbias = zeros<T>({weight_shape[0]});
        Scratch<T> scratch(conv_scratch(s).weight);
        call(table<T>().conv2d_backward_weight, dweight.mutable_data(), dbias.mutable_data(), up, from, s, scratch.data());
        return py::make_tuple(dweight, dbias);
    });
}

struct Pool {
    Sizes in, out;
    size_t planes, h, w;
    explicit Pool(const Sizes& x) : in(x) {
        if (x.size() != 4) throw py::value_error("x must be (N, C, H, W), it is " + text_of(x));
        if (x[2] < 2 || x[3] < 2) throw py::value_error("images " + text_of(x) + " are smaller than a window of 2 x 2");
        out = {x[0], x[1], x[2] / 2, x[3] / 2};
        planes = size_t(x[0]) * size_t(x[1]), h = size_t(x[2]), w = size_t(x[3]);
    }
};

// body(planes, first element of the large ones, of the small ones) on several threads where they are many.
template <class Body> void each_plane(const Pool& pool, Body body) {
    const size_t large = pool.h * pool.w, small = (pool.h / 2) * (pool.w / 2);
    call_in_parts(pool.planes, 1, double(pool.planes * large) * 0.2,
                  [&](size_t begin, size_t end) { body(end - begin, begin * large, begin * small); });
}

Array avg_pool2x2(const Array& x) {
    return by_dtype("x", x, [&](auto zero) -> Array {
        using T = decltype(zero);
        const Pool pool(shape_of(x));
        const T* from = read<T>("x", x, pool.in);
        auto y = make<T>(pool.out);
        T* const to = y.mutable_data();
        each_plane(pool, [&](size_t planes, size_t large, size_t small) {
            table<T>().avg_pool2x2(to + small, from + large, planes, pool.h, pool.w);
        });
        return y;
    });
}

Array avg_pool2x2_backward(const Array& g, const Sizes& x_shape) {
    return by_dtype("g", g, [&](auto zero) -> Array {
        using T = decltype(zero);
        const Pool pool(x_shape);
        const T* up = read<T>("g", g, pool.out);
        auto dx = make<T>(pool.in);
        T* const to = dx.mutable_data();
        each_plane(pool, [&](size_t planes, size_t large, size_t small) {
            table<T>().avg_pool2x2_backward(to + large, up + small, planes, pool.h, pool.w);
        });
        return dx;
    });
}

py::tuple max_pool2x2(const Array& x) {
    return by_dtype("x", x, [&](auto zero) -> py::tuple {
        using T = decltype(zero);
        const Pool pool(shape_of(x));
        const T* from = read<T>("x", x, pool.in);
        auto y = make<T>(pool.out);
        auto winner = make<uint8_t>(pool.out);
        T* const to = y.mutable_data();
        uint8_t* const winners = winner.mutable_data();
        each_plane(pool, [&](size_t planes, size_t large, size_t small) {
            table<T>().max_pool2x2(to + small, winners + small, from + large, planes, pool.h, pool.w);
        });
        return py::make_tuple(y, winner);
    });
}

Array max_pool2x2_backward(const Array& g, const Array& winner, const Sizes& x_shape) {
    return by_dtype("g", g, [&](auto zero) -> Array {
        using T = decltype(zero);
        const Pool pool(x_shape);
        const T* up = read<T>("g", g, pool.out);
        const uint8_t* first = read<uint8_t>("winner", winner, pool.out);
        auto dx = make<T>(pool.in);
        T* const to = dx.mutable_data();
        each_plane(pool, [&](size_t planes, size_t large, size_t small) {
            table<T>().max_pool2x2_backward(to + large, up + small, first + small, planes, pool.h, pool.w);
        });
        return dx;
    });
}

Array embedding_backward(const Array& g, const Array& index, py::ssize_t entries) {
    check_axes("g", g, 2);
    return by_dtype("g", g, [&](auto zero) -> Array {
        using T = decltype(zero);
        const T* up = read<T>("g", g, shape_of(g));
        const int64_t* rows = read<int64_t>("index", index, {g.shape(0)});
        for (py::ssize_t i = 0; i < g.shape(0); ++i)
            if (rows[i] < 0 || rows[i] >= entries)
                throw py::index_error("index " + std::to_string(rows[i]) + " is not one of the " +
                                      std::to_string(entries) + " entries");
        auto dweight = zeros<T>({entries, g.shape(1)});
        call(table<T>().embedding_backward, dweight.mutable_data(), up, rows, size_t(g.shape(0)), size_t(g.shape(1)));
        return dweight;
    });
}

}  // namespace

void bind_images(py::module_& m) {
    using py::arg;
    const Padding none{0, 0};
    m.def("conv2d", &conv2d, arg("x"), arg("weight"), arg("bias"), arg("padding") = none);
    m.def("conv2d_backward_data", &conv2d_backward_data, arg("g"), arg("weight"), arg("x_shape"), arg("padding") = none);
    m.def("conv2d_backward_weight", &conv2d_backward_weight, arg("g"), arg("x"), arg("weight_shape"),
          arg("padding") = none);
    m.def("avg_pool2x2", &avg_pool2x2, arg("x"));
    m.def("avg_pool2x2_backward", &avg_pool2x2_backward, arg("g"), arg("x_shape"));
    m.def("max_pool2x2", &max_pool2x2, arg("x"));
    m.def("max_pool2x2_backward", &max_pool2x2_backward, arg("g"), arg("winner"), arg("x_shape"));
    m.def("embedding_backward", &embedding_backward, arg("g"), arg("index"), arg("entries"));
}

}  // namespace ringleader::kernels
