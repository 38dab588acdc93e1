"""Push and pull of one tensor, beside AllReduce of as many bytes and beside copies of memory.

In an iteration each worker pushes S bytes and pulls S, so W workers move 2 W S bytes. That is held to what copies of memory
reach, of as many processes as the job has ranks, all at once, in bytes copied a second. Of private arrays that no cache
holds: the speed of memory. Handing over, as push and pull do: each rank writes S bytes where all can read them, and reads the
S bytes that the next rank has just written. Which of the two is slower depends on how far apart the cores are: the lesser of
them, in the same repeat, is the limit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from math import inf
from statistics import median

from ringleader.bench.contestants import Launcher
from ringleader.bench.job import Job
from ringleader.bench.leader.ranks import BUDGET, measure, push_pull, series, started
from ringleader.bench.verdicts import LARGE, LIMIT, REPEATS

SIZES = (64 << 10, 1 << 20, 4 << 20, 16 << 20, 64 << 20)
ALGORITHMS = ("ring", "auto")
MEMORY = 64 << 20  # bytes of an array that no cache holds, and of its copy as well


@dataclass(frozen=True)
class Roles:
    """``colocated``: the servers are among the workers; otherwise ranks of their own."""

    workers: int
    servers: int
    colocated: bool

    @property
    def ranks(self) -> int:
        return self.workers if self.colocated else self.workers + self.servers

    def __str__(self) -> str:
        return f"{self.workers} | {self.servers} {'colocated' if self.colocated else 'dedicated'}"


def every(workers: Sequence[int], servers: Sequence[int]) -> list[Roles]:
    """Dedicated and colocated, but no more servers than workers."""
    return [Roles(w, s, colocated) for colocated in (False, True) for w in workers for s in servers if s <= w]


@dataclass(frozen=True)
class Row:
    """Roles at one size. Of each repeat: seconds of an iteration, and of an AllReduce of S bytes by each of ALGORITHMS on
    the workers; bytes a second that all ranks together copied: ``memory``, of arrays that no cache holds, ``handed``, S bytes
    of each rank over to the next (inf: not known). ``wrong``: elements."""

    roles: Roles
    nbytes: int
    seconds: Sequence[float]
    allreduce: dict[str, Sequence[float]]
    memory: Sequence[float]
    handed: Sequence[float]
    wrong: int

    @property
    def rates(self) -> list[float]:
        """Bytes pushed and pulled a second, by all workers together."""
        moved = 2 * self.roles.workers * self.nbytes
        return [moved / seconds for seconds in self.seconds]

    @property
    def of_memory(self) -> list[float]:
        """Shares of the speed of memory, in the same repeat."""
        return [rate / memory for rate, memory in zip(self.rates, self.memory, strict=True)]

    @property
    def of_limit(self) -> list[float]:
        """Shares of the lesser of both, in the same repeat."""
        limits = map(min, self.memory, self.handed)
        return [rate / limit for rate, limit in zip(self.rates, limits, strict=True)]

    @property
    def apart(self) -> int:
        """In so many repeats handing over was slower than memory."""
        return sum(handed < memory for handed, memory in zip(self.handed, self.memory, strict=True))

    def ratio(self, algorithm: str) -> float:
        """How many times as long the AllReduce takes: the median of the repeats' ratios. Above 1 the leader is faster."""
        return median(a / b for a, b in zip(self.allreduce[algorithm], self.seconds, strict=True))


@dataclass(frozen=True)
class Verdict:
    """The least share of some roles, over the sizes from LARGE on. ``met`` None: too few repeats."""

    roles: Roles
    share: float
    nbytes: int
    met: bool | None

    @property
    def word(self) -> str:
        if self.met is None:
            return f"undecided (fewer than {REPEATS} repeats)"
        return "met" if self.met else "NOT MET"


def verdicts(rows: Sequence[Row], shares: Callable[[Row], Sequence[float]]) -> list[Verdict]:
    """``shares``: of what, see Row."""
    made = []
    for roles in dict.fromkeys(row.roles for row in rows):
        own = [row for row in rows if row.roles == roles and row.nbytes >= LARGE]
        if own:
            least = min(own, key=lambda row: median(shares(row)))
            share, enough = median(shares(least)), all(len(row.seconds) >= REPEATS for row in own)
            made.append(Verdict(roles, share, least.nbytes, share >= LIMIT if enough else None))
    return made


def run(
    roles: Sequence[Roles], sizes: Sequence[int], repeats: int, launcher: Launcher, budget: float = BUDGET
) -> Iterator[Row]:
    """Measure; rows of a repeat each, to be ``joined``. In each repeat every one of ``roles`` has a new job: what slows a
    machine down may last for minutes, and where a job's memory lies for as long as it lives."""
    for _ in range(repeats):
        for each in roles:
            with started(each.ranks, launcher) as job:
                shared = job.ask(do="share", nbytes=max(sizes))[0]["path"]
                for nbytes in sizes:
                    yield _measured(each, nbytes, job, shared, budget)


def _measured(each: Roles, nbytes: int, job: Job, shared: str | None, budget: float) -> Row:
    """Once, one after the other. ``shared``: where the ranks hand over; None: they can't."""
    leader = push_pull(job, each.ranks, each.servers, nbytes, colocated=each.colocated)
    rings = {
        algorithm: series(
            job, do="collective", name="allreduce", algorithm=algorithm, options={}, ranks=each.workers, nbytes=nbytes
        )
        for algorithm in ALGORITHMS
    }  # fmt: skip
    memory = series(job, do="copy", nbytes=MEMORY)
    handing = [series(job, do="hand", path=shared, nbytes=nbytes)] if shared else []
    # the copies next to what is held to them: a virtual machine's cores may move at any time
    measure([*handing, leader, memory, *rings.values()], 1, budget)
    return Row(
        each, nbytes, leader.seconds, {algorithm: ring.seconds for algorithm, ring in rings.items()},
        [each.ranks * MEMORY / seconds for seconds in memory.seconds],
        [2 * each.ranks * nbytes / seconds for over in handing for seconds in over.seconds] or [inf], leader.wrong,
    )  # fmt: skip


def joined(rows: Iterable[Row]) -> list[Row]:
    """All repeats of the same roles and size in one row."""
    found: dict[tuple[Roles, int], list[Row]] = {}
    for row in rows:
        found.setdefault((row.roles, row.nbytes), []).append(row)
    return [
        Row(
            roles, nbytes, _all(row.seconds for row in each),
            {algorithm: _all(row.allreduce[algorithm] for row in each) for algorithm in ALGORITHMS},
            _all(row.memory for row in each), _all(row.handed for row in each), sum(row.wrong for row in each),
        )
        for (roles, nbytes), each in found.items()
    ]  # fmt: skip


def _all(parts: Iterable[Sequence[float]]) -> list[float]:
    return list(chain.from_iterable(parts))
