// Activations and their gradients.
#include "args.h"

namespace ringleader::kernels {
namespace {

// body(begin, count) for all elements, on several threads where they are many.
template <class Body> void elements(size_t all, Body body) {
    call_in_parts(all, 1024, double(all) * 0.5, [&](size_t begin, size_t end) { body(begin, end - begin); });
}

// kernel(y, x, count) for all elements of x.
template <class Kernel> Array map(const Array& x, Kernel kernel) {
    return by_dtype("x", x, [&](auto zero) -> Array {
        using T = decltype(zero);
        const T* const from = read<T>("x", x, shape_of(x));
        auto y = make<T>(shape_of(x));
        T* const to = y.mutable_data();
        elements(size_t(x.size()), [&](size_t at, size_t count) { kernel(to + at, from + at, count); });
        return y;
    });
}

// kernel(y, a, b, count) for all elements of two arrays of one shape.
template <class Kernel> Array map(const char* a_name, const Array& a, const char* b_name, const Array& b, Kernel kernel) {
    return by_dtype(a_name, a, [&](auto zero) -> Array {
        using T = decltype(zero);
        const T *const first = read<T>(a_name, a, shape_of(a)), *const second = read<T>(b_name, b, shape_of(a));
        auto y = make<T>(shape_of(a));
        T* const to = y.mutable_data();
        elements(size_t(a.size()), [&](size_t at, size_t count) { kernel(to + at, first + at, second + at, count); });
        return y;
    });
}

void check_alpha(double alpha) {
    if (alpha == 0) throw py::value_error("alpha must not be 0");
}

Array scaled_tanh(const Array& x, double alpha, double beta) {
    check_alpha(alpha);
    return map(x, [&](auto* y, const auto* from, size_t count) {
        using T = std::remove_reference_t<decltype(*y)>;
        table<T>().scaled_tanh(y, from, count, T(alpha), T(beta));
    });
}

Array scaled_tanh_backward(const Array& g, const Array& y, double alpha, double beta) {
    check_alpha(alpha);
    return map("g", g, "y", y, [&](auto* dx, const auto* up, const auto* out, size_t count) {
        using T = std::remove_reference_t<decltype(*dx)>;
        table<T>().scaled_tanh_backward(dx, up, out, count, T(alpha), T(beta));
    });
}

void def_unary(py::module_& m, const char* name, Unary f) {
    const auto kernel = [f](auto* y, const auto* x, size_t count) {
        table<std::remove_reference_t<decltype(*y)>>().unary[size_t(f)](y, x, count);
    };
    m.def(name, [kernel](const Array& x) { return map(x, kernel); }, py::arg("x"));
}

void def_binary(py::module_& m, const char* name, Binary f, const char* a, const char* b) {
    const auto kernel = [f](auto* y, const auto* first, const auto* second, size_t count) {
        table<std::remove_reference_t<decltype(*y)>>().binary[size_t(f)](y, first, second, count);
    };
    m.def(name, [=](const Array& x, const Array& y) { return map(a, x, b, y, kernel); }, py::arg(a), py::arg(b));
}

}  // namespace

void bind_pointwise(py::module_& m) {
    def_unary(m, "exp", Unary::exp);
    def_unary(m, "tanh", Unary::tanh);
    def_unary(m, "sigmoid", Unary::sigmoid);
    def_unary(m, "erf", Unary::erf);
    def_unary(m, "relu", Unary::relu);
    def_unary(m, "silu", Unary::silu);
    def_unary(m, "gelu", Unary::gelu);
    def_unary(m, "gelu_tanh", Unary::gelu_tanh);
    def_binary(m, "tanh_backward", Binary::tanh, "g", "y");
    def_binary(m, "sigmoid_backward", Binary::sigmoid, "g", "y");
    def_binary(m, "relu_backward", Binary::relu, "g", "y");
    def_binary(m, "silu_backward", Binary::silu, "g", "x");
    def_binary(m, "gelu_backward", Binary::gelu, "g", "x");
    def_binary(m, "gelu_tanh_backward", Binary::gelu_tanh, "g", "x");
    def_binary(m, "add_tanh", Binary::add_tanh, "a", "b");
    using py::arg;
    m.def("scaled_tanh", &scaled_tanh, arg("x"), arg("alpha"), arg("beta"));
    m.def("scaled_tanh_backward", &scaled_tanh_backward, arg("g"), arg("y"), arg("alpha"), arg("beta"));
}

}  // namespace ringleader::kernels
