"""What a server does with a gradient. Optimisers come from above (runtime/parallel): this floor knows no autograd."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from numpy.typing import NDArray
from ringleader.runtime.comm.leader.placement import Part


class Slot(Protocol):
    """The values of one part, and whatever state goes with them. ``w`` may be replaced by a copy between two updates.

    ``in_place``: an update changes what is in ``w``; else it sets ``w`` to another array."""

    w: NDArray[Any]
    in_place: bool

    def update(self, g: NDArray[Any], lr: float | None) -> None:
        """Change the values by a gradient of their shape and dtype, which may be overwritten, or become ``w``. ``lr``: the
        learning rate that came with it, None: the rule's own."""

    def state(self) -> dict[str, NDArray[Any]]:
        """All but ``w``; for a checkpoint."""

    def load(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from ``state``."""


class Rule(Protocol):
    """``whole``: it needs tensors in one piece, so none is split."""

    whole: bool

    def slot(self, part: Part, w: NDArray[Any]) -> Slot:
        """For a part that starts with the values ``w``, which become its own."""


class _Stateless:
    in_place = True

    def __init__(self, w: NDArray[Any]) -> None:
        self.w = w

    def state(self) -> dict[str, NDArray[Any]]:
        return {}

    def load(self, state: Mapping[str, NDArray[Any]]) -> None:
        pass


class _Latest(_Stateless):
    in_place = False

    def update(self, g: NDArray[Any], lr: float | None) -> None:
        self.w = g


class _Sum(_Stateless):
    def update(self, g: NDArray[Any], lr: float | None) -> None:
        self.w += g


class Assign:
    """A pull gives what was pushed last: with mode "bsp" the workers' mean (or sum) of that clock, as from an AllReduce.
    For optimisers that run on the workers."""

    whole = False

    def slot(self, part: Part, w: NDArray[Any]) -> Slot:
        return _Latest(w)


class Add:
    """What is pushed is added to the values (Li et al. 2014: the server's default)."""

    whole = False

    def slot(self, part: Part, w: NDArray[Any]) -> Slot:
        return _Sum(w)


RULES: dict[str, Rule] = {"assign": Assign(), "add": Add()}
