"""Options that are one number for all axes, or one for each."""

from __future__ import annotations

Pair = int | tuple[int, int]


def pair(value: Pair) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value
