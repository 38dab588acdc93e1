"""The arithmetic of the report, exactly; and what is written of it."""

import csv
import io
import json

import pytest
from ringleader.bench import figures, report
from ringleader.bench.figures import percentile
from ringleader.bench.orchestrator import Point, Series, paced
from ringleader.bench.patterns import PATTERNS, elements, larger_buffer
from ringleader.bench.plot import plot
from ringleader.bench.results import machine, results
from ringleader.bench.verdicts import verdicts

MIB = 1 << 20
# doc/PERFORMANCE.md of nccl-tests, for n ranks
BUS_AT_4 = {
    "allreduce": 1.5, "broadcast": 1, "reduce": 1, "allgather": 0.75, "reduce_scatter": 0.75, "alltoall": 0.75,
    "gather": 0.75, "scatter": 0.75, "scan": 1, "barrier": 0,
}  # fmt: skip
# read and written by 4 ranks, in buffers: e.g. a reduce reads 4 and writes 1
MOVED_AT_4 = {
    "allreduce": 8, "broadcast": 6, "reduce": 5, "allgather": 8, "reduce_scatter": 5, "alltoall": 8, "gather": 2,
    "scatter": 2, "scan": 8, "barrier": 0,
}  # fmt: skip


def test_factors():
    assert {name: pattern.bus(4) for name, pattern in PATTERNS.items()} == BUS_AT_4
    assert {name: pattern.traffic(4, "out") for name, pattern in PATTERNS.items()} == MOVED_AT_4
    in_place = {name: pattern.traffic(4, "in") for name, pattern in PATTERNS.items()}
    assert in_place == MOVED_AT_4 | {"allgather": 6, "scan": 7}
    assert PATTERNS["allreduce"].bus(2) == 1


def test_sizes_are_those_of_the_larger_buffer():
    assert elements("allreduce", 1024, 4, 4) == 256
    assert elements("allgather", 1024, 4, 4) == 64
    assert larger_buffer("allgather", 64, 4, 4) == 1024
    assert elements("alltoall", 4, 8, 4) == 1, "at least one element for every rank"
    assert larger_buffer("alltoall", 1, 8, 4) == 32, "and the size says so"
    assert elements("barrier", 1024, 4, 4) == 0


@pytest.mark.parametrize(
    ("percent", "value"), [(50, 3), (95, 5), (100, 5), (0, 1), (20, 1), (21, 2), (60, 3), (61, 4)]
)
def test_percentiles_are_samples(percent, value):
    assert percentile([5, 1, 4, 2, 3], percent) == value


def test_percentiles_of_one_and_of_two():
    assert percentile([7], 50) == percentile([7], 95) == 7
    assert percentile([1, 2], 50) == 1
    assert percentile([1, 2], 51) == 2


@pytest.mark.parametrize(
    ("seconds", "samples", "batch"),
    [(1.5e-6, 19, 667), (20e-6, 20, 50), (210e-6, 19, 5), (1e-3, 20, 1), (1.1e-3, 18, 1), (1.0, 3, 1)],
)
def test_a_measurement_lasts_about_as_long_for_every_size(seconds, samples, batch):
    assert paced(seconds) == (samples, batch)


def point(own, peers, nbytes=MIB, n=2, rates=None, entry="ringleader", collective="allreduce", place="in"):
    """``own`` and ``peers[name]``: seconds of every repeat, of which each is one call."""
    series = [Series(entry, True, place, [[t] for t in own])]
    series += [Series(name, False, place, [[t] for t in times]) for name, times in peers.items()]
    return Point(n, collective, nbytes, nbytes // 4, "float32", series, rates or [])


def test_bandwidths_and_times():
    series = Series(
        "ringleader", True, "in", [[1e-3, 2e-3, 9e-3], [3e-3, 4e-3, 5e-3], [2e-3, 2e-3, 8e-3]], wrong=3
    )
    (row,) = figures.rows(Point(4, "allreduce", 8_000_000, 2_000_000, "float32", [series]))
    assert row.p50s_seconds == (2e-3, 4e-3, 2e-3)
    assert (row.p50_seconds, row.p95_seconds, row.min_seconds) == (2e-3, 8e-3, 1e-3)
    assert row.mean_seconds == pytest.approx(4e-3)
    assert row.algbw == 4e9
    assert row.busbw == 6e9
    assert (row.op, row.wrong, row.repeats) == ("sum", 3, 3)
    assert row.ratio is row.limit_share is row.against is None


def test_the_ratio_is_the_median_of_the_repeats_ratios_to_the_fastest_peer():
    own, fast, slow = (1.0, 2.0, 10.0), (2.0, 10.0, 10.0), (20.0, 1.0, 30.0)
    row, *theirs = figures.rows(point(own, {"slow": slow, "fast": fast}))
    # of the medians it would be 10 / 2 = 5; the least of each repeat would be 2, 0.5, 1
    assert (row.ratio, row.ratio_low, row.ratio_high, row.against) == (2.0, 1.0, 5.0, "fast")
    assert all(r.ratio is None and r.against is None for r in theirs)


def test_the_two_places_are_not_mixed():
    both = point([1.0], {"mpi": [3.0]})
    both.series += point([1.0], {"mpi": [2.0]}, place="out").series
    assert [(r.place, r.ratio) for r in figures.rows(both) if r.ours] == [("in", 3.0), ("out", 2.0)]


def test_the_share_of_the_limit_is_taken_beside_each_repeat():
    nbytes = MIB
    # 2 ranks read and write 4 MiB in all; at these rates in 1, 1 and 4 s
    row, _ = figures.rows(
        point([2.0, 4.0, 8.0], {"mpi": [4.0, 4.0, 4.0]}, rates=[4 * nbytes, 4 * nbytes, nbytes])
    )
    assert row.limit_share == 0.5
    assert row.copy_rate == 4 * nbytes


def found(points, alone=None, handed=None):
    rows = [row for p in points for row in figures.rows(p)]
    return {
        v.what.partition(", allreduce ")[2] or v.what: v for v in verdicts(rows, alone or {}, handed or {})
    }


def test_verdicts_that_are_met():
    points = [
        point([1.0] * 5, {"mpi": [4.0] * 5}, nbytes=4),
        point([1.0] * 5, {"mpi": [1.0] * 5}, nbytes=MIB, rates=[4 * MIB / 0.6] * 5),
    ]
    of = found(points, {2: 1e-6})
    assert {what: (v.value, v.met) for what, v in of.items()} == {
        "in place, least ratio to the fastest of mpi": (1.0, True),
        "in place, geometric mean of the ratios": (pytest.approx(2.0), True),
        "in place, least share of the physical limit from 1 MiB on": (pytest.approx(0.6), True),
        "our Python share (a call on one rank, which waits for nobody)": (1e-6, True),
    }
    least = of["in place, least ratio to the fastest of mpi"]
    assert str(least) == (
        "2 ranks, ringleader, allreduce in place, least ratio to the fastest of mpi: 1.00x at 1,048,576 bytes "
        "against mpi (at least 1.00x): met"
    )


def test_verdicts_that_are_not():
    points = [point([1.0] * 5, {"mpi": [0.99] * 5, "gloo": [9.0] * 5}, n=4, rates=[8 * MIB / 0.59] * 5)]
    of = found(points, {4: 1.01e-6})
    assert {v.met for v in of.values()} == {False}
    assert len(of) == 4
    assert "NOT MET" in str(of["in place, geometric mean of the ratios"])
    assert "(at least 3.00x)" in str(of["in place, geometric mean of the ratios"])
    assert "59% at 1,048,576 bytes (at least 60%)" in str(
        of["in place, least share of the physical limit from 1 MiB on"]
    )
    assert "1.01 us (at most 1.00 us)" in str(
        of["our Python share (a call on one rank, which waits for nobody)"]
    )


def test_few_repeats_decide_nothing():
    of = found([point([1.0] * 4, {"mpi": [9.0] * 4}, rates=[MIB] * 4)])
    assert {v.met for v in of.values()} == {None}
    assert len(of) == 3
    assert "undecided" in str(of["in place, geometric mean of the ratios"])


def test_buffers_of_the_engine_have_a_goal_of_their_own():
    points = [point([1.0] * 5, {"mpi": [times] * 5}, nbytes, entry="ringleader empty") for nbytes, times in
              ((4, 1.5), (MIB, 3.9), (4 * MIB, 8.0))]  # fmt: skip
    verdict = found(points)["in place, least ratio from 1 MiB on"]
    assert (verdict.value, verdict.goal, verdict.met) == (3.9, 4.0, False)
    assert "in place, least ratio from 1 MiB on" not in found([point([1.0] * 5, {"mpi": [9.0] * 5})])


def test_private_arrays_are_held_to_what_ranks_can_hand_over():
    """busbw is S a second on 2 ranks, 1.5 S on 4."""
    points = [point([1.0] * 5, {"mpi": [9.0] * 5}, nbytes) for nbytes in (4, MIB, 2 * MIB)]
    what = "in place, least share of the hand-over limit from 1 MiB on"
    verdict = found(points, handed={2: MIB / 0.6, 4: 1.0})[what]
    assert (verdict.value, verdict.at, verdict.met) == (pytest.approx(0.6), " at 1,048,576 bytes", True)
    assert not found(points, handed={2: MIB / 0.59})[what].met
    four = [point([1.0] * 5, {"mpi": [9.0] * 5}, n=4)]
    assert found(four, handed={4: 3 * MIB})[what].value == 0.5
    assert what not in found(four, handed={2: 1.0})
    shared = [point([1.0] * 5, {"mpi": [9.0] * 5}, entry="ringleader empty")]
    assert what not in found(shared, handed={2: 1.0})


def test_only_allreduce_has_goals():
    assert found([point([1.0] * 5, {"mpi": [0.5] * 5}, collective="broadcast")]) == {}


ABOUT = {
    "command": "ringleader bench", "date": "2026-01-01", "machine": machine(), "versions": {"mpi": "Some MPI 1.0"},
    "lost": {"gloo on 2 ranks": "not installed"}, "handed_rates": {2: 6.5e9},
}  # fmt: skip


@pytest.fixture
def rows():
    points = [point([1e-3] * 5, {"mpi": [2e-3] * 5}, nbytes, rates=[1e9] * 5) for nbytes in (MIB, 4 * MIB)]
    return [row for p in points for row in figures.rows(p)]


def test_lines_stand_under_their_headings(rows):
    names, units = report.heading("allreduce", 2, 5).splitlines()[1:]
    text = report.line(rows[0])
    for name, value in (
        ("size", "1048576"),
        ("count", "262144"),
        ("p50", "1000.00"),
        ("busbw", "1.05"),
        ("ratio", "2.00x"),
    ):
        assert text[: names.index(name) + len(name)].endswith(value), name
    assert units.split() == ["#", "(B)", "(elements)", *["(us)"] * 4, "(GB/s)", "(GB/s)"]


def test_json_and_csv_hold_all_of_it(rows):
    whole = json.loads(report.as_json(rows, verdicts(rows, {}, {}), ABOUT))
    assert [(r["entry"], r["bytes"], r["ratio"]) for r in whole["rows"]] == [
        ("ringleader", MIB, 2.0), ("mpi", MIB, None), ("ringleader", 4 * MIB, 2.0), ("mpi", 4 * MIB, None),
    ]  # fmt: skip
    assert whole["rows"][0]["p50s_seconds"] == [1e-3] * 5
    assert len(whole["verdicts"]) == 3
    file = io.StringIO()
    report.write_csv(rows, file)
    lines = list(csv.DictReader(io.StringIO(file.getvalue())))
    assert [(r["entry"], int(r["bytes"])) for r in lines] == [(r["entry"], r["bytes"]) for r in whole["rows"]]
    assert lines[0]["p50s_seconds"].split() == ["0.001"] * 5


def test_the_page_of_results(rows):
    page = results(rows, verdicts(rows, {}, {}), ABOUT, "curves.png")
    assert "- mpi: Some MPI 1.0" in page
    assert "- gloo on 2 ranks: not installed" in page
    assert "Each rank hands over 6.5 GB/s on 2 ranks." in page
    assert "![bus bandwidth and ratios over size](curves.png)" in page
    assert f"{ABOUT['machine']['cores']} cores" in page
    busy = {**ABOUT, "machine": {**ABOUT["machine"], "load": 7.5}}
    assert "start: 7.5, so other programs took part of the cores." in results(rows, [], busy, None)
    idle = {**ABOUT, "machine": {**ABOUT["machine"], "load": 0.1}}
    assert "start: 0.1.\n" in results(rows, [], idle, None)
    assert "## allreduce, 2 ranks, in place" in page
    cells = next(line for line in page.splitlines() if line.startswith("| 4,194,304 |")).split("|")
    assert [c.strip() for c in cells[2:-1]] == [
        "1,000 (1,000 ... 1,000)", "2,000 (2,000 ... 2,000)", "4.19", "1678%", "2.00 (2.00 ... 2.00)",
    ]  # fmt: skip


def test_the_plot(rows, tmp_path):
    plot(rows, tmp_path / "plot.svg")
    drawn = (tmp_path / "plot.svg").read_text()
    assert all(
        text in drawn for text in ("physical limit", "ringleader", "mpi", "allreduce, 2 ranks, in place")
    )
    with pytest.raises(ValueError, match="no bandwidth"):
        plot([], tmp_path / "none.svg")
