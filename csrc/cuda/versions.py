"""The versions of each operator, and the one place where one of them is chosen.

An operator's module registers its versions, best first:

    VERSIONS = versions(
        Version("attention_forward", "mma", least=80, dtypes=("float16", "bfloat16"),
                fits=lambda shape: shape["head"] % 16 == 0, measured="not yet measured"),
        Version("attention_forward", "clear"),
    )

``choose("attention_forward", architecture, dtype, head=64)`` is the first that is there for the architecture and the
dtype and fits the shape. What is compiled for it is listed as ``Instance``s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

ALL = ("float16", "bfloat16", "float32", "float64")
ARCHITECTURES = (
    "75",
    "80",
    "86",
    "89",
    "90",
    "90a",
    "100",
    "120",
)  # that kernels are compiled for and checked


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


VERSIONS: dict[str, list[Version]] = {}  # operator -> versions, best first
INSTANCES: list[Instance] = []


def versions(*given: Version) -> tuple[Version, ...]:
    """Register the versions of operators, best first for each."""
    for version in given:
        VERSIONS.setdefault(version.operator, []).append(version)
    return given


def instances(*given: Instance) -> tuple[Instance, ...]:
    """Register kernels to compile."""
    INSTANCES.extend(given)
    return given


def choose(operator: str, architecture: int, dtype: Any, version: str | None = None, **shape: Any) -> Version:
    """The best version for these, or the one named. ValueError: there is none, or that one does not fit; says why."""
    if operator not in VERSIONS:
        raise ValueError(f"unknown operator {operator!r}; known: {', '.join(sorted(VERSIONS))}")
    refused = []
    for candidate in VERSIONS[operator]:
        if version is not None and candidate.name != version:
            continue
        why = unfit(candidate, architecture, np.dtype(dtype).name, shape)
        if not why:
            return candidate
        refused.append(f"{candidate.name} {why}")
    if not refused:
        names = ", ".join(candidate.name for candidate in VERSIONS[operator])
        raise ValueError(f"{operator} has no version {version!r}; it has: {names}")
    raise ValueError(f"{operator}: no version for this: {'; '.join(refused)}")


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
