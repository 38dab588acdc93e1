"""Top-level folder ``X/`` is installed as the package ``ringleader.X`` (metadata: pyproject.toml).

The native engine and kernels are optional: where there is no C++ compiler, the package installs without them,
and ``ringleader doctor`` says what is slower.
"""

import os
import sys
from glob import glob

from pybind11.setup_helpers import ParallelCompile, Pybind11Extension
from setuptools import find_packages, setup

ROOMS = ("bench", "collectives", "csrc", "models", "runtime")

package_dir = {"ringleader": "ringleader"} | {f"ringleader.{room}": room for room in ROOMS}
packages = ["ringleader", *(f"ringleader.{sub}" for sub in find_packages("ringleader"))]
for room in ROOMS:
    packages.append(f"ringleader.{room}")
    packages += [f"ringleader.{room}.{sub}" for sub in find_packages(room)]

sanitizer = os.environ.get("RINGLEADER_SANITIZE")  # thread or address: builds for tests


def native(name: str, folder: str, flags: list[str], link: list[str] | None = None) -> Pybind11Extension:
    """No -march: wheels must run on other machines; the kernels are chosen at run time (csrc/cpu/level.h)."""
    level = ["-O1", "-g", f"-fsanitize={sanitizer}"] if sanitizer else ["-O3", "-Wall", "-Wextra"]
    return Pybind11Extension(
        name,
        sorted(glob(f"{folder}/*.cpp")),
        depends=sorted(glob("csrc/cpu/*.h") + glob(f"{folder}/*.h") + glob(f"{folder}/*.inc")),
        cxx_std=17,
        extra_compile_args=level + flags,
        extra_link_args=([f"-fsanitize={sanitizer}"] if sanitizer else []) + (link or []),
        optional=True,
    )


# The engine's results are numpy's, bit for bit: no contraction. The kernels' need not be, but infinities and NaN count.
engine = native("ringleader.csrc.cpu._engine", "csrc/cpu", ["-ffp-contract=off"])
# Sanitizers do not know OpenMP's threads.
openmp = [] if sanitizer else ["-fopenmp"]
kernels = native(
    "ringleader.csrc.cpu._kernels",
    "csrc/cpu/kernels",
    ["-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", *openmp],
    openmp,
)

ParallelCompile(default=0).install()  # one compiler a core

# Data files need no list: what MANIFEST.in takes into the sdist and lies in a package goes into the wheel.
setup(
    packages=packages,
    package_dir=package_dir,
    ext_modules=[engine, kernels] if sys.platform == "linux" else [],
)
