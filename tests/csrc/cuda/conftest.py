"""What the tests of kernels share."""

import shutil

import pytest
from helpers.on_gpu import kernel_device


@pytest.fixture(scope="session")
def device():
    """Runs kernels: the emulator, fast, or the GPU that test_on_gpu.py chose."""
    if shutil.which("g++") is None:
        pytest.skip("the emulator needs g++")
    return kernel_device()
