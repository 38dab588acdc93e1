"""Recurrent layers by their formulas, in numpy, in any dtype: what kernels are held to, and, in a low precision, whose error
they may have twice."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = Any
GATES = {"rnn_tanh": 1, "rnn_relu": 1, "lstm": 4, "gru": 3}


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def times(a: Array, b: Array) -> Array:
    """a b^T; 16-bit numbers are summed in float32, and the sum is rounded."""
    wide = np.result_type(a.dtype, np.float32) if a.dtype.itemsize == 2 else a.dtype
    return (a.astype(wide) @ b.astype(wide).T).astype(a.dtype)


def order(length: int, reverse: bool) -> list[int]:
    return list(range(length))[:: -1 if reverse else 1]


def step(
    cell: str, x: Array, h: Array, c: Array, w: Array, b: Array
) -> tuple[Array, Array, dict[str, Array]]:
    """x, h, c of one sequence: h', c', and the values by name."""
    p = times(w, h[None])[:, 0]
    if cell == "rnn_tanh":
        return np.tanh(x + p), c, {}
    if cell == "rnn_relu":
        s = x + p
        return np.where(s.real > 0, s, 0 * s), c, {}
    x_parts, p_parts = np.split(x, GATES[cell]), np.split(p, GATES[cell])
    if cell == "lstm":
        i, f, g, o = (u + v for u, v in zip(x_parts, p_parts))
        i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
        after = f * c + i * g
        return o * np.tanh(after), after, {"i": i, "f": f, "g": g, "o": o}
    r, z = (sigmoid(u + v) for u, v in zip(x_parts[:2], p_parts[:2]))
    q = p_parts[2] + b
    n = np.tanh(x_parts[2] + r * q)
    return (1 - z) * n + z * h, c, {"r": r, "z": z, "n": n, "q": q}


def forward(cell: str, of: dict[str, Array], lengths: Array, reverse: bool) -> tuple[Array, Array, Array]:
    """outputs (T, N, H), the last h and the last c (N, H)."""
    outputs = np.zeros((*of["inputs"].shape[:2], of["weights"].shape[1]), of["inputs"].dtype)
    h_last, c_last = of["h_first"].copy(), of["c_first"].copy()
    for n, length in enumerate(lengths):
        for t in order(length, reverse):
            h, c, _ = step(cell, of["inputs"][t, n], h_last[n], c_last[n], of["weights"], of["bias"])
            outputs[t, n] = h_last[n] = h
            c_last[n] = c
    return outputs, h_last, c_last


def backward(
    cell: str, of: dict[str, Array], d: dict[str, Array], lengths: Array, reverse: bool
) -> dict[str, Array]:
    """The gradients, by the names of what they belong to; d: those of outputs, h_last and c_last."""
    grads = {name: np.zeros_like(value) for name, value in of.items()}
    w = of["weights"]
    dps, befores = [w[:0, 0].reshape(0, len(w))], [of["h_first"][:0]]
    for n, length in enumerate(lengths):
        h, c, seen = of["h_first"][n], of["c_first"][n], []
        for t in order(length, reverse):
            after, c_after, values = step(cell, of["inputs"][t, n], h, c, w, of["bias"])
            seen.append((t, h, c, after, c_after, values))
            h, c = after, c_after
        dh, dc = d["h_last"][n], d["c_last"][n]
        for t, h, c, after, c_after, values in reversed(seen):
            dx, dp, dh, dc = step_backward(cell, h, c, after, c_after, values, dh + d["outputs"][t, n], dc)
            grads["inputs"][t, n] = dx
            dh = dh + times(dp[None], w.T)[0]
            dps.append(dp[None])
            befores.append(h[None])
        grads["h_first"][n], grads["c_first"][n] = dh, dc
    dp, before = np.concatenate(dps), np.concatenate(befores)
    grads["weights"] = times(dp.T, before.T)
    if cell == "gru":
        grads["bias"] = times(dp[:, -w.shape[1] :].T, np.ones_like(before[:, :1]).T)[:, 0]
    return grads


def step_backward(
    cell: str, h: Array, c: Array, after: Array, c_after: Array, v: dict[str, Array], dh: Array, dc: Array
) -> tuple[Array, Array, Array, Array]:
    """The gradients of x, of p, of h around p, and of c."""
    if cell == "rnn_tanh":
        dx = dh * (1 - after * after)
        return dx, dx, 0 * dh, dc
    if cell == "rnn_relu":
        dx = np.where(after > 0, dh, 0 * dh)
        return dx, dx, 0 * dh, dc
    if cell == "lstm":
        tanh_c = np.tanh(c_after)
        dc = dc + dh * v["o"] * (1 - tanh_c * tanh_c)
        di, df, dg, do = dc * v["g"], dc * c, dc * v["i"], dh * tanh_c
        slopes = [v[k] * (1 - v[k]) for k in "ifo"]
        dx = np.concatenate([di * slopes[0], df * slopes[1], dg * (1 - v["g"] * v["g"]), do * slopes[2]])
        return dx, dx, 0 * dh, dc * v["f"]
    dn = dh * (1 - v["z"]) * (1 - v["n"] * v["n"])
    dr = dn * v["q"] * v["r"] * (1 - v["r"])
    dz = dh * (h - v["n"]) * v["z"] * (1 - v["z"])
    return np.concatenate([dr, dz, dn]), np.concatenate([dr, dz, dn * v["r"]]), dh * v["z"], dc
