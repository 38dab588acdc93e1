"""The ops on CUDA kernels. Importing this module puts them into the table; ``devices`` does, when it is needed."""

from ringleader.runtime.autograd.ops import (
    cuda_attention,
    cuda_convolution,
    cuda_elements,
    cuda_loss,
    cuda_norm,
    cuda_recurrent,
    cuda_softmax,
)

__all__ = [
    "cuda_attention",
    "cuda_convolution",
    "cuda_elements",
    "cuda_loss",
    "cuda_norm",
    "cuda_recurrent",
    "cuda_softmax",
]
