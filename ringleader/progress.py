"""A progress bar on a terminal, for what takes longer than a moment."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Timer
from typing import TypeVar

Item = TypeVar("Item")
PATIENCE = 1.0  # seconds before it is shown


@contextmanager
def watched(total: int | None = None) -> Iterator[Callable[[], None]]:
    """Show that something is going on, and how much of ``total`` is done: call what this yields after each part."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TimeElapsedColumn

    columns = (SpinnerColumn("line"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    # not redirected: standard output is not for the console of this bar, and may be a file
    bar = Progress(
        *columns, console=Console(stderr=True), transient=True, redirect_stdout=False, redirect_stderr=False
    )
    task = bar.add_task("", total=total)
    starting = Timer(PATIENCE, bar.start)
    starting.daemon = True
    starting.start()
    try:
        yield lambda: bar.advance(task)
    finally:
        starting.cancel()
        starting.join()
        bar.stop()


def steps(items: Sequence[Item]) -> Iterator[Item]:
    """``items``, watched."""
    with watched(len(items)) as advance:
        for item in items:
            yield item
            advance()
