"""Text and generated sequences: what they hold, and that only seeds decide it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ringleader.runtime.training import Data, TrainConfig, load, shard
from ringleader.runtime.training.data import SOURCES, Adding, Copy, Pairs, Text, find_source, stdlib_text
from ringleader.runtime.training.tasks import SequenceToSequence

PAD, START, END = SequenceToSequence.PAD, SequenceToSequence.START, SequenceToSequence.END
TEXT = "".join(chr(97 + i % 7) + chr(200 + i % 5) for i in range(500))
MADE = {
    "text": lambda: Text(TEXT, 10), "adding": lambda: Adding(9), "copy": lambda: Copy(3),
    "sort": lambda: Pairs("sort", 7), "reverse": lambda: Pairs("reverse", 6),
}  # fmt: skip


def batches(data: Data, batch_size: int = 7, seed: int = 0, epoch: int = 0) -> list[np.ndarray]:
    return list(data.batches(epoch, TrainConfig(batch_size=batch_size, data_seed=seed)))


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("size", [1, 2, 3, 9])
def test_the_ranks_parts_are_the_whole_batch(name: str, size: int) -> None:
    data = MADE[name]()
    items = batches(data)[3]
    whole, y = data.take(items)
    parts = [data.take(shard(items, rank, size)) for rank in range(size)]
    for i, x in enumerate(whole):
        np.testing.assert_array_equal(np.concatenate([inputs[i] for inputs, _ in parts]), x)
    np.testing.assert_array_equal(np.concatenate([part for _, part in parts]), y)
    assert data.count(items) == sum(data.task.predictions(part) for _, part in parts)


@pytest.mark.parametrize("name", MADE)
def test_seed_and_epoch_decide_the_batches(name: str) -> None:
    def first(seed: int, epoch: int) -> bytes:
        data = MADE[name]()
        inputs, y = data.take(batches(data, seed=seed, epoch=epoch)[0])
        return b"".join(x.tobytes() for x in (*inputs, y))

    assert first(1, 2) == first(1, 2)
    assert len({first(*key) for key in [(0, 0), (0, 1), (1, 0), (1, 1)]}) == 4


@pytest.mark.parametrize("name", MADE)
def test_shapes_are_those_described(name: str) -> None:
    data = MADE[name]()
    for items, take in ((batches(data)[0], data.take), (data.test_items[:5], data.take_test)):
        inputs, y = take(items)
        assert inputs[0].shape == (len(items), *data.description.shape)
        assert [x.shape for x in inputs[1:]] == [(len(items), data.description.target)] * (len(inputs) - 1)
        empty, nothing = take(items[:0])
        assert [x.shape[1:] for x in empty] == [x.shape[1:] for x in inputs] and len(nothing) == 0
        if name != "adding":
            assert all(x.max() < data.description.outputs and x.min() >= 0 for x in (*inputs, y))


def test_text() -> None:
    data = MADE["text"]()
    assert data.description.vocabulary == "".join(sorted(set(TEXT))) and data.description.outputs == 12
    assert "".join(data.description.vocabulary[i] for i in data.tokens) == TEXT
    (x,), y = data.take(np.array([3]))
    np.testing.assert_array_equal(x[0], data.tokens[3:13])
    np.testing.assert_array_equal(y[0], data.tokens[4:14])
    assert sum(map(len, batches(data))) >= data.samples == 90
    starts = np.concatenate([b for epoch in range(20) for b in batches(data, epoch=epoch)])
    assert starts.min() == 0 and starts.max() == 900 - 11  # targets too stay before the test part
    assert data.test_items.tolist() == [*range(900, 990, 10)]


@given(length=st.integers(0, 300), context=st.integers(1, 20))
def test_windows_never_leave_their_part(length: int, context: int) -> None:
    text, tests = "ab" * (length // 2) + "a" * (length % 2), round(length / 10)
    if min(length - tests, tests) <= context:
        with pytest.raises(ValueError, match=f"{length} characters are too few for windows of {context}"):
            Text(text, context)
        return
    data = Text(text, context)
    for items in batches(data, batch_size=5):
        assert items.min() >= 0 and items.max() + context < data.train_length
    assert data.test_items.min() >= data.train_length and data.test_items.max() + context < length
    assert data.take(data.test_items)[1].size > 0


def test_text_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "t").write_text(TEXT, encoding="utf-8")
    config = TrainConfig(data=f"text:{tmp_path / 't'}", context=8)
    assert load(config).description.shape == (8,)
    (tmp_path / "t").write_bytes(b"abc\xff")
    with pytest.raises(ValueError, match="t: not UTF-8 at byte 3"):
        load(config)
    (tmp_path / "t").write_bytes(b"")
    with pytest.raises(ValueError, match=r"t: 0 characters are too few for windows of 8.*smaller context"):
        load(config)


def test_text_of_the_standard_library() -> None:
    text = stdlib_text()
    assert text.isascii() and 500_000 < len(text) <= 1 << 20 and "def " in text and text == stdlib_text()


def test_adding() -> None:
    data = Adding(7, np.float64)
    (x,), y = data.take(batches(data, batch_size=500)[0])
    numbers, marks = x[:, :, 0], x[:, :, 1]
    assert set(marks.ravel()) == {0, 1} and (marks[:, :3].sum(axis=1) == 1).all()
    assert (marks[:, 3:].sum(axis=1) == 1).all() and (marks.sum(axis=0) > 50).all()
    np.testing.assert_allclose(y[:, 0], (numbers * marks).sum(axis=1))
    assert np.mean((y - 1) ** 2) == pytest.approx(1 / 6, rel=0.2) and y.dtype == np.float64


def test_copy() -> None:
    data = Copy(4)
    (x,), y = data.take(batches(data, batch_size=200)[0])
    assert set(x[:, :10].ravel()) == set(range(1, 9))
    np.testing.assert_array_equal(x[0, 10:], [0, 0, 0, 9, *[0] * 10])
    assert (x[:, 10:] == x[0, 10:]).all() and not y[:, :14].any()
    np.testing.assert_array_equal(y[:, 14:], x[:, :10])


@pytest.mark.parametrize("rule", ["sort", "reverse"])
def test_pairs(rule: str) -> None:
    data = Pairs(rule, 7)
    items = batches(data, batch_size=40)[0]
    (source, seen), said = data.take(items)
    assert sorted(set(data.lengths(items))) == [4, 5, 6, 7]
    for row, before, after, length in zip(source, seen, said, data.lengths(items)):
        symbols = row[:length]
        wanted = sorted(symbols) if rule == "sort" else symbols[::-1].tolist()
        assert symbols.min() >= 3 and not row[length:].any()
        assert after.tolist() == [*wanted, END, *[PAD] * (7 - length)]
        assert before.tolist() == [START, *wanted, *[PAD] * (7 - length)]


@pytest.mark.parametrize("name", ["adding", "copy", "sort", "reverse"])
def test_an_epoch_is_new_samples_and_tests_are_none_of_them(name: str) -> None:
    data = MADE[name]()
    seeds = {tuple(row) for epoch in (0, 1) for items in batches(data, 64, epoch=epoch) for row in items}
    assert len(seeds) == 2 * data.samples and not seeds & {tuple(row) for row in data.test_items}
    by_seven = np.concatenate(batches(data, 7))
    np.testing.assert_array_equal(
        by_seven, np.concatenate(batches(data, 64))
    )  # the size of a batch is no seed


@pytest.mark.parametrize(("spec", "message"), [
    ("mnits", r"unknown data 'mnits'; known: digits, mnist\[:FOLDER\], text:FILE"),
    ("", "unknown data ''"),
    ("digits:8", "data 'digits:8': write digits"),
    ("text", "data 'text': write text:FILE"),
    ("text:", "write text:FILE"),
    ("mnist:", r"write mnist\[:FOLDER\]"),
    ("adding:1", "adding:1: there must be at least 2 numbers"),
    ("copy:0", "the delay must be at least 1"),
    ("sort:-3", "'-3' is not a length"),
    ("sort:99999999", "is not a length"),
    ("reverse:0", "sequences must have at least 1 symbol"),
])  # fmt: skip
def test_data_that_is_not_there(spec: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(TrainConfig(data=spec))


def test_lengths_in_names() -> None:
    shapes = {spec: load(TrainConfig(data=spec)).description.shape
              for spec in ("adding:30", "copy:30", "sort:4", "reverse", "adding")}  # fmt: skip
    assert shapes == {
        "adding:30": (30, 2),
        "copy:30": (50,),
        "sort:4": (4,),
        "reverse": (10,),
        "adding": (100, 2),
    }
    assert find_source("text:a:b")[1] == "a:b" and all(
        find_source(name) for name in SOURCES if name != "text"
    )
