"""Compressed gradients in DataParallel: all ranks the same bits, nothing lost, every byte counted, failures told by all."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from ringleader.models import build, configure
from ringleader.runtime.autograd import (
    SGD,
    Linear,
    Module,
    Parameter,
    Sequential,
    Tanh,
    Tensor,
    cross_entropy,
)
from ringleader.runtime.comm import ArgumentError, spawn
from ringleader.runtime.comm.threads import ThreadsTransport
from ringleader.runtime.parallel import DataParallel
from ringleader.runtime.parallel.compressed import Compression
from ringleader.runtime.parallel.exchange import make_exchange
from ringleader.runtime.training import TrainConfig, load, run, shard

from ringleader import cli

SPECS = [
    "fp16",
    "bf16",
    "int8",
    "int8:stochastic",
    "sign",
    "topk:0.05",
    "topk:0.4",
    "randomk:0.1",
    "powersgd:2",
]
EVERY = pytest.mark.parametrize("spec", SPECS)
TWO_STEP = ["bf16", "int8", "sign", "topk:0.05"]


def small(dtype: Any = np.float64) -> Sequential:
    g = np.random.default_rng(0)
    first = Linear(40, 50, generator=g, dtype=dtype)  # 2000 weights: compressed; the second's 150 are not
    return Sequential(first, Tanh(), Linear(50, 3, generator=g, dtype=dtype))


def one_step(parallel: DataParallel, step: int) -> float:
    """A backward on this rank's part of a batch of 7."""
    rng = np.random.default_rng(step)
    x, y = rng.standard_normal((7, 40)), rng.integers(0, 3, 7)
    mine = shard(np.arange(7), parallel.world.rank, parallel.world.size)
    dtype = next(parallel.model.parameters()).dtype
    parallel.zero_grad()
    logits = parallel(Tensor(x[mine].astype(dtype)))
    return parallel.backward(cross_entropy(logits, y[mine], reduction="sum") / 7)


def gradients(model: Module) -> dict[str, Any]:
    return {name: p.grad.copy() for name, p in model.named_parameters()}


@pytest.mark.parametrize("bucket_bytes", [0, 1 << 20])
@pytest.mark.parametrize("n", [2, 3, 5])
@EVERY
def test_all_ranks_end_with_the_same_bits(spec: str, n: int, bucket_bytes: int) -> None:
    def rank_main(world: Any) -> list[Any]:
        parallel = DataParallel(small(np.float32), world, bucket_bytes, compression=spec)
        return [(one_step(parallel, step), gradients(parallel.model)) for step in range(3)]

    first, *others = spawn(n, rank_main)
    for other in others:
        for (loss, mine), (wanted, theirs) in zip(other, first):
            assert loss == wanted
            for name, gradient in mine.items():
                np.testing.assert_array_equal(gradient, theirs[name])


@EVERY
def test_what_is_small_is_summed_as_it_is(spec: str) -> None:
    def rank_main(world: Any, compression: str | None) -> Any:
        parallel = DataParallel(small(), world, compression=compression)
        return one_step(parallel, 0), gradients(parallel.model)

    loss, mine = spawn(2, lambda world: rank_main(world, spec))[0]
    wanted, exact = spawn(2, lambda world: rank_main(world, None))[0]
    assert loss == pytest.approx(wanted, rel=1e-15)
    same = {name for name in exact if (mine[name] == exact[name]).all()}
    assert same == {"0.bias", "2.weight", "2.bias"}


def test_which_tensors_are_compressed() -> None:
    def suits(spec: str, *shape: int, dtype: Any = np.float32) -> bool:
        world: Any = None
        return Compression(spec, world).suits(Parameter(np.zeros(shape, dtype)))

    for spec in SPECS:
        assert suits(spec, 32, 32) and suits(spec, 16, 8, 3, 3, dtype=np.float64)
        assert not suits(spec, 31, 33) and not suits(spec, 4096) and not suits(spec, 64, 64, dtype=np.float16)
    assert not suits("topk:1", 64, 64) and not suits("powersgd:2", 2, 1000) and suits("powersgd:1", 2, 1000)


# Exchanges


def exchanged(spec: str, n: int, x: Any, shape: tuple[int, ...]) -> list[Any]:
    """x (steps, n, size): what each rank has after each step, and what its feedback keeps in the end."""

    def rank_main(world: Any) -> Any:
        flat = np.empty(x.shape[-1], x.dtype)
        exchange, results = make_exchange(spec, 1, world, "auto", flat, {"w": shape}), []
        for step in x:
            flat[...] = step[world.rank]
            exchange.start()
            exchange.test()
            exchange.proceed()
            exchange.finish()
            results.append(flat.copy())
        kept = np.zeros_like(flat)
        for name, feedback in exchange.feedbacks.items():
            if name.startswith("to ") or name == "sum":
                owner = world.rank if name == "sum" else int(name[3:])
                kept[owner * x.shape[-1] // n : (owner + 1) * x.shape[-1] // n] += feedback.residual
            else:
                kept += feedback.residual.reshape(-1)
        return np.array(results), kept

    return spawn(n, rank_main)


@pytest.mark.parametrize("size", [0, 1, 2, 5, 1025])
@pytest.mark.parametrize("n", [2, 3, 7])
@pytest.mark.parametrize("spec", ["fp16", "bf16", "topk:1", "randomk:1"])
def test_whole_numbers_are_summed_exactly(spec: str, n: int, size: int) -> None:
    """Coded by rank and position, and small enough for 8 bits: no shard is lost, doubled or misplaced."""
    x = np.empty((2, n, size), np.float32)
    x[...] = np.arange(n)[:, None] + np.arange(size) % 19
    x[1] *= -1
    for results, kept in exchanged(spec, n, x, (size,)):
        np.testing.assert_array_equal(results, x.sum(axis=1))
        assert not kept.any()


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("spec", [s for s in SPECS if s != "fp16"])
def test_over_all_ranks_nothing_is_lost(spec: str, n: int) -> None:
    """The sum of all results, and of what all ranks keep, is the sum of all gradients. (fp16 is summed in 16 bits.)"""
    steps, shape = 5, (37, 41)
    x = np.random.default_rng(0).standard_normal((steps, n, 37 * 41))
    ranks = exchanged(spec, n, x, shape)
    total = ranks[0][0].sum(axis=0) + sum(kept for _, kept in ranks)
    # each step rounds a handful of numbers of this size, on each rank
    size = max(np.abs(results).max() for results, _ in ranks) + np.abs(x).max() * steps
    np.testing.assert_allclose(total, x.sum(axis=(0, 1)), rtol=0, atol=10 * steps * n * size * 2**-53)
    assert np.abs(sum(kept for _, kept in ranks)).max() > 1e-4  # there is something to keep


def test_the_gradient_of_a_fp16_sum_is_the_sum_of_the_rounded_ones() -> None:
    x = np.random.default_rng(0).standard_normal((1, 2, 99)).astype(np.float32)
    for results, _ in exchanged("fp16", 2, x, (99,)):
        np.testing.assert_array_equal(results[0], x[0].astype(np.float16).sum(axis=0))


def test_powersgd_over_ranks_is_powersgd_of_the_sum() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 20 * 30))
    results = exchanged("powersgd:3", 3, x, (20, 30))[0][0]
    alone = exchanged("powersgd:3", 1, x.sum(axis=1, keepdims=True), (20, 30))[0][0]
    np.testing.assert_allclose(results, alone, atol=1e-12)


# Bytes


class Counting:
    """Counts what the threads of this process send to one another, but for messages of no bytes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sent: Counter[int] = Counter()
        send = ThreadsTransport._isend

        def isend(transport: Any, view: Any, peer: int, channel: Any) -> Any:
            self.sent[transport.rank] += view.size
            return send(transport, view, peer, channel)

        monkeypatch.setattr(ThreadsTransport, "_isend", isend)


@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize("bucket_bytes", [0, 1 << 20])
@EVERY
def test_every_byte_is_counted(spec: str, bucket_bytes: int, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    counting = Counting(monkeypatch)

    def rank_main(world: Any) -> Any:
        found = []
        for compression in (spec, None):
            parallel = DataParallel(small(), world, bucket_bytes, compression=compression)
            before = counting.sent[world.rank]
            for step in range(3):
                one_step(parallel, step)
            found.append((counting.sent[world.rank] - before, parallel.wire))
            parallel.close()
        return found

    for (sent, wire), (uncompressed, nothing) in spawn(n, rank_main):
        assert (wire.sent, wire.uncompressed) == (sent, uncompressed)
        assert nothing is None and wire.ratio == uncompressed / sent > 1.4


def test_two_steps_send_what_a_ring_would_of_the_payloads() -> None:
    """2 (n - 1) / n of all shards' payloads, not n - 1 times all."""

    def rank_main(world: Any) -> int:
        x = np.zeros(4 * 1024)
        return make_exchange("int8", 0, world, "auto", x, {"w": x.shape}).sent

    assert spawn(4, rank_main) == [2 * 3 * (1024 + 4 * 4)] * 4


# The order of calls


class Recorder:
    """A rank of two that writes down when what is started and waited for."""

    rank, size, transport = 0, 2, "threads"

    def __init__(self, real: Any, log: list[str]) -> None:
        self.real, self.log = real, log

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def alltoall(self, x: Any, **options: Any) -> Any:
        assert options["async_op"]
        self.log.append("alltoall")
        return self.real.alltoall(x, **options)

    def allgather(self, x: Any, **options: Any) -> Any:
        self.log.append("allgather")
        return self.real.allgather(x, **options)


def test_shards_travel_while_backward_runs() -> None:
    def rank_main(world: Any) -> list[str]:
        log: list[str] = []
        g = np.random.default_rng(0)
        model = Sequential(*(Linear(i, i + 1, bias=False, generator=g) for i in (40, 41, 42)))
        mine: Any = Recorder(world, log)
        mine.rank = world.rank
        parallel = DataParallel(model, mine, bucket_bytes=0, compression="sign")
        for _, layer in model.named_children():
            layer.weight.register_post_accumulate_grad_hook(lambda p: log.append(f"ready {len(p)}"))
        parallel.backward(parallel(Tensor(np.ones((1, 40), np.float32))).sum())
        return log

    order = ["alltoall", "ready 43", "alltoall", "ready 42", "ready 41", "alltoall", *3 * ["allgather"]]
    assert spawn(2, rank_main) == [order] * 2


def test_alone_nothing_is_compressed() -> None:
    def rank_main(world: Any) -> Any:
        parallel = DataParallel(small(), world, compression="sign")
        one_step(parallel, 0)
        exact = DataParallel(small(), world)
        one_step(exact, 0)
        assert (parallel.wire.sent, parallel.wire.uncompressed, parallel.wire.ratio) == (0, 0, 1)  # type: ignore[union-attr]
        for name, gradient in gradients(parallel.model).items():
            np.testing.assert_array_equal(gradient, gradients(exact.model)[name])

    spawn(1, rank_main)


# Failures and checkpoints


@EVERY
def test_a_gradient_that_is_not_finite_is_the_same_error_on_every_rank(spec: str) -> None:
    def rank_main(world: Any) -> str:
        model = small()
        parallel = DataParallel(model, world, compression=spec)
        x = np.full((1, 40), np.nan if world.rank == 1 else 1.0)
        with pytest.raises(ArgumentError) as caught:
            parallel.backward(parallel(Tensor(x)).sum())
        return str(caught.value)

    messages = spawn(3, rank_main, timeout=20)
    assert len(set(messages)) == 1
    for part in ("rank 1", f"{spec}: ", "elements of the gradient are not finite", "(in 0.weight)"):
        assert part in messages[0]


@pytest.mark.parametrize("spec", TWO_STEP[1:])
def test_a_sum_that_overflows_is_the_same_error_on_every_rank(spec: str) -> None:
    def rank_main(world: Any) -> str:
        x = np.full(3000, 3e38, np.float32)
        exchange = make_exchange(spec, 0, world, "auto", x, {"w": (50, 60)})
        exchange.start()
        with pytest.raises(
            ArgumentError, match=r"elements of the gradient are not finite.*\(in w\)"
        ) as caught:
            exchange.proceed()
        return str(caught.value)

    messages = spawn(3, rank_main, timeout=20)
    assert len(set(messages)) == 1 and "ranks 0, 1, 2" in messages[0]


def test_powersgd_whose_products_overflow_fails_on_every_rank() -> None:
    def rank_main(world: Any) -> None:
        x = np.full(3000, 3e38 if world.rank else 0, np.float32)
        exchange = make_exchange("powersgd:2", 0, world, "auto", x, {"w": (50, 60)})
        exchange.start()
        with pytest.raises(ValueError, match="its products overflow; clip the gradients"):
            exchange.proceed()

    spawn(2, rank_main, timeout=20)


@EVERY
def test_a_checkpoint_goes_on_bit_for_bit(spec: str) -> None:
    def rank_main(world: Any) -> None:
        def started() -> tuple[DataParallel, SGD]:
            model = small()
            return DataParallel(model, world, compression=spec), SGD(model.parameters(), 0.1)

        def train(parallel: DataParallel, optimizer: SGD, steps: range) -> None:
            for step in steps:
                one_step(parallel, step)
                optimizer.step()

        parallel, optimizer = started()
        train(parallel, optimizer, range(3))
        model = {name: array.copy() for name, array in parallel.model.state_dict().items()}
        state = {name: array.copy() for name, array in parallel.compression.state_dict().items()}  # type: ignore[union-attr]
        train(parallel, optimizer, range(3, 6))
        wanted = parallel.model.state_dict()

        other, optimizer = started()
        other.model.load_state_dict(model)
        other.compression.load_state_dict(state)  # type: ignore[union-attr]
        train(other, optimizer, range(3, 6))
        for name, array in other.model.state_dict().items():
            np.testing.assert_array_equal(array, wanted[name])
        with pytest.raises(ValueError, match="the state is of another model or number of ranks"):
            other.compression.load_state_dict({})  # type: ignore[union-attr]

    spawn(2, rank_main)


def test_unknown_schemes_are_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    known = r"known: fp16, bf16, int8\[:stochastic\], sign, topk:RATIO, randomk:RATIO, powersgd:RANK"
    with pytest.raises(ValueError, match=known):
        TrainConfig(compression="zip")
    with pytest.raises(ValueError, match=known):
        spawn(1, lambda world: DataParallel(small(), world, compression="zip"))
    for options, message in (
        (["-n", "2", "--compression", "topk"], "behind topk: must stand the share"),
        (["--compression", "sign"], "one rank sends no gradients"),
    ):
        with pytest.raises(SystemExit, match="2"):
            cli.main(["train", "lenet5", *options])
        assert message in capsys.readouterr().err


# Quality, quickly; ringleader.bench.compression has the rest


def scores(config: TrainConfig) -> dict[str, float]:
    data = load(config)

    def rank_main(world: Any) -> dict[str, float]:
        model = build(
            config.model, np.random.default_rng(config.seed), config.dtype, data.description, **config.sizes
        )
        return dict(run(config, model, world, data).scores)

    return spawn(2, rank_main)[0]


def test_lenet5_learns_as_well() -> None:
    settings = {"epochs": 5, "schedule": "cosine"}
    exact = scores(configure("lenet5", **settings))["accuracy"]
    assert exact > 0.96
    for spec in ("sign", "topk:0.05"):
        assert scores(configure("lenet5", **settings, compression=spec))["accuracy"] > exact - 0.02


def test_an_lstm_learns_as_well() -> None:
    settings = {"data": "adding:10", "memory": 10, "width": 24, "lr": 0.02, "batch_size": 32, "steps": 400}
    exact = scores(configure("lstm", **settings))["loss"]
    assert exact < 0.002  # 0.1667 without having learnt anything
    for spec in ("int8", "powersgd:2"):
        assert scores(configure("lstm", **settings, compression=spec))["loss"] < exact + 0.005


SCRIPT = """
import numpy as np, ringleader as rl
from ringleader.models import build
from ringleader.runtime.autograd import SGD, Tensor, cross_entropy
from ringleader.runtime.parallel import DataParallel

world = rl.init(timeout=30)
rng = np.random.default_rng(world.rank)
for spec in {specs}:
    model = build("lenet5", np.random.default_rng(0))
    parallel, optimizer = DataParallel(model, world, 50_000, compression=spec), SGD(model.parameters(), 0.1)
    for _ in range(3):
        x, y = rng.standard_normal((2, 1, 32, 32)).astype(np.float32), rng.integers(0, 10, 2)
        parallel.zero_grad()
        parallel.backward(cross_entropy(parallel(Tensor(x)), y, reduction="sum") / (2 * world.size))
        optimizer.step()
    weights = np.concatenate([p.data.reshape(-1) for p in model.parameters()])
    first = world.broadcast(weights.copy())
    assert np.isfinite(weights).all() and (weights == first).all(), spec
    assert parallel.wire.ratio > 1.2, (spec, parallel.wire)
    parallel.close()
print("same bits", flush=True)
"""


@pytest.mark.parametrize(("n", "environment"), [
    (2, {}), (3, {}), (3, {"RINGLEADER_TRANSPORT": "mpi"}), (4, {"RINGLEADER_NODES": "2"}),
])  # fmt: skip
def test_the_same_bits_under_mpirun(n: int, environment: dict[str, str], mpi_job: Any) -> None:
    done = mpi_job(n, "-c", SCRIPT.format(specs=SPECS), **environment)
    assert (done.returncode, done.stdout.count("same bits")) == (0, n), done.stdout[-3000:]


def test_the_command_says_what_was_sent(mpi_job: Any) -> None:
    done = mpi_job(2, "-m", "ringleader", "train", "lenet5", "--steps", "10", "--compression", "topk:0.01")
    assert done.returncode == 0, done.stdout[-3000:]
    assert "sent by one rank for gradients: 79,720 bytes, 31.0 times fewer than 2,468,280" in done.stdout
