// LSTM and GRU over whole sequences.
#include "args.h"

namespace ringleader::kernels {
namespace {

// Which rows are each step's, checked: within `rows`, and no more than in the step before.
struct Sequence {
    std::vector<size_t> start, rows;
    Steps steps;
    Sequence(const std::vector<std::pair<size_t, size_t>>& given, py::ssize_t all, py::ssize_t sequences) {
        size_t before = size_t(sequences);
        for (auto [at, count] : given) {
            if (count > before || at > size_t(all) || count > size_t(all) - at)
                throw py::value_error("steps: rows " + std::to_string(at) + " to " + std::to_string(at + count) +
                                      " are not in " + std::to_string(all) + " rows, or more than the step before has");
            start.push_back(at), rows.push_back(count), before = count;
        }
        steps = {start.data(), rows.data(), start.size()};
    }
};
using StepList = std::vector<std::pair<size_t, size_t>>;

// Sizes of a layer, from the states before the first step (N, H) and after all of them (R, H).
struct Layer {
    Sizes first, states, gates, weight;
    size_t hidden, wide;
    Layer(const Array& before, const Array& after, py::ssize_t parts) {
        check_axes("the first state", before, 2), check_axes("h", after, 2);
        const auto size = before.shape(1);
        first = shape_of(before), states = {after.shape(0), size}, gates = {after.shape(0), parts * size};
        weight = {parts * size, size}, hidden = size_t(size), wide = size_t(parts * size);
    }
};

void lstm(Array& gates, Array& c, Array& tanh_c, Array& h, const Array& w, const Array& h_first, const Array& c_first,
          const StepList& steps) {
    by_dtype("h", h, [&](auto zero) {
        using T = decltype(zero);
        const Layer layer(h_first, h, 4);
        const Sequence sequence(steps, h.shape(0), h_first.shape(0));
        call(table<T>().lstm, write<T>("gates", gates, layer.gates), write<T>("c", c, layer.states),
             write<T>("tanh_c", tanh_c, layer.states), write<T>("h", h, layer.states), read<T>("w", w, layer.weight),
             read<T>("h_first", h_first, layer.first), read<T>("c_first", c_first, layer.first), sequence.steps,
             layer.hidden, room<T>(table<T>().recurrent_room(layer.wide, layer.hidden)));
    });
}

void lstm_backward(Array& dgates, Array& dh, Array& dc, const Array& out, const Array& w, const Array& gates,
                   const Array& c, const Array& tanh_c, const Array& c_first, const StepList& steps) {
    by_dtype("dh", dh, [&](auto zero) {
        using T = decltype(zero);
        const Layer layer(c_first, c, 4);
        const Sequence sequence(steps, c.shape(0), c_first.shape(0));
        call(table<T>().lstm_backward, write<T>("dgates", dgates, layer.gates), write<T>("dh", dh, layer.first),
             write<T>("dc", dc, layer.first), read<T>("out", out, layer.states), read<T>("w", w, layer.weight),
             read<T>("gates", gates, layer.gates), read<T>("c", c, layer.states), read<T>("tanh_c", tanh_c, layer.states),
             read<T>("c_first", c_first, layer.first), sequence.steps, layer.hidden,
             room<T>(table<T>().recurrent_room(layer.wide, layer.hidden)));
    });
}

void gru(Array& gates, Array& product, Array& h, const Array& w, const std::optional<Array>& bias, const Array& h_first,
         const StepList& steps) {
    by_dtype("h", h, [&](auto zero) {
        using T = decltype(zero);
        const Layer layer(h_first, h, 3);
        const Sequence sequence(steps, h.shape(0), h_first.shape(0));
        call(table<T>().gru, write<T>("gates", gates, layer.gates), write<T>("product", product, layer.gates),
             write<T>("h", h, layer.states), read<T>("w", w, layer.weight),
             read<T>("bias", bias, {py::ssize_t(layer.wide)}), read<T>("h_first", h_first, layer.first), sequence.steps,
             layer.hidden, room<T>(table<T>().recurrent_room(layer.wide, layer.hidden)));
    });
}

void gru_backward(Array& dgates, Array& dproduct, Array& dh, const Array& out, const Array& w, const Array& gates,
                  const Array& product, const Array& h, const Array& h_first, const StepList& steps) {
    by_dtype("dh", dh, [&](auto zero) {
        using T = decltype(zero);
        const Layer layer(h_first, h, 3);
        const Sequence sequence(steps, h.shape(0), h_first.shape(0));
        call(table<T>().gru_backward, write<T>("dgates", dgates, layer.gates),
             write<T>("dproduct", dproduct, layer.gates), write<T>("dh", dh, layer.first),
             read<T>("out", out, layer.states), read<T>("w", w, layer.weight), read<T>("gates", gates, layer.gates),
             read<T>("product", product, layer.gates), read<T>("h", h, layer.states),
             read<T>("h_first", h_first, layer.first), sequence.steps, layer.hidden,
             room<T>(table<T>().recurrent_room(layer.wide, layer.hidden)));
    });
}

}  // namespace

void bind_recurrent(py::module_& m) {
    using py::arg;
    m.def("lstm", &lstm, arg("gates"), arg("c"), arg("tanh_c"), arg("h"), arg("w"), arg("h_first"), arg("c_first"),
          arg("steps"));
    m.def("lstm_backward", &lstm_backward, arg("dgates"), arg("dh"), arg("dc"), arg("out"), arg("w"), arg("gates"),
          arg("c"), arg("tanh_c"), arg("c_first"), arg("steps"));
    m.def("gru", &gru, arg("gates"), arg("product"), arg("h"), arg("w"), arg("bias"), arg("h_first"), arg("steps"));
    m.def("gru_backward", &gru_backward, arg("dgates"), arg("dproduct"), arg("dh"), arg("out"), arg("w"), arg("gates"),
          arg("product"), arg("h"), arg("h_first"), arg("steps"));
}

}  // namespace ringleader::kernels
