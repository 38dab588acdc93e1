"""Numbers as people write and read them: 25G bytes a second, 1us, 1.5 MiB; and how large they may sensibly be.

The limits keep every simulated time finite and above rounding. Digits are those of ASCII: Python's ``isdigit``
and ``int`` know others.
"""

from __future__ import annotations

import re
from decimal import Decimal
from numbers import Real
from typing import Any

SLOWEST, FASTEST = 1.0, 1e18  # B/s
LONGEST = 1e6  # s, for a latency or a start-up; and seconds a byte, and factors
MOST_HOSTS = 1 << 24  # hosts, ranks, and any whole number in a topology's text
MOST_BYTES = 1 << 62
DIGITS = 20  # a whole number of more is beyond every limit
SHOWN = 60  # characters of a wrong text that a message repeats

NUMBER = r"[0-9]{1,40}(?:\.[0-9]{0,40})?(?:[eE][+-]?[0-9]{1,3})?"
SIZES = {"": "1", "K": "1e3", "M": "1e6", "G": "1e9", "T": "1e12"}
SECONDS = ((1.0, "s"), (1e3, "ms"), (1e6, "us"), (1e9, "ns"))
BYTES = ("B", "KiB", "MiB", "GiB", "TiB")
TIMES = {"": "1", "s": "1", "ms": "1e-3", "us": "1e-6", "ns": "1e-9"}


def _number(text: str, units: dict[str, str]) -> float | None:
    """The value, correctly rounded; None if it is none, or negative."""
    match = re.fullmatch(rf"({NUMBER})({'|'.join(units)})", text.strip())
    return float(Decimal(match[1]) * Decimal(units[match[2]])) if match else None


def bytes_per_second(text: str) -> float:
    """``25G``: decimal K M G T."""
    value = _number(text, SIZES)
    if value is None or not SLOWEST <= value <= FASTEST:
        raise ValueError(
            f"{quoted(text)} is no bandwidth; write bytes a second like 25G (K, M, G, T), from 1 to 1e18"
        )
    return value


def seconds(text: str) -> float:
    """``1us``: ns, us, ms or s, zero allowed."""
    value = _number(text, TIMES)
    if value is None or value > LONGEST:
        raise ValueError(f"{quoted(text)} is no time; write it like 1us (ns, us, ms, s), at most 1e6 s")
    return value


def factor(text: str) -> float:
    """``2.5``, zero allowed: a factor, a share, or seconds a byte."""
    value = _number(text, {"": "1"})
    if value is None or value > LONGEST:
        raise ValueError(f"{quoted(text)} is no number from 0 to 1e6; write it like 2.5 or 1e-10")
    return value


def whole(text: str) -> int | None:
    """A whole number from 0 on; None if it is none. More than DIGITS digits count as the least number of so many."""
    if re.fullmatch("[0-9]+", text.strip()) is None:
        return None
    digits = text.strip().lstrip("0")
    return int(digits or "0") if len(digits) <= DIGITS else 10**DIGITS


def require_number(what: str, value: object, low: float, high: float) -> None:
    """ValueError unless ``value`` is a number from ``low`` to ``high``."""
    number: Any = value  # Real, says isinstance, which no type checker takes for something to compare
    if isinstance(value, bool) or not isinstance(value, Real) or not low <= number <= high:
        raise ValueError(f"{what} must be a number from {low:g} to {high:g}, got {value!r}")


def quoted(text: str) -> str:
    """A text as a message shows it: in one line, and not all of it if it is long."""
    return repr(text if len(text) <= SHOWN else text[: SHOWN - 3] + "...")


def escaped(text: str) -> str:
    """A name or message as one line, with nothing in it that a terminal cannot show."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def bytes_text(nbytes: float) -> str:
    """4 B, 1.5 KiB, 64 MiB."""
    size, unit = float(nbytes), 0
    while abs(size) >= 1024 and unit < len(BYTES) - 1:
        size, unit = size / 1024, unit + 1
    return f"{size:.3g} {BYTES[unit]}" if size < 1000 else f"{size:.0f} {BYTES[unit]}"


def seconds_text(seconds: float) -> str:
    """0 s, 20 ns, 1.5 us, 3 s."""
    if not seconds:
        return "0 s"
    factor, unit = next((u for u in SECONDS if seconds * u[0] >= 0.99995), SECONDS[-1])
    return f"{float(f'{seconds * factor:.4g}'):g} {unit}"
