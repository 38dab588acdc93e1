"""Every element lies in one part, and every part on the right number of servers."""

from itertools import pairwise, product
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ringleader.runtime.comm.leader import PLACEMENTS, Tensor, place

SHAPES = st.lists(st.integers(0, 9), max_size=3).map(tuple)
TENSORS = st.dictionaries(
    st.text("abc.", min_size=1, max_size=6),
    st.builds(Tensor, SHAPES, st.sampled_from([np.dtype("f4"), np.dtype("f8"), np.dtype("i1")])),
    max_size=8,
)
ANY = st.sampled_from(sorted(PLACEMENTS))


@settings(deadline=None)
@given(TENSORS, st.integers(1, 6), ANY, st.integers(1, 200), st.data())
def test_every_element_once(tensors, servers, placement, part_bytes, data):
    replicas = data.draw(st.integers(0, servers - 1))
    parts = place(tensors, servers, placement, part_bytes, replicas)
    assert [part.number for part in parts] == list(range(len(parts)))
    assert list(dict.fromkeys(part.key for part in parts)) == list(tensors)
    for key, tensor in tensors.items():
        mine = [part for part in parts if part.key == key]
        assert (mine[0].start, mine[-1].stop) == (0, prod(tensor.shape))
        assert all(before.stop == after.start for before, after in pairwise(mine))
        for part in mine:
            assert prod(part.shape) == part.size
            assert part.dtype == tensor.dtype
            unit = tensor.dtype.itemsize * prod(part.shape[1:])  # a row, or an element
            assert part.nbytes < part_bytes + max(unit, 1)
    for part in parts:
        assert len(set(part.holders)) == len(part.holders) == replicas + 1
        assert all(0 <= holder < servers for holder in part.holders)


@settings(deadline=None)
@given(st.lists(st.integers(0, 50), max_size=7), st.integers(1, 3))
def test_balanced_keeps_grahams_bound(sizes, servers):
    """The fullest server has at most 4/3 - 1/3m of the bytes that it has in the best of all placements."""
    tensors = {f"w{i}": Tensor((size,), np.dtype("i1")) for i, size in enumerate(sizes)}
    chosen = [part.holders[0] for part in place(tensors, servers, "balanced")]

    def fullest(where):
        return max(sum(size for size, at in zip(sizes, where) if at == s) for s in range(servers))

    best = min(map(fullest, product(range(servers), repeat=len(sizes))))
    assert 3 * servers * fullest(chosen) <= (4 * servers - 1) * best


def test_equal_parts_are_balanced_exactly():
    parts = place({"w": Tensor((1200, 10), np.dtype("f4"))}, 4, "balanced", 1000)
    load = [sum(part.nbytes for part in parts if part.holders[0] == s) for s in range(4)]
    assert load == [12000] * 4


@settings(deadline=None)
@given(TENSORS, st.integers(1, 6), st.integers(1, 200))
def test_range_keeps_neighbours_together_in_equal_shares(tensors, servers, part_bytes):
    parts = place(tensors, servers, "range", part_bytes)
    first = [part.holders[0] for part in parts]
    assert first == sorted(first)
    total, most = sum(p.nbytes for p in parts), max((p.nbytes for p in parts), default=0)
    for s in range(servers):
        mine = sum(part.nbytes for part in parts if part.holders[0] == s)
        assert abs(mine - total / servers) <= most + 1


@settings(deadline=None)
@given(TENSORS, TENSORS, st.integers(1, 6), st.integers(1, 200))
def test_hash_does_not_depend_on_the_other_keys(some, more, servers, part_bytes):
    alone = {(p.key, p.start): p.holders for p in place(some, servers, "hash", part_bytes)}
    among = {(p.key, p.start): p.holders for p in place(more | some, servers, "hash", part_bytes)}
    assert all(among[where] == holders for where, holders in alone.items())


def test_hash_is_the_same_in_every_process():
    tensors = {name: Tensor((3,), np.dtype("f4")) for name in ("fc1.weight", "fc1.bias", "fc2.weight")}
    assert [part.holders for part in place(tensors, 5, "hash")] == [(3,), (4,), (0,)]


def test_a_part_of_a_matrix_is_a_matrix():
    parts = place({"w": Tensor((5, 100), np.dtype("f4"))}, 2, part_bytes=800)
    assert [part.shape for part in parts] == [(1, 100), (2, 100), (2, 100)]


def test_rows_larger_than_a_part_are_cut():
    parts = place({"w": Tensor((2, 100), np.dtype("f4"))}, 2, part_bytes=200)
    assert [part.shape for part in parts] == [(50,)] * 4


@pytest.mark.parametrize("shape", [(), (1,), (0,), (3, 0), (1, 1, 1)])
def test_what_is_small_is_one_part(shape):
    (part,) = place({"w": Tensor(shape, np.dtype("f8"))}, 3, part_bytes=8)
    assert part.shape == shape


@pytest.mark.parametrize(("options", "text"), [
    ({"placement": "best"}, "unknown placement 'best'; known: balanced, range, hash"),
    ({"part_bytes": 0}, "part_bytes must be at least 1, it is 0"),
    ({"replicas": 2}, "replicas must be 0 ... 1 with 2 servers, it is 2"),
    ({"replicas": -1}, "it is -1"),
])  # fmt: skip
def test_options_that_make_no_sense(options, text):
    with pytest.raises(ValueError, match=text):
        place({}, 2, **options)
