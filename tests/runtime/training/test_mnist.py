"""MNIST: IDX files, whole and broken, and how they come from the network."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import multiprocessing
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from helpers.mnist import NAMES, idx, write_mnist
from hypothesis import given
from hypothesis import strategies as st
from ringleader.runtime.training import TrainConfig, load, load_mnist
from ringleader.runtime.training.data import download
from ringleader.runtime.training.data.idx import TYPES, read_idx
from ringleader.runtime.training.data.images import BACKGROUND, INK


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("code", TYPES)
def test_idx_of_every_type(code: int, zipped: bool, tmp_path: Path) -> None:
    array = np.arange(24).reshape(2, 3, 4).astype(TYPES[code])
    content = idx(array, code)
    (tmp_path / "a").write_bytes(gzip.compress(content) if zipped else content)
    read = read_idx(tmp_path / "a")
    np.testing.assert_array_equal(read, array)
    assert read.dtype == np.dtype(TYPES[code]).newbyteorder("=")


@pytest.mark.parametrize(("content", "message"), [
    (b"", "ends at byte 0, but 4 bytes should follow byte 0"),
    (b"\0\0\x08", "ends at byte 3, but 4 bytes should follow byte 0"),
    (b"\x89PNG....", "at byte 0: 89 50 4e 47 does not begin an IDX file"),
    (b"\0\0\x07\x01\0\0\0\0", "at byte 0: 00 00 07 01 does not"),
    (b"\0\0\x08\0", "at byte 0: 00 00 08 00 does not"),
    (b"\0\0\x08\x02\0\0\0\1\0", "ends at byte 9, but 8 bytes should follow byte 4"),
    (b"\0\0\x08\x01\0\0\0\5abc", "ends at byte 11, but 5 bytes should follow byte 8"),
    (b"\0\0\x08\x01\0\0\0\2abc", "at byte 10: more data than the sizes [2] promise"),
    (b"\0\0\x08\x03" + b"\xff" * 12, "more than 1,073,741,824"),
    (b"\0\0\x08\xff" + b"\0\0\0\1" * 255 + b"x", "at byte 4: sizes"),
    (gzip.compress(b"\0\0\x08\x01\0\0\0\2ab", mtime=0)[:-9], "broken gzip file"),
    (gzip.compress(b"\0\0\x08\x01\0\0\0\2ab", mtime=0)[:-8] + b"\0" * 8, "broken gzip file"),
    (b"\x1f\x8b\x08" + b"\xff" * 30, "broken gzip file"),
])  # fmt: skip
def test_broken_idx_files_are_named_with_the_offset(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "broken").write_bytes(content)
    with pytest.raises(ValueError) as caught:
        read_idx(tmp_path / "broken")
    assert message in str(caught.value) and str(tmp_path / "broken") in str(caught.value)


@given(data=st.data(), zipped=st.booleans())
def test_idx_of_any_bytes_is_an_array_or_a_value_error(
    data: st.DataObject, zipped: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Bytes of a good file, some of them changed, cut off somewhere."""
    array = np.arange(12, dtype=np.uint8).reshape(3, 4)
    content = bytearray(gzip.compress(idx(array), mtime=0) if zipped else idx(array))
    for at, value in data.draw(
        st.dictionaries(st.integers(0, len(content) - 1), st.integers(0, 255))
    ).items():
        content[at] = value
    path = tmp_path_factory.mktemp("fuzz") / "file"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    message = ""
    try:
        assert read_idx(path).size <= 1 << 20
    except ValueError as error:
        message = str(error)
    assert not message or str(path) in message


def test_a_gzip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    (tmp_path / "bomb").write_bytes(gzip.compress(b"\0\0\x08\x01\0\0\0\1" + bytes(50_000_000)))
    with pytest.raises(ValueError, match=r"at byte 9: more data"):
        read_idx(tmp_path / "bomb")


@pytest.mark.parametrize("zipped", [False, True])
def test_mnist_is_padded_and_scaled_as_lecun_did(zipped: bool, tmp_path: Path) -> None:
    arrays = write_mnist(tmp_path, zipped=zipped)
    data = load_mnist(tmp_path, np.float64)
    assert (data.samples, len(data.test_items), data.description.shape) == (30, 10, (1, 32, 32))
    (x,), y = data.take(np.array([[7, 0, 0], [3, 0, 0]]))
    assert (x.shape, x.dtype, y.dtype) == ((2, 1, 32, 32), np.float64, np.int64)
    wanted = arrays["train-images"][[7, 3]] / 255 * (INK - BACKGROUND) + BACKGROUND
    np.testing.assert_allclose(x[:, 0, 2:-2, 2:-2], wanted, rtol=1e-12)
    inside = np.zeros((32, 32), bool)
    inside[2:-2, 2:-2] = True
    assert (x[:, 0, ~inside] == BACKGROUND).all()
    np.testing.assert_array_equal(y, arrays["train-labels"][[7, 3]])
    (moved,), _ = data.take(np.array([[7, 2, -1]]))
    np.testing.assert_array_equal(moved[0, 0, 4:, :-3], x[0, 0, 2:-2, 1:-2])
    (tests,), labels = data.take_test(data.test_items)
    assert tests.shape == (10, 1, 32, 32)
    np.testing.assert_array_equal(labels, arrays["t10k-labels"])


@pytest.mark.parametrize(("name", "array", "message"), [
    ("t10k-images", np.zeros((10, 28, 27), np.uint8), r"holds uint8 of shape \(10, 28, 27\), not bytes of shape"),
    ("train-images", np.zeros((0, 28, 28), np.uint8), "not bytes of shape"),
    ("train-labels", np.zeros(29, np.uint8), "not a byte for each of the 30 images"),
    ("t10k-labels", np.full(10, 10, np.uint8), "label 0 is 10, not one of 0..9"),
])  # fmt: skip
def test_files_that_are_not_mnist(name: str, array: np.ndarray, message: str, tmp_path: Path) -> None:
    write_mnist(tmp_path)
    path = tmp_path / f"{name}-{NAMES[name]}"
    path.write_bytes(idx(array))
    with pytest.raises(ValueError, match=f"{path}: .*{message}"):
        load_mnist(tmp_path)
    path.unlink()
    with pytest.raises(ValueError, match=f"{path}: no such file, .*mnist:FOLDER"):
        load_mnist(tmp_path)


class Served(http.server.ThreadingHTTPServer):
    """A mirror on loopback that counts what it is asked for."""

    asked: list[str]


class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        super().do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """Serves small files as MNIST's, from tmp_path/served; the cache is in tmp_path/cache."""
    folder = tmp_path / "served"
    folder.mkdir()
    arrays = write_mnist(folder, zipped=True)
    sums = {f"{name}-{NAMES[name]}": hashlib.sha256(idx(a)).hexdigest() for name, a in arrays.items()}
    server = Served(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    server.asked = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    urls = ("http://127.0.0.1:9/", f"http://127.0.0.1:{server.server_port}/")  # nothing answers the first
    monkeypatch.setattr("ringleader.runtime.training.data.MNIST_MIRRORS", urls)
    monkeypatch.setattr("ringleader.runtime.training.data.MNIST_SHA256", sums)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield server
    server.shutdown()
    server.server_close()


def test_mnist_is_downloaded_once_and_again_if_damaged(mirror: Served, tmp_path: Path) -> None:
    config = TrainConfig(data="mnist")
    assert load(config).samples == 30 and len(mirror.asked) == 4
    assert load(config).samples == 30 and len(mirror.asked) == 4
    cached = tmp_path / "cache" / "ringleader" / "data" / "mnist" / "t10k-labels-idx1-ubyte"
    whole = cached.read_bytes()
    cached.write_bytes(whole[:-1])
    load(config)
    assert cached.read_bytes() == whole and mirror.asked[4:] == ["/t10k-labels-idx1-ubyte.gz"]
    assert sorted(path.name for path in cached.parent.iterdir() if path.name != ".lock") == sorted(
        f"{name}-{kind}" for name, kind in NAMES.items()
    )


def _samples(_: int) -> int:
    return load(TrainConfig(data="mnist")).samples


def test_ranks_that_come_together_download_once(mirror: Served) -> None:
    with multiprocessing.get_context("fork").Pool(4) as pool:
        assert pool.map(_samples, range(4)) == [30] * 4
    assert len(mirror.asked) == 4


@pytest.mark.parametrize("spoil", ["other content", "no gzip", "cut", "missing"])
def test_what_cannot_be_downloaded_says_what_to_do(spoil: str, mirror: Served, tmp_path: Path) -> None:
    path = tmp_path / "served" / "train-labels-idx1-ubyte.gz"
    content = path.read_bytes()
    if spoil == "missing":
        path.unlink()
    else:
        path.write_bytes(
            {"other content": gzip.compress(b"x"), "no gzip": b"<html>", "cut": content[:-12]}[spoil]
        )
    with pytest.raises(download.DownloadError) as caught:
        load(TrainConfig(data="mnist"))
    reason = {"other content": "SHA-256", "no gzip": "Not a gzipped file", "cut": "ended", "missing": "404"}[
        spoil
    ]
    assert reason in str(caught.value) and str(caught.value).endswith("--data mnist:FOLDER")
    assert "train-labels-idx1-ubyte.gz" in str(caught.value) and "127.0.0.1:9" in str(caught.value)
    assert not (tmp_path / "cache" / "ringleader" / "data" / "mnist" / "train-labels-idx1-ubyte").exists()


def test_a_cache_that_cannot_be_written(
    mirror: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(download.DownloadError, match=r"cannot keep the download there.*mnist:FOLDER"):
        load(TrainConfig(data="mnist"))
