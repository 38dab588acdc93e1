// Steps of LSTM and GRU.
#include "args.h"

namespace ringleader::kernels {
namespace {

struct Step {
    Sizes gates, state;
    size_t rows, hidden;
    Step(const char* name, const Array& before, py::ssize_t parts) {
        check_axes(name, before, 2);
        state = shape_of(before), gates = {state[0], parts * state[1]};
        rows = size_t(state[0]), hidden = size_t(state[1]);
    }
};

py::tuple lstm(const Array& a, const Array& b, const Array& c) {
    return by_dtype("c", c, [&](auto zero) -> py::tuple {
        using T = decltype(zero);
        const Step step("c", c, 4);
        const T *first = read<T>("a", a, step.gates), *second = read<T>("b", b, step.gates);
        const T* before = read<T>("c", c, step.state);
        auto gates = make<T>(step.gates), after = make<T>(step.state), tanh_c = make<T>(step.state);
        auto h = make<T>(step.state);
        call(table<T>().lstm, gates.mutable_data(), after.mutable_data(), tanh_c.mutable_data(), h.mutable_data(),
             first, second, before, step.rows, step.hidden);
        return py::make_tuple(h, after, gates, tanh_c);
    });
}

py::tuple lstm_backward(const Array& dh, const Array& dc, const Array& gates, const Array& c, const Array& tanh_c) {
    return by_dtype("c", c, [&](auto zero) -> py::tuple {
        using T = decltype(zero);
        const Step step("c", c, 4);
        const T *up_h = read<T>("dh", dh, step.state), *up_c = read<T>("dc", dc, step.state);
        const T *kept = read<T>("gates", gates, step.gates), *before = read<T>("c", c, step.state);
        const T* flat = read<T>("tanh_c", tanh_c, step.state);
        auto da = make<T>(step.gates), dc_before = make<T>(step.state);
        call(table<T>().lstm_backward, da.mutable_data(), dc_before.mutable_data(), up_h, up_c, kept, before, flat,
             step.rows, step.hidden);
        return py::make_tuple(da, dc_before);
    });
}

py::tuple gru(const Array& a, const Array& b, const Array& h) {
    return by_dtype("h", h, [&](auto zero) -> py::tuple {
        using T = decltype(zero);
        const Step step("h", h, 3);
        const T *first = read<T>("a", a, step.gates), *second = read<T>("b", b, step.gates);
        const T* before = read<T>("h", h, step.state);
        auto gates = make<T>(step.gates), after = make<T>(step.state);
        call(table<T>().gru, gates.mutable_data(), after.mutable_data(), first, second, before, step.rows, step.hidden);
        return py::make_tuple(after, gates);
    });
}

py::tuple gru_backward(const Array& dh, const Array& gates, const Array& b, const Array& h) {
    return by_dtype("h", h, [&](auto zero) -> py::tuple {
        using T = decltype(zero);
        const Step step("h", h, 3);
        const T *up = read<T>("dh", dh, step.state), *kept = read<T>("gates", gates, step.gates);
        const T *second = read<T>("b", b, step.gates), *before = read<T>("h", h, step.state);
        auto da = make<T>(step.gates), db = make<T>(step.gates), dh_before = make<T>(step.state);
        call(table<T>().gru_backward, da.mutable_data(), db.mutable_data(), dh_before.mutable_data(), up, kept, second,
             before, step.rows, step.hidden);
        return py::make_tuple(da, db, dh_before);
    });
}

}  // namespace

void bind_recurrent(py::module_& m) {
    using py::arg;
    m.def("lstm", &lstm, arg("a"), arg("b"), arg("c"));
    m.def("lstm_backward", &lstm_backward, arg("dh"), arg("dc"), arg("gates"), arg("c"), arg("tanh_c"));
    m.def("gru", &gru, arg("a"), arg("b"), arg("h"));
    m.def("gru_backward", &gru_backward, arg("dh"), arg("gates"), arg("b"), arg("h"));
}

}  // namespace ringleader::kernels
