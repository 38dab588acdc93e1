"""Sources of the module ``ringleader.csrc.cpu._kernels``: the arithmetic of training; see kernels.h."""
