"""The emulator as a device: what launchers of csrc/cuda take in place of a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ringleader.csrc.cuda.device import Device, Extent
from ringleader.csrc.emulate.kernel import load


class EmulatedDevice(Device):
    """Runs kernels on the CPU, on numpy arrays.

    mode: "fast", "scrambled" or "checked", where the first fault raises (KernelError) and ``reports`` gathers what was
    found, a report a launch. seed: of "scrambled"; each launch draws from a seed of its own.
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

    def launch(
        self, file: str, expression: str, grid: Extent, block: Extent, args: Sequence[Any], shared: int = 0
    ) -> None:
        kernel = load(file).get(expression)
        self.launches += 1
        kernel(grid, block, args, shared=shared, mode=self.mode, seed=self.seed * 1_000_003 + self.launches)
