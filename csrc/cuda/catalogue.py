"""All kernels: the modules beside this one are imported, so that what they register is there."""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module

from ringleader.csrc import cuda
from ringleader.csrc.cuda.versions import EXAMPLES, INSTANCES, VERSIONS, Example, Instance


@cache
def fill() -> None:
    """Import every operator's module. Compiles nothing, and imports no CuPy."""
    for module in pkgutil.iter_modules(cuda.__path__):
        import_module(f"{cuda.__name__}.{module.name}")


def files() -> list[str]:
    """The .cu files that kernels are registered of."""
    fill()
    return sorted({instance.file for instance in INSTANCES})


def instances_of(file: str, architecture: str) -> list[Instance]:
    """The kernels of a file that claim an architecture, each once."""
    fill()
    claimed = [of for of in INSTANCES if of.file == file and of.claims(architecture)]
    return list({of.expression: of for of in sorted(claimed, key=lambda of: of.production)}.values())


def expressions(file: str, architecture: str) -> list[str]:
    """What is compiled into one cubin of a file."""
    return sorted(of.expression for of in instances_of(file, architecture))


def operators() -> list[str]:
    fill()
    return list(VERSIONS)


def examples(name: str) -> list[Example]:
    """Of an operator, or of all operators of a module, "attention", or of a cell, "lstm". ValueError: there is none."""
    fill()
    halves = f"{name}_forward", f"{name}_backward"
    found = [EXAMPLES[name]] if name in EXAMPLES else []
    found = found or [e for e in EXAMPLES.values() if e.module == name or e.operator in halves]
    if not found:
        known = sorted({*EXAMPLES, *(e.module for e in EXAMPLES.values())})
        raise ValueError(f"no kernel example is called {name!r}; known: {', '.join(known) or 'none yet'}")
    return found
