"""Top-level folder ``X/`` is installed as the package ``ringleader.X`` (metadata: pyproject.toml)."""

from setuptools import find_packages, setup

ROOMS = ("bench", "collectives", "csrc", "models", "runtime")

package_dir = {"ringleader": "ringleader"} | {f"ringleader.{room}": room for room in ROOMS}
packages = ["ringleader"]
for room in ROOMS:
    packages.append(f"ringleader.{room}")
    packages += [f"ringleader.{room}.{sub}" for sub in find_packages(room)]

setup(packages=packages, package_dir=package_dir, package_data={"ringleader": ["py.typed"]})
