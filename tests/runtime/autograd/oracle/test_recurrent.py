"""RNN, LSTM and GRU against PyTorch's modules: values and all gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers.op_cases.draw import Array, normal
from ringleader.runtime.autograd import GRU, LSTM, RNN, Tensor

torch = pytest.importorskip("torch", reason="PyTorch is the oracle: pip install 'ringleader[oracle]'")

INPUT, H, T, N = 3, 4, 5, 3
KINDS: list[tuple[Any, str, dict[str, Any]]] = [
    (RNN, "RNN", {}), (RNN, "RNN", {"nonlinearity": "relu"}), (LSTM, "LSTM", {}), (GRU, "GRU", {}),
]  # fmt: skip


def pair(kind: Any, name: str, **options: Any) -> tuple[Any, Any]:
    """The same weights in both; ours go to PyTorch by their names and back."""
    ours = kind(INPUT, H, **options, generator=np.random.default_rng(1), dtype=np.float64)
    theirs = getattr(torch.nn, name)(INPUT, H, dtype=torch.float64, **options)
    theirs.load_state_dict({key: torch.from_numpy(value) for key, value in ours.state_dict().items()})
    ours.load_state_dict({key: value.numpy() for key, value in theirs.state_dict().items()})
    assert list(ours.state_dict()) == list(theirs.state_dict())
    return ours, theirs


def flat(result: Any) -> list[Any]:
    output, last = result
    return [output, *last] if isinstance(last, tuple) else [output, last]


def run_theirs(module: Any, x: Any, hx: Any, lengths: Array | None, batch_first: bool) -> list[Any]:
    if lengths is None:
        return flat(module(x, hx))
    pack = torch.nn.utils.rnn.pack_padded_sequence
    packed = pack(x, torch.from_numpy(lengths), batch_first=batch_first, enforce_sorted=False)
    output, *last = flat(module(packed, hx))
    unpack = torch.nn.utils.rnn.pad_packed_sequence
    return [unpack(output, batch_first=batch_first, total_length=T)[0], *last]


def close(ours: Array, theirs: Any) -> None:
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("lengths", [None, [2, 5, 1], [4, 4, 4]], ids=str)
@pytest.mark.parametrize("given_states", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(
    ("layers", "bias", "batch_first"), [(1, True, False), (2, False, True), (3, True, True)]
)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind[1] + kind[2].get("nonlinearity", ""))
def test_values_and_gradients(
    kind: Any,
    layers: int,
    bias: bool,
    batch_first: bool,
    bidirectional: bool,
    given_states: bool,
    lengths: Any,
) -> None:
    ours, theirs = pair(
        kind[0], kind[1], **kind[2], num_layers=layers, bias=bias, batch_first=batch_first, bidirectional=bidirectional
    )  # fmt: skip
    ragged = None if lengths is None else np.array(lengths)
    count = layers * (2 if bidirectional else 1)
    arrays = [normal(*((N, T) if batch_first else (T, N)), INPUT)]
    if given_states:
        arrays += [normal(count, N, H), normal(N, count, H).swapaxes(0, 1)][: 2 if kind[0] is LSTM else 1]
    mine = [Tensor(a, requires_grad=True) for a in arrays]
    other = [torch.from_numpy(a.copy()).requires_grad_() for a in arrays]

    def hx(tensors: list[Any]) -> Any:
        return None if len(tensors) == 1 else tuple(tensors[1:]) if kind[0] is LSTM else tensors[1]

    got = flat(ours(mine[0], hx(mine), ragged))
    wanted = run_theirs(theirs, other[0], hx(other), ragged, batch_first)
    for y, z in zip(got, wanted):
        close(y.data, z)
    seeds = [normal(*y.shape) for y in got]
    loss: Any = 0
    for y, seed in zip(got, seeds):
        loss = loss + (y * Tensor(seed)).sum()
    loss.backward()
    torch.autograd.backward(wanted, [torch.from_numpy(seed) for seed in seeds])
    for t, u in zip(mine, other):
        close(t.grad, u.grad)
    for (name, p), (_, q) in zip(ours.named_parameters(), theirs.named_parameters()):
        assert p.grad is not None, name
        close(p.grad, q.grad)
