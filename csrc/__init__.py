"""Native code: the CPU engine and kernels (``cpu``), CUDA kernels (``cuda``), and what runs those on a CPU (``emulate``)."""

if __name__ != "ringleader.csrc":
    raise ImportError("this folder is the package ringleader.csrc: write 'import ringleader.csrc'")
