"""The emulator as a device: what launchers of csrc/cuda take in place of a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ringleader.csrc.cuda.device import Device, Extent
from ringleader.csrc.emulate.errors import KernelError
from ringleader.csrc.emulate.kernel import load
from ringleader.csrc.emulate.report import Report


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
