"""What people get wrong, and what they are told; and whom a worker waits for in vain."""

import threading

import numpy as np
import pytest
from helpers.leader import served
from ringleader.runtime.comm import ArgumentError, CollectiveTimeout, spawn
from ringleader.runtime.comm.leader import ParameterServer


@pytest.mark.parametrize(("options", "text"), [
    ({"servers": 0}, "servers must be 1 ... 2 of 3 ranks"),
    ({"servers": 3}, "servers must be 1 ... 2 of 3 ranks"),
    ({"servers": 4, "colocated": True}, "servers must be 1 ... 3 of 3 ranks"),
    ({"servers": [1, 1]}, r"servers must be different ranks of 0 ... 2, they are \[1, 1\]"),
    ({"servers": [3]}, "servers must be different ranks of 0 ... 2"),
    ({"servers": [0, 1, 2]}, "a parameter server needs a rank that works"),
    ({"mode": "bulk"}, "unknown mode 'bulk'; known: bsp, ssp, asp"),
    ({"staleness": 2}, "staleness belongs to mode 'ssp'; mode 'bsp' has 0"),
    ({"mode": "asp", "staleness": 2}, "mode 'asp' has no limit"),
    ({"mode": "ssp", "staleness": -1}, "staleness must be a whole number, 0 or more, it is -1"),
    ({"mode": "ssp", "staleness": 0.5}, "staleness must be a whole number, 0 or more, it is 0.5"),
    ({"reduction": "max"}, "unknown reduction 'max'; known: mean, sum"),
    ({"rule": "sgd"}, "unknown rule 'sgd'; known: assign, add, or an object"),
    ({"placement": "best"}, "unknown placement 'best'; known: balanced, range, hash"),
    ({"replicas": 1}, "replicas must be 0 ... 0 with 1 servers, it is 1"),
    ({"part_bytes": 0}, "part_bytes must be at least 1, it is 0"),
])  # fmt: skip
def test_options_that_make_no_sense(options, text):
    with pytest.raises(ValueError, match=text):
        spawn(3, lambda world: ParameterServer(world, **options), timeout=60)


@pytest.mark.parametrize(("option", "one", "other"), [
    ("mode", "bsp", "asp"), ("replicas", 0, 1), ("part_bytes", 100, 200), ("rule", "add", "assign"), ("servers", 2, [0, 1]),
])  # fmt: skip
def test_ranks_with_different_options(option, one, other):
    def rank(world):
        options = {"servers": 2, option: other if world.rank == 2 else one}
        with pytest.raises(ArgumentError) as error:
            ParameterServer(world, **options)
        return str(error.value)

    said = set(spawn(4, rank, timeout=60))
    (text,) = said
    assert f"the ranks disagree on {option}: rank 0 has" in text or option == "servers"
    assert "rank 2 has" in text


@pytest.mark.parametrize(("tensors", "text"), [
    ({"v": np.zeros(2), "w": np.zeros((2, 4))}, "'w': rank 0 has [2, 3] <f8, rank 1 has [2, 4] <f8"),
    ({"v": np.zeros(2), "w": np.zeros((2, 3), np.float32)}, "'w': rank 0 has [2, 3] <f8, rank 1 has [2, 3] <f4"),
    ({"v": np.zeros(2)}, "'w': rank 0 has [2, 3] <f8, rank 1 has nothing"),
    ({"v": np.zeros(2), "w": np.zeros((2, 3)), "x": np.zeros(1)}, "'x': rank 0 has nothing, rank 1 has [1] <f8"),
    ({"w": np.zeros((2, 3)), "v": np.zeros(2)}, "in another order: rank 0 has ['v', 'w'], rank 1 has ['w', 'v']"),
])  # fmt: skip
def test_workers_with_different_tensors(tensors, text):
    """The same error on all of them, and they can go on with the right ones."""
    right = {"v": np.zeros(2), "w": np.zeros((2, 3))}

    def work(server):
        with pytest.raises(ArgumentError) as error:
            server.init(tensors if server.world.rank == 1 else right)
        assert text in str(error.value)
        assert "the same model" in str(error.value)
        server.init(right)
        return np.all(server.pull("w").wait() == 0)

    assert served(5, work, 2) == [True, True, True, None, None]


def test_calls_that_cannot_be():
    def work(server):
        with pytest.raises(KeyError, match="push: no tensor 'w' was named in init"):
            server.push("w", np.zeros(3))
        for array, kind, text in [
            ([1.0, 2.0], TypeError, "'w' must be a numpy array of numbers, not list"),
            (np.array([None]), TypeError, "'w' must be a numpy array of numbers"),
            (np.zeros((4, 4))[:, 1], ValueError, "'w' must be contiguous; see numpy.ascontiguousarray"),
            (
                np.zeros(3, int),
                ValueError,
                "the mean of 'w', int64, would lose the fraction; use reduction='sum'",
            ),
        ]:
            with pytest.raises(kind, match=text):
                server.init({"w": array})
        server.init({"w": np.zeros((2, 3))})
        with pytest.raises(
            RuntimeError, match=f"init has been called on rank {server.world.rank} already, with 1 te"
        ):
            server.init({"w": np.zeros((2, 3))})
        for call in (server.push, server.push_pull):
            with pytest.raises(ValueError, match=r"'w' is float64\[2, 3\], this array is float64\[3, 2\]"):
                call("w", np.zeros((3, 2)))
            with pytest.raises(ValueError, match=r"'w' is float64\[2, 3\], this array is float32\[2, 3\]"):
                call("w", np.zeros((2, 3), np.float32))
            with pytest.raises(ValueError, match="'w' must be contiguous"):
                call("w", np.zeros((3, 2)).T)
            with pytest.raises(TypeError, match="must be a numpy array"):
                call("w", 3.0)
        for call in (server.pull, lambda name: server.push(name, np.zeros(3))):
            with pytest.raises(KeyError, match="no tensor 'v' was named"):
                call("v")
        frozen = np.zeros((2, 3))
        frozen.flags.writeable = False
        with pytest.raises(ValueError, match="pull: the array for 'w' is read-only"):
            server.pull("w", out=frozen)
        with pytest.raises(ValueError, match=r"this array is float64\[3\]"):
            server.pull("w", out=np.zeros(3))
        server.push("w", np.ones((2, 3)))
        with pytest.raises(ValueError, match="'w' has been pushed in iteration 0 already"):
            server.push("w", np.ones((2, 3)))
        assert np.all(server.pull("w").wait() == 1)
        server.close()
        server.close()
        for call in (lambda: server.pull("w"), server.clock, server.barrier, lambda: server.init({})):
            with pytest.raises(
                RuntimeError, match=f"the parameter server is closed on rank {server.world.rank}"
            ):
                call()

    served(3, work, 1)


def test_servers_do_not_work():
    def rank(world):
        with ParameterServer(world, 1) as server:
            if server.is_server:
                for call in (
                    lambda: server.init({}),
                    lambda: server.pull("w"),
                    server.clock,
                    server.state_dict,
                    lambda: server.compression,
                ):
                    with pytest.raises(RuntimeError, match=r"rank 2 serves; workers are \[0, 1\]"):
                        call()

    spawn(3, rank, timeout=60)


def test_a_barrier_against_a_sum():
    def work(server):
        with pytest.raises(
            ArgumentError, match=r"rank 0 brings 0 numbers, rank 1 brings 2 \(a barrier brings none"
        ):
            server.barrier() if server.world.rank == 0 else server.sum(np.zeros(2))
        return server.barrier()

    assert served(4, work, 2)[:2] == [[0, 1], [0, 1]]


def test_integers_need_no_sum_where_nothing_is_folded():
    def work(server):
        server.init({"w": np.zeros(3, int)})
        server.push("w", np.array([1, 2, 3])).wait()
        server.barrier()
        return server.pull("w").wait().tolist()

    assert served(3, work, 1, mode="asp", rule="add")[:2] == [[2, 4, 6]] * 2


# Time-outs: one worker holds back until the others have been told


def told(work, mode="bsp"):
    """``work(server)`` on workers 0 and 2, which time out, while worker 1 does ``init`` alone."""
    over, said = threading.Barrier(3), {}

    def rank(world):
        server = ParameterServer(world, 1, mode)
        if not server.is_worker:
            return server.close()
        try:
            if world.rank != 1:
                server._worker.timeout = 0.5
                with pytest.raises(CollectiveTimeout) as error:
                    work(server)
                said[world.rank] = str(error.value)
            elif "init" not in work.__name__:
                server.init({"w": np.zeros(3)})
            over.wait(30)
        finally:
            server._leave()
        return None

    spawn(4, rank, timeout=60)
    return said


def pushes(server):
    server._worker.timeout = 30
    server.init({"w": np.zeros(3)})
    server._worker.timeout = 0.5
    server.push_pull("w", np.ones(3)).wait()


def waits(server):
    server._worker.timeout = 30
    server.init({"w": np.zeros(3)})
    server._worker.timeout = 0.5
    server.barrier()


def pushes_for_later(server):
    server._worker.timeout = 30
    server.init({"w": np.zeros(3)})
    server._worker.timeout = 0.5
    server.clock()
    server.push("w", np.ones(3)).wait()


def calls_init(server):
    server.init({"w": np.zeros(3)})


@pytest.mark.parametrize(("work", "text"), [
    (pushes, "push_pull of 'w' on rank {}: server rank 3 has not answered in 0.5 s: 'w' in iteration 1 waits for rank 1, "
             "which is in iteration 0"),
    (pushes_for_later, "push of 'w' on rank {}: server rank 3 has not answered in 0.5 s: 'w' in iteration 1 waits for "
                       "rank 1, which is in iteration 0"),
    (waits, "barrier on rank {}: server rank 3 has not answered in 0.5 s: it waits for rank 1 to come to the barrier"),
    (calls_init, "init on rank {}: server rank 3 has not answered in 0.5 s: it waits for rank 1 to call init"),
])  # fmt: skip
def test_who_is_waited_for_in_vain(work, text):
    said = told(work)
    for rank in (0, 2):
        assert text.format(rank) in said[rank]


def test_a_server_that_does_not_answer():
    over = threading.Event()

    def rank(world):
        server = ParameterServer(world, 1)
        if server.is_worker:
            server._worker.timeout = 0.3
            with pytest.raises(
                CollectiveTimeout, match=r"server rank 1 has not answered in 0\.3 s: it does not answer"
            ):
                server.init({"w": np.zeros(3)})
            over.set()
        else:
            assert over.wait(30)
        server._leave()

    spawn(2, rank, timeout=60)
