"""What ``python -m ringleader.bench.kernels`` measures on a GPU, and how: our CUDA kernels beside PyTorch's."""
