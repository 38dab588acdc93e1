// The module ringleader.csrc.cpu._engine.
#include "python.h"

#include <stdexcept>

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

char* writable(py::array& x) { return static_cast<char*>(x.mutable_data()); }

std::string name_of(const py::array& x) { return py::cast<std::string>(py::object(x.dtype().attr("name"))); }

Folder folder_for(const std::string& op, const py::array& x, bool streaming) {
    const Fold fold = fold_named(op);
    const Type type = type_named(name_of(x));
    Folder folder = streaming ? find_streaming_folder(fold, type) : find_folder(fold, type);
    if (!folder) throw std::invalid_argument(op + " of " + name_of(x));
    return folder;
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
    m.def("fold", [](const std::string& op, py::array dst, const py::array& a, const py::array& b, bool streaming) {
        folder_for(op, dst, streaming)(writable(dst), a.data(), b.data(), static_cast<size_t>(dst.size()));
    }, py::arg("op"), py::arg("dst"), py::arg("a"), py::arg("b"), py::arg("streaming") = false,
       "dst = a op b; contiguous arrays of one dtype and size. For tests and measurements.");
    m.def("fold2", [](const std::string& op, py::array dst1, py::array dst2, const py::array& a, const py::array& b,
                      bool streaming) {
        folder_for(op, dst1, false);
        find_folder2(fold_named(op), type_named(name_of(dst1)), streaming)(
            writable(dst1), writable(dst2), a.data(), b.data(), static_cast<size_t>(dst1.size()));
    }, py::arg("op"), py::arg("dst1"), py::arg("dst2"), py::arg("a"), py::arg("b"), py::arg("streaming") = false,
       "dst1 = dst2 = a op b.");
    bind_messages(m);
    bind_calls(m);
}
