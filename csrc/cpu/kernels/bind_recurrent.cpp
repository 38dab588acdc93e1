// LSTM and GRU over whole sequences.
#include "args.h"

namespace ringleader::kernels {
namespace {

using StepList = std::vector<std::pair<size_t, size_t>>;

// ValueError: a step's rows are not within `all`, or are more than in the step before.
void check_steps(const StepList& steps, py::ssize_t all, py::ssize_t sequences) {
    auto before = size_t(sequences);
    for (auto [at, rows] : steps) {
        if (rows > before || at > size_t(all) || rows > size_t(all) - at)
            throw py::value_error("steps: rows " + std::to_string(at) + " to " + std::to_string(at + rows) +
                                  " are not in " + std::to_string(all) + " rows, or more than the step before has");
        before = rows;
    }
}

// A layer's sizes, from the states before the first step (N, H) and after all of them (R, H).
struct Layer {
    Sizes first, states, gates, weight;
    size_t sequences, hidden, wide, rows;
    const StepList& steps;
    Layer(const Array& before, const Array& after, size_t parts, const StepList& given) : steps(given) {
        check_axes("the first state", before, 2), check_axes("h", after, 2);
        const auto size = before.shape(1), all = py::ssize_t(parts) * size;
        first = shape_of(before), states = {after.shape(0), size}, gates = {after.shape(0), all}, weight = {all, size};
        sequences = size_t(before.shape(0)), hidden = size_t(size), wide = parts * hidden, rows = size_t(after.shape(0));
        check_steps(steps, after.shape(0), before.shape(0));
    }

    // body(first element of the first states, steps, room) for all sequences, on several threads where there is much to do:
    // each takes some of the sequences through all steps.
    template <class T, class Body> void run(Body body) const {
        const double nanoseconds = double(rows) * double(wide) * double(hidden) / (sizeof(T) == sizeof(float) ? 75 : 37);
        call_in_parts(sequences, 8, nanoseconds, [&](size_t begin, size_t end) {
            std::vector<size_t> start, count;
            for (auto [at, rows] : steps) {
                start.push_back(at + begin);
                count.push_back(rows < begin ? 0 : (rows < end ? rows : end) - begin);
            }
            body(begin * hidden, Steps{start.data(), count.data(), start.size()},
                 room<T>(table<T>().recurrent_room(wide, hidden)));
        });
    }
};

void lstm(Array& gates, Array& c, Array& tanh_c, Array& h, const Array& w, const Array& h_first, const Array& c_first,
          const StepList& steps) {
    by_dtype("h", h, [&](auto zero) {
        using T = decltype(zero);
        const Layer layer(h_first, h, 4, steps);
        T *const sums = write<T>("gates", gates, layer.gates), *const cells = write<T>("c", c, layer.states);
        T *const flat = write<T>("tanh_c", tanh_c, layer.states), *const hidden = write<T>("h", h, layer.states);
        const T* const weight = read<T>("w", w, layer.weight);
        const T *const h0 = read<T>("h_first", h_first, layer.first), *const c0 = read<T>("c_first", c_first, layer.first);
        layer.run<T>([&](size_t at, Steps some, T* room) {
            table<T>().lstm(sums, cells, flat, hidden, weight, h0 + at, c0 + at, some, layer.hidden, room);
        });
    });
}

void lstm_backward(Array& dgates, Array& dh, Array& dc, const Array& out, const Array& w, const Array& gates,
                   const Array& c, const Array& tanh_c, const Array& c_first, const StepList& steps) {
    by_dtype("dh", dh, [&](auto zero) {
        using T = decltype(zero);
        const Layer layer(c_first, c, 4, steps);
        T* const to = write<T>("dgates", dgates, layer.gates);
        T *const h_slope = write<T>("dh", dh, layer.first), *const c_slope = write<T>("dc", dc, layer.first);
        const T *const up = read<T>("out", out, layer.states), *const weight = read<T>("w", w, layer.weight);
        const T *const kept = read<T>("gates", gates, layer.gates), *const cells = read<T>("c", c, layer.states);
        const T* const flat = read<T>("tanh_c", tanh_c, layer.states);
        const T* const c0 = read<T>("c_first", c_first, layer.first);
        layer.run<T>([&](size_t at, Steps some, T* room) {
            table<T>().lstm_backward(to, h_slope + at, c_slope + at, up, weight, kept, cells, flat, c0 + at, some,
                                     layer.hidden, room);
        });
    });
}

void gru(Array& gates, Array& product, Array& h, const Array& w, const std::optional<Array>& bias, const Array& h_first,
         const StepList& steps) {
    by_dtype("h", h, [&](auto zero) {
        using T = decltype(zero);
        const Layer layer(h_first, h, 3, steps);
        T *const sums = write<T>("gates", gates, layer.gates), *const products = write<T>("product", product, layer.gates);
        T* const hidden = write<T>("h", h, layer.states);
        const T* const weight = read<T>("w", w, layer.weight);
        const T* const shift = read<T>("bias", bias, {py::ssize_t(layer.wide)});
        const T* const h0 = read<T>("h_first", h_first, layer.first);
        layer.run<T>([&](size_t at, Steps some, T* room) {
            table<T>().gru(sums, products, hidden, weight, shift, h0 + at, some, layer.hidden, room);
        });
    });
}

void gru_backward(Array& dgates, Array& dproduct, Array& dh, const Array& out, const Array& w, const Array& gates,
                  const Array& product, const Array& h, const Array& h_first, const StepList& steps) {
    by_dtype("dh", dh, [&](auto zero) {
        using T = decltype(zero);
        const Layer layer(h_first, h, 3, steps);
        T *const to = write<T>("dgates", dgates, layer.gates), *const db = write<T>("dproduct", dproduct, layer.gates);
        T* const slope = write<T>("dh", dh, layer.first);
        const T *const up = read<T>("out", out, layer.states), *const weight = read<T>("w", w, layer.weight);
        const T *const kept = read<T>("gates", gates, layer.gates), *const b = read<T>("product", product, layer.gates);
        const T *const hidden = read<T>("h", h, layer.states), *const h0 = read<T>("h_first", h_first, layer.first);
        layer.run<T>([&](size_t at, Steps some, T* room) {
            table<T>().gru_backward(to, db, slope + at, up, weight, kept, b, hidden, h0 + at, some, layer.hidden, room);
        });
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
