"""Convolution and pooling."""

from __future__ import annotations

from typing import Any

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


def grouped_convolutions() -> list[Case]:
    """Options, channels of the image, of the grid, kernel: groups, dilation, padding by name, and far out."""
    rows: list[tuple[dict[str, Any], int, int, tuple[int, int]]] = [
        ({"groups": 2}, 4, 2, (2, 2)),
        ({"groups": 2, "stride": (2, 1), "padding": (1, 2)}, 2, 4, (3, 2)),
        ({"groups": 3, "padding": (1, 1)}, 3, 3, (3, 3)),  # depthwise
        ({"groups": 2, "dilation": (2, 3)}, 2, 4, (2, 2)),
        ({"dilation": (2, 1), "padding": (4, 3), "stride": (3, 2)}, 1, 2, (3, 2)),  # a window sees no pixel
        ({"padding": "same"}, 2, 1, (3, 2)),
        ({"padding": "same", "dilation": (3, 2)}, 1, 1, (2, 4)),
        ({"padding": "valid"}, 1, 1, (1, 1)),
    ]
    return [("conv2d", o, [images(2, c), normal(out, c // o.get("groups", 1), *k), normal(out)])
            for o, c, out, k in rows]  # fmt: skip


def transposed() -> list[Case]:
    """Options, channels in and out, kernel."""
    rows: list[tuple[dict[str, Any], int, int, tuple[int, int]]] = [
        ({}, 2, 3, (3, 2)),
        ({"stride": (2, 3), "output_padding": (1, 2)}, 2, 1, (3, 2)),
        ({"stride": (3, 1), "padding": (1, 1)}, 1, 2, (2, 3)),  # with gaps between the windows
        ({"groups": 2, "stride": (2, 2), "padding": (1, 0)}, 2, 4, (3, 1)),
        ({"dilation": (2, 3), "output_padding": (1, 1), "stride": (2, 1)}, 1, 1, (2, 2)),
    ]
    cases: list[Case] = [
        ("conv_transpose2d", o, [images(n, c, 3, 2), normal(c, out // o.get("groups", 1), *k), normal(out)])
        for o, c, out, k in rows
        for n in (0, 2)
    ]
    return [*cases, ("conv_transpose2d", {}, [strided(images(1, 2, 2, 3)), strided(normal(2, 1, 2, 2))])]


def signals() -> list[Case]:
    x = normal(2, 2, 7)
    return [
        ("conv1d", {}, [x, normal(3, 2, 3), normal(3)]),
        ("conv1d", {"stride": (2,), "padding": (1,), "groups": 2, "dilation": (2,)}, [x, normal(2, 1, 3)]),
        ("conv1d", {"padding": "same"}, [normal(1, 1, 4), normal(1, 1, 2)]),
        ("conv1d", {}, [normal(0, 2, 4), normal(1, 2, 4), normal(1)]),
        ("conv_transpose1d", {}, [normal(2, 2, 3), normal(2, 1, 2), normal(1)]),
        ("conv_transpose1d", {"stride": (2,), "padding": (1,), "output_padding": (1,), "groups": 2},
         [normal(2, 2, 3), normal(2, 2, 3)]),
        *(("avg_pool1d", {"kernel_size": (2,), "stride": (s,), "padding": (p,)}, [normal(2, 1, 7)])
          for s in (1, 2) for p in (0, 1)),
        ("max_pool1d", {"kernel_size": (3,), "stride": (2,), "padding": (1,)}, [distinct(2, 1, 8)]),
        ("max_pool1d", {"kernel_size": (2,), "stride": (1,), "dilation": (3,)}, [distinct(0, 2, 5)]),
    ]  # fmt: skip


def poolings(name: str, **options: Any) -> list[Case]:
    sizes = [((2, 2), (2, 2)), ((3, 2), (1, 2)), ((2, 3), (3, 1)), ((1, 1), (2, 2)), ((6, 5), (1, 1))]
    cases: list[Case] = [
        (name, {"kernel_size": k, "stride": s, **options}, [images(n)]) for k, s in sizes for n in (0, 1, 2)
    ]
    padded = {"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 1), **options}
    return [
        *cases,
        (name, {"kernel_size": (2, 2), "stride": (2, 2), **options}, [strided(images())]),
        (name, padded, [images()]),
        (name, padded, [images(1, 1, 2, 1)]),
    ]


CASES: list[Case] = [
    *convolutions(), *grouped_convolutions(), *transposed(), *signals(),
    *poolings("avg_pool2d"), *poolings("avg_pool2d", count_include_pad=False)[-2:], *poolings("max_pool2d"),
    ("max_pool2d", {"kernel_size": (2, 2), "stride": (1, 2), "padding": (1, 0), "dilation": (3, 2)}, [images()]),
]  # fmt: skip
