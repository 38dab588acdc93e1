"""The tuner: its choice is the fastest, tables survive being written and refuse what is not one."""

import copy
import dataclasses
import itertools
import json
import math
import random
from collections import Counter
from functools import cache

import pytest
from ringleader.collectives import COLLECTIVES, algorithms, build, find, registry, variants
from ringleader.collectives.cost import cost
from ringleader.collectives.simulate import simulate
from ringleader.collectives.topology import topology
from ringleader.collectives.tuning import (
    VENDOR,
    Choice,
    Key,
    Model,
    Prediction,
    Range,
    Simulated,
    Table,
    Timed,
    candidates,
    choose,
    ranked,
    tune,
)

SIZES = (0, 8, 4096, 1 << 16, 1 << 20, 1 << 26)
MODEL = Model(alpha=1e-5, beta=1e-9, gamma=5e-10)


@cache
def started(collective, choice, n):
    """Messages that are started one after the other: the most that a rank sends or receives, round by round."""
    total = 0
    for groups in choice.build(collective, n).expand():
        messages = {
            (i, s, d) for i, g in enumerate(groups) for s, d in zip(g.src.tolist(), g.dst.tolist()) if s != d
        }
        busy = [0, *Counter(s for _, s, _ in messages).values(), *Counter(d for _, _, d in messages).values()]
        total += max(busy)
    return total


def seconds(collective, choice, n, nbytes, model=MODEL):
    price = cost(collective, choice.algorithm, n, nbytes, **choice.parameters)
    return started(collective, choice, n) * model.alpha + price.time(0, model.beta, model.gamma)


def vars_of(known):
    return {field.name: getattr(known, field.name) for field in dataclasses.fields(known)}


@pytest.fixture(scope="module")
def table():
    return tune(COLLECTIVES, (2, 5, 8), SIZES, MODEL)


def test_candidates_are_all_variants_each_once_and_can_be_built():
    for collective in COLLECTIVES:
        for n in (1, 2, 6, 9):
            found = candidates(collective, n, 1 << 20)
            assert len(set(found)) == len(found)
            for choice in found:
                assert choice.build(collective, n).n == n
            offered = {
                (name, repr(find(collective, name).arguments(n, 0, v)))
                for name in algorithms(collective)
                for v in variants(collective, name)
            }
            kept = {
                (c.algorithm, repr(find(collective, c.algorithm).arguments(n, 0, c.parameters)))
                for c in found
            }
            for name, arguments in offered - kept:
                assert find(collective, name).tries, f"{collective} {name} {arguments} is missing"


def test_parameters_that_do_not_suit_are_left_out(monkeypatch):
    known = find("allreduce", "torus-2d")
    tried = registry.Algorithm(**{**vars_of(known), "tries": {"rows": (2, 3, 4)}})
    monkeypatch.setitem(registry._algorithms, ("allreduce", "torus-2d"), tried)
    rows = [c.parameters["rows"] for c in candidates("allreduce", 8, 64) if c.algorithm == "torus-2d"]
    assert rows == [2, 4]


def test_chunks_follow_the_size():
    def chunks(nbytes):
        found = candidates("broadcast", 8, nbytes)
        return sorted(c.parameters["chunks"] for c in found if c.algorithm == "chain")

    tries = find("broadcast", "chain").tries["chunks"]
    assert chunks(1000) == sorted(tries)
    assert chunks(8 << 10) == sorted({*tries, 2, 4, 8})
    assert chunks(1 << 30) == sorted({*tries, 2, 4, 8, 16, 32, 64})


@pytest.mark.parametrize("collective", COLLECTIVES)
@pytest.mark.parametrize("ordered", [False, True])
def test_the_choice_is_the_fastest(collective, ordered, table):
    for n in (2, 5, 8):
        for nbytes in SIZES:
            every = [
                c
                for c in candidates(collective, n, nbytes)
                if find(collective, c.algorithm).ordered or not ordered
            ]
            if not every:
                assert Key(collective, n, ordered) not in table.ranges
                continue
            choice = table.choose(collective, n, nbytes, ordered)
            least = min(seconds(collective, c, n, nbytes) for c in every)
            assert seconds(collective, choice, n, nbytes) == pytest.approx(least, rel=1e-12)
            assert find(collective, choice.algorithm).ordered or not ordered


def test_few_rounds_for_small_buffers_few_bytes_for_large_ones(table):
    for n in (5, 8):
        small, large = (table.choose("allreduce", n, nbytes) for nbytes in (8, 1 << 26))
        prices = [cost("allreduce", c.algorithm, n, n << 20, **c.parameters) for c in (small, large)]
        assert prices[0].rounds < prices[1].rounds
        assert prices[0].path_sent > prices[1].path_sent
        assert prices[1].sent == 2 * (n - 1) << 20  # no algorithm sends less


def test_operations_that_do_not_commute_get_algorithms_in_rank_order(table):
    for key, ranges in table.ranges.items():
        if key.ordered:
            assert all(find(key.collective, r.choice.algorithm).ordered for r in ranges)
    assert not find("allreduce", table.choose("allreduce", 8, 1 << 26).algorithm).ordered
    assert find("allreduce", choose("allreduce", 8, 1 << 26, ordered=True).algorithm).ordered


def test_equally_fast_ones_are_taken_by_rounds_then_pieces_then_name_then_parameters():
    free = Model(alpha=0.0, beta=0.0, gamma=0.0)
    every = candidates("broadcast", 8, 1 << 20)
    for shuffled in (every, every[::-1]):
        order = ranked(shuffled, "broadcast", 8, 1 << 20, free)
        slots = {p.choice: p.choice.build("broadcast", 8).slots for p in order}
        assert order == sorted(
            order, key=lambda p: (p.rounds, slots[p.choice], p.choice.algorithm, p.choice.given)
        )
    assert choose("allreduce", 2, 1 << 20).algorithm not in ("bidirectional-ring", "generalised")


def test_several_messages_of_a_rank_start_one_after_the_other():
    """One round from the root to all others is n - 1 messages, for any number of ranks."""
    model = Model(1.0, 0.0, 0.0)
    for n in (8, 63, 64, 65, 512, 4096):
        of = {a: model.predict("scatter", Choice.of(a, {}), n, 64) for a in ("linear", "binomial")}
        assert of["linear"] == Prediction(Choice.of("linear", {}), n - 1, 1, (n - 1, 0.0, 0.0))
        assert of["binomial"].seconds == (n - 1).bit_length()
        two_shot = model.predict("allreduce", Choice.of("two-shot", {}), n, 64)
        assert (two_shot.seconds, two_shot.rounds) == (2 * (n - 1), 2)
        assert model.predict("allreduce", Choice.of("ring", {}), n, 64).seconds == 2 * (n - 1)
        assert model.predict("allreduce", Choice.of("bidirectional-ring", {}), n, 64).seconds == 4 * (n - 1)
        assert choose("scatter", n, 64).algorithm != "linear"
    assert choose("allreduce", 500, 1 << 20, ordered=True).algorithm == "halving-doubling"
    assert choose("alltoall", 512, 512 << 10).algorithm not in ("linear", "pairwise")


def test_without_a_closed_form_few_ranks_are_counted(monkeypatch):
    for name in ("dissemination", "one-shot"):
        uncounted = registry.Algorithm(**{**vars_of(find("barrier", name)), "count": None})
        monkeypatch.setitem(registry._algorithms, ("barrier", name), uncounted)
    choice = Choice.of("dissemination", {})
    assert Model(1.0).predict("barrier", choice, 9, 0).seconds == 4
    assert Model(1.0).predict("barrier", choice, 513, 0) is None
    assert tune(["barrier"], [513], [0]).choose("barrier", 513, 0) == choice


def test_neighbouring_sizes_with_one_choice_are_one_range(table):
    for key, ranges in table.ranges.items():
        starts = [r.start for r in ranges]
        assert starts == sorted(set(starts))
        assert starts[0] == SIZES[0]
        assert all(a.choice != b.choice for a, b in itertools.pairwise(ranges)), key


def test_sizes_between_take_the_lower_neighbour_and_rank_counts_the_tuned_one_below():
    small, large, other = (Choice.of(name, {}) for name in ("recursive-doubling", "ring", "tree"))
    table = Table({
        Key("allreduce", 4, False): (Range(100, small), Range(1000, large)),
        Key("allreduce", 8, False): (Range(0, other),),
    })  # fmt: skip
    chosen = {nbytes: table.choose("allreduce", 4, nbytes) for nbytes in (0, 100, 999, 1000, 1 << 40)}
    assert chosen == {0: small, 100: small, 999: small, 1000: large, 1 << 40: large}
    assert [table.choose("allreduce", n, 0) for n in (1, 3, 5, 7, 8, 9, 1000)] == [small] * 4 + [other] * 3


def test_a_neighbour_whose_parameters_do_not_suit_is_passed_over():
    grid = Choice.of("torus-2d", {"rows": 4})
    ring = Choice.of("ring", {})
    only = Table({Key("allreduce", 8, False): (Range(0, grid),)})
    both = Table({**only.ranges, Key("allreduce", 4, False): (Range(0, ring),)})
    assert both.choose("allreduce", 12, 1 << 20) == grid
    assert both.choose("allreduce", 9, 1 << 20) == ring
    assert only.choose("allreduce", 9, 1 << 20) == choose("allreduce", 9, 1 << 20)


def test_blocks_of_unequal_size_get_an_algorithm_that_keeps_them():
    packing = next(a for a in algorithms("alltoall") if not build("alltoall", a, 6).keeps_blocks)
    table = Table({Key("alltoall", 6, False): (Range(0, Choice.of(packing, {})),)})
    assert table.choose("alltoall", 6, 64) == Choice.of(packing, {})
    for chosen in (table.choose("alltoall", 6, 64, equal=False), choose("alltoall", 6, 64, equal=False)):
        assert chosen.build("alltoall", 6).keeps_blocks


def test_what_was_not_tuned_is_chosen_all_the_same(table):
    empty = Table({}, MODEL)
    for collective in COLLECTIVES:
        assert empty.choose(collective, 8, 1 << 16) == choose(collective, 8, 1 << 16, MODEL)


def test_a_choice_without_a_table_is_one_for_each_power_of_two_and_builds_nothing(monkeypatch):
    def forbidden(*args):
        raise AssertionError("built")

    monkeypatch.setattr(registry, "_build", forbidden)
    model = Model(alpha=2e-6)
    for collective in COLLECTIVES:
        closed = any(find(collective, name).count for name in algorithms(collective))
        for n in (1, 7, 64, 4096) if closed else ():
            for nbytes in (0, 1, 5000, 1 << 20):
                choose(collective, n, nbytes, model)
    assert (
        choose("broadcast", 8, 70_000)
        == choose("broadcast", 8, 1 << 16)
        == choose("broadcast", 8, (1 << 17) - 1)
    )
    with pytest.raises(ValueError, match="at least 0 bytes, got -1"):
        choose("broadcast", 8, -1)


def test_no_algorithm_for_what_is_asked(monkeypatch):
    for name in algorithms("barrier"):
        monkeypatch.delitem(registry._algorithms, ("barrier", name))
    with pytest.raises(ValueError, match="no barrier algorithm is registered"):
        choose("barrier", 3, 4, Model(alpha=7e-6))
    with pytest.raises(ValueError, match="no barrier algorithm keeps rank order"):
        choose("barrier", 3, 4, Model(alpha=7e-6), ordered=True)
    assert not tune(["barrier"], [3], [4]).ranges


def test_on_a_topology_the_choice_is_the_one_simulated_fastest():
    text = "torus:4x2,bandwidth=1G,latency=2us"
    network = topology(text, ranks=8)
    table = tune(["allreduce"], [8], [64, 1 << 20], text)
    assert table == tune(["allreduce"], [8], [64, 1 << 20], Simulated(text))
    for nbytes in (64, 1 << 20):
        every = candidates("allreduce", 8, nbytes)
        times = {c: simulate(c.build("allreduce", 8), nbytes, network).total for c in every}
        assert times[table.choose("allreduce", 8, nbytes)] == min(times.values())
    assert tune(["allreduce"], [8], [64, 1 << 20], network).ranges == table.ranges


def test_anything_that_predicts_can_be_the_model(tmp_path):
    class Measured:
        def predict(self, collective, choice, n, nbytes):
            return Prediction(choice, 1.0, 1, None) if choice.algorithm == "tree" else None

    table = tune(["allreduce"], [6], [8], Measured())
    assert table.choose("allreduce", 6, 8) == Choice.of("tree", {})
    table.save(tmp_path / "measured.json")
    loaded = Table.load(tmp_path / "measured.json")
    assert loaded == Table(table.ranges)
    with pytest.raises(ValueError, match="does not say what model"):
        loaded.why("allreduce", 6, 8)


def test_why_shows_the_candidates_and_marks_the_choice(table):
    why = table.why("allreduce", 8, 1 << 20)
    assert why.chosen == why.predictions[0].choice
    assert [p.seconds for p in why.predictions] == sorted(p.seconds for p in why.predictions)
    for p in why.predictions:
        assert (
            sum(p.terms) == p.seconds == pytest.approx(seconds("allreduce", p.choice, 8, 1 << 20), rel=1e-12)
        )
    lines = str(why).splitlines()
    assert lines[0] == "allreduce of 1048576 bytes on 8 ranks (microseconds)"
    assert lines[1].split() == ["algorithm", "time", "starting", "moving", "reducing", "rounds"]
    assert len(lines) == 2 + len(why.predictions)
    assert [line for line in lines if line.startswith("> ")] == [lines[2]]
    ring = next(line for line in lines if line.split()[0] == "ring").split()
    assert ring[1:] == ["2433.76", "140.00", "1835.01", "458.75", "14"]


def test_why_shows_a_choice_that_is_no_candidate_or_has_no_price(table):
    odd = Table({Key("broadcast", 8, True): (Range(0, Choice.of("chain", {"chunks": 7})),)}, MODEL)
    lines = str(odd.why("broadcast", 8, 64, ordered=True)).splitlines()
    assert lines[0] == "broadcast of 64 bytes on 8 ranks, in rank order (microseconds)"
    marked = [line for line in lines if line[0] == ">"]
    assert [line.split()[1] for line in marked] == ["chain(chunks=7)"]

    class Silent:
        def predict(self, collective, choice, n, nbytes):
            return None

    text = str(tune(["barrier"], [4], [0], Silent()).why("barrier", 4, 0))
    assert text.splitlines()[0] == "barrier of 0 bytes on 4 ranks (microseconds)"
    assert text.splitlines()[-1].split()[2:] == ["(not", "priced", "by", "this", "model)"]


def test_a_table_survives_being_written(table, tmp_path):
    path = tmp_path / "table.json"
    table.save(path)
    assert Table.load(path) == table
    first = path.read_text()
    Table.load(path).save(path)
    assert path.read_text() == first
    simulated = tune(["barrier"], [4], [0], "switch:hosts=4")
    simulated.save(path)
    assert Table.load(path) == simulated == Table.loads(simulated.dumps())


SMALL = {
    "format": 1,
    "model": {"alpha": 1e-6, "beta": 1e-9, "gamma": 0.0},
    "choices": [
        {"collective": "allreduce", "n": 4, "ordered": True, "ranges": [
            {"from": 0, "algorithm": "recursive-doubling", "parameters": {}},
            {"from": 4096, "algorithm": "tree", "parameters": {}}]},
        {"collective": "broadcast", "n": 4, "ordered": False, "ranges": [
            {"from": 0, "algorithm": "binomial", "parameters": {"chunks": 1}},
            {"from": 65536, "algorithm": "chain", "parameters": {"chunks": 8}}]},
    ],
}  # fmt: skip
MEASURED = {
    "format": 1, "machine": {"host": "here"}, "model": None,
    "choices": [
        {"collective": "allreduce", "n": 4, "ordered": False, "ranges": [
            {"from": 0, "algorithm": "vendor", "parameters": {}, "seconds": 1e-6, "others": [
                {"algorithm": "leader", "parameters": {"servers": 2}, "seconds": 2e-6},
                {"algorithm": "ring", "parameters": {}}]},
            {"from": 4096, "algorithm": "ring", "parameters": {}, "seconds": 3}]}],
}  # fmt: skip
REMOVED = ...  # is in no JSON; and its name is the same in every process, as pytest-xdist must have it


def changed(path, value, of=SMALL):
    """``of`` with the item at ``path`` replaced or removed."""
    whole = copy.deepcopy(of)
    *steps, last = path
    item = whole
    for step in steps:
        item = item[step]
    if value is REMOVED:
        del item[last]
    else:
        item[last] = value
    return json.dumps(whole)


ENTRY, RANGE = ("choices", 0), ("choices", 1, "ranges", 1)
WRONG = [
    (("format",), 2, "format 2"),
    (("format",), "1", "format must be of type int"),
    (("format",), True, "format must be of type int, got True"),
    (("format",), REMOVED, "must be an object of format, model, choices"),
    (("more",), 1, "must be an object of"),
    (("model",), [], "model must be of type dict or NoneType"),
    (("model", "alpha"), -1, "alpha must be a number from 0 on"),
    (("model", "alpha"), "fast", "alpha must be of type int or float"),
    (("model", "alpha"), True, "alpha must be of type int or float, got True"),
    (("model", "beta"), math.nan, "NaN is no number"),
    (("model", "beta"), math.inf, "Infinity is no number"),
    (("model",), {"topology": "moebius:4"}, "unknown topology 'moebius:4'"),
    (("model",), {"topology": 4}, "topology must be of type str"),
    (("model",), {"topology": "ring", "alpha": 1}, "must be an object of topology"),
    (("choices",), {}, "choices must be of type list"),
    (("choices",), [None] * 5000, "5000 entries, at most 4096"),
    (("choices", 1), SMALL["choices"][0], "choices[1]: allreduce on 4 ranks, ordered True, is given twice"),
    (("choices", 0), [], "choices[0]: must be an object"),
    ((*ENTRY, "collective"), "allreduced", "choices[0].ranges[0]: unknown collective 'allreduced'"),
    ((*ENTRY, "collective"), None, "choices[0]: collective must be of type str"),
    ((*ENTRY, "collective"), "reduce_scatter", "unknown reduce_scatter algorithm 'recursive-doubling'"),
    ((*ENTRY, "n"), 0, "choices[0]: n must be from 1 to"),
    ((*ENTRY, "n"), -4, "choices[0]: n must be from 1 to"),
    ((*ENTRY, "n"), 1 << 60, "choices[0]: n must be from 1 to"),
    ((*ENTRY, "n"), 4.0, "choices[0]: n must be of type int, got 4.0"),
    ((*ENTRY, "n"), True, "choices[0]: n must be of type int"),
    ((*ENTRY, "ordered"), 0, "choices[0]: ordered must be of type bool"),
    ((*ENTRY, "ranges"), [], "choices[0]: no ranges"),
    ((*ENTRY, "ranges"), "all", "choices[0]: ranges must be of type list"),
    ((*ENTRY, "ranges"), [1] * 5000, "choices[0].ranges: 5000 entries"),
    ((*ENTRY, "ranges", 0), 7, "choices[0].ranges[0]: must be an object"),
    ((*ENTRY, "ranges", 0, "algorithm"), "ring", "choices[0].ranges[0]: 'ring' does not keep rank order"),
    ((*ENTRY, "ranges", 0, "parameters"), {"chunks": 2}, "takes no parameters; not 'chunks'"),
    ((*RANGE, "from"), 0, "choices[1].ranges[1]: from must be from 1 to"),
    ((*RANGE, "from"), -1, "choices[1].ranges[1]: from must be from 1 to"),
    ((*RANGE, "from"), 10**30, "choices[1].ranges[1]: from must be from 1 to"),
    ((*RANGE, "from"), 1e400, "Infinity is no number"),
    ((*RANGE, "from"), "0", "choices[1].ranges[1]: from must be of type int"),
    ((*RANGE, "from"), REMOVED, "choices[1].ranges[1]: must be an object of from, algorithm, parameters"),
    ((*RANGE, "algorithm"), "chains", "choices[1].ranges[1]: unknown broadcast algorithm 'chains'"),
    ((*RANGE, "algorithm"), ["chain"], "algorithm must be of type str"),
    ((*RANGE, "parameters"), [], "parameters must be of type dict"),
    ((*RANGE, "parameters", "chunks"), 0, "chunks must be from 1 to 4096, got 0"),
    ((*RANGE, "parameters", "chunks"), -1, "chunks must be from 1 to"),
    ((*RANGE, "parameters", "chunks"), 1 << 40, "chunks must be from 1 to"),
    ((*RANGE, "parameters", "chunks"), "8", "chunks must be a whole number, got '8'"),
    ((*RANGE, "parameters", "chunks"), None, "chunks must be a whole number, got None"),
    ((*RANGE, "parameters", "chunks"), {"a": [1] * 900}, "chunks must be a whole number, got {'a'"),
    ((*RANGE, "parameters", "root"), 2, "takes chunks; not 'root'"),
    ((*RANGE, "parameters", "n"), 2, "takes chunks; not 'n'"),
]


def refused(path):
    with pytest.raises(ValueError) as caught:
        Table.load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: no tuning table: ")
    assert "\n" not in message
    assert len(message) < 500 + len(str(path))
    return message


@pytest.mark.parametrize(("path", "value", "text"), WRONG, ids=lambda v: str(v)[:40])
def test_a_wrong_entry_is_named(path, value, text, tmp_path):
    file = tmp_path / "table.json"
    file.write_text(json.dumps(SMALL))
    Table.load(file)
    file.write_text(changed(path, value))
    assert text in refused(file)


def test_a_measured_table_is_written_and_read():
    leader = Choice.of("leader", {"servers": 2})
    others = (Timed(leader, 2e-6), Timed(Choice("ring"), None))
    ranges = (Range(0, VENDOR, 1e-6, others), Range(4096, Choice("ring"), 3))
    table = Table({Key("allreduce", 4, False): ranges}, None, {"host": "here"})
    assert Table.loads(json.dumps(MEASURED)) == table == Table.loads(table.dumps())
    assert json.loads(table.dumps()) == MEASURED


def test_where_the_vendors_own_will_not_do_the_next_best_stands_in():
    table = Table.loads(json.dumps(MEASURED))
    assert table.choose("allreduce", 4, 64) == VENDOR
    assert table.choose("allreduce", 4, 64, vendor=False) == Choice.of("leader", {"servers": 2})
    assert table.find("allreduce", 4, 4096, vendor=False).chosen == Timed(Choice("ring"), 3)
    with pytest.raises(
        ValueError, match="allreduce: the communication library's own collective is no schedule"
    ):
        VENDOR.build("allreduce", 4)
    only = Table({Key("alltoall", 4, False): (Range(0, VENDOR, 1e-6, (Timed(Choice("bruck"), 2e-6),)),)})
    assert only.choose("alltoall", 4, 64, vendor=False) == Choice("bruck")
    assert only.find("alltoall", 4, 64, vendor=False, equal=False) is None
    assert only.choose("alltoall", 4, 64, vendor=False, equal=False) == choose("alltoall", 4, 64, equal=False)


def test_the_vendors_own_is_the_default_where_no_model_can_price(monkeypatch):
    class Helpless(Model):
        def predict(self, collective, choice, n, nbytes):
            return None

    helpless = Helpless()
    assert choose("allreduce", 4, 64, helpless, vendor=True) == VENDOR
    assert choose("allreduce", 4, 64, helpless) != VENDOR
    assert choose("allreduce", 4, 64, MODEL, vendor=True) == choose("allreduce", 4, 64, MODEL)


CHOSEN = ("choices", 0, "ranges", 0)
WRONGLY_MEASURED = [
    (("machine",), [], "machine: must be an object of texts"),
    (("machine", "host"), 3, "machine: must be an object of texts"),
    (("machine", "host"), "h" * 5000, "machine: more than 1024 characters"),
    ((*CHOSEN, "seconds"), -1, "seconds must be a number from 0 to 1e+09"),
    ((*CHOSEN, "seconds"), True, "seconds must be a number from 0"),
    ((*CHOSEN, "seconds"), "fast", "seconds must be a number from 0"),
    ((*CHOSEN, "parameters"), {"chunks": 2}, "'vendor' takes no parameters"),
    ((*CHOSEN, "others"), {}, "others must be a list of at most 256"),
    ((*CHOSEN, "others"), [1] * 257, "others must be a list of at most 256"),
    ((*CHOSEN, "others", 0), 7, "choices[0].ranges[0].others[0]: must be an object of algorithm, parameters"),
    ((*CHOSEN, "others", 0, "algorithm"), "rign", "others[0]: unknown allreduce algorithm 'rign'"),
    ((*CHOSEN, "others", 0, "from"), 1, "others[0]: must be an object of algorithm, parameters"),
]


@pytest.mark.parametrize(("path", "value", "text"), WRONGLY_MEASURED, ids=lambda v: str(v)[:40])
def test_a_wrong_measurement_is_named(path, value, text, tmp_path):
    file = tmp_path / "table.json"
    file.write_text(changed(path, value, MEASURED))
    assert text in refused(file)


@pytest.mark.parametrize(
    "text",
    [
        b"", b"[]", b"null", b"\xff\xfe\x00", b"[" * 100_000, b'{"format": 1, "format": 1}', b"1" * 10_000,
        b"-Infinity", b'{"format": 1e999}', b" " * ((16 << 20) + 1), b'{"\\ud800": 1}',
    ],
    ids=lambda t: repr(t[:20]),
)  # fmt: skip
def test_what_is_no_table_is_refused(text, tmp_path):
    file = tmp_path / "table.json"
    file.write_bytes(text)
    refused(file)


def test_a_damaged_file_is_refused_or_still_a_table(tmp_path):
    """Bytes changed, lost or doubled at random: ValueError, or what can still be read; nothing else."""
    rng = random.Random(3)
    whole, file = json.dumps(SMALL).encode(), tmp_path / "table.json"
    others, read = b'0123456789-.eE{}[]":,ntf \xc3', 0
    for _ in range(300):
        text = bytearray(whole)
        for _ in range(rng.randint(1, 2)):
            at = rng.randrange(len(text))
            text[at : at + rng.choice((0, 1, 9))] = bytes(rng.choices(others, k=rng.choice((0, 1, 2))))
        file.write_bytes(text)
        try:
            assert {key.collective for key in Table.load(file).ranges} <= set(COLLECTIVES)
            read += 1
        except ValueError:
            refused(file)
    assert 0 < read < 100


@pytest.mark.parametrize(
    ("values", "text"),
    [({"alpha": -1.0}, "alpha"), ({"beta": math.nan}, "beta"), ({"gamma": math.inf}, "gamma"),
     ({"alpha": True}, "alpha"), ({"beta": "1"}, "beta")],
)  # fmt: skip
def test_a_model_has_real_constants(values, text):
    with pytest.raises(ValueError, match=f"model: {text} must be"):
        Model(**values)


def test_tuning_needs_sizes():
    with pytest.raises(ValueError, match="at least one size"):
        tune(["allreduce"], [4], [])
    with pytest.raises(ValueError, match="at least one size"):
        tune(["allreduce"], [4], [-1, 4])
