"""Sequences of different lengths as one matrix of rows, time step after time step."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import numpy as np
from ringleader.runtime.autograd.op import Array

Steps = list[tuple[slice, int]]  # for each step its rows, and how many sequences are in it


class Rows:
    """The order in which the steps of N sequences of T steps, padded at the end, are worked on.

    As PyTorch's PackedSequence: the longest sequence first, and of each step only the sequences that are still
    running. Those are the first ones, so a step's states are updated in a prefix of the states of the step
    before. ``reverse`` starts at each sequence's own end. Without ``lengths`` no row has to move: the packed
    matrix is x (T, N, D) itself, as (T N, D), and a reverse direction visits its steps backwards. ``lengths`` are
    numpy's, the rest are arrays of ``xp``.
    """

    def __init__(self, steps: int, sequences: int, lengths: Array | None, reverse: bool, xp: Any) -> None:
        self.size, self.xp = (steps, sequences), xp
        self.order: Array | None = None  # sequences, the longest first
        self.rows: Array | None = None  # for each packed row: its row in (T N, D)
        if lengths is None:
            running = [sequences] * steps
            starts = [t * sequences for t in range(steps)]
            self.steps: Steps = [(slice(s, s + n), n) for s, n in zip(starts, running)]
            self.steps = self.steps[::-1] if reverse else self.steps
            return
        order = np.argsort(-lengths, kind="stable")
        longest = lengths[order]
        time, sequence = np.nonzero(np.arange(steps)[:, None] < longest)  # step by step
        rows = (longest[sequence] - 1 - time if reverse else time) * sequences + order[sequence]
        self.order, self.rows = xp.asarray(order), xp.asarray(rows)
        running = [int(n) for n in (np.arange(steps)[:, None] < longest).sum(axis=1) if n]
        self.steps = [(slice(end - n, end), n) for n, end in zip(running, accumulate(running))]

    def pack(self, x: Array) -> Array:
        """(T, N, D) -> (rows, D), contiguous; a view if no row moves and x is so."""
        flat = x.reshape(self.size[0] * self.size[1], x.shape[2])
        return self.xp.ascontiguousarray(flat) if self.rows is None else flat[self.rows]

    def unpack(self, packed: Array) -> Array:
        """The adjoint of ``pack``: (rows, D) -> (T, N, D), 0 beyond the end of a sequence."""
        if self.rows is None:
            return packed.reshape(*self.size, packed.shape[1])
        flat = self.xp.zeros((self.size[0] * self.size[1], packed.shape[1]), packed.dtype)
        flat[self.rows] = packed
        return flat.reshape(*self.size, packed.shape[1])

    def sort(self, state: Array) -> Array:
        """A copy of state (N, H), contiguous, the longest sequence first."""
        return self.xp.array(state, order="C") if self.order is None else state[self.order]

    def unsort(self, state: Array) -> Array:
        """The adjoint (and inverse) of ``sort``."""
        if self.order is None:
            return state
        back = self.xp.empty_like(state)
        back[self.order] = state
        return back

    def last(self, packed: Array, first: Array) -> Array:
        """Each sequence's state after its last step, sorted; that before the first if it has none."""
        final = first.copy()
        running = [n for _, n in self.steps[1:]] + [0]
        for (rows, n), next_n in zip(self.steps, running):
            if next_n < n:
                final[next_n:n] = packed[rows][next_n:]
        return final
