"""Tests of the emulator compile kernels: they need g++."""

from pathlib import Path

import pytest
from ringleader.csrc import emulate
from ringleader.csrc.emulate.compiler import compiler

KERNELS = Path(__file__).parent / "kernels"


@pytest.fixture(scope="session", autouse=True)
def needs_compiler():
    """Skips where there is no C++ compiler."""
    try:
        compiler()
    except emulate.CompileError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def kernels():
    """kernels("faults.cu"): a file of test kernels."""
    return lambda file: emulate.load(KERNELS / file)


@pytest.fixture(scope="session")
def line_of():
    """line_of("faults.cu", "missing_barrier"): the number of the line marked with this bug."""

    def find(file, bug):
        lines = (KERNELS / file).read_text().splitlines()
        return next(i for i, line in enumerate(lines, 1) if line.endswith(f"// bug: {bug}"))

    return find
