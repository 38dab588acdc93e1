"""The kernels of rows and elements in a drawn order of threads, and checked: the same bits, and no faults."""

import importlib

import numpy as np
import pytest
from helpers.kernel_cases import DTYPES
from ringleader.csrc.cuda.versions import EXAMPLES, VERSIONS, Draw
from ringleader.csrc.emulate import EmulatedDevice

MODULES = [
    importlib.import_module(f"ringleader.csrc.cuda.{name}")
    for name in [
        "activation",
        "cast",
        "cross_entropy",
        "dropout",
        "embedding",
        "norm",
        "optimizer",
        "reduce",
        "softmax",
    ]
]
OPERATORS = list(dict.fromkeys(version.operator for module in MODULES for version in module.VERSIONS))
CASES = [(operator, version.name) for operator in OPERATORS for version in VERSIONS[operator]]


def run(mode, operator, version, dtype, seed=0):
    """The arrays that the operator's example returns."""
    device, example = EmulatedDevice(mode, seed), EXAMPLES[operator]
    got = example.run(
        device, Draw(device, np.random.default_rng(0), DTYPES[dtype]), version, *example.default
    )
    return got if isinstance(got, tuple) else (got,)


@pytest.mark.parametrize(("operator", "version"), CASES)
def test_scrambled_is_fast(device, operator, version):
    for dtype in ("float32", "float16"):
        fast = run("fast", operator, version, dtype)
        for seed in (1, 2):
            for got, want in zip(run("scrambled", operator, version, dtype, seed), fast):
                np.testing.assert_array_equal(got.view(np.uint8), want.view(np.uint8))


@pytest.mark.parametrize(("operator", "version"), CASES)
def test_checked_finds_nothing(device, operator, version):
    """A fault would raise KernelError."""
    run("checked", operator, version, "float32")
