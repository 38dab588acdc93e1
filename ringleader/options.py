"""The options of the commands that look at algorithms: one table, and which command has which."""

from __future__ import annotations

import argparse
from typing import Any

from ringleader import arguments
from ringleader.arguments import typed
from ringleader.bench.contestants import PEERS
from ringleader.bench.patterns import PATTERNS
from ringleader.collectives.simulate.simulator import GAMMA, OVERHEAD
from ringleader.collectives.topology.units import factor, seconds, seconds_text
from ringleader.runtime.comm.measure import SECONDS

ALGORITHM = "allreduce (all its algorithms), allreduce/ring, broadcast/chain:chunks=8, or an MSCCL-IR file"
TOPOLOGY = "switch, ring, torus:4x4, fat-tree:k=8, islands:gpus=8, file:NAME, ..."
PICTURES = {
    "space-time": "messages between ranks, round by round",
    "time": "the same over simulated time",
    "ownership": "what every slot holds, round by round",
    "links": "load of the topology's links",
    "curves": "time of several algorithms over bytes or ranks",
}

OPTIONS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "targets": (("targets",), {"nargs": "+", "metavar": "ALGORITHM", "help": ALGORITHM}),
    "any-targets": (("targets",), {"nargs": "*", "metavar": "ALGORITHM", "help": f"{ALGORITHM}; default: all"}),
    "collectives": (("targets",), {
        "nargs": "*", "type": typed(arguments.collective), "metavar": "COLLECTIVE", "help": "default: all"}),
    "ranks": (("-n", "--ranks"), {
        "type": typed(arguments.counts), "default": "8", "help": "like 8, 2-64 or 8-4096x2 (default 8)"}),
    "many-ranks": (("-n", "--ranks"), {
        "type": typed(arguments.counts), "default": "2-33", "help": "like 8, 2-64 or 8-4096x2 (default 2-33)"}),
    "one-rank-count": (("-n", "--ranks"), {"type": typed(arguments.count), "default": "8", "help": "(default 8)"}),
    "sizes": (("-b", "--bytes"), {
        "dest": "sizes", "type": typed(arguments.sizes), "default": "4M",
        "help": "of a rank's larger buffer, like 64K, 4M or 1K-1G (default 4M)"}),
    "one-size": (("-b", "--bytes"), {
        "dest": "sizes", "type": typed(arguments.one_size), "default": "4M",
        "help": "of a rank's larger buffer, like 64K or 4M (default 4M)"}),
    "root": (("--root",), {"type": typed(arguments.natural), "default": 0, "help": "of a rooted collective (default 0)"}),
    "json": (("--json",), {
        "dest": "form", "action": "store_const", "const": "json", "default": "table", "help": "JSON, not a table"}),
    "csv": (("--csv",), {"dest": "form", "action": "store_const", "const": "csv", "help": "CSV, not a table"}),
    "alpha": (("--alpha",), {"type": typed(seconds), "default": 3e-6, "help": "time of a start, like 3us (default)"}),
    "beta": (("--beta",), {"type": typed(factor), "default": 2e-10, "help": "seconds a byte moved (default 2e-10)"}),
    "gamma": (("--gamma",), {"type": typed(factor), "default": 1e-10, "help": "seconds a byte folded (default 1e-10)"}),
    "overhead": (("--overhead",), {
        "type": typed(seconds), "default": OVERHEAD, "metavar": "TIME",
        "help": f"start-up of a message, o of LogGOPS (default {seconds_text(OVERHEAD)})"}),
    "fold-gamma": (("--gamma",), {
        "type": typed(factor), "default": GAMMA, "help": f"seconds a byte folded (default {GAMMA:g})"}),
    "loggp": (("--loggp",), {
        "type": typed(arguments.loggp), "default": {}, "metavar": "KEY=VALUE,...",
        "help": "parameters of model loggp, like o=1us,L=500ns,S=64K: L, o, g times; G, O seconds a byte; S bytes"}),
    "on": (("--on",), {"default": "switch", "metavar": "TOPOLOGY", "help": f"{TOPOLOGY} (default switch)"}),
    "maybe-on": (("--on",), {
        "metavar": "TOPOLOGY", "help": f"simulate on {TOPOLOGY} (default: alpha, beta and gamma)"}),
    "placement": (("--placement",), {
        "type": typed(arguments.placement), "default": "block",
        "help": "block, cyclic, random:SEED, or host numbers like 3,1,0,2 (default block)"}),
    "model": (("--model",), {
        "choices": ("rounds", "loggp"), "default": "rounds",
        "help": "round-synchronous with contention (default), or LogGOPS per rank"}),
    "ports": (("--ports",), {
        "type": typed(arguments.ports), "default": 1,
        "help": "of model rounds: messages that a rank starts at once (default 1; inf: any number)"}),
    "slow": (("--slow",), {
        "action": "append", "default": [], "type": typed(arguments.slow), "metavar": "RANK=FACTOR",
        "help": "a straggler"}),
    "jitter": (("--jitter",), {"type": typed(factor), "default": 0.0, "help": "relative spread of message times"}),
    "seed": (("--seed",), {"type": typed(arguments.natural), "default": 0, "help": "of the jitter (default 0)"}),
    "degrade": (("--degrade",), {
        "action": "append", "default": [], "type": typed(arguments.degraded), "metavar": "A,B=SHARE",
        "help": "links between vertices A and B keep that share of their bandwidth"}),
    "cut": (("--cut",), {
        "action": "append", "default": [], "type": typed(arguments.pair), "metavar": "A,B",
        "help": "no link between vertices A and B"}),
    "trace": (("--trace",), {"metavar": "FILE", "help": "write the last run as a Chrome trace, for Perfetto"}),
    "rounds": (("--rounds",), {"action": "store_true", "default": False, "help": "show the rounds, equal ones as one line"}),
    "what": (("--what",), {
        "choices": tuple(PICTURES), "default": "space-time",
        "help": "; ".join(f"{name}: {about}" for name, about in PICTURES.items())}),
    "output": (("-o", "--output"), {"required": True, "metavar": "FILE"}),
    "maybe-output": (("-o", "--output"), {"metavar": "FILE", "help": "save the table as JSON there"}),
    "seconds": (("--seconds",), {
        "type": typed(factor), "default": SECONDS, "metavar": "S",
        "help": f"to measure for, about (default {SECONDS:g})"}),
    "table": (("--table",), {"metavar": "FILE", "help": "use this saved table"}),
    "why": (("--why",), {"action": "store_true", "default": False, "help": "show the candidates with their predicted times"}),
    "programs": (("--programs",), {
        "action": "store_true", "default": False, "help": "also prove every rank's program: matching, hazards, deadlock"}),
    "root-zero": (("--root-zero",), {"action": "store_true", "default": False, "help": "only root 0"}),
    "ranks-to-start": (("-n", "--ranks"), {
        "type": typed(arguments.started), "default": "2", "help": "to start on this machine, like 2,4,8 (default 2)"}),
    "begin": (("-b", "--begin"), {
        "type": typed(arguments.size), "default": "4", "help": "smallest size of a rank's larger buffer (default 4)"}),
    "end": (("-e", "--end"), {"type": typed(arguments.size), "default": "64M", "help": "largest size (default 64M)"}),
    "factor": (("-f", "--factor"), {
        "type": typed(arguments.several), "default": "4", "help": "between sizes (default 4)"}),
    "measured": (("--collective",), {
        "dest": "collectives", "type": typed(lambda text: arguments.names(text, PATTERNS, "collective")),
        "default": "allreduce", "help": f"some of {','.join(PATTERNS)} (default allreduce)"}),
    "algorithm": (("--algorithm",), {
        "dest": "algorithms", "type": lambda text: text.split(","), "default": "auto",
        "help": "of Ringleader, like auto,ring,vendor (default auto)"}),
    "vs": (("--vs",), {
        "type": typed(lambda text: () if text == "none" else arguments.names(text, PEERS, "peer")), "default": "mpi",
        "help": f"peers, none or some of {','.join(PEERS)}; mpi is the one that mpi4py uses here (default mpi)"}),
    "dtype": (("-d", "--dtype"), {
        "choices": ("float32", "float64", "int32", "int64"), "default": "float32", "help": "(default float32)"}),
    "repeats": (("--repeats",), {
        "type": typed(arguments.positive), "default": "5", "help": "interleaved (default 5; fewer decide nothing)"}),
    "setup": (("--setup",), {
        "action": "store_true", "default": False, "help": "first make the peers' environments that are missing, by pip"}),
    "peers": (("--peers",), {"metavar": "FOLDER", "help": "of these environments (default ~/.cache/ringleader/peers)"}),
    "patience": (("--timeout",), {
        "dest": "patience", "type": typed(arguments.positive), "default": "120", "metavar": "SECONDS",
        "help": "that a start or one measurement may take before the contestant is given up (default 120)"}),
    "outputs": (("-o", "--output"), {
        "action": "append", "default": [], "metavar": "FILE",
        "help": "also write .json, .csv, a plot as .png, .svg or .pdf, or a page of results as .md; may be repeated"}),
}  # fmt: skip

FORMS = ("json", "csv")
FLAT = ("alpha", "beta", "gamma")
MODEL = ("model", "overhead", "fold-gamma", "loggp")
COMMANDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "algorithms": ("List the algorithms with their cost.", ("any-targets", "one-rank-count", "one-size", *FORMS)),
    "verify": (
        "Prove schedules for ranges of rank counts and every root.",
        ("targets", "many-ranks", "programs", "root-zero", *FORMS),
    ),
    "cost": (
        "Rounds, bytes and model time beside the lower bounds.",
        ("targets", "ranks", "sizes", *FLAT, *FORMS),
    ),
    "simulate": (
        "Time on a topology, the bottleneck link, the idle share.",
        ("targets", "ranks", "sizes", "on", "placement", *MODEL, "ports", "slow", "jitter", "seed", "degrade", "cut",
         "rounds", "trace", *FORMS),
    ),
    "draw": (
        "Draw a schedule as .svg or .png, or as a page to step through (.html).",
        ("targets", "ranks", "sizes", "root", "what", "on", "placement", *MODEL, "output"),
    ),
    "export": ("Write a schedule as MSCCL-IR XML.", ("targets", "one-rank-count", "root", "output")),
    "tune": (
        "Pick the best algorithm for sizes and -n ranks: measured here; or for any rank counts by a model or topology.",
        ("collectives", "ranks", "sizes", "seconds", "maybe-on", *FLAT, "table", "why", "maybe-output", *FORMS),
    ),
    "bench": (
        "Measure collectives side by side with MPI libraries and Gloo.",
        ("ranks-to-start", "begin", "end", "factor", "measured", "algorithm", "vs", "dtype", "repeats", "setup", "peers",
         "patience", "outputs", *FORMS),
    ),
}  # fmt: skip


def add_commands(commands: Any) -> None:
    """Add these commands to argparse's sub-parsers."""
    for name, (about, options) in COMMANDS.items():
        parser = commands.add_parser(
            name, help=about[0].lower() + about[1:-1], description=about, allow_abbrev=False
        )
        forms = parser.add_mutually_exclusive_group()
        for option in options:
            flags, settings = OPTIONS[option]
            group = forms if option in FORMS else parser
            group.add_argument(*flags, **{**settings, "default": None})  # None: not given, see complete


def complete(options: argparse.Namespace) -> set[str]:
    """Fill in the defaults; returns the names of those that were given."""
    given = {name for name, value in vars(options).items() if value not in (None, [])}
    for option in COMMANDS[options.command][1]:
        flags, settings = OPTIONS[option]
        name = settings.get("dest", flags[-1].lstrip("-").replace("-", "_"))
        if name not in given and "default" in settings:
            default = settings["default"]
            setattr(
                options,
                name,
                settings["type"](default) if isinstance(default, str) and "type" in settings else default,
            )
    return given
