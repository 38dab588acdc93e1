"""What parameters of algorithms must be."""

from __future__ import annotations


def at_least(name: str, value: int, least: int) -> None:
    """ValueError unless ``value``, the parameter called ``name``, is at least ``least``."""
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
