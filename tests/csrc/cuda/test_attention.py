"""The attention kernels, run by the emulator, against the formula written out in numpy."""

import shutil
from dataclasses import dataclass, fields, replace

import numpy as np
import pytest
from helpers.on_gpu import kernel_device
from ringleader.csrc.cuda import attention
from ringleader.csrc.cuda.attention_plans import MMA_PLANS
from ringleader.csrc.cuda.versions import INSTANCES, VERSIONS
from ringleader.csrc.emulate import EmulatedDevice

ml_dtypes = pytest.importorskip("ml_dtypes", reason="bfloat16 needs ml_dtypes")
pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++")

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
DTYPES = (np.dtype(np.float64), np.dtype(np.float32), np.dtype(np.float16), BFLOAT16)
TAKEN = [
    (version.name, dtype)
    for version in VERSIONS["attention_forward"]
    for dtype in DTYPES
    if dtype.name in version.dtypes
]
RESULTS = ("out", "logsumexp", "dq", "dk", "dv")


def registered(**emulated):
    """A device that launches only what is registered to be compiled."""
    device = kernel_device(**emulated)
    launch = device.launch

    def check_and_launch(file, expression, *args, **kwargs):
        assert (file, expression) in {(instance.file, instance.expression) for instance in INSTANCES}
        launch(file, expression, *args, **kwargs)

    device.launch = check_and_launch
    return device


@dataclass(frozen=True)
class Case:
    """lengths: of each batch row. mask: what the scores' axes have of it, "bool" or "add"; batch and heads are N, H or 1."""

    queries: int
    keys: int
    head: int = 16
    value_head: int = 0  # 0: as head
    batch: int = 2
    heads: int = 2
    kv_heads: int = 1
    scale: float = 0.3
    causal: bool = False
    lengths: tuple | None = None
    mask: str = ""
    mask_shape: tuple = ()

    def __str__(self):
        return " ".join(f"{f.name}={v}" for f in fields(self) if (v := getattr(self, f.name)) != f.default)

    def draw(self, dtype, seed=0):
        """query, key, value, grad, each (batch, heads, rows, columns), in memory (batch, rows, heads, columns)."""
        r, value_head = np.random.default_rng(seed), self.value_head or self.head
        shapes = ((self.queries, self.heads, self.head), (self.keys, self.kv_heads, self.head),
                  (self.keys, self.kv_heads, value_head), (self.queries, self.heads, value_head))  # fmt: skip
        return [
            r.standard_normal((self.batch, *shape)).astype(dtype).transpose(0, 2, 1, 3) for shape in shapes
        ]

    def options(self, dtype):
        r, options = np.random.default_rng(1), {"scale": self.scale, "causal": self.causal}
        if self.lengths is not None:
            options["lengths"] = np.array(self.lengths, np.int32)
        if self.mask == "bool":
            options["mask"] = r.random(self.mask_shape) < 0.6
            options["mask"][..., 0, :] = False  # the first query sees nothing
        if self.mask == "add":
            options["mask"] = r.standard_normal(self.mask_shape).astype(dtype)
            options["mask"][..., -1] = -np.inf
        return options


CASES = (
    Case(1, 1, batch=1, heads=1),
    Case(7, 1),
    Case(1, 7, heads=1),
    Case(33, 65, head=32, causal=True),  # keys that no query sees
    Case(65, 33, head=24, causal=True, heads=4, kv_heads=2),
    Case(130, 130, head=8, heads=1, causal=True, batch=1),
    Case(130, 33, head=8, value_head=32, batch=1, heads=6, kv_heads=2),
    Case(7, 130, heads=1, batch=4, lengths=(0, 1, 65, 130)),
    Case(70, 66, batch=3, lengths=(-5, 64, 999), causal=True),
    Case(33, 65, mask="bool", mask_shape=(33, 65)),
    Case(33, 65, heads=4, kv_heads=2, mask="add", mask_shape=(2, 1, 33, 65), causal=True, lengths=(40, 3)),
    Case(5, 70, mask="add", mask_shape=(2, 1, 70), heads=2),
    Case(66, 5, mask="bool", mask_shape=(2, 1, 66, 1)),
    Case(65, 33, scale=-0.5, causal=True),
    Case(65, 130, heads=1, scale=20.0),  # e^score is far out of range
    Case(65, 33, head=64, heads=1, batch=1, causal=True),
)
LARGE = (
    Case(33, 70, head=96, batch=1, heads=1, causal=True),
    Case(33, 70, head=120, value_head=72, batch=1, heads=1, causal=True),
    Case(37, 50, head=256, batch=1, heads=1, causal=True, scale=0.1),
)
LARGE_MASKED = tuple(replace(case, mask="add", mask_shape=(case.queries, case.keys)) for case in LARGE) + (
    Case(33, 70, head=64, heads=1, batch=1, mask="bool", mask_shape=(33, 70)),
)


def run(device, version, arrays, options):
    """The results of both launchers, by name."""
    *inputs, grad = arrays
    out, logsumexp = attention.forward(device, *inputs, version=version, **options)
    grads = attention.backward(device, grad, *inputs, out, logsumexp, version=version, **options)
    return dict(zip(RESULTS, (out, logsumexp, *grads)))


def visible(shape, causal=False, lengths=None, mask=None, scale=None):
    """Which scores count, and what is added to them."""
    batch, _, queries, keys = shape
    counts, bias = np.ones(shape, bool), np.zeros(shape)
    if causal:
        counts &= np.arange(keys) <= np.arange(queries)[:, None]
    if lengths is not None:
        counts &= np.arange(keys) < lengths.reshape(batch, 1, 1, 1)
    if mask is not None:
        counts, bias = (
            (counts & mask, bias) if mask.dtype == bool else (counts, bias + mask.astype(np.float64))
        )
    return counts, bias


def formula(arrays, options, rounded=lambda x: x):
    """The results in float64, with every array formed on the way rounded: by nothing, or to a dtype with few bits.

    Besides, the sums of the absolute values of what is added up in each result, for bounds on its rounding. Weights so
    small that they may be lost count a little more.
    """
    query, key, value, grad = (array.astype(np.float64) for array in arrays)
    heads, kv_heads, scale = query.shape[1], key.shape[1], options["scale"]
    group = heads // kv_heads
    key, value = np.repeat(key, group, axis=1), np.repeat(value, group, axis=1)
    counts, bias = visible((*query.shape[:3], key.shape[2]), **options)

    def turned(x):
        return x.swapaxes(-1, -2)

    def of_groups(x):
        return x.reshape(len(x), kv_heads, group, *x.shape[2:]).sum(axis=2)

    scores = rounded(rounded(scale * rounded(query @ turned(key))) + bias)
    scores = np.where(counts, scores, -np.inf)
    top = np.max(scores, axis=-1, keepdims=True, initial=np.finfo(np.float64).min)
    e = np.exp(scores - top)
    total = e.sum(-1, keepdims=True)
    p = rounded(e / np.where(total == 0, 1, total))
    out = rounded(p @ value)
    with np.errstate(divide="ignore"):
        logsumexp = np.where(total == 0, -np.inf, top + np.log(total))[..., 0]
    dp = rounded(grad @ turned(value))
    ds = rounded(p * (dp - (p * dp).sum(-1, keepdims=True)))
    results = (out, logsumexp, rounded(scale * (ds @ key)), rounded(of_groups(scale * (turned(ds) @ query))),
               rounded(of_groups(turned(p) @ grad)))  # fmt: skip

    q, k, v, g = map(np.abs, (query, key, value, grad))
    largest = (abs(scale) * q @ turned(k) + np.abs(np.where(np.isfinite(scores), bias, 0))).max(initial=0)
    size = 1 + largest + np.abs(logsumexp).max(where=total[..., 0] > 0, initial=0)
    p = p + np.finfo(np.float32).tiny / np.finfo(np.float32).eps
    a = p * (g @ turned(v) + (g * (p @ v)).sum(-1, keepdims=True))
    sums = (p @ v, np.ones_like(logsumexp), abs(scale) * (a @ k), of_groups(abs(scale) * (turned(a) @ q)),
            of_groups(turned(p) @ g))  # fmt: skip
    return dict(zip(RESULTS, results)), {name: size * s for name, s in zip(RESULTS, sums)}


def check(got, arrays, options, note=""):
    """Within a few roundings of what is added up; in 16 bits, at most twice as far off as the formula is whose arrays
    are rounded on the way, but for one rounding of the result."""
    dtype = arrays[0].dtype
    wanted, sums = formula(arrays, options)
    eps = np.finfo(np.float64 if dtype == np.float64 else np.float32).eps
    plain, half_unit = wanted, 0.0
    if dtype.itemsize == 2:
        plain, _ = formula(arrays, options, lambda x: x.astype(dtype).astype(np.float64))
        half_unit = float(ml_dtypes.finfo(dtype).eps) / 2
    for name in RESULTS:
        result, exact = got[name].astype(np.float64), wanted[name]
        assert result.shape == exact.shape
        never = np.isneginf(exact)  # queries that see no key
        assert np.array_equal(np.isneginf(result), never), f"{name} {note}"
        error, allowed = np.abs(np.where(never, 0, result - np.where(never, 0, exact))), 8 * eps * sums[name]
        if name != "logsumexp":
            allowed = allowed + half_unit * np.abs(exact) + 2 * np.abs(plain[name] - exact).max(initial=0)
        worst = (error - allowed).max(initial=-1)
        assert worst <= 0, f"{name} is off by {error.max()}, {worst} more than allowed {note}"


def skip_if_unfit(version, case):
    if version == "wgmma" and (case.mask or case.scale <= 0):
        pytest.skip("wgmma takes no mask, and positive scales")


@pytest.fixture(scope="module")
def device():
    return registered(architecture=80)


HOPPER = registered(architecture=90)


def of_version(version, device):
    if version == "wgmma" and HOPPER.architecture != 90:
        pytest.skip("wgmma is for Hopper")
    return HOPPER if version == "wgmma" else device


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize(("version", "dtype"), TAKEN, ids=str)
def test_results(device, version, dtype, case):
    skip_if_unfit(version, case)
    arrays, options, device = case.draw(dtype), case.options(dtype), of_version(version, device)
    check(run(device, version, arrays, options), arrays, options)


OF_WGMMA = (
    Case(128, 128, head=128, batch=1, heads=1),
    Case(129, 300, head=128, value_head=64, batch=1, heads=2),
    Case(300, 290, head=72, value_head=128, batch=1, heads=2, causal=True),
    Case(140, 520, head=64, heads=1, lengths=(0, 513)),  # five tiles of keys: each stage is filled again
)


@pytest.mark.parametrize("dtype", DTYPES[2:], ids=str)
@pytest.mark.parametrize("case", OF_WGMMA, ids=str)
def test_wgmma_of_several_tiles(dtype, case):
    arrays, options = case.draw(dtype), case.options(dtype)
    check(run(of_version("wgmma", None), "wgmma", arrays, options), arrays, options)


@pytest.mark.emulator
@pytest.mark.parametrize("case", OF_WGMMA[-2:], ids=str)
def test_wgmma_in_any_order_of_threads(case):
    arrays, options = case.draw(BFLOAT16), case.options(BFLOAT16)
    wanted = run(HOPPER, "wgmma", arrays, options)
    for seed in range(3):
        got = run(EmulatedDevice("scrambled", seed, architecture=90), "wgmma", arrays, options)
        assert all(np.array_equal(got[name], wanted[name]) for name in RESULTS)
    # The checker orders what threads do by barriers that count bytes, too; it is compiled otherwise, so it rounds otherwise.
    run(EmulatedDevice("checked", architecture=90), "wgmma", arrays, options)


@pytest.mark.emulator
def test_wgmma_is_taken_where_it_fits():
    arrays = Case(4, 4).draw(np.float16)
    best = run(HOPPER, None, arrays, {"scale": 1.0})
    wgmma = run(HOPPER, "wgmma", arrays, {"scale": 1.0})
    assert all(np.array_equal(best[name], wgmma[name]) for name in RESULTS)
    for options in ({"scale": -1.0}, {"scale": 1.0, "mask": np.ones((4, 4), bool)}):
        with pytest.raises(ValueError, match="wgmma does not take"):
            attention.forward(HOPPER, *arrays[:3], version="wgmma", **options)
    backwards = [array[:, ::-1] for array in arrays]  # heads, which the copy engine does not walk that way
    got = run(HOPPER, None, backwards, {"scale": 1.0})
    assert all(map(np.array_equal, got.values(), run(HOPPER, "mma", backwards, {"scale": 1.0}).values()))
    with pytest.raises(ValueError, match=r"wgmma needs compute capability 9\.0"):
        attention.forward(EmulatedDevice(architecture=80), *arrays[:3], version="wgmma", scale=1.0)


@pytest.mark.parametrize("case", LARGE + LARGE_MASKED, ids=str)
@pytest.mark.parametrize(("version", "dtype"), [("mma", BFLOAT16), ("clear", np.dtype(np.float32))], ids=str)
def test_large_heads(device, version, dtype, case):
    arrays, options = case.draw(dtype), case.options(dtype)
    check(run(device, version, arrays, options), arrays, options)


ALL_AT_ONCE = Case(
    66, 70, head=32, heads=4, kv_heads=2, causal=True, lengths=(67, 5), mask="add", mask_shape=(4, 66, 70)
)  # fmt: skip


@pytest.mark.emulator
@pytest.mark.parametrize(("version", "dtype"), [("mma", BFLOAT16), ("clear", np.dtype(np.float32))], ids=str)
def test_same_bits_in_any_order_of_threads(device, version, dtype):
    arrays, options = ALL_AT_ONCE.draw(dtype), ALL_AT_ONCE.options(dtype)
    wanted = run(device, version, arrays, options)
    for seed in range(3):
        got = run(EmulatedDevice("scrambled", seed), version, arrays, options)
        assert all(np.array_equal(got[name], wanted[name]) for name in RESULTS)


@pytest.mark.emulator
@pytest.mark.parametrize(
    ("version", "dtype", "head"),
    [("mma", BFLOAT16, 32), ("mma", BFLOAT16, 64), ("mma", BFLOAT16, 256),
     ("clear", np.dtype(np.float32), 32), ("clear", np.dtype(np.float32), 64)], ids=str,
)  # fmt: skip
def test_checked(version, dtype, head):
    """No race, no access out of bounds, no tile read before it came; and no bank conflict."""
    case = Case(66, 70, head=head, heads=1, batch=1, causal=True, lengths=(67,))
    checked = EmulatedDevice("checked")
    run(checked, version, case.draw(dtype), case.options(dtype))
    requests = [request for report in checked.reports for request in report.requests]
    assert not [
        str(request) for request in requests if request.space == "shared" and request.cost > request.ideal
    ]
    assert len(checked.reports) == 4
    assert requests


@pytest.mark.parametrize("case", [
    Case(3, 5, head=3, value_head=2, batch=1, causal=True),
    Case(2, 4, head=2, value_head=3, batch=2, lengths=(3, 1), mask="add", mask_shape=(2, 4)),
    Case(3, 3, head=2, batch=1, heads=3, kv_heads=3, mask="bool", mask_shape=(3, 3)),
], ids=str)  # fmt: skip
def test_gradients_are_slopes(device, case):
    """Of loss = sum(out grad), by central differences of the kernel's own forward."""
    *inputs, grad = case.draw(np.float64)
    options, step = case.options(np.float64), 1e-5
    results = run(device, "clear", [*inputs, grad], options)

    def loss():
        return (attention.forward(device, *inputs, version="clear", **options)[0] * grad).sum()

    for array, gradient in zip(inputs, (results["dq"], results["dk"], results["dv"])):
        slopes = np.empty(array.shape)
        for at in np.ndindex(array.shape):
            before = array[at]
            array[at] = before + step
            above = loss()
            array[at] = before - step
            slopes[at] = (above - loss()) / (2 * step)
            array[at] = before
        np.testing.assert_allclose(gradient, slopes, atol=1e-8)


@pytest.mark.parametrize(("version", "dtype"), TAKEN, ids=str)
@pytest.mark.parametrize("case", [Case(0, 5), Case(5, 0), Case(5, 5, batch=0), Case(0, 0)], ids=str)
def test_nothing(device, version, dtype, case):
    if version == "wgmma":
        pytest.skip("the copy engine cannot describe an array of nothing")
    got = run(device, version, case.draw(dtype), case.options(dtype))
    assert got["out"].shape == got["dq"].shape == (case.batch, 2, case.queries, 16)
    assert got["dk"].shape == got["dv"].shape == (case.batch, 1, case.keys, 16)
    assert all(not got[name].any() for name in ("out", "dq", "dk", "dv"))
    assert np.isneginf(got["logsumexp"]).all()


def layouts(array):
    """The same numbers in memory in other ways."""
    yield np.ascontiguousarray(array)
    wide = np.zeros((*array.shape[:3], 5, array.shape[3]), array.dtype)
    wide[:, ::-1, :, 2] = array
    yield wide[:, ::-1, :, 2]  # rows far apart, heads backwards


@pytest.mark.parametrize(("version", "dtype"), [("mma", BFLOAT16), ("clear", np.dtype(np.float32))], ids=str)
def test_any_strides(device, version, dtype):
    arrays, options = ALL_AT_ONCE.draw(dtype), ALL_AT_ONCE.options(dtype)
    wanted = run(device, version, arrays, options)
    others = [list(layouts(array)) for array in arrays]
    for other in zip(*others):
        got = run(device, version, list(other), options)
        assert all(np.array_equal(got[name], wanted[name]) for name in RESULTS)
    wanted_memory = (ALL_AT_ONCE.batch, ALL_AT_ONCE.queries, ALL_AT_ONCE.heads, ALL_AT_ONCE.head)
    assert wanted["out"].base.shape == wanted_memory
    assert wanted["out"].base.flags.c_contiguous


def test_mask_of_any_strides(device):
    arrays, options = ALL_AT_ONCE.draw(BFLOAT16), ALL_AT_ONCE.options(BFLOAT16)
    wanted = run(device, "mma", arrays, options)
    options["mask"] = np.asfortranarray(options["mask"])
    got = run(device, "mma", arrays, options)
    assert all(np.array_equal(got[name], wanted[name]) for name in RESULTS)


def moved(array):
    """A copy that begins two bytes after a multiple of 16."""
    memory = np.zeros(array.nbytes + 32, np.uint8)
    start = -memory.ctypes.data % 16 + 2
    copy = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[:] = array
    return copy


@pytest.mark.emulator
@pytest.mark.parametrize(
    "unfit", ["odd head", "odd value", "not aligned", "rows not aligned", "old", "float32"]
)
def test_what_mma_does_not_take(device, unfit):
    case = Case(4, 4, head=15 if unfit == "odd head" else 16, value_head=15 if unfit == "odd value" else 16)
    arrays = case.draw(np.float32 if unfit == "float32" else np.float16)
    if unfit == "not aligned":
        arrays[1] = moved(np.ascontiguousarray(arrays[1]))
    if unfit == "rows not aligned":
        arrays[0] = np.zeros((2, 2, 4, 17), np.float16)[..., :16]
    device = EmulatedDevice(architecture=75) if unfit == "old" else device
    with pytest.raises(ValueError, match="mma"):
        attention.forward(device, *arrays[:3], scale=1.0, version="mma")
    out, _ = attention.forward(device, *arrays[:3], scale=1.0)  # the clear version takes it
    assert np.array_equal(out, attention.forward(device, *arrays[:3], scale=1.0, version="clear")[0])


@pytest.mark.emulator
def test_mma_is_taken_where_it_fits(device):
    query, key, value, grad = Case(4, 4).draw(np.float16)
    best = run(device, None, (query, key, value, grad), {"scale": 1.0})
    mma = run(device, "mma", (query, key, value, grad), {"scale": 1.0})
    assert all(np.array_equal(best[name], mma[name]) for name in RESULTS)
    out, logsumexp = attention.forward(device, query, key, value, scale=1.0)
    grads = attention.backward(device, moved(grad), query, key, value, out, logsumexp, scale=1.0)
    clear = attention.backward(device, grad, query, key, value, out, logsumexp, scale=1.0, version="clear")
    assert all(map(np.array_equal, grads, clear))  # a gradient that is not aligned


def test_tiles_fit_the_smallest_shared_memory():
    """99 KB a block on sm_86, sm_89 and sm_120."""
    assert all(plan.shared <= 99 << 10 for plan in MMA_PLANS)


def zeros(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


FORWARD = {"query": zeros(2, 4, 5, 8), "key": zeros(2, 2, 6, 8), "value": zeros(2, 2, 6, 3)}


@pytest.mark.parametrize(("changed", "error", "message"), [
    ({"query": zeros(2, 4, 5, 8, dtype=np.int32)}, TypeError, "query is int32; it must be one of float16"),
    ({"key": zeros(2, 2, 6, 8, dtype=np.float64)}, TypeError, "key is float64, query float32"),
    ({"value": zeros(2, 6, 3)}, ValueError, r"value must be \(batch, heads, rows, columns\), its shape is \(2, 6, 3\)"),
    ({"query": zeros(2, 4, 5, 16)[..., ::2]}, ValueError, "query's last axis must be contiguous, its strides are"),
    ({"query": np.ndarray((2, 4, 5, 8), np.float32, zeros(999), 0, (1200, 300, 34, 4))}, ValueError,
     r"query's strides \(1200, 300, 34, 4\) must be multiples of its 4 bytes"),
    ({"key": zeros(3, 2, 6, 8)}, ValueError, "query has 2 batch rows, key 3, value 2"),
    ({"key": zeros(2, 2, 7, 8)}, ValueError, "key has 2 heads of 7 rows, value 2 of 6"),
    ({"key": zeros(2, 2, 6, 9)}, ValueError, "key has 9 columns, query 8"),
    ({"query": zeros(2, 4, 5, 257), "key": zeros(2, 2, 6, 257)}, ValueError,
     "query and key must have 1 to 256 columns, not 257"),
    ({"value": zeros(2, 2, 6, 0)}, ValueError, "value must have 1 to 256 columns, not 0"),
    ({"query": zeros(2, 5, 5, 8)}, ValueError, "query's 5 heads are no multiple of key's 2"),
    ({"lengths": zeros(2)}, TypeError, "lengths is float32; it must be int32"),
    ({"lengths": zeros(3, dtype=np.int32)}, ValueError, r"lengths must be \(2,\), contiguous; its shape is \(3,\)"),
    ({"mask": zeros(5, 6, dtype=np.float64)}, TypeError, "mask is float64; it must be bool, or float32 as query"),
    ({"mask": zeros(5, 5)}, ValueError, r"mask \(5, 5\) does not broadcast to the scores \(2, 4, 5, 6\)"),
    ({"mask": np.ndarray((5, 6), np.float32, zeros(99), 0, (26, 4))}, ValueError,
     r"mask's strides \(26, 4\) must be multiples of its 4 bytes"),
    ({"version": "best"}, ValueError, "attention_forward has no version 'best'; it has: wgmma, mma, clear"),
])  # fmt: skip
def test_bad_arguments(device, changed, error, message):
    with pytest.raises(error, match=message):
        attention.forward(device, **FORWARD | changed, scale=1.0)


@pytest.mark.parametrize(("changed", "error", "message"), [
    ({"grad": zeros(2, 4, 5, 8)}, ValueError, r"grad has shape \(2, 4, 5, 8\), the output \(2, 4, 5, 3\)"),
    ({"grad": zeros(2, 4, 5, 3, dtype=np.float16)}, TypeError, "grad is float16, query float32"),
    ({"out": zeros(2, 4, 6, 3)}, ValueError, r"out has shape \(2, 4, 6, 3\), the output \(2, 4, 5, 3\)"),
    ({"logsumexp": zeros(2, 4, 5, dtype=np.float64)}, TypeError, "logsumexp is float64; forward gave float32"),
    ({"logsumexp": zeros(2, 5, 4).swapaxes(1, 2)}, ValueError, r"logsumexp must be \(2, 4, 5\), C-contiguous"),
    ({"key": zeros(2, 2, 6, 9)}, ValueError, "key has 9 columns, query 8"),
])  # fmt: skip
def test_bad_arguments_of_backward(device, changed, error, message):
    given = (
        FORWARD | {"grad": zeros(2, 4, 5, 3), "out": zeros(2, 4, 5, 3), "logsumexp": zeros(2, 4, 5)} | changed
    )
    with pytest.raises(error, match=message):
        attention.backward(device, **given, scale=1.0)
