"""Recurrent kernels on the emulator: every version against the formulas, gradients against complex steps and central
differences, what a launch may change, and what is refused."""

from __future__ import annotations

import shutil
from typing import Any

import ml_dtypes  # noqa: F401  numpy's bfloat16
import numpy as np
import pytest
from helpers import recurrent_reference as reference
from helpers.on_gpu import kernel_device
from ringleader.csrc.cuda import recurrent
from ringleader.csrc.cuda.device import ceil_div
from ringleader.csrc.cuda.recurrent_versions import CELLS, PRODUCTS, SHARED, plan
from ringleader.csrc.cuda.versions import VERSIONS

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++")

NAMES = [version.name for version in VERSIONS["lstm_forward"]]
DTYPES = {version.name: version.dtypes for version in VERSIONS["lstm_forward"]}
FLOAT64 = [name for name in NAMES if "float64" in DTYPES[name]]
# T, N, H: sizes 0 and 1, odd ones, more than a tile, more sequences than a round of a persistent kernel takes at once
SHAPES = [
    (0, 3, 5),
    (1, 1, 1),
    (7, 3, 5),
    (7, 0, 4),
    (2, 17, 32),
    (7, 1, 48),
    (2, 3, 130),
    (2, 131, 3),
    (1, 17, 33),
]
ORDERS = [(False, False), (True, False), (False, True), (True, True)]  # lengths given, reverse


class Case:
    """Arguments and gradients of a layer, drawn with a seed, rounded to dtype, and the same in float64."""

    def __init__(
        self, cell: str, t: int, n: int, h: int, dtype: Any, short: bool = False, reverse: bool = False
    ):
        draw, g = np.random.default_rng([t, n, h, short, reverse]), reference.GATES[cell]
        shapes = {
            "inputs": (t, n, g * h),
            "h_first": (n, h),
            "c_first": (n, h),
            "weights": (g * h, h),
            "bias": (h,),
        }
        self.cell, self.reverse, self.dtype = cell, reverse, np.dtype(dtype)
        self.of = {name: draw.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}
        self.of["weights"] = (self.of["weights"].astype(float) / max(h, 1) ** 0.5).astype(dtype)
        self.lengths = np.array([0, t, *draw.integers(0, t + 1, n - 2)]) if short else None
        self.d = {
            name: draw.standard_normal(shape).astype(dtype)
            for name, shape in {"outputs": (t, n, h), "h_last": (n, h), "c_last": (n, h)}.items()
        }
        if cell != "gru":
            self.of["bias"] *= 0
        if cell != "lstm":
            self.d["c_last"] *= 0
        self.all_lengths = [t] * n if self.lengths is None else list(self.lengths)

    def forward(self, device: Any, version: str | None) -> tuple[Any, tuple[Any, ...], recurrent.Layer]:
        of = self.of
        return recurrent.forward(
            device, self.cell, of["inputs"], of["h_first"], of["c_first"] if self.cell == "lstm" else None,
            of["weights"], of["bias"] if self.cell == "gru" else None, self.lengths, self.reverse, version)  # fmt: skip

    def run(self, device: Any, version: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
        """Results of forward, gradients, by the reference's names."""
        d, lstm = self.d, self.cell == "lstm"
        outputs, last, layer = self.forward(device, version)
        dc_last = d["c_last"] if lstm else None
        grads = recurrent.backward(device, layer, d["outputs"], d["h_last"], dc_last, version)
        results = {"outputs": outputs, "h_last": last[0]} | ({"c_last": last[1]} if lstm else {})
        named = {"inputs": grads.inputs, "h_first": grads.h_first, "weights": grads.weights}
        named |= {"c_first": grads.c_first} if lstm else {}
        return results, named | ({"bias": grads.bias} if self.cell == "gru" else {})

    def expected(self, dtype: Any = np.float64) -> tuple[dict[str, Any], dict[str, Any]]:
        """By the formulas, computed in dtype."""
        of, d = (
            {name: value.astype(dtype) for name, value in values.items()} for values in (self.of, self.d)
        )
        results = reference.forward(self.cell, of, self.all_lengths, self.reverse)
        grads = reference.backward(self.cell, of, d, self.all_lengths, self.reverse)
        return dict(zip(("outputs", "h_last", "c_last"), results)), grads

    def loss(self, outputs: Any, h_last: Any, c_last: Any = 0) -> Any:
        """Whose gradients ``d`` are."""
        d = self.d
        return (outputs * d["outputs"]).sum() + (h_last * d["h_last"]).sum() + (c_last * d["c_last"]).sum()


def device(**options: Any) -> Any:
    """With 20 multiprocessors persistent versions must keep more than the fewest rows where H = 130."""
    return kernel_device(**{"multiprocessors": 20, **options})


def norm(x: Any) -> float:
    return float(np.linalg.norm(np.asarray(x, np.float64)))


@pytest.mark.parametrize("cell", CELLS)
def test_the_reference_has_the_gradient_of_its_own_formulas(cell: str) -> None:
    """Complex steps: L(a + i e d).imag / e is the derivative along d, exact to rounding."""
    case = Case(cell, 5, 3, 4, np.float64, short=True, reverse=True)
    _, grads = case.expected()
    for name, value in case.of.items():
        along = np.random.default_rng(1).standard_normal(value.shape)
        moved = {k: v + (1e-30j * along if k == name else 0j) for k, v in case.of.items()}
        got = case.loss(*reference.forward(cell, moved, case.all_lengths, True)).imag / 1e-30
        assert abs(got - (grads[name] * along).sum()) <= 1e-12 * (1 + abs(got)), name


@pytest.mark.parametrize("version", FLOAT64)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("shape", SHAPES)
def test_float64_is_exact(cell: str, version: str, shape: tuple[int, int, int]) -> None:
    case = Case(cell, *shape, np.float64)
    for got, expected in zip(case.run(device(), version), case.expected()):
        for name, value in got.items():
            np.testing.assert_allclose(value, expected[name], rtol=1e-10, atol=1e-11, err_msg=name)


@pytest.mark.parametrize("version", FLOAT64)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("short", "reverse"), ORDERS[1:])
def test_lengths_and_reverse(cell: str, version: str, short: bool, reverse: bool) -> None:
    case = Case(cell, 5, 18, 6, np.float64, short, reverse)
    for got, expected in zip(case.run(device(), version), case.expected()):
        for name, value in got.items():
            np.testing.assert_allclose(value, expected[name], rtol=1e-10, atol=1e-11, err_msg=name)


@pytest.mark.parametrize("version", FLOAT64)
@pytest.mark.parametrize("cell", CELLS)
def test_gradients_are_those_of_the_forward_kernels(cell: str, version: str) -> None:
    case, emulated, step = Case(cell, 3, 2, 5, np.float64), device(), 1e-5
    _, grads = case.run(emulated, version)
    for name, grad in grads.items():
        value, along = case.of[name], np.random.default_rng(2).standard_normal(grad.shape)
        ends = []
        for sign in (1, -1):
            case.of[name] = value + sign * step * along
            ends.append(case.loss(**case.run(emulated, version)[0]))
        case.of[name] = value
        assert (ends[0] - ends[1]) / (2 * step) == pytest.approx((grad * along).sum(), rel=1e-7, abs=1e-7), (
            name
        )


LOW = [(name, dtype) for name in NAMES for dtype in DTYPES[name] if dtype != "float64"]


@pytest.mark.parametrize(
    ("cell", "version", "dtype"),
    [
        (cell, *how) for cell in CELLS for how in LOW if cell != "rnn_relu" or how[1] == "float16"
    ],  # else as tanh
)
@pytest.mark.parametrize("shape", [(7, 3, 48), (5, 17, 32), (3, 3, 5), (3, 9, 130)])
def test_low_precision_is_as_good_as_plain(
    cell: str, version: str, dtype: str, shape: tuple[int, int, int]
) -> None:
    """At most twice the error of the formulas computed plainly in dtype; and one rounding of the result."""
    case = Case(cell, *shape, dtype)
    unit = float(np.finfo(dtype).eps if dtype != "bfloat16" else 2**-7) / 2
    for got, plain, exact in zip(case.run(device(), version), case.expected(case.dtype), case.expected()):
        for name, value in got.items():
            assert value.dtype == case.dtype
            error, allowed = (
                norm(value - exact[name]),
                2 * norm(plain[name] - exact[name]) + unit * norm(exact[name]),
            )
            assert error <= allowed, f"{name}: error {error:.3g}, plain {norm(plain[name] - exact[name]):.3g}"


@pytest.mark.emulator
@pytest.mark.parametrize(
    ("version", "rows"), [(v, r) for (d, v), (_, rs) in PRODUCTS.items() for r in rs if d == "forward"]
)
@pytest.mark.parametrize("cell", CELLS)
def test_every_number_of_rows_that_a_block_may_keep(cell: str, version: str, rows: int) -> None:
    dtype = "float16" if version == "persistent_mma" else "float64"
    case, units = Case(cell, 2, 2, 33, dtype), rows // reference.GATES[cell]
    emulated = device(multiprocessors=ceil_div(33, units))
    _, last, layer = case.forward(emulated, version)
    made = plan("forward", version, layer.shape(emulated))
    assert made is not None and made.rows <= rows
    exact, plain = case.expected()[0]["h_last"], case.expected(case.dtype)[0]["h_last"]
    assert norm(last[0] - exact) <= 2 * norm(plain - exact) + 1e-12


@pytest.mark.emulator
@pytest.mark.parametrize("version", NAMES)
@pytest.mark.parametrize(
    ("cell", "shape"), [(cell, (3, 18, 37)) for cell in CELLS] + [("rnn_tanh", (2, 140, 5))]
)
def test_the_order_of_threads_does_not_matter(cell: str, shape: tuple[int, int, int], version: str) -> None:
    case = Case(cell, *shape, DTYPES[version][0], short=True)
    fast = case.run(device(), version)
    for seed in (1, 2):
        scrambled = case.run(device(mode="scrambled", seed=seed), version)
        for got, expected in zip(scrambled, fast):
            for name, value in got.items():
                assert value.tobytes() == expected[name].tobytes(), name


@pytest.mark.emulator
@pytest.mark.parametrize(
    ("cell", "version"), [*[("lstm", name) for name in NAMES], ("gru", "persistent_mma")]
)
def test_no_races_and_nothing_out_of_bounds(cell: str, version: str) -> None:
    """Checked mode raises at the first fault. Shared memory is laid out so that requests conflict little."""
    checked = device(mode="checked")
    for shape, short in (((3, 3, 37), False), ((2, 18, 33), True)):
        Case(cell, *shape, DTYPES[version][0], short).run(checked, version)
    for report in checked.reports:
        shared = [request for request in report.requests if request.space == "shared"]
        assert sum(request.cost for request in shared) <= 1.25 * sum(request.ideal for request in shared), (
            report
        )


@pytest.mark.parametrize("reverse", [False, True])
def test_what_lies_behind_an_end_is_not_read(reverse: bool) -> None:
    case = Case("gru", 4, 6, 5, np.float64, short=True, reverse=reverse)
    expected = case.run(device(), None)
    for n, length in enumerate(case.all_lengths):
        case.of["inputs"][length:, n] = case.d["outputs"][length:, n] = np.nan
    for got, want in zip(case.run(device(), None), expected):
        for name, value in got.items():
            np.testing.assert_array_equal(value, want[name], err_msg=name)


def test_arguments_stay_as_they_are() -> None:
    case = Case("lstm", 3, 4, 5, np.float32)
    before = {name: value.copy() for name, value in (case.of | case.d).items()}
    for version in ("clear", "persistent_fma"):
        case.run(device(), version)
    for name, value in (case.of | case.d).items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)


def test_a_gru_without_a_bias() -> None:
    case = Case("gru", 3, 2, 4, np.float64)
    case.of["bias"] *= 0
    of, d = case.of, case.d
    outputs, _, layer = recurrent.forward(device(), "gru", of["inputs"], of["h_first"], None, of["weights"])
    np.testing.assert_allclose(outputs, case.expected()[0]["outputs"], rtol=1e-12)
    assert recurrent.backward(device(), layer, d["outputs"], d["h_last"]).bias is None


# --- Plans --------------------------------------------------------------------------------------------------------------


def shape_of(
    cell: str, hidden: int, itemsize: int, multiprocessors: int, architecture: int, n: int = 16
) -> dict[str, Any]:
    return {"cell": cell, "sequences": n, "hidden": hidden, "itemsize": itemsize, "multiprocessors": multiprocessors,
            "shared": SHARED.get(architecture, 99) * 1024}  # fmt: skip


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("hidden", [1, 37, 256, 768, 1024])
def test_a_plan_covers_all_units_within_the_limits(direction: str, cell: str, hidden: int) -> None:
    for version, itemsize in (("persistent_mma", 2), ("persistent_fma", 4)):
        shape = shape_of(cell, hidden, itemsize, 132, 90, n=64)
        made = plan(direction, version, shape)
        assert made is not None
        assert made.blocks * made.units >= hidden > (made.blocks - 1) * made.units
        assert made.blocks <= 132 and made.shared <= shape["shared"]
        weights = (
            made.units * reference.GATES[cell] * hidden * itemsize
        )  # all of a block's, forward and backward
        assert made.shared >= weights


def test_what_is_too_large_has_no_plan() -> None:
    assert plan("forward", "persistent_fma", shape_of("lstm", 1024, 4, 132, 86)) is None  # shared memory
    assert plan("forward", "persistent_mma", shape_of("lstm", 1024, 2, 16, 90)) is None  # multiprocessors
    assert plan("forward", "persistent_mma", shape_of("lstm", 1024, 2, 132, 90, n=4096)) is None  # sequences


@pytest.mark.emulator
def test_a_persistent_version_that_does_not_fit_is_refused_and_the_clear_one_taken() -> None:
    small = device(multiprocessors=1)
    case = Case("lstm", 2, 2, 40, np.float64)
    with pytest.raises(ValueError, match="persistent_fma does not take cell lstm"):
        case.run(small, "persistent_fma")
    got, _ = case.run(small, None)
    np.testing.assert_allclose(got["outputs"], case.expected()[0]["outputs"], rtol=1e-10)


# --- Refused --------------------------------------------------------------------------------------------------------------

REFUSED = [
    ("lstm", {"cell": "lstn"}, ValueError, "unknown cell 'lstn'; known: rnn_tanh, rnn_relu, lstm, gru"),
    ("lstm", {"weights": np.zeros((12, 4))}, ValueError, r"weights of a lstm must be \(4 H, H\), not \(12, 4\)"),
    ("lstm", {"weights": np.zeros(16)}, ValueError, r"weights of a lstm must be"),
    ("lstm", {"inputs": np.zeros((3, 2, 12))}, ValueError, r"inputs must be \(T, N, 16\), not \(3, 2, 12\)"),
    ("lstm", {"inputs": np.zeros((3, 16))}, ValueError, r"inputs must be \(T, N, 16\)"),
    ("lstm", {"inputs": np.zeros((3, 2, 16), int)}, TypeError, "inputs must be float16, bfloat16.* not int64"),
    ("lstm", {"inputs": np.zeros((3, 2, 32))[:, :, ::2]}, ValueError, "inputs must be C-contiguous; its strides"),
    ("lstm", {"weights": np.zeros((4, 16)).T}, ValueError, "weights must be C-contiguous"),
    ("lstm", {"weights": np.zeros((16, 4), np.float32)}, TypeError, "weights must be float64, not float32"),
    ("lstm", {"h_first": np.zeros((3, 4))}, ValueError, r"h_first must be \(2, 4\), not \(3, 4\)"),
    ("lstm", {"c_first": np.zeros((2, 5))}, ValueError, r"c_first must be \(2, 4\)"),
    ("lstm", {"c_first": np.zeros((2, 4), np.float16)}, TypeError, "c_first must be float64, not float16"),
    ("lstm", {"c_first": None}, ValueError, "c_first is for an lstm, which needs it; this is: lstm"),
    ("gru", {"c_first": np.zeros((2, 4))}, ValueError, "c_first is for an lstm, which needs it; this is: gru"),
    ("gru", {"bias": np.zeros(12)}, ValueError, r"bias must be \(4,\), not \(12,\)"),
    ("lstm", {"bias": np.zeros(4)}, ValueError, "bias is for a gru; that of a lstm belongs to inputs"),
    ("gru", {"lengths": np.array([1.0, 2.0])}, TypeError, "lengths must be integers, not float64"),
    ("gru", {"lengths": np.array([1, 2, 3])}, ValueError, r"lengths must be \(2,\), not \(3,\)"),
    ("gru", {"lengths": np.array([1, 4])}, ValueError, r"lengths must be 0\.\.3, not 4"),
    ("gru", {"lengths": np.array([-1, 3])}, ValueError, r"lengths must be 0\.\.3, not -1"),
    ("gru", {"version": "cudnn"}, ValueError, "gru_forward has no version 'cudnn'; it has: persistent_mma"),
    ("gru", {"version": "persistent_mma"}, ValueError, "persistent_mma takes float16, bfloat16, not float64"),
]  # fmt: skip


@pytest.mark.parametrize(("cell", "wrong", "error", "match"), REFUSED)
def test_what_forward_refuses(cell: str, wrong: dict[str, Any], error: type[Exception], match: str) -> None:
    of = Case(cell, 3, 2, 4, np.float64).of
    given = {"cell": cell, **of, "c_first": of["c_first"] if cell == "lstm" else None}
    given |= {"bias": of["bias"] if cell == "gru" else None, **wrong}
    with pytest.raises(error, match=match):
        recurrent.forward(device(), **given)


@pytest.mark.parametrize(
    ("cell", "wrong", "error", "match"),
    [
        ("lstm", {"doutputs": np.zeros((3, 2, 5))}, ValueError, r"doutputs must be \(3, 2, 4\), not \(3, 2, 5\)"),
        ("lstm", {"doutputs": np.zeros((3, 2, 4), np.float32)}, TypeError, "doutputs must be float64, not float32"),
        ("lstm", {"doutputs": np.zeros((3, 2, 8))[:, :, ::2]}, ValueError, "doutputs must be C-contiguous"),
        ("lstm", {"dh_last": np.zeros((4, 2))}, ValueError, r"dh_last must be \(2, 4\)"),
        ("lstm", {"dc_last": None}, ValueError, "dc_last is for an lstm, which needs it; this is: lstm"),
        ("gru", {"dc_last": np.zeros((2, 4))}, ValueError, "dc_last is for an lstm, which needs it; this is: gru"),
        ("lstm", {"dc_last": np.zeros((2, 3))}, ValueError, r"dc_last must be \(2, 4\)"),
        ("lstm", {"version": "cudnn"}, ValueError, "lstm_backward has no version 'cudnn'"),
    ],
)  # fmt: skip
def test_what_backward_refuses(cell: str, wrong: dict[str, Any], error: type[Exception], match: str) -> None:
    case = Case(cell, 3, 2, 4, np.float64)
    of, d, lstm = case.of, case.d, cell == "lstm"
    _, _, layer = recurrent.forward(
        device(), cell, of["inputs"], of["h_first"], of["c_first"] if lstm else None, of["weights"]
    )
    given = {"doutputs": d["outputs"], "dh_last": d["h_last"], "dc_last": d["c_last"] if lstm else None}
    with pytest.raises(error, match=match):
        recurrent.backward(device(), layer, **(given | wrong))
