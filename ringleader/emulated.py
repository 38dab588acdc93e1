"""Kernels run on the CPU: for their errors, their faults, and what they ask of memory."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from ringleader import arguments
from ringleader.csrc.cuda import catalogue
from ringleader.csrc.cuda.compiler import HERE
from ringleader.csrc.cuda.planned import plan
from ringleader.csrc.cuda.versions import VERSIONS, Draw, Example
from ringleader.csrc.emulate import EmulatedDevice, KernelError, Report, load
from ringleader.table import Row, as_text, show


@dataclass(frozen=True)
class Run:
    """An operator's example on the emulator."""

    example: Example
    shape: tuple[int, ...]
    options: argparse.Namespace

    def build(self) -> None:
        """Compile what will be launched, so that it is not in the time of the run."""
        of, dtype = self.options, arguments.dtype(self.options.dtype)
        few = EmulatedDevice().multiprocessors
        _, launches = plan(self.example, self.shape, dtype, of.architecture, of.version, few)
        for launch in launches:
            load(launch.file).get(launch.expression).library()

    def outputs(self, device: EmulatedDevice) -> list[Any]:
        return self._run(device, arguments.dtype(self.options.dtype), None, self.options.version)

    def exact(self) -> list[Any]:
        """Of the clear version in float64, on the same inputs."""
        given = arguments.dtype(self.options.dtype)
        clear = VERSIONS[self.example.operator][-1].name  # the last one takes whatever the others refuse
        return self._run(EmulatedDevice(), np.dtype(np.float64), given, clear)

    def _run(self, device: EmulatedDevice, dtype: Any, rounded: Any, version: str | None) -> list[Any]:
        draw = Draw(device, np.random.default_rng(self.options.seed), dtype, rounded)
        given = self.example.run(device, draw, version, *self.shape)
        return list(given) if isinstance(given, tuple | list) else [given]


def _runs(options: argparse.Namespace) -> Iterator[Run]:
    for example in catalogue.examples(options.operator):
        yield Run(example, example.check(options.shape), options)


def emulate_command(options: argparse.Namespace) -> int:
    """Largest error of each output beside its largest value, and how long it took; the outputs of a scrambled run are
    also compared with those of a fast one, bit by bit."""
    rows: list[Row] = []
    for run in _runs(options):
        device = EmulatedDevice(options.mode, options.seed, options.architecture)
        run.build()
        start = time.perf_counter()
        outputs = run.outputs(device)
        seconds = time.perf_counter() - start
        fast = (
            run.outputs(EmulatedDevice(architecture=options.architecture)) if options.mode != "fast" else None
        )
        for i, (output, exact) in enumerate(zip(outputs, run.exact())):
            rows.append(
                {
                    "operator": run.example.operator, "output": str(i), "dtype": output.dtype.name,
                    "shape": "x".join(map(str, output.shape)), **_errors(output, exact),
                    **({"same_in_order": output.tobytes() == fast[i].tobytes()} if fast else {}),
                    "launches": device.launches, "emulated_seconds": seconds,
                }
            )  # fmt: skip
    show(rows, options.form)
    return 0


def _errors(output: Any, exact: Any) -> Row:
    """NaN if one has NaN or infinity where the other has not."""
    given, wanted = np.asarray(output, np.float64), np.asarray(exact, np.float64)
    with np.errstate(invalid="ignore"):
        difference = np.where(given == wanted, 0, abs(given - wanted))
    difference[np.isnan(given) & np.isnan(wanted)] = 0
    finite = wanted[np.isfinite(wanted)]
    return {
        "largest_value": float(abs(finite).max(initial=0)),
        "largest_error": float(difference.max(initial=0)),
    }


def check_command(options: argparse.Namespace) -> int:
    """Every launch with what is wrong in it; none is made after one with faults."""
    faulty = False
    for run in _runs(options):
        for report in _reports(run):
            faulty |= not report
            print(
                "\n".join([f"{report.kernel}: {_count(report)}", *(f"  {fault}" for fault in report.faults)])
            )
    return 1 if faulty else 0


def _count(report: Report) -> str:
    found = len(report.faults)
    return "no faults" if not found else "1 fault" if found == 1 else f"{found} faults"


def _reports(run: Run) -> list[Report]:
    device = EmulatedDevice("checked", run.options.seed, run.options.architecture)
    try:
        run.outputs(device)
    except KernelError:
        if not any(report.faults for report in device.reports):
            raise
    return device.reports


def profile_command(options: argparse.Namespace) -> int:
    """What warps ask of memory at each line: how many wavefronts or sectors for a request, and how few it could be."""
    reports = [report for run in _runs(options) for report in _reports(run)]
    if options.form == "table":
        for report in reports:
            print(
                f"{report.kernel}\n{as_text(_requests(report))}\n"
                if report.requests
                else f"{report.kernel}\n"
            )
        print(
            "cost: wavefronts of shared memory, or sectors of 32 bytes of global memory; wasteful lines first"
        )
    else:
        show(
            [{"kernel": report.kernel, **row} for report in reports for row in _requests(report)],
            options.form,
        )
    if not all(reports):
        print("ringleader: there are faults; see ringleader kernels check", file=sys.stderr)
        return 1
    return 0


def _requests(report: Report) -> list[Row]:
    """The most wasteful lines first."""
    return [
        {
            "memory": at.space, "requests": at.requests, "cost_of_each": at.cost / at.requests,
            "least": at.ideal / at.requests, "excess_factor": at.cost / at.ideal if at.ideal else None,
            "line": f"{at.file}:{at.line}", "source": _line(at.file, at.line),
        }
        for at in sorted(report.requests, key=lambda at: at.ideal - at.cost)
    ]  # fmt: skip


@cache
def _text(file: str) -> list[str]:
    """Of a file of csrc/cuda."""
    try:
        return (HERE / file).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def _line(file: str, number: int) -> str:
    lines = _text(file)
    return lines[number - 1].strip() if 0 < number <= len(lines) else ""
