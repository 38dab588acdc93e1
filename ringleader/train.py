"""``ringleader train`` on one rank: what a person sees of a training."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from threadpoolctl import threadpool_limits

from ringleader.launch import LaunchError, threads_per_rank
from ringleader.models import build
from ringleader.runtime.comm import Communicator, init
from ringleader.runtime.training import Result, StepInfo, TrainConfig, run

LINES = 10  # progress lines of a whole training where there is no terminal


def train_here(config: TrainConfig, local_size: int) -> int:
    """Train as one rank of the job; 0, or 1 if the accuracy is below what the configuration requires."""
    if "OMP_NUM_THREADS" not in os.environ:
        threadpool_limits(threads_per_rank(local_size))
    try:
        world = init()
    except RuntimeError as error:
        raise LaunchError(str(error)) from error
    console = _console(world)
    show_configuration(config, world, console)
    model = build(config.model, generator=np.random.default_rng(config.seed), dtype=config.dtype)
    with progress(console) as on_step:
        result = run(config, model, world, on_step=on_step)
    return report(result, config, console)


def _console(world: Communicator) -> Console:
    """Rank 0's terminal. Under mpirun a rank cannot know: Open MPI gives it one even if nobody looks."""
    launched_here = os.environ.get("RINGLEADER_TTY") == "1"
    terminal = launched_here if world.size > 1 else None
    return Console(force_terminal=terminal, quiet=world.rank != 0, highlight=False)


def show_configuration(config: TrainConfig, world: Communicator, console: Console) -> None:
    """The effective configuration, and over what it runs."""
    rows = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    rows |= {"ranks": world.size, "transport": world.transport}
    rows["threads per rank"] = os.environ.get("OMP_NUM_THREADS") or threads_per_rank(world.local_size)
    width = max(map(len, rows))
    for name, value in rows.items():
        if value is not None:
            console.print(f"{name.replace('_', ' '):<{width}}  {value}")


@contextmanager
def progress(console: Console) -> Iterator[Callable[[StepInfo], None]]:
    """A callback that shows each step: as a bar in a terminal, as some lines elsewhere."""
    if not console.is_terminal:
        yield lambda step: _line(step, console)
        return
    columns = (
        TextColumn("step"), MofNCompleteColumn(), BarColumn(None), TextColumn("loss {task.fields[loss]:.4f}"),
        TextColumn("{task.fields[speed]:,.0f} samples/s"), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=None, loss=float("nan"), speed=0.0)
        yield lambda s: bar.update(
            task, total=s.steps, completed=s.step, loss=s.loss, speed=s.samples_per_second
        )


def _line(step: StepInfo, console: Console) -> None:
    every = max(1, step.steps // LINES)
    if step.step % every and step.step != step.steps:
        return
    left = (step.steps - step.step) * step.samples / step.step / max(step.samples_per_second, 1e-9)
    console.print(
        f"step {step.step:>{len(str(step.steps))}}/{step.steps}  loss {step.loss:.4f}  "
        f"{step.samples_per_second:,.0f} samples/s  {left:.0f} s left"
    )


def report(result: Result, config: TrainConfig, console: Console) -> int:
    metrics, required = result.metrics, config.require_accuracy
    console.print(
        f"trained {metrics.steps} steps in {metrics.seconds:.1f} s, "
        f"{metrics.samples_per_second:,.0f} samples/s"
    )
    console.print(f"test accuracy {100 * result.accuracy:.2f} %")
    if result.accuracy < required:
        console.print(f"below the required {100 * required:g} %")
        return 1
    return 0
