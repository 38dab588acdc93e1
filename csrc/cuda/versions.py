"""The versions of each operator, and the one place where one of them is chosen.

An operator's module registers its versions, best first:

    VERSIONS = versions(
        Version("attention_forward", "mma", least=80, dtypes=("float16", "bfloat16"),
                fits=lambda shape: shape["head"] % 16 == 0, measured="not yet measured"),
        Version("attention_forward", "clear"),
    )

``choose("attention_forward", architecture, dtype, head=64)`` is the first that is there for the architecture and the
dtype and fits the shape. What is compiled for it is listed as ``Instance``s. How to call its launcher on random inputs,
for the commands that run, check and profile kernels, is told by an example:

    @example("softmax_forward", shape="ROWS,COLUMNS", default=(5, 300))
    def softmax_example(device: Device, draw: Draw, version: str | None, rows: int, columns: int) -> Array:
        return softmax_forward(device, draw(rows, columns), version=version)
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from ringleader.csrc.cuda.device import Array, Device

LOGGED = "kernels" in os.environ.get("RINGLEADER_LOG", "").replace(",", " ").split()
_told: set[tuple[str, str]] = set()

ALL = ("float16", "bfloat16", "float32", "float64")
# that kernels are compiled for and checked
ARCHITECTURES = ("75", "80", "86", "89", "90", "90a", "100", "120")


@dataclass(frozen=True)
class Version:
    """One way to compute an operator. measured: its speed, where and against what, or "not yet measured"."""

    operator: str
    name: str
    least: int = 75  # lowest compute capability
    only: str = ""  # "90a": an architecture whose features no other has
    dtypes: tuple[str, ...] = ALL
    fits: Callable[[Mapping[str, Any]], bool] = field(default=lambda shape: True, repr=False)
    measured: str = "not yet measured"


@dataclass(frozen=True)
class Instance:
    """One kernel to compile. production: some version that ``choose`` can take launches it, so it must not spill."""

    file: str  # "softmax.cu"
    expression: str  # "softmax_forward<float>"
    least: int = 75
    only: str = ""
    production: bool = True

    def claims(self, architecture: str) -> bool:
        """That it compiles for one of ``ARCHITECTURES``."""
        return int(architecture.rstrip("af")) >= self.least and self.only in ("", architecture)


@dataclass(frozen=True)
class Draw:
    """Random inputs of an example, on its device: the same numbers for the same seed, whatever the dtype.

    dtype: of the floating-point arrays. rounded: the dtype to whose values they are rounded before, so that a float64
    run gets exactly the inputs of the bfloat16 run that it is compared with.
    """

    device: Device
    generator: np.random.Generator
    dtype: Any
    rounded: Any = None

    def __call__(self, *shape: int, scale: float = 1.0) -> Array:
        """Normally distributed with that standard deviation."""
        values = self.generator.standard_normal(shape) * scale
        return self.device.xp.asarray(values.astype(self.rounded or self.dtype).astype(self.dtype))

    def integers(self, low: int, high: int, *shape: int, dtype: Any = np.int32) -> Array:
        """From low to high - 1."""
        return self.device.xp.asarray(self.generator.integers(low, high, shape).astype(dtype))


@dataclass(frozen=True)
class Example:
    """run(device, draw, version, *shape): call an operator's launcher and return its array or arrays."""

    operator: str  # a key of VERSIONS
    shape: tuple[str, ...]  # names of the extents, as in the formula: N, H, T, D
    default: tuple[int, ...]  # small, and no multiple of a tile
    run: Callable[..., Array | tuple[Array, ...]] = field(repr=False)

    @property
    def module(self) -> str:
        """The operator's module: "attention"."""
        return self.run.__module__.rpartition(".")[2]

    def check(self, given: Sequence[int] | None) -> tuple[int, ...]:
        """The shape to run it on. ValueError: not as many extents as it has."""
        if given is not None and len(given) != len(self.shape):
            raise ValueError(
                f"{self.operator} takes a shape {','.join(self.shape)}, like {','.join(map(str, self.default))}, "
                f"not {','.join(map(str, given))}"
            )
        return self.default if given is None else tuple(given)


@dataclass(frozen=True)
class Choice:
    """What ``choose`` took, and why it did not take the better ones, by their names."""

    version: Version
    refused: Mapping[str, str]


Run = TypeVar("Run", bound=Callable[..., Any])

VERSIONS: dict[str, list[Version]] = {}  # operator -> versions, best first
INSTANCES: list[Instance] = []
EXAMPLES: dict[str, Example] = {}  # by operator
_recorded: ContextVar[list[Choice] | None] = ContextVar("choices", default=None)


def versions(*given: Version) -> tuple[Version, ...]:
    """Register the versions of operators, best first for each."""
    for version in given:
        VERSIONS.setdefault(version.operator, []).append(version)
    return given


def instances(*given: Instance) -> tuple[Instance, ...]:
    """Register kernels to compile."""
    INSTANCES.extend(given)
    return given


def example(operator: str, shape: str, default: tuple[int, ...]) -> Callable[[Run], Run]:
    """Register the decorated function as the operator's example; see ``Example``."""
    names = tuple(shape.split(","))
    if len(names) != len(default):
        raise ValueError(f"{operator}: shape {shape} has {len(names)} extents, its default {len(default)}")

    def register(run: Run) -> Run:
        EXAMPLES[operator] = Example(operator, names, default, run)
        return run

    return register


def choose(operator: str, architecture: int, dtype: Any, version: str | None = None, **shape: Any) -> Version:
    """The best version for these, or the one named. ValueError: there is none, or that one does not fit; says why."""
    if operator not in VERSIONS:
        raise ValueError(f"unknown operator {operator!r}; known: {', '.join(sorted(VERSIONS))}")
    refused: dict[str, str] = {}
    for candidate in VERSIONS[operator]:
        if version is not None and candidate.name != version:
            continue
        why = unfit(candidate, architecture, np.dtype(dtype).name, shape)
        if not why:
            if LOGGED:
                _tell(candidate, f"{operator}, {np.dtype(dtype).name} on sm_{architecture}", refused)
            if (record := _recorded.get()) is not None:
                record.append(Choice(candidate, refused))
            return candidate
        refused[candidate.name] = why
    if not refused:
        names = ", ".join(candidate.name for candidate in VERSIONS[operator])
        raise ValueError(f"{operator} has no version {version!r}; it has: {names}")
    raise ValueError(f"{operator}: no version for this: {'; '.join(map(' '.join, refused.items()))}")


@contextmanager
def choices() -> Iterator[list[Choice]]:
    """Records what ``choose`` takes in this thread."""
    record: list[Choice] = []
    before = _recorded.set(record)
    try:
        yield record
    finally:
        _recorded.reset(before)


def _tell(chosen: Version, call: str, refused: Mapping[str, str]) -> None:
    """Say what is launched, and why nothing better: once for each operator, dtype and version."""
    if (call, chosen.name) in _told:
        return
    _told.add((call, chosen.name))
    names: dict[str, list[str]] = {}  # by reason
    for name, why in refused.items():
        names.setdefault(why, []).append(name)
    better = "; ".join(f"{', '.join(those)} {why}" for why, those in names.items())
    print(
        f"ringleader: {call}: {chosen.name}" + (f" ({better})" if better else ""), file=sys.stderr, flush=True
    )


def unfit(version: Version, architecture: int, dtype: str, shape: Mapping[str, Any]) -> str:
    """Why the version cannot be taken; empty if it can."""
    if architecture < version.least:
        return f"needs compute capability {version.least / 10}, this is {architecture / 10}"
    if version.only and not version.only.startswith(str(architecture)):
        return f"is for sm_{version.only} alone"
    if dtype not in version.dtypes:
        return f"takes {', '.join(version.dtypes)}, not {dtype}"
    if not version.fits(shape):
        return f"does not take {', '.join(f'{k} {v}' for k, v in shape.items())}"
    return ""
