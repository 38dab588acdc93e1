// The module ringleader.csrc.cpu._engine.
#include "python.h"

#include <stdexcept>
#include <system_error>

namespace ringleader {

namespace {

constexpr const char* kTypes[] = {"bool",   "int8",    "uint8",    "int16",   "uint16",  "int32",     "uint32",    "int64",
                                  "uint64", "float16", "bfloat16", "float32", "float64", "complex64", "complex128"};
constexpr const char* kFolds[] = {"sum", "prod", "min", "max", "and", "or", "xor"};

template <size_t N>
size_t find_name(const char* const (&names)[N], const std::string& name) {
    for (size_t i = 0; i < N; ++i)
        if (name == names[i]) return i;
    throw std::invalid_argument("the engine knows no " + name);
}

}  // namespace

Type type_named(const std::string& name) { return static_cast<Type>(find_name(kTypes, name)); }
Fold fold_named(const std::string& name) { return static_cast<Fold>(find_name(kFolds, name)); }

}  // namespace ringleader

PYBIND11_MODULE(_engine, m) {
    using namespace ringleader;
    m.doc() = "Ranks of one node, over shared memory; see the headers beside this module's sources.";
    m.attr("SMALL") = kSmall;
    m.attr("CONTEXTS") = Group::kContexts;
    m.attr("TYPES") = std::vector<std::string>(std::begin(kTypes), std::end(kTypes));
    m.attr("FOLDS") = std::vector<std::string>(std::begin(kFolds), std::end(kFolds));
    m.def("cpu_level", &cpu_level, "Which kernels this process uses: avx512, avx2 or baseline.");
    m.def("folds", [](const std::string& op, const std::string& type) {
        return find_folder(fold_named(op), type_named(type)) != nullptr;
    }, "Is this operation defined for this dtype?");
    m.def("fold", [](const std::string& op, py::array dst, const py::array& a, const py::array& b) {
        const std::string type = py::cast<std::string>(py::object(dst.dtype().attr("name")));
        const Folder folder = find_folder(fold_named(op), type_named(type));
        if (!folder) throw std::invalid_argument(op + " of " + type);
        if (a.nbytes() != dst.nbytes() || b.nbytes() != dst.nbytes()) throw std::invalid_argument("unequal arrays");
        folder(dst.mutable_data(), a.data(), b.data(), static_cast<size_t>(dst.size()));
    }, py::arg("op"), py::arg("dst"), py::arg("a"), py::arg("b"),
       "dst = a op b; contiguous arrays of one dtype and size. For tests and measurements.");
    py::register_local_exception_translator([](std::exception_ptr thrown) {
        try {
            if (thrown) std::rethrow_exception(thrown);
        } catch (const std::system_error& error) {
            PyErr_SetObject(PyExc_OSError, py::make_tuple(error.code().value(), error.what()).ptr());
        }
    });
    bind_messages(m);
    bind_calls(m);
    bind_quick(m);
}
