"""Numbers as people write them: 25G bytes a second, 1us."""

from __future__ import annotations

import math
from decimal import Decimal, InvalidOperation

SIZES = {"": "1", "K": "1e3", "M": "1e6", "G": "1e9", "T": "1e12"}
TIMES = {"": "1", "s": "1", "ms": "1e-3", "us": "1e-6", "ns": "1e-9"}


def _number(text: str, units: dict[str, str]) -> float | None:
    """The value, correctly rounded; None if it is none, or not finite, or negative."""
    value = text.strip()
    unit = next(u for u in sorted(units, key=len, reverse=True) if value.endswith(u))
    try:
        number = float(Decimal(value.removesuffix(unit)) * Decimal(units[unit]))
    except (InvalidOperation, ValueError):
        return None
    return number if math.isfinite(number) and number >= 0 else None


def bytes_per_second(text: str) -> float:
    """``25G``: decimal K M G T, above zero."""
    if not (value := _number(text, SIZES)):
        raise ValueError(f"{text!r} is no bandwidth; write bytes a second like 25G (K, M, G, T)")
    return value


def seconds(text: str) -> float:
    """``1us``: ns, us, ms or s, zero allowed."""
    if (value := _number(text, TIMES)) is None:
        raise ValueError(f"{text!r} is no time; write it like 1us (ns, us, ms, s)")
    return value
