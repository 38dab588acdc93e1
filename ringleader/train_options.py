"""The options of train and sample: those of TrainConfig, and the models' own."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ringleader.collectives import algorithms
from ringleader.launch import MOST_STARTED, Launched
from ringleader.models import MODELS, SIZES, configure
from ringleader.runtime.autograd.op import array_module
from ringleader.runtime.comm.leader import roles
from ringleader.runtime.training import TrainConfig
from ringleader.runtime.training.data import known_sources

KINDS = {"int": int, "float": float, "str": str}
SHORT = {"ranks": "-n"}


class DataError(Exception):
    """The data set, or the model for it, cannot be had; the message says why."""


def add_commands(commands: Any) -> None:
    """Add train and sample to argparse's sub-parsers. What is not given is None: see ``settings``."""
    train = commands.add_parser(
        "train", help="train a model data-parallel", allow_abbrev=False,
        description="Train a model, data-parallel over -n ranks. Defaults that are good for each model and data set are "
        "shown when it starts; those given here are lenet5's.",
    )  # fmt: skip
    train.add_argument("model", help=f"one of: {', '.join(MODELS)}")
    for field in dataclasses.fields(TrainConfig):
        if "help" in field.metadata:
            _add_option(train, field)
    sizes = {name: value for row in MODELS.values() for name, value in row.sizes.items()}
    for name, value in sizes.items():
        parse = _sizes if isinstance(value, tuple) else type(value)
        having = ", ".join(model for model, row in MODELS.items() if name in row.sizes)
        train.add_argument(
            _flag(name), dest=name, type=parse, metavar=_metavar(value), help=f"of {having}: {SIZES[name]}"
        )

    sample = commands.add_parser(
        "sample", help="let a trained language model write", allow_abbrev=False,
        description="Continue a text, character by character, by a language model that 'ringleader train --save' wrote.",
    )  # fmt: skip
    sample.add_argument("file", metavar="MODEL_FILE", help="the safetensors file")
    sample.add_argument(
        "--prompt", help="what to continue (default: a line's end, or the first character it knows)"
    )
    sample.add_argument("--length", type=int, default=200, help="characters to write (default 200)")
    sample.add_argument(
        "--temperature", type=float, default=1.0, help="0: always the likeliest; above 1: wilder (default 1)"
    )
    sample.add_argument("--top-k", type=int, help="draw among so many likeliest characters (default: all)")
    sample.add_argument("--seed", type=int, default=0, help="of the draws (default 0)")


def _add_option(train: argparse.ArgumentParser, field: dataclasses.Field[Any]) -> None:
    kind = str(field.type).split()[0]  # of "int | None"
    about = field.metadata["help"]
    if field.name == "data":
        about += f": {known_sources()} (default: as is good for the model)"
    elif field.default is not None and kind != "bool":
        about += f" (default {field.default})"
    names = [_flag(field.name)] + ([SHORT[field.name]] if field.name in SHORT else [])
    if kind == "bool":
        train.add_argument(*names, dest=field.name, action="store_true", default=None, help=about)
        return
    train.add_argument(
        *names, dest=field.name, type=KINDS[kind], metavar=kind.upper(), help=about.replace("%", "%%")
    )


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _metavar(value: Any) -> str:
    return "INT-INT..." if isinstance(value, tuple) else type(value).__name__.upper()


def _sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split("-"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of sizes like 300-100") from None


def settings(options: Mapping[str, Any], launcher: Launched | None) -> TrainConfig:
    """What the options mean, checked before any rank is started. ValueError: what is wrong, in the user's words."""
    given = {name: value for name, value in options.items() if value is not None}
    known = ["auto", *algorithms("allreduce"), "vendor"]
    if given.get("algorithm", "auto") not in known:
        raise ValueError(f"unknown algorithm {given['algorithm']!r}; known: {', '.join(known)}")
    given.setdefault("ranks", launcher.size if launcher else 1)
    ranks = given["ranks"]
    if launcher is None and ranks > MOST_STARTED:
        raise ValueError(
            f"-n {ranks} are too many ranks for one machine, at most {MOST_STARTED}; or start them by mpirun"
        )
    config = configure(given.pop("model"), **given)
    if ranks == 1 and config.algorithm == "vendor":
        raise ValueError("algorithm 'vendor' is the MPI library's own: it needs several ranks, -n 2")
    if ranks == 1 and config.compression is not None:
        raise ValueError(
            f"--compression {config.compression}: one rank sends no gradients, it needs several, -n 2"
        )
    if config.sync == "ps":
        roles(ranks, config.servers, config.colocated)  # says what is wrong
        if config.replicas >= config.servers:
            raise ValueError(
                f"--replicas {config.replicas}: there are as many servers besides the first, --servers more"
            )
    if launcher is not None and launcher.size != ranks:
        raise ValueError(f"-n {ranks}, but the launcher started {launcher.size} ranks; leave -n away")
    try:
        array_module(config.device)
    except RuntimeError as error:
        raise ValueError(str(error)) from error
    if config.save is not None and not Path(config.save).absolute().parent.is_dir():
        raise ValueError(f"--save {config.save}: there is no folder {Path(config.save).parent}")
    return config
