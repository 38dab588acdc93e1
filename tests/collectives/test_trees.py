"""What trees, chains and compositions of them promise beyond being right: rounds, loads, parameters."""

from dataclasses import replace

import numpy as np
import pytest
from ringleader.collectives import COLLECTIVES, build, count, verify
from ringleader.collectives.library.double_tree import in_order_tree

CHUNKED = [
    ("broadcast", "binomial"), ("broadcast", "chain"), ("broadcast", "double-tree"), ("reduce", "chain"),
    ("reduce", "double-tree"), ("allreduce", "double-tree"), ("scan", "linear"), ("exscan", "linear"),
]  # fmt: skip


def log2(n):
    """Rounded up."""
    return (n - 1).bit_length()


def roots(collective, n):
    return range(n) if COLLECTIVES[collective].rooted else [0]


@pytest.mark.parametrize(("collective", "name"), CHUNKED)
def test_any_number_of_chunks(collective, name):
    for n in range(1, 10):
        for chunks in range(1, 10):
            for root in roots(collective, n):
                verify(build(collective, name, n, root, chunks=chunks)).require()


@pytest.mark.parametrize("collective", ["broadcast", "reduce"])
def test_any_radix(collective):
    for n in range(1, 12):
        for radix in range(2, 14):
            for root in range(n):
                verify(build(collective, "k-nomial", n, root, radix=radix)).require()


@pytest.mark.parametrize(
    ("collective", "name", "rounds"),
    [
        ("broadcast", "binomial", lambda n, c: log2(n)),
        ("broadcast", "chain", lambda n, c: n + c - 2),
        ("reduce", "chain", lambda n, c: n + c - 2),
        ("scan", "linear", lambda n, c: n + c - 2),
        ("exscan", "linear", lambda n, c: n + c - 2 if n > 2 else 1),
        ("broadcast", "double-tree", lambda n, c: log2(n) + c - 1),
        ("reduce", "double-tree", lambda n, c: log2(n) + c - 1),
        ("allreduce", "double-tree", lambda n, c: 2 * log2(n) + c - 1),
    ],
)
def test_rounds_of_a_pipeline(collective, name, rounds):
    for n in range(2, 40):
        for chunks in (1, 2, 7):
            assert count(build(collective, name, n, chunks=chunks)).rounds == rounds(n, chunks), n


@pytest.mark.parametrize(
    ("collective", "name", "rounds"),
    [
        ("broadcast", "scatter-allgather-ring", lambda n: log2(n) + n - 1),
        ("broadcast", "scatter-allgather-doubling", lambda n: 2 * log2(n)),
        ("reduce", "binomial", log2),
        ("reduce", "reduce-scatter-gather", lambda n: 2 * log2(n)),
        ("gather", "linear", lambda n: 1),
        ("gather", "binomial", log2),
        ("scatter", "linear", lambda n: 1),
        ("scatter", "binomial", log2),
        ("scan", "distance-doubling", log2),
        ("exscan", "distance-doubling", log2),
    ],
)
def test_rounds(collective, name, rounds):
    for n in range(2, 70):
        assert count(build(collective, name, n)).rounds == rounds(n), n


def test_rounds_of_the_k_nomial_tree():
    for radix, most in ((2, 64), (3, 81), (4, 64), (8, 64)):
        for collective in ("broadcast", "reduce"):
            full = build(collective, "k-nomial", most, radix=radix)
            levels = count(full).rounds
            assert radix**levels == most
            assert count(build(collective, "k-nomial", most + 1, radix=radix)).rounds == levels + 1
    star = count(build("broadcast", "k-nomial", 20, 3, radix=20))
    assert (star.rounds, star.sent) == (1, 19)


def edges(schedule):
    """Every (src, dst, slot) that crosses, round by round."""
    for groups in schedule.expand():
        yield [
            (int(s), int(d), int(slot) + w)
            for g in groups
            for s, d, slot in zip(g.src, g.dst, g.dst_slot, strict=True)
            for w in range(g.width)
            if s != d
        ]


@pytest.mark.parametrize(
    "name",
    ["binomial", "k-nomial", "chain", "double-tree", "scatter-allgather-ring", "scatter-allgather-doubling"],
)
def test_a_broadcast_tells_nobody_twice(name):
    """Neither the root at all: MPICH's scatter-allgather would send it everything once more."""
    for n in (1, 2, 3, 6, 7, 8, 13, 16, 21):
        root = n // 2
        schedule = build("broadcast", name, n, root)
        told = [(dst, slot) for r in edges(schedule) for _, dst, slot in r]
        assert sorted(told) == [(r, s) for r in range(n) if r != root for s in range(schedule.slots)]


@pytest.mark.parametrize("collective", ["gather", "scatter"])
@pytest.mark.parametrize("name", ["linear", "binomial"])
def test_blocks_of_a_subtree_travel_together(collective, name):
    for n in range(1, 34):
        messages = [{(s, d) for s, d, _ in r} for r in edges(build(collective, name, n, n // 2))]
        assert sum(map(len, messages)) == n - 1


def test_reduce_in_rank_order_whatever_the_root():
    for n in (2, 3, 6, 8):
        for root in range(n):
            verify(replace(build("reduce", "binomial", n, root), ordered=True)).require()
            rotated = replace(build("reduce", "k-nomial", n, root, radix=2), ordered=True)
            assert bool(verify(rotated)) == (root == 0)


def test_reduce_by_parts_folds_everywhere_alike():
    """Rabenseifner's point: nobody folds more than one buffer in all; the tree's root folds log2 n."""
    for n in range(2, 40):
        parts, tree = (build("reduce", name, n) for name in ("reduce-scatter-gather", "binomial"))
        assert count(parts).path_reduced == n - 1 < parts.slots
        assert count(tree).path_reduced == log2(n) * tree.slots


def test_the_tree_is_in_order_and_binary():
    for last in range(1, 140):
        parent, depth = in_order_tree(last)
        below = [{node} for node in range(last + 1)]
        for node in sorted(range(1, last + 1), key=lambda i: -depth[i]):
            assert depth[node] == depth[parent[node]] + 1
            below[parent[node]] |= below[node]
        assert depth.max() == last.bit_length()
        for node in range(last + 1):
            assert below[node] == set(range(min(below[node]), max(below[node]) + 1))
            children = [i for i in range(1, last + 1) if parent[i] == node]
            assert len({i < node for i in children}) == len(children)  # one a side at most
            assert not (children and node % 2)


def inner(schedule, slots):
    """Ranks that have children in the tree that works on ``slots``: who folds or, in a broadcast, who sends."""
    broadcast = schedule.collective.name == "broadcast"
    return {
        int(src if broadcast else dst)
        for groups in schedule.expand()
        for g in groups
        for src, dst, slot, order in zip(g.src, g.dst, g.dst_slot, g.order, strict=True)
        if (broadcast or order != 0) and slot in slots
    }


@pytest.mark.parametrize("collective", ["broadcast", "reduce", "allreduce"])
def test_no_rank_is_inside_both_trees(collective):
    """For even n and for odd; except that the root of a broadcast or reduce stands above both trees."""
    for n in range(2, 70):
        chunks, rooted = 2, COLLECTIVES[collective].rooted
        root = n // 3 if rooted else 0
        schedule = build(collective, "double-tree", n, root, chunks=chunks)
        both = inner(schedule, range(chunks)) & inner(schedule, range(chunks, 2 * chunks))
        assert both == ({root} if rooted else set())


def test_a_double_tree_uses_every_rank_alike():
    """Broadcast, reduce: nobody sends more than the buffer once. AllReduce: twice, as the ring, for any n."""
    for n in range(4, 70):
        for chunks in (1, 8):
            for collective, buffers in (("broadcast", 1), ("reduce", 1), ("allreduce", 2)):
                schedule = build(collective, "double-tree", n, chunks=chunks)
                sent = np.zeros(n, int)
                for r in edges(schedule):
                    for src, _, _ in r:
                        sent[src] += 1
                assert sent.max() == buffers * schedule.slots


def test_both_ways_of_the_double_tree_overlap():
    """In the middle of a long pipeline chunks go up and down at once, as much in and out of a busy rank."""
    schedule = build("allreduce", "double-tree", 16, chunks=40)
    middle = list(schedule.expand())[24]
    orders = np.concatenate([g.order for g in middle])
    assert set(np.sign(orders).tolist()) == {-1, 0, 1}
    assert count(schedule).path_sent < 1.1 * 2 * schedule.slots


@pytest.mark.parametrize(("collective", "name"), CHUNKED)
@pytest.mark.parametrize("chunks", [0, -3])
def test_refuses_no_chunks(collective, name, chunks):
    for n in (1, 4):
        with pytest.raises(ValueError, match=f"chunks must be at least 1, got {chunks}"):
            build(collective, name, n, chunks=chunks)


@pytest.mark.parametrize("collective", ["broadcast", "reduce"])
def test_refuses_a_radix_that_is_no_base(collective):
    for n in (1, 4):
        with pytest.raises(ValueError, match="radix must be at least 2, got 1"):
            build(collective, "k-nomial", n, radix=1)
