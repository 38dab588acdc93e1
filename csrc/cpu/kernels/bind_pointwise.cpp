// Activations and their gradients.
#include "args.h"

namespace ringleader::kernels {
namespace {

// body(begin, count) for all elements, on several threads where they are many.
template <class Body> void elements(size_t all, Body body) {
    call_in_parts(all, 1024, double(all) * 0.5, [&](size_t begin, size_t end) { body(begin, end - begin); });
}

Array unary(Unary f, const Array& x) {
    return by_dtype("x", x, [&](auto zero) -> Array {
        using T = decltype(zero);
        const Sizes shape = shape_of(x);
        const T* from = read<T>("x", x, shape);
        auto y = make<T>(shape);
        T* const to = y.mutable_data();
        elements(size_t(x.size()), [&](size_t begin, size_t count) {
            table<T>().unary[size_t(f)](to + begin, from + begin, count);
        });
        return y;
    });
}

Array binary(Binary f, const char* a_name, const Array& a, const char* b_name, const Array& b) {
    return by_dtype(a_name, a, [&](auto zero) -> Array {
        using T = decltype(zero);
        const Sizes shape = shape_of(a);
        const T *first = read<T>(a_name, a, shape), *second = read<T>(b_name, b, shape);
        auto y = make<T>(shape);
        T* const to = y.mutable_data();
        elements(size_t(a.size()), [&](size_t begin, size_t count) {
            table<T>().binary[size_t(f)](to + begin, first + begin, second + begin, count);
        });
        return y;
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
}

}  // namespace ringleader::kernels
