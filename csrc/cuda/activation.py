"""Activations element by element, forward and backward (activation.cu has the table).

The versions, best first: ``packs``, arrays that begin equally far behind multiples of 16 bytes; ``clear``, all.
"""

from __future__ import annotations

import numpy as np
from ringleader.csrc.cuda.device import C_TYPES, Array, Device, c_type
from ringleader.csrc.cuda.elements import BLOCK, clear_grid, elements_shape, fits_alike, packs_grid
from ringleader.csrc.cuda.rows import check_array
from ringleader.csrc.cuda.versions import ALL, Draw, Instance, Version, choose, example, instances, versions

FILE = "activation.cu"

# name -> the table's row, and what the backward pass needs
ACTIVATIONS = {"relu": ("Relu", "y"), "tanh": ("Tanh", "y"), "sigmoid": ("Sigmoid", "y"),
               "silu": ("Silu", "x"), "gelu": ("Gelu", "x"), "gelu_tanh": ("GeluTanh", "x")}  # fmt: skip

VERSIONS = versions(
    *(
        version
        for operator in ("activation_forward", "activation_backward")
        for version in (Version(operator, "packs", fits=fits_alike), Version(operator, "clear"))
    )
)
INSTANCES = instances(
    *(
        Instance(FILE, f"activation_{way}{suffix}<{C_TYPES[dtype]}, {row}>", production=dtype != "float64")
        for way in ("forward", "backward")
        for suffix in ("", "_packs")
        for dtype in ALL
        for row, _ in ACTIVATIONS.values()
    )
)


def activation(device: Device, name: str, x: Array, version: str | None = None) -> Array:
    """f(x), of x's shape. name: relu, tanh, sigmoid, silu, gelu (with erf), or gelu_tanh (its approximation).

    TypeError, ValueError: unknown name, or x is not C-contiguous or of a dtype that kernels do not take.
    """
    row, _ = _row(name)
    check_array(name, "x", x)
    y = device.xp.empty(x.shape, x.dtype)
    _launch(device, "activation_forward", row, [x, y], version)
    return y


def activation_backward(
    device: Device, name: str, g: Array, kept: Array, version: str | None = None
) -> Array:
    """The gradient of x, from that of f(x), g, and what was kept: the output of relu, tanh and sigmoid, of the others x.

    TypeError, ValueError: as for ``activation``, or g and kept differ.
    """
    row, needed = _row(name)
    check_array(name, needed, kept)
    check_array(name, "g", g, like=kept)
    dx = device.xp.empty(g.shape, g.dtype)
    _launch(device, "activation_backward", row, [g, kept, dx], version)
    return dx


def _row(name: str) -> tuple[str, str]:
    if name not in ACTIVATIONS:
        raise ValueError(f"unknown activation {name!r}; known: {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


def _launch(device: Device, operator: str, row: str, arrays: list[Array], version: str | None) -> None:
    first = arrays[0]
    shape = elements_shape(first.size, *arrays)
    chosen = choose(operator, device.architecture, first.dtype, version=version, **shape).name
    if first.size == 0:
        return
    if chosen == "packs":
        suffix, grid = "_packs", packs_grid(device, first.size, 16 // first.dtype.itemsize)
    else:
        suffix, grid = "", clear_grid(first.size)
    device.launch(
        FILE,
        f"{operator}{suffix}<{c_type(first.dtype)}, {row}>",
        grid,
        BLOCK,
        [*arrays, np.int64(first.size)],
    )


@example("activation_forward", shape="COUNT", default=(1001,))
def forward_example(device: Device, draw: Draw, version: str | None, count: int) -> Array:
    return activation(device, "gelu", draw(count), version=version)


@example("activation_backward", shape="COUNT", default=(1001,))
def backward_example(device: Device, draw: Draw, version: str | None, count: int) -> Array:
    return activation_backward(device, "gelu", draw(count), draw(count), version=version)
