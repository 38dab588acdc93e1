"""Blind spots to plant in the verifier, by pytest's ``monkeypatch``: mutants must notice every one of them."""

from dataclasses import replace
from functools import partial

from ringleader.collectives.verify import Fault, State, _Expressions


def deaf_to(saying, monkeypatch):
    """``State`` takes no notice of this fault."""
    whole = State._check

    def check(self, group):
        try:
            whole(self, group)
        except Fault as fault:
            if saying not in fault.text:
                raise

    monkeypatch.setattr(State, "_check", check)


def scratch_is_never_unwritten(monkeypatch):
    whole = State.__init__

    def init(self, schedule):
        whole(self, schedule)
        self.cells["scratch"][:] = 0  # as if it held input cell 0

    monkeypatch.setattr(State, "__init__", init)


def the_last_writer_wins(monkeypatch):
    whole = State._written

    def written(self, buffer, rank, slot, sources):
        return whole(self, buffer, rank, slot, sources[-1:])

    monkeypatch.setattr(State, "_written", written)


def every_fold_has_the_same_shape(monkeypatch):
    whole = _Expressions.fold

    def same(self, left, right):
        known = whole(self, left, right)
        self.same[known] = self.leaves
        return known

    monkeypatch.setattr(_Expressions, "fold", same)


def multisets_are_sets(monkeypatch):
    def contents(self, rank, slot, held, source, lo, hi):
        if self.expressions.leaves_of(held) != {q * self.in_slots + source for q in range(lo, hi)}:
            raise Fault(rank, slot, "other contents")

    monkeypatch.setattr(State, "_contents", contents)


def rank_order_is_not_asked_for(monkeypatch):
    whole = State._contents

    def contents(self, *where):
        self.schedule = replace(self.schedule, ordered=False)
        whole(self, *where)

    monkeypatch.setattr(State, "_contents", contents)


def only_rank_0_is_looked_at(monkeypatch):
    """As msccl-tools checks a Broadcast."""
    whole = State.compare

    def compare(self):
        c = self.schedule.collective

        def promise(n, slots, root):
            wanted = c.promise(n, slots, root)
            wanted.lo[1:] = -1
            return wanted

        self.schedule = replace(self.schedule, collective=replace(c, promise=promise))
        whole(self)

    monkeypatch.setattr(State, "compare", compare)


BLINDNESS = {  # and the collective whose mutants need the eye
    "unwritten scratch": (scratch_is_never_unwritten, "alltoall"),
    "other slot size": (partial(deaf_to, "size may differ"), "allreduce"),
    "writes to input": (partial(deaf_to, "writes to input"), "alltoall"),
    "conflict": (the_last_writer_wins, "allgather"),
    "shape": (every_fold_has_the_same_shape, "allreduce"),
    "multisets are sets": (multisets_are_sets, "allreduce"),
    "order": (rank_order_is_not_asked_for, "scan"),
    "other ranks": (only_rank_0_is_looked_at, "broadcast"),
}
