"""Gradient compression: what each code keeps, exact sizes, what error feedback promises, and what is refused."""

from __future__ import annotations

from itertools import combinations
from math import ceil, comb, log2
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from ringleader.runtime.comm.compression import (
    CompressionError,
    ErrorFeedback,
    check_spec,
    make_compressor,
)
from ringleader.runtime.comm.compression.low_rank import PowerSGD
from ringleader.runtime.comm.compression.sparse import Bitmap, EliasFano, RandomK

SPECS = ["fp16", "bf16", "int8", "int8:stochastic", "sign", "topk:0.01", "topk:0.4", "topk:1", "randomk:0.01",
         "randomk:0.4", "powersgd:1", "powersgd:3"]  # fmt: skip
SHAPES = [(), (0,), (1,), (0, 3), (3, 0), (7,), (1025,), (33, 77), (4, 3, 5, 5)]
DTYPES = ["float32", "float64"]
EVERY = pytest.mark.parametrize("spec", SPECS)


def decoded(compressor: Any, payload: Any) -> Any:
    out = np.full(compressor.shape, np.nan, compressor.dtype)
    compressor.decode(payload, out)
    return out


def roundtrip(spec: str, x: Any, seed: int = 0) -> Any:
    """Encoded, and decoded by somebody else."""
    payload = make_compressor(spec, x.shape, x.dtype, seed).encode(x)
    return decoded(make_compressor(spec, x.shape, x.dtype, seed), payload)


# Error feedback


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@EVERY
def test_what_was_sent_and_what_is_left_are_what_was_given(
    spec: str, shape: tuple[int, ...], dtype: str
) -> None:
    rng = np.random.default_rng(1)
    feedback = ErrorFeedback(make_compressor(spec, shape, dtype, seed=3))
    given, sent, bound = (np.zeros(shape, np.longdouble) for _ in range(3))
    half = np.finfo(dtype).eps / 2
    for _ in range(6):
        x = np.asarray(rng.standard_normal(shape), dtype)
        before = feedback.residual.copy()
        payload = feedback.encode(x)
        assert payload.shape == (feedback.compressor.nbytes,) and payload.dtype == np.uint8
        given += x
        sent += decoded(make_compressor(spec, shape, dtype, seed=3), payload)
        bound += half * (np.abs(x + before) + np.abs(feedback.residual))  # of the two roundings of a step
    assert (np.abs(given - sent - feedback.residual) <= 1.001 * bound).all()


@EVERY
def test_feedback_brings_a_constant_gradient_through(spec: str) -> None:
    """The mean of what is sent tends to it: the residual does not grow."""
    x = np.random.default_rng(0).standard_normal((40, 50))
    feedback = ErrorFeedback(make_compressor(spec, x.shape, x.dtype, 1))
    steps = 1000
    for _ in range(steps):
        feedback.encode(x)
    assert np.linalg.norm(feedback.residual) / steps < 0.15 * np.linalg.norm(x)


@EVERY
def test_a_state_goes_on_where_it_was_saved(spec: str) -> None:
    rng = np.random.default_rng(2)
    gradients = rng.standard_normal((6, 20, 30)).astype(np.float32)
    first = ErrorFeedback(make_compressor(spec, (20, 30), "float32", 9))
    for x in gradients[:3]:
        first.encode(x)
    state = {name: array.copy() for name, array in first.state_dict().items()}
    wanted = [first.encode(x).tobytes() for x in gradients[3:]]
    second = ErrorFeedback(make_compressor(spec, (20, 30), "float32", 9))
    second.load_state_dict(state)
    assert [second.encode(x).tobytes() for x in gradients[3:]] == wanted


def test_a_state_of_something_else_is_refused() -> None:
    feedback = ErrorFeedback(make_compressor("powersgd:2", (20, 30), "float32", 0))
    other = ErrorFeedback(make_compressor("powersgd:3", (20, 30), "float32", 0))
    for state in (other.state_dict(), {}, {**feedback.state_dict(), "more": np.zeros(1)}):
        with pytest.raises(CompressionError, match="powersgd:2: a state of"):
            feedback.load_state_dict(state)


# What is refused


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@EVERY
def test_gradients_that_are_not_finite_change_nothing(spec: str, bad: float) -> None:
    rng = np.random.default_rng(0)
    one, two = (ErrorFeedback(make_compressor(spec, (30, 40), "float32", 0)) for _ in range(2))
    x = rng.standard_normal((30, 40)).astype(np.float32)
    one.encode(x), two.encode(x)
    broken = x.copy()
    broken[3, 4] = bad
    for encode in (one.encode, one.compressor.encode):
        with pytest.raises(CompressionError, match="1 of 1200 elements of the gradient are not finite"):
            encode(broken)
    assert one.encode(x).tobytes() == two.encode(x).tobytes()


def test_a_residual_that_makes_it_overflow() -> None:
    feedback = ErrorFeedback(make_compressor("topk:0.5", (2,), "float32", 0))
    feedback.encode(np.array([3e38, 2e38], np.float32))
    with pytest.raises(CompressionError, match="1 of 2 elements"):
        feedback.encode(np.array([0, 3e38], np.float32))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@EVERY
def test_payloads_of_another_length_or_dtype(spec: str, shape: tuple[int, ...]) -> None:
    compressor = make_compressor(spec, shape, "float64", 0)
    payload = compressor.encode(np.ones(shape))
    wrong = [np.append(payload, np.uint8(0)), payload.astype(np.int8), payload.reshape(1, -1)]
    wrong += [payload[:-1]] if payload.size else []
    out = np.full(shape, 5.0)
    for other in wrong:
        with pytest.raises(CompressionError, match=f"has payloads of {compressor.nbytes} bytes"):
            compressor.decode(other, out)
    assert (out == 5).all()


@pytest.mark.parametrize("dtype", DTYPES)
@EVERY
def test_hostile_payloads_are_decoded_to_numbers_or_refused(spec: str, dtype: str) -> None:
    rng = np.random.default_rng(4)
    compressor = make_compressor(spec, (30, 40), dtype, 0)
    good = compressor.encode(rng.standard_normal((30, 40)).astype(dtype))
    messages = []
    for trial in range(300):
        payload = good.copy()
        if trial % 2:
            payload = rng.integers(0, 256, good.size, np.uint8)
        else:
            payload[rng.integers(good.size)] ^= np.uint8(1 << rng.integers(8))
        out = np.full((30, 40), 7, dtype)
        try:
            compressor.decode(payload, out)
        except CompressionError as error:
            messages.append(str(error))
            assert (out == 7).all()
        assert np.isfinite(out).all()
    assert messages and all("the payload" in message for message in messages)


def test_what_does_not_fit() -> None:
    compressor = make_compressor("fp16", (2, 3), "float32", 0)
    with pytest.raises(CompressionError, match=r"x is float64\[2, 3\], but must be float32\[2, 3\]"):
        compressor.encode(np.zeros((2, 3)))
    with pytest.raises(CompressionError, match=r"out is float32\[6\], but must be float32\[2, 3\]"):
        compressor.decode(np.zeros(12, np.uint8), np.zeros(6, np.float32))
    with pytest.raises(CompressionError, match="compresses float32 and float64, not int32"):
        make_compressor("sign", (2,), np.int32, 0)


@pytest.mark.parametrize(("spec", "message"), [
    ("zip", r"unknown compression 'zip'; known: fp16, bf16, int8\[:stochastic\], sign, topk:RATIO"),
    ("", "unknown compression ''; known"), ("sign:2", "'sign:2': sign takes no argument"),
    ("int8:up", "behind int8: must stand stochastic, or nothing"), ("topk", "like topk:0.01"),
    ("topk:0", "above 0 and at most 1"), ("topk:nan", "above 0 and at most 1"), ("randomk:1.1", "like randomk:0.01"),
    ("powersgd:0", "at least 1, like powersgd:4"), ("powersgd:1.5", "like powersgd:4"), ("powersgd:", "like powersgd:4"),
])  # fmt: skip
def test_specs_that_make_no_sense(spec: str, message: str) -> None:
    for check in (check_spec, lambda spec: make_compressor(spec, (1,), "float32", 0)):
        with pytest.raises(ValueError, match=message):
            check(spec)


# Each code


@pytest.mark.parametrize("dtype", DTYPES)
@EVERY
def test_the_largest_numbers_there_are(spec: str, dtype: str) -> None:
    """Cut off where the code's range ends, or refused; never infinite."""
    x = np.full((30, 40), np.finfo(dtype).max, dtype)
    x[::2] *= -1
    compressor = make_compressor(spec, x.shape, dtype, 0)
    if isinstance(compressor, PowerSGD):
        with pytest.raises(CompressionError, match="overflow"):
            compressor.encode(x)
    else:
        y = decoded(compressor, compressor.encode(x))
        assert np.isfinite(y).all() and ((y == 0) | (np.sign(y) == np.sign(x))).all()


def test_payload_sizes() -> None:
    sizes = {
        "fp16": 2050, "bf16": 2050, "int8": 1025 + 4 * 5, "sign": 129 + 4 * 2,
        # 10 values of 4 bytes; 6 low bits each, and a string of 10 + 1024 / 64 bits
        "topk:0.01": 40 + 8 + 4, "topk:0.4": 4 * 410 + 129, "topk:1": 4100 + 129,
        "randomk:0.01": 8 + 40, "powersgd:4": 4100,
    }  # fmt: skip
    for spec, nbytes in sizes.items():
        assert make_compressor(spec, (1025,), "float32", 0).nbytes == nbytes, spec
    assert make_compressor("powersgd:4", (5, 9, 5), "float64", 0).nbytes == 8 * 4 * (5 + 45)
    assert make_compressor("powersgd:4", (5, 2, 5), "float32", 0).nbytes == 4 * 50  # no more than its factors


@pytest.mark.parametrize("dtype", DTYPES)
def test_casts_are_those_of_numpy_and_ml_dtypes(dtype: str) -> None:
    bits = np.arange(0, 1 << 32, 9973, np.uint64).astype(np.uint32)
    x = bits.view(np.float32)
    x = np.concatenate([x[np.isfinite(x)], [0.0, -0.0, 1 + 2**-9, 1 + 2**-8 + 2**-9]]).astype(dtype)
    with np.errstate(over="ignore"):
        for spec, there, most in (
            ("fp16", np.float16, 65504.0), ("bf16", ml_dtypes.bfloat16, float(ml_dtypes.finfo("bfloat16").max)),
        ):  # fmt: skip
            wanted = np.clip(x, -most, most).astype(there).astype(dtype)
            np.testing.assert_array_equal(roundtrip(spec, x), wanted)
            np.testing.assert_array_equal(np.signbit(roundtrip(spec, x)), np.signbit(x))


@pytest.mark.parametrize("addends", [2, 3, 7, 1000, 2048])
def test_sums_of_halves_stay_finite(addends: int) -> None:
    half: Any = make_compressor("fp16", (3,), "float32", 0)
    values = half.project(np.array([3e38, -3e38, 1], np.float32), addends)
    total = values.copy()
    for _ in range(addends - 1):
        total += values
    assert np.isfinite(total).all()
    assert total[0] > 16384 and total[1] < -16384


def test_int8_by_hand() -> None:
    x = np.zeros(300)
    x[:4], x[256:259] = (
        [127, -63.4, 0.5, 1.5],
        [-254, 3, 5],
    )  # blocks of 256, with scales 1 and 2; ties go to even
    y = roundtrip("int8", x)
    assert y[:4].tolist() == [127, -63, 0, 2] and y[256:259].tolist() == [-254, 4, 4]
    assert not y[4:256].any() and not y[259:].any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_int8_is_off_by_at_most_half_a_level_and_a_whole_one_if_drawn(dtype: str) -> None:
    x = np.random.default_rng(0).standard_normal(1000).astype(dtype)
    blocks = np.array_split(np.abs(x), [256, 512, 768])
    scale = np.concatenate([np.full(b.size, b.max() / 127) for b in blocks])
    assert (np.abs(roundtrip("int8", x) - x) <= 0.5001 * scale).all()
    assert (np.abs(roundtrip("int8:stochastic", x) - x) <= 1.0001 * scale).all()


def test_stochastic_rounding_has_the_right_mean_and_is_drawn_anew() -> None:
    x = np.full(256, 0.3)
    x[0] = 127
    compressor = make_compressor("int8:stochastic", x.shape, x.dtype, 5)
    draws = np.array([decoded(compressor, compressor.encode(x))[1:] for _ in range(200)])
    assert set(np.unique(draws)) == {0.0, 1.0}
    assert abs(draws.mean() - 0.3) < 4 * np.sqrt(0.3 * 0.7 / draws.size)
    assert (draws[0] != draws[1]).any()
    assert (roundtrip("int8:stochastic", x, 5) == np.append(127, draws[0])).all()
    assert (roundtrip("int8:stochastic", x, 6) != roundtrip("int8:stochastic", x, 5)).any()


def test_sign_by_hand() -> None:
    x = np.zeros(1027, np.float32)
    x[:4], x[1024:] = [1024, -2048, 512, 512], [3, -6, 0]
    y = roundtrip("sign", x)
    assert y[:5].tolist() == [4, -4, 4, 4, 4] and y[1024:].tolist() == [3, -3, 3]


def test_topk_keeps_the_largest_as_they_are() -> None:
    x = np.array([1, -9, 3, 0, 7, -2, 8, 0.5, -4, 6])
    assert roundtrip("topk:0.3", x).tolist() == [0, -9, 0, 0, 7, 0, 8, 0, 0, 0]
    big = np.random.default_rng(0).standard_normal(100_003)
    y = roundtrip("topk:0.01", big)
    kept = y != 0
    assert kept.sum() == 1000 and (y[kept] == big[kept]).all()
    assert np.abs(big[kept]).min() > np.abs(big[~kept]).max()


@pytest.mark.parametrize("size", range(10))
def test_codes_of_indices_hold_every_choice(size: int) -> None:
    for k in range(size + 1):
        for chosen in combinations(range(size), k):
            for code in (Bitmap(size, k), EliasFano(size, k)):
                payload = code.encode(np.array(chosen, np.int64))
                assert payload.size == code.nbytes
                assert code.decode(payload).tolist() == list(chosen)  # type: ignore[union-attr]


@pytest.mark.parametrize("size", [1000, 4096, 1 << 20, (1 << 20) + 1])
@pytest.mark.parametrize("ratio", [0.0001, 0.001, 0.01, 0.1, 0.3, 0.9])
def test_indices_cost_what_is_promised(size: int, ratio: float) -> None:
    k = max(1, round(size * ratio))
    assert EliasFano(size, k).nbytes <= ceil(k * (2 + log2(size / k)) / 8) + 1
    best = make_compressor(f"topk:{ratio}", (size,), "float32", 0).nbytes - 4 * k
    assert best == min(EliasFano(size, k).nbytes, ceil(size / 8))
    needed = log2(comb(size, k)) if size <= 4096 else 0  # of any code for all choices
    assert 8 * best >= needed - 8


def test_randomk_draws_alike_from_every_stretch_and_anew() -> None:
    one, two = (RandomK("randomk:0.1", (1003,), "float64", 4, 0.1) for _ in range(2))
    x = np.arange(1, 1004.0)
    steps = []
    for _ in range(3):
        steps.append(decoded(two, one.encode(x)))
        indices = np.flatnonzero(steps[-1])
        assert indices.size == 100 and (steps[-1][indices] == x[indices]).all()
        edges = np.arange(101) * 1003 // 100
        assert (np.searchsorted(edges, indices, side="right") == np.arange(1, 101)).all()
    assert (steps[0] != steps[1]).any() and (steps[1] != steps[2]).any()
    other = RandomK("randomk:0.1", (1003,), "float64", 5, 0.1)
    assert (other.draw(0) != one.draw(0)).any()


def test_randomk_gives_every_element_its_turn() -> None:
    code = RandomK("randomk:0.1", (1003,), "float64", 4, 0.1)
    drawn = np.bincount(np.concatenate([code.draw(step) for step in range(400)]), minlength=1003)
    assert drawn.min() > 10 and drawn.max() < 90  # 40 on average, with a standard deviation of 6


def test_payloads_may_come_late_and_twice() -> None:
    for spec in SPECS:
        x = np.random.default_rng(0).standard_normal((3, 20, 30))
        sender, receiver = (make_compressor(spec, (20, 30), "float64", 0) for _ in range(2))
        payloads = [sender.encode(part) for part in x]
        wanted = [decoded(make_compressor(spec, (20, 30), "float64", 0), p) for p in payloads]
        for i in (2, 0, 1, 1, 2):
            assert (decoded(receiver, payloads[i]) == wanted[i]).all()


def test_powersgd_keeps_matrices_of_its_rank() -> None:
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((40, 3)) @ rng.standard_normal((3, 60))).reshape(40, 6, 10)
    np.testing.assert_allclose(roundtrip("powersgd:3", x), x, rtol=0, atol=1e-12)


def test_powersgd_comes_to_the_best_of_its_rank_by_its_warm_start() -> None:
    u, _, vt = np.linalg.svd(np.random.default_rng(0).standard_normal((30, 50)), full_matrices=False)
    s = 0.6 ** np.arange(30)
    x = (u * s) @ vt
    code = make_compressor("powersgd:4", x.shape, x.dtype, 0)
    errors = [np.linalg.norm(decoded(code, code.encode(x)) - x) for _ in range(30)]
    best = np.linalg.norm(s[4:])
    assert errors[0] > 1.01 * best and errors[-1] == pytest.approx(best, rel=1e-6)


def test_powersgd_goes_on_after_a_step_without_a_gradient() -> None:
    x = np.outer(np.arange(30.0), np.arange(20.0))
    code = make_compressor("powersgd:2", x.shape, x.dtype, 0)
    assert not decoded(code, code.encode(np.zeros_like(x))).any()
    code.encode(x)
    np.testing.assert_allclose(decoded(code, code.encode(x)), x, atol=1e-10)


def test_powersgd_of_gradients_whose_products_overflow() -> None:
    code = make_compressor("powersgd:2", (30, 40), "float32", 0)
    with pytest.raises(CompressionError, match="its products overflow; clip the gradients"):
        code.encode(np.full((30, 40), 3e38, np.float32))


@pytest.mark.parametrize("scale", [1e-300, 1e-40, 1e-20, 1e20, 1e36, 1e300])
@pytest.mark.parametrize("dtype", DTYPES)
@EVERY
def test_very_small_and_very_large_gradients(spec: str, dtype: str, scale: float) -> None:
    if (dtype == "float32" and scale > 1e36) or (spec.startswith("powersgd") and scale > 1e30):
        return
    x = (np.random.default_rng(0).standard_normal((30, 40)) * scale).astype(dtype)
    feedback = ErrorFeedback(make_compressor(spec, x.shape, dtype, 0))
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        for _ in range(20):
            y = decoded(feedback.compressor, feedback.encode(x))
            assert np.isfinite(y).all() and np.isfinite(feedback.residual).all()


def test_powersgd_is_of_matrices() -> None:
    code = make_compressor("powersgd:9", (3, 500), "float32", 0)
    assert isinstance(code, PowerSGD) and (code.rank, code.factored) == (3, False)
    assert not PowerSGD("powersgd:1", (5000,), "float32", 0, 1).factored
