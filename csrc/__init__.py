"""Native code: the CPU engine (``cpu``), and later CUDA kernels."""

if __name__ != "ringleader.csrc":
    raise ImportError("this folder is the package ringleader.csrc: write 'import ringleader.csrc'")
