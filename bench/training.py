"""One training step beside PyTorch's on the CPU: ``python -m ringleader.bench.training`` on one rank, or on one and on
several, where ours is DataParallel and PyTorch's is DDP over Gloo:

    mpirun -n 2 python -m ringleader.bench.training -o bench/RESULTS.md

The same networks from the same parameters on the same data with the same optimiser, in the same processes and with
the same number of threads (one a rank; without mpirun OMP_NUM_THREADS, else all cores). The two are timed in turn, and
their order swaps from repeat to repeat, so that noise of the machine hits both alike. A step is zero_grad, forward, loss,
backward with the gradients averaged, and the optimiser; shown are medians over the repeats of the slowest rank's time,
PyTorch's over ours (above 1 we are faster; the median of the repeats' ratios, the least and the largest), and how far
the two losses are apart after the same steps.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from ringleader.bench import torch_models
from ringleader.bench.contestants import cores
from ringleader.bench.page import write_section
from ringleader.bench.results import machine
from ringleader.bench.training_page import HEADING, Row, section
from ringleader.models.lenet5 import LeNet5
from ringleader.models.recurrent import RecurrentLM, RecurrentRegressor
from ringleader.models.transformer import Transformer
from ringleader.runtime.autograd import SGD, Adam, Module, Tensor, cross_entropy
from ringleader.runtime.autograd.native import KERNELS
from ringleader.runtime.comm import Communicator, init
from ringleader.runtime.parallel import DataParallel
from threadpoolctl import threadpool_limits
from torch.nn.parallel import DistributedDataParallel

REPEATS = 15
BUDGET = 0.2  # seconds that a measurement should last
CHECKED = 5  # steps of which losses are compared
PATIENCE = timedelta(hours=1)  # that other ranks wait while one works alone
VOCABULARY = 65

Step = Callable[[], float]


def pictures(rng: np.random.Generator) -> tuple[Any, Any]:
    return rng.standard_normal((64, 1, 32, 32)).astype(np.float32), rng.integers(10, size=64)


def sequences(batch: int, length: int) -> Callable[[np.random.Generator], tuple[Any, Any]]:
    def draw(rng: np.random.Generator) -> tuple[Any, Any]:
        x = rng.integers(VOCABULARY, size=(batch, length + 1))
        return x[:, :-1].copy(), x[:, 1:].ravel()

    return draw


def vectors(rng: np.random.Generator) -> tuple[Any, Any]:
    return rng.standard_normal((32, 64, 256)).astype(np.float32), rng.integers(VOCABULARY, size=32)


Draw = Callable[[np.random.Generator], tuple[Any, Any]]
Case = tuple[Callable[[np.random.Generator], Module], Callable[[], torch.nn.Module], str, Draw]


def letters(kind: str) -> Case:
    return (
        lambda g: RecurrentLM(kind, VOCABULARY, 256, 256, generator=g),
        lambda: torch_models.RecurrentLM(kind, VOCABULARY, 256, 256), "adam", sequences(32, 64),
    )  # fmt: skip


def dense(kind: str) -> Case:
    return (
        lambda g: RecurrentRegressor(kind, 256, VOCABULARY, 256, generator=g),
        lambda: torch_models.RecurrentRegressor(kind, 256, VOCABULARY, 256), "adam", vectors,
    )  # fmt: skip


CASES: dict[str, Case] = {
    "LeNet-5, batch 64": (LeNet5, torch_models.LeNet5, "sgd", pictures),
    "LSTM, d 256, T 64, batch 32": letters("lstm"),
    "GRU, d 256, T 64, batch 32": letters("gru"),
    "Transformer, 2 layers, d 128, T 128, batch 8": (
        lambda g: Transformer(VOCABULARY, 128, 2, 4, 128, generator=g),
        lambda: torch_models.Transformer(VOCABULARY, 128, 2, 4, 128), "adam", sequences(8, 128),
    ),
    "LSTM on vectors, d 256, T 64, batch 32": dense("lstm"),
    "GRU on vectors, d 256, T 64, batch 32": dense("gru"),
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


def compare(name: str, world: Communicator, repeats: int) -> Row:
    """One network on all ranks of ``world``."""
    ours, theirs, kind, draw = CASES[name]
    model, peer = ours(np.random.default_rng(1)), theirs()
    peer.load_state_dict({name: torch.from_numpy(array) for name, array in model.state_dict().items()})
    data = draw(np.random.default_rng(100 + world.rank))
    steps = [our_step(model, kind, data, world), torch_step(peer, kind, data, world.size > 1)]
    losses = np.array([[step() for _ in range(CHECKED)] for step in steps])
    world.allreduce(losses[1:], "mean")  # ours is the mean over the ranks already
    apart = float(np.abs(losses[0] - losses[1]).max())
    iterations = max(1, int(BUDGET / measure(steps[1], 2, world)))
    times: tuple[list[float], list[float]] = ([], [])
    for repeat in range(repeats):
        for which in (0, 1) if repeat % 2 else (1, 0):
            times[which].append(measure(steps[which], iterations, world))
    return Row(world.size, name, *times, apart)


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
    parser.add_argument("--repeats", type=int, default=REPEATS, help=f"default: {REPEATS}")
    parser.add_argument("-o", "--output", type=Path, help="a page of results (.md): its section is replaced")
    options = parser.parse_args()
    if options.repeats < 1:
        parser.error(f"--repeats must be at least 1, it is {options.repeats}")
    where, world = machine(), init()
    threads = 1 if world.size > 1 else int(os.environ.get("OMP_NUM_THREADS", cores()))
    torch.set_num_threads(threads)
    names = [name for name in CASES if options.only.lower() in name.lower()]
    rows: list[Row] = []
    if world.rank == 0:
        print(HEADING, flush=True)
    with threadpool_limits(threads):
        for ranks in _alone_then_all(world):
            for name in names:
                rows.append(compare(name, ranks, options.repeats))
                if world.rank == 0:
                    print(rows[-1], flush=True)
    if world.rank == 0 and options.output:
        about = {
            "command": _command(world.size, options), "date": time.strftime("%Y-%m-%d"), "machine": where,
            "threads": threads, "versions": _versions(world),
        }  # fmt: skip
        write_section(options.output, "training", section(rows, about))


def _alone_then_all(world: Communicator) -> Iterator[Communicator]:
    """On rank 0 a communicator of one, while the others sleep; then on all ranks the world, with PyTorch's group."""
    alone = world.split(world.rank)
    assert alone is not None
    if world.size == 1:
        yield alone
        return
    with tempfile.TemporaryDirectory(prefix="ringleader-training-") as folder:
        store = dist.FileStore(_of_rank_0(f"{folder}/store", world), world.size)
        if world.rank == 0:
            yield alone
            store.set("alone", "done")
        store.wait(["alone"], PATIENCE)
        dist.init_process_group("gloo", store=store, rank=world.rank, world_size=world.size)
        yield world
        dist.destroy_process_group()
        world.barrier()  # before the folder goes


def _of_rank_0(text: str, world: Communicator) -> str:
    letters = np.zeros(500, np.uint8)
    letters[: len(text)] = list(text.encode())
    return bytes(world.broadcast(letters)).rstrip(b"\0").decode()


def _command(ranks: int, options: argparse.Namespace) -> str:
    """What to type to get the same again."""
    launcher = f"mpirun -n {ranks} " if ranks > 1 else ""
    only = f" --only {shlex.quote(options.only)}" if options.only else ""
    return (
        f"{launcher}python -m ringleader.bench.training{only} --repeats {options.repeats} -o {options.output}"
    )


def _versions(world: Communicator) -> dict[str, str]:
    kernels = f"native kernels ({KERNELS.cpu_level()})" if KERNELS else "numpy without native kernels"
    return {
        "ringleader": f"{kernels}, collectives over {world.transport}, numpy {np.__version__}, "
        f"Python {platform.python_version()}",
        "PyTorch": torch.__version__,
    }


if __name__ == "__main__":
    main()
