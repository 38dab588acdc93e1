"""Position-and-rank-coded tensors that every dtype holds exactly, also the sum over a few ranks."""

import torch

SHAPES = [(), (0,), (1,), (13,), (3, 4), (0, 4), (997,)]
INTEGERS = [torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64]
FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
WIDE = {torch.int32, torch.int64, torch.float32, torch.float64}
NUMBERS = INTEGERS + FLOATS
DTYPES = [*NUMBERS, torch.bool, torch.complex64, torch.complex128]


def coded(shape, rank, dtype, below=31):
    """Element j of rank r: 1000 j + r where the dtype is wide enough, else (7 j + r) modulo ``below``."""
    j = torch.arange(torch.Size(shape).numel()).reshape(shape)
    if dtype in WIDE and below == 31:
        return (1000 * j + rank).to(dtype)
    values = (7 * j + rank) % below
    if dtype.is_complex:
        return torch.complex(values.double(), rank - values.double()).to(dtype)
    return (values % 2 == 1) if dtype == torch.bool else values.to(dtype)


def laid_out(tensor):
    """The same values in different memory: as they are, every second of a larger tensor, transposed."""
    yield tensor.clone()
    if tensor.dim():
        spread = tensor.new_zeros((*tensor.shape[:-1], 2 * tensor.shape[-1]))
        spread[..., ::2] = tensor
        yield spread[..., ::2]
    if tensor.dim() == 2:
        yield tensor.t().clone().t()


def exactly(got, expected):
    """Same dtype, shape and values."""
    assert got.dtype == expected.dtype
    assert got.shape == expected.shape
    assert torch.equal(got, expected), (got, expected)
