// The module ringleader.csrc.cpu._kernels.
#include "args.h"

PYBIND11_MODULE(_kernels, m) {
    using namespace ringleader::kernels;
    m.doc() = "Arithmetic of training; csrc/cpu/_kernels.pyi has the types, kernels/kernels.h the formulas.";
    m.def("cpu_level", &cpu_level, "Which kernels this process uses: avx512, avx2 or baseline.");
    bind_memory(m);
    bind_pointwise(m);
    bind_products(m);
    bind_rows(m);
    bind_recurrent(m);
    bind_optimisers(m);
    bind_images(m);
    bind_attention(m);
}
