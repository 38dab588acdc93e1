"""The op table on the CUDA kernels, run by the emulator: every op gives what it gives in numpy."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from helpers.devices import (
    Launched,
    counting_launches,
    emulator_missing,
    label,
    on,
    strict_cuda,
)
from helpers.op_cases import CASES
from helpers.op_cases.draw import Case
from ringleader.runtime import autograd as ag
from ringleader.runtime.autograd.op import WRITTEN, to_host

pytestmark = pytest.mark.skipif(bool(emulator_missing()), reason=emulator_missing())
CALLS = [case for case in CASES if case[0] != "checkpoint"]  # whose cases make tensors on the CPU


@pytest.fixture
def launched() -> Iterator[Launched]:
    with counting_launches() as seen:
        yield seen


@pytest.mark.parametrize("case", CALLS, ids=label)
def test_an_op_is_on_the_kernels_what_it_is_in_numpy(case: Case) -> None:
    """Values and gradients in float64, to 1e-10 of the largest. (That those of numpy are right is test_ops.py's.)"""
    name, options, arrays = case
    results: list[Any] = []
    for device in ("cpu", "emulated"):
        tensors = [ag.Tensor(a, requires_grad=True, device=device) for a in arrays]
        with pytest.MonkeyPatch.context() as patch:
            if device == "cpu":
                patch.setitem(ag.OPS[name], "cpu", WRITTEN[name])
            out = ag.apply(name, *tensors, **options)
        out.backward(np.random.default_rng(0).standard_normal(out.shape))
        assert out.device == device
        results.append([out.data, *(t.grad for t in tensors)])
    for mine, wanted in zip(*results[::-1]):
        size = np.abs(wanted[np.isfinite(wanted)]).max(initial=1)
        np.testing.assert_allclose(mine, wanted, rtol=1e-10, atol=1e-10 * size)


def test_every_kernel_of_the_table_has_run(launched: Launched) -> None:
    """An op with an implementation of its own here launches something for one of its cases."""
    on_kernels = {name for name, table in ag.OPS.items() if "emulated" in table}
    assert len(on_kernels) > 20
    silent = set()
    for op in on_kernels:
        before = launched.files.total()
        for name, options, arrays in CALLS:
            if name == op and launched.files.total() == before:
                ag.apply(name, *(ag.Tensor(a, device="emulated") for a in arrays), **options)
        if launched.files.total() == before:
            silent.add(op)
    assert not silent


def test_kernels_can_be_turned_off() -> None:
    script = """
from ringleader.csrc.emulate import EmulatedDevice
from ringleader.runtime import autograd as ag
EmulatedDevice.launch = None
x = ag.Tensor([1.0, 2.0], requires_grad=True, device="emulated")
ag.softmax(x, 0).sum().backward()
print(x.grad, "emulated" in ag.OPS["softmax"])
"""
    environment = os.environ | {"RINGLEADER_KERNELS": "numpy"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "[0. 0.] False\n", done.stderr


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sixteen_bits_are_as_near_to_double_as_on_the_cpu(dtype: str) -> None:
    """For the largest cases of each op on kernels, values and gradients: at most twice the error of numpy's op in the
    same 16 bits, and two roundings of the largest number there."""
    eps = float(pytest.importorskip("ml_dtypes").finfo(dtype).eps)
    wrong = []
    for name, options, arrays in largest_cases(2):
        rounded = [a.astype(dtype) for a in arrays]
        exact = values(name, options, [a.astype(np.float64) for a in rounded], "cpu")
        cpu, mine = (values(name, options, rounded, device) for device in ("cpu", "emulated"))
        for which, (wanted, theirs, ours) in enumerate(zip(exact, cpu, mine)):
            assert ours.dtype == dtype
            size = np.abs(wanted[np.isfinite(wanted)]).max(initial=0)
            if not distance(ours, wanted) <= 2 * distance(theirs, wanted) + 2 * eps * size:
                wrong.append(
                    (
                        label((name, options, arrays)),
                        which,
                        distance(ours, wanted),
                        distance(theirs, wanted),
                        size,
                    )
                )
    assert not wrong


def largest_cases(count: int) -> list[Case]:
    """So many of each op that is on kernels."""
    ordered = sorted(CALLS, key=lambda case: sum(a.size for a in case[2]), reverse=True)
    of = {
        name: [case for case in ordered if case[0] == name]
        for name, table in ag.OPS.items()
        if "emulated" in table
    }
    return [case for cases in of.values() for case in cases[:count]]


def values(name: str, options: dict[str, Any], arrays: list[Any], device: str) -> list[Any]:
    """An op's result, and the gradients of its inputs for some gradient of it, by the op that is written for numpy if on
    the CPU."""
    tensors = [ag.Tensor(a, requires_grad=True, device=device) for a in arrays]
    with pytest.MonkeyPatch.context() as patch:
        if device == "cpu":
            patch.setitem(ag.OPS[name], "cpu", WRITTEN[name])
        out = ag.apply(name, *tensors, **options)
    out.backward(
        on(device, np.asarray(np.random.default_rng(0).integers(-4, 5, out.shape).astype(out.dtype) / 4))
    )
    return [to_host(array) for array in (out.data, *(t.grad for t in tensors))]


def distance(a: Any, b: Any) -> float:
    """The largest difference; NaN and infinities must be in the same places."""
    a = a.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    return float(np.abs(np.where(same, 0, a - np.where(same, 0, b))).max(initial=0))


def test_central_differences_through_the_kernels() -> None:
    draw = np.random.default_rng(0).standard_normal
    ag.gradcheck(
        lambda x, w, b: ag.conv2d(x, w, b, 2, 1),
        draw((2, 2, 5, 4)),
        draw((3, 2, 3, 2)),
        draw(3),
        device="emulated",
    )
    with pytest.raises(ag.GradientError), pytest.MonkeyPatch.context() as patch:
        patch.setattr(ag.OPS["conv2d"]["emulated"], "to_bias", lambda self, g: g.sum(axis=(0, 2, 3)) * 1.001)
        ag.gradcheck(
            lambda x, w, b: ag.conv2d(x, w, b),
            draw((1, 1, 3, 3)),
            draw((1, 1, 2, 2)),
            draw(1),
            device="emulated",
        )


def test_an_op_of_ones_own_runs_as_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    for table in (ag.OPS, WRITTEN):
        monkeypatch.setitem(table, "double", {})

    @ag.op("double")
    class Double(ag.Function):
        def shape(self, x: Any) -> Any:
            return x

        def forward(self, x: Any) -> Any:
            return self.xp.add(x, x)

        def backward(self, g: Any) -> Any:
            return 2 * g

    x = ag.Tensor([1.0, 2.0], requires_grad=True, device="emulated")
    y = ag.apply("double", x)
    y.sum().backward()
    assert y.device == "emulated" and y.data.tolist() == [2, 4] and x.grad.tolist() == [2, 2]


def test_launchers_take_no_array_of_a_gpu_for_one_of_numpy() -> None:
    """Every case of an op on kernels, with the stand-in for CuPy under the same launchers: the emulator's bits."""
    with strict_cuda(kernels=True):
        for name, options, arrays in CALLS:
            if "cuda" not in ag.OPS[name]:
                continue
            there = {
                key: option if key == "lengths" else on("cuda", option) for key, option in options.items()
            }
            mine, wanted = values(name, there, arrays, "cuda"), values(name, options, arrays, "emulated")
            for one, other in zip(mine, wanted):
                np.testing.assert_array_equal(one, other)
