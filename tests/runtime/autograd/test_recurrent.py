"""Recurrent networks against a loop over one sequence at a time, which knows of no padding and no packing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers.op_cases.draw import Array, normal
from helpers.op_cases.recurrent import arrays
from hypothesis import given, settings
from hypothesis import strategies as st
from ringleader.runtime.autograd import (
    GRU,
    LSTM,
    RNN,
    ShapeError,
    Tensor,
    apply,
    embedding,
    gradcheck,
    gru,
    lstm,
    rnn,
)


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def step(name: str, x: Array, states: list[Array], weights: list[Array]) -> list[Array]:
    """The states after one step, from the formulas. x (I,), states (H,)."""
    w_ih, w_hh, b_ih, b_hh = weights
    h, from_x, from_h = states[0], w_ih @ x + b_ih, w_hh @ states[0] + b_hh
    if name == "rnn":
        return [np.tanh(from_x + from_h)]
    if name == "gru":
        (xr, xz, xn), (hr, hz, hn) = np.split(from_x, 3), np.split(from_h, 3)
        z = sigmoid(xz + hz)
        return [(1 - z) * np.tanh(xn + sigmoid(xr + hr) * hn) + z * h]
    i, f, g, o = np.split(from_x + from_h, 4)
    c = sigmoid(f) * states[1] + sigmoid(i) * np.tanh(g)
    return [sigmoid(o) * np.tanh(c), c]


def plain(name: str, inputs: list[Array], lengths: Array, reverse: bool) -> Array:
    """(T + states, N, H), as the op gives it."""
    x, *states, w_ih, w_hh, b_ih, b_hh = inputs
    y = np.zeros((len(x) + len(states), x.shape[1], w_hh.shape[1]))
    for n, length in enumerate(lengths):
        now = [state[n] for state in states]
        for t in reversed(range(length)) if reverse else range(length):
            now = step(name, x[t, n], now, [w_ih, w_hh, b_ih, b_hh])
            y[t, n] = now[0]
        y[len(x) :, n] = now
    return y


SIZES = {"t": st.integers(1, 4), "n": st.integers(0, 4), "i": st.integers(1, 4), "h": st.integers(1, 4)}


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(["rnn", "lstm", "gru"]), data=st.data(), reverse=st.booleans(), **SIZES)
def test_every_sequence_is_as_if_alone(
    name: str, data: st.DataObject, reverse: bool, t: int, n: int, i: int, h: int
) -> None:
    inputs = arrays(name, t, n, i, h)
    drawn = data.draw(st.none() | st.lists(st.integers(0, t), min_size=n, max_size=n))
    lengths = None if drawn is None else np.array(drawn, int)
    options = {"lengths": lengths, "reverse": reverse}
    y = apply(name, *(Tensor(a) for a in inputs), **options).data
    wanted = plain(name, inputs, np.full(n, t) if lengths is None else lengths, reverse)
    np.testing.assert_allclose(y, wanted, rtol=1e-12, atol=1e-14)
    gradcheck(lambda *tensors: apply(name, *tensors, **options), *inputs)


def test_what_is_behind_the_end_of_a_sequence_does_not_matter() -> None:
    inputs, lengths = arrays("lstm", 4, 3, 2, 2), np.array([2, 4, 1])
    padded = [inputs[0].copy(), *inputs[1:]]
    for n, length in enumerate(lengths):
        padded[0][length:, n] = np.nan
    tensors = [Tensor(a, requires_grad=True) for a in padded]
    y = apply("lstm", *tensors, lengths=lengths)
    np.testing.assert_array_equal(y.data, apply("lstm", *(Tensor(a) for a in inputs), lengths=lengths).data)
    y.backward(np.ones(y.shape))
    assert all(np.isfinite(t.grad).all() for t in tensors)
    assert (tensors[0].grad[2:, 0] == 0).all()


def test_backward_twice_through_a_kept_graph_gives_twice_the_gradient() -> None:
    for name in ("rnn", "lstm", "gru"):
        tensors = [Tensor(a, requires_grad=True) for a in arrays(name, 3, 2, 2, 2)]
        y = apply(name, *tensors, lengths=np.array([3, 2]))
        y.backward(np.ones(y.shape), retain_graph=True)
        once = [t.grad.copy() for t in tensors]
        y.backward(np.ones(y.shape))
        for tensor, grad in zip(tensors, once):
            np.testing.assert_allclose(tensor.grad, 2 * grad, rtol=1e-13)


def test_only_what_needs_a_gradient_gets_one() -> None:
    inputs = arrays("gru", 3, 2, 2, 2)
    for wanted in range(len(inputs)):
        tensors = [Tensor(a, requires_grad=i == wanted) for i, a in enumerate(inputs)]
        apply("gru", *tensors).sum().backward()
        assert [t.grad is not None for t in tensors] == [i == wanted for i in range(len(inputs))]


def layer(kind: Any, **options: Any) -> Any:
    return kind(3, 2, **options, generator=np.random.default_rng(0), dtype=np.float64)


@pytest.mark.parametrize("kind", [RNN, LSTM, GRU])
def test_a_sequence_step_by_step_is_the_sequence_at_once(kind: Any) -> None:
    network, x = layer(kind, num_layers=2), normal(4, 2, 3)
    whole, last = network(Tensor(x))
    hx, outputs = None, []
    for t in range(4):
        output, hx = network(Tensor(x[t : t + 1]), hx)
        outputs.append(output.data)
    np.testing.assert_allclose(np.concatenate(outputs), whole.data, rtol=1e-13)
    for one, other in zip(hx, last) if kind is LSTM else [(hx, last)]:
        np.testing.assert_allclose(one.data, other.data, rtol=1e-13)


def test_dropout_is_between_the_layers_in_training_only() -> None:
    x = Tensor(normal(4, 2, 3))
    for layers in (1, 2):
        network = layer(GRU, num_layers=layers, dropout=0.5)
        whole = layer(GRU, num_layers=layers)(x)[0].data
        assert (network(x)[0].data == whole).all() == (layers == 1)
        np.testing.assert_array_equal(network.eval()(x)[0].data, whole)


def test_names_shapes_and_first_weights_are_as_pytorch_has_them() -> None:
    shapes = {name: p.shape for name, p in layer(LSTM, num_layers=2, bidirectional=True).named_parameters()}
    assert list(shapes)[:5] == [
        "weight_ih_l0",
        "weight_hh_l0",
        "bias_ih_l0",
        "bias_hh_l0",
        "weight_ih_l0_reverse",
    ]
    assert (shapes["weight_ih_l0"], shapes["weight_ih_l1_reverse"], shapes["bias_hh_l1"]) == (
        (8, 3),
        (8, 4),
        (8,),
    )
    assert len(shapes) == 16 and len(layer(GRU, bias=False).state_dict()) == 2
    weights = np.concatenate(
        [p.data.ravel() for p in RNN(30, 25, generator=np.random.default_rng(0)).parameters()]
    )
    assert 0.19 < abs(weights).max() <= 0.2 and weights.dtype == np.float32


X, H, W = Tensor(normal(3, 2, 4)), Tensor(normal(2, 1)), [Tensor(normal(1, 4)), Tensor(normal(1, 1))]
REFUSED = [
    (lambda: rnn(X, H, W[1], W[1]), ShapeError, r"rnn: shapes \(1, 1\) and \(1, 1\): w_ih must be \(1 H, 4\)"),
    (lambda: gru(X, H, *W), ShapeError, "3 H"),
    (lambda: lstm(X, H, Tensor(normal(2, 2)), Tensor(normal(4, 4)), Tensor(normal(4, 1))), ShapeError,
     r"state must be \(2, 1\)"),
    (lambda: rnn(X, H, *W, Tensor(normal(1))), ShapeError, "or none"),
    (lambda: rnn(X, H, *W, Tensor(normal(1)), Tensor(normal(2))), ShapeError, "or none"),
    (lambda: rnn(H, H, *W), ShapeError, r"input must be \(T, N, I\)"),
    (lambda: rnn(X, H, *W, lengths=[1, 2, 3]), ShapeError, r"lengths must be \(2,\)"),
    (lambda: rnn(X, H, *W, lengths=[1, 4]), ValueError, r"length 4 is not one of 0\.\.3"),
    (lambda: rnn(X, H, *W, lengths=[-1, 1]), ValueError, "length -1"),
    (lambda: rnn(X, H, *W, lengths=[1.0, 2.0]), TypeError, "integers, not float64"),
    (lambda: rnn(X, H, *W, nonlinearity="sigmoid"), ValueError, "'sigmoid'; known: tanh, relu"),
    (lambda: layer(RNN, nonlinearity="sigmoid"), ValueError, "'sigmoid'; known: tanh, relu"),
    (lambda: layer(LSTM, num_layers=0), ValueError, "num_layers 0"),
    (lambda: layer(LSTM, dropout=2), ValueError, r"in 0\.\.1, it is 2"),
    (lambda: layer(GRU)(Tensor(normal(3, 3))), ShapeError, "GRU: .* 3 axes"),
    (lambda: layer(GRU)(Tensor(normal(4, 2, 3)), Tensor(normal(2, 2))), ShapeError, r"not \(1, 2, 2\)"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), REFUSED, ids=[m for _, _, m in REFUSED])
def test_what_is_refused(call: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("rows", [3, 50])  # 20 tokens: a table that is projected whole, and one that is not
@pytest.mark.parametrize("kind", [RNN, LSTM, GRU])
def test_a_table_and_tokens_are_an_embedding_and_the_layer(kind: Any, rows: int) -> None:
    options: dict[str, Any] = {
        "num_layers": 2,
        "bidirectional": True,
        "batch_first": True,
        "dtype": np.float64,
    }
    net = kind(4, 3, generator=np.random.default_rng(0), **options)
    table, tokens = Tensor(normal(rows, 4), requires_grad=True), np.arange(20).reshape(4, 5) * 7 % rows
    lengths, weights, found = [5, 0, 2, 3], normal(4, 5, 6), []
    for embedded in (False, True):
        table.grad = None
        net.zero_grad()
        x = embedding(tokens, table) if embedded else table
        output, state = net(x, lengths=lengths, tokens=None if embedded else tokens)
        h = state[0] if kind is LSTM else state
        ((output * Tensor(weights)).sum() + (h * h).sum()).backward()
        found.append([output.data, h.data, table.grad, *(p.grad for p in net.parameters())])
    for folded, plain in zip(*found):
        np.testing.assert_allclose(folded, plain, rtol=1e-12, atol=1e-12)


def test_tokens_that_are_refused() -> None:
    net = LSTM(4, 3, generator=np.random.default_rng(0))
    table = Tensor(np.zeros((5, 4), np.float32))
    for tokens, error, message in [
        (np.full((2, 3), 5), IndexError, r"lstm: index 5 is not one of the 5 rows 0\.\.4"),
        (np.full((2, 3), 0.5), TypeError, "lstm: indices must be integers, not float64"),
        (np.zeros(9, int), ShapeError, r"LSTM: shape \(9,\): tokens must have 2 axes"),
    ]:
        with pytest.raises(error, match=message):
            net(table, tokens=tokens)
    with pytest.raises(ShapeError, match=r"lstm: shapes? .*the table must be \(V, I\)"):
        net(Tensor(np.zeros((2, 3, 4), np.float32)), tokens=np.zeros((2, 3), int))
