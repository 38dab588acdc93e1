"""Text, a character a token, for models that predict the next one."""

from __future__ import annotations

import sysconfig
from collections.abc import Iterator
from math import ceil
from pathlib import Path

import numpy as np
from ringleader.runtime.training.config import TrainConfig
from ringleader.runtime.training.data.base import Array, Data, Description, Examples
from ringleader.runtime.training.tasks import LanguageModelling

TEST_SHARE = 0.1  # the end of the text
# Long modules with much prose in them, about 1.2 million characters; there in every Python since 3.10.
STDLIB = (
    "_pydecimal", "_pyio", "argparse", "ast", "calendar", "configparser", "copy", "csv", "dataclasses", "datetime",
    "difflib", "dis", "doctest", "enum", "fractions", "ftplib", "functools", "heapq", "inspect", "ipaddress", "locale",
    "mailbox", "os", "pathlib", "pdb", "pickle", "pickletools", "platform", "pydoc", "random", "shutil", "smtplib",
    "socket", "statistics", "subprocess", "tarfile", "tempfile", "textwrap", "threading", "traceback", "turtle",
    "typing", "uuid", "zipfile",
)  # fmt: skip
MOST_CHARACTERS = 1 << 20  # of the standard library


class Text(Data):
    """Windows of ``context`` characters; the target of each character is the next.

    The vocabulary is the sorted set of characters. The first 90 % are for training: the windows of a step are drawn by
    (data_seed, step); an epoch is as many as would cover the text once. The rest is cut into windows side by
    side, for testing. ValueError: the text is too short.
    """

    task = LanguageModelling()

    def __init__(self, text: str, context: int, name: str = "text") -> None:
        codes, tokens = np.unique(np.frombuffer(text.encode("utf-32-le"), np.uint32), return_inverse=True)
        self.tokens, self.context = tokens.astype(np.int64), context
        self.train_length = len(tokens) - round(TEST_SHARE * len(tokens))
        if min(self.train_length, len(tokens) - self.train_length) <= context:
            least = ceil((context + 1) / TEST_SHARE)
            raise ValueError(f"{name}: {len(tokens):,} characters are too few for windows of {context}: a tenth of them is "
                             f"for testing, so about {least:,} are needed; give more text, or a smaller context")  # fmt: skip
        self.samples = self.train_length // context
        self.test_items = np.arange(self.train_length, len(tokens) - context, context)
        vocabulary = "".join(map(chr, codes))
        self.description = Description(self.task.name, (context,), len(vocabulary), vocabulary=vocabulary)

    def batches(self, epoch: int, config: TrainConfig) -> Iterator[Array]:
        """(B,): where in the text the windows start."""
        steps = ceil(self.samples / config.batch_size)
        for step in range(epoch * steps, (epoch + 1) * steps):
            rng = np.random.default_rng([config.data_seed, step])
            yield rng.integers(0, self.train_length - self.context, config.batch_size)

    def count(self, items: Array) -> int:
        return len(items) * self.context

    def take(self, items: Array) -> Examples:
        windows = self.tokens[items[:, None] + np.arange(self.context + 1)]  # (B, context + 1)
        return (windows[:, :-1],), windows[:, 1:]


def read_text(path: Path) -> str:
    """A file's text. ValueError: it is not UTF-8."""
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 at byte {error.start}: {error.reason}") from error


def stdlib_text() -> str:
    """Sources of Python's own library: always the same for one version of Python, ASCII only."""
    folder = Path(sysconfig.get_path("stdlib"))
    paths = [path for name in STDLIB if (path := folder / f"{name}.py").is_file()]
    text = "".join(path.read_bytes().decode("ascii", errors="ignore") for path in paths)
    return text[:MOST_CHARACTERS].replace("\r\n", "\n")
