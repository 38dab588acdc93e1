"""One step of a recurrent network and its gradient, element by element, in arrays that are there already.

n sequences, H hidden units. ``gates`` comes in holding what the input contributes and goes out holding the
gates' values; ``product`` is what the state before contributes. Nothing here allocates.
"""

from __future__ import annotations

import numpy as np
from ringleader.runtime.autograd.op import Array


def sigmoid_(x: Array) -> None:
    """1 / (1 + exp(-x)) in place; cannot overflow."""
    x *= 0.5
    np.tanh(x, out=x)
    x *= 0.5
    x += 0.5


def parts(gates: Array, count: int) -> list[Array]:
    """The ``count`` gates of gates (n, count H), each (n, H), as views."""
    hidden = gates.shape[1] // count
    return [gates[:, i * hidden : (i + 1) * hidden] for i in range(count)]


def tanh_step(gates: Array, product: Array, h: Array) -> None:
    np.add(gates, product, out=h)
    np.tanh(h, out=h)


def tanh_step_backward(h: Array, dh: Array, dgates: Array) -> None:
    np.multiply(h, h, out=dgates)
    np.subtract(1, dgates, out=dgates)
    dgates *= dh


def relu_step(gates: Array, product: Array, h: Array) -> None:
    np.add(gates, product, out=h)
    np.maximum(h, 0, out=h)


def relu_step_backward(h: Array, dh: Array, dgates: Array) -> None:
    np.multiply(dh, h > 0, out=dgates)


def lstm_step(gates: Array, product: Array, c_before: Array, c: Array, tanh_c: Array, h: Array) -> None:
    """gates and product (n, 4 H) in the order i, f, g, o; the rest (n, H)."""
    gates += product
    i, f, g, o = parts(gates, 4)
    sigmoid_(gates[:, : 2 * i.shape[1]])
    np.tanh(g, out=g)
    sigmoid_(o)
    np.multiply(f, c_before, out=c)
    np.multiply(i, g, out=h)
    c += h
    np.tanh(c, out=tanh_c)
    np.multiply(o, tanh_c, out=h)


def lstm_step_backward(
    gates: Array, c_before: Array, tanh_c: Array, dh: Array, dc: Array, dgates: Array
) -> None:
    """``dc`` comes in as the gradient of c and goes out as that of c_before."""
    (i, f, g, o), (di, df, dg, do) = parts(gates, 4), parts(dgates, 4)
    np.subtract(1, gates, out=dgates)
    dgates *= gates  # the slope of a sigmoid y is y (1 - y); the columns of g are room until their turn
    np.multiply(tanh_c, tanh_c, out=dg)
    np.subtract(1, dg, out=dg)
    dg *= o
    dg *= dh
    dc += dg
    do *= dh
    do *= tanh_c
    di *= dc
    di *= g
    df *= dc
    df *= c_before
    np.multiply(g, g, out=dg)
    np.subtract(1, dg, out=dg)
    dg *= i
    dg *= dc
    dc *= f


def gru_step(gates: Array, product: Array, h_before: Array, h: Array) -> None:
    """gates and product (n, 3 H) in the order r, z, n; the rest (n, H)."""
    r, z, n = parts(gates, 3)
    both = slice(2 * r.shape[1])
    gates[:, both] += product[:, both]
    sigmoid_(gates[:, both])
    np.multiply(r, parts(product, 3)[2], out=h)
    n += h
    np.tanh(n, out=n)
    np.subtract(h_before, n, out=h)
    h *= z
    h += n  # (1 - z) n + z h_before


def gru_step_backward(
    gates: Array, product: Array, h_before: Array, dh: Array, dgates: Array, dproduct: Array
) -> None:
    """``dh`` comes in as the gradient of h and goes out as that of h_before along z, without the product's."""
    (r, z, n), (dr, dz, dn), room = parts(gates, 3), parts(dgates, 3), parts(dproduct, 3)[2]
    np.subtract(1, gates, out=dgates)
    np.multiply(n, n, out=dn)
    np.subtract(1, dn, out=dn)
    dn *= dz  # 1 - z
    dn *= dh
    np.subtract(h_before, n, out=room)
    room *= dh
    dz *= z
    dz *= room
    dr *= r
    dr *= dn
    dr *= parts(product, 3)[2]
    dproduct[:, : 2 * r.shape[1]] = dgates[:, : 2 * r.shape[1]]
    np.multiply(dn, r, out=room)
    dh *= z
