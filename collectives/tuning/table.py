"""A tuning table: which algorithm to run for each collective, rank count and size, and why."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from ringleader.collectives.cost import require_sound
from ringleader.collectives.topology import Topology
from ringleader.collectives.tuning import stored
from ringleader.collectives.tuning.choice import VENDOR, Choice, Key, Range, Timed, candidates
from ringleader.collectives.tuning.model import Model, Prediction, Predictor
from ringleader.collectives.tuning.rank import DEFAULT, best, choose, ranked
from ringleader.collectives.tuning.simulated import predictor


class Found(NamedTuple):
    """What a table says of a call: ``chosen``, from the ranking of ``of``."""

    chosen: Timed
    of: Range


@dataclass(frozen=True)
class Table:
    """``ranges``: for each key its ranges by size. ``model``: what they came from, None if that is not known.
    ``machine``: where they were measured, as names and values; empty if they were not."""

    ranges: Mapping[Key, tuple[Range, ...]]
    model: Predictor | None = None
    machine: Mapping[str, str] = field(default_factory=dict)

    def choose(
        self, collective: str, n: int, nbytes: int, ordered: bool = False, root: int = 0, equal: bool = True,
        vendor: bool = True,
    ) -> Choice:  # fmt: skip
        """The table's choice for ``nbytes`` bytes (see ``cost``) on ``n`` ranks.

        Sizes below the smallest tuned one count as that. A rank count that was not tuned is treated as the
        largest tuned one below it, or the smallest above, whose choice suits ``n``. Where the table has
        nothing that fits (``equal``: see ``tuning.choose``; ``vendor``: VENDOR will do), the flat model chooses.
        """
        found = self.find(collective, n, nbytes, ordered, root, equal, vendor)
        if found:
            return found.chosen.choice
        model = self.model if isinstance(self.model, Model) else DEFAULT
        return choose(collective, n, nbytes, model, ordered, equal)

    def find(
        self, collective: str, n: int, nbytes: int, ordered: bool = False, root: int = 0, equal: bool = True,
        vendor: bool = True,
    ) -> Found | None:  # fmt: skip
        """As ``choose``, with what was measured; None where the table has nothing that fits."""
        for key in self._nearest(collective, n, ordered):
            of = self._at(key, nbytes)
            for timed in of.ranking:
                if timed.choice == VENDOR:
                    if vendor:
                        return Found(timed, of)
                elif _sound(key, timed.choice, n, root) and (
                    equal or timed.choice.build(collective, n, root).keeps_blocks
                ):
                    return Found(timed, of)
        return None

    def why(self, collective: str, n: int, nbytes: int, ordered: bool = False) -> Why:
        """What the candidates were predicted to take, and what was chosen; to be printed."""
        if self.model is None:
            raise ValueError("why: this table does not say what model its choices came from")
        chosen = self.choose(collective, n, nbytes, ordered)
        every = candidates(collective, n, nbytes, ordered)
        every += [chosen] * (chosen not in every)
        predictions = ranked(every, collective, n, nbytes, self.model)
        return Why(collective, n, nbytes, ordered, chosen, predictions)

    def save(self, path: str | Path) -> None:
        """Write ``dumps`` to a file."""
        Path(path).write_text(self.dumps(), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Table:
        """The table in that file; ValueError names the file and the entry that is wrong."""
        try:
            return cls.loads(stored.read(Path(path)))
        except ValueError as e:
            raise ValueError(f"{path}: no tuning table: {e}") from None

    def dumps(self) -> str:
        """The table as JSON, sorted. A model that is neither a Model nor a topology's text is left out."""
        return stored.dumps(self.ranges, self.model, self.machine)

    @classmethod
    def loads(cls, text: str) -> Table:
        """What ``dumps`` wrote; ValueError names the entry that is wrong."""
        return cls(*stored.loads(text))

    def _nearest(self, collective: str, n: int, ordered: bool) -> Iterator[Key]:
        """``n`` itself first, if it was tuned: the runtime asks at every call, and needs no more than that."""
        same = Key(collective, n, ordered)
        if same in self.ranges:
            yield same
        keys = [key for key in self.ranges if (key.collective, key.ordered) == (collective, ordered)]
        yield from sorted(set(keys) - {same}, key=lambda key: (key.n > n, abs(key.n - n)))

    def _at(self, key: Key, nbytes: int) -> Range:
        ranges = self.ranges[key]
        return ranges[max(bisect_right(ranges, nbytes, key=lambda r: r.start) - 1, 0)]


def _sound(key: Key, choice: Choice, n: int, root: int) -> bool:
    """Does it suit ``n``? ValueError if it does not suit even what it was tuned for."""
    try:
        require_sound(key.collective, choice.algorithm, n, root, **choice.parameters)
    except ValueError:
        if key.n == n:
            raise
        return False
    return True


@dataclass(frozen=True)
class Why:
    """Predictions, fastest first, and which of their choices was ``chosen``."""

    collective: str
    n: int
    nbytes: int
    ordered: bool
    chosen: Choice
    predictions: Sequence[Prediction]

    def __str__(self) -> str:
        order = ", in rank order" if self.ordered else ""
        lines = [f"{self.collective} of {self.nbytes} bytes on {self.n} ranks{order} (microseconds)"]
        width = max([len(str(p.choice)) for p in self.predictions] + [len(str(self.chosen))])
        head = ("time", "starting", "moving", "reducing", "rounds")
        lines.append("  " + "algorithm".ljust(width) + "".join(name.rjust(12) for name in head))
        for p in self.predictions:
            mark = "> " if p.choice == self.chosen else "  "
            seconds = [p.seconds, *(p.terms or ())]
            numbers = [f"{1e6 * s:.2f}" for s in seconds] + ["-"] * (4 - len(seconds)) + [str(p.rounds)]
            lines.append(mark + str(p.choice).ljust(width) + "".join(text.rjust(12) for text in numbers))
        if all(p.choice != self.chosen for p in self.predictions):
            lines.append(f"> {str(self.chosen).ljust(width)}  (not priced by this model)")
        return "\n".join(lines)


def tune(
    collectives: Iterable[str], ns: Iterable[int], sizes: Iterable[int],
    model: Predictor | str | Topology = DEFAULT,
) -> Table:  # fmt: skip
    """The best choice for every collective, rank count and size; neighbouring sizes with the same one become
    a range. ``model``: the flat Model, a topology (or its text) to simulate on, or any other Predictor."""
    predicts = predictor(model)
    ascending = sorted(set(sizes))
    if not ascending or ascending[0] < 0:
        raise ValueError(f"tune: give at least one size, all of 0 bytes or more; got {ascending}")
    keys = [Key(c, n, ordered) for c in collectives for n in sorted(set(ns)) for ordered in (False, True)]
    found = {key: _ranges(key, ascending, predicts) for key in keys}
    return Table({key: ranges for key, ranges in sorted(found.items()) if ranges}, predicts)


def _ranges(key: Key, sizes: Sequence[int], model: Predictor) -> tuple[Range, ...]:
    """Empty if no algorithm fits."""
    picks = ((size, best(key.collective, key.n, size, model, key.ordered)) for size in sizes)
    fitting = [Range(size, choice) for size, choice in picks if choice is not None]
    return tuple(next(same) for _, same in groupby(fitting, key=lambda r: r.choice))
