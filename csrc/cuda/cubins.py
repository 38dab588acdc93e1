"""Compiled kernels, and the folder of the user's cache that keeps them.

A file holds a digest of all that follows, a line of JSON and the cubin. What is damaged counts as not there. Files are
written under a name of their own and renamed, so processes that compile the same thing at once do not disturb each
other: the last one wins, and all of them wrote the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Resources:
    """What one kernel takes of a GPU: registers a thread; bytes of static shared memory a block; bytes a thread of
    stack (arrays in local memory, and spilled registers) and of what spilling stores and loads."""

    registers: int
    shared: int
    stack: int
    spill_stores: int
    spill_loads: int

    @property
    def spills(self) -> bool:
        return self.spill_stores + self.spill_loads > 0


@dataclass(frozen=True)
class Cubin:
    """Kernels compiled for one architecture: their mangled names and resources, by expression."""

    binary: bytes
    names: Mapping[str, str]
    resources: Mapping[str, Resources]
    warnings: str = ""  # of the compiler


def folder() -> Path | None:
    """$XDG_CACHE_HOME/ringleader/kernels, ~/.cache/ringleader/kernels without; None: this user has no home."""
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if given.is_absolute():  # the standard says to ignore a relative one
        return given / "ringleader" / "kernels"
    with suppress(RuntimeError):
        return Path.home() / ".cache" / "ringleader" / "kernels"
    return None


def load(key: str) -> Cubin | None:
    """None if it is not there, or damaged."""
    where = folder()
    if where is None:
        return None
    try:
        digest, rest = (where / key).read_bytes().split(b"\n", 1)
        if digest != _digest(rest):
            return None
        header, binary = rest.split(b"\n", 1)
        about = json.loads(header)
        resources = {expression: Resources(**values) for expression, values in about.pop("resources").items()}
        return Cubin(binary, resources=resources, **about)
    except (OSError, ValueError, TypeError, KeyError):  # the last three: of another version of Ringleader
        return None


def store(key: str, cubin: Cubin) -> None:
    """Keep it if the folder can be written to; who cannot keep it compiles again next time."""
    where = folder()
    if where is None:
        return
    about = {
        "names": dict(cubin.names),
        "resources": {expression: asdict(of) for expression, of in cubin.resources.items()},
        "warnings": cubin.warnings,
    }
    rest = json.dumps(about).encode() + b"\n" + cubin.binary
    with suppress(OSError):
        where.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=where, prefix=f".{key}-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(_digest(rest) + b"\n" + rest)
            os.replace(name, where / key)
        except BaseException:
            os.unlink(name)
            raise


def _digest(of: bytes) -> bytes:
    return hashlib.sha256(of).hexdigest().encode()
