"""The affine map and the table of vectors."""

from __future__ import annotations

import numpy as np

from helpers.op_cases.draw import Case, normal, strided

INDICES = [np.array([2, 0, 2, 2, 4]), np.array([[1, 1], [3, 0]]), np.array(3), np.zeros((0, 2), np.int64)]

CASES: list[Case] = [
    *(("linear", {}, [normal(*lead, 3), normal(4, 3), *bias])
      for lead in [(2,), (), (1,), (0,), (2, 5), (2, 1, 3), (2, 0)] for bias in ([], [normal(4)])),
    ("linear", {}, [normal(2, 0), normal(3, 0), normal(3)]), ("linear", {}, [normal(2, 3), normal(0, 3), normal(0)]),
    ("linear", {}, [strided(normal(2, 4, 3)), strided(normal(2, 3)), strided(normal(2))]),
    *(("embedding", {"indices": i}, [normal(5, 3)]) for i in INDICES),
    ("embedding", {"indices": np.array([0, 3, 0]), "padding_idx": -3}, [normal(5, 3)]),
    ("embedding", {"indices": np.array([1, 1, 0], np.uint8)}, [strided(normal(2, 3))]),
    ("embedding", {"indices": np.array([], np.int32)}, [normal(0, 3)]),
]  # fmt: skip
