"""What all ranks of a parameter server must have agreed on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

from ringleader.runtime.comm.compression import Compressor, check_spec, worthwhile
from ringleader.runtime.comm.leader.placement import Part, Tensor, place

MODES = ("bsp", "ssp", "asp")
REDUCTIONS = ("mean", "sum")
STALENESS = 3


@dataclass(frozen=True)
class Settings:
    """``servers`` and ``workers``: ranks; ``whole``: tensors are not split; ``rule``: by name. ValueError names nonsense."""

    servers: tuple[int, ...]
    workers: tuple[int, ...]
    mode: str
    staleness: float
    reduction: str
    placement: str
    part_bytes: int
    replicas: int
    whole: bool
    rule: str
    compression: str | None = None

    def __post_init__(self) -> None:
        if not self.workers:
            raise ValueError("a parameter server needs a rank that works; all of them are servers")
        if self.mode not in MODES:
            raise ValueError(f"unknown mode {self.mode!r}; known: {', '.join(MODES)}")
        if self.reduction not in REDUCTIONS:
            raise ValueError(f"unknown reduction {self.reduction!r}; known: {', '.join(REDUCTIONS)}")
        if self.staleness < 0 or (self.staleness != inf and self.staleness != int(self.staleness)):
            raise ValueError(f"staleness must be a whole number, 0 or more, it is {self.staleness}")
        if self.compression is not None:
            check_spec(self.compression)
        self.place({})  # says what is wrong with the other options

    def compressor(self, part: Part) -> Compressor | None:
        """For the gradients of this part, on one worker; None: they are pushed as they are."""
        if self.compression is None:
            return None
        return worthwhile(self.compression, part.shape, part.dtype, part.number)

    def place(self, tensors: Mapping[str, Tensor]) -> list[Part]:
        """The parts, with their holders as numbers of servers."""
        most = max((t.nbytes for t in tensors.values()), default=1)
        part_bytes = max(self.part_bytes, most) if self.whole else self.part_bytes
        return place(tensors, len(self.servers), self.placement, part_bytes, self.replicas)


def staleness_of(mode: str, staleness: int | None) -> float:
    """How many iterations a worker may be ahead of the slowest. ValueError: it is given where it means nothing."""
    if mode == "ssp":
        return STALENESS if staleness is None else staleness
    if staleness is not None:
        raise ValueError(
            f"staleness belongs to mode 'ssp'; mode {mode!r} has {0 if mode == 'bsp' else 'no limit'}"
        )
    return 0 if mode == "bsp" else inf


def roles(
    size: int, servers: int | Sequence[int], colocated: bool
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The ranks that serve and those that work. ValueError: so many servers cannot be had."""
    if isinstance(servers, int):
        most = size if colocated else size - 1
        if not 1 <= servers <= most:
            more = "" if colocated else "; colocated, every rank works, and may serve besides"
            possible = (
                f"servers must be 1 ... {most} of {size} ranks"
                if most
                else "one rank has none to spare for a server"
            )
            raise ValueError(f"{possible}, servers is {servers}{more}")
        first = 0 if colocated else size - servers
        serving = [i * size // servers for i in range(servers)] if colocated else range(first, size)
    else:
        serving = list(servers)
        if not serving or len(set(serving)) < len(serving) or not set(serving) <= set(range(size)):
            raise ValueError(f"servers must be different ranks of 0 ... {size - 1}, they are {list(servers)}")
    working = [rank for rank in range(size) if colocated or rank not in serving]
    return tuple(serving), tuple(working)
