"""In a checkout, folder ``X/`` beside setup.py is the package ``ringleader.X``."""

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

ROOMS = ("bench", "collectives", "csrc", "models", "runtime")


class _RoomFinder:
    """Finds the fixed folders, and only them, as sub-packages of ``ringleader``.

    Extending ``ringleader.__path__`` by the root would do it too, but would also make
    ``ringleader.tests``, ``ringleader.setup`` and whatever else lies there importable.
    """

    def __init__(self, root: Path) -> None:
        self.rooms_root = root

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        package, _, room = name.partition(".")
        if package != "ringleader" or room not in ROOMS:
            return None
        folder = self.rooms_root / room
        return importlib.util.spec_from_file_location(
            name, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )


def extend(package_file: str) -> None:
    """Make the rooms importable if the package stands in a checkout, beside setup.py.

    The comparison is by value, not by class: a program that reloads ringleader gets a new
    ``_RoomFinder`` class, and must still not end up with two finders.
    """
    root = Path(package_file).resolve().parent.parent
    in_checkout = (root / "setup.py").is_file() and all(
        (root / room / "__init__.py").is_file() for room in ROOMS
    )
    if in_checkout and not any(getattr(finder, "rooms_root", None) == root for finder in sys.meta_path):
        # Before all others: an editable install of another checkout would answer for these names too.
        sys.meta_path.insert(0, _RoomFinder(root))
