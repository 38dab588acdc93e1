"""What a launcher would launch, without running anything: which versions it chooses, why, and with which grids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ringleader.csrc.cuda.device import Array, Device, Extent, extent
from ringleader.csrc.cuda.versions import Choice, Draw, Example, choices


@dataclass(frozen=True)
class Launch:
    """shared: bytes of dynamic shared memory."""

    file: str
    expression: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared: int


class PlannedDevice(Device):
    """Notes down launches, and runs none: results are whatever was in memory."""

    def __init__(self, architecture: int, multiprocessors: int) -> None:
        self.name = f"sm_{architecture}, planned"
        self.architecture = architecture
        self.multiprocessors = multiprocessors
        self.xp = np
        self.launches: list[Launch] = []

    def launch(
        self, file: str, expression: str, grid: Extent, block: Extent, args: Sequence[Any], shared: int = 0
    ) -> None:
        self.launches.append(Launch(file, expression, extent(grid), extent(block), shared))


class Undrawn(Draw):
    """Inputs with no values in them, so that large shapes cost nothing; integers are all the lowest one."""

    def __call__(self, *shape: int, scale: float = 1.0) -> Array:
        return self.device.xp.zeros(shape, self.dtype)

    def integers(self, low: int, high: int, *shape: int, dtype: Any = np.int32) -> Array:
        return self.device.xp.full(shape, low, dtype)


def plan(
    example: Example,
    shape: Sequence[int],
    dtype: Any,
    architecture: int,
    version: str | None = None,
    multiprocessors: int = 132,
) -> tuple[list[Choice], list[Launch]]:
    """For an operator's example. ValueError: no version takes it; multiprocessors: of the H100 and H200 by default."""
    device = PlannedDevice(architecture, multiprocessors)
    with (
        choices() as made,
        np.errstate(all="ignore"),
    ):  # launchers may go on computing with what was in memory
        example.run(device, Undrawn(device, np.random.default_rng(0), dtype), version, *shape)
    return made, device.launches
