"""``ringleader sample``: a trained language model writes."""

from __future__ import annotations

import argparse

import numpy as np

from ringleader.models import load_model
from ringleader.runtime.training import sample


def sample_command(options: argparse.Namespace) -> int:
    """Print the prompt and what follows it, as it is drawn. ValueError: no language model, or a wrong option."""
    model, data = load_model(options.file)
    if not data.vocabulary:
        raise ValueError(f"{options.file}: a model for {data.task}, which writes no text")
    if options.seed < 0:
        raise ValueError(f"seed must be at least 0, it is {options.seed}")
    prompt = options.prompt
    if prompt is None:
        prompt = "\n" if "\n" in data.vocabulary else data.vocabulary[0]
    token = {character: i for i, character in enumerate(data.vocabulary)}
    if unknown := sorted(set(prompt) - set(token)):
        raise ValueError(f"prompt: the model has never seen {unknown[0]!r}")
    drawn = sample(
        model, [token[character] for character in prompt], options.length,
        np.random.default_rng(options.seed), context=data.shape[0], temperature=options.temperature,
        top_k=options.top_k,
    )  # fmt: skip
    print(prompt, end="")
    for i in drawn:
        print(data.vocabulary[i], end="", flush=True)
    print()
    return 0
