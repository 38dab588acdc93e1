"""Labelled images: scikit-learn's digits, and MNIST."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import DTypeLike
from ringleader.runtime.training.config import TrainConfig
from ringleader.runtime.training.data.base import Array, Data, Description, Examples, global_batches
from ringleader.runtime.training.data.idx import read_idx
from ringleader.runtime.training.tasks import Classification

BACKGROUND, INK = -0.1, 1.175  # LeCun et al. 1998: about mean 0 and variance 1 over the pixels of MNIST
SIZE = (
    32  # of the images that a model sees: LeCun et al. put the 28x28 pixels of MNIST in the middle of 32x32
)
MNIST = {  # how the four files begin, and how the data set calls them
    "train-images": "idx3-ubyte", "train-labels": "idx1-ubyte",
    "t10k-images": "idx3-ubyte", "t10k-labels": "idx1-ubyte",
}  # fmt: skip


@dataclass(eq=False)
class Dataset(Data):
    """Images x (N, C, H, W) and labels y (N,) int64, for training and for testing.

    ``prepare`` makes of some images as they are kept (bytes) those that the model sees. Training images are moved by up
    to ``config.shift`` pixels, each way, in each epoch.
    """

    train_x: Array
    train_y: Array
    test_x: Array
    test_y: Array
    classes: int = 10
    prepare: Callable[[Array], Array] = lambda x: x

    task = Classification()

    def __post_init__(self) -> None:
        self.samples, self.test_items = len(self.train_y), np.arange(len(self.test_y))
        self.description = Description(self.task.name, self.prepare(self.train_x[:1]).shape[1:], self.classes)

    def batches(self, epoch: int, config: TrainConfig) -> Iterator[Array]:
        """(B, 3): index, rows down, columns to the right."""
        offsets = random_offsets(self.samples, config.shift, config.data_seed, epoch)
        for batch in global_batches(self.samples, config.batch_size, config.data_seed, epoch):
            yield np.column_stack([batch, offsets[batch]])

    def take(self, items: Array) -> Examples:
        index = items[:, 0]
        return (shift(self.prepare(self.train_x[index]), items[:, 1:]),), self.train_y[index]

    def take_test(self, items: Array) -> Examples:
        return (self.prepare(self.test_x[items]),), self.test_y[items]


def load_digits(dtype: DTypeLike = np.float32, test_share: float = 0.2, seed: int = 0) -> Dataset:
    """scikit-learn's 1797 handwritten digits (Alpaydin and Kaynak, UCI 1998), offline.

    8x8 pixels of 0..16 become 32x32 (bilinear) in BACKGROUND..INK: x (N, 1, 32, 32) of ``dtype``. The
    split is drawn with ``seed``; leave it alone to compare results. ImportError: no scikit-learn.
    """
    try:
        from sklearn import datasets
    except ImportError as error:
        raise ImportError(
            "the digits come with scikit-learn, which is missing: pip install scikit-learn"
        ) from error
    images, labels = datasets.load_digits(return_X_y=True)
    x = resize(images.reshape(-1, 1, 8, 8), SIZE) / 16 * (INK - BACKGROUND) + BACKGROUND
    x, y = x.astype(dtype), labels.astype(np.int64)
    order = np.random.default_rng(seed).permutation(len(y))
    test, train = np.split(order, [round(test_share * len(y))])
    return Dataset(x[train], y[train], x[test], y[test])


def load_mnist(folder: Path, dtype: DTypeLike = np.float32) -> Dataset:
    """The 60,000 and 10,000 digits of LeCun, Cortes and Burges, from their four IDX files, which may be gzipped.

    28x28 bytes become 32x32 in BACKGROUND..INK, BACKGROUND around them: x (N, 1, 32, 32) of ``dtype``, batch by batch
    (in memory the bytes stay bytes). ValueError: a file is missing, broken, or does not hold what it should.
    """
    arrays = {}
    for part in ("train", "t10k"):
        images, labels = (_mnist_file(folder, f"{part}-{what}") for what in ("images", "labels"))
        x, y = read_idx(images), read_idx(labels)
        if x.dtype != np.uint8 or x.shape[1:] != (28, 28) or len(x) == 0:
            raise ValueError(f"{images}: holds {x.dtype} of shape {x.shape}, not bytes of shape (N, 28, 28)")
        if y.dtype != np.uint8 or y.shape != x.shape[:1]:
            raise ValueError(
                f"{labels}: holds {y.dtype} of shape {y.shape}, not a byte for each of the {len(x)} images"
            )
        if wrong := np.flatnonzero(y > 9).tolist():
            raise ValueError(f"{labels}: label {wrong[0]} is {y[wrong[0]]}, not one of 0..9")
        arrays[part] = (x[:, None], y.astype(np.int64))
    # a table, not arithmetic: 256 grey levels in, so many numbers out
    level = (np.arange(256) / 255 * (INK - BACKGROUND) + BACKGROUND).astype(dtype)
    level[0] = BACKGROUND
    return Dataset(*arrays["train"], *arrays["t10k"], prepare=lambda x: level[_centred(x)])


def _mnist_file(folder: Path, name: str) -> Path:
    path = folder / f"{name}-{MNIST[name]}"
    for candidate in (path, path.with_name(f"{path.name}.gz")):
        if candidate.is_file():
            return candidate
    raise ValueError(
        f"{path}: no such file, nor {path.name}.gz; 'mnist:FOLDER' needs the four IDX files of MNIST there"
    )


def _centred(images: Array) -> Array:
    """Bytes (N, 1, h, w) in the middle of zeros (N, 1, SIZE, SIZE)."""
    sides = [((SIZE - n) // 2, SIZE - n - (SIZE - n) // 2) for n in images.shape[2:]]
    return np.pad(images, ((0, 0), (0, 0), *sides))


def resize(images: Array, size: int) -> Array:
    """Bilinear, pixel centres aligned: (N, C, h, w) -> (N, C, size, size)."""
    rows, columns = (_interpolation(n, size) for n in images.shape[2:])  # (size, h), (size, w)
    resized: Array = rows @ images @ columns.T
    return resized


def _interpolation(n: int, size: int) -> Array:
    """(size, n): each row holds the weights of the two old pixels around a new pixel's centre."""
    centre = np.clip((np.arange(size) + 0.5) * n / size - 0.5, 0, n - 1)
    weights: Array = np.maximum(0, 1 - np.abs(centre[:, None] - np.arange(n)))
    return weights


def random_offsets(count: int, most: int, seed: int, epoch: int) -> Array:
    """For each sample how far it is moved in this epoch: (count, 2) rows and columns in -most..most.

    They belong to the samples, so they do not depend on the number of ranks or the size of a batch.
    """
    return np.random.default_rng([seed, epoch, 1]).integers(-most, most + 1, (count, 2))


def shift(images: Array, offsets: Array) -> Array:
    """Each image (N, C, H, W) moved down and right by its ``offsets`` (N, 2); BACKGROUND comes in."""
    room = int(np.abs(offsets).max(initial=0))
    if room == 0:
        return images
    padded = np.pad(images, ((0, 0), (0, 0), (room, room), (room, room)), constant_values=BACKGROUND)
    windows = sliding_window_view(
        padded, images.shape[2:], axis=(2, 3)
    )  # (N, C, 2 room + 1, 2 room + 1, H, W)
    moved: Array = windows[np.arange(len(images)), :, room - offsets[:, 0], room - offsets[:, 1]]
    return moved
