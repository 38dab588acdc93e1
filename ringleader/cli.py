"""The command line. Options come from TrainConfig; what is wrong is said in one line, on rank 0."""

from __future__ import annotations

import argparse
import errno
import io
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NoReturn

import ringleader
from ringleader import doctor, explore, kernels, measured, train_options
from ringleader.collectives.topology.units import escaped
from ringleader.launch import MOST_STARTED, LaunchError, launch, launched
from ringleader.memory import bounded_memory
from ringleader.options import add_commands

USAGE_ERROR = 2
INTERRUPTED = 130
PIPE_CLOSED = 141  # as a shell says of a program that SIGPIPE ended
LAST_WORDS = 1.0  # seconds that rank 0 gets to say what is wrong
LATER = "not there yet: the transport nccl. See CHANGELOG.md for what there is."


class Parser(argparse.ArgumentParser):
    """Errors are one line, with what would be right, said once and not by every rank."""

    def error(self, message: str) -> NoReturn:
        fail(message, USAGE_ERROR)

    def known_options(self) -> str:
        return ", ".join(option for action in self._actions for option in action.option_strings)


def fail(message: str, code: int) -> NoReturn:
    """End with one line on stderr, from the first rank alone.

    The others wait a little, since mpirun kills all ranks as soon as one has failed.
    """
    launcher = launched()
    if launcher is None or launcher.rank == 0:
        print(f"ringleader: {escaped(message)}", file=sys.stderr, flush=True)
    else:
        time.sleep(LAST_WORDS)
    raise SystemExit(code)


def parsers() -> tuple[Parser, Mapping[str, Parser]]:
    """The whole command line, and its commands."""
    main = Parser(prog="ringleader", description=ringleader.__doc__, epilog=LATER, allow_abbrev=False)
    main.add_argument("--version", action="version", version=f"ringleader {ringleader.__version__}")
    commands = main.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    train_options.add_commands(commands)
    add_commands(commands)
    of_kernels = kernels.add_commands(commands)
    looks = commands.add_parser(
        "doctor", help="say what this installation can do, and what would make it faster", allow_abbrev=False,
        description="Say what this installation can do, what is slower than it could be, and the remedy. Exit code "
        "1: something is broken.",
    )  # fmt: skip
    looks.add_argument(
        "-n", "--ranks", type=int, help="also start so many ranks, by mpirun, and measure them"
    )
    looks.add_argument("--json", action="store_true", help="JSON, for programs")
    return main, {**commands.choices, **of_kernels}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; returns the exit code: 0 fine, 1 failed or not good enough, 2 usage, 130 Ctrl-C."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    _open_streams()
    whole, commands = parsers()
    known, unknown = whole.parse_known_args(arguments)
    options = vars(known)
    if unknown:
        name = f"kernels {known.action}" if known.command == "kernels" else known.command
        command = commands.get(name, whole)
        fail(f"unknown option {' '.join(unknown)}; known: {command.known_options()}", USAGE_ERROR)
    if known.command is None:
        whole.print_help()
        return 0
    try:
        if known.command == "tune" and measured.wanted(known):
            return _measure(known, arguments)
        if known.command in explore.COMMANDS:
            return _answer(lambda: _explore(known))
        if known.command == "kernels":
            return _answer(lambda: kernels.run(known))
        if known.command == "doctor":
            return _answer(lambda: _doctor(known.ranks, known.json))
        if known.command == "sample":
            return _answer(lambda: _sample(known))
        options.pop("command")
        return _train(options, arguments)
    except KeyboardInterrupt:
        if launched() is not None:
            raise  # the rank's own hook ends the whole job
        return INTERRUPTED


def _open_streams() -> None:
    """Nothing that is printed may fail for its characters, nor for a stream that whoever started us has closed."""
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115  (it is the process's own)
    if sys.stdout is None:
        fail("standard output is closed; send it to a file, or to /dev/null", USAGE_ERROR)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _explore(options: argparse.Namespace) -> int:
    with bounded_memory():
        return explore.run(options)


def _doctor(ranks: int | None, as_json: bool) -> int:
    if launched() is not None:
        fail("doctor starts ranks itself: run 'ringleader doctor -n 2' without a launcher", USAGE_ERROR)
    if ranks is not None and not 1 <= ranks <= MOST_STARTED:
        fail(f"-n {ranks}: from 1 to {MOST_STARTED} ranks can be started on one machine", USAGE_ERROR)
    return doctor.run(ranks, as_json)


def _sample(options: argparse.Namespace) -> int:
    from ringleader.sample import sample_command  # late, as training

    return sample_command(options)


def _answer(command: Callable[[], int]) -> int:
    """Run a command that prints an answer; what is the user's to mend is one line."""
    try:
        code = command()
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # who reads the output (head, less) has seen enough
        _discard_output()
        return PIPE_CLOSED
    except MemoryError as error:
        message = f"out of memory ({error}); give fewer ranks, hosts or chunks"
    except (OverflowError, RecursionError) as error:
        message = f"{error}; give smaller numbers"
    except OSError as error:
        message = str(error)
        if error.errno in (errno.ENOSPC, errno.EBADF, errno.EIO):
            _discard_output()
    except ValueError as error:
        message = str(error)
    # out here nothing refers to what failed any more: its memory is free, and its progress bar is off the screen
    fail(message, USAGE_ERROR)


def _measure(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    try:
        return measured.measure_command(options, arguments)
    except LaunchError as error:
        fail(str(error), 1)
    except (OSError, ValueError) as error:
        fail(str(error), USAGE_ERROR)


def _discard_output() -> None:
    """What could not be written would fail again, with a traceback, when Python ends."""
    with suppress(OSError, ValueError):  # not a file at all, as in a test
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _train(options: dict[str, Any], arguments: list[str]) -> int:
    launcher = launched()
    try:
        config = train_options.settings(options, launcher)
    except ValueError as error:
        fail(str(error), USAGE_ERROR)
    try:
        if launcher is None and config.ranks > 1:
            return launch(config.ranks, arguments, survive=config.sync == "ps")
        from ringleader.train import train_here  # late: --help needs neither rich nor the models' data

        return train_here(config, launcher.local_size if launcher else 1)
    except LaunchError as error:
        fail(str(error), 1)
    except train_options.DataError as error:
        fail(str(error), USAGE_ERROR)
