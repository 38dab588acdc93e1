"""The models by name: how to build one for a data set, what it can be trained for, and which options are good for it.

A model is one file and one row of MODELS. Its own options (``sizes``) are those of its row, with their defaults; what
they mean is said once, in SIZES.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike
from ringleader.models.bigram import Bigram
from ringleader.models.lenet5 import LeNet5
from ringleader.models.logistic import LogisticRegression
from ringleader.models.mlp import MLP
from ringleader.models.recurrent import RecurrentLM, RecurrentRegressor
from ringleader.models.seq2seq import Seq2Seq
from ringleader.models.transformer import Transformer
from ringleader.runtime.autograd import Module
from ringleader.runtime.training import Description, TrainConfig
from ringleader.runtime.training.config import STALENESS, SYNCS
from ringleader.runtime.training.data import SOURCES, find_source
from ringleader.runtime.training.optimizers import OPTIMIZERS, SCHEDULES
from ringleader.runtime.training.tasks import (
    Classification,
    LanguageModelling,
    Recall,
    Regression,
    SequenceToSequence,
)

IMAGE = Description(Classification.name, (1, 32, 32), 10)  # digits and MNIST
SIZES = {
    "hidden": "sizes of the hidden layers, like 300-100",
    "activation": "between the layers: tanh or relu",
    "width": "numbers that stand for a token, and that a layer passes on",
    "layers": "layers, one upon the other",
    "memory": "steps that its units may remember from the start, each a number of its own up to this; 0: as is usual",
    "heads": "heads of attention, among which the width is divided",
    "dropout": "share of the changes that training leaves out, by a seed of their own",
    "positions": "how a token knows its place: learned or rotary",
}


@dataclass(frozen=True)
class Row:
    """``make(description, generator, dtype, **sizes)`` builds the model.

    ``tasks``: what it can be trained for, each with the defaults of TrainConfig that are good for it. ``data``: what it
    is trained on if nobody says otherwise. ``sizes``: its own options and their defaults.
    """

    make: Callable[..., Module]
    tasks: Mapping[str, Mapping[str, Any]]
    data: str
    sizes: Mapping[str, Any] = field(default_factory=dict)


def _logistic(d: Description, generator: np.random.Generator, dtype: DTypeLike) -> Module:
    return LogisticRegression(generator, dtype, in_features=prod(d.shape), classes=d.outputs)


def _mlp(d: Description, generator: np.random.Generator, dtype: DTypeLike, **sizes: Any) -> Module:
    return MLP(generator, dtype, in_features=prod(d.shape), outputs=d.outputs, **sizes)


def _lenet5(d: Description, generator: np.random.Generator, dtype: DTypeLike) -> Module:
    if (d.shape, d.outputs) != (IMAGE.shape, IMAGE.outputs):
        raise ValueError(
            f"lenet5 takes images {IMAGE.shape} of 10 classes, not {d.shape} of {d.outputs} classes"
        )
    return LeNet5(generator, dtype)


def _bigram(d: Description, generator: np.random.Generator, dtype: DTypeLike) -> Module:
    return Bigram(generator, dtype, tokens=d.outputs)


def _recurrent(kind: str) -> Callable[..., Module]:
    def make(
        d: Description, generator: np.random.Generator, dtype: DTypeLike, *, width: int, layers: int, memory: int = 0
    ) -> Module:  # fmt: skip
        made: dict[str, Any] = {"generator": generator, "dtype": dtype}
        if d.task == Regression.name:
            return RecurrentRegressor(kind, d.shape[-1], d.outputs, width, layers, memory, **made)
        return RecurrentLM(kind, d.outputs, width, width, layers, memory, **made)

    return make


def _transformer(
    d: Description, generator: np.random.Generator, dtype: DTypeLike, *, layers: int, heads: int, width: int,
    dropout: float, positions: str,
) -> Module:  # fmt: skip
    return Transformer(
        d.outputs, d.shape[0], layers, heads, width, dropout, positions, generator=generator, dtype=dtype
    )


def _seq2seq(
    d: Description, generator: np.random.Generator, dtype: DTypeLike, *, layers: int, heads: int, width: int,
    dropout: float,
) -> Module:  # fmt: skip
    context = max(d.shape[0], d.target)
    return Seq2Seq(
        d.outputs,
        context,
        layers,
        heads,
        width,
        dropout,
        SequenceToSequence.PAD,
        generator=generator,
        dtype=dtype,
    )


ADAM = {"optimizer": "adam", "lr": 1e-3}
# Sequences of recurrent networks: gradients that grow along them are clipped (Pascanu et al. 2013).
SEQUENCES = {
    LanguageModelling.name: {**ADAM, "epochs": 1, "clip": 1.0}, Recall.name: {**ADAM, "epochs": 1, "clip": 1.0},
    Regression.name: {**ADAM, "epochs": 1, "clip": 1.0},
}  # fmt: skip
MODELS: dict[str, Row] = {
    "logistic": Row(_logistic, {Classification.name: {}}, "digits"),
    "mlp": Row(
        _mlp, {Classification.name: {}, Regression.name: {**ADAM, "epochs": 5}}, "digits",
        {"hidden": (300, 100), "activation": "tanh"},
    ),
    "lenet5": Row(_lenet5, {Classification.name: {}}, "digits"),
    "bigram": Row(
        _bigram, {LanguageModelling.name: {**ADAM, "lr": 0.03, "epochs": 2},
                  Recall.name: {**ADAM, "lr": 0.03, "epochs": 2}},
        "stdlib",
    ),
    "rnn": Row(_recurrent("rnn"), SEQUENCES, "stdlib", {"width": 128, "layers": 1}),
    **{
        kind: Row(_recurrent(kind), SEQUENCES, "stdlib", {"width": 128, "layers": 1, "memory": 0})
        for kind in ("lstm", "gru")
    },
    "transformer": Row(
        _transformer, {LanguageModelling.name: {**ADAM, "epochs": 1}, Recall.name: {**ADAM, "epochs": 1}}, "stdlib",
        {"layers": 4, "heads": 4, "width": 128, "dropout": 0.0, "positions": "learned"},
    ),
    "seq2seq": Row(
        _seq2seq, {SequenceToSequence.name: {**ADAM, "epochs": 5}}, "reverse",
        {"layers": 2, "heads": 4, "width": 64, "dropout": 0.0},
    ),
}  # fmt: skip


def find_model(name: str) -> Row:
    if name not in MODELS:
        raise ValueError(f"unknown model {name!r}; known: {', '.join(sorted(MODELS))}")
    return MODELS[name]


def build(
    name: str, generator: np.random.Generator, dtype: DTypeLike = np.float32, data: Description = IMAGE,
    **sizes: Any,
) -> Module:  # fmt: skip
    """A new model for ``data``, by name, its weights drawn from ``generator``; ``sizes`` are its own options.

    ValueError: unknown name or option, or not a model for such data.
    """
    row = find_model(name)
    if unknown := sorted(set(sizes) - set(row.sizes)):
        raise ValueError(f"{unknown[0]} is no option of {name}; it has: {', '.join(row.sizes) or 'none'}")
    if data.task not in row.tasks:
        raise ValueError(f"{name} is for {' and '.join(row.tasks)}, and not for {data.task}")
    return row.make(data, generator, dtype, **{**row.sizes, **sizes})


def configure(model: str, **given: Any) -> TrainConfig:
    """The configuration of a training, with what is not given filled in: by what is good for the model and its task,
    then by what is good for the data set. Another optimiser than the usual one brings its own learning rate.

    ``given``: options of TrainConfig and the model's own. ValueError: one that is unknown, that makes no sense, or that
    would be ignored.
    """
    row = find_model(model)
    spec = given.get("data", row.data)
    source, _ = find_source(spec)
    task = source.task.name
    if task not in row.tasks:
        fitting = [name for name, other in SOURCES.items() if other.task.name in row.tasks]
        raise ValueError(f"{model} is for data {', '.join(fitting)}, and not for {spec}, which is {task}")
    usual = {**source.defaults, **row.tasks[task]}
    optimizer = given.get("optimizer", usual.get("optimizer", TrainConfig.optimizer))
    if optimizer != usual.get("optimizer", TrainConfig.optimizer) and optimizer in OPTIMIZERS:
        usual |= OPTIMIZERS[optimizer].defaults
    names = {f.name for f in dataclasses.fields(TrainConfig)}
    sizes = {name: value for name, value in given.items() if name not in names}
    own = {name: value for name, value in given.items() if name in names}
    config = TrainConfig(**{**usual, "model": model, "data": spec, **own, "sizes": {**row.sizes, **sizes}})
    why_not = ignored(config)
    for name in sorted(given):
        if name in why_not:
            raise ValueError(why_not[name])
        if name in sizes and name not in row.sizes:
            raise ValueError(f"{name} is no option of {model}; it has: {', '.join(row.sizes) or 'none'}")
    return config


def ignored(config: TrainConfig) -> dict[str, str]:
    """The options that mean nothing for this model, data set, optimiser and schedule, each with why."""
    choices: dict[str, tuple[str, Mapping[str, Any]]] = {
        "model": (config.model, {name: tuple(row.sizes) for name, row in MODELS.items()}),
        "data": (config.data.partition(":")[0], {name: source.options for name, source in SOURCES.items()}),
        "optimizer": (config.optimizer, {name: named.options for name, named in OPTIMIZERS.items()}),
        "schedule": (config.schedule, SCHEDULES),
        "sync": (config.sync, SYNCS),
        "mode": (config.mode, STALENESS),
    }
    why = {}
    for kind, (chosen, table) in choices.items():
        for option in {option for options in table.values() for option in options} - set(table[chosen]):
            having = ", ".join(name for name, options in table.items() if option in options)
            why[option] = f"{option} is for {kind} {having}, and not for {chosen}"
    return why
