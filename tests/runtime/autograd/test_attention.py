"""Attention against the plain formula, in one block and in many; its memory; multi-head attention; rotary."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from helpers.op_cases.draw import Array, normal
from hypothesis import given, settings
from hypothesis import strategies as st
from ringleader.runtime.autograd import (
    OPS,
    MultiheadAttention,
    RotaryEmbedding,
    ShapeError,
    Tensor,
    apply,
    gradcheck,
    rotary,
    scaled_dot_product_attention,
)
from ringleader.runtime.autograd.ops import attention


def plain(
    q: Array, k: Array, v: Array, scale: float, allowed: Array | None = None, bias: Array | None = None,
    is_causal: bool = False, kept: Array | float = 1.0,
) -> Array:  # fmt: skip
    """The formula, with all scores at once; rows without keys give 0."""
    scores = q @ k.swapaxes(-1, -2) * scale + (0 if bias is None else bias)
    seen = np.ones(scores.shape, bool) if allowed is None else np.broadcast_to(allowed, scores.shape)
    if is_causal:
        seen = np.logical_and(seen, np.tril(np.ones(scores.shape[-2:], bool)))
    p = np.where(seen, np.exp(scores), 0)
    total = p.sum(axis=-1, keepdims=True)
    return np.divide(p, total, out=np.zeros_like(p), where=total > 0) * kept @ v


def small_blocks(monkeypatch: pytest.MonkeyPatch, queries: int, keys: int, scores: int) -> None:
    """Of the numpy op, which stands in for a native one."""
    monkeypatch.setitem(OPS["scaled_dot_product_attention"], "cpu", attention.Attention)
    for name, size in (("QUERIES", queries), ("KEYS", keys), ("SCORES", scores)):
        monkeypatch.setattr(attention, name, size)


@st.composite
def calls(draw: Any) -> tuple[list[Array], dict[str, Any]]:
    """Inputs and options of the op: a mask that broadcasts, a bias, causality, groups."""
    n, heads, groups = draw(st.integers(0, 2)), draw(st.integers(1, 2)), draw(st.integers(1, 3))
    length, keys, e, ev = (draw(st.integers(1, size)) for size in (5, 5, 3, 2))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    arrays = [
        rng.standard_normal(s)
        for s in ((n, heads * groups, length, e), (n, heads, keys, e), (n, heads, keys, ev))
    ]
    full = (n, heads * groups, length, keys)

    def mask_shape() -> tuple[int, ...]:
        return tuple(size if draw(st.booleans()) else 1 for size in full)[draw(st.integers(0, 2)) :]

    options: dict[str, Any] = {"scale": 0.8, "groups": groups, "is_causal": draw(st.booleans())}
    if draw(st.booleans()):
        options["allowed"] = rng.random(mask_shape()) > 0.4
    if draw(st.booleans()):
        arrays.append(rng.standard_normal(mask_shape()))
    return arrays, options


BLOCKS = st.tuples(st.integers(1, 4), st.integers(1, 4), st.sampled_from([1, 8, 1000]))


@settings(max_examples=60, deadline=None)
@given(call=calls(), blocks=BLOCKS)
def test_blocks_of_any_size_give_the_plain_formula_and_its_gradient(
    call: tuple[list[Array], dict[str, Any]], blocks: tuple[int, int, int]
) -> None:
    (q, k, v, *bias), options = call
    with pytest.MonkeyPatch.context() as patch:
        small_blocks(patch, *blocks)
        y = apply("scaled_dot_product_attention", *(Tensor(a) for a in (q, k, v, *bias)), **options)
        wide_k, wide_v = (np.repeat(a, options["groups"], axis=1) for a in (k, v))
        wanted = plain(q, wide_k, wide_v, 0.8, options.get("allowed"), *bias, is_causal=options["is_causal"])
        np.testing.assert_allclose(y.data, wanted, rtol=1e-11, atol=1e-13)
        gradcheck(lambda *t: apply("scaled_dot_product_attention", *t, **options), q, k, v, *bias)


@pytest.mark.parametrize("blocks", [(2, 3, 1), (128, 256, 2**17)])
def test_dropout_drops_the_same_weights_in_backward(
    blocks: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    small_blocks(monkeypatch, *blocks)
    q, k = normal(2, 5, 3), normal(2, 7, 3)
    options = {"scale": 1.0, "dropout_p": 0.5, "seed": 11}
    gradcheck(lambda *t: apply("scaled_dot_product_attention", *t, **options), q, k, normal(2, 7, 2))
    # with the unit matrix as values the output is the dropped weights themselves
    weights = apply("scaled_dot_product_attention", Tensor(q), Tensor(k), Tensor(np.eye(7)), **options).data
    whole = plain(q, k, np.eye(7), 1.0)
    kept = weights != 0
    np.testing.assert_allclose(weights[kept], 2 * whole[kept], rtol=1e-12)
    assert 0.3 < kept.mean() < 0.7


def test_dropout_draws_anew_from_the_generator_each_call() -> None:
    generator, x = np.random.default_rng(0), Tensor(normal(4, 6, 2))
    first, second = (
        scaled_dot_product_attention(x, x, x, dropout_p=0.5, generator=generator) for _ in range(2)
    )
    assert (first.data != second.data).any()
    again = scaled_dot_product_attention(x, x, x, dropout_p=0.5, generator=np.random.default_rng(0))
    np.testing.assert_array_equal(first.data, again.data)


def test_memory_stays_far_below_the_scores() -> None:
    length = 4096
    q, k, v = (Tensor(normal(length, 16).astype(np.float32), requires_grad=True) for _ in range(3))
    tracemalloc.start()
    scaled_dot_product_attention(q, k, v).backward(np.ones((length, 16), np.float32))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < length * length * 4 / 16


def test_causality_hides_whole_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    small_blocks(monkeypatch, 4, 4, 1)
    seen = []
    scores = attention.Attention._scores
    monkeypatch.setattr(
        attention.Attention, "_scores",
        lambda self, q, at, keys: seen.append((at[2].start, keys.start)) or scores(self, q, at, keys),
    )  # fmt: skip
    x = Tensor(normal(12, 2))
    scaled_dot_product_attention(x, x, x, is_causal=True)
    assert seen == [(0, 0), (4, 0), (4, 4), (8, 0), (8, 4), (8, 8)]


def test_a_query_without_keys_gives_0_and_gets_no_gradient() -> None:
    q, k, v = (Tensor(normal(3, 2), requires_grad=True) for _ in range(3))
    for mask in (np.array([[True], [False], [True]]), np.array([[0.0], [-np.inf], [0.0]])):
        for t in (q, k, v):
            t.zero_grad()
        with np.errstate(all="raise"):
            y = scaled_dot_product_attention(q, k, v, mask)
            y.backward(np.ones((3, 2)))
        np.testing.assert_array_equal(y.data[1], 0)
        assert (y.data[0] != 0).all() and (q.grad[1] == 0).all()
        assert all(np.isfinite(t.grad).all() for t in (q, k, v))


def test_large_scores_do_not_overflow() -> None:
    x = Tensor(np.array([[300.0], [-300.0]], np.float32), requires_grad=True)
    with np.errstate(over="raise", invalid="raise"):
        y = scaled_dot_product_attention(x, x, x)
        y.sum().backward()
    np.testing.assert_array_equal(y.data, x.data)


Q = Tensor(normal(2, 3, 4))
REFUSED = [
    (lambda: scaled_dot_product_attention(Q, Tensor(normal(2, 3, 5)), Q), ShapeError, "differ in E"),
    (lambda: scaled_dot_product_attention(Q, Q, Tensor(normal(2, 4, 5))), ShapeError, "or key and value in S"),
    (lambda: scaled_dot_product_attention(Q, Tensor(normal(3, 5, 4)), Tensor(normal(3, 5, 4))), ShapeError, "broadcast"),
    (lambda: scaled_dot_product_attention(Q, Q, Q, np.ones((3, 2), bool)), ShapeError, r"scores \(2, 3, 3\)"),
    (lambda: scaled_dot_product_attention(Q, Q, Q, np.ones((5, 2, 3, 3))), ShapeError, r"scores \(2, 3, 3\)"),
    (lambda: scaled_dot_product_attention(Q, Q, Q, np.ones((3, 3), int)), TypeError, "boolean or floats"),
    (lambda: scaled_dot_product_attention(Q, Q, Q, dropout_p=1.5), ValueError, r"in 0\.\.1, it is 1\.5"),
    (lambda: scaled_dot_product_attention(Q, Q, Q, dropout_p=0.5), ValueError, "needs a generator"),
    (lambda: scaled_dot_product_attention(Q, Tensor(normal(3, 3, 4)), Q, enable_gqa=True), ShapeError, "multiple"),
    (lambda: scaled_dot_product_attention(Q, Tensor(normal(1, 3, 4)), Q, enable_gqa=True), ShapeError, "one head"),
    (lambda: scaled_dot_product_attention(Tensor(normal(4)), Q, Q), ShapeError, r"must be \(\.\.\., L, E\)"),
    (lambda: rotary(Tensor(normal(2, 3)), np.ones((2, 1)), np.ones((2, 1))), ShapeError, "even E"),
    (lambda: rotary(Q, np.ones((4, 2)), np.ones((4, 2))), ShapeError, "must broadcast"),
    (lambda: RotaryEmbedding(3), ValueError, "even"),
    (lambda: RotaryEmbedding(4)(Q, offset=-1), ValueError, "negative"),
    (lambda: RotaryEmbedding(2)(Q), ShapeError, r"\(\.\.\., T, 2\)"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), REFUSED, ids=[m for _, _, m in REFUSED])
def test_what_is_refused(call: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def layer(**options: Any) -> MultiheadAttention:
    return MultiheadAttention(6, 2, **options, generator=np.random.default_rng(0), dtype=np.float64)


def test_multihead_attention_refuses() -> None:
    attend, x = layer(), Tensor(normal(3, 2, 6))
    with pytest.raises(ValueError, match="never formed"):
        attend(x, x, x, need_weights=True)
    with pytest.raises(TypeError, match=r"key_padding_mask must be \(N, S\) booleans"):
        attend(x, x, x, np.ones((2, 3)))
    with pytest.raises(TypeError, match="attn_mask must be boolean or floats"):
        attend(x, x, x, attn_mask=np.ones((3, 3), int))
    with pytest.raises(ShapeError, match="its first size must be 4"):
        attend(x, x, x, attn_mask=np.ones((3, 3, 3)))
    with pytest.raises(ShapeError, match=r"shape \(3, 6\)"):
        attend(x, Tensor(normal(3, 6)), x)
    with pytest.raises(ValueError, match="6 must be a multiple of num_heads 4"):
        MultiheadAttention(6, 4, generator=np.random.default_rng(0))


def test_multihead_attention_drops_in_training_only() -> None:
    attend, x = layer(dropout=0.5), Tensor(normal(3, 2, 6))
    whole = layer()(x, x, x).data
    assert (attend(x, x, x).data != whole).any()
    np.testing.assert_array_equal(attend.eval()(x, x, x).data, whole)


def test_first_weights_are_as_pytorch_has_them() -> None:
    attend = MultiheadAttention(24, 2, generator=np.random.default_rng(0))
    bound = (6 / (24 + 3 * 24)) ** 0.5  # Xavier's, of the whole (3 E, E)
    assert 0.99 * bound < abs(attend.in_proj_weight.data).max() <= bound
    assert attend.in_proj_weight.dtype == attend.in_proj_bias.dtype == np.float32
    assert not attend.in_proj_bias.data.any() and not attend.out_proj.bias.data.any()


def test_an_empty_batch_goes_through() -> None:
    x = Tensor(np.empty((3, 0, 6)))
    assert layer()(x, x, x).shape == (3, 0, 6)


def test_rotary_scores_depend_on_the_distance_alone_and_an_offset_continues() -> None:
    embed, (q, k) = RotaryEmbedding(4), normal(2, 4)
    turned_q, turned_k = (embed(Tensor(np.tile(x, (6, 1)))).data for x in (q, k))
    scores = turned_q @ turned_k.T
    for i in range(1, 6):
        np.testing.assert_allclose(np.diag(scores, i), scores[0, i], rtol=1e-12)
    np.testing.assert_allclose(embed(Tensor(q[None]), offset=5).data[0], turned_q[5], rtol=1e-12)
    np.testing.assert_allclose(RotaryEmbedding(4)(Tensor(q[None]), offset=5).data[0], turned_q[5], rtol=1e-12)
    assert embed(Tensor(normal(2, 3, 4).astype(np.float32))).dtype == np.float32
