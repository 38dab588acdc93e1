"""Files of states: what is written comes back; what is damaged is refused with the file's name."""

from __future__ import annotations

import builtins
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ringleader.runtime.autograd import (
    Adam,
    Linear,
    Tensor,
    load,
    load_metadata,
    load_tree,
    save,
    save_tree,
    state,
)

DTYPES = ["float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8",
          "bool"]  # fmt: skip


def bits(array: Any) -> bytes:
    raw: bytes = np.asarray(array).tobytes()
    return raw


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes_shapes_and_layouts_come_back(dtype: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        str(shape): np.asarray(rng.integers(0, 2, shape)).astype(dtype)
        for shape in [(), (0,), (2, 0), (1,), (3, 2)]
    }
    arrays["transposed"], arrays["strided"] = arrays["(3, 2)"].T, arrays["(3, 2)"][::2, ::-1]
    arrays["other byte order"] = arrays["(3, 2)"].astype(np.dtype(dtype).newbyteorder(">"))
    save(arrays, tmp_path / "x")
    back = load(tmp_path / "x")
    assert back.keys() == arrays.keys()
    for name, array in arrays.items():
        assert (back[name].shape, back[name].dtype) == (array.shape, np.dtype(dtype))
        assert back[name].flags.writeable
        np.testing.assert_array_equal(back[name], array)


def test_bfloat16_comes_back_and_asks_for_ml_dtypes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    array = np.array([[1.5, np.nan], [-0.0, np.inf]], ml_dtypes.bfloat16)
    save({"x": array, "number": array[0, 0]}, tmp_path / "x")
    back = load(tmp_path / "x")
    assert back["x"].dtype == array.dtype and bits(back["x"]) == bits(array) and back["number"].shape == ()
    real = builtins.__import__

    def without(name: str, *args: Any, **options: Any) -> Any:
        if name == "ml_dtypes":
            raise ImportError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match="pip install ml_dtypes"):
        load(tmp_path / "x")


def test_a_module_and_metadata(tmp_path: Path) -> None:
    model, other = (Linear(2, 3, generator=np.random.default_rng(seed)) for seed in (0, 1))
    save(model, tmp_path / "x", {"epoch": "3"})
    assert load_metadata(tmp_path / "x") == {"epoch": "3"}
    other.load_state_dict(load(tmp_path / "x"))
    np.testing.assert_array_equal(other.weight.data, model.weight.data)
    save({}, tmp_path / "empty")
    assert load(tmp_path / "empty") == {} == load_metadata(tmp_path / "empty")


def test_pytorch_users_can_read_it(tmp_path: Path) -> None:
    """The format's own reader for numpy."""
    numpy = pytest.importorskip("safetensors.numpy")
    save({"x": np.arange(6).reshape(2, 3).T}, tmp_path / "x")
    np.testing.assert_array_equal(numpy.load_file(tmp_path / "x")["x"], np.arange(6).reshape(2, 3).T)


def test_what_cannot_be_written_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    save({"x": np.ones(2)}, tmp_path / "x")
    for bad, metadata, message in (
        ({"x": np.array(["a"])}, None, "'x' is <U1"),
        ({"x": np.array([None])}, None, "'x' is object"),
        ({1: np.ones(1)}, None, "names must be text, not 1"),
        ({"x": np.ones(1)}, {"a": 1}, "metadata must be text"),
    ):
        with pytest.raises(TypeError, match=message):
            save(bad, tmp_path / "x", metadata)  # type: ignore[arg-type]
    assert list(load(tmp_path / "x")["x"]) == [1, 1]
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_write_that_fails_half_way_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save({"x": np.ones(2)}, tmp_path / "x")

    def full(path: Path) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(state, "_flush", full)
    with pytest.raises(OSError, match="no space"):
        save({"x": np.zeros(2)}, tmp_path / "x")
    assert list(load(tmp_path / "x")["x"]) == [1, 1]
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    for read in (load, load_metadata, load_tree):
        with pytest.raises(ValueError, match=str(path)):
            read(path)


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    save_tree({"x": np.ones(3), "n": 1}, tmp_path / "x")
    whole = (tmp_path / "x").read_bytes()
    for length in range(len(whole)):
        refused(tmp_path / "cut", whole[:length])
    refused(tmp_path / "cut", whole + b"\0")


@settings(max_examples=200, deadline=None)
@given(at=st.integers(0, 200), byte=st.integers(0, 255))
def test_one_wrong_byte_is_refused_or_read(
    at: int, byte: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp() / "bytes"
    folder.mkdir(exist_ok=True)
    save({"x": np.ones(3), "y": np.ones((2, 2), np.float32)}, folder / "x")
    content = bytearray((folder / "x").read_bytes())
    content[at % len(content)] = byte
    (folder / "x").write_bytes(content)
    with suppress(ValueError):  # and nothing else
        load(folder / "x")


@pytest.mark.parametrize(
    "header",
    [
        {"x": {"dtype": "F8_E4M3", "shape": [1], "data_offsets": [0, 1]}},
        {"x": {"dtype": "F32", "shape": [1 << 62, 4], "data_offsets": [0, 1]}},
        {"x": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}},
        {"x": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}},
        {"x": {"dtype": "O", "shape": [1], "data_offsets": [0, 8]}},
        ["x"],
    ],
)
def test_hostile_headers(header: Any, tmp_path: Path) -> None:
    text = json.dumps(header).encode()
    path = tmp_path / "x"
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"\0")
    with pytest.raises(ValueError, match=str(path)):
        load(path)


trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.integers(0, 3) | st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=50, deadline=None)
@given(tree=trees)
def test_trees_come_back(tree: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "tree"
    save_tree(tree, path)
    assert load_tree(path) == tree


def test_trees_keep_arrays_apart_and_refuse_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "x"
    tree = {
        "a": {1: np.ones(1), "1": np.zeros(2)},
        "a.1": np.full(3, 5),
        "b": [np.float32(0.1), (np.int64(3),)],
    }
    save_tree(tree, path)
    back = load_tree(path)
    assert list(back["a"][1]) == [1] and list(back["a"]["1"]) == [0, 0] and list(back["a.1"]) == [5, 5, 5]
    assert back["b"][0].dtype == np.float32 and back["b"][1][0] == 3
    with pytest.raises(TypeError, match=r"a\.0 is a set"):
        save_tree({"a": [{1}]}, path)
    save({"x": np.ones(1)}, path)
    with pytest.raises(ValueError, match="holds no tree"):
        load_tree(path)
    save({}, path, {state.TREE: "[" * 100_000})
    with pytest.raises(ValueError, match="holds no tree"):
        load_tree(path)
    for outline in ('{"array": "nowhere"}', '{"dict": 3}', '{"dict": [[[], 1]]}', "{}", '{"dict": [[1]]}'):
        save({}, path, {state.TREE: outline})
        with pytest.raises(ValueError, match="holds no tree"):
            load_tree(path)


def test_training_goes_on_from_a_file_bit_for_bit(tmp_path: Path) -> None:
    def start() -> tuple[Linear, Adam]:
        model = Linear(2, 3, generator=np.random.default_rng(0))
        return model, Adam(model.parameters(), lr=0.1, betas=(0.8, 0.9))

    def train(model: Linear, optimizer: Adam, count: int) -> None:
        for _ in range(count):
            optimizer.zero_grad()
            (model(Tensor(np.ones((1, 2), np.float32))) ** 2).sum().backward()
            optimizer.step()

    model, optimizer = start()
    train(model, optimizer, 3)
    save_tree({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "x")
    train(model, optimizer, 3)
    other, going_on = start()
    state = load_tree(tmp_path / "x")
    other.load_state_dict(state["model"])
    going_on.load_state_dict(state["optimizer"])
    train(other, going_on, 3)
    assert bits(other.weight.data) == bits(model.weight.data)
