"""Compiles kernels with NVRTC: a .cu file, the kernels wanted of it, an architecture; no GPU is needed.

    cubin = compile_kernels("softmax.cu", ["softmax_forward<float>"], "90a")
    cubin.resources["softmax_forward<float>"].registers

What was compiled is kept in the user's cache (cubins.py) under a digest of all that it depends on: the file and the
headers it includes, by content; the toolkit's headers and NVRTC, by version; options, architecture and expressions.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ringleader.csrc.cuda import cubins
from ringleader.csrc.cuda.cubins import Cubin, Resources
from ringleader.csrc.cuda.nvrtc import headers_version, nvrtc_compile, nvrtc_version

HERE = Path(__file__).parent

OPTIONS = (
    "--std=c++17",
    "--ftz=true",  # subnormal floats count as zero, as in CuPy's own kernels and in the emulator; doubles keep them
    "--ptxas-options=-v",  # reports the resources of each kernel
)

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"', re.MULTILINE)
ENTRY = re.compile(r"Compiling entry function '(?P<name>[^']+)'")
STACK = re.compile(
    r"(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill loads"
)
USED = re.compile(r"Used (?P<registers>\d+) registers(?:.*?, (?P<shared>\d+) bytes smem)?")


def compile_kernels(file: str | Path, expressions: Sequence[str], architecture: str) -> Cubin:
    """The kernels of a file, all in one cubin; from the cache if they are there.

    file: "softmax.cu" of this folder, or the path of another one. expressions: "softmax_forward<float>", as they would
    be written in C++. architecture: "80", "90a". CompileError: with the line of the source. NoCompiler: no NVRTC.
    OSError: no such file.
    """
    wanted = tuple(dict.fromkeys(expressions))
    texts = sources(file)
    key = _key(texts, wanted, architecture)
    found = cubins.load(key)
    if found is None:
        found = _compile(texts, wanted, architecture)
        cubins.store(key, found)
    return found


def compiled_before(file: str | Path, expressions: Sequence[str], architecture: str) -> Cubin | None:
    """What ``compile_kernels`` would return if it need not compile; None if it must."""
    return cubins.load(_key(sources(file), tuple(dict.fromkeys(expressions)), architecture))


def sources(file: str | Path) -> dict[str, str]:
    """Text by name: the file first, then what it includes from its own folder or this one, and what that includes, ..."""
    path = HERE / file
    found = {path.name: path}
    texts: dict[str, str] = {}
    while len(texts) < len(found):
        name = next(name for name in found if name not in texts)
        text = found[name].read_text(encoding="utf-8")
        shown = f"csrc/cuda/{name}" if found[name].parent == HERE else found[name]
        texts[name] = f'#line 1 "{shown}"\n{text}'
        for included in INCLUDE.findall(text):
            for candidate in (path.parent / included, HERE / included):
                # one that is in neither may stand behind an #ifdef; if it does not, NVRTC says so
                if included not in found and candidate.is_file():
                    found[included] = candidate
    return texts


def _key(texts: dict[str, str], expressions: Sequence[str], architecture: str) -> str:
    """Names the cubin in the cache; equal for equal kernels only."""
    depends = [texts, expressions, architecture, OPTIONS, nvrtc_version(), headers_version()]
    return hashlib.sha256(json.dumps(depends).encode()).hexdigest()


def _compile(texts: dict[str, str], expressions: Sequence[str], architecture: str) -> Cubin:
    (name, source), *headers = texts.items()
    made = nvrtc_compile(
        source, name, dict(headers), (f"--gpu-architecture=sm_{architecture}", *OPTIONS), expressions
    )
    by_name = dict(_resources(made.log))
    resources = {expression: by_name[made.names[expression]] for expression in expressions}
    warnings = [line for line in made.log.splitlines() if line.strip(" \0") and not _is_usual(line)]
    return Cubin(made.cubin, made.names, resources, "\n".join(warnings))


def _is_usual(line: str) -> bool:
    """Is it what ptxas says of every kernel? Its messages with a number are not: of wgmma that it has wait, for instance."""
    return line.startswith("ptxas") and " : (C" not in line


def _resources(log: str) -> Iterator[tuple[str, Resources]]:
    """What ptxas says of each kernel, by mangled name; functions that it calls spill on its account."""
    entries = list(ENTRY.finditer(log))
    for entry, end in zip(entries, [*(e.start() for e in entries[1:]), len(log)]):
        part = log[entry.end() : end]
        stacks = [{k: int(v) for k, v in found.groupdict().items()} for found in STACK.finditer(part)]
        used = USED.search(part)
        if not stacks or used is None:
            raise RuntimeError(f"ptxas does not report the resources of {entry['name']} as expected:\n{part}")
        yield (
            entry["name"],
            Resources(
                int(used["registers"]),
                int(used["shared"] or 0),
                *(sum(stack[what] for stack in stacks) for what in ("stack", "stores", "loads")),
            ),
        )
