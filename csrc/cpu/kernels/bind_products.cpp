// Matrix products.
#include "args.h"

namespace ringleader::kernels {
namespace {

template <class T> Matrix<T> matrix(const char* name, const Array& array) {
    check_dtype<T>(name, array);
    constexpr int aligned = py::detail::npy_api::NPY_ARRAY_ALIGNED_;
    if (array.ndim() != 2 || (array.flags() & aligned) == 0)
        throw py::value_error(std::string(name) + " must be an aligned matrix, it has shape " + text_of(shape_of(array)));
    constexpr ptrdiff_t size = sizeof(T);  // divides the strides of an aligned array of such elements
    return {static_cast<const T*>(array.data()), array.strides(0) / size, array.strides(1) / size};
}

template <class T> Addend<T> addend(const std::optional<Array>& add, py::ssize_t m, py::ssize_t n) {
    if (!add) return {nullptr, 0};
    if (add->ndim() == 1) return {read<T>("add", *add, {n}), 0};
    return {read<T>("add", *add, {m, n}), size_t(n)};
}

// On several threads by rows or columns, of whichever there are more.
template <class T> void in_parts(T* c, Matrix<T> a, Matrix<T> b, size_t m, size_t n, size_t k, Addend<T> plus) {
    const double nanoseconds = double(m) * double(n) * double(k) / (sizeof(T) == sizeof(float) ? 75 : 37);
    call_in_parts(m >= n ? m : n, 48, nanoseconds, [&](size_t begin, size_t end) {
        const size_t i = m >= n ? begin : 0, j = m >= n ? 0 : begin, size = end - begin;
        const Addend<T> more = {plus.at ? plus.at + i * plus.row + j : nullptr, plus.row};
        const Matrix<T> left = {a.at + ptrdiff_t(i) * a.row, a.row, a.col}, right = {b.at + ptrdiff_t(j) * b.col, b.row, b.col};
        table<T>().matmul(c + i * n + j, n, left, right, m >= n ? size : m, m >= n ? n : size, k, more,
                          room<T>(table<T>().matmul_room));
    });
}

Array matmul(const Array& a, const Array& b, std::optional<Array> out, const std::optional<Array>& add) {
    return by_dtype("a", a, [&](auto zero) -> Array {
        using T = decltype(zero);
        const Matrix<T> left = matrix<T>("a", a), right = matrix<T>("b", b);
        const auto m = a.shape(0), k = a.shape(1), n = b.shape(1);
        if (b.shape(0) != k)
            throw py::value_error("matmul: " + text_of(shape_of(a)) + " and " + text_of(shape_of(b)) + " do not fit");
        const Addend<T> plus = addend<T>(add, m, n);
        Array c = out ? *out : Array(make<T>({m, n}));
        T* const to = write<T>("out", c, {m, n});
        in_parts(to, left, right, size_t(m), size_t(n), size_t(k), plus);
        return c;
    });
}

}  // namespace

void bind_products(py::module_& m) {
    using py::arg;
    m.def("matmul", &matmul, arg("a"), arg("b"), arg("out") = py::none(), arg("add") = py::none());
}

}  // namespace ringleader::kernels
