"""Models by name: defaults, what fits what, and files that build the model again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ringleader.models import MODELS, SIZES, build, configure, ignored, load_model, save_model
from ringleader.runtime.autograd import Tensor, state
from ringleader.runtime.training import Description, TrainConfig
from ringleader.runtime.training.data import SOURCES

TASKS = {source.task.name for source in SOURCES.values()}
TEXT = Description("language modelling", (8,), 3, vocabulary="abc")


@pytest.mark.parametrize("name", MODELS)
def test_rows_agree_with_the_rest(name: str) -> None:
    row = MODELS[name]
    assert set(row.tasks) <= TASKS and set(row.sizes) <= set(SIZES)
    config = configure(name)
    assert config.data == row.data and config.sizes == row.sizes
    for source, other in SOURCES.items():
        if other.task.name in row.tasks:
            spec = "text:FILE" if source == "text" else source
            assert configure(name, data=spec).data == spec
    assert not set(row.sizes) & set(TrainConfig.__dataclass_fields__), "one name, one option"


def test_lenet5_is_trained_as_it_always_was() -> None:
    assert configure("lenet5") == TrainConfig()


def test_defaults_of_the_task_the_data_and_the_optimiser() -> None:
    assert configure("mlp", data="adding:20").optimizer == "adam"
    assert (configure("lenet5", data="mnist").epochs, configure("lenet5", data="mnist").shift) == (10, 0)
    assert configure("lenet5", data="mnist", epochs=3, shift=1).shift == 1
    assert configure("logistic", optimizer="adam").lr == 1e-3
    assert configure("logistic", optimizer="adam", lr=0.5).lr == 0.5
    assert configure("logistic", optimizer="sgd").lr == TrainConfig.lr
    assert configure("bigram", optimizer="adam").lr == configure("bigram").lr == 0.03
    assert configure("mlp", hidden=(5,)).sizes == {"hidden": (5,), "activation": "tanh"}


@pytest.mark.parametrize(("model", "given", "message"), [
    ("lenet6", {}, "unknown model 'lenet6'; known: bigram, gru, lenet5, logistic, lstm, mlp"),
    ("lenet5", {"data": "stdlib"}, "lenet5 is for data digits, mnist, and not for stdlib, which is language modelling"),
    ("bigram", {"shift": 2}, "shift is for data digits, mnist, and not for stdlib"),
    ("logistic", {"context": 9}, "context is for data text, stdlib, and not for digits"),
    ("logistic", {"optimizer": "adam", "momentum": 0.9}, "momentum is for optimizer sgd, and not for adam"),
    ("logistic", {"gamma": 0.5}, "gamma is for schedule step, and not for constant"),
    ("bigram", {"require_accuracy": 0.5}, "require_accuracy is for data .*, and not for stdlib"),
    ("logistic", {"hidden": (3,)}, "hidden is for model mlp, and not for logistic"),
    ("logistic", {"hiden": (3,)}, "hiden is no option of logistic; it has: none"),
    ("mlp", {"hiden": (3,)}, "hiden is no option of mlp; it has: hidden, activation"),
    ("mlp", {"mode": "asp"}, "mode is for sync ps, and not for allreduce"),
    ("mlp", {"sync": "ps", "algorithm": "ring"}, "algorithm is for sync allreduce, and not for ps"),
    ("mlp", {"sync": "ps", "staleness": 2}, "staleness is for mode ssp, and not for bsp"),
    ("mlp", {"optimizer": "sdg"}, "unknown optimizer 'sdg'; known: sgd, adam"),
])  # fmt: skip
def test_what_would_be_ignored_is_refused(model: str, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        configure(model, **given)


def test_what_applies_is_not_ignored() -> None:
    others = {"context", "width", "layers", "memory", "heads", "dropout", "positions"}
    served = {"servers", "colocated", "mode", "staleness", "placement", "replicas"}
    assert set(ignored(configure("mlp", schedule="step"))) == others | served
    assert served & set(ignored(configure("mlp", sync="ps", mode="ssp"))) == set()
    assert {"algorithm", "bucket_bytes", "staleness"} <= set(ignored(configure("mlp", sync="ps", mode="asp")))
    assert not {"context", "width", "layers", "memory"} & set(ignored(configure("lstm")))
    assert "memory" in ignored(configure("rnn"))
    assert {"shift", "momentum", "gamma", "hidden"} <= set(ignored(configure("bigram")))


def test_models_that_do_not_fit_the_data() -> None:
    with pytest.raises(ValueError, match=r"lenet5 takes images \(1, 32, 32\)"):
        build("lenet5", np.random.default_rng(0), data=Description("classification", (1, 28, 28), 10))
    with pytest.raises(
        ValueError, match="bigram is for language modelling and recall, and not for classification"
    ):
        build("bigram", np.random.default_rng(0))
    with pytest.raises(ValueError, match="hidden is no option of lenet5; it has: none"):
        build("lenet5", np.random.default_rng(0), hidden=(3,))


@pytest.mark.parametrize(("name", "data", "sizes"), [
    ("bigram", TEXT, {}), ("mlp", Description("regression", (3, 2), 1), {"hidden": (4, 5), "activation": "relu"}),
])  # fmt: skip
def test_a_saved_model_is_the_same_again(
    name: str, data: Description, sizes: dict[str, Any], tmp_path: Path
) -> None:
    config = configure(name, data="text:t" if name == "bigram" else "adding:3", dtype="float64", **sizes)
    model = build(name, np.random.default_rng(1), "float64", data, **config.sizes)
    for parameter in model.parameters():
        parameter.data[...] = np.random.default_rng(2).standard_normal(parameter.shape)
    save_model(model, tmp_path / "m.safetensors", config, data)
    again, described = load_model(tmp_path / "m.safetensors")
    assert described == data
    x = np.zeros((2, *data.shape), np.int64 if name == "bigram" else np.float64)
    np.testing.assert_array_equal(again(Tensor(x)).data, model(Tensor(x)).data)


def test_files_that_are_no_models(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    model = build("bigram", np.random.default_rng(0), data=TEXT)
    state.save(model, path)
    with pytest.raises(ValueError, match=r"no model that 'ringleader train --save' wrote"):
        load_model(path)
    whole = {"name": "bigram", "dtype": "float32", "sizes": {}, "data": vars(TEXT)}
    for wrong in ({"name": "vgg"}, {"dtype": "int99"}, {"sizes": {"hidden": [1]}}, {"data": {}},
                  {"data": {**vars(TEXT), "outputs": 4}}, {"data": 3}):  # fmt: skip
        state.save(model, path, {"ringleader.model": json.dumps({**whole, **wrong})})
        with pytest.raises(ValueError, match="does not fit this version of Ringleader, or is damaged"):
            load_model(path)
    state.save(model, path, {"ringleader.model": "{"})
    with pytest.raises(ValueError, match="is damaged"):
        load_model(path)
    path.write_bytes(b"junk")
    with pytest.raises(ValueError, match="safetensors"):
        load_model(path)
