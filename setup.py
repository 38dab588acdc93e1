"""Top-level folder ``X/`` is installed as the package ``ringleader.X`` (metadata: pyproject.toml)."""

from setuptools import find_packages, setup

ROOMS = ("bench", "collectives", "csrc", "models", "runtime")

package_dir = {"ringleader": "ringleader"} | {f"ringleader.{room}": room for room in ROOMS}
packages = ["ringleader", *(f"ringleader.{sub}" for sub in find_packages("ringleader"))]
for room in ROOMS:
    packages.append(f"ringleader.{room}")
    packages += [f"ringleader.{room}.{sub}" for sub in find_packages(room)]

# Data files need no list: what MANIFEST.in takes into the sdist and lies in a package goes into the wheel.
setup(packages=packages, package_dir=package_dir)
