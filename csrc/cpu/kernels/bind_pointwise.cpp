// Activations and their gradients.
#include "args.h"

namespace ringleader::kernels {
namespace {

Array unary(Unary f, const Array& x) {
    return by_dtype("x", x, [&](auto zero) -> Array {
        using T = decltype(zero);
        const Sizes shape = shape_of(x);
        const T* from = read<T>("x", x, shape);
        auto y = make<T>(shape);
        call(table<T>().unary[size_t(f)], y.mutable_data(), from, size_t(x.size()));
        return y;
    });
}

Array binary(Binary f, const char* a_name, const Array& a, const char* b_name, const Array& b) {
    return by_dtype(a_name, a, [&](auto zero) -> Array {
        using T = decltype(zero);
        const Sizes shape = shape_of(a);
        const T *first = read<T>(a_name, a, shape), *second = read<T>(b_name, b, shape);
        auto y = make<T>(shape);
        call(table<T>().binary[size_t(f)], y.mutable_data(), first, second, size_t(a.size()));
        return y;
    });
}

// ValueError: alpha is 0, and the gradient no function of the output.
void check_alpha(double alpha) {
    if (alpha == 0) throw py::value_error("alpha must not be 0");
}

Array scaled_tanh(const Array& x, double alpha, double beta) {
    check_alpha(alpha);
    return by_dtype("x", x, [&](auto zero) -> Array {
        using T = decltype(zero);
        const Sizes shape = shape_of(x);
        const T* from = read<T>("x", x, shape);
        auto y = make<T>(shape);
        call(table<T>().scaled_tanh, y.mutable_data(), from, size_t(x.size()), T(alpha), T(beta));
        return y;
    });
}

Array scaled_tanh_backward(const Array& g, const Array& y, double alpha, double beta) {
    check_alpha(alpha);
    return by_dtype("g", g, [&](auto zero) -> Array {
        using T = decltype(zero);
        const Sizes shape = shape_of(g);
        const T *up = read<T>("g", g, shape), *from = read<T>("y", y, shape);
        auto dx = make<T>(shape);
        call(table<T>().scaled_tanh_backward, dx.mutable_data(), up, from, size_t(g.size()), T(alpha), T(beta));
        return dx;
    });
}

void def_unary(py::module_& m, const char* name, Unary f) {
    m.def(name, [f](const Array& x) { return unary(f, x); }, py::arg("x"));
}

void def_binary(py::module_& m, const char* name, Binary f, const char* a, const char* b) {
    m.def(name, [f, a, b](const Array& x, const Array& y) { return binary(f, a, x, b, y); }, py::arg(a), py::arg(b));
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
