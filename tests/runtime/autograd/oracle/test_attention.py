"""Attention, multi-head attention and rotary positions against PyTorch: values and all gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers.op_cases.draw import Array, normal
from ringleader.runtime.autograd import (
    MultiheadAttention,
    RotaryEmbedding,
    Tensor,
    rotary,
    scaled_dot_product_attention,
)
from ringleader.runtime.autograd.ops import attention

torch = pytest.importorskip("torch", reason="PyTorch is the oracle: pip install 'ringleader[oracle]'")


def compare(ours: Any, theirs: Any, *arrays: Array) -> None:
    """The same function of tensors in both, with the gradients of all its inputs."""
    mine = [Tensor(a, requires_grad=True) for a in arrays]
    other = [torch.from_numpy(a.copy()).requires_grad_() for a in arrays]
    y, z = ours(*mine), theirs(*other)
    close(y.data, z)
    seed = normal(*y.shape)
    y.backward(seed)
    z.backward(torch.from_numpy(seed))
    for t, u in zip(mine, other):
        close(t.grad, u.grad)


def close(ours: Any, theirs: Any) -> None:
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-10, atol=1e-12)


@pytest.fixture(params=[(128, 256), (2, 3)], ids=["one block", "many blocks"], autouse=True)
def _blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "QUERIES", request.param[0])
    monkeypatch.setattr(attention, "KEYS", request.param[1])


SIZES = [((2, 3), 5, 5, 4, 4), ((2, 3), 1, 7, 4, 2), ((), 4, 6, 3, 5), ((4,), 7, 4, 2, 2)]


@pytest.mark.parametrize("scale", [None, 0.3])
@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_sizes_causality_and_scale(size: Any, is_causal: bool, scale: float | None) -> None:
    lead, length, keys, e, ev = size
    arrays = [normal(*lead, length, e), normal(*lead, keys, e), normal(*lead, keys, ev)]
    options = {"is_causal": is_causal, "scale": scale}
    compare(
        lambda *t: scaled_dot_product_attention(*t, **options),
        lambda *t: torch.nn.functional.scaled_dot_product_attention(*t, **options),
        *arrays,
    )


@pytest.mark.parametrize("shape", [(4, 6), (1, 6), (3, 4, 6), (2, 1, 1, 6), (2, 3, 4, 6)], ids=str)
@pytest.mark.parametrize("enable_gqa", [False, True])
def test_masks_and_grouped_heads(shape: tuple[int, ...], enable_gqa: bool) -> None:
    heads = 1 if enable_gqa else 3
    arrays = [normal(2, 3, 4, 5), normal(2, heads, 6, 5), normal(2, heads, 6, 2)]
    allowed = np.random.default_rng(0).random(shape) > 0.4
    allowed[..., 0] = True
    sdpa = torch.nn.functional.scaled_dot_product_attention
    compare(
        lambda *t: scaled_dot_product_attention(*t, allowed, enable_gqa=enable_gqa),
        lambda *t: sdpa(*t, torch.from_numpy(allowed), enable_gqa=enable_gqa),
        *arrays,
    )
    compare(
        lambda *t: scaled_dot_product_attention(*t, enable_gqa=enable_gqa),
        lambda *t: sdpa(*t, enable_gqa=enable_gqa),
        *arrays, normal(*shape),
    )  # fmt: skip


def pair(**options: Any) -> tuple[MultiheadAttention, Any]:
    ours = MultiheadAttention(6, 2, **options, generator=np.random.default_rng(1), dtype=np.float64)
    for parameter in ours.parameters():
        parameter.data[...] = normal(*parameter.shape)
    theirs = torch.nn.MultiheadAttention(6, 2, dtype=torch.float64, **options)
    theirs.load_state_dict({key: torch.from_numpy(value) for key, value in ours.state_dict().items()})
    ours.load_state_dict({key: value.numpy() for key, value in theirs.state_dict().items()})
    return ours, theirs


PADDING = np.array([[False, False, True, True, True], [False] * 5, [False, True, False, True, False]])
MASKS: list[tuple[Any, Any]] = [
    (None, None), (PADDING, None), (None, normal(4, 5)), (None, normal(6, 4, 5)),
    (PADDING, np.triu(np.ones((4, 5), bool), 1)), (None, np.triu(np.ones((6, 4, 5), bool), 1)),
]  # fmt: skip


@pytest.mark.parametrize("masks", MASKS, ids=range(len(MASKS)))
@pytest.mark.parametrize("options", [{}, {"batch_first": True}, {"bias": False}], ids=str)
def test_multihead_attention(options: dict[str, Any], masks: tuple[Any, Any]) -> None:
    ours, theirs = pair(**options)
    padding, mask = masks
    arrays = [normal(4, 3, 6), normal(5, 3, 6), normal(5, 3, 6) + 1]
    if options.get("batch_first"):
        arrays = [a.swapaxes(0, 1) for a in arrays]

    def torched(m: Any) -> Any:
        return None if m is None else torch.from_numpy(m)

    compare(
        lambda *t: ours(*t, padding, attn_mask=mask),
        lambda *t: theirs(*t, torched(padding), need_weights=False, attn_mask=torched(mask))[0],
        *arrays,
    )
    for (name, p), (other, q) in zip(ours.named_parameters(), theirs.named_parameters()):
        assert name == other
        close(p.grad, q.grad)


def test_padding_and_a_float_mask_together() -> None:
    ours, theirs = pair()
    mask, float_padding = normal(4, 5), np.where(PADDING, -np.inf, 0.0)
    compare(
        lambda *t: ours(*t, PADDING, attn_mask=mask),
        lambda *t: theirs(*t, torch.from_numpy(float_padding), need_weights=False, attn_mask=torch.from_numpy(mask))[0],
        normal(4, 3, 6), normal(5, 3, 6), normal(5, 3, 6),
    )  # fmt: skip


def test_causal_self_attention_with_padding() -> None:
    ours, theirs = pair()
    later = torch.ones(5, 5, dtype=torch.bool).triu(1)
    compare(
        lambda x: ours(x, x, x, PADDING, is_causal=True),
        lambda x: theirs(x, x, x, torch.from_numpy(PADDING), need_weights=False, attn_mask=later)[0],
        normal(5, 3, 6),
    )


def test_rotary_is_the_product_with_complex_numbers() -> None:
    angles = torch.arange(3, 8)[:, None] * 10000.0 ** (-torch.arange(0, 6, 2, dtype=torch.float64) / 6)

    def turned(x: Any) -> Any:
        pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)))
        return torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles)).flatten(-2)

    compare(lambda x: RotaryEmbedding(6)(x, offset=3), turned, normal(2, 5, 6))
    compare(lambda x: rotary(x, angles.cos().numpy(), angles.sin().numpy()), turned, normal(2, 5, 6))
