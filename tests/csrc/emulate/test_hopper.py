"""mbarriers, TMA and wgmma do what the PTX ISA says, and what goes wrong without a wait is found."""

import numpy as np
import pytest
from ringleader.csrc.emulate import EmulatedDevice, KernelError

ml_dtypes = pytest.importorskip("ml_dtypes", reason="numpy's bfloat16: pip install ml_dtypes")
modes = pytest.mark.parametrize("mode", ["fast", "scrambled"])
HALVES = {"__half": np.float16, "__nv_bfloat16": ml_dtypes.bfloat16}
device = EmulatedDevice(architecture=90)


def padded(array, box, at):
    """The box, zeros outside of the array: of four axes."""
    out = np.zeros(box, array.dtype)
    for place in np.ndindex(box):
        source = tuple(a + p for a, p in zip(at, place))
        if all(0 <= s < n for s, n in zip(source, array.shape)):
            out[place] = array[source]
    return out


def unswizzled(memory, rows):
    """Rows of 128 bytes, whose pieces of 16 bytes were exchanged: piece p of row r is at p ^ (r % 8)."""
    pieces = memory.reshape(rows, 8, 16)
    return np.stack([pieces[r, np.arange(8) ^ r % 8] for r in range(rows)]).reshape(rows, 128)


@modes
@pytest.mark.parametrize(
    "at", [(0, 0, 0, 0), (1, 2, 3, 64), (0, 1, 6, 0), (1, 2, -3, 64), (0, 0, 9, 40)], ids=str
)
def test_a_box_of_an_array(kernels, mode, at):
    """Of 16-bit numbers; beyond the array's ends, too."""
    memory = np.random.default_rng(0).integers(0, 2**16, (2, 9, 3, 104)).astype(np.uint16)
    array = memory.transpose(0, 2, 1, 3)[..., :100]  # (batch, head, row, column): strides as attention's
    box = (1, 1, 8, 64)
    out = np.zeros(1024, np.uint8)
    batch, head, row, column = at
    args = [device.tensor_maps((array, box)), out, *map(np.int32, (1024, column, row, head, batch))]
    kernels("hopper.cu").get("fetch")(1, 64, args, shared=1024 + 8, mode=mode)
    assert (unswizzled(out, 8).view(np.uint16) == padded(array, box, at).reshape(8, 64)).all()


@pytest.mark.parametrize(("array", "box"), [
    (np.zeros((4, 64, 2), np.float16)[..., 0], (4, 64)),  # columns are not contiguous
    (np.zeros((4, 68), np.float16), (4, 64)),  # rows 136 bytes apart
    (np.zeros((4, 64), np.float16), (4, 32)),  # 64 bytes of a row
    (np.zeros((300, 64), np.float16), (300, 64)),
    (np.zeros((0, 64), np.float16), (4, 64)),
    (np.zeros((1, 1, 1, 4, 64), np.float16), (1, 1, 1, 4, 64)),
])  # fmt: skip
def test_arrays_that_the_copy_engine_does_not_take(array, box):
    with pytest.raises(ValueError, match="tensor map: "):
        device.tensor_maps((array, box))


@modes
@pytest.mark.parametrize("source", ["shared", "shared, turned", "registers"])
@pytest.mark.parametrize("rows_along_k", [True, False])
@pytest.mark.parametrize("n", [64, 128])
@pytest.mark.parametrize("c_type", HALVES)
def test_products_of_a_warpgroup(kernels, mode, source, rows_along_k, n, c_type):
    steps = 5  # 80 columns: more than one slab
    numbers = np.random.default_rng(1)
    a = numbers.integers(-8, 9, (64, 16 * steps)).astype(HALVES[c_type])  # so that sums are exact
    b = numbers.integers(-8, 9, (n, 16 * steps) if rows_along_k else (16 * steps, n)).astype(HALVES[c_type])
    d = np.zeros((64, n), np.float32)
    given = np.ascontiguousarray(a.T) if source == "shared, turned" else a
    flags = ", ".join(
        str(flag).lower() for flag in (rows_along_k, source != "shared, turned", source == "registers")
    )
    kernel = kernels("hopper.cu").get(f"product<{c_type}, {n}, {flags}, {steps}>")
    kernel(1, 128, [given, b, d], shared=2 * 128 * (64 + n), mode=mode)
    b = b.astype(np.float32)
    assert (d == a.astype(np.float32) @ (b.T if rows_along_k else b)).all()


def numbers(rounds):
    return np.arange(rounds * 128, dtype=np.int32), np.zeros(rounds * 128, np.int32)


SHARED = 256 * 4 + 4 * 8


@modes
def test_stages_are_handed_over(kernels, mode):
    x, y = numbers(7)
    kernels("hopper.cu").get("hand_over<false>")(1, 64, [x, y, np.int32(7)], shared=SHARED, mode=mode)
    assert (y.reshape(7, 128) == x.reshape(7, 128)[:, ::-1]).all()


def test_barriers_order_accesses(kernels):
    """What is told by an arrival is known after the wait: no race; where it is told too early, one."""
    x, y = numbers(7)
    kernel = kernels("hopper.cu").get("hand_over<false>")
    assert kernel.check(1, 64, [x, y, np.int32(7)], shared=SHARED).faults == []
    early = kernels("hopper.cu").get("hand_over<true>")
    faults = early.check(1, 64, [x, y, np.int32(7)], shared=SHARED).faults
    assert {fault.kind for fault in faults} == {"race"}


def test_a_box_read_before_it_came(kernels, tmp_path):
    """Poison, or what was there before; and a fault."""
    source = (kernels("hopper.cu").file).read_text()
    assert "#ifndef NO_WAIT" in source
    (tmp_path / "hopper.cu").write_text("#define NO_WAIT\n" + source)
    from ringleader.csrc import emulate

    kernel = emulate.load(tmp_path / "hopper.cu").get("fetch")
    array, out = np.ones((8, 64), np.uint16), np.zeros(1024, np.uint8)
    args = [device.tensor_maps((array, (8, 64))), out, *map(np.int32, (1024, 0, 0, 0, 0))]
    kernel(1, 64, args, shared=1024 + 8, mode="scrambled")
    assert (out == 255).all()
    assert "copy under way" in {fault.kind for fault in kernel.check(1, 64, args, shared=1024 + 8).faults}


def test_a_product_read_before_it_came(kernels):
    out = np.zeros(256, np.float32)
    kernels("hopper.cu").get("read_early")(1, 128, [out], shared=64 * 128, mode="scrambled")
    assert np.isnan(out[:128]).all()
    assert (out[128:] == 16).all()


@pytest.mark.timeout(60)
def test_bytes_that_never_come(kernels):
    maps = device.tensor_maps((np.ones((8, 64), np.uint16), (8, 64)))
    with pytest.raises(KernelError, match=r"deadlock at hopper.cu:\d+.*mbarrier_wait"):
        kernels("hopper.cu").get("expect_too_much")(1, 64, [maps], shared=1024 + 8)
