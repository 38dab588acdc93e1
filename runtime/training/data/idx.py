"""IDX, the file format of MNIST: two zero bytes, a type, the number of axes, their big-endian sizes, the elements."""

from __future__ import annotations

import gzip
import zlib
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy as np
from ringleader.runtime.autograd.op import Array

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
MOST_BYTES = 1 << 30  # of the elements; more is a broken or hostile header
GZIP = b"\x1f\x8b"


def read_idx(path: Path) -> Array:
    """The array in an IDX file, gzipped or not, in the machine's byte order.

    The header is believed only as far as MOST_BYTES, and the file must hold exactly what it promises. ValueError names
    the file and the offset (in what is unpacked) of what is wrong; OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        zipped = file.read(2) == GZIP
        file.seek(0)
        try:
            if not zipped:
                return _read(file, path)
            with gzip.GzipFile(fileobj=file) as unpacked:
                return _read(unpacked, path)  # type: ignore[arg-type]
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise ValueError(
                f"{path}: broken gzip file, about byte {file.tell():,} of it: {error}"
            ) from error


def _read(file: BinaryIO, path: Path) -> Array:
    header = _exactly(file, 4, 0, path)
    if header[:2] != b"\0\0" or header[2] not in TYPES or header[3] == 0:
        raise ValueError(f"{path}: at byte 0: {header.hex(' ')} does not begin an IDX file")
    dtype, axes = np.dtype(TYPES[header[2]]), header[3]
    sizes = np.frombuffer(_exactly(file, 4 * axes, 4, path), ">u4").tolist()
    start, nbytes = 4 + 4 * axes, prod(sizes) * dtype.itemsize
    if nbytes > MOST_BYTES or axes > 32:
        raise ValueError(
            f"{path}: at byte 4: sizes {sizes[:8]} are {nbytes:,} bytes, more than {MOST_BYTES:,}"
        )
    elements = _exactly(file, nbytes, start, path)
    if file.read(1):
        raise ValueError(f"{path}: at byte {start + nbytes}: more data than the sizes {sizes} promise")
    return np.frombuffer(elements, dtype).reshape(sizes).astype(dtype.newbyteorder("="))


def _exactly(file: BinaryIO, count: int, at: int, path: Path) -> bytes:
    found = file.read(count)
    if len(found) < count:
        raise ValueError(f"{path}: ends at byte {at + len(found)}, but {count} bytes should follow byte {at}")
    return found
