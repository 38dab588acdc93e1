"""Checkpoints: the same bits with less memory, and hooks that are called when a gradient is complete."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ringleader.runtime.autograd import (
    Adam,
    Linear,
    Module,
    Parameter,
    Sequential,
    Tanh,
    Tensor,
    checkpoint,
    flatten_parameters,
    no_grad,
)
from ringleader.runtime.comm import spawn
from ringleader.runtime.parallel import DataParallel


def block(width: int = 4, seed: int = 0) -> Sequential:
    rng = np.random.default_rng(seed)
    return Sequential(Linear(width, width, generator=rng, dtype=np.float64), Tanh(),
                      Linear(width, width, generator=rng, dtype=np.float64), Tanh())  # fmt: skip


def data(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(3).standard_normal(shape)


def plainly(function: Callable[..., Tensor], *inputs: Any) -> Tensor:
    return function(*inputs)


Run = Callable[..., Tensor]


def gradients(run: Run, x_needs: bool) -> list[Any]:
    """Of a network in three parts, its inputs and a weight that is used in two parts and outside."""
    first, second, third = block(seed=0), block(seed=1), block(seed=2)
    shared = Parameter(data(4, 4))
    x = Tensor(data(5, 4), requires_grad=x_needs)
    h = run(first, x)
    h = run(lambda a, b: second(a @ shared) * b, h, x)
    h = run(lambda a: third(a) @ shared, h)
    out = (h * h).sum() + shared.sum()
    out.backward()
    tensors = [x, shared, *first.parameters(), *second.parameters(), *third.parameters()]
    return [out.data, *[t.grad for t in tensors]]


@pytest.mark.parametrize("x_needs", [False, True])
def test_values_and_gradients_are_those_of_the_plain_run(x_needs: bool) -> None:
    """Bit for bit, except where a weight is used in several checkpoints: its sum has other brackets."""
    for i, (wanted, got) in enumerate(zip(gradients(plainly, x_needs), gradients(checkpoint, x_needs))):
        if wanted is None:
            assert got is None
        elif i == 2:
            np.testing.assert_allclose(got, wanted, rtol=1e-14)
        else:
            np.testing.assert_array_equal(got, wanted)


def test_hooks_are_called_once_when_the_gradient_is_complete() -> None:
    shared, seen = Parameter(data(4, 4)), []
    shared.register_post_accumulate_grad_hook(lambda t: seen.append(t.grad.copy()))  # type: ignore[union-attr]
    h = Tensor(data(2, 4))
    for _ in range(3):
        h = checkpoint(lambda a: (a @ shared).tanh(), h)
    (h.sum() + shared.sum()).backward()
    assert len(seen) == 1
    np.testing.assert_array_equal(seen[0], shared.grad)
    before = shared.grad.copy()  # type: ignore[union-attr]
    checkpoint(lambda: shared * 2).sum().backward()  # adds to what is there; no inputs at all
    np.testing.assert_array_equal(shared.grad, before + 2)


def test_gradients_stay_in_their_storage() -> None:
    weight, storage = Parameter(data(4, 4)), np.zeros((4, 4))
    weight.grad_storage = storage
    checkpoint(lambda a: a @ weight, Tensor(data(2, 4))).sum().backward()
    assert weight.grad is storage and storage.any()


def peak(run: Run) -> int:
    width, batch, x = 64, 512, data(512, 64)
    blocks = [block(width, seed) for seed in range(8)]
    tracemalloc.start()
    try:
        h = Tensor(x)
        for each in blocks:
            h = run(each, h)
        h.sum().backward()
        return tracemalloc.get_traced_memory()[1] // (batch * width * 8)
    finally:
        tracemalloc.stop()


def test_the_peak_of_memory_is_lower() -> None:
    """In arrays of one activation: the plain run keeps more than 16, the other one a block and 8 borders."""
    plain, recomputed = peak(plainly), peak(checkpoint)
    assert recomputed < 0.7 * plain, (plain, recomputed)


class Noise(Module):
    def __init__(self, generator: np.random.Generator) -> None:
        self.generator = generator
        self.register_buffer("seen", np.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.seen += 1  # type: ignore[has-type]
        return x * Tensor(self.generator.random(x.shape))


@pytest.mark.parametrize("named", [False, True])
def test_the_second_run_draws_the_same_numbers_and_changes_no_buffers(named: bool) -> None:
    def run(how: Run) -> tuple[Any, ...]:
        generator = np.random.default_rng(5)
        noise, x = Noise(generator), Tensor(data(3), requires_grad=True)
        h = how(noise, x)
        y = how(noise.forward, h) * Tensor(generator.random(3))
        y.sum().backward()
        return x.grad, generator.random(), noise.seen

    def explicitly(function: Any, x: Tensor) -> Tensor:
        owner = getattr(function, "__self__", function)
        return checkpoint(lambda a: function(a), x, generators=[owner.generator])

    wanted, got = run(plainly), run(explicitly if named else checkpoint)
    for one, two in list(zip(wanted, got))[: 2 if named else 3]:
        np.testing.assert_array_equal(one, two)


def test_nested_and_used_twice_and_inputs_that_are_no_tensors() -> None:
    weight = Parameter(data(4, 4))

    def inner(a: Tensor, power: int, extra: None) -> Tensor:
        assert extra is None
        return (a @ weight).tanh() ** power

    def outer(run: Run) -> Callable[[Tensor], Tensor]:
        return lambda a: run(inner, run(inner, a, 2, None), 3, None)

    results = []
    for run in (plainly, checkpoint):
        weight.zero_grad()
        x = Tensor(data(2, 4), requires_grad=True)
        run(outer(run), x).sum().backward()
        results.append((x.grad, weight.grad))
    for wanted, got in zip(*results):
        np.testing.assert_allclose(got, wanted, rtol=1e-14)


def test_a_tensor_from_outside_that_the_function_closes_over() -> None:
    results = []
    for run in (plainly, checkpoint):
        weight = Parameter(data(4, 4))
        h = weight.tanh()
        (run(lambda a, h=h: a @ h, Tensor(data(2, 4))).sum() + h.sum()).backward()
        results.append(weight.grad)
    np.testing.assert_allclose(results[1], results[0], rtol=1e-14)


def test_a_graph_that_is_kept_can_be_walked_again() -> None:
    layer = block()
    out = checkpoint(layer, Tensor(data(2, 4))).sum()
    out.backward(retain_graph=True)
    once = [p.grad.copy() for p in layer.parameters()]  # type: ignore[union-attr]
    out.backward()
    for p, g in zip(layer.parameters(), once):
        np.testing.assert_array_equal(p.grad, 2 * g)
    with pytest.raises(RuntimeError, match="freed"):
        out.backward()


def test_nothing_to_record_and_functions_that_do_not_fit() -> None:
    layer, x = block(), Tensor(data(2, 4))
    with no_grad():
        assert not checkpoint(layer, x).requires_grad
    assert not checkpoint(lambda a: a * 2, x).requires_grad
    given = Tensor(data(2), requires_grad=True)
    unused = Tensor(data(2), requires_grad=True)
    checkpoint(lambda a, b: a, given, unused).sum().backward()
    np.testing.assert_array_equal(given.grad, 1)
    assert unused.grad is None
    with pytest.raises(TypeError, match="must return a tensor, not tuple"):
        checkpoint(lambda a: (a, a), x)
    one, two = Parameter(data(2)), Parameter(data(2))
    left = [one, two]
    out = checkpoint(lambda: left.pop(0) * 2)
    with pytest.raises(RuntimeError, match="did not use the same tensors"):
        out.sum().backward()
    assert one.grad is None


@pytest.mark.parametrize("bucket_bytes", [0, 1 << 20])
def test_data_parallel_over_checkpoints_and_flat_parameters(bucket_bytes: int) -> None:
    """A layer that two checkpoints use; parameters lie flat, gradients in the buckets."""

    def rank_main(world: Any, run: Run) -> list[Any]:
        model = Sequential(block(seed=0), block(seed=1))
        flatten_parameters(model)
        parallel, optimizer = DataParallel(model, world, bucket_bytes), Adam(model.parameters())
        for step in range(3):
            parallel.zero_grad()
            h = Tensor(data(2, 4) + world.rank + step)
            for part in (model[0], model[1], model[0]):
                h = run(part, h)
            parallel.backward((h * h).sum())
            optimizer.step()
        return [p.data.copy() for p in model.parameters()]

    plain, recomputed = (
        spawn(2, lambda world, how=how: rank_main(world, how)) for how in (plainly, checkpoint)
    )
    for wanted, got, other in zip(plain[0], recomputed[0], recomputed[1]):
        np.testing.assert_allclose(got, wanted, rtol=1e-9)
        np.testing.assert_array_equal(got, other)
