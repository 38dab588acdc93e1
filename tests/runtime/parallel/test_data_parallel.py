"""Data parallelism: n ranks equal one, buckets keep their order, every gradient is accounted for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ringleader.models import build
from ringleader.runtime.autograd import (
    SGD,
    Linear,
    Module,
    Parameter,
    Sequential,
    Tanh,
    Tensor,
    cross_entropy,
    flatten_parameters,
)
from ringleader.runtime.autograd.optim import optimizer as optimizer_module
from ringleader.runtime.comm import spawn
from ringleader.runtime.parallel import DataParallel, broadcast_parameters
from ringleader.runtime.training import Dataset, TrainConfig, make_optimizer, shard, train

# 41 samples in batches of 7: not divisible by 2, 3, 4; every sixth batch has 6, and with 36 the last has 1.
SAMPLES = {"a last batch of 6": 41, "a last batch of 1, smaller than n": 36}


def samples(count: int) -> Dataset:
    rng = np.random.default_rng(7)
    x, y = rng.standard_normal((count, 1, 32, 32)), rng.integers(0, 10, count)
    return Dataset(x, y, x[:5], y[:5])


def weights_after(
    n: int, data: Dataset, config: TrainConfig, seed_of: Any = lambda rank: 0
) -> list[dict[str, Any]]:
    """Every rank's weights and last loss after training on ``n`` ranks."""

    def rank_main(world: Any) -> dict[str, Any]:
        model = build(config.model, np.random.default_rng(seed_of(world.rank)), np.float64)
        metrics = train(model, data, world, make_optimizer(model, config), config)
        assert metrics.steps == 10
        return {**model.state_dict(), "loss": np.array(metrics.loss)}

    return spawn(n, rank_main)


@pytest.mark.parametrize("optimizer", [{"optimizer": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 1e-3},
                                       {"optimizer": "adam", "lr": 1e-3}], ids=["sgd", "adam"])  # fmt: skip
@pytest.mark.parametrize("count", SAMPLES.values(), ids=SAMPLES)
@pytest.mark.parametrize("n", [2, 3, 4])
def test_n_ranks_equal_one(n: int, count: int, optimizer: dict[str, Any]) -> None:
    data = samples(count)
    config = TrainConfig(epochs=2, steps=10, batch_size=7, bucket_bytes=50_000, dtype="float64", **optimizer)
    [wanted] = weights_after(1, data, config)
    ranks = weights_after(n, data, config, seed_of=lambda rank: rank)  # rank 0's weights must win
    for name, array in wanted.items():
        difference = np.abs(ranks[0][name] - array).max() / np.abs(array).max()
        assert difference < 1e-10, name
        for other in ranks[1:]:
            np.testing.assert_array_equal(other[name], ranks[0][name])


@pytest.mark.parametrize("algorithm", ["ring", "recursive-doubling"])
@pytest.mark.parametrize("bucket_bytes", [0, 1 << 30])
def test_gradients_are_those_of_the_whole_batch(bucket_bytes: int, algorithm: str) -> None:
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((5, 4)), rng.integers(0, 3, 5)

    def model() -> Sequential:
        g = np.random.default_rng(0)
        return Sequential(
            Linear(4, 6, generator=g, dtype=np.float64), Tanh(), Linear(6, 3, generator=g, dtype=np.float64)
        )

    whole = model()
    loss = cross_entropy(whole(Tensor(x)), y)
    loss.backward()

    def rank_main(world: Any) -> None:
        mine = model()
        parallel = DataParallel(mine, world, bucket_bytes, algorithm)
        part = shard(np.arange(5), world.rank, world.size)
        for _ in range(2):
            parallel.zero_grad()
            total = parallel.backward(cross_entropy(parallel(Tensor(x[part])), y[part], reduction="sum") / 5)
            assert total == pytest.approx(loss.item(), rel=1e-14)
            for got, wanted in zip(mine.parameters(), whole.parameters(), strict=True):
                np.testing.assert_allclose(got.grad, wanted.grad, rtol=1e-12, atol=1e-14)

    spawn(3, rank_main)


class Forked(Module):
    """Which of its parameters are used, and in which order, depends on the rank."""

    def __init__(self) -> None:
        for name in "abcd":
            setattr(self, name, Parameter(np.full(3, 2.0)))
        self.names = "abcd"

    def forward(self, x: Tensor) -> Tensor:
        for name in self.names:
            x = x * getattr(self, name)
        return x


@pytest.mark.parametrize("bucket_bytes", [0, 48, 1 << 20])
def test_ranks_that_finish_gradients_in_other_orders_or_not_at_all(bucket_bytes: int) -> None:
    def rank_main(world: Any) -> tuple[list[str], dict[str, Any]]:
        model = Forked()
        parallel = DataParallel(model, world, bucket_bytes)
        model.names = ["abcd", "dcba", "ca"][world.rank]
        parallel.backward(parallel(Tensor(np.ones(3))).sum())
        return sorted(parallel.unused_parameters()), {k: p.grad.copy() for k, p in model.named_parameters()}

    results = spawn(3, rank_main)
    assert [unused for unused, _ in results] == [[], [], ["b", "d"]]
    for _, gradients in results:
        for name, wanted in {"a": 8 + 8 + 2, "b": 16, "c": 8 + 8 + 2, "d": 16}.items():
            np.testing.assert_array_equal(gradients[name], np.full(3, wanted))


class Recorder:
    """A rank that writes down when what was started and waited for."""

    rank, transport = 0, "threads"

    def __init__(self, size: int = 2) -> None:
        self.size = size
        self.log: list[str] = []

    def empty(self, shape: Any, dtype: Any) -> Any:
        return np.full(shape, np.nan, dtype)

    def broadcast(self, x: Any, root: int = 0) -> Any:
        return x

    def allreduce(self, x: Any, op: str, algorithm: str, async_op: bool) -> Recorder:
        assert (op, algorithm) == ("sum", "auto")
        self.log.append(f"{'start' if async_op else 'reduce'} {x.size - 1}")
        return self

    def test(self) -> bool:
        return False

    def wait(self) -> None:
        self.log.append("wait")


def test_buckets_start_while_backward_runs_last_layer_first() -> None:
    world: Any = Recorder()
    g = np.random.default_rng(0)
    model = Sequential(*(Linear(i, i + 1, bias=False, generator=g) for i in (2, 3, 4)))
    parallel = DataParallel(model, world, bucket_bytes=0)
    for _, layer in model.named_children():
        layer.weight.register_post_accumulate_grad_hook(lambda p: world.log.append(f"ready {p.size}"))
    parallel.backward(parallel(Tensor(np.ones((1, 2), np.float32))).sum())
    order = ["start 20", "ready 20", "start 12", "ready 12", "ready 6", "reduce 6"]
    assert world.log == [*order, "wait", "wait"]


def test_alone_there_is_nothing_to_reduce() -> None:
    world: Any = Recorder(size=1)
    parallel = DataParallel(Forked(), world, bucket_bytes=0)
    parallel.model.names = "ab"  # type: ignore[assignment]
    for _ in range(2):
        parallel.zero_grad()
        assert parallel.backward(parallel(Tensor(np.ones(3))).sum()) == 12
        assert parallel.unused_parameters() == ["d", "c"]
        gradients = [p.grad[0] for p in parallel.parameters.values()]
        assert gradients == [2, 2, 0, 0]
    assert world.log == []


def test_a_gradient_of_the_step_before_is_not_there_in_the_next() -> None:
    def rank_main(world: Any) -> list[float]:
        model = Forked()
        parallel = DataParallel(model, world)
        seen = []
        for names in ("abcd", "ab", "b"):
            model.names = names
            parallel.zero_grad()
            assert model.a.grad is None  # type: ignore[attr-defined]
            parallel.backward(parallel(Tensor(np.ones(3))).sum())
            seen += [p.grad[0] for p in model.parameters()]
        return seen

    for seen in spawn(2, rank_main):
        assert seen == [16, 16, 16, 16, 4, 4, 0, 0, 0, 2, 0, 0]


def test_an_optimiser_updates_a_bucket_by_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    world: Any = Recorder()
    model = build("lenet5", np.random.default_rng(0))
    before = {name: array.copy() for name, array in model.state_dict().items()}
    optimizer, parallel = SGD(model.parameters(), 0.5), DataParallel(model, world, bucket_bytes=50_000)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    for bucket in parallel.buckets:
        bucket.flat[...] = 1
    sizes: list[int] = []
    monkeypatch.setattr(optimizer_module, "BLOCK", 1 << 20)
    for name in ("kernel", "update"):
        monkeypatch.setattr(SGD, name, staticmethod(lambda w, *_, **__: sizes.append(w.size)))
    optimizer.step()
    assert len(sizes) == len(parallel.buckets) == 3
    assert sum(sizes) == model.num_parameters()


def test_parameters_that_lie_together_stay_where_they_are() -> None:
    model = Forked()
    [(data, _)] = flatten_parameters(model)
    DataParallel(model, Recorder())  # type: ignore[arg-type]
    assert all(np.shares_memory(p.data, data) for p in model.parameters())


def test_where_shared_memory_is_full_buckets_are_ordinary_arrays() -> None:
    class Full(Recorder):
        def empty(self, shape: Any, dtype: Any) -> Any:
            raise MemoryError

    parallel = DataParallel(Forked(), Full(1))  # type: ignore[arg-type]
    parallel.backward(parallel(Tensor(np.ones(3))).sum())
    assert parallel.buckets[0].flat.tolist() == [8.0] * 12 + [48.0]


def test_buckets_hold_one_dtype_and_are_filled_in_reverse() -> None:
    class Mixed(Module):
        def __init__(self) -> None:
            self.a, self.b = Parameter(np.zeros(2)), Parameter(np.zeros((2, 1)))
            self.c, self.d = Parameter(np.zeros(4, np.float32)), Parameter(np.zeros(4, np.float32))

    model, world = Mixed(), Recorder()
    parallel = DataParallel(model, world, bucket_bytes=32)  # type: ignore[arg-type]
    assert [b.names for b in parallel.buckets] == [["d", "c"], ["b", "a"]]
    assert [(b.flat.size, b.flat.dtype) for b in parallel.buckets] == [(9, np.float32), (5, np.float64)]
    for name, parameter in model.named_parameters():
        assert any(np.shares_memory(parameter.grad, b.flat) for b in parallel.buckets if name in b.names)


def test_a_second_backward_before_synchronize_is_refused() -> None:
    model: Any = Forked()
    parallel = DataParallel(model, Recorder())  # type: ignore[arg-type]
    parallel(Tensor(np.ones(3))).sum().backward()
    with pytest.raises(RuntimeError, match=r"gradient of '.' came again before synchronize\(\)"):
        parallel(Tensor(np.ones(3))).sum().backward()


def test_close_gives_the_parameters_back() -> None:
    model: Any = Forked()
    DataParallel(model, Recorder()).close()  # type: ignore[arg-type]
    parallel = DataParallel(model, Recorder())  # type: ignore[arg-type]
    parallel.backward(parallel(Tensor(np.ones(3))).sum())
    np.testing.assert_array_equal(model.a.grad, np.full(3, 8.0))
    parallel.close()
    assert model.a.grad is None and model.a.grad_storage is None


def test_what_data_parallel_refuses() -> None:
    with pytest.raises(ValueError, match="Tanh has no parameters"):
        DataParallel(Tanh(), Recorder())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="bucket_bytes must not be negative, it is -1"):
        DataParallel(Forked(), Recorder(), bucket_bytes=-1)  # type: ignore[arg-type]


def test_weights_of_the_root_reach_all_ranks_in_every_dtype() -> None:
    def rank_main(world: Any) -> list[Any]:
        parameters = [Parameter(np.full((2, 3), world.rank, t)) for t in (np.float32, np.float64, np.float32)]
        parameters.append(Parameter(np.array(float(world.rank))))
        broadcast_parameters(parameters, world, root=1)
        return [(p.dtype, p.data.mean()) for p in parameters]

    for result in spawn(3, rank_main):
        assert result == [(np.float32, 1), (np.float64, 1), (np.float32, 1), (np.float64, 1)]


def test_training_continues_after_a_rank_had_no_samples() -> None:
    def rank_main(world: Any) -> Any:
        layer = Linear(2, 2, generator=np.random.default_rng(0), dtype=np.float64)
        parallel, optimizer = DataParallel(layer, world), SGD(layer.parameters(), lr=0.1)
        for count in (1, 4):
            mine = shard(np.arange(count), world.rank, world.size)
            parallel.zero_grad()
            parallel.backward(
                cross_entropy(parallel(Tensor(np.eye(4, 2)[mine])), mine % 2, reduction="sum") / count
            )
            optimizer.step()
        return layer.weight.data

    one, two = spawn(1, rank_main)[0], spawn(2, rank_main)
    for weights in two:
        np.testing.assert_allclose(weights, one, rtol=1e-14)
