"""What the tests of kernels share."""

import shutil

import pytest
from ringleader.csrc.emulate import EmulatedDevice


@pytest.fixture(scope="session")
def device():
    """Runs kernels on the CPU, fast."""
    if shutil.which("g++") is None:
        pytest.skip("the emulator needs g++")
    return EmulatedDevice()
