"""Files from the network, kept in the user's cache and known by their checksums."""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import os
import tempfile
import urllib.request
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

MNIST_MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)
MNIST_SHA256 = {  # of what is in the .gz files: mirrors may have packed it otherwise
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
PATIENCE = 30.0  # seconds without a byte
MOST_BYTES = 64 << 20  # of one file, unpacked


class DownloadError(ValueError):
    """A file could not be had; the message says from where, why, and what to do."""


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/ringleader/data, or ~/.cache/ringleader/data. DownloadError: this user has no home."""
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        above = given if given.is_absolute() else Path.home() / ".cache"
    except RuntimeError as error:
        raise DownloadError(f"no place to keep downloads in ({error}); set XDG_CACHE_HOME") from error
    return above / "ringleader" / "data"


def downloaded(folder: Path, mirrors: Sequence[str], checksums: Mapping[str, str], instead: str) -> Path:
    """``folder`` with the files that ``checksums`` (SHA-256) names in it, unpacked from NAME.gz of the first mirror
    that has them.

    Ranks that come at the same time wait for the one that downloads; a file is there whole or not at all.
    DownloadError: no mirror has a file with that checksum; it ends with what to do ``instead``.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / ".lock"):
            for name, wanted in checksums.items():
                if not _has(folder / name, wanted):
                    _write(folder / name, _fetch(name, mirrors, wanted, instead))
    except OSError as error:
        raise DownloadError(f"{folder}: cannot keep the download there: {error}; {instead}") from error
    return folder


def _fetch(name: str, mirrors: Sequence[str], wanted: str, instead: str) -> bytes:
    failures = []
    for mirror in mirrors:
        url = f"{mirror}{name}.gz"
        try:
            with (
                urllib.request.urlopen(url, timeout=PATIENCE) as answer,
                gzip.GzipFile(fileobj=answer) as packed,
            ):
                content: bytes = packed.read(MOST_BYTES)
        except (OSError, EOFError, zlib.error) as error:
            failures.append(f"{url}: {error}")
            continue
        found = hashlib.sha256(content).hexdigest()
        if found == wanted:
            return content
        failures.append(f"{url}: SHA-256 {found} instead of {wanted}")
    raise DownloadError(f"cannot download {name} ({'; '.join(failures)}); {instead}")


def _has(path: Path, checksum: str) -> bool:
    with suppress(FileNotFoundError):
        return hashlib.sha256(path.read_bytes()).hexdigest() == checksum
    return False


def _write(path: Path, content: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        try:
            file.write(content)
            file.flush()
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time; the lock of a process that has died is free."""
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
