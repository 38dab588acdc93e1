// Updates of weights in place. The caller has checked its options.
#include "args.h"

namespace ringleader::kernels {
namespace {

void sgd(Array w, std::optional<Array> velocity, const Array& g, const Sgd& options) {
    by_dtype("w", w, [&](auto zero) {
        using T = decltype(zero);
        const Sizes shape = shape_of(w);
        T* speed = velocity ? write<T>("velocity", *velocity, shape) : nullptr;
        call(table<T>().sgd, write<T>("w", w, shape), speed, read<T>("g", g, shape), size_t(w.size()), options);
    });
}

void adam(Array w, Array m, Array v, const Array& g, const Adam& options) {
    by_dtype("w", w, [&](auto zero) {
        using T = decltype(zero);
        const Sizes shape = shape_of(w);
        call(table<T>().adam, write<T>("w", w, shape), write<T>("m", m, shape), write<T>("v", v, shape),
             read<T>("g", g, shape), size_t(w.size()), options);
    });
}

void adagrad(Array w, Array sum, const Array& g, const Adagrad& options) {
    by_dtype("w", w, [&](auto zero) {
        using T = decltype(zero);
        const Sizes shape = shape_of(w);
        call(table<T>().adagrad, write<T>("w", w, shape), write<T>("sum", sum, shape), read<T>("g", g, shape),
             size_t(w.size()), options);
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
