"""A page of results, of which each command writes its own section and leaves the others alone."""

from __future__ import annotations

import re
from pathlib import Path

TITLE = "# Results\n\n"


def write_section(path: Path, name: str, text: str) -> None:
    """Replace section ``name`` of the page, or add it at the end; the page is made if there is none."""
    first, last = f"<!-- {name} -->", f"<!-- end of {name} -->"
    section = f"{first}\n\n{text.strip()}\n\n{last}\n"
    page = path.read_text() if path.exists() else TITLE
    found = re.compile(re.escape(first) + ".*?" + re.escape(last) + "\n?", re.DOTALL)
    if found.search(page):
        page = found.sub(lambda _: section, page, count=1)
    else:
        page = page.rstrip("\n") + "\n\n" + section
    path.write_text(page)
