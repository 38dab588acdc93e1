"""Data sets by name, and which samples each rank gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ringleader.runtime.training.config import TrainConfig
from ringleader.runtime.training.data.base import Array, Data, Description, Examples, global_batches, shard
from ringleader.runtime.training.data.download import MNIST_MIRRORS, MNIST_SHA256, cache_folder, downloaded
from ringleader.runtime.training.data.generated import Adding, Copy, Pairs
from ringleader.runtime.training.data.images import (
    BACKGROUND,
    INK,
    Dataset,
    load_digits,
    load_mnist,
    random_offsets,
    resize,
    shift,
)
from ringleader.runtime.training.data.text import Text, read_text, stdlib_text
from ringleader.runtime.training.tasks import (
    Classification,
    LanguageModelling,
    Recall,
    Regression,
    SequenceToSequence,
    Task,
)

GIVE_A_FOLDER = "give a folder that has the four IDX files: --data mnist:FOLDER"


@dataclass(frozen=True)
class Source:
    """A data set by name. ``load`` gets what follows the colon ("" if nothing) and the configuration.

    ``argument``: what may follow the colon, for people; in brackets if it may be left away, "" if nothing may.
    ``options``: those of TrainConfig that only such data sets heed. ``defaults``: of TrainConfig, for it.
    """

    task: type[Task]
    load: Callable[[str, TrainConfig], Data]
    argument: str = ""
    options: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)


def _mnist(argument: str, config: TrainConfig) -> Data:
    folder = Path(argument) if argument else downloaded(
        cache_folder() / "mnist", MNIST_MIRRORS, MNIST_SHA256, GIVE_A_FOLDER
    )  # fmt: skip
    return load_mnist(folder, config.dtype)


def _length(argument: str, otherwise: int) -> int:
    if not argument:
        return otherwise
    if not argument.isascii() or not argument.isdigit() or len(argument) > 6:
        raise ValueError(f"{argument!r} is not a length, a whole number below a million")
    return int(argument)


IMAGES = ("shift", "require_accuracy")
SOURCES: dict[str, Source] = {
    "digits": Source(Classification, lambda _, c: load_digits(c.dtype), "", IMAGES),
    "mnist": Source(Classification, _mnist, "[:FOLDER]", IMAGES, {"epochs": 10, "shift": 0}),
    "text": Source(
        LanguageModelling, lambda a, c: Text(read_text(Path(a)), c.context, a), ":FILE", ("context",)
    ),
    "stdlib": Source(
        LanguageModelling, lambda _, c: Text(stdlib_text(), c.context, "stdlib"), "", ("context",)
    ),
    "adding": Source(Regression, lambda a, c: Adding(_length(a, 100), c.dtype), "[:LENGTH]"),
    "copy": Source(Recall, lambda a, c: Copy(_length(a, 100)), "[:DELAY]", ("require_accuracy",)),
    "sort": Source(
        SequenceToSequence, lambda a, c: Pairs("sort", _length(a, 10)), "[:LONGEST]", ("require_accuracy",)
    ),
    "reverse": Source(
        SequenceToSequence, lambda a, c: Pairs("reverse", _length(a, 10)), "[:LONGEST]", ("require_accuracy",)
    ),
}


def known_sources() -> str:
    return ", ".join(f"{name}{source.argument}" for name, source in SOURCES.items())


def find_source(spec: str) -> tuple[Source, str]:
    """The row for "NAME" or "NAME:ARGUMENT", and the argument. ValueError: no such data set, or not so."""
    name, colon, argument = spec.partition(":")
    if name not in SOURCES:
        raise ValueError(f"unknown data {spec!r}; known: {known_sources()}")
    source = SOURCES[name]
    optional = source.argument.startswith("[")
    if (argument and not source.argument) or (not argument and (colon or (source.argument and not optional))):
        raise ValueError(f"data {spec!r}: write {name}{source.argument}")
    return source, argument


def load(config: TrainConfig) -> Data:
    """The data set that ``config.data`` names. ValueError, OSError: there is none; the message says why."""
    source, argument = find_source(config.data)
    return source.load(argument, config)


__all__ = [
    "BACKGROUND", "INK", "SOURCES", "Adding", "Array", "Copy", "Data", "Dataset", "Description", "Examples", "Pairs",
    "Source", "Text", "find_source", "global_batches", "known_sources", "load", "load_digits", "load_mnist",
    "random_offsets", "read_text", "resize", "shard", "shift", "stdlib_text",
]  # fmt: skip
