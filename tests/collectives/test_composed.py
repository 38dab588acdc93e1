"""What tori and groups of ranks promise beyond being right: any grouping, only neighbours, busy links."""

import numpy as np
import pytest
from helpers.traffic import log2, messages, rounds_of, total
from ringleader.collectives import (
    algorithm,
    algorithms,
    build,
    copy,
    count,
    find,
    fold,
    registry,
    verify,
    verify_programs,
)

COMPOSITE = (12, 16, 24)  # rank counts with many divisors


def divisors(n):
    return [d for d in range(1, n + 1) if n % d == 0]


# Torus


@pytest.mark.parametrize("ports", [1, 2, 4])
@pytest.mark.parametrize("n", COMPOSITE)
def test_torus_of_any_rectangle(n, ports):
    for rows in divisors(n):
        schedule = build("allreduce", "torus-2d", n, rows=rows, ports=ports)
        verify(schedule).require()
        counted = count(schedule)
        assert counted.rounds == 2 * (rows - 1) + 2 * (n // rows - 1)
        assert counted == find("allreduce", "torus-2d").closed_form(n, 0, {"rows": rows, "ports": ports})


@pytest.mark.parametrize("ports", [1, 3, 6])
@pytest.mark.parametrize("n", COMPOSITE)
def test_torus_of_any_box(n, ports):
    for x in divisors(n):
        for y in divisors(n // x):
            schedule = build("allreduce", "torus-3d", n, x=x, y=y, ports=ports)
            verify(schedule).require()
            counted = count(schedule)
            assert counted.rounds == 2 * (x + y + n // x // y - 3)
            given = {"x": x, "y": y, "ports": ports}
            assert counted == find("allreduce", "torus-3d").closed_form(n, 0, given)


def steps(there, shape):
    """The dimensions, and directions in them, in which messages go; all must go to a neighbour."""
    found = set()
    for src, dst in there:
        at = np.stack(np.unravel_index([src, dst], shape))
        step = (at[:, 1] - at[:, 0] + 1) % shape - 1
        (dimension,) = np.flatnonzero(step)
        assert step[dimension] in (1, -1)
        found.add((int(dimension), int(step[dimension])))
    return found


@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (3, 3, 3), (3, 4, 5)])
def test_on_a_torus_only_neighbours_talk_and_ports_keep_links_busy(shape):
    d, n = len(shape), int(np.prod(shape))
    sides = {"rows": shape[0]} if d == 2 else {"x": shape[0], "y": shape[1]}
    for ports in (1, d, 2 * d):
        schedule = build("allreduce", f"torus-{d}d", n, ports=ports, **sides)
        used = [steps(there, shape) for there in messages(schedule)]
        if len(set(shape)) == 1:
            assert {len(directions) for directions in used} == {ports}
        links = total(schedule)
        assert len(links) == n * d * max(ports // d, 1)
        if ports == d and len(set(shape)) == 1:
            assert len(set(links.values())) == 1


def test_sides_of_a_torus_are_about_equal():
    def rounds(name, n):
        return find("allreduce", name).closed_form(n, 0, {}).rounds // 2

    assert [rounds("torus-2d", n) for n in (16, 12, 24, 13)] == [3 + 3, 2 + 3, 3 + 5, 12]
    assert [rounds("torus-3d", n) for n in (27, 24, 64, 13)] == [2 + 2 + 2, 1 + 2 + 3, 3 + 3 + 3, 12]


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("torus-2d", {"rows": 5}, r"rows must divide 12, got 5; possible: \[1, 2, 3, 4, 6, 12\]"),
        ("torus-2d", {"rows": -1}, "rows must be at least 0, got -1"),
        ("torus-2d", {"ports": 3}, "ports must be 1, 2 or 4, got 3"),
        ("torus-3d", {"x": 7}, "x must divide 12, got 7"),
        ("torus-3d", {"x": 4, "y": 2}, r"y must divide 3, got 2; possible: \[1, 3\]"),
        ("torus-3d", {"ports": 2}, "ports must be 1, 3 or 6, got 2"),
    ],
)
def test_refuses_what_is_no_torus(name, given, message):
    with pytest.raises(ValueError, match=message):
        build("allreduce", name, 12, **given)


# Hierarchical


def without_scratch():
    return [a for a in algorithms("allreduce") if not build("allreduce", a, 4).scratch]


def random_groups(n, seed):
    """The ranks, shuffled and cut at random places."""
    rng = np.random.default_rng(seed)
    cuts = np.flatnonzero(rng.random(n - 1) < 0.4) + 1
    return tuple(tuple(map(int, part)) for part in np.split(rng.permutation(n), cuts))


def equal(groups):
    return len({len(part) for part in groups}) == 1


@pytest.mark.parametrize("between", without_scratch())
def test_any_grouping_with_any_allreduce_between(between):
    unequal = 0
    for n in range(2, 17):
        for seed in (n, 100 + n):
            groups = random_groups(n, seed)
            schedule = build("allreduce", "hierarchical", n, groups=groups, between=between)
            verify(schedule).require()
            inner = build("allreduce", between, len(groups)).slots
            assert schedule.slots == (inner * len(groups[0]) if equal(groups) else inner)
            unequal += not equal(groups)
    assert unequal > 10
    verdict = verify_programs(schedule)
    assert verdict, str(verdict)


@pytest.mark.parametrize("between", without_scratch())
def test_every_divisor_with_any_allreduce_between(between):
    for n in COMPOSITE:
        for group in divisors(n):
            schedule = build("allreduce", "hierarchical", n, group=group, between=between)
            verify(schedule).require()
            closed = find("allreduce", "hierarchical").closed_form(n, 0, {"group": group, "between": between})
            assert closed in (None, count(schedule))
            groups = tuple(tuple(range(start, start + group)) for start in range(0, n, group))
            given = build("allreduce", "hierarchical", n, groups=groups, between=between)
            assert given.digest == schedule.digest


def test_equal_groups_meet_on_every_rank():
    groups = ((3, 0, 7), (5, 1, 2), (8, 4, 6))
    schedule = build("allreduce", "hierarchical", 9, groups=groups)
    place = {rank: (g, i) for g, part in enumerate(groups) for i, rank in enumerate(part)}
    outside = [(place[src], place[dst]) for src, dst in total(schedule) if place[src][0] != place[dst][0]]
    assert all(i == j for (_, i), (_, j) in outside)
    assert {i for (_, i), _ in outside} == {0, 1, 2}


def test_unequal_groups_meet_by_their_first_ranks():
    groups = ((3, 0), (5, 1, 2, 7), (8, 4, 6), (9,))
    host = {rank: g for g, part in enumerate(groups) for rank in part}
    for between in ("ring", "halving-doubling"):
        schedule = build("allreduce", "hierarchical", 10, groups=groups, between=between)
        outside = {ends for ends in total(schedule) if host[ends[0]] != host[ends[1]]}
        assert {rank for ends in outside for rank in ends} == {3, 5, 8, 9}
        assert count(schedule).rounds == 2 * log2(4) + rounds_of("allreduce", between, 4)


def test_the_last_group_may_be_smaller():
    whole, rest = (
        build("allreduce", "hierarchical", 12, group=4),
        build("allreduce", "hierarchical", 11, group=4),
    )
    assert (whole.slots, rest.slots) == (4 * 3, 3)
    given = build("allreduce", "hierarchical", 11, groups=((0, 1, 2, 3), (4, 5, 6, 7), (8, 9, 10)))
    assert rest.digest == given.digest


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"group": -1}, "group must be at least 0, got -1"),
        ({"groups": ((0, 1), (2, 2))}, r"each of the ranks 0 ... 3 once; not so: \[2, 3\]"),
        ({"groups": ((0, 1), (2, 3, 4))}, r"not so: \[4\]"),
        ({"groups": ((0, 1), (), (2, 3))}, "group 1 is empty"),
        ({"groups": ((0, 1), (2, 3)), "group": 2}, r"either group \(here 2\) or groups"),
        ({"between": "rign"}, "unknown allreduce algorithm 'rign'; known: .*ring"),
    ],
)
def test_refuses_what_is_no_grouping(given, message):
    with pytest.raises(ValueError, match=message):
        build("allreduce", "hierarchical", 4, **given)


def test_refuses_an_allreduce_with_scratch_between(monkeypatch):
    monkeypatch.setattr(registry, "_algorithms", dict(registry._algorithms))  # forgets it afterwards

    @algorithm("allreduce", name="test-scratch", scratch=lambda n: 1)
    def through_scratch(n):
        r = np.arange(1, n)
        yield copy(r, r, target="scratch")
        yield fold(r, 0, source="scratch", order=r)
        yield copy(0, r)

    with pytest.raises(ValueError, match="without scratch; 'test-scratch' needs 1 slots"):
        build("allreduce", "hierarchical", 4, between="test-scratch")


def test_hierarchical_alltoall_sends_whole_columns_between_groups():
    for n in COMPOSITE:
        for group in divisors(n):
            schedule = build("alltoall", "hierarchical", n, group=group)
            verify(schedule).require()
            outside = {ends: k for ends, k in total(schedule).items() if ends[0] // group != ends[1] // group}
            assert set(outside.values()) <= {group}
            assert len(outside) == n * (n // group - 1)
            assert all((dst - src) % group == 0 for src, dst in outside)
            assert count(schedule).rounds == group - 1 + n // group - 1


def test_hierarchical_alltoall_takes_the_largest_smaller_divisor():
    for n, group, taken in ((12, 5, 4), (12, 11, 6), (12, 99, 12), (13, 4, 1), (12, 0, 3), (16, 0, 4)):
        asked, same = (build("alltoall", "hierarchical", n, group=g) for g in (group, taken))
        assert asked.digest == same.digest
    with pytest.raises(ValueError, match="group must be at least 0, got -2"):
        build("alltoall", "hierarchical", 4, group=-2)
