"""The tests of this folder's kernels, on a GPU in place of the emulator, where there is one; and what takes them there."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.on_gpu import CHOICE, HostArrays
from ringleader.csrc.cuda.gpu import Gpu, NoGpu

HERE = Path(__file__).parent
OF_KERNELS = [
    "activation", "attention", "cast", "convolution", "cross_entropy", "dropout", "embedding", "norm", "optimizer",
    "pooling", "recurrent", "reduce", "softmax",
]  # fmt: skip


@pytest.mark.timeout(1200)  # every kernel is compiled first
@pytest.mark.parametrize("operator", OF_KERNELS)
def test_the_same_tests_on_a_gpu(operator):
    try:
        Gpu()
    except NoGpu as error:
        pytest.skip(f"these tests run on the emulator alone: {error}")
    command = [sys.executable, "-m", "pytest", "-q", "-m", "not emulator", str(HERE / f"test_{operator}.py")]
    done = subprocess.run(
        command, env=os.environ | {CHOICE: "gpu"}, capture_output=True, text=True, timeout=1200
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


class Memory:
    """As much of a CuPy array of bytes as HostArrays asks for."""

    def __init__(self, array):
        self.array, self.data = array, SimpleNamespace(ptr=array.ctypes.data)

    def __getitem__(self, part):
        return Memory(self.array[part])

    def set(self, host):
        self.array[:] = host

    def get(self):
        return self.array.copy()


class Doubling:
    """A GPU whose kernel doubles rows of 3 floats, ``rows`` of them, ``stride`` bytes apart, from x to y."""

    name, architecture, multiprocessors = "doubling", 90, 1
    xp = SimpleNamespace(empty=lambda count, dtype: Memory(np.empty(count, dtype)))

    def launch(self, file, expression, grid, block, args, shared):
        self.args = args
        x, y, rows, stride = (int(argument) for argument in args)
        for row in range(rows):
            read, written = (row_at(address + row * stride) for address in (x, y))
            written[:] = 2 * read


def row_at(address):
    import ctypes

    return np.frombuffer((ctypes.c_char * 12).from_address(address), np.float32)


def test_memory_goes_there_and_back_as_it_lies():
    """A view backwards over columns 2 to 4, of which both x and y are parts, at an odd address."""
    raw = np.zeros(4 * 6 * 4 + 4, np.uint8)
    whole = raw[4:].view(np.float32).reshape(4, 6)
    whole[:] = np.arange(24).reshape(4, 6)
    before = whole.copy()
    x, y = whole[::-1, 0:3], whole[::-1, 3:6]
    device = HostArrays(Doubling())
    device.launch("", "", 1, 1, [x, y, np.int32(4), np.int64(x.strides[0])])
    assert (whole[:, 3:] == 2 * before[:, :3]).all()
    assert (whole[:, :3] == before[:, :3]).all()
    there, other = (int(argument) for argument in device.gpu.args[:2])
    assert (there - x.ctypes.data) % 256 == 0
    assert there != x.ctypes.data
    assert other - there == 12  # one memory


def test_what_may_not_be_written_is_not():
    x, y = np.ones((1, 3), np.float32), np.zeros((1, 3), np.float32)
    y.flags.writeable = False
    HostArrays(Doubling()).launch("", "", 1, 1, [x, y, np.int32(1), np.int64(12)])
    assert not y.any()
