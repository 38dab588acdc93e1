"""From a case to its result: which version takes it, whether all sides are right, and only then how long they take."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
from ringleader.bench.gpu.case import COPY, OURS, WHOLE, Call, Case, Result, Work
from ringleader.bench.gpu.place import Place, Tensor
from ringleader.bench.gpu.timing import Clock, Contestant, interleaved, sets_needed
from ringleader.csrc.cuda.device import Device, Extent
from ringleader.csrc.cuda.versions import VERSIONS, choices

WORSE = 2  # times the error of plain PyTorch in the same precision that a result may have, as in FlashAttention's tests

Make = Callable[..., Call]
Wanted = tuple[
    Sequence[Tensor], Sequence[Tensor], float
]  # in float64, in the case's precision, its unit roundoff


def measured(case: Case, place: Place, clock: Clock, repeats: int, every: bool = False) -> Result:
    """The case on all sides, with the version of ours that is chosen, or with every one. What raises, or computes what it
    must not, is named in ``failed`` and not timed."""
    failed: dict[str, str] = {}
    errors: dict[str, float] = {}
    chosen = ""
    try:
        work = case.prepare(place)
        wanted = _wanted(work, case, place)
        sides: dict[str, Make] = {OURS: partial(work.ours, place.device, None)}
        try:
            chosen, others = fitting(case, work, place)
        except Exception as error:  # the launcher refuses the case
            failed[OURS] = said(error)
            sides, others = {}, []
        if every:
            sides |= {f"{OURS} {name}": partial(work.ours, place.device, name) for name in others}
        sides |= work.peers
        for side, make in list(sides.items()):
            errors[side], why = trial(make, work, wanted, place)
            if why:
                failed[side] = why
                del sides[side]
        timings = interleaved(contestants(case, work, sides, place), repeats, clock) if sides else {}
    except Exception as error:  # whatever it is, the other cases must go on
        return Result(case, chosen, failed=failed | {WHOLE: said(error)})
    return Result(case, chosen, timings, failed, errors.get(OURS))


class Idle(Device):
    """In the place of a device: launches nothing."""

    def __init__(self, device: Device) -> None:
        self.name, self.xp = device.name, device.xp
        self.architecture, self.multiprocessors = device.architecture, device.multiprocessors

    def tensor_maps(self, *tiled: tuple[Any, tuple[int, ...]]) -> Any:
        """Nothing."""

    def launch(
        self, file: str, expression: str, grid: Extent, block: Extent, args: Sequence[Any], shared: int = 0
    ) -> None:
        """Nothing."""


def chosen_for(work: Work, place: Place, operator: str, version: str | None) -> str:
    """The version of the operator that a call of ours takes. ValueError: none takes the case."""
    call = work.ours(Idle(place.device), version, *_copies(work))
    with choices() as made, np.errstate(all="ignore"):  # of numpy's work on results that nobody has computed
        call()
    return next(choice.version.name for choice in made if choice.version.operator == operator)


def fitting(case: Case, work: Work, place: Place) -> tuple[str, list[str]]:
    """The version that the launcher chooses, and all others that take the case, best first. ValueError: none does."""
    chosen, others = chosen_for(work, place, case.operator, None), []
    for version in VERSIONS[case.operator]:
        with suppress(ValueError):  # it does not fit
            if version.name != chosen:
                others.append(chosen_for(work, place, case.operator, version.name))
    return chosen, others


def trial(make: Make, work: Work, wanted: Wanted | None, place: Place) -> tuple[float, str]:
    """One call on copies of the inputs: its error, of what is allowed, and what is wrong, if something is."""
    try:
        inputs = _copies(work)
        results = work.results(make(*inputs)())
        place.wait()
        if work.holds is not None:
            return 0.0, work.holds(results, *inputs)
        assert wanted is not None
        share = error_share(_doubles(results), *wanted)
    except Exception as error:
        return math.inf, said(error)
    return share, "" if share <= 1 else f"wrong: {share:.2g} times the error that is allowed"


def error_share(got: Sequence[Tensor], exact: Sequence[Tensor], low: Sequence[Tensor], unit: float) -> float:
    """The largest relative error, of what is allowed: WORSE times that of ``low``, which is at least the unit roundoff.
    Infinite if it is not a number. ValueError: a result has another shape."""
    for result, true in zip(got, exact, strict=True):
        if result.shape != true.shape:
            raise ValueError(f"the result is {tuple(result.shape)}, it must be {tuple(true.shape)}")
    return relative_error(got, exact) / (WORSE * max(unit, relative_error(low, exact)))


def relative_error(got: Sequence[Tensor], exact: Sequence[Tensor]) -> float:
    """The largest error of each result over its largest number; of that, the largest of all results."""
    errors = [
        float((result - true).abs().max()) / (float(true.abs().max()) or 1.0)
        for result, true in zip(got, exact, strict=True)
    ]
    return math.inf if any(map(math.isnan, errors)) else max(errors)


def contestants(case: Case, work: Work, sides: Mapping[str, Make], place: Place) -> list[Contestant]:
    """All sides on the same sets of buffers; beside what only moves bytes a copy of as many."""
    sets = [work.inputs]
    sets += [_copies(work) for _ in range(sets_needed(_nbytes(work.inputs), place.cache) - 1)]
    made = [Contestant(side, [make(*inputs) for inputs in sets]) for side, make in sides.items()]
    if not case.flops:
        made.append(copying(place, int(case.moved)))
    return made


def copying(place: Place, moved: int) -> Contestant:
    """Copies that read and write ``moved`` bytes together."""
    torch = place.torch
    pairs = [
        torch.zeros((2, max(1, moved // 2)), dtype=torch.uint8, device=place.where)
        for _ in range(sets_needed(moved, place.cache))
    ]
    return Contestant(COPY, [partial(pair[1].copy_, pair[0]) for pair in pairs])


def said(error: Exception) -> str:
    """In one line that is not too long."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


def _wanted(work: Work, case: Case, place: Place) -> Wanted | None:
    if work.plain is None:
        return None
    exact, low = (
        _doubles(work.plain(place.dtype(dtype), *_copies(work))) for dtype in ("float64", case.dtype)
    )
    return exact, low, place.torch.finfo(place.dtype(case.dtype)).eps / 2


def _doubles(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [tensor.detach().double() for tensor in tensors]


def _copies(work: Work) -> tuple[Tensor, ...]:
    return tuple(tensor.clone() for tensor in work.inputs)


def _nbytes(tensors: Sequence[Any]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
