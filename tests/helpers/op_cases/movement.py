"""Ops that move elements."""

from __future__ import annotations

from helpers.op_cases.draw import Case, normal, strided

CASES: list[Case] = [
    *(("reshape", {"target": t}, [normal(2, 3, 4)]) for t in [(24,), (4, 6), (-1, 3), (2, 3, 4, 1)]),
    ("reshape", {"target": ()}, [normal(1, 1)]), ("reshape", {"target": (3, 0)}, [normal(0, 2)]),
    ("reshape", {"target": (6,)}, [strided(normal(2, 3))]),
    *(("permute", {"dims": d}, [normal(2, 3, 4)]) for d in [(0, 1, 2), (2, 0, 1), (1, -1, 0)]),
    ("permute", {"dims": ()}, [normal()]), ("permute", {"dims": (1, 0)}, [normal(0, 2)]),
    *(("expand", {"target": t}, [normal(2, 1, 3)]) for t in [(2, 4, 3), (5, -1, 1, -1), (2, 0, 3), (2, 1, 3)]),
    ("expand", {"target": (2, 3)}, [normal()]), ("expand", {"target": (2, 3)}, [strided(normal(2, 1))]),
    *(("cat", {"dim": d}, [normal(2, 3), normal(2, 3)]) for d in (0, 1, -1)),
    ("cat", {"dim": 1}, [normal(2, 3), normal(2, 0), normal(2, 1)]), ("cat", {"dim": 0}, [strided(normal(3, 2))]),
    *(("pad", {"widths": w, "value": v}, [normal(2, 3)])
      for w in [((0, 0), (0, 0)), ((1, 0), (0, 2)), ((2, 1), (1, 3))] for v in (0, -1.5)),
    ("pad", {"widths": ()}, [normal()]), ("pad", {"widths": ((1, 1), (0, 0))}, [normal(0, 2)]),
    ("pad", {"widths": ((1, 1), (0, 1))}, [strided(normal(3, 2))]),
    *((name, {"diagonal": k}, [x]) for name in ("tril", "triu") for k in (-1, 0, 2)
      for x in (normal(3, 3), normal(2, 3, 4), normal(0, 2), strided(normal(4, 2)))),
]  # fmt: skip
