"""``ringleader train`` on one rank: what a person sees of a training."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ringleader.launch import LaunchError
from ringleader.models import build, ignored, save_model
from ringleader.runtime.comm import Communicator, init
from ringleader.runtime.comm.cores import share_cores
from ringleader.runtime.training import Result, StepInfo, Task, TrainConfig, load, run
from ringleader.train_options import DataError

LINES = 10  # progress lines of a whole training where there is no terminal


def train_here(config: TrainConfig, local_size: int) -> int:
    """Train as one rank of the job; 0, or 1 if the scores are not what the configuration requires.

    DataError: there is nothing to train, or on.
    """
    share_cores(local_size, config.threads)
    try:
        data = load(config)
        generator = np.random.default_rng(config.seed)
        model = build(config.model, generator, config.dtype, data.description, **config.sizes)
    except (ImportError, OSError, ValueError) as error:
        raise DataError(str(error)) from error
    try:
        world = init()
    except RuntimeError as error:
        raise LaunchError(str(error)) from error
    console = _console(world)
    show_configuration(config, world, console)
    with progress(console, data.task) as show:

        def on_step(step: StepInfo) -> None:
            console.quiet = False  # maybe another rank has told it until now
            show(step)

        result = run(config, model, world, data, on_step)
    if result is None:
        return 0
    console.quiet = not result.speaks
    if config.save is not None and result.speaks:
        save_model(model, config.save, config, data.description)
    return report(result, config, data.task, console)


def _console(world: Communicator) -> Console:
    """Rank 0's terminal. Under mpirun a rank cannot know: Open MPI gives it one even if nobody looks."""
    launched_here = os.environ.get("RINGLEADER_TTY") == "1"
    terminal = launched_here if world.size > 1 else None
    return Console(force_terminal=terminal, quiet=world.rank != 0, highlight=False)


def show_configuration(config: TrainConfig, world: Communicator, console: Console) -> None:
    """The effective configuration, and over what it runs."""
    why_not = ignored(config)
    rows = {f.name: getattr(config, f.name) for f in dataclasses.fields(config) if f.name not in why_not}
    rows |= rows.pop("sizes")
    del rows["threads"]  # said below, whether given or not
    rows |= {"ranks": world.size, "transport": world.transport}
    rows["threads per rank"] = os.environ["OMP_NUM_THREADS"]
    width = max(map(len, rows))
    for name, value in rows.items():
        if value is not None:
            shown = "-".join(map(str, value)) if isinstance(value, tuple) else value
            console.print(f"{name.replace('_', ' '):<{width}}  {shown}", markup=False, soft_wrap=True)


@contextmanager
def progress(console: Console, task: Task) -> Iterator[Callable[[StepInfo], None]]:
    """A callback that shows each step: as a bar in a terminal, as some lines elsewhere; and tests as lines."""
    if not console.is_terminal:
        yield lambda step: _line(step, console, task)
        return
    columns = (
        TextColumn("step"), MofNCompleteColumn(), BarColumn(None), TextColumn("loss {task.fields[loss]:.4f}"),
        TextColumn("{task.fields[speed]:,.0f} samples/s"), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console) as bar:
        row = bar.add_task("", total=None, loss=float("nan"), speed=0.0)

        def on_step(s: StepInfo) -> None:
            bar.update(row, total=s.steps, completed=s.step, loss=s.loss, speed=s.samples_per_second)
            if s.scores is not None:
                console.print(f"step {s.step}  {task.say(s.scores)}")

        yield on_step


def _line(step: StepInfo, console: Console, task: Task) -> None:
    every = max(1, step.steps // LINES)
    if step.step % every and step.step != step.steps and step.scores is None:
        return
    left = (step.steps - step.step) * step.samples / step.step / max(step.samples_per_second, 1e-9)
    console.print(
        f"step {step.step:>{len(str(step.steps))}}/{step.steps}  loss {step.loss:.4f}  "
        f"{step.samples_per_second:,.0f} samples/s  {left:.0f} s left"
        + (f"  {task.say(step.scores)}" if step.scores is not None else "")
    )


def report(result: Result, config: TrainConfig, task: Task, console: Console) -> int:
    metrics, scores = result.metrics, result.scores
    console.print(
        f"trained {metrics.steps} steps in {metrics.seconds:.1f} s, "
        f"{metrics.samples_per_second:,.0f} samples/s"
    )
    if metrics.wire is not None:
        sent, uncompressed, ratio = metrics.wire.sent, metrics.wire.uncompressed, metrics.wire.ratio
        console.print(
            f"sent by one rank for gradients: {sent:,} bytes, {ratio:.1f} times fewer than {uncompressed:,}",
            soft_wrap=True,
        )
    console.print(task.say(scores))
    if config.save is not None:
        console.print(f"saved as {config.save}", markup=False, soft_wrap=True)
    if config.require_accuracy and not scores["accuracy"] >= config.require_accuracy:
        console.print(f"below the required {100 * config.require_accuracy:g} %")
        return 1
    if config.require_loss is not None and not scores["loss"] <= config.require_loss:
        console.print(f"above the required loss {config.require_loss:g}")
        return 1
    return 0
