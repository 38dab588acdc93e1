"""Numbers as people write and read them: 25G bytes a second, 1us, 1.5 MiB."""

from __future__ import annotations

import math
from decimal import Decimal, InvalidOperation

SIZES = {"": "1", "K": "1e3", "M": "1e6", "G": "1e9", "T": "1e12"}
SECONDS = ((1.0, "s"), (1e3, "ms"), (1e6, "µs"), (1e9, "ns"))
BYTES = ("B", "KiB", "MiB", "GiB", "TiB")
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


def bytes_text(nbytes: float) -> str:
    """4 B, 1.5 KiB, 64 MiB."""
    size, unit = float(nbytes), 0
    while abs(size) >= 1024 and unit < len(BYTES) - 1:
        size, unit = size / 1024, unit + 1
    return f"{size:.3g} {BYTES[unit]}" if size < 1000 else f"{size:.0f} {BYTES[unit]}"


def seconds_text(seconds: float) -> str:
    """0 s, 20 ns, 1.5 µs, 3 s."""
    if not seconds:
        return "0 s"
    factor, unit = next((u for u in SECONDS if seconds * u[0] >= 0.99995), SECONDS[-1])
    return f"{float(f'{seconds * factor:.4g}'):g} {unit}"
