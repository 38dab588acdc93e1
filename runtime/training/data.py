"""Data sets, and which samples each rank gets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]

BACKGROUND, INK = -0.1, 1.175  # LeCun et al. 1998: about mean 0 and variance 1 over the pixels of MNIST


@dataclass(frozen=True)
class Dataset:
    """Images x (N, C, H, W) and labels y (N,) int64, for training and for testing."""

    train_x: Array
    train_y: Array
    test_x: Array
    test_y: Array


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
    x = resize(images.reshape(-1, 1, 8, 8), 32) / 16 * (INK - BACKGROUND) + BACKGROUND
    x, y = x.astype(dtype), labels.astype(np.int64)
    order = np.random.default_rng(seed).permutation(len(y))
    test, train = np.split(order, [round(test_share * len(y))])
    return Dataset(x[train], y[train], x[test], y[test])


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


def global_batches(count: int, batch_size: int, seed: int, epoch: int) -> Iterator[Array]:
    """Indices of each batch of an epoch, shuffled: the same on every rank, and for any number of ranks.

    The last batch may be smaller. ValueError: ``batch_size`` below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, it is {batch_size}")
    order = np.random.default_rng([seed, epoch]).permutation(count)
    return (order[at : at + batch_size] for at in range(0, count, batch_size))


def shard(items: Array, rank: int, size: int) -> Array:
    """This rank's part of ``items``: contiguous, in order; lengths differ by at most 1 and may be 0."""
    small, larger = divmod(len(items), size)
    start = rank * small + min(rank, larger)
    return items[start : start + small + (rank < larger)]


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
