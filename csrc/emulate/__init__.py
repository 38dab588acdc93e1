"""CUDA kernels on a CPU: the .cu files of csrc/cuda, unchanged, compiled by g++ and run thread by thread."""
