"""Attention: softmax(query key^T) value, block by block, so that the scores never exist as a whole.

A block of scores lies with its keys down and its queries across: maxima and sums over the keys then go
along whole rows in memory, which numpy does several times faster than many short sums.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from ringleader.runtime.autograd.op import Array, Function, Shape, op

QUERIES, KEYS = 128, 256  # sizes of a block of scores
SCORES = 2**17  # as many heads are done together as give about so many scores: they stay in the cache
Rows = tuple[slice, slice, slice]  # heads of the keys, all groups, queries


class PerHead:
    """A mask or bias (..., L or 1, S or 1), seen as (B, G, L, S) without spreading it out in memory."""

    def __init__(self, array: Array, lead: Shape, heads: Shape, size: tuple[int, int], xp: Any) -> None:
        array = array.reshape((1,) * (2 - array.ndim) + array.shape)
        *own, rows, columns = array.shape
        self.xp, self.planes = xp, array.reshape(prod(own), rows, columns)
        self.wide = xp.broadcast_to(self.planes, (prod(own), *size))
        self.plane = np.broadcast_to(np.arange(prod(own)).reshape(own), lead).reshape(
            heads
        )  # of each head; numpy's

    def block(self, heads: slice, queries: slice, keys: slice) -> Array:
        """(b, s, G, l), or (1, s, 1, l) where all heads share one plane."""
        which = self.plane[:1, :1] if len(self.planes) == 1 else self.plane[heads]
        return self.wide[self.xp.asarray(which), queries, keys].transpose(0, 3, 1, 2)

    def add_to(self, total: Array, g: Array, heads: slice, queries: slice, keys: slice) -> None:
        """The adjoint of ``block``: g (b, s, G, l) into total (planes, L or 1, S or 1)."""
        one_row, one_column = total.shape[1] == 1, total.shape[2] == 1
        g = g.sum(axis=3, keepdims=True) if one_row else g
        g = g.sum(axis=1, keepdims=True) if one_column else g
        at_rows, at_columns = slice(None) if one_row else queries, slice(None) if one_column else keys
        g = g.transpose(0, 2, 3, 1)  # (b, G, l, s)
        for plane, part in zip(self.plane[heads].ravel(), g.reshape(-1, *g.shape[2:])):
            total[plane, at_rows, at_columns] += part


@op("scaled_dot_product_attention")
@dataclass(eq=False)
class Attention(Function):
    """query (..., H, L, E), key (..., K, S, E), value (..., K, S, Ev), bias (..., L, S) -> (..., H, L, Ev).

    softmax(query key^T scale + bias) value, the softmax over the keys (Vaswani et al. 2017). H = K ``groups``:
    head h reads keys and values of head h // groups (Ainslie et al. 2023). ``allowed`` (..., L, S), boolean,
    and ``is_causal`` (query i sees the keys 0..i) say which scores count; bias is optional, broadcasts, and
    has a gradient. A query that may see no key gives 0, and has gradient 0.

    One block of scores exists at a time; the softmax is kept up to date as they come (Milakov and Gimelshein
    2018; Rabe and Staats 2021). For the gradient only the output and the logarithm of each row's sum are
    kept, and the scores are formed again (Dao et al. 2022, algorithms 1 and 4). Dropout of the softmax draws
    block by block from ``seed``: backward visits the blocks in the same order.
    """

    scale: float
    groups: int = 1
    is_causal: bool = False
    allowed: Array | None = None
    dropout_p: float = 0.0
    seed: int = 0

    def shape(self, query: Shape, key: Shape, value: Shape, *bias: Shape) -> Shape:
        if min(len(query), len(key), len(value)) < 2 + (self.groups > 1):
            raise self.refuse("must be (..., L, E), (..., S, E) and (..., S, Ev)", query, key, value)
        if query[-1] != key[-1] or key[-2] != value[-2]:
            raise self.refuse("query and key differ in E, or key and value in S", query, key, value)
        self.outer = self._lead(query, key, value)  # as key and value have it
        self.lead = self.outer if self.groups == 1 else (*self.outer[:-1], self.outer[-1] * self.groups)
        full = (*self.lead, query[-2], key[-2])
        for mask in (*bias, *([] if self.allowed is None else [self.allowed.shape])):
            if len(mask) > len(full) or any(m not in (1, f) for m, f in zip(mask[::-1], full[::-1])):
                raise self.refuse(f"the mask does not broadcast to the scores {full}", query, key, mask)
        return (*self.lead, query[-2], value[-1])

    def _lead(self, query: Shape, key: Shape, value: Shape) -> Shape:
        lead = query[:-2]
        if self.groups > 1:
            if not lead[-1] == key[-3] * self.groups == value[-3] * self.groups:
                raise self.refuse(f"one head of key and value is not for {self.groups} of the query",
                                  query, key, value)  # fmt: skip
            lead = (*lead[:-1], key[-3])
        try:
            return np.broadcast_shapes(lead, key[:-2], value[:-2])
        except ValueError:
            raise self.refuse("the leading axes do not broadcast", query, key, value) from None

    def forward(self, query: Array, key: Array, value: Array, *bias: Array) -> Array:
        xp, heads, size = self.xp, (prod(self.outer), self.groups), (query.shape[-2], key.shape[-2])
        self.q = xp.broadcast_to(query, (*self.lead, *query.shape[-2:])).reshape(*heads, *query.shape[-2:])
        self.q = self.q * self.scale  # (B, G, L, E)
        self.k, self.v = (
            xp.broadcast_to(a, (*self.outer, *a.shape[-2:])).reshape(heads[0], *a.shape[-2:])
            for a in (key, value)
        )  # (B, S, E), (B, S, Ev)
        self.mask, self.bias = (
            None if a is None else PerHead(a, self.lead, heads, size, xp)
            for a in (self.allowed, bias[0] if bias else None)
        )
        out = xp.empty((*self.q.shape[:3], value.shape[-1]), xp.result_type(self.q, self.v))
        log_sum = xp.empty(self.q.shape[:3], out.dtype)
        draws = self._draws()
        for at in self._query_blocks():
            result, log_sums = self._attend(at, draws)
            out[at], log_sum[at] = result.reshape(out[at].shape), log_sums.reshape(log_sum[at].shape)
        if any(self.needs):
            self.out, self.log_sum = out, log_sum
        return out.reshape(*self.lead, *out.shape[2:])

    def _draws(self) -> np.random.Generator | None:
        return np.random.default_rng(self.seed) if self.dropout_p else None

    def _query_blocks(self) -> Iterator[Rows]:
        b, groups, length, _ = self.q.shape
        across = groups * min(length, QUERIES) * min(self.k.shape[1], KEYS)
        together = max(1, SCORES // max(1, across))
        for h in range(0, b, together):
            for i in range(0, length, QUERIES):
                yield slice(h, min(h + together, b)), slice(None), slice(i, min(i + QUERIES, length))

    def _key_blocks(self, queries: slice) -> Iterator[slice]:
        """All that these queries may see: causality hides the blocks behind the last of them."""
        end = min(self.k.shape[1], queries.stop) if self.is_causal else self.k.shape[1]
        for j in range(0, end, KEYS):
            yield slice(j, min(j + KEYS, end))

    def _flat(self, array: Array, at: Rows) -> Array:
        """These queries of array (B, G, L, ...), the groups one after the other: (b, G l, ...)."""
        part = array[at]
        return part.reshape(part.shape[0], part.shape[1] * part.shape[2], *part.shape[3:])

    def _wide(self, scores: Array) -> Array:
        """(b, s, G l) as (b, s, G, l), the same memory."""
        b, keys, queries = scores.shape
        return scores.reshape(b, keys, self.groups, queries // self.groups)

    def _scores(self, q: Array, at: Rows, keys: slice) -> Array:
        """(b, s, G l); -inf where a key does not count."""
        heads, _, queries = at
        scores = self.k[heads, keys] @ q.swapaxes(1, 2)
        wide = self._wide(scores)
        if self.bias is not None:
            wide += self.bias.block(heads, queries, keys)
        if self.mask is not None:
            self.xp.copyto(wide, -np.inf, where=~self.mask.block(heads, queries, keys))
        if self.is_causal and keys.stop > queries.start + 1:
            later = np.arange(keys.start, keys.stop)[:, None] > np.arange(queries.start, queries.stop)
            self.xp.copyto(wide, -np.inf, where=self.xp.asarray(later[:, None]))
        return scores

    def _kept(self, draws: np.random.Generator, like: Array) -> Array:
        """What dropout multiplies a block of the softmax with: 0, or 1 / (1 - p)."""
        share = 0 if self.dropout_p == 1 else 1 / (1 - self.dropout_p)
        kept = draws.random(like.shape, np.float32) >= self.dropout_p
        return self.xp.asarray(kept * like.dtype.type(share))

    def _attend(self, at: Rows, draws: np.random.Generator | None) -> tuple[Array, Array]:
        """These queries meet their keys, block by block: the result (b, G l, Ev), the log sums (b, 1, G l)."""
        xp, q, (heads, _, queries) = self.xp, self._flat(self.q, at), at
        lowest = float(xp.finfo(q.dtype).min)  # stands for -inf as a maximum: -inf - -inf would be NaN
        top = xp.full((len(q), 1, q.shape[1]), lowest, q.dtype)  # the largest score of each query so far,
        total = xp.zeros_like(top)  # its sum of exp(score - top), and of exp(score - top) value
        result = xp.zeros((*q.shape[:2], self.v.shape[-1]), self.v.dtype)
        for keys in self._key_blocks(queries):
            p = self._scores(q, at, keys)
            highest = xp.maximum(p.max(axis=1, keepdims=True), top)
            p -= highest
            xp.exp(p, out=p)
            first = keys.start == 0
            if not first:
                shrink = xp.exp(top - highest)
                total *= shrink
                result *= shrink.swapaxes(1, 2)
            total += p.sum(axis=1, keepdims=True)
            if draws is not None:
                p *= self._kept(draws, p)
            part = p.swapaxes(1, 2) @ self.v[heads, keys]
            result, top = part if first else xp.add(result, part, out=result), highest
        total[total == 0] = 1  # no keys: the result is 0, and exp(-inf - lowest) = 0 lets nothing come back
        result /= total.swapaxes(1, 2)
        top += xp.log(total)
        return result, top

    def backward(self, g: Array) -> tuple[Array | None, ...]:
        zeros, needs = self.xp.zeros_like, (*self.needs, False)
        g = g.reshape(self.out.shape)
        dq, dk, dv = (zeros(a) if n else None for a, n in zip((self.q, self.k, self.v), needs))
        dbias = zeros(self.bias.planes) if self.bias is not None and needs[3] else None
        draws = self._draws()
        for at in self._query_blocks():
            self._attend_backward(at, draws, g, (dq, dk, dv, dbias))
        if dq is not None:
            dq *= self.scale
        whole = (
            None if d is None else d.reshape(*lead, *d.shape[-2:])
            for d, lead in ((dq, self.lead), (dk, self.outer), (dv, self.outer))
        )  # fmt: skip
        return (*whole, None if dbias is None else dbias.reshape(self.input_shapes[3]))[: len(self.needs)]

    def _attend_backward(
        self, at: Rows, draws: np.random.Generator | None, g: Array, grads: tuple[Array | None, ...]
    ) -> None:
        """Add to ``grads`` (of query, key, value, bias) what comes back through these queries."""
        xp, (heads, _, queries), (dq, dk, dv, dbias) = self.xp, at, grads
        q, g = self._flat(self.q, at), self._flat(g, at)
        log_sum = self._flat(self.log_sum, at)[:, None]  # (b, 1, G l)
        mean = xp.einsum("bre,bre->br", g, self._flat(self.out, at))[:, None]  # of dp, weighted with p
        for keys in self._key_blocks(queries):
            p = self._scores(q, at, keys)
            p -= log_sum
            xp.exp(p, out=p)
            kept = None if draws is None else self._kept(draws, p)
            if dv is not None:
                dv[heads, keys] += (p if kept is None else p * kept) @ g
            ds = self.v[heads, keys] @ g.swapaxes(1, 2)  # (b, s, G l): dp, then the gradient of the scores
            if kept is not None:
                ds *= kept
            ds -= mean
            ds *= p
            if dq is not None:
                dq[at] += (ds.swapaxes(1, 2) @ self.k[heads, keys]).reshape(dq[at].shape)
            if dk is not None:
                dk[heads, keys] += ds @ q
            if dbias is not None and self.bias is not None:
                self.bias.add_to(dbias, self._wide(ds), heads, queries, keys)
