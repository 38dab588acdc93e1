"""The parameter server in bench/RESULTS.md: a section for each of the three things that are measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np
from ringleader.bench.leader import crossover, stragglers, throughput
from ringleader.bench.leader.fit import Machine
from ringleader.bench.leader.training import BATCH, EVALUATED, IN_TURN, LEARNING_RATE, STEADY
from ringleader.bench.results import machine_text
from ringleader.bench.verdicts import LARGE, LIMIT

THROUGHPUT = """Each worker pushes a tensor of S bytes (float32) and pulls the sum of all workers': mode BSP, rule "assign".
So W workers push W S bytes and pull W S, and *rate* is 2 W S over the time of an iteration: push_pull, clock, Python
included, with nothing else under way. Times last from the first rank's start to the last one's end. Beside it, in each
repeat, as many processes as the job has ranks copy, all at once, in bytes copied a second, of all together. *memory*:
private arrays of 64 MiB, which no cache holds. *hand-over*: each rank writes S bytes where all can read them, and then reads
the S bytes that the next rank has just written, with a barrier after each. What is pushed and pulled must be handed over as
well, so the lesser of both, in the same repeat, is the *limit*: hand-over where cores lie far apart, otherwise memory. (A
byte that is copied is read and written, so a share of 100 % is as much traffic as the copies have. AllReduce's *of limit*
above counts one read and one write of S a rank, half of it: by that measure shares would be half as large.) In each repeat
every line has a job of its own, which measures in turn: the parameter server, AllReduce of S bytes on the workers by ring
and by "auto", both copies. *ring* and *auto* say how many times as long that AllReduce takes; below 1 it is the faster. All
arrays that are exchanged are from `world.empty`. A cell has medians over the repeats. *Dedicated* servers are ranks besides
the workers, *colocated* ones threads of workers."""
STRAGGLERS = f"""LeNet-5 on the digits, from the same weights, by plain SGD with learning rate {LEARNING_RATE}; {BATCH}
images a worker and step, each worker from its own part of the images. A gradient is divided by the images of all workers,
so as many gradients move the weights as far in each method. The ring is DataParallel; the parameter server has one
dedicated server, which runs the optimiser. Who sleeps does so once the weights of the step are there. In turn in each
repeat, which has its own seed. *gradients/s*: of all workers together. *largest gap*: steps that a worker had ended more
than another, at most, in any repeat; s + 1 at most is promised, plus one between the end of a step and its pull. *loss*:
that of the weights which the first worker (never the slow one of *steady*) has, on the first {EVALUATED} training images,
computed afterwards; medians over the repeats."""
CROSSOVER = """*predicted*: by `simulate` (model rounds) of the schedules allreduce/ring and allreduce/leader(servers=k) on a
machine fitted in this run: α, β and the rate of all ranks together from the rounds of a ring AllGather, γ from what a round of
a ring ReduceScatter takes longer, and what of α occupies a CPU from a gather of 4 bytes to one rank (bench/leader/fit.py). For
the parameter server the messages are letters that Python starts: one costs half of push, pull and clock of one worker with
one dedicated server. The schedule is leader's, with one letter for each of its messages: what more workers cost besides, and
service threads, are not in it. Nothing is adjusted to what is predicted.
*measured*: `world.allreduce(algorithm=...)`, and push and pull of the parameter server with k servers among the same workers,
in turn in each repeat; medians."""
NEVER = "-"


def made_by(about: Mapping[str, Any]) -> str:
    return f"Made by `{about['command']}` on {about['date']}: {machine_text(about['machine'])}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """``left``: so many columns of words."""
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * left + "---:|" * (len(head) - left)]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])


def size_text(nbytes: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if nbytes < 1024:
            return f"{nbytes:.3g} {unit}"
        nbytes /= 1024
    return f"{nbytes:.3g} GiB"


def time_text(seconds: float) -> str:
    us = seconds * 1e6
    return f"{us:.1f} us" if us < 100 else f"{us:.0f} us" if us < 10_000 else f"{us / 1e3:.1f} ms"


# Throughput


def throughput_section(rows: Sequence[throughput.Row], about: Mapping[str, Any]) -> str:
    limit = throughput.verdicts(rows, lambda row: row.of_limit)
    memory = throughput.verdicts(rows, lambda row: row.of_memory)
    sizes = list(dict.fromkeys(row.nbytes for row in rows))
    wrong = sum(row.wrong for row in rows)
    return "\n\n".join(
        [
            "## Parameter server: push and pull", made_by(about), THROUGHPUT,
            f"The goal is a share of {LIMIT:.0%} from 1 MiB on. Of the limit: {_met(limit)} Of memory: {_met(memory)}",
            "The least shares from 1 MiB on, and in how many repeats at these sizes hand-over was the limit:",
            table(["workers", "servers", "of the limit", "at", "", "of memory", "at", "", "hand-over the limit"],
                  _least(rows, limit, memory), 2),
            "Rate, and in brackets the shares of the limit and of memory:", _by_size(rows, sizes, _rate),
            "Time of an iteration, and in brackets ring and auto:", _by_size(rows, sizes, _beside),
            "Hand-over, and in brackets memory:",
            _by_size(rows, sizes, lambda row: f"{median(row.handed) / 1e9:.1f} GB/s ({median(row.memory) / 1e9:.1f})"),
            f"Wrong elements in all of these measurements: {wrong}.",
        ]
    )  # fmt: skip


def _met(verdicts: Sequence[throughput.Verdict]) -> str:
    if any(v.met is None for v in verdicts):
        return "too few repeats to decide."
    met = sum(bool(v.met) for v in verdicts)
    return f"{'met' if met == len(verdicts) else 'NOT MET'}, reached in {met} of {len(verdicts)} layouts."


def _least(
    rows: Sequence[throughput.Row], limit: Sequence[throughput.Verdict], memory: Sequence[throughput.Verdict]
) -> list[list[str]]:
    lines = []
    for a, b in zip(limit, memory, strict=True):
        own = [row for row in rows if row.roles == a.roles and row.nbytes >= LARGE]
        apart = f"{sum(row.apart for row in own)} of {sum(len(row.seconds) for row in own)}"
        shares = [text for v in (a, b) for text in (f"{v.share:.0%}", size_text(v.nbytes), v.word)]
        lines.append([*str(a.roles).split(" | "), *shares, apart])
    return lines


def _by_size(rows: Sequence[throughput.Row], sizes: Sequence[int], cell: Any) -> str:
    """A line for each layout, a column for each size."""
    lines = []
    for roles in dict.fromkeys(row.roles for row in rows):
        at = {row.nbytes: row for row in rows if row.roles == roles}
        lines.append([*str(roles).split(" | "), *(cell(at[s]) if s in at else NEVER for s in sizes)])
    return table(["workers", "servers", *map(size_text, sizes)], lines, 2)


def _rate(row: throughput.Row) -> str:
    return f"{median(row.rates) / 1e9:.2f} GB/s ({median(row.of_limit):.0%}, {median(row.of_memory):.0%})"


def _beside(row: throughput.Row) -> str:
    if row.roles.workers == 1:  # an AllReduce has nothing to do
        return time_text(median(row.seconds))
    ratios = ", ".join(f"{row.ratio(algorithm):.2f}" for algorithm in throughput.ALGORITHMS)
    return f"{time_text(median(row.seconds))} ({ratios})"


# Stragglers

TARGET = 0.3  # nats


def stragglers_section(
    rows: Sequence[stragglers.Row], plan: stragglers.Plan, about: Mapping[str, Any], picture: str | None
) -> str:
    told = {
        STEADY: f"the last of {plan.workers} workers sleeps {plan.nap * 1e3:g} ms in every step",
        IN_TURN: f"in step t worker t mod {plan.workers} sleeps {plan.nap * 1e3:g} ms",
    }
    parts = ["## Parameter server: a slow worker", made_by(about), STRAGGLERS]
    parts.append(f"Each run trains for {plan.seconds:g} s; {plan.repeats} repeat{'s' * (plan.repeats > 1)}.")
    if picture:
        parts.append(f"![loss and gradients against time]({picture})")
    for pattern in dict.fromkeys(row.pattern for row in rows):
        head = ["method", "gradients/s", "beside ring", "steps/s of the first worker", "of the last", "largest gap",
                f"s to loss {TARGET:g}", "loss at the end"]  # fmt: skip
        own = [row for row in rows if row.pattern == pattern]
        ring = next((row.gradients for row in own if row.method.mode == "ring"), None)
        parts += [f"*{pattern}*: {told[pattern]}.", table(head, [_trained(row, ring) for row in own])]
    return "\n\n".join(parts)


def _trained(row: stragglers.Row, ring: float | None) -> list[str]:
    at = row.reached(TARGET)
    return [
        str(row.method), f"{row.gradients:.0f}", NEVER if not ring else f"{row.gradients / ring:.2f}x",
        f"{row.steps(0):.1f}", f"{row.steps(-1):.1f}", str(row.largest_gap),
        NEVER if at is None else f"{at:.1f}", f"{row.curve()[1][-1]:.3f}",
    ]  # fmt: skip


# Crossover


def crossover_section(
    found: Sequence[tuple[Machine, Machine, Sequence[crossover.Point]]], about: Mapping[str, Any], picture: str | None
) -> str:  # fmt: skip
    points = [point for _, _, of in found for point in of]
    curves = crossover.curves(points)
    parts = ["## Parameter server or ring", made_by(about), CROSSOVER]
    if picture:
        parts.append(f"![how many times as fast as the ring, over bytes]({picture})")
    parts.append("The machine, native messages and letters:")
    fits = [
        line for native, letters, _ in found for line in (_fit(native, "native"), _fit(letters, "letters"))
    ]
    parts.append(
        table(["ranks", "messages", "α", "of it CPU", "1/β a rank", "1/β all ranks", "1/γ"], fits, 2)
    )
    parts.append("Where it is faster than the ring; and at how many sizes the model names the faster one:")
    parts.append(
        table(["ranks", "what", "servers", "predicted", "measured", "agree"], [_curve(c) for c in curves], 2)
    )
    parts.append("Measured over predicted time, either way (geometric mean and largest factor over the sizes): "
                 + "; ".join(_apart(what, [p for p in points if p.what == what])
                             for what in (crossover.RING, crossover.LEADER, crossover.SERVER)) + ".")  # fmt: skip
    parts.append("Times, predicted / measured:")
    parts.append(_times(points))
    return "\n\n".join(parts)


def _fit(machine: Machine, name: str) -> list[str]:
    rates = (machine.copy, machine.all_copy / machine.n, machine.fold)
    return [
        str(machine.n), name, time_text(machine.start), time_text(machine.overhead),
        *(f"{1e-9 / rate:.1f} GB/s" if rate else "free" for rate in rates),
    ]  # fmt: skip


def _curve(curve: crossover.Curve) -> list[str]:
    return [
        str(curve.n), curve.what, str(curve.servers), where(curve.sizes, curve.predicted),
        where(curve.sizes, curve.measured),
        NEVER if where(curve.sizes, curve.predicted) == "as fast" else f"{curve.agree} of {len(curve.sizes)}",
    ]  # fmt: skip


def where(sizes: Sequence[int], ratios: Sequence[float]) -> str:
    """The sizes at which the ratio is at least 1, in words."""
    if np.allclose(ratios, 1, rtol=1e-9, atol=0):  # the model does not tell them apart
        return "as fast"
    bounds = [size_text(at) for at in crossover.crossings(sizes, ratios)]
    if not bounds:
        return "everywhere" if ratios[0] >= 1 else "nowhere"
    edges = ["", *bounds, ""] if ratios[0] >= 1 else [*bounds, ""]
    pieces = [f"{a} ... {b}" if a and b else f"up to {b}" if b else f"from {a}"
              for a, b in zip(edges[::2], edges[1::2])]  # fmt: skip
    return ", ".join(pieces)


def _apart(what: str, points: Sequence[crossover.Point]) -> str:
    mean, most = crossover.apart(points)
    return f"{what} {mean:.1f}x, {most:.1f}x"


def _times(points: Sequence[crossover.Point]) -> str:
    sizes = list(dict.fromkeys(p.nbytes for p in points))
    lines = []
    for n, what, servers in dict.fromkeys((p.n, p.what, p.servers) for p in points):
        at = {p.nbytes: p for p in points if (p.n, p.what, p.servers) == (n, what, servers)}
        times = [f"{time_text(at[s].predicted)} / {time_text(at[s].measured)}" for s in sizes]
        lines.append([str(n), what, str(servers or NEVER), *times])
    return table(["ranks", "what", "servers", *map(size_text, sizes)], lines, 2)
