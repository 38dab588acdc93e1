"""The numbers that our CUDA kernels must reach, and what they have reached."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from ringleader.bench.figures import geometric_mean, ratio_text
from ringleader.bench.gpu.case import Case, Result

REPEATS = 5  # fewer decide nothing
NOT_YET = "not yet measured"
HOPPER = ("H100", "H200")


def rate(result: Result) -> float | None:
    return result.rate


def ratio(result: Result) -> float | None:
    """To the fastest peer."""
    return median(result.ratios) if result.ratios else None


def copy_share(result: Result) -> float | None:
    return median(result.copy_shares) if result.copy_shares else None


@dataclass(frozen=True)
class Goal:
    """On all cases of a group that have the tag. worst: the least value counts, otherwise the geometric mean.
    unit: "TFLOP/s", "x" or "%". cards: parts of the names of the cards that it is for; none: for all."""

    group: str
    what: str
    tag: str
    value: Callable[[Result], float | None]
    goal: float
    unit: str
    worst: bool = False
    cards: tuple[str, ...] = ()

    def text(self, value: float) -> str:
        if self.unit == "TFLOP/s":
            return f"{value / 1e12:.0f} TFLOP/s"
        return f"{value:.0%}" if self.unit == "%" else f"{ratio_text(value)}x"


GOALS = (
    Goal(
        "attention", "forward, d 128, T 8192, first goal", "forward 8k", rate, 350e12, "TFLOP/s", cards=HOPPER
    ),
    Goal(
        "attention",
        "forward, d 128, T 8192, second goal",
        "forward 8k",
        rate,
        600e12,
        "TFLOP/s",
        cards=HOPPER,
    ),
    Goal(
        "attention",
        "backward, d 128, T 8192, first goal",
        "backward 8k",
        rate,
        300e12,
        "TFLOP/s",
        cards=HOPPER,
    ),
    Goal(
        "attention",
        "backward, d 128, T 8192, second goal",
        "backward 8k",
        rate,
        500e12,
        "TFLOP/s",
        cards=HOPPER,
    ),
    Goal("attention", "forward, geometric mean of the ratios", "forward", ratio, 1.0, "x"),
    Goal("attention", "backward, geometric mean of the ratios", "backward", ratio, 1.0, "x"),
    Goal("convolution", "all layers and directions, geometric mean of the ratios", "layer", ratio, 0.8, "x"),
    Goal("recurrent", "LSTM, least ratio", "lstm", ratio, 1.0, "x", worst=True),
    Goal("recurrent", "GRU, least ratio", "gru", ratio, 1.0, "x", worst=True),
    Goal("rows", "norms, least share of a copy's rate", "norm", copy_share, 0.85, "%", worst=True),
    Goal("rows", "softmax, least share of a copy's rate", "softmax", copy_share, 0.85, "%", worst=True),
    Goal("rows", "optimiser step, share of a copy's rate", "optimiser", copy_share, 0.85, "%", worst=True),
)


@dataclass(frozen=True)
class Verdict:
    what: str
    reached: str
    bound: str
    word: str


def verdicts(
    group: str, cases: Sequence[Case], results: Sequence[Result], repeats: int, card: str
) -> list[Verdict]:
    """cases: all that there are, whether measured or not: a goal is met by all of its own or not at all."""
    return [judged(goal, cases, results, repeats, card) for goal in GOALS if goal.group == group]


def judged(goal: Goal, cases: Sequence[Case], results: Sequence[Result], repeats: int, card: str) -> Verdict:
    about = [case for case in cases if case.group == goal.group and goal.tag in case.tags]
    own = [result for result in results if result.case in about]
    values = [(value, result) for result in own if (value := goal.value(result)) is not None]
    bound = f"at least {goal.text(goal.goal)}"
    broken = [result.case.name for result in own if result.broken]
    if broken:
        rest = f" and {len(broken) - 1} more" if len(broken) > 1 else ""
        return Verdict(goal.what, f"{broken[0]}{rest} failed", bound, "NOT MET")
    if not values:
        return Verdict(goal.what, "-", bound, NOT_YET)
    least, at = min(values, key=lambda pair: pair[0])
    value = least if goal.worst else geometric_mean([value for value, _ in values])
    reached = goal.text(value) + (f" ({at.case.name})" if goal.worst and len(values) > 1 else "")
    if len(values) < len(about):
        word = f"{NOT_YET} ({len(values)} of {len(about)} cases)"
    elif goal.cards and not any(name in card for name in goal.cards):
        word = f"{NOT_YET} on {' or '.join(goal.cards)}"
    elif repeats < REPEATS:
        word = f"undecided (fewer than {REPEATS} repeats)"
    else:
        word = "met" if value >= goal.goal else "NOT MET"
    return Verdict(goal.what, reached, bound, word)
