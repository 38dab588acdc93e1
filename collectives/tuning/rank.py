"""Candidates compared: all of them, best first, or only the best."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from ringleader.collectives.cost import closed_cost
from ringleader.collectives.registry import find
from ringleader.collectives.tuning.choice import VENDOR, Choice, candidates
from ringleader.collectives.tuning.model import Model, Prediction, Predictor

DEFAULT = Model()


def ranked(
    every: Iterable[Choice], collective: str, n: int, nbytes: int, model: Predictor
) -> list[Prediction]:
    """Those that ``model`` can price, fastest first; of equally fast ones the one with fewer rounds, then that
    with fewer pieces to keep apart, then by name and parameters."""

    def pieces(choice: Choice) -> int:
        known = find(collective, choice.algorithm)
        return known.slots(**known.arguments(n, 0, choice.parameters))

    priced = (model.predict(collective, choice, n, nbytes) for choice in every)
    return sorted(
        (p for p in priced if p is not None),
        key=lambda p: (p.seconds, p.rounds, pieces(p.choice), p.choice.sort_key),
    )


def best(
    collective: str, n: int, nbytes: int, model: Predictor = DEFAULT, ordered: bool = False
) -> Choice | None:
    """The fastest candidate; the first by name if none can be priced, None if there is none."""
    every = candidates(collective, n, nbytes, ordered)
    predictions = ranked(every, collective, n, nbytes, model)
    return predictions[0].choice if predictions else min(every, key=lambda c: c.sort_key, default=None)


@lru_cache(maxsize=4096)
def _chosen(
    collective: str, n: int, nbytes: int, model: Model, ordered: bool, equal: bool, vendor: bool
) -> Choice:
    every = candidates(collective, n, nbytes, ordered)
    closed = [c for c in every if closed_cost(collective, c.algorithm, n, nbytes, 0, **c.parameters)]
    fastest = [p.choice for p in ranked(closed or every, collective, n, nbytes, model)]
    if vendor and not fastest:
        return VENDOR
    others = sorted(set(every) - set(fastest), key=lambda c: c.sort_key)
    for choice in fastest + others:
        if equal or choice.build(collective, n).keeps_blocks:
            return choice
    if vendor:
        return VENDOR
    needs = ["keeps rank order"] * ordered + ["takes blocks of unequal size"] * (not equal)
    raise ValueError(f"no {collective} algorithm {' and '.join(needs) or 'is registered'}")


def choose(
    collective: str, n: int, nbytes: int, model: Model = DEFAULT, ordered: bool = False, equal: bool = True,
    vendor: bool = False,
) -> Choice:  # fmt: skip
    """What to run for ``nbytes`` bytes (see ``cost``) on ``n`` ranks where nothing has been tuned.

    Decided once for each power of two of bytes, among the algorithms with a closed form (all, if none has
    one), so without building any; then remembered. ``ordered``: the operation does not commute. ``equal``: all
    blocks are equally large; otherwise only algorithms that keep every block in its place will do. ``vendor``:
    VENDOR may be chosen, and is, where the model can price nothing. A pure function: all ranks that give the same
    arguments get the same choice. ValueError if nothing fits.
    """
    if nbytes < 0:
        raise ValueError(f"choose: a buffer has at least 0 bytes, got {nbytes}")
    return _chosen(collective, n, 1 << nbytes.bit_length() >> 1, model, ordered, equal, vendor)
