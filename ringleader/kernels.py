"""``ringleader kernels``: list, compile, emulate, check and profile the CUDA kernels, with no GPU."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ringleader import arguments
from ringleader.arguments import typed
from ringleader.csrc import emulate
from ringleader.csrc.cuda import catalogue
from ringleader.csrc.cuda.cubins import Resources
from ringleader.csrc.cuda.nvrtc import CompileError, NoCompiler, nvrtc_version
from ringleader.csrc.cuda.planned import plan
from ringleader.csrc.cuda.resources import builds, compile_all, markdown, natural, table
from ringleader.csrc.cuda.versions import ALL, ARCHITECTURES, VERSIONS, Example, Version
from ringleader.emulated import check_command, emulate_command, profile_command
from ringleader.progress import watched
from ringleader.table import Row, show

OPERATOR = "an operator, or the module of several: softmax_forward, attention"
OPTIONS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "operator": (("operator",), {"metavar": "OPERATOR", "help": OPERATOR}),
    "maybe-operator": (("operator",), {
        "nargs": "?", "metavar": "OPERATOR", "help": f"{OPERATOR}; default: all, in short"}),
    "files": (("files",), {
        "nargs": "*", "metavar": "OPERATOR|FILE", "help": "like softmax or softmax.cu; default: all"}),
    "architectures": (("--arch",), {
        "dest": "architectures", "type": typed(arguments.architectures), "default": ["80"],
        "help": f"some of {','.join(ARCHITECTURES)}, or all (default 80)"}),
    "architecture": (("--arch",), {
        "dest": "architecture", "type": typed(arguments.natural), "default": 80,
        "help": "compute capability for which versions are chosen, 90 for 9.0 (default 80)"}),
    "shape": (("--shape",), {
        "type": typed(arguments.shape), "metavar": "N,...", "help": "like 2,4,37,64 (default: a small one)"}),
    "dtype": (("--dtype",), {"choices": ALL, "default": "float32", "help": "(default float32)"}),
    "version": (("--version",), {"metavar": "NAME", "help": "take this version, not the best that fits"}),
    "seed": (("--seed",), {
        "type": typed(arguments.natural), "default": 0,
        "help": "of the inputs, and of the order of threads (default 0)"}),
    "mode": (("--mode",), {
        "choices": ("fast", "scrambled"), "default": "fast",
        "help": "fast (default), or threads in a random order and shared memory full of NaN"}),
    "table": (("--table",), {"metavar": "FILE", "help": "write the page of docs there, instead of printing"}),
    "jobs": (("-j", "--jobs"), {
        "type": typed(arguments.positive), "default": os.cpu_count() or 1,
        "help": "compilers at once (default: one a core)"}),
    "json": (("--json",), {
        "dest": "form", "action": "store_const", "const": "json", "default": "table", "help": "JSON, not a table"}),
    "csv": (("--csv",), {"dest": "form", "action": "store_const", "const": "csv", "help": "CSV, not a table"}),
}  # fmt: skip

FORMS = ("json", "csv")
RUN = ("operator", "shape", "dtype", "version", "architecture", "seed")
ACTIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "list": (
        "List operators and their versions; for one, which version is chosen, why no better one, and what is launched.",
        ("maybe-operator", "shape", "dtype", "version", "architecture", *FORMS),
    ),
    "compile": (
        "Compile kernels with NVRTC into the user's cache, with no GPU: registers, shared memory and spills.",
        ("files", "architectures", "table", "jobs", *FORMS),
    ),
    "emulate": ("Run an operator on the CPU, and compare it with its clear version in float64.", (*RUN, "mode", *FORMS)),
    "check": (
        "Run an operator on the CPU, looking for data races, reads and writes out of bounds, and reads of what nobody "
        "wrote. Exit code 1: there are some.",
        RUN,
    ),
    "profile": ("Count bank conflicts and sectors of memory that an operator asks for, line by line.", (*RUN, *FORMS)),
}  # fmt: skip


def add_commands(commands: Any) -> dict[str, Any]:
    """Add ``kernels`` to argparse's sub-parsers; returns the parsers of its actions by name: "kernels list"."""
    about = "List, compile, run, check and profile the CUDA kernels, with no GPU."
    parser = commands.add_parser(
        "kernels", help=about[0].lower() + about[1:-1], description=about, allow_abbrev=False
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    made = {}
    for name, (about, options) in ACTIONS.items():
        made[f"kernels {name}"] = action = actions.add_parser(
            name, help=about.split(". ")[0].rstrip("."), description=about, allow_abbrev=False
        )
        # an empty group is an error when argparse prints the usage
        forms = action.add_mutually_exclusive_group() if set(FORMS) & set(options) else action
        for option in options:
            flags, settings = OPTIONS[option]
            (forms if option in FORMS else action).add_argument(*flags, **settings)
    return made


def run(options: argparse.Namespace) -> int:
    """Run the action; returns the exit code. ValueErrors are the user's to mend."""
    commands: dict[str, Callable[[argparse.Namespace], int]] = {
        "list": list_command,
        "compile": compile_command,
        "emulate": emulate_command,
        "check": check_command,
        "profile": profile_command,
    }
    try:
        return commands[options.action](options)
    except (CompileError, NoCompiler, emulate.CompileError, emulate.KernelError) as error:
        print(f"ringleader: {error}", file=sys.stderr)
        return 1


def list_command(options: argparse.Namespace) -> int:
    catalogue.fill()
    if options.operator is None:
        if options.shape or options.version:
            raise ValueError("--shape and --version are for one operator; name it")
        show([_version(v) for versions in VERSIONS.values() for v in versions], options.form)
        return 0
    rows: list[Row] = []
    for example in catalogue.examples(options.operator):
        shape = example.check(options.shape)
        chosen, launched = plan(
            example, shape, arguments.dtype(options.dtype), options.architecture, options.version
        )
        if options.form == "table":
            _explain(example, shape, chosen, launched)
        rows += [{"operator": example.operator, **vars(launch)} for launch in launched]
    if options.form != "table":
        show(rows, options.form)
    return 0


def _version(version: Version) -> Row:
    dtypes = "all" if set(version.dtypes) == set(ALL) else ", ".join(version.dtypes)
    architectures = f"sm_{version.only} alone" if version.only else f"from sm_{version.least}"
    return {
        "operator": version.operator, "version": version.name, "architectures": architectures, "dtypes": dtypes,
        "measured": version.measured,
    }  # fmt: skip


def _explain(example: Example, shape: tuple[int, ...], chosen: list[Any], launched: list[Any]) -> None:
    print(f"{example.operator} of {', '.join(f'{name} {size}' for name, size in zip(example.shape, shape))}")
    for choice in chosen:
        print(f"  {choice.version.operator}: {choice.version.name} ({choice.version.measured})")
        for name, why in choice.refused.items():
            print(f"    not {name}, which {why}")
    for launch in launched:
        shared = f", {launch.shared:,} bytes of shared memory" if launch.shared else ""
        print(f"  {launch.file}: {launch.expression}, grid {launch.grid}, block {launch.block}{shared}")


def compile_command(options: argparse.Namespace) -> int:
    files = _files(options.files)
    wanted = builds(files, options.architectures)
    if not wanted:
        raise ValueError(f"no kernel of {', '.join(files)} is for sm_{' or sm_'.join(options.architectures)}")
    with watched(len(wanted)) as advance:
        compiled = []
        for one in compile_all(wanted, options.jobs):
            compiled.append(one)
            advance()
    resources = table(compiled)
    if options.table:
        Path(options.table).write_text(
            markdown(resources, options.architectures, nvrtc_version()), encoding="utf-8"
        )
        print(f"wrote {options.table}", file=sys.stderr)
        return 0
    show(
        [
            {"file": file, "kernel": kernel, "arch": architecture, **_resources(found[architecture])}
            for (file, kernel), found in sorted(resources.items(), key=lambda row: natural(row[0]))
            for architecture in options.architectures  # in the order asked for, whichever compiled first
            if architecture in found
        ],
        options.form,
    )
    return 0


def _resources(of: Resources) -> Row:
    return {
        "registers": of.registers, "shared_bytes": of.shared, "stack_bytes": of.stack,
        "spill_store_bytes": of.spill_stores, "spill_load_bytes": of.spill_loads,
    }  # fmt: skip


def _files(names: list[str]) -> list[str]:
    """The .cu files of operators, modules and files. ValueError: there is none of that name."""
    known = catalogue.files()
    return list(dict.fromkeys(file for name in names for file in _files_of(name, known))) if names else known


def _files_of(name: str, known: list[str]) -> Iterator[str]:
    if name in known:
        yield name
        return
    modules = {e.module for e in catalogue.examples(name)} if name not in {f[:-3] for f in known} else {name}
    yield from (
        f for f in known if f[:-3] in modules or any(f.startswith(f"{module}_") for module in modules)
    )
