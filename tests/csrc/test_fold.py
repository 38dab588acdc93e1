"""The reduction kernels of the CPU engine against numpy's ufuncs and ml_dtypes, bit for bit.

Every operation and type × length, alignment and aliasing, at every level of instructions.
"""

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

_engine = pytest.importorskip("ringleader.csrc.cpu._engine", reason="the CPU engine is not built")

Array = np.ndarray[Any, Any]
UFUNCS = {
    "sum": np.add, "prod": np.multiply, "min": np.minimum, "max": np.maximum,
    "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor,
}  # fmt: skip
BITWISE = ("and", "or", "xor")
INTEGERS = ("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
FLOATS = ("float16", "bfloat16", "float32", "float64", "complex64", "complex128")
MANTISSA_BITS = {"float16": 10, "bfloat16": 7, "float32": 23, "float64": 52}
PART = {"complex64": "float32", "complex128": "float64"}
X86 = ("x86_64", "AMD64")
LENGTHS = (0, 1, 3, 15, 16, 17, 63, 64, 65, 1000, 4097)
CASES = [(op, name) for name in INTEGERS for op in UFUNCS]
CASES += [(op, name) for name in FLOATS for op in UFUNCS if op not in BITWISE]
every_case = pytest.mark.parametrize(("op", "name"), CASES)


def dtype_of(name: str) -> np.dtype[Any]:
    if name == "bfloat16":
        name = pytest.importorskip("ml_dtypes", reason="bfloat16 needs ml_dtypes").bfloat16
    return np.dtype(name)


def special_floats(name: str) -> Array:
    """Zeros, subnormals, neighbours of 1 and of where rounding ties, inf, NaN (quiet, signalling); both signs."""
    dtype, mantissa = dtype_of(name), MANTISSA_BITS[name]
    sign, normal = 1 << (8 * dtype.itemsize - 1), 1 << mantissa
    infinity = sign - normal
    one = infinity // 2 // normal * normal
    ulp = one - mantissa * normal  # of 1
    positive = [0, 1, 2, normal - 1, normal, normal + 1, one - 1, one, one + 1, one + normal]
    positive += [ulp - normal, ulp, ulp + 1]
    positive += [infinity - 1, infinity, infinity + 1, infinity + normal // 2, infinity + normal // 2 + 3]
    return np.array(positive + [x | sign for x in positive], f"u{dtype.itemsize}").view(dtype)


def special_values(name: str) -> Array:
    dtype = dtype_of(name)
    if name == "bool":
        return np.array([False, True])
    if name in INTEGERS:
        least, most = np.iinfo(dtype).min, np.iinfo(dtype).max
        return np.array([least, least + 1, 0, 1, 3, most // 255, most // 2, most - 1, most], dtype)
    if name in PART:  # put together as memory: arithmetic would change NaNs
        parts = np.random.default_rng(5).choice(special_floats(PART[name]), 400)
        return parts.view(dtype)
    return special_floats(name)


def operands(name: str) -> tuple[Array, Array]:
    """All pairs of special values, then random bits: of 16-bit types every pattern."""
    dtype, rng, values = dtype_of(name), np.random.default_rng(7), special_values(name)
    if name == "bool":
        bulk = rng.integers(0, 2, 10_000).astype(bool)
    elif dtype.itemsize == 2:
        bulk = np.arange(65536, dtype=np.uint16).view(dtype)
    else:
        bulk = rng.integers(0, 256, 20_000 * dtype.itemsize, np.uint8).view(dtype)
    a = np.concatenate([np.repeat(values, values.size), bulk])
    b = np.concatenate([np.tile(values, values.size), rng.permutation(bulk)])
    return a, b


def same_bits(x: Array, y: Array) -> Array:
    as_bytes = (-1, x.dtype.itemsize)
    return np.asarray((x.view(np.uint8).reshape(as_bytes) == y.view(np.uint8).reshape(as_bytes)).all(axis=1))


def may_differ(op: str, name: str, a: Array, b: Array, want: Array) -> Array:
    """Where numpy's own bits depend on the position in the array or on the processor, though both results fit.

    Two NaNs added or multiplied: either may be kept. A complex product adds four of them. The smaller of -0.0 and
    0.0 is the second operand on x86-64, and elsewhere what the processor says.
    """
    if name in INTEGERS:
        return np.zeros(want.shape, bool)
    if op in ("min", "max"):
        return np.asarray((a == 0) & (b == 0) & (want == 0) & (platform.machine() not in X86))
    return np.asarray(want != want if name in PART else (a != a) & (b != b))


def reference(op: str, name: str, a: Array, b: Array) -> Array:
    """numpy's result; of complex products without its fused multiply-add where the kernels may not use it."""
    if op == "prod" and name in PART and platform.machine() in X86 and _engine.cpu_level() == "baseline":
        want = np.empty_like(a)
        want.real, want.imag = a.real * b.real - a.imag * b.imag, a.real * b.imag + a.imag * b.real
        return want
    return np.asarray(UFUNCS[op](a, b))


def check(op: str, name: str, got: Array, a: Array, b: Array) -> None:
    with np.errstate(all="ignore"):
        want = reference(op, name, a, b)
        assert got.dtype == want.dtype
        if name in PART:  # part by part, for NaN in one says nothing about the other
            got, want, a, b = (np.ascontiguousarray(x).view(PART[name]) for x in (got, want, a, b))
        alike = (got == want) | ((got != got) & (want != want))
        fine = same_bits(got, want) | (alike & may_differ(op, name, a, b, want))
    bad = np.flatnonzero(~fine)[:5]
    assert bad.size == 0, f"{op} {name} at {bad}: {a[bad]}, {b[bad]} give {got[bad]}, not {want[bad]}"


class Placed:
    """A copy of `values` that starts `offset` bytes behind a cache line, with a fence of known bytes around it."""

    def __init__(self, values: Array, offset: int) -> None:
        memory = np.full(values.nbytes + 256, 0xA5, np.uint8)
        start = -memory.ctypes.data % 64 + 64 + offset
        self.before, self.behind = memory[:start], memory[start + values.nbytes :]
        self.array = memory[start : start + values.nbytes].view(values.dtype)
        self.array[:] = values

    def check_fence(self) -> None:
        assert (self.before == 0xA5).all() and (self.behind == 0xA5).all(), "written outside of the array"


def placements(name: str) -> Iterator[tuple[Array, Array, int]]:
    """Operands of each length with the offset of the second operand and of the result, in bytes."""
    a, b = operands(name)
    size = dtype_of(name).itemsize
    for length in LENGTHS:
        start = np.random.default_rng(length).integers(0, a.size - length)
        for offset in sorted({0, 1, size, 64 - size}):
            yield a[start : start + length], b[start : start + length], offset


def test_level_is_as_asked() -> None:
    asked = os.environ.get("RINGLEADER_CPU")
    if asked is None:
        assert _engine.cpu_level() in ("baseline", "avx2", "avx512")
    else:
        assert _engine.cpu_level() in (asked, "baseline")  # baseline where the processor has no more


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("op", BITWISE)
def test_bitwise_of_floats_is_refused(op: str, name: str) -> None:
    a = np.ones(3, dtype_of(name))
    with pytest.raises((TypeError, ValueError)):
        _engine.fold(op, a.copy(), a, a)


@every_case
def test_special_and_random_values(op: str, name: str) -> None:
    a, b = operands(name)
    got = np.zeros_like(a)
    _engine.fold(op, got, a, b)
    check(op, name, got, a, b)


@every_case
def test_lengths_alignments_and_aliases(op: str, name: str) -> None:
    for a, b, offset in placements(name):
        for alias in ("apart", "a", "b"):
            x, y = Placed(a, 0), Placed(b, offset)
            dst = {"apart": Placed(np.zeros_like(a), offset), "a": x, "b": y}[alias]
            _engine.fold(op, dst.array, x.array, y.array)
            check(op, name, dst.array, a, b)
            for placed in (x, y, dst):
                placed.check_fence()


@pytest.mark.skipif("RINGLEADER_CPU" in os.environ, reason="this run is one of the levels")
@pytest.mark.parametrize("level", ["baseline", "avx2"])
def test_lower_levels(level: str) -> None:
    """This file again, in a process that may use no more than `level`."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", __file__]
    done = subprocess.run(
        command, env=os.environ | {"RINGLEADER_CPU": level}, capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
