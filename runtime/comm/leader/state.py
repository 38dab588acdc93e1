"""Named arrays as bytes, for checkpoints of parts; without pickle, so that nothing can be hidden in them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def packed(arrays: Mapping[str, NDArray[Any]]) -> NDArray[np.uint8]:
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays)
    return np.frombuffer(file.getbuffer(), np.uint8)


def unpacked(payload: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    with np.load(io.BytesIO(payload.tobytes()), allow_pickle=False) as file:
        return dict(file)
