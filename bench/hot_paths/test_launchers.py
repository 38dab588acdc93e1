"""What launching a CUDA kernel costs the host: checks of the arguments, the choice of a version, grids; nothing is launched."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from ringleader.csrc.cuda import attention, convolution, softmax
from ringleader.csrc.cuda.planned import PlannedDevice


def calls(device: PlannedDevice) -> dict[str, Callable[[], Any]]:
    rows, heads = np.zeros((8, 64), np.float32), np.zeros((1, 2, 16, 64), np.float16)
    image, weight = np.zeros((1, 8, 8, 8), np.float16), np.zeros((8, 8, 3, 3), np.float16)
    return {
        "softmax": lambda: softmax.softmax(device, rows),
        "attention": lambda: attention.forward(device, heads, heads, heads, scale=0.125),
        "convolution": lambda: convolution.forward(device, image, weight, padding=1),
    }


@pytest.mark.parametrize("name", calls(PlannedDevice(90, 132)))
def test_launcher(benchmark: BenchmarkFixture, name: str) -> None:
    device = PlannedDevice(90, 132)
    call = calls(device)[name]

    def launch() -> None:
        call()
        device.launches.clear()

    benchmark(launch)
