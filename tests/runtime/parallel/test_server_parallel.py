"""Training over a parameter server: the bits of AllReduce, and nobody computes with what has not come yet."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from ringleader.models import build
from ringleader.runtime.autograd import (
    LAMB,
    SGD,
    Adagrad,
    Adam,
    Linear,
    Module,
    Parameter,
    Sequential,
    Tanh,
    Tensor,
    cross_entropy,
)
from ringleader.runtime.comm import Communicator, init, spawn
from ringleader.runtime.comm.compression import make_compressor
from ringleader.runtime.comm.leader import ParameterServer
from ringleader.runtime.parallel import DataParallel, OptimizerRule, ServerParallel

State = dict[str, np.ndarray[Any, Any]]
STEPS, BATCH = 4, 22
OPTIMIZERS = {
    "sgd": (SGD, {"lr": 0.05, "momentum": 0.9, "weight_decay": 1e-3}),
    "adam": (Adam, {"lr": 1e-2}),
    "adagrad": (Adagrad, {"lr": 1e-2}),
}


def batches(workers: int, number: int, shape: tuple[int, ...] = (1, 32, 32)) -> Any:
    """This worker's part of each batch, in float32."""
    rng = np.random.default_rng(7)
    for _ in range(STEPS):
        x, y = rng.standard_normal((BATCH, *shape)).astype(np.float32), rng.integers(0, 10, BATCH)
        mine = np.array_split(np.arange(BATCH), workers)[number]
        yield Tensor(x[mine]), y[mine]


def reduced(world: Communicator, cls: Any, options: Any, first: int) -> State:
    model = build("lenet5", np.random.default_rng(world.rank + first), np.float32)
    parallel, optimizer = DataParallel(model, world, algorithm="leader"), cls(model.parameters(), **options)
    for x, y in batches(world.size, world.rank):
        parallel.zero_grad()
        parallel.backward(cross_entropy(parallel(x), y, reduction="sum") / BATCH)
        optimizer.step()
    return model.state_dict()


def served(
    world: Communicator, cls: Any, options: Any, clip: float | None = None, **of_server: Any
) -> State | None:
    rule = OptimizerRule(cls, **options)
    server = ParameterServer(world, rule=rule, reduction="sum", part_bytes=10_000, **of_server)
    model = build("lenet5", np.random.default_rng(world.rank), np.float32)
    if server.is_worker:
        parallel = ServerParallel(model, server, clip)
        for x, y in batches(len(server.workers), server.workers.index(world.rank)):
            parallel.zero_grad()
            parallel.backward(cross_entropy(parallel(x), y, reduction="sum") / BATCH)
            parallel.step()
        parallel.close()
    server.close()
    return model.state_dict() if server.is_worker else None


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("where", [{"servers": 2}, {"servers": 2, "replicas": 1},
                                   {"servers": 1, "colocated": True}, {"servers": 3, "colocated": True},
                                   {"servers": [0, 1], "mode": "ssp", "staleness": 0}], ids=str)  # fmt: skip
def test_bulk_synchronous_training_has_the_bits_of_allreduce(optimizer: Any, where: dict[str, Any]) -> None:
    n = 3 if "colocated" in where else 5
    found = [
        state for state in spawn(n, lambda world: served(world, *optimizer, **where), timeout=30) if state
    ]
    assert len(found) == 3
    first = 2 if where["servers"] == [0, 1] else 0  # rank of the first worker, whose weights count
    wanted = spawn(3, reduced, *optimizer, first)[0]
    for state in found:
        for name, array in wanted.items():
            np.testing.assert_array_equal(state[name], array, err_msg=name)


def test_a_rule_that_needs_whole_tensors_gets_them() -> None:
    """LAMB's step depends on the norm of a tensor, so a part of it would be updated otherwise."""
    optimizer = LAMB, {"lr": 0.1}
    wanted = spawn(2, reduced, *optimizer, 0)[0]
    found = spawn(3, lambda world: served(world, *optimizer), timeout=30)[0]
    assert max(array.nbytes for array in wanted.values()) > 10_000  # or it would not be split anyway
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@pytest.mark.parametrize("mode", [{"mode": "asp"}, {"mode": "ssp", "staleness": 1}], ids=str)
def test_asynchronous_updates_by_plain_sgd_add_up(mode: dict[str, Any]) -> None:
    """The loss is linear, so no gradient depends on the weights, and the order does not matter: all gradients are in."""

    def one(world: Communicator) -> Any:
        server = ParameterServer(world, rule=OptimizerRule(SGD, lr=0.5), reduction="sum", **mode)
        if server.is_server:
            return server.close()
        layer = Linear(3, 2, generator=np.random.default_rng(0), dtype=np.float64)
        start = layer.state_dict()  # before others can have pushed
        parallel = ServerParallel(layer, server)
        for step in range(3):
            parallel.zero_grad()
            parallel.backward(parallel(Tensor(np.full((1, 3), float(2**step * 10**world.rank)))).sum())
            parallel.step()
        parallel.wait()  # what has been pulled contains what has been pushed
        server.barrier()
        parallel.pull()
        parallel.close()
        server.close()
        return {name: start[name] - array for name, array in layer.state_dict().items()}

    for moved in spawn(4, one, timeout=30)[:3]:
        np.testing.assert_allclose(moved["weight"], np.full((2, 3), 0.5 * 7 * 111), rtol=1e-12)
        np.testing.assert_allclose(moved["bias"], np.full(2, 0.5 * 9), rtol=1e-12)


def alone(model: Module, **options: Any) -> tuple[ServerParallel, ParameterServer]:
    """A world of one, that is worker and server."""
    server = ParameterServer(
        init(single=True), rule=OptimizerRule(SGD, lr=1.0), reduction="sum", colocated=True
    )
    return ServerParallel(model, server, **options), server


def test_a_layer_waits_for_its_own_parameters_only() -> None:
    model = Sequential(
        Linear(2, 3, generator=np.random.default_rng(0)),
        Tanh(),
        Linear(3, 2, generator=np.random.default_rng(1)),
    )
    parallel, server = alone(model)
    waited: list[str] = []
    arrived = parallel._arrived
    parallel._arrived = lambda name: (waited.append(name), arrived(name))  # type: ignore[method-assign, assign, func-returns-value]
    for _ in range(2):
        waited.clear()
        parallel.zero_grad()
        hidden = model[0](Tensor(np.ones((1, 2), np.float32)))
        assert waited == ["0.weight", "0.bias"]
        parallel.backward(model[2](model[1](hidden)).sum())
        assert waited == ["0.weight", "0.bias", "2.weight", "2.bias"]
        parallel.step()
    assert parallel._order == {"0.weight": 0, "0.bias": 1, "2.weight": 2, "2.bias": 3}
    parallel.close()
    server.close()


class Tied(Module):
    """Uses ``inner``'s weight without calling ``inner``."""

    def __init__(self) -> None:
        self.scale = Parameter(np.ones(2))
        self.inner = Linear(2, 2, generator=np.random.default_rng(0), dtype=np.float64)

    def forward(self, x: Tensor) -> Tensor:
        return (x @ self.inner.weight).sum() * self.scale.sum()


def test_parameters_that_are_used_without_their_module_come_before_the_first_layer() -> None:
    model, twin = Tied(), Tied()
    parallel, server = alone(model)
    optimizer = SGD(twin.parameters(), 1.0)
    x = Tensor(np.array([[0.25, 0.5]]))
    for _ in range(3):
        parallel.zero_grad()
        parallel.backward(parallel(x))
        parallel.step()
        optimizer.zero_grad()
        twin(x).backward()
        optimizer.step()
    parallel.close()
    server.close()
    for name in ("scale", "inner.weight", "inner.bias"):
        np.testing.assert_array_equal(model.state_dict()[name], twin.state_dict()[name])


def test_a_parameter_that_comes_after_it_was_used_is_an_error() -> None:
    """In the first forward its module was called, so the second takes it for granted that it will be again."""
    inner = Linear(2, 2, generator=np.random.default_rng(0))
    parallel, server = alone(inner)
    x = Tensor(np.ones((1, 2), np.float32))
    parallel.zero_grad()
    parallel.backward(parallel(x).sum())
    parallel.step()
    parallel.zero_grad()
    early = (inner.weight * inner.weight).sum()  # and who uses it otherwise should wait()
    with pytest.raises(RuntimeError, match="in place"):
        parallel.backward(early + parallel(x).sum())
    server.__exit__(RuntimeError, None, None)


def test_clip_bounds_the_sum_of_all_workers() -> None:
    """Each scales its own gradients down, to 1 / 2 here, and the sum of two is no longer than both."""

    def one(world: Communicator) -> Any:
        server = ParameterServer(world, rule=OptimizerRule(SGD, lr=1.0), reduction="sum")
        if server.is_server:
            return server.close()
        layer = Linear(2, 1, bias=False, generator=np.random.default_rng(0), dtype=np.float64)
        parallel, start = ServerParallel(layer, server, clip=0.5), layer.weight.data.copy()
        parallel.zero_grad()
        parallel.backward(parallel(Tensor(np.array([[3.0, 4.0]]))).sum() * (1.0 if world.rank else 0.01))
        parallel.step()
        parallel.close()
        server.close()
        return start - layer.weight.data

    changed = spawn(3, one, timeout=30)[0]  # the first is short enough: 0.05; the second's 5 becomes 0.5
    np.testing.assert_allclose(np.linalg.norm(changed), 0.55, rtol=1e-6)


def test_an_unused_parameter_gets_a_gradient_of_zero() -> None:
    """As under DataParallel: weight decay still acts on it."""

    class Half(Module):
        def __init__(self) -> None:
            self.used, self.unused = Parameter(np.ones(2)), Parameter(np.ones(2))

        def forward(self) -> Tensor:
            return self.used.sum()

    def one(world: Communicator) -> Any:
        rule = OptimizerRule(SGD, lr=0.5, weight_decay=0.5)
        server = ParameterServer(world, rule=rule, reduction="sum")
        if server.is_server:
            return server.close()
        model = Half()
        parallel = ServerParallel(model, server)
        parallel.zero_grad()
        parallel.backward(parallel())
        parallel.step()
        parallel.close()
        server.close()
        return model.state_dict()

    state = spawn(2, one, timeout=30)[0]
    np.testing.assert_array_equal(state["unused"], [0.75, 0.75])
    np.testing.assert_array_equal(state["used"], [0.25, 0.25])


def test_optimizer_state_is_saved_and_restored() -> None:
    """Three steps at once are the bits of two, a checkpoint, and one more on another number of servers."""

    def go(world: Communicator, state: Any, steps: range, servers: int) -> Any:
        rule = OptimizerRule(Adam, lr=0.1)
        server = ParameterServer(world, servers, rule=rule, reduction="sum", part_bytes=40)
        if server.is_server:
            return server.close()
        w = {"w": np.arange(12.0).reshape(4, 3)}
        server.init(w)
        if state is not None and world.rank == 0:
            server.load_state_dict(state)
        server.barrier()
        for step in steps:
            server.push("w", np.cos(np.arange(12.0) * (step + 1 + world.rank)).reshape(4, 3)).wait()
            server.clock()
            server.pull("w", out=w["w"]).wait()
        server.barrier()
        saved = server.state_dict() if world.rank == 0 else None
        server.close()
        return w["w"], saved

    wanted, whole = spawn(3, go, None, range(3), 1, timeout=30)[0]
    _, saved = spawn(3, go, None, range(2), 1, timeout=30)[0]
    found, _ = spawn(4, go, saved, range(2, 3), 2, timeout=30)[0]
    np.testing.assert_array_equal(found, wanted)
    assert [sorted(part) for part in whole["w"]] == [["exp_avg", "exp_avg_sq", "step", "w"]] * 3


def test_it_needs_parameters() -> None:
    server = ParameterServer(init(single=True), colocated=True)
    with pytest.raises(ValueError, match="Tanh has no parameters"):
        ServerParallel(Tanh(), server)
    server.close()


class Pushed(NamedTuple):
    sent: int
    uncompressed: int
    error: float


def push_random(spec: str | None, steps: int, replicas: int = 0) -> Pushed:
    """Matrices of normal numbers are added up by a server, in parts; how far is what it has, with the workers' residuals,
    from their sum?"""

    def one(world: Communicator) -> Any:
        server = ParameterServer(
            world, 2, rule="add", reduction="sum", part_bytes=40_000, compression=spec, replicas=replicas
        )
        if server.is_server:
            return server.close()
        rng = np.random.default_rng(world.rank)
        server.init({"w": np.zeros((160, 100)), "b": np.zeros(100)})
        total = np.zeros((160, 100))
        for _ in range(steps):
            g = rng.standard_normal((160, 100))
            total += g
            server.push("w", g)
            server.push("b", np.ones(100)).wait()
            server.clock()
        w, b = server.pull("w").wait(), server.pull("b").wait()
        worker = server._worker
        assert worker is not None
        if worker._feedback:
            total -= np.concatenate([worker._feedback[part.number].residual for part in worker.parts["w"]])
        totals, _ = server.sum(total)
        wire = server.stats()["pushed"]
        server.close()
        np.testing.assert_array_equal(b, np.full(100, 2.0 * steps))  # too small to be compressed
        assert w is not None
        return Pushed(wire.sent, wire.uncompressed, float(np.abs(w - totals).max()))

    found = spawn(4, one, timeout=30)
    assert found[0].sent == found[1].sent
    return found[0]


@pytest.mark.parametrize("spec", ["fp16", "bf16", "int8", "sign", "topk:0.25", "randomk:0.25", "powersgd:2"])
def test_compressed_pushes_carry_few_bytes_and_lose_nothing_for_good(spec: str) -> None:
    """However many steps there were, what is missing are the residuals, and they are what the workers say. The parts of
    the matrix (40 rows each, 8 bytes an element) are compressed each for itself."""
    exact = push_random(None, 3)
    assert exact.error < 1e-12 and exact.sent == exact.uncompressed == 3 * 8 * 16_100
    few, many = push_random(spec, 3), push_random(spec, 30)
    parts = [make_compressor(spec, (rows, 100), np.float64, 0).nbytes for rows in (40,) * 4]
    assert few.sent == 3 * (sum(parts) + 800) and few.uncompressed == exact.uncompressed
    assert many.sent == 10 * few.sent
    assert few.error < 1e-12 and many.error < 1e-11


def test_replicas_get_the_same_compressed_pushes() -> None:
    one, two = push_random("int8", 2), push_random("int8", 2, replicas=1)
    assert (two.sent, two.uncompressed, two.error) == (2 * one.sent, 2 * one.uncompressed, one.error)
