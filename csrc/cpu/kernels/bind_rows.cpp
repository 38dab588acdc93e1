// Softmax, cross-entropy, norms: along the last axis.
#include "args.h"

namespace ringleader::kernels {
namespace {

struct Rows {
    size_t rows, cols;
    explicit Rows(const Array& x) {
        if (x.ndim() == 0 || x.shape(x.ndim() - 1) == 0)
            throw py::value_error("x must have a last axis that is not empty, it has shape " + text_of(shape_of(x)));
        cols = size_t(x.shape(x.ndim() - 1)), rows = size_t(x.size()) / cols;
    }
};

// body(first row, number of rows, first element) for all rows, on several threads where they are many.
template <class Body> void each(const Rows& size, Body body) {
    call_in_parts(size.rows, 1, double(size.rows) * double(size.cols) * 0.5,
                  [&](size_t begin, size_t end) { body(begin, end - begin, begin * size.cols); });
}

Sizes without_last(const Array& x) { return Sizes(x.shape(), x.shape() + x.ndim() - 1); }

enum class Soft { plain, log };

Array softmax(Soft soft, const Array& x) {
    return by_dtype("x", x, [&](auto zero) -> Array {
        using T = decltype(zero);
        const Rows size(x);
        const T* from = read<T>("x", x, shape_of(x));
        auto y = make<T>(shape_of(x));
        const auto kernel = soft == Soft::log ? table<T>().log_softmax : table<T>().softmax;
        T* const to = y.mutable_data();
        each(size, [&](size_t, size_t rows, size_t at) { kernel(to + at, from + at, rows, size.cols); });
        return y;
    });
}

Array softmax_backward(Soft soft, const Array& g, const Array& y) {
    return by_dtype("g", g, [&](auto zero) -> Array {
        using T = decltype(zero);
        const Rows size(g);
        const T *up = read<T>("g", g, shape_of(g)), *out = read<T>("y", y, shape_of(g));
        auto dx = make<T>(shape_of(g));
        const auto kernel = soft == Soft::log ? table<T>().log_softmax_backward : table<T>().softmax_backward;
        T* const to = dx.mutable_data();
        each(size, [&](size_t, size_t rows, size_t at) { kernel(to + at, up + at, out + at, rows, size.cols); });
        return dx;
    });
}

void check_smoothing(double smoothing) {
    if (!(smoothing >= 0 && smoothing <= 1))
        throw py::value_error("label_smoothing must be in [0, 1], it is " + std::to_string(smoothing));
}

const int64_t* read_target(const Array& target, const Rows& size, int64_t ignore) {
    const int64_t* classes = read<int64_t>("target", target, {py::ssize_t(size.rows)});
    for (size_t i = 0; i < size.rows; ++i)
        if (classes[i] != ignore && (classes[i] < 0 || classes[i] >= int64_t(size.cols)))
            throw py::value_error("target " + std::to_string(classes[i]) + " is not one of the " +
                                  std::to_string(size.cols) + " classes 0.." + std::to_string(size.cols - 1));
    return classes;
}

py::tuple cross_entropy(const Array& x, const Array& target, int64_t ignore, double smoothing) {
    check_axes("x", x, 2);
    check_smoothing(smoothing);
    return by_dtype("x", x, [&](auto zero) -> py::tuple {
        using T = decltype(zero);
        const Rows size(x);
        const T* from = read<T>("x", x, shape_of(x));
        const int64_t* classes = read_target(target, size, ignore);
        auto loss = make<T>({x.shape(0)}), stats = make<T>({x.shape(0), 2});
        T *const losses = loss.mutable_data(), *const kept = stats.mutable_data();
        each(size, [&](size_t row, size_t rows, size_t at) {
            table<T>().cross_entropy(losses + row, kept + 2 * row, from + at, classes + row, rows, size.cols, ignore,
                                     T(smoothing));
        });
        return py::make_tuple(loss, stats);
    });
}

Array cross_entropy_backward(const Array& g, const Array& stats, const Array& x, const Array& target, int64_t ignore,
                             double smoothing) {
    check_axes("x", x, 2);
    check_smoothing(smoothing);
    return by_dtype("x", x, [&](auto zero) -> Array {
        using T = decltype(zero);
        const Rows size(x);
        const T *from = read<T>("x", x, shape_of(x)), *up = read<T>("g", g, {x.shape(0)});
        const T* kept = read<T>("stats", stats, {x.shape(0), 2});
        const int64_t* classes = read_target(target, size, ignore);
        auto dx = make<T>(shape_of(x));
        T* const to = dx.mutable_data();
        each(size, [&](size_t row, size_t rows, size_t at) {
            table<T>().cross_entropy_backward(to + at, up + row, kept + 2 * row, from + at, classes + row, rows, size.cols,
                                              ignore, T(smoothing));
        });
        return dx;
    });
}

py::tuple layer_norm(const Array& x, const std::optional<Array>& weight, const std::optional<Array>& bias, double eps) {
    return by_dtype("x", x, [&](auto zero) -> py::tuple {
        using T = decltype(zero);
        const Rows size(x);
        const Sizes row = {py::ssize_t(size.cols)};
        const T* from = read<T>("x", x, shape_of(x));
        const T *scale = read<T>("weight", weight, row), *shift = read<T>("bias", bias, row);
        auto y = make<T>(shape_of(x)), mean = make<T>(without_last(x)), rstd = make<T>(without_last(x));
        T *const to = y.mutable_data(), *const means = mean.mutable_data(), *const rstds = rstd.mutable_data();
        each(size, [&](size_t row, size_t rows, size_t at) {
            table<T>().layer_norm(to + at, means + row, rstds + row, from + at, scale, shift, rows, size.cols, T(eps));
        });
        return py::make_tuple(y, mean, rstd);
    });
}

// A sum over rows, of double, in the dtype of the weights.
template <class T> py::array_t<T> narrow(const std::vector<double>& sums) {
    auto narrowed = make<T>({py::ssize_t(sums.size())});
    for (size_t j = 0; j < sums.size(); ++j) narrowed.mutable_data()[j] = T(sums[j]);
    return narrowed;
}

py::tuple layer_norm_backward(const Array& g, const Array& x, const Array& mean, const Array& rstd,
                              const std::optional<Array>& weight) {
    return by_dtype("x", x, [&](auto zero) -> py::tuple {
        using T = decltype(zero);
        const Rows size(x);
        const T *from = read<T>("x", x, shape_of(x)), *up = read<T>("g", g, shape_of(x));
        const T *means = read<T>("mean", mean, without_last(x)), *rstds = read<T>("rstd", rstd, without_last(x));
        const T* scale = read<T>("weight", weight, {py::ssize_t(size.cols)});
        auto dx = make<T>(shape_of(x));
        std::vector<double> dweight(size.cols), dbias(size.cols);
        std::vector<T> scratch(norm_scratch(size.cols));
        call(table<T>().layer_norm_backward, dx.mutable_data(), dweight.data(), dbias.data(), up, from, means, rstds,
             scale, size.rows, size.cols, scratch.data());
        return py::make_tuple(dx, narrow<T>(dweight), narrow<T>(dbias));
    });
}

py::tuple rms_norm(const Array& x, const std::optional<Array>& weight, double eps) {
    return by_dtype("x", x, [&](auto zero) -> py::tuple {
        using T = decltype(zero);
        const Rows size(x);
        const T *from = read<T>("x", x, shape_of(x)), *scale = read<T>("weight", weight, {py::ssize_t(size.cols)});
        auto y = make<T>(shape_of(x)), rstd = make<T>(without_last(x));
        T *const to = y.mutable_data(), *const rstds = rstd.mutable_data();
        each(size, [&](size_t row, size_t rows, size_t at) {
            table<T>().rms_norm(to + at, rstds + row, from + at, scale, rows, size.cols, T(eps));
        });
        return py::make_tuple(y, rstd);
    });
}

py::tuple rms_norm_backward(const Array& g, const Array& x, const Array& rstd, const std::optional<Array>& weight) {
    return by_dtype("x", x, [&](auto zero) -> py::tuple {
        using T = decltype(zero);
        const Rows size(x);
        const T *from = read<T>("x", x, shape_of(x)), *up = read<T>("g", g, shape_of(x));
        const T* rstds = read<T>("rstd", rstd, without_last(x));
        const T* scale = read<T>("weight", weight, {py::ssize_t(size.cols)});
        auto dx = make<T>(shape_of(x));
        std::vector<double> dweight(size.cols);
        std::vector<T> scratch(norm_scratch(size.cols));
        call(table<T>().rms_norm_backward, dx.mutable_data(), dweight.data(), up, from, rstds, scale, size.rows,
             size.cols, scratch.data());
        return py::make_tuple(dx, narrow<T>(dweight));
    });
}

}  // namespace

void bind_rows(py::module_& m) {
    using py::arg;
    m.def("softmax", [](const Array& x) { return softmax(Soft::plain, x); }, arg("x"));
    m.def("log_softmax", [](const Array& x) { return softmax(Soft::log, x); }, arg("x"));
    m.def("softmax_backward", [](const Array& g, const Array& y) { return softmax_backward(Soft::plain, g, y); },
          arg("g"), arg("y"));
    m.def("log_softmax_backward", [](const Array& g, const Array& y) { return softmax_backward(Soft::log, g, y); },
          arg("g"), arg("y"));
    m.def("cross_entropy", &cross_entropy, arg("x"), arg("target"), arg("ignore_index") = -100,
          arg("label_smoothing") = 0.0);
    m.def("cross_entropy_backward", &cross_entropy_backward, arg("g"), arg("stats"), arg("x"), arg("target"),
          arg("ignore_index") = -100, arg("label_smoothing") = 0.0);
    m.def("layer_norm", &layer_norm, arg("x"), arg("weight"), arg("bias"), arg("eps") = 1e-5);
    m.def("layer_norm_backward", &layer_norm_backward, arg("g"), arg("x"), arg("mean"), arg("rstd"), arg("weight"));
    m.def("rms_norm", &rms_norm, arg("x"), arg("weight"), arg("eps") = 1e-6);
    m.def("rms_norm_backward", &rms_norm_backward, arg("g"), arg("x"), arg("rstd"), arg("weight"));
}

}  // namespace ringleader::kernels
