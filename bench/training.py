"""One training step beside PyTorch's on the CPU: ``python -m ringleader.bench.training``, or on several ranks, where
ours is DataParallel and PyTorch's is DDP over Gloo: ``mpirun -n 2 python -m ringleader.bench.training``.

The same networks from the same parameters on the same data with the same optimiser, in the same processes and with
the same number of threads (one a rank; alone OMP_NUM_THREADS, else all cores). The two are timed in turn, and their
order swaps from repeat to repeat, so that noise of the machine hits both alike. A step is zero_grad, forward, loss,
backward with the gradients averaged, and the optimiser; shown are medians over the repeats of the slowest rank's time,
PyTorch's over ours (above 1 we are faster; the median of the repeats' ratios, the least and the largest), and how far
the two losses are apart after the same steps.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from ringleader.bench import torch_models
from ringleader.models.lenet5 import LeNet5
from ringleader.models.recurrent import RecurrentLM
from ringleader.models.transformer import Transformer
from ringleader.runtime.autograd import SGD, Adam, Module, Tensor, cross_entropy
from ringleader.runtime.comm import Communicator, init
from ringleader.runtime.parallel import DataParallel
from threadpoolctl import threadpool_limits
from torch.nn.parallel import DistributedDataParallel

REPEATS, BUDGET, CHECKED = (
    15,
    0.2,
    5,
)  # seconds that a measurement should last; steps after which losses are compared
VOCABULARY = 65

Step = Callable[[], float]


def pictures(rng: np.random.Generator) -> tuple[Any, Any]:
    return rng.standard_normal((64, 1, 32, 32)).astype(np.float32), rng.integers(10, size=64)


def sequences(batch: int, length: int) -> Callable[[np.random.Generator], tuple[Any, Any]]:
    def draw(rng: np.random.Generator) -> tuple[Any, Any]:
        x = rng.integers(VOCABULARY, size=(batch, length + 1))
        return x[:, :-1].copy(), x[:, 1:].ravel()

    return draw


Draw = Callable[[np.random.Generator], tuple[Any, Any]]
Case = tuple[Callable[[np.random.Generator], Module], Callable[[], torch.nn.Module], str, Draw]
CASES: dict[str, Case] = {
    "LeNet-5, batch 64": (LeNet5, torch_models.LeNet5, "sgd", pictures),
    "LSTM, d 256, T 64, batch 32": (
        lambda g: RecurrentLM("lstm", VOCABULARY, 256, 256, generator=g),
        lambda: torch_models.RecurrentLM("lstm", VOCABULARY, 256, 256), "adam", sequences(32, 64),
    ),
    "GRU, d 256, T 64, batch 32": (
        lambda g: RecurrentLM("gru", VOCABULARY, 256, 256, generator=g),
        lambda: torch_models.RecurrentLM("gru", VOCABULARY, 256, 256), "adam", sequences(32, 64),
    ),
    "Transformer, 2 layers, d 128, T 128, batch 8": (
        lambda g: Transformer(VOCABULARY, 128, 2, 4, 128, generator=g),
        lambda: torch_models.Transformer(VOCABULARY, 128, 2, 4, 128), "adam", sequences(8, 128),
    ),
}  # fmt: skip


def our_step(model: Module, kind: str, data: tuple[Any, Any], world: Communicator) -> Step:
    x, target = data
    given = Tensor(x) if x.dtype.kind == "f" else x
    optimizer = SGD(model.parameters(), 0.01, 0.9) if kind == "sgd" else Adam(model.parameters(), 1e-3)
    parallel = DataParallel(model, world)
    count = len(target) * world.size

    def step() -> float:
        parallel.zero_grad()
        out = parallel(given)
        loss = cross_entropy(out.reshape(-1, out.shape[-1]), target, reduction="sum") / count
        mean = parallel.backward(loss)
        optimizer.step()
        return mean

    return step


def torch_step(model: torch.nn.Module, kind: str, data: tuple[Any, Any], several: bool) -> Step:
    x, target = (torch.from_numpy(part) for part in data)
    parameters = list(model.parameters())
    optimizer = (
        torch.optim.SGD(parameters, 0.01, 0.9) if kind == "sgd" else torch.optim.Adam(parameters, 1e-3)
    )
    net = DistributedDataParallel(model) if several else model

    def step() -> float:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(net(x), target)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step


def compare(case: Case, world: Communicator) -> tuple[list[float], list[float], float]:
    """Seconds of a step in every repeat, ours and PyTorch's; and how far the losses were apart."""
    ours, theirs, kind, draw = case
    model, peer = ours(np.random.default_rng(1)), theirs()
    peer.load_state_dict({name: torch.from_numpy(array) for name, array in model.state_dict().items()})
    data = draw(np.random.default_rng(100 + world.rank))
    steps = [our_step(model, kind, data, world), torch_step(peer, kind, data, world.size > 1)]
    losses = np.array([[step() for _ in range(CHECKED)] for step in steps])
    world.allreduce(losses[1:], "mean")  # ours is the mean over the ranks already
    apart = float(np.abs(losses[0] - losses[1]).max())
    iterations = max(1, int(BUDGET / measure(steps[1], 2, world)))
    times: list[list[float]] = [[], []]
    for repeat in range(REPEATS):
        for which in (0, 1) if repeat % 2 else (1, 0):
            times[which].append(measure(steps[which], iterations, world))
    return times[0], times[1], apart


def measure(step: Step, iterations: int, world: Communicator) -> float:
    """Seconds a step, on the slowest rank."""
    world.barrier()
    start = time.perf_counter()
    for _ in range(iterations):
        step()
    elapsed = np.array((time.perf_counter() - start) / iterations)
    return float(world.allreduce(elapsed, "max"))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0], allow_abbrev=False)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    only = parser.parse_args().only
    world = init()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = 1 if world.size > 1 else int(os.environ.get("OMP_NUM_THREADS", cores))
    torch.set_num_threads(threads)
    if world.size > 1:
        store = dist.FileStore(_meeting(world), world.size)
        dist.init_process_group("gloo", store=store, rank=world.rank, world_size=world.size)
    if world.rank == 0:
        print(f"{world.size} ranks, {threads} threads each, PyTorch {torch.__version__}")
        print(
            "| step | ringleader (ms) | PyTorch (ms) | ratio | losses apart |\n|---|---:|---:|---:|---:|",
            flush=True,
        )
    with threadpool_limits(threads):
        for name, case in CASES.items():
            if only.lower() in name.lower():
                ours, theirs, apart = compare(case, world)
                _show(name, ours, theirs, apart, world)
    if world.size > 1:
        dist.destroy_process_group()


def _show(name: str, ours: list[float], theirs: list[float], apart: float, world: Communicator) -> None:
    if world.rank == 0:
        ratios = sorted(their / our for our, their in zip(ours, theirs))
        low, high = ratios[0], ratios[-1]
        our, their = (statistics.median(times) * 1e3 for times in (ours, theirs))
        ratio = f"{statistics.median(ratios):.2f} ({low:.2f} ... {high:.2f})"
        print(f"| {name} | {our:.2f} | {their:.2f} | {ratio} | {apart:.1e} |", flush=True)


def _meeting(world: Communicator) -> str:
    """A file that only these ranks know."""
    import tempfile

    name = np.zeros(200, np.uint8)
    if world.rank == 0:
        folder = tempfile.mkdtemp(prefix="ringleader-training-")
        raw = f"{folder}/store".encode()
        name[: len(raw)] = np.frombuffer(raw, np.uint8)
    return bytes(world.broadcast(name)).rstrip(b"\0").decode()


if __name__ == "__main__":
    main()
