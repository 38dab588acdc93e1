"""Trained models in files, with what is needed to build them again."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
from ringleader.models.registry import build
from ringleader.runtime.autograd import Module, state
from ringleader.runtime.training import Description, TrainConfig

KEY = "ringleader.model"  # of the metadata, which are text by name


def save_model(model: Module, path: str | Path, config: TrainConfig, data: Description) -> None:
    """Write a model that ``config`` built for ``data`` to a safetensors file."""
    about = {"name": config.model, "dtype": config.dtype, "sizes": dict(config.sizes), "data": asdict(data)}
    state.save(model, path, {KEY: json.dumps(about)})


def load_model(path: str | Path) -> tuple[Module, Description]:
    """The model in a file that ``save_model`` wrote, and for what data it was built.

    ValueError: a file of another kind; OSError: it cannot be read.
    """
    metadata = state.load_metadata(path)
    if KEY not in metadata:
        raise ValueError(f"{path}: no model that 'ringleader train --save' wrote: it does not say which one")
    try:
        about = json.loads(metadata[KEY])
        data = Description(**{**about["data"], "shape": tuple(about["data"]["shape"])})
        model = build(about["name"], np.random.default_rng(0), about["dtype"], data, **about["sizes"])
        model.load_state_dict(state.load(path))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: does not fit this version of Ringleader, or is damaged: {error}"
        ) from error
    return model, data
