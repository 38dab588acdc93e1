""" "auto" asks what was measured on this machine, every rank alike, and says what it chose and why."""

import itertools
import json
import os
import threading

import numpy as np
import pytest
from helpers.coded import coded, total
from ringleader.collectives.tuning import VENDOR, Choice, Key, Range, Table, Timed
from ringleader.runtime.comm import ArgumentError, cache, spawn
from ringleader.runtime.comm.chooser import untuned

N = 3
LEADER, RING, TREE = Choice.of("leader", {"servers": 2}), Choice("ring"), Choice("tree")
ALLREDUCE = Key("allreduce", N, False)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty cache that counts."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("RINGLEADER_TUNING", raising=False)
    monkeypatch.setenv("RINGLEADER_LOG", "choice")
    return tmp_path / "ringleader" / "tuning"


def measured(ranges=None, **machine):
    """A table as it is measured over threads, here or (with another ``machine``) elsewhere."""
    best = (Range(0, LEADER, 1.5e-3, (Timed(RING, 2.5e-3),)), Range(4096, RING, 2e-3))
    return Table(
        {ALLREDUCE: best} if ranges is None else ranges, None, cache.machine("threads", [0] * N) | machine
    )


def usual(collective, n, nbytes):
    """What "auto" takes over threads where nothing was tuned."""
    return untuned(collective, n, nbytes, ordered=False, equal=True)


BY_MODEL = (
    f"ringleader: allreduce of 80 bytes (float64, sum) on 3 ranks: {usual('allreduce', N, 80)}, by model"
)


def said(capsys):
    return capsys.readouterr().err.splitlines()


def test_what_was_measured_is_used_and_told_once(home, capsys):
    cache.save(measured())

    def rank(world):
        for _ in range(2):
            np.testing.assert_array_equal(world.allreduce(coded(500, world.rank)), total(500, N))
            world.allreduce(np.zeros(3, np.float32), "max")
        world.allreduce(np.zeros(2048, np.int16))
        world.allreduce(np.zeros(3), algorithm="tree")
        world.barrier()
        pair = world.split(0 if world.rank < 2 else None)
        if pair:
            pair.allreduce(np.zeros(1))  # nothing was measured on two ranks

    spawn(N, rank, timeout=20)
    assert said(capsys) == [
        "ringleader: allreduce of 4000 bytes (int64, sum) on 3 ranks: leader(servers=2), "
        "measured 1.5 ms at 0 bytes",
        "ringleader: allreduce of 12 bytes (float32, max) on 3 ranks: leader(servers=2), measured 1.5 ms at 0 bytes",
        "ringleader: allreduce of 4096 bytes (int16, sum) on 3 ranks: ring, measured 2 ms",
        "ringleader: allreduce of 24 bytes (float64, sum) on 3 ranks: tree, asked for",
        f"ringleader: barrier on 3 ranks: {usual('barrier', N, 0)}, by model",
        f"ringleader: split on 3 ranks: {usual('barrier', N, 0)}, by model",
        "ringleader: allreduce of 8 bytes (float64, sum) on 2 ranks of world/7:0: "
        f"{usual('allreduce', 2, 8)}, by model",
    ]


def one_call(world):
    world.allreduce(np.zeros(10))


def test_without_the_word_nothing_is_said(home, capsys, monkeypatch):
    cache.save(measured())
    monkeypatch.setenv("RINGLEADER_LOG", "")
    spawn(N, one_call, timeout=20)
    assert said(capsys) == []


def test_a_word_that_log_does_not_know_is_an_error(monkeypatch):
    monkeypatch.setenv("RINGLEADER_LOG", "choice, choise")
    with pytest.raises(
        ValueError, match="RINGLEADER_LOG='choice, choise': unknown word 'choise'; known: choice"
    ):
        spawn(2, one_call)


@pytest.mark.parametrize("name", cache.NAMES[2:])
def test_a_table_from_elsewhere_is_left_alone(home, capsys, name):
    """Also under the name that one from here would have, as when a home folder was copied."""
    here = cache.machine("threads", [0] * N)
    other = {name: here["host"] + "_x" if name == "host" else "other"}
    file = cache.save(measured(**other))
    assert file != cache.path(home, here)
    file.rename(cache.path(home, here))
    spawn(N, one_call, timeout=20)
    note = (
        f"{cache.path(home, here)} is not used: measured with {name} {other[name]}, here it is {here[name]}"
    )
    assert said(capsys) == [f"ringleader: {note}", BY_MODEL]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "no tuning table: Expecting property name"),
        ("", "no tuning table: Expecting value"),
        (json.dumps({"format": 7, "model": None, "choices": []}), "no tuning table: format 7"),
        (Table({ALLREDUCE: (Range(0, RING),)}).dumps(), "it does not say where it was measured"),
        (None, "Is a directory"),
    ],
)
def test_a_broken_file_is_left_alone(home, capsys, text, complaint):
    file = cache.path(home, cache.machine("threads", [0] * N))
    home.mkdir(parents=True)
    file.mkdir() if text is None else file.write_text(text)
    spawn(N, one_call, timeout=20)
    note, chosen = said(capsys)
    assert note.startswith(f"ringleader: {file} is not used: ")
    assert complaint in note
    assert chosen == BY_MODEL


def test_tables_for_other_communicators_are_no_news(home, capsys):
    cache.save(measured(transport="shm", mpi="Some MPI"))
    cache.save(measured(layout="2@0 1@1"))
    spawn(N, one_call, timeout=20)
    assert said(capsys) == [BY_MODEL]


def test_the_environment_comes_before_the_cache(home, capsys, monkeypatch, tmp_path):
    cache.save(measured())
    monkeypatch.setenv("RINGLEADER_TUNING", "off")
    spawn(N, one_call, timeout=20)
    Table({ALLREDUCE: (Range(0, TREE),)}).save(tmp_path / "mine.json")
    monkeypatch.setenv("RINGLEADER_TUNING", str(tmp_path / "mine.json"))
    spawn(N, one_call, timeout=20)
    assert said(capsys) == [
        BY_MODEL,
        BY_MODEL.replace(f"{usual('allreduce', N, 80)}, by model", "tree, by the table"),
    ]


def test_every_size_of_communicator_has_its_own_table(home, capsys):
    cache.save(measured())
    two = Table({Key("allreduce", 2, False): (Range(0, TREE, 1e-6),)}, None, cache.machine("threads", [0, 0]))
    cache.save(two)

    def rank(world):
        one_call(world)
        pair = world.split(world.rank == 2)
        one_call(pair)

    spawn(N, rank, timeout=20)
    lines = said(capsys)
    assert "on 3 ranks: leader(servers=2), measured 1.5 ms at 0 bytes" in lines[0]
    assert "on 2 ranks of world/1:False: tree, measured 1 us at 0 bytes" in lines[-1]


def test_where_nothing_can_be_kept_auto_goes_by_the_model(capsys, monkeypatch):
    monkeypatch.setattr(cache, "folder", lambda: None)
    monkeypatch.delenv("RINGLEADER_TUNING", raising=False)
    monkeypatch.setenv("RINGLEADER_LOG", "choice")
    spawn(N, one_call, timeout=20)
    assert said(capsys) == [BY_MODEL]
    with pytest.raises(OSError, match="XDG_CACHE_HOME"):
        cache.save(measured())


def test_the_cache_is_in_the_users_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for unset in ("", "not/absolute"):
        monkeypatch.setenv("XDG_CACHE_HOME", unset)
        assert cache.folder() == tmp_path / ".cache" / "ringleader" / "tuning"


def test_another_measurement_replaces_what_it_measured(home):
    cache.save(measured())
    again = measured(
        {ALLREDUCE: (Range(4096, TREE, 1e-3),), Key("barrier", N, False): (Range(0, VENDOR, 1e-6),)}
    )
    found = Table.load(cache.save(again))
    assert found.ranges[ALLREDUCE] == (measured().ranges[ALLREDUCE][0], Range(4096, TREE, 1e-3))
    assert found.ranges[Key("barrier", N, False)] == (Range(0, VENDOR, 1e-6),)
    assert found.machine == again.machine


def test_writers_and_readers_do_not_disturb_each_other(home):
    """Every look at the file finds a whole table, and nothing else is left behind."""
    tables = [measured({ALLREDUCE: (Range(0, RING, 1.0 + i),)}) for i in range(4)]
    file, problems = cache.save(tables[0]), []

    def write(table):
        try:
            for _ in range(40):
                cache.save(table)
                assert Table.load(file).ranges[ALLREDUCE][0].choice == RING
        except Exception as problem:
            problems.append(problem)

    threads = [threading.Thread(target=write, args=(table,), daemon=True) for table in tables]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert problems == []
    assert os.listdir(home) == [file.name]


# Blocks of unequal size

ROWS = [[1, 1, 1], [900, 900, 900], [0, 0, 0]]  # that each rank sends to each


def test_alltoall_of_unequal_blocks_is_chosen_by_what_all_ranks_share(home, capsys):
    """24 bytes on one rank, 21,600 on another, none on the third; the table changes its mind in between."""
    ranges = (
        Range(0, Choice("linear"), 1e-6), Range(1000, Choice("pairwise"), 2e-6), Range(30000, Choice("linear"), 3e-6)
    )  # fmt: skip
    key = Key("alltoall", N, False)
    cache.save(measured({key: ranges}))

    def rank(world):
        counts = ROWS[world.rank]
        x = np.concatenate([np.full(c, 10 * world.rank + d, np.int64) for d, c in enumerate(counts)])
        got = world.alltoall(x, counts=counts)
        wanted = [[10 * s + world.rank] * ROWS[s][world.rank] for s in range(N)]
        np.testing.assert_array_equal(got, list(itertools.chain(*wanted)))
        with pytest.raises(ArgumentError) as caught:  # names the algorithm that each rank chose
            world.alltoall(x.astype(np.int32 if world.rank else np.int64), counts=counts)
        return str(caught.value)

    texts = spawn(N, rank, timeout=20)
    assert len(set(texts)) == 1
    assert said(capsys)[1] == (
        "ringleader: alltoall of 21600 bytes (int64, unequal blocks) on 3 ranks: pairwise, measured 2 us at 1000 bytes"
    )


def test_alltoall_where_nobody_asks_is_chosen_alike_too(home, capsys):
    """Ranks that know what they get do not hear of the others' sizes."""
    ranges = (Range(0, Choice("linear"), 1e-6), Range(1000, Choice("pairwise"), 2e-6))
    cache.save(measured({Key("alltoall", N, False): ranges}))

    def rank(world):
        x = np.full(sum(ROWS[world.rank]), world.rank)
        received = [ROWS[s][world.rank] for s in range(N)]
        got = world.alltoall(x, counts=ROWS[world.rank], received=received)
        np.testing.assert_array_equal(got, np.repeat(np.arange(N), received))

    spawn(N, rank, timeout=20)
    (line,) = said(capsys)
    assert line.endswith("(int64, unequal blocks) on 3 ranks: pairwise, measured 2 us at 1000 bytes")


@pytest.mark.parametrize("shape", [(0,), (5,), (5, 2)])
def test_alltoall_of_nothing_at_all(shape):
    def rank(world):
        counts = [shape[0] if world.rank else 0, 0]
        return world.alltoall(np.ones((sum(counts), *shape[1:])), counts=counts).shape

    first, second = spawn(2, rank, timeout=20)
    assert first == shape
    assert second == (0, *shape[1:])
