"""Normalisation, with no, one and two parameters."""

from __future__ import annotations

from typing import Any

from helpers.op_cases.draw import Array, Case, normal, positive, strided


def with_parameters(name: str, options: dict[str, Any], x: Array, shape: tuple[int, ...]) -> list[Case]:
    weight, bias = normal(*shape), positive(*shape)
    return [(name, options, [x, *parameters]) for parameters in ([], [weight], [weight, bias])]


def trailing(name: str) -> list[Case]:
    rows = [(normal(2, 3, 4), 1), (normal(2, 3, 4), 2), (normal(5), 1), (normal(0, 3), 1), (normal(3, 1), 1),
            (strided(normal(4, 3)), 1)]  # fmt: skip
    return [
        case
        for x, axes in rows
        for case in with_parameters(
            name, {"normalized_shape": x.shape[-axes:], "eps": 1e-2}, x, x.shape[-axes:]
        )
    ]


def batches(training: bool) -> list[Case]:
    cases: list[Case] = []
    for x in (normal(4, 3), normal(2, 3, 4), normal(2, 1, 3, 2), normal(0, 2, 3), strided(normal(3, 2))):
        shape = x.shape[1:2]
        running = {name: None if training else make(*shape)
                   for name, make in (("running_mean", normal), ("running_var", positive))}  # fmt: skip
        options = {**running, "training": training, "momentum": 0.1, "eps": 1e-2}
        cases += with_parameters("batch_norm", options, x, shape)
    return cases


def groups() -> list[Case]:
    rows = [(normal(2, 4, 3), 2), (normal(2, 4, 3, 2), 4), (normal(2, 4), 1), (normal(0, 2, 3), 2),
            (strided(normal(2, 2, 3)), 1)]  # fmt: skip
    return [
        case
        for x, count in rows
        for case in with_parameters("group_norm", {"num_groups": count, "eps": 1e-2}, x, x.shape[1:2])
    ]


CASES: list[Case] = [
    *trailing("layer_norm"), *trailing("rms_norm"), *batches(True), *batches(False), *groups(),
]  # fmt: skip
