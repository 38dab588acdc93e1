"""One training step of PyTorch's DDP over Ringleader and over Gloo: ``mpirun -n 2 python -m ringleader.bench.ddp``.

The same models, from the same parameters, on the same data, in the same processes, with one thread a rank. Steps
over the two groups are timed in turn, and their order swaps from repeat to repeat, so that noise of the machine hits
both alike; shown are medians over repeats of the slowest rank's time of a step (zero_grad, forward, backward with the
gradients averaged, SGD), and Gloo's over ours: above 1 we are faster. "alone" is the step without DDP, so what
averaging costs is the difference.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import ringleader.torch  # noqa: F401  (registers the backend)

REPEATS = 21
BUDGET = 0.1  # seconds that one measurement should last
BATCH = 32


class Recurrent(nn.Module):
    """A character model: 64 symbols in sequences of 32, one LSTM layer of 128."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.lstm = nn.Embedding(64, 64), nn.LSTM(64, 128, batch_first=True)
        self.head = nn.Linear(128, 64)

    def forward(self, x: Any) -> Any:
        return self.head(self.lstm(self.embedding(x))[0]).flatten(0, 1)


class Transformer(nn.Module):
    """Two pre-norm layers, 4 heads, width 128, on the same sequences."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(128, 4, 256, dropout=0.0, batch_first=True, norm_first=True)
        self.embedding = nn.Embedding(64, 128)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(128, 64)

    def forward(self, x: Any) -> Any:
        return self.head(self.layers(self.embedding(x))).flatten(0, 1)


def lenet5() -> nn.Module:
    """LeNet-5 on 28 x 28 pictures, as in LeCun et al. 1998 but with rectifiers and maximum pooling."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip


def sequences() -> tuple[Any, Any]:
    x = torch.randint(64, (BATCH, 33))
    return x[:, :-1], x[:, 1:].flatten()


def pictures() -> tuple[Any, Any]:
    return torch.randn(BATCH, 1, 28, 28), torch.randint(10, (BATCH,))


CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[], tuple[Any, Any]]]] = {
    "LeNet-5": (lenet5, pictures),
    "LSTM": (Recurrent, sequences),
    "Transformer": (Transformer, sequences),
}


def step_of(net: nn.Module, data: tuple[Any, Any]) -> Callable[[], object]:
    optimiser = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    inputs, targets = data

    def step() -> None:
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(inputs), targets).backward()
        optimiser.step()

    return step


def measure(step: Callable[[], object], iterations: int) -> float:
    """Seconds a step, on the slowest rank."""
    dist.barrier()
    start = time.perf_counter()
    for _ in range(iterations):
        step()
    elapsed = torch.tensor((time.perf_counter() - start) / iterations, dtype=torch.float64)
    dist.all_reduce(elapsed, dist.ReduceOp.MAX)
    return float(elapsed)


def compare(name: str, groups: dict[str, Any]) -> dict[str, float]:
    """Median seconds of a step, by group, and "alone"."""
    make, draw = CASES[name]
    torch.manual_seed(1)
    model = make()
    torch.manual_seed(100 + dist.get_rank())
    data = draw()
    steps = {"alone": step_of(copy.deepcopy(model), data)}
    for label, group in groups.items():
        steps[label] = step_of(DistributedDataParallel(copy.deepcopy(model), process_group=group), data)
    for step in steps.values():  # the first steps of DDP find the order of its buckets
        measure(step, 3)
    iterations = max(1, int(BUDGET / measure(steps["alone"], 3)))
    runs: dict[str, list[float]] = {label: [] for label in steps}
    for repeat in range(REPEATS):
        for label in list(steps)[:: 1 if repeat % 2 else -1]:
            runs[label].append(measure(steps[label], iterations))
    return {label: statistics.median(times) for label, times in runs.items()}


def main() -> None:
    torch.set_num_threads(1)
    dist.init_process_group("ringleader")
    if dist.get_world_size() == 1:
        raise SystemExit("start it on several ranks: mpirun -n 2 python -m ringleader.bench.ddp")
    groups = {"ringleader": dist.group.WORLD, "gloo": dist.new_group(backend="gloo")}
    if dist.get_rank() == 0:
        print(f"{'model':<12} {'alone ms':>9} {'ringleader ms':>14} {'gloo ms':>9} {'ratio':>6}", flush=True)
    for name in CASES:
        medians = compare(name, groups)
        if dist.get_rank() == 0:
            alone, ours, gloo = (1e3 * medians[label] for label in ("alone", "ringleader", "gloo"))
            print(f"{name:<12} {alone:>9.3f} {ours:>14.3f} {gloo:>9.3f} {gloo / ours:>6.2f}", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
