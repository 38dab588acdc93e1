"""Options that are one number for all axes of an image, or one for each."""

from __future__ import annotations

from ringleader.runtime.autograd.op import Shape

Single = int | tuple[int]
Pair = int | tuple[int, int]


def sizes(name: str, value: int | tuple[int, ...], axes: int) -> Shape:
    """``value`` for each axis. ValueError: it is a tuple of another length; ``name`` says of which option."""
    if isinstance(value, int):
        return (value,) * axes
    if len(value) != axes:
        raise ValueError(f"{name} must be a number or {axes} of them, not {value}")
    return tuple(value)
