"""Convolution and pooling."""

from __future__ import annotations

from helpers.op_cases.draw import Array, Case, distinct, normal, strided


def images(n: int = 2, c: int = 2, h: int = 6, w: int = 5) -> Array:
    return distinct(n, c, h, w)


def convolutions() -> list[Case]:
    options = [((1, 1), (0, 0)), ((2, 1), (0, 0)), ((1, 3), (1, 0)), ((2, 2), (2, 1)), ((3, 3), (1, 1))]
    weight, bias = normal(3, 2, 3, 2), normal(3)
    cases: list[Case] = [
        ("conv2d", {"stride": s, "padding": p}, [images(n), weight, bias])
        for s, p in options
        for n in (0, 1, 2)
    ]
    whole = ("conv2d", {}, [images(3, 2, 3, 2), weight])
    return [*cases, whole, ("conv2d", {}, [strided(images()), strided(weight), bias])]


def poolings(name: str) -> list[Case]:
    options = [((2, 2), (2, 2)), ((3, 2), (1, 2)), ((2, 3), (3, 1)), ((1, 1), (2, 2)), ((6, 5), (1, 1))]
    cases: list[Case] = [
        (name, {"kernel_size": k, "stride": s}, [images(n)]) for k, s in options for n in (0, 1, 2)
    ]
    return [*cases, (name, {"kernel_size": (2, 2), "stride": (2, 2)}, [strided(images())])]


CASES: list[Case] = [*convolutions(), *poolings("avg_pool2d"), *poolings("max_pool2d")]
