"""Arrays on a GPU (CuPy's) pass through the host's memory."""

from __future__ import annotations

from typing import Any

import numpy as np


def on_device(array: Any) -> bool:
    """CuPy need not be there to know: its arrays, and no others, can be fetched and set."""
    return not isinstance(array, np.ndarray) and all(hasattr(array, name) for name in ("dtype", "get", "set"))


def to_host(array: Any) -> Any:
    """A copy of an array that is on a GPU; all else as it is."""
    return array.get() if on_device(array) else array
