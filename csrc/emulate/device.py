"""The emulator as a device: what launchers of csrc/cuda take in place of a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ringleader.csrc.cuda.device import TENSOR_MAP_BYTES, Array, Device, Extent, tile_of
from ringleader.csrc.emulate.errors import KernelError
from ringleader.csrc.emulate.kernel import load
from ringleader.csrc.emulate.report import Report

TENSOR_MAP = np.dtype(
    {
        "names": ["start", "extents", "strides", "box", "item"],
        "formats": ["u8", ("i8", 4), ("i8", 4), ("i4", 4), "i4"],
        "offsets": [0, 8, 40, 72, 88],
        "itemsize": TENSOR_MAP_BYTES,
    }
)  # TensorMap of warpgroup.h


class EmulatedDevice(Device):
    """Runs kernels on the CPU, on numpy arrays.

    mode: "fast", "scrambled", or "checked", where a launch with faults raises KernelError; ``reports`` has the reports of all
    launches. seed: of the order of threads; each launch draws from a seed of its own.
    architecture: the compute capability to choose versions for. multiprocessors: few, so that loops over blocks loop.
    """

    def __init__(self, mode: str = "fast", seed: int = 0, architecture: int = 80, multiprocessors: int = 4):
        if mode not in ("fast", "scrambled", "checked"):
            raise ValueError(f"the emulator's mode is fast, scrambled or checked, not {mode!r}")
        self.name = f"emulated sm_{architecture}, {mode}"
        self.architecture = architecture
        self.multiprocessors = multiprocessors
        self.xp = np
        self.mode = mode
        self.seed = seed
        self.launches = 0
        self.reports: list[Report] = []

    def tensor_maps(self, *tiled: tuple[Array, tuple[int, ...]]) -> Array:
        """See Device."""
        maps = np.zeros(len(tiled), TENSOR_MAP)
        for entry, (array, box) in zip(maps, tiled):
            extents, strides, sides = tile_of(array, box)
            entry["start"], entry["item"] = array.ctypes.data, array.dtype.itemsize
            entry["extents"], entry["strides"], entry["box"] = extents, strides, sides
        return maps.view(np.uint8)

    def launch(
        self, file: str, expression: str, grid: Extent, block: Extent, args: Sequence[Any], shared: int = 0
    ) -> None:
        kernel = load(file).get(expression)
        self.launches += 1
        seed = self.seed * 1_000_003 + self.launches
        if self.mode != "checked":
            kernel(grid, block, args, shared=shared, mode=self.mode, seed=seed)
            return
        report = kernel.check(grid, block, args, shared=shared, seed=seed)
        self.reports.append(report)
        if report.faults:
            first = report.faults[0]
            raise KernelError(
                expression,
                first.kind,
                f"{first.message}\n{report}",
                first.file,
                first.line,
                first.block,
                first.thread,
            )
