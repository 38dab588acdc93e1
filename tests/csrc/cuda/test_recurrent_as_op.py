"""Recurrent kernels in the place of the ops of autograd: everything that those take, with the same results and gradients."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pytest
from helpers.op_cases.recurrent import CASES
from ringleader.csrc.cuda import recurrent
from ringleader.csrc.emulate import EmulatedDevice
from ringleader.runtime.autograd import OPS

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++")


def by_the_op(name: str, options: dict[str, Any], arrays: list[Any], g: Any) -> tuple[Any, tuple[Any, ...]]:
    op = OPS[name]["cpu"](**options)
    op.needs = (True,) * len(arrays)
    op.shape(*(a.shape for a in arrays))
    y = op.forward(*arrays).copy()
    return y, op.backward(g)


def by_kernels(name: str, options: dict[str, Any], arrays: list[Any], g: Any) -> tuple[Any, tuple[Any, ...]]:
    """What the op does around the kernels: products of all steps, rows of a table, biases."""
    cell = f"rnn_{options.get('nonlinearity', 'tanh')}" if name == "rnn" else name
    lengths, reverse, tokens = (options.get(key) for key in ("lengths", "reverse", "tokens"))
    x, *states = arrays[: 3 if name == "lstm" else 2]
    w_ih, w_hh, *biases = (np.ascontiguousarray(a) for a in arrays[1 + len(states) :])
    hidden, (h, c) = w_hh.shape[1], ([np.ascontiguousarray(s) for s in states] + [None])[:2]
    inputs, bias = x @ w_ih.T, None
    if biases:
        inputs += biases[0]
        inner = 2 * hidden if name == "gru" else None  # a GRU's last gate has its second bias within
        inputs[..., :inner] += biases[1][:inner]
        bias = biases[1][inner:] if name == "gru" else None
    rows = inputs if tokens is None else inputs[tokens]
    outputs, last, layer = recurrent.forward(
        EmulatedDevice(), cell, rows, h, c, w_hh, bias, lengths, bool(reverse)
    )
    t = len(outputs)
    grads = recurrent.backward(EmulatedDevice(), layer, np.ascontiguousarray(g[:t]), *g[t:])
    d = grads.inputs
    if tokens is not None:
        d = np.zeros_like(inputs)
        np.add.at(d, tokens, grads.inputs)
    flat = d.reshape(d.size // max(d.shape[-1], 1), d.shape[-1])
    dbias = flat.sum(axis=0)
    inner_dbias = dbias if grads.bias is None else np.concatenate([dbias[: 2 * hidden], grads.bias])
    dstates = [grads.h_first] if grads.c_first is None else [grads.h_first, grads.c_first]
    dw_ih = flat.T @ x.reshape(len(flat), x.shape[-1])
    return np.concatenate([outputs, [*last]]), (
        d @ w_ih,
        *dstates,
        dw_ih,
        grads.weights,
        *[dbias, inner_dbias][: len(biases)],
    )


@pytest.mark.parametrize("number", range(len(CASES)))
def test_the_kernels_can_stand_in_for_the_op(number: int) -> None:
    name, options, arrays = CASES[number]
    states = 2 if name == "lstm" else 1
    shape = (
        *(options["tokens"] if options.get("tokens") is not None else arrays[0]).shape[:2],
        arrays[1].shape[1],
    )
    g = np.random.default_rng(number).standard_normal((shape[0] + states, *shape[1:]))
    (y, dys), (expected, wanted) = by_kernels(name, options, arrays, g), by_the_op(name, options, arrays, g)
    np.testing.assert_allclose(y, expected, rtol=1e-10, atol=1e-12)
    assert len(dys) == len(wanted)
    for got, want in zip(dys, wanted):
        np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-11)
