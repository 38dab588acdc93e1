"""All mutants of all algorithms, judged and counted. ``PYTHONPATH=tests python -m helpers.tally`` prints the
tables that docs/proof.md shows; a failure names the seed with which to see it again."""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from ringleader.collectives import Program, Schedule, lower

from helpers.library import ALGORITHMS
from helpers.mutants import mutant, original
from helpers.program_mutants import program_mutant
from helpers.trials import Disagreement, Finding, judge, judge_programs

SCHEDULES, PROGRAMS = 170, 60  # different mutants of each algorithm


class Mutant(NamedTuple):
    """``seed``: what it was drawn with. ``same``: equal for equal mutants."""

    collective: str
    algorithm: str
    seed: str
    mutation: str
    same: object
    judged: Callable[[], Finding]


class Row(NamedTuple):
    collective: str
    mutation: str
    verdict: str
    shows: str


def schedules(collective: str, name: str) -> Iterator[Mutant]:
    """Mutants of the algorithm's schedules, without an end."""
    for rng, seed in _seeded(f"{collective} {name}"):
        mutation, changed = mutant(original(collective, name, rng), rng)

        def judged(changed: Schedule = changed, rng: random.Random = rng) -> Finding:
            return judge(changed, rng)

        yield Mutant(collective, name, seed, mutation, changed.digest, judged)


def programs(collective: str, name: str) -> Iterator[Mutant]:
    """Mutants of the programs that its schedules are lowered to, without an end."""
    for rng, seed in _seeded(f"programs of {collective} {name}"):
        whole = original(collective, name, rng)
        mutation, changed = program_mutant([lower(whole, rank) for rank in range(whole.n)], rng)

        def judged(
            whole: Schedule = whole, changed: list[Program] = changed, rng: random.Random = rng
        ) -> Finding:
            return judge_programs(whole, changed, rng)

        same = (whole.digest, *(p.instructions for p in changed))
        yield Mutant(collective, name, seed, mutation, same, judged)


def _seeded(what: str) -> Iterator[tuple[random.Random, str]]:
    number = 0
    while True:
        seed = f"{what} {number}"
        yield random.Random(seed), seed
        number += 1


def rows(mutants: Iterable[Mutant], count: int) -> Iterator[Row]:
    """The first ``count`` different ones, judged."""
    seen: set[object] = set()
    for m in mutants:
        if m.same in seen:
            continue
        seen.add(m.same)
        try:
            finding = m.judged()
        except Exception as error:
            raise Disagreement(f"random.Random({m.seed!r}), {m.mutation}: {error}") from error
        yield Row(m.collective, m.mutation, *finding)
        if len(seen) == count:
            return


def tally(of_schedules: int = SCHEDULES, of_programs: int = PROGRAMS) -> str:
    """All algorithms, so many mutants of each, as tables."""
    text = []
    kinds = (("schedules", schedules, of_schedules), ("programs", programs, of_programs))
    for what, draw, count in kinds:
        start = time.process_time()
        found = [row for c, a in ALGORITHMS for row in rows(draw(c, a), count)]
        seconds = time.process_time() - start
        text += [
            f"{len(found)} different mutants of the {what} of {len(ALGORITHMS)} algorithms, {seconds:.0f} s on one core",
            _table(Counter((r.verdict, r.collective) for r in found), "verdict"),
            _table(Counter((r.verdict, r.mutation) for r in found), "verdict"),
            _listed(Counter((r.verdict, r.shows) for r in found)),
        ]
    return "\n\n".join(text)


def _table(counts: Counter[tuple[str, str]], corner: str) -> str:
    lines, columns = (sorted({key[i] for key in counts}) for i in (0, 1))
    body = [
        [line, *(counts[line, c] for c in columns), sum(counts[line, c] for c in columns)] for line in lines
    ]
    total = ["all", *(sum(counts[line, c] for line in lines) for c in columns), counts.total()]
    return _markdown([[corner, *columns, "all"], *body, total])


def _listed(counts: Counter[tuple[str, str]]) -> str:
    return _markdown(
        [["verdict", "how it shows", "mutants"], *([*key, n] for key, n in sorted(counts.items()))]
    )


def _markdown(lines: list[list[object]]) -> str:
    text = ["| " + " | ".join(map(str, line)) + " |" for line in lines]
    return "\n".join([text[0], "|" + "---|" * len(lines[0]), *text[1:]])


if __name__ == "__main__":
    print(tally())
