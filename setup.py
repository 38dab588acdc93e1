"""Top-level folder ``X/`` is installed as the package ``ringleader.X`` (metadata: pyproject.toml).

The native engine is optional: where there is no C++ compiler, the package installs without it, and
``ringleader doctor`` says what is slower.
"""

import os
import sys
from glob import glob

from pybind11.setup_helpers import Pybind11Extension
from setuptools import find_packages, setup

ROOMS = ("bench", "collectives", "csrc", "models", "runtime")

package_dir = {"ringleader": "ringleader"} | {f"ringleader.{room}": room for room in ROOMS}
packages = ["ringleader", "ringleader.torch"]
for room in ROOMS:
    packages.append(f"ringleader.{room}")
    packages += [f"ringleader.{room}.{sub}" for sub in find_packages(room)]

# No -march: wheels must run on other machines; csrc/cpu/fold.cpp chooses kernels at run time. No contraction:
# results are numpy's, bit for bit. RINGLEADER_SANITIZE=thread or address builds the engine for tests.
flags = ["-O3", "-ffp-contract=off", "-Wall", "-Wextra"]
sanitizer = os.environ.get("RINGLEADER_SANITIZE")
if sanitizer:
    flags = ["-O1", "-g", "-ffp-contract=off", f"-fsanitize={sanitizer}"]
engine = Pybind11Extension(
    "ringleader.csrc.cpu._engine",
    sorted(glob("csrc/cpu/*.cpp")),
    depends=sorted(glob("csrc/cpu/*.h") + glob("csrc/cpu/*.inc")),
    cxx_std=17,
    extra_compile_args=flags,
    extra_link_args=[f"-fsanitize={sanitizer}"] if sanitizer else [],
    optional=True,
)

# Data files need no list: what MANIFEST.in takes into the sdist and lies in a package goes into the wheel.
setup(
    packages=packages,
    package_dir=package_dir,
    ext_modules=[engine] if sys.platform == "linux" else [],
)
