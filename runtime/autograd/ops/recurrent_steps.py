"""One step of a recurrent network and its gradient, element by element, in arrays that are there already.

n sequences, H hidden units. ``gates`` comes in holding what the input contributes and goes out holding the
gates' values; ``product`` is what the state before contributes. Nothing here allocates. ``xp``: the arrays' module.
"""

from __future__ import annotations

from typing import Any

from ringleader.runtime.autograd.op import Array


def sigmoid_(xp: Any, x: Array) -> None:
    """1 / (1 + exp(-x)) in place; cannot overflow."""
    x *= 0.5
    xp.tanh(x, out=x)
    x *= 0.5
    x += 0.5


def parts(gates: Array, count: int) -> list[Array]:
    """The ``count`` gates of gates (n, count H), each (n, H), as views."""
    hidden = gates.shape[1] // count
    return [gates[:, i * hidden : (i + 1) * hidden] for i in range(count)]


def tanh_step(xp: Any, gates: Array, product: Array, h: Array) -> None:
    xp.add(gates, product, out=h)
    xp.tanh(h, out=h)


def tanh_step_backward(xp: Any, h: Array, dh: Array, dgates: Array) -> None:
    xp.multiply(h, h, out=dgates)
    xp.subtract(1, dgates, out=dgates)
    dgates *= dh


def relu_step(xp: Any, gates: Array, product: Array, h: Array) -> None:
    xp.add(gates, product, out=h)
    xp.maximum(h, 0, out=h)


def relu_step_backward(xp: Any, h: Array, dh: Array, dgates: Array) -> None:
    xp.multiply(dh, h > 0, out=dgates)


def lstm_step(
    xp: Any, gates: Array, product: Array, c_before: Array, c: Array, tanh_c: Array, h: Array
) -> None:
    """gates and product (n, 4 H) in the order i, f, g, o; the rest (n, H)."""
    gates += product
    i, f, g, o = parts(gates, 4)
    sigmoid_(xp, gates[:, : 2 * i.shape[1]])
    xp.tanh(g, out=g)
    sigmoid_(xp, o)
    xp.multiply(f, c_before, out=c)
    xp.multiply(i, g, out=h)
    c += h
    xp.tanh(c, out=tanh_c)
    xp.multiply(o, tanh_c, out=h)


def lstm_step_backward(
    xp: Any, gates: Array, c_before: Array, tanh_c: Array, dh: Array, dc: Array, dgates: Array
) -> None:
    """``dc`` comes in as the gradient of c and goes out as that of c_before."""
    (i, f, g, o), (di, df, dg, do) = parts(gates, 4), parts(dgates, 4)
    xp.subtract(1, gates, out=dgates)
    dgates *= gates  # the slope of a sigmoid y is y (1 - y); the columns of g are room until their turn
    xp.multiply(tanh_c, tanh_c, out=dg)
    xp.subtract(1, dg, out=dg)
    dg *= o
    dg *= dh
    dc += dg
    do *= dh
    do *= tanh_c
    di *= dc
    di *= g
    df *= dc
    df *= c_before
    xp.multiply(g, g, out=dg)
    xp.subtract(1, dg, out=dg)
    dg *= i
    dg *= dc
    dc *= f


def gru_step(xp: Any, gates: Array, product: Array, h_before: Array, h: Array) -> None:
    """gates and product (n, 3 H) in the order r, z, n; the rest (n, H)."""
    r, z, n = parts(gates, 3)
    both = slice(2 * r.shape[1])
    gates[:, both] += product[:, both]
    sigmoid_(xp, gates[:, both])
    xp.multiply(r, parts(product, 3)[2], out=h)
    n += h
    xp.tanh(n, out=n)
    xp.subtract(h_before, n, out=h)
    h *= z
    h += n  # (1 - z) n + z h_before


def gru_step_backward(
    xp: Any, gates: Array, product: Array, h_before: Array, dh: Array, dgates: Array, dproduct: Array
) -> None:
    """``dh`` comes in as the gradient of h and goes out as that of h_before along z, without the product's."""
    (r, z, n), (dr, dz, dn), room = parts(gates, 3), parts(dgates, 3), parts(dproduct, 3)[2]
    xp.subtract(1, gates, out=dgates)
    xp.multiply(n, n, out=dn)
    xp.subtract(1, dn, out=dn)
    dn *= dz  # 1 - z
    dn *= dh
    xp.subtract(h_before, n, out=room)
    room *= dh
    dz *= z
    dz *= room
    dr *= r
    dr *= dn
    dr *= parts(product, 3)[2]
    dproduct[:, : 2 * r.shape[1]] = dgates[:, : 2 * r.shape[1]]
    xp.multiply(dn, r, out=room)
    dh *= z
