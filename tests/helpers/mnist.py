"""Small data sets in the files of MNIST."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np

NAMES = {"train-images": "idx3-ubyte", "train-labels": "idx1-ubyte",
         "t10k-images": "idx3-ubyte", "t10k-labels": "idx1-ubyte"}  # fmt: skip


def idx(array: np.ndarray, code: int = 0x08) -> bytes:
    """The file that holds ``array``, which must have the big-endian dtype of ``code``."""
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, code, array.ndim]) + sizes + array.tobytes()


def write_mnist(folder: Path, train: int = 30, test: int = 10, zipped: bool = False) -> dict[str, np.ndarray]:
    """Random images whose mean brightness tells their label; returns what is in each file."""
    rng, arrays = np.random.default_rng(0), {}
    for part, count in (("train", train), ("t10k", test)):
        labels = rng.integers(0, 10, count).astype(np.uint8)
        images = rng.integers(0, 256, (count, 28, 28)) * (labels[:, None, None] + 1) // 10
        arrays |= {f"{part}-images": images.astype(np.uint8), f"{part}-labels": labels}
    for name, array in arrays.items():
        content, path = idx(array), folder / f"{name}-{NAMES[name]}"
        if zipped:
            path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(content))
        else:
            path.write_bytes(content)
    return arrays
