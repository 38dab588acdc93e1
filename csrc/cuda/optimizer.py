"""Steps of SGD, Adam, AdamW and Adagrad on flat arrays, in place (optimizer.cu).

All take weights ``w`` and states of float32 (float64 for float64 gradients), the gradient ``g`` in any dtype, and a ``copy``
of the weights in g's dtype, or None, that is written along: the 16-bit parameters of which w is the master copy. With
float32 throughout the results are those of runtime/autograd/optim, bit for bit, but for subnormal numbers, which count as 0.

TypeError, ValueError: a dtype or a shape is not as said here, an array is not C-contiguous, or a state is missing.

The versions, best first: ``packs``, arrays that begin at multiples of 16 bytes; ``clear``, all.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ringleader.csrc.cuda.device import C_TYPES, Array, Device, c_type
from ringleader.csrc.cuda.elements import BLOCK, clear_grid, elements_shape, fits_aligned, packs_grid
from ringleader.csrc.cuda.rows import check_array, compute_dtype
from ringleader.csrc.cuda.versions import ALL, Draw, Instance, Version, choose, example, instances, versions

FILE = "optimizer.cu"
RULES = ("sgd", "adam", "adagrad")

VERSIONS = versions(
    *(
        version
        for rule in RULES
        for version in (Version(rule, "packs", fits=fits_aligned), Version(rule, "clear"))
    )
)
INSTANCES = instances(
    *(
        Instance(FILE, f"{rule}<{C_TYPES[dtype]}, {packs}>", production=dtype != "float64")
        for rule in RULES
        for packs in ("false", "true")
        for dtype in ALL
    )
)


def sgd(
    device: Device, w: Array, g: Array, velocity: Array | None, step: int, *, lr: float, momentum: float = 0,
    dampening: float = 0, weight_decay: float = 0, nesterov: bool = False, copy: Array | None = None,
    version: str | None = None,
) -> None:  # fmt: skip
    """g += weight_decay w;  v = g in step 1, later momentum v + (1 - dampening) g;  w -= lr v; without momentum w -= lr g,
    with nesterov w -= lr (g + momentum v). ``velocity`` v: None without momentum."""
    if momentum and velocity is None:
        raise ValueError("sgd: with momentum there must be a velocity")
    options = [lr, momentum, 1 - dampening, weight_decay]
    flags = [np.int32(nesterov), np.int32(step == 1)]
    _launch(device, "sgd", w, copy, g, {"velocity": velocity if momentum else None}, options, flags, version)


def adam(
    device: Device, w: Array, g: Array, m: Array, v: Array, step: int, *, lr: float,
    betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0, decoupled: bool = False,
    copy: Array | None = None, version: str | None = None,
) -> None:  # fmt: skip
    """m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  w -= lr / (1 - b1^t) m / (sqrt(v) / sqrt(1 - b2^t) + eps).

    t is ``step``, from 1. Before: g += weight_decay w, or, ``decoupled`` (AdamW), w -= lr weight_decay w.
    """
    if step < 1:
        raise ValueError(f"adam: steps count from 1, this is {step}")
    (beta1, beta2), decay = betas, 0 if decoupled else weight_decay
    shrink = 1 - lr * weight_decay if decoupled and weight_decay else 1
    options = [
        lr / (1 - beta1**step),
        beta1,
        1 - beta1,
        beta2,
        1 - beta2,
        eps,
        (1 - beta2**step) ** 0.5,
        decay,
        shrink,
    ]
    _launch(device, "adam", w, copy, g, {"m": m, "v": v}, options, [], version)


def adagrad(
    device: Device, w: Array, g: Array, total: Array, step: int, *, lr: float, lr_decay: float = 0, weight_decay: float = 0,
    eps: float = 1e-10, copy: Array | None = None, version: str | None = None,
) -> None:  # fmt: skip
    """g += weight_decay w;  s += g^2;  w -= lr / (1 + (t - 1) lr_decay) g / (sqrt(s) + eps); ``total`` is s, step is t."""
    options = [lr / (1 + (step - 1) * lr_decay), eps, weight_decay]
    _launch(device, "adagrad", w, copy, g, {"total": total}, options, [], version)


def _launch(
    device: Device, rule: str, w: Array, copy: Array | None, g: Array, states: dict[str, Array | None],
    options: list[float], flags: list[Any], version: str | None,
) -> None:  # fmt: skip
    check_array(rule, "g", g)
    dtype = compute_dtype(g.dtype)
    for name, array, wanted in (
        ("w", w, dtype), ("copy", copy, g.dtype), *((name, state, dtype) for name, state in states.items())
    ):  # fmt: skip
        if array is None:
            continue
        check_array(rule, name, array)
        if array.dtype != wanted:
            raise TypeError(
                f"{rule}: {name} must be {wanted.name} for gradients of {g.dtype.name}, not {array.dtype.name}"
            )
        if array.shape != g.shape:
            raise ValueError(f"{rule}: {name} has shape {array.shape}, g {g.shape}")
    arrays = [w, copy, g, *states.values()]
    chosen = choose(
        rule, device.architecture, g.dtype, version=version, **elements_shape(g.size, *arrays)
    ).name
    if g.size == 0:
        return
    packs = chosen == "packs"
    grid = packs_grid(device, g.size, 16 // g.dtype.itemsize) if packs else clear_grid(g.size)
    args = [*arrays, np.int64(g.size), *map(dtype.type, options), *flags]
    device.launch(FILE, f"{rule}<{c_type(g.dtype)}, {str(packs).lower()}>", grid, BLOCK, args)


@example("sgd", shape="COUNT", default=(1001,))
def sgd_example(device: Device, draw: Draw, version: str | None, count: int) -> tuple[Array, ...]:
    g = draw(count)
    w, velocity = (draw(count).astype(compute_dtype(g.dtype)) for _ in range(2))
    sgd(device, w, g, velocity, 2, lr=0.1, momentum=0.9, version=version)
    return w, velocity


@example("adam", shape="COUNT", default=(1001,))
def adam_example(device: Device, draw: Draw, version: str | None, count: int) -> tuple[Array, ...]:
    g = draw(count)
    w, m, v = (draw(count).astype(compute_dtype(g.dtype)) for _ in range(3))
    v = v * v
    adam(device, w, g, m, v, 2, lr=0.1, version=version)
    return w, m, v


@example("adagrad", shape="COUNT", default=(1001,))
def adagrad_example(device: Device, draw: Draw, version: str | None, count: int) -> tuple[Array, ...]:
    g = draw(count)
    w, total = (draw(count).astype(compute_dtype(g.dtype)) for _ in range(2))
    total = total * total
    adagrad(device, w, g, total, 2, lr=0.1, version=version)
    return w, total
