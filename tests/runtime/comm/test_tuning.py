"""A saved tuning table decides what "auto" runs, alike on every rank."""

import numpy as np
import pytest
from helpers.coded import coded, total
from ringleader.collectives.tuning import Choice, Key, Range, Table
from ringleader.runtime.comm import ArgumentError, spawn

N = 3


@pytest.fixture
def table(tmp_path):
    """One that no model would choose: leaders for everything."""
    path = tmp_path / "table.json"
    ranges = (Range(0, Choice.of("leader", {"servers": 2})),)
    Table({Key("allreduce", N, False): ranges}).save(path)
    return path


def chosen(world):
    """What "auto" runs here, as an error names it."""
    with pytest.raises(ArgumentError) as caught:
        world.allreduce(np.zeros(3 + (world.rank == 1)))
    return str(caught.value)


def test_auto_asks_the_table_of_rank_0(table):
    def rank(world):
        world.use_tuning(table if world.rank == 0 else "is not looked at")
        np.testing.assert_array_equal(world.allreduce(coded(997, world.rank)), total(997, N))
        row = world.split(0)
        return chosen(world), chosen(row)

    for text, of_row in spawn(N, rank, timeout=20):
        assert "leader#" in text
        assert "leader#" in of_row


def test_without_a_table_it_goes_by_the_model_again(table):
    def rank(world):
        world.use_tuning(table)
        world.use_tuning(None)
        return chosen(world)

    assert all("leader#" not in text for text in spawn(N, rank, timeout=20))


@pytest.mark.parametrize(
    ("text", "complaint"), [(None, "No such file"), ("{", "no tuning table"), ("ä" * 9, "no tuning table")]
)
def test_a_table_that_cannot_be_used_is_refused_on_every_rank(tmp_path, text, complaint):
    path = tmp_path / "täble.json"
    if text is not None:
        path.write_text(text, encoding="utf-8")

    def rank(world):
        with pytest.raises(ValueError, match=complaint) as caught:
            world.use_tuning(path)
        np.testing.assert_array_equal(world.allreduce(coded(7, world.rank)), total(7, N))
        return str(caught.value)

    texts = spawn(N, rank, timeout=20)
    assert len(set(texts)) == 1
    assert "täble.json" in texts[0]


def test_the_environment_names_a_table_for_threads(table, monkeypatch):
    monkeypatch.setenv("RINGLEADER_TUNING", str(table))
    assert all("leader#" in text for text in spawn(N, chosen, timeout=20))
    monkeypatch.setenv("RINGLEADER_TUNING", str(table) + "x")
    with pytest.raises(ValueError, match="No such file"):
        spawn(N, chosen)


SCRIPT = """
import numpy as np, ringleader as rl
world = rl.init(timeout=20)
try:
    world.allreduce(np.zeros(3 + (world.rank == 1)))
except rl.ArgumentError as error:
    print("leader#" in str(error), flush=True)
"""


def test_the_environment_names_a_table_under_mpirun(table, mpi_job):
    done = mpi_job(N, "-c", SCRIPT, RINGLEADER_TUNING=str(table))
    assert done.returncode == 0, done.stdout
    assert done.stdout.split().count("True") == N
    refused = mpi_job(N, "-c", SCRIPT, RINGLEADER_TUNING=f"{table}x")
    assert refused.returncode != 0
    assert "No such file" in refused.stdout
