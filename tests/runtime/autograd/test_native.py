"""Ops by native kernels: the same as the numpy ops that they stand for, and those where the kernels cannot."""

import os
import subprocess
import sys

import numpy as np
import pytest
from ringleader.runtime.autograd import OPS, native
from ringleader.runtime.autograd.ops import activation
from ringleader.runtime.autograd.ops import native_activation as by_kernel

PAIRS = {
    "tanh": (by_kernel.NativeTanh, activation.Tanh),
    "sigmoid": (by_kernel.NativeSigmoid, activation.Sigmoid),
    "relu": (by_kernel.NativeReLU, activation.ReLU),
    "scaled_tanh": (by_kernel.NativeScaledTanh, activation.ScaledTanh),
}
OPTIONS = {"scaled_tanh": {"alpha": 1.7159, "beta": 2 / 3}}

needs_kernels = pytest.mark.skipif(native.KERNELS is None, reason="the kernels are not built, or turned off")


@needs_kernels
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", PAIRS)
def test_native_equals_numpy(name, dtype):
    ours, numpys = PAIRS[name]
    assert OPS[name]["cpu"] is ours
    generator = np.random.default_rng(0)
    for shape in [(), (1,), (0, 3), (7, 5), (3, 64)]:
        x, g = (np.asarray(generator.standard_normal(shape), dtype) for _ in range(2))
        one, other = (op(**OPTIONS.get(name, {})) for op in (ours, numpys))
        eps = np.finfo(dtype).eps
        y = one.forward(x)
        np.testing.assert_allclose(y, other.forward(x), rtol=8 * eps, atol=eps)
        np.testing.assert_allclose(one.backward(g), other.backward(g), rtol=32 * eps, atol=4 * eps)
        assert (y.dtype, y.shape) == (dtype, shape)


@needs_kernels
@pytest.mark.parametrize("name", PAIRS)
def test_what_kernels_do_not_take_goes_to_numpy(name, monkeypatch):
    ours, numpys = PAIRS[name]
    monkeypatch.setattr(by_kernel, "KERNELS", None)
    x = np.random.default_rng(0).standard_normal((6, 4))
    for strange in (x[:, ::2], x.T, x.astype(np.float16)):
        one, other = (op(**OPTIONS.get(name, {})) for op in (ours, numpys))
        np.testing.assert_array_equal(one.forward(strange), other.forward(strange))
        np.testing.assert_array_equal(one.backward(strange), other.backward(strange))
    with pytest.raises(AttributeError):  # this array would have gone to a kernel
        ours(**OPTIONS.get(name, {})).forward(x)


def test_takes():
    x = np.ones((2, 3))
    assert native.takes(x, x[:1])
    assert native.takes(x.astype(np.float32))
    for strange in (x.T, x.astype(int), x.astype(">f8"), np.float64(1), x.astype(np.float32)):
        assert not native.takes(x, strange)


@pytest.mark.parametrize(("wanted", "printed"), [("numpy", "Tanh"), ("blas", "RINGLEADER_KERNELS is 'blas'")])
def test_the_environment_turns_kernels_off(wanted, printed):
    probe = "from ringleader.runtime.autograd import OPS; print(OPS['tanh']['cpu'].__name__)"
    environment = os.environ | {"RINGLEADER_KERNELS": wanted}
    done = subprocess.run([sys.executable, "-c", probe], env=environment, capture_output=True, text=True)
    assert printed in done.stdout + done.stderr
    assert (done.returncode == 0) == (wanted == "numpy")
    assert "Native" not in done.stdout
