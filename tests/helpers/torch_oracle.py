"""PyTorch as the oracle: one function written twice must give the same values and the same gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from ringleader.runtime.autograd import Tensor

Array = Any


def same(ours: Callable[..., Tensor], theirs: Callable[..., Any], *arrays: Array) -> None:
    """Both of float64 ``arrays``, and the gradients of all of them from one random gradient."""
    mine = [Tensor(a, requires_grad=True) for a in arrays]
    reference = [torch.tensor(a, requires_grad=True) for a in arrays]
    got, wanted = ours(*mine), theirs(*reference)
    assert got.shape == tuple(wanted.shape)
    close(got.data, wanted)
    g = np.random.default_rng(7).standard_normal(got.shape)
    got.backward(g)
    wanted.backward(torch.tensor(g))
    for tensor, other in zip(mine, reference):
        close(tensor.grad, other.grad)


def close(got: Array, wanted: Any) -> None:
    np.testing.assert_allclose(got, wanted.detach().numpy(), rtol=1e-10, atol=1e-11)
