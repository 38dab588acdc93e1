"""CUDA kernels in bench/RESULTS.md: how they are measured; and for each group of operators goals, tables, what failed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from ringleader.bench.figures import geometric_mean, ratio_text
from ringleader.bench.gpu.cards import CARDS, roofline
from ringleader.bench.gpu.case import COPY, OURS, Case, Result
from ringleader.bench.gpu.goals import Verdict, verdicts
from ringleader.bench.gpu.timing import Timing, seconds

METHOD = """## CUDA kernels

On one card, in one run: ours, launched through CuPy, and PyTorch's, on the same tensors. Before a case is timed, each side's
results are held to PyTorch's in float64: the largest error over the largest number may be twice that of PyTorch's plain
ops in the case's own precision. Then the sides are timed in turn, in every other repeat backwards. A measurement is a row
of calls between two events of the device (about 20 ms), queued while the device is held busy, so that Python's part does
not count; what the host takes to queue a call of ours is the column *host*. Calls go round through sets of inputs, and
results, that are together twice the second-level cache, so that they find nothing in it. Times are medians over the
repeats. *ratio*: how many times as fast as the fastest peer, as the median (least ... largest) of the repeats' ratios.
*roofline*: the share of what the card's data sheet allows (bench/gpu/cards.py), given the operations and bytes that the
operator needs at least. *copy*: the share of the rate of a copy that reads and writes as many bytes, measured beside it.
*error*: ours, of what is allowed. What was not run on a GPU is "not yet measured"; no number here is an estimate."""

ABOUT = {
    "attention": """Scaled dot-product attention in bfloat16: 16,384 tokens in sequences of T, 2,048 channels in heads of d, as
in FlashAttention's papers; operations: 4 T² d a head forward, half of that where causal, 2.5 times as many backward. Peers:
PyTorch's scaled_dot_product_attention with the backend forced, FlashAttention's and cuDNN's.""",
    "convolution": """ResNet-50's distinct layers, batch 64, channels last, bfloat16: forward, and the gradients of data and
weights. Peer: cuDNN through PyTorch, where its benchmark chooses the algorithm. Behind a layer stands how often the network
has it; each counts once in the mean. Nobody needs the first layer's gradient of the data.""",
    "recurrent": """A layer over 128 steps, inputs as wide as the state; backward gives all gradients. Peer: cuDNN through nn.LSTM
and nn.GRU. On both sides the inputs' part is one product of cuBLAS for all steps, and counts.""",
    "rows": """What goes along rows, or element by element, and is bound by memory. Peer: PyTorch's own kernels, and its fused
optimiser.""",
}  # fmt: skip


@dataclass(frozen=True)
class Run:
    """Where and how: the card's name, bytes a second that a copy reads and writes, repeats, lines about machine and
    versions, the command and its date."""

    card: str
    copied: float
    repeats: int
    about: Mapping[str, str]
    command: str
    date: str


def section(group: str, cases: Sequence[Case], results: Sequence[Result], run: Run) -> str:
    """In Markdown. ``cases``: all of the group."""
    parts = [
        f"### {title(group)} on {run.card}",
        f"Made by `{run.command}` on {run.date}, {run.repeats} repeats.",
        ABOUT[group],
        "\n".join(f"- {name}: {text}" for name, text in run.about.items()),
        goals(verdicts(group, cases, results, run.repeats, run.card)),
    ]
    failed = [
        f"- {result.case.name}, {side}: {why}" for result in results for side, why in result.failed.items()
    ]
    if failed:
        parts += ["Failed or not begun, so not timed:", "\n".join(failed)]
    if any(result.timings for result in results):
        parts.append(table(results, run))
    return "\n\n".join(parts) + "\n"


def section_not_measured(group: str, cases: Sequence[Case]) -> str:
    """Of a group that never met a GPU."""
    open_goals = goals(verdicts(group, cases, [], 0, ""))
    return f"### {title(group)}\n\n{ABOUT[group]}\n\nNot yet measured, for want of a GPU.\n\n{open_goals}\n"


def title(group: str) -> str:
    return {"rows": "Norms, softmax, losses, optimiser"}.get(group, group.capitalize())


def goals(judged: Iterable[Verdict]) -> str:
    lines = ["| goal | reached | at least | |", "|---|---|---|---|"]
    return "\n".join(
        lines
        + [f"| {v.what} | {v.reached} | {v.bound.removeprefix('at least ')} | {v.word} |" for v in judged]
    )


def table(results: Sequence[Result], run: Run) -> str:
    """A line a case, of those that were timed."""
    timed = [result for result in results if result.timings]
    columns = sides(timed)
    copies = COPY in columns
    head = ["case", "version", *(f"{side} (us)" for side in columns), "TFLOP/s or GB/s", "roofline"]
    head += ["copy"] * copies + ["ratio", "error", "host (us)"]
    lines = [f"| {' | '.join(head)} |", "|---|---|" + "---:|" * (len(head) - 2)]
    lines += [f"| {' | '.join(cells(result, columns, run))} |" for result in timed]
    return "\n".join(lines)


def sides(results: Iterable[Result]) -> list[str]:
    """Ours first, a copy last."""
    found = dict.fromkeys(side for result in results for side in result.timings)
    return sorted(found, key=lambda side: (side == COPY, not side.startswith(OURS)))


def cells(result: Result, columns: Sequence[str], run: Run) -> list[str]:
    """Of one line of the table."""
    case, ours = result.case, result.timings.get(OURS)
    made = [case.name, result.version or "-", *(_time(result.timings.get(side)) for side in columns)]
    limit = roofline(case.flops, case.moved, case.kind, CARDS.get(run.card), run.copied)
    made.append("-" if result.rate is None else _rate(case, result.rate))
    made.append("-" if result.seconds is None or limit is None else f"{limit / result.seconds:.0%}")
    if COPY in columns:
        made.append(f"{median(result.copy_shares):.0%}" if result.copy_shares else "-")
    made.append(_spread(result.ratios))
    made.append("-" if result.error is None else f"{result.error:.2f}")
    made.append("-" if ours is None else _us(median(timing.host for timing in ours)))
    return made


def measured_texts(results: Sequence[Result], run: Run) -> list[str]:
    """For each version of ours that was timed, what its line in the kernels' modules can say."""
    by_version: dict[tuple[str, str], list[tuple[Result, str]]] = {}
    for result in results:
        for side in result.timings:
            if side.startswith(OURS):
                name = side[len(OURS) + 1 :] or result.version
                by_version.setdefault((result.case.operator, name), []).append((result, side))
    return [
        f'{operator}, {name}: measured="{_measured(group, run)}"'
        for (operator, name), group in by_version.items()
    ]


def _measured(group: Sequence[tuple[Result, str]], run: Run) -> str:
    rates = sorted(
        (case_rate(result, side), _rate(result.case, case_rate(result, side))) for result, side in group
    )
    span = rates[0][1] if len(rates) == 1 else f"{rates[0][1]} to {rates[-1][1]}"
    against = [
        seconds(result.timings[result.peer]) / seconds(result.timings[side])
        for result, side in group
        if result.peer is not None
    ]
    beside = (
        f", {ratio_text(geometric_mean(against))} times as fast as PyTorch (geometric mean of {len(against)})"
        if against
        else ""
    )
    return f"{span}{beside}; {run.card}, {run.date}"


def case_rate(result: Result, side: str) -> float:
    """FLOP/s, or bytes a second, of any side."""
    return (result.case.flops or result.case.moved) / seconds(result.timings[side])


def _rate(case: Case, rate: float) -> str:
    if not case.flops:
        return f"{rate / 1e9:,.0f} GB/s"
    tera = rate / 1e12
    return f"{tera:.0f} TFLOP/s" if tera >= 100 else f"{tera:.2g} TFLOP/s"


def _time(timings: Sequence[Timing] | None) -> str:
    return "-" if timings is None else _us(seconds(timings))


def _us(of: float) -> str:
    us = of * 1e6
    return f"{us:.1f}" if us < 1000 else f"{us:,.0f}"


def _spread(ratios: Sequence[float]) -> str:
    if not ratios:
        return "-"
    return f"{ratio_text(median(ratios))} ({ratio_text(ratios[0])} ... {ratio_text(ratios[-1])})"
