"""Native code: CUDA kernels and the CPU engine. Nothing is built here yet."""

if __name__ != "ringleader.csrc":
    raise ImportError("this folder is the package ringleader.csrc: write 'import ringleader.csrc'")
