"""Activations, softmax, dropout."""

from __future__ import annotations

import numpy as np

from helpers.op_cases.draw import Case, distinct, normal, strided
from helpers.op_cases.elementwise import unary


def along_axis(name: str) -> list[Case]:
    cases: list[Case] = [(name, {"dim": d}, [normal(2, 3, 4)]) for d in (0, 1, 2, -1)]
    others = [(normal(5), 0), (normal(1, 1), 1), (normal(0, 3), 1), (normal(0, 3), 0), (normal(2, 0), -1)]
    cases += [(name, {"dim": dim}, [x]) for x, dim in others]
    return [*cases, (name, {"dim": 0}, [strided(normal(3, 4))])]


def masks() -> list[Case]:
    return [
        (
            "dropout",
            {"keep": normal(*shape) > 0, "scale": scale},
            [normal(*shape)[..., ::-1] if shape else normal()],
        )
        for shape in [(), (5,), (2, 3), (0, 2)]
        for scale in (2.0, 0.0)
    ]


CASES: list[Case] = [
    *unary("scaled_tanh", alpha=1.7159, beta=2 / 3), *unary("scaled_tanh", alpha=-0.5, beta=-3.0),
    *unary("relu6", lambda *shape: np.asarray(20 * distinct(*shape))), *unary("leaky_relu", distinct),
    *unary("leaky_relu", distinct, negative_slope=-0.5), *unary("elu", distinct), *unary("elu", distinct, alpha=2.5),
    *unary("softplus"), *unary("softplus", beta=3.0, threshold=1.2), *unary("silu"), *unary("gelu"),
    *unary("gelu", approximate="tanh"), *along_axis("softmax"), *along_axis("log_softmax"), *masks(),
]  # fmt: skip
