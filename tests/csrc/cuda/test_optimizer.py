"""Steps of the optimisers on the emulator: bit for bit those of runtime/autograd/optim; master copies; refusals."""

import numpy as np
import pytest
from helpers.kernel_cases import DTYPES, at_multiple, compute, draw, fitting
from ringleader.csrc.cuda import optimizer as kernels
from ringleader.csrc.cuda.elements import elements_shape
from ringleader.runtime.autograd.optim import adagrad, adam, sgd

COUNTS = (0, 1, 3, 31, 33, 1000)
SGD = [{}, {"momentum": 0.9}, {"momentum": 0.9, "weight_decay": 0.1}, {"momentum": 0.9, "dampening": 0.3},
       {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}, {"weight_decay": 0.1}]  # fmt: skip
ADAM = [
    {},
    {"weight_decay": 0.1},
    {"weight_decay": 0.1, "decoupled": True},
    {"betas": (0.5, 0.9), "eps": 1e-3},
]
ADAGRAD = [{}, {"weight_decay": 0.1, "lr_decay": 0.5}, {"eps": 1e-2}]
STATES = {"sgd": ["momentum_buffer"], "adam": ["exp_avg", "exp_avg_sq"], "adagrad": ["sum"]}
CASES = [("sgd", options) for options in SGD]
CASES += [("adam", options) for options in ADAM] + [("adagrad", options) for options in ADAGRAD]


def by_numpy(rule, w, g, state, step, decoupled=False, **options):
    update = {"sgd": sgd.update, "adam": adam.update, "adagrad": adagrad.update}[rule]
    if decoupled:
        update = adam.update_decoupled
    update(w, g, state, step, lr=0.1, **options)


def by_kernel(device, rule, w, g, state, step, **options):
    getattr(kernels, rule)(device, w, g, *state.values(), step, lr=0.1, **options)


@pytest.mark.parametrize(("rule", "options"), CASES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_is_the_rule_in_numpy_bit_for_bit(device, dtype, rule, options):
    """Three steps. Of 16-bit gradients: with float32 weights and state, and the weights' rounded copy."""
    weights = compute(DTYPES[dtype])
    for count in COUNTS:
        for version in fitting(device, rule, DTYPES[dtype], count=count, aligned=True, alike=True):
            w, copy = draw(weights.name, count), np.empty(count, DTYPES[dtype])
            state = {name: at_multiple(np.zeros(count, weights), 0) for name in STATES[rule]}
            want, want_state = w.copy(), {name: array.copy() for name, array in state.items()}
            for step in (1, 2, 3):
                g = draw(dtype, count, seed=step)
                by_numpy(rule, want, g.astype(weights), want_state, step, **options)
                by_kernel(device, rule, w, g, state, step, copy=copy, version=version, **options)
                np.testing.assert_array_equal(w, want)
                np.testing.assert_array_equal(copy, want.astype(copy.dtype))
            for name, array in state.items():
                if name != "momentum_buffer" or options.get("momentum"):
                    np.testing.assert_array_equal(array, want_state[name])


def test_without_a_copy_and_without_momentum(device):
    w, g = draw("float32", 100), draw("float32", 100, seed=1)
    want = w - g * np.float32(0.5)
    kernels.sgd(device, w, g, None, 1, lr=0.5)
    np.testing.assert_array_equal(w, want)


def test_unaligned_parts_of_a_flat_array(device):
    w, g, m, v = (at_multiple(draw("float32", 100, seed=i), behind=i % 2) for i in range(4))
    np.square(v, out=v)
    shape = elements_shape(100, w, g, m, v)
    assert list(fitting(device, "adam", w.dtype, **shape)) == ["clear"]
    want, state = w.copy(), {"exp_avg": m.copy(), "exp_avg_sq": v.copy()}
    by_numpy("adam", want, g, state, 4)
    kernels.adam(device, w, g, m, v, 4, lr=0.1)
    np.testing.assert_array_equal(w, want)


def test_refuses(device):
    w, g, state = draw("float32", 4, 6), draw("float16", 4, 6), draw("float32", 4, 6)
    for error, match, call in [
        (TypeError, "sgd: g is int64", lambda: kernels.sgd(device, w, g.astype(int), None, 1, lr=1)),
        (ValueError, "sgd: g must be C-contiguous", lambda: kernels.sgd(device, w, g.T, None, 1, lr=1)),
        (ValueError, "with momentum there must be a velocity", lambda: kernels.sgd(
            device, w, g, None, 1, lr=1, momentum=0.9)),
        (TypeError, "w must be float32 for gradients of float16, not float64", lambda: kernels.sgd(
            device, w.astype(float), g, None, 1, lr=1)),
        (ValueError, r"sgd: w has shape \(6,\), g \(4, 6\)", lambda: kernels.sgd(device, w[0], g, None, 1, lr=1)),
        (ValueError, "sgd: w must be C-contiguous", lambda: kernels.sgd(
            device, np.asfortranarray(w), g, None, 1, lr=1)),
        (TypeError, "copy must be float16 for gradients of float16, not float32", lambda: kernels.sgd(
            device, w, g, None, 1, lr=1, copy=w)),
        (ValueError, r"velocity has shape \(6,\)", lambda: kernels.sgd(device, w, g, state[0], 1, lr=1, momentum=0.9)),
        (TypeError, "adam: v must be float32 for gradients of float16, not float16", lambda: kernels.adam(
            device, w, g, state, g, 1, lr=1)),
        (ValueError, "adam: m has shape", lambda: kernels.adam(device, w, g, state[0], state, 1, lr=1)),
        (ValueError, "adam: steps count from 1, this is 0", lambda: kernels.adam(device, w, g, state, state, 0, lr=1)),
        (TypeError, "adagrad: total must be float32", lambda: kernels.adagrad(device, w, g, g, 1, lr=1)),
    ]:  # fmt: skip
        with pytest.raises(error, match=match):
            call()
