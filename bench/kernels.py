"""Our CUDA kernels beside PyTorch's on the GPU of this machine: ``python -m ringleader.bench.kernels -o bench/RESULTS.md``.

Attention, convolution, recurrent layers, and what goes along rows; each group writes a section of its own, as soon as it
is measured, so that groups can be measured in different runs. bench/gpu/ has the cases and how they are timed.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ringleader.bench.gpu import attention, convolution, elements, here, page, recurrent, rows
from ringleader.bench.gpu.case import NOT_BEGUN, Case, Result
from ringleader.bench.gpu.page import Run
from ringleader.bench.gpu.place import Place, missing
from ringleader.bench.gpu.timing import Clock
from ringleader.bench.gpu.trial import measured
from ringleader.bench.page import write_section

REPEATS = 7
CASES: tuple[Case, ...] = (
    *attention.CASES,
    *convolution.CASES,
    *recurrent.CASES,
    *rows.CASES,
    *elements.CASES,
)
GROUPS = tuple(dict.fromkeys(case.group for case in CASES))
NO_GPU = """Our CUDA kernels cannot be measured here:
{missing}
bench/RESULTS.md says which are not yet measured; --not-measured writes that, --list says what would be measured."""


def measure_all(
    cases: Sequence[Case], place: Place, clock: Clock, repeats: int, every: bool, left: Callable[[], float]
) -> Iterator[Result]:
    """In turn. When no seconds are left, and when the device is lost, the others are not begun."""
    why = ""
    for case in cases:
        if not why and left() <= 0:
            why = "the time of --minutes was over"
        if why:
            yield Result(case, failed={NOT_BEGUN: why})
            continue
        yield measured(case, place, clock, repeats, every)
        try:
            place.free()
        except Exception as error:
            why = f"the device was lost in {case} ({error})"


def selected(only: str, quick: bool) -> list[Case]:
    """Those whose group and name, "attention: forward, d 64", contain one of the parts of ``only``."""
    parts = [part.strip().lower() for part in only.split(",")]
    return [
        case
        for case in CASES
        if any(part in str(case).lower() for part in parts) and (case.quick or not quick)
    ]


def run(options: argparse.Namespace, place: Place, clock: Clock, name: str) -> int:
    """Measure, print, write. 0: all of ours were measured. 1: not all."""
    start = time.monotonic()
    rate = here.copied(place, clock, options.repeats)
    about = here.about(place, rate)
    print("\n".join(f"{key}: {text}" for key, text in about.items()), flush=True)
    done = Run(name, rate, options.repeats, about, _command(options), time.strftime("%Y-%m-%d"))
    results: list[Result] = []
    for group in dict.fromkeys(case.group for case in options.cases):
        of_group: list[Result] = []
        cases = [case for case in options.cases if case.group == group]
        left = lambda: 60 * options.minutes - (time.monotonic() - start)  # noqa: E731
        for result in measure_all(cases, place, clock, options.repeats, options.versions, left):
            of_group.append(result)
            print(line(result), flush=True)
        text = page.section(group, [case for case in CASES if case.group == group], of_group, done)
        print(f"\n{text}", flush=True)
        if options.output is not None:
            write(options.output, {group: text})
        results += of_group
    print("\n".join(page.measured_texts(results, done)))
    return int(any(result.seconds is None for result in results))


def line(result: Result) -> str:
    """What is said while it runs."""
    if result.seconds is None:
        return f"{result.case}: {'; '.join(f'{side}: {why}' for side, why in result.failed.items())}"
    others = "".join(f"; {side} failed: {why}" for side, why in result.failed.items())
    ratio = f", {result.ratios[len(result.ratios) // 2]:.2f}x {result.peer}" if result.ratios else ""
    return f"{result.case}: {result.seconds * 1e6:.1f} us{ratio}{others}"


def write(path: Path, sections: dict[str, str]) -> None:
    """How it is measured, and the groups' sections."""
    write_section(path, "kernels", page.METHOD)
    for group, text in sections.items():
        write_section(path, f"kernels {group}", text)


def not_measured(options: argparse.Namespace) -> int:
    """The sections, in which no goal is measured."""
    groups = dict.fromkeys(case.group for case in options.cases)
    sections = {
        group: page.section_not_measured(group, [c for c in CASES if c.group == group]) for group in groups
    }
    print("\n".join(sections.values()))
    if options.output is not None:
        write(options.output, sections)
    return 0


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m ringleader.bench.kernels", description=(__doc__ or "").split("\n")[0], allow_abbrev=False
    )  # fmt: skip
    parser.add_argument(
        "--only",
        default="",
        metavar="PART,...",
        help=f"cases with one of these in their names ({', '.join(GROUPS)})",
    )
    parser.add_argument("--quick", action="store_true", help="few cases of each group")
    parser.add_argument(
        "--versions", action="store_true", help="every version of our kernels, not only the chosen one"
    )
    parser.add_argument("--repeats", type=int, default=REPEATS, help="default: %(default)s")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no case after so long")
    parser.add_argument("--list", action="store_true", help="say which cases there are, and measure nothing")
    parser.add_argument(
        "--not-measured", action="store_true", help="without a GPU: the sections with all goals open"
    )
    parser.add_argument("-o", dest="output", type=Path, help="page of results whose sections this writes")
    options = parser.parse_args(arguments)
    if options.repeats < 1:
        parser.error(f"--repeats must be at least 1, it is {options.repeats}")
    options.cases = selected(options.only, options.quick)
    if not options.cases:
        parser.error(f"--only {options.only!r}: no such case; --list names them all")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """0: all of ours were measured; 1: not all; 2: this cannot be measured here."""
    options = parsed(arguments)
    if options.list:
        print("\n".join(map(str, options.cases)))
        return 0
    if options.not_measured:
        return not_measured(options)
    obstacles = missing()
    if obstacles:
        print(NO_GPU.format(missing="\n".join(f"- {text}" for text in obstacles)), file=sys.stderr)
        return 2
    place, clock = here.open_card()
    return run(options, place, clock, here.card_name(place))


def _command(options: argparse.Namespace) -> str:
    """What makes the sections again."""
    words = [f"--only {shlex.quote(options.only)}"] * bool(options.only)
    words += [flag for flag in ("--quick", "--versions") if getattr(options, flag[2:])]
    words += [f"--minutes {options.minutes:g}"] * (options.minutes != float("inf"))
    output = f" -o {options.output}" if options.output else ""
    return " ".join(["python -m ringleader.bench.kernels", *words, f"--repeats {options.repeats}"]) + output


if __name__ == "__main__":
    sys.exit(main())
