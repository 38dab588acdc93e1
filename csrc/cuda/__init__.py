"""CUDA kernels: one .cu file an operator, and beside it, in Python, how it is launched and which version when.

``OPERATOR.cu`` holds the kernels, first the clear version, then the fast ones. ``OPERATOR.py`` checks what it is given,
chooses a version, and launches it on a ``Device``: a GPU through CuPy, or the emulator (csrc/emulate).
"""
