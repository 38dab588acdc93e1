// Updates of weights in place. The caller has checked its options.
#include "args.h"

namespace ringleader::kernels {
namespace {

// body(begin, count) for all weights, on several threads where they are many.
template <class Body> void elements(const Array& w, Body body) {
    const auto all = size_t(w.size());
    call_in_parts(all, 1024, double(all) * 0.5, [&](size_t begin, size_t end) { body(begin, end - begin); });
}

void sgd(Array w, std::optional<Array> velocity, const Array& g, const Sgd& options) {
    by_dtype("w", w, [&](auto zero) {
        using T = decltype(zero);
        const Sizes shape = shape_of(w);
        T* speed = velocity ? write<T>("velocity", *velocity, shape) : nullptr;
        T* const weights = write<T>("w", w, shape);
        const T* const slopes = read<T>("g", g, shape);
        elements(w, [&](size_t at, size_t count) {
            table<T>().sgd(weights + at, speed ? speed + at : nullptr, slopes + at, count, options);
        });
    });
}

void adam(Array w, Array m, Array v, const Array& g, const Adam& options) {
    by_dtype("w", w, [&](auto zero) {
        using T = decltype(zero);
        const Sizes shape = shape_of(w);
        T *const weights = write<T>("w", w, shape), *const first = write<T>("m", m, shape);
        T* const second = write<T>("v", v, shape);
        const T* const slopes = read<T>("g", g, shape);
        elements(w, [&](size_t at, size_t count) {
            table<T>().adam(weights + at, first + at, second + at, slopes + at, count, options);
        });
    });
}

void adagrad(Array w, Array sum, const Array& g, const Adagrad& options) {
    by_dtype("w", w, [&](auto zero) {
        using T = decltype(zero);
        const Sizes shape = shape_of(w);
        T *const weights = write<T>("w", w, shape), *const squares = write<T>("sum", sum, shape);
        const T* const slopes = read<T>("g", g, shape);
        elements(w, [&](size_t at, size_t count) {
            table<T>().adagrad(weights + at, squares + at, slopes + at, count, options);
        });
    });
}

}  // namespace

void bind_optimisers(py::module_& m) {
    using py::arg;
    m.def("sgd",
          [](Array w, std::optional<Array> velocity, const Array& g, double lr, double momentum, double dampening,
             double weight_decay, bool nesterov, bool first) {
              sgd(w, velocity, g, {lr, momentum, dampening, weight_decay, nesterov, first});
          },
          arg("w"), arg("velocity"), arg("g"), py::kw_only(), arg("lr"), arg("momentum") = 0.0, arg("dampening") = 0.0,
          arg("weight_decay") = 0.0, arg("nesterov") = false, arg("first") = false);
    m.def("adam",
          [](Array w, Array m, Array v, const Array& g, double lr, double beta1, double beta2, double eps,
             double weight_decay, double bias1, double bias2, bool decoupled) {
              adam(w, m, v, g, {lr, beta1, beta2, eps, weight_decay, bias1, bias2, decoupled});
          },
          arg("w"), arg("m"), arg("v"), arg("g"), py::kw_only(), arg("lr"), arg("beta1"), arg("beta2"), arg("eps"),
          arg("weight_decay"), arg("bias1"), arg("bias2"), arg("decoupled"));
    m.def("adagrad",
          [](Array w, Array sum, const Array& g, double lr, double eps, double weight_decay) {
              adagrad(w, sum, g, {lr, eps, weight_decay});
          },
          arg("w"), arg("sum"), arg("g"), py::kw_only(), arg("lr"), arg("eps"), arg("weight_decay") = 0.0);
}

}  // namespace ringleader::kernels
