"""What servers keep, saved and loaded."""

import numpy as np
import pytest
from helpers.leader import served
from ringleader.runtime.comm import ArgumentError
from ringleader.runtime.comm.leader import Rule, Slot

SHAPES = {"fc.weight": (40, 5), "scale": (), "nothing": (0, 3), "fc.bias": (100,)}
OPTIONS = {"part_bytes": 100, "reduction": "sum"}


class Counting(Rule):
    """Adds, and counts how often: state that must go along."""

    whole = False

    def slot(self, part, w):
        return CountingSlot(w)


class CountingSlot(Slot):
    in_place = True

    def __init__(self, w):
        self.w, self.count = w, np.zeros(w.shape[:1], np.int64)

    def update(self, g, lr):
        self.count += 1
        self.w += g * (1 + self.count.max(initial=0))

    def state(self):
        return {"count": self.count}

    def load(self, state):
        if "count" not in state:
            raise KeyError("count")
        self.count[...] = state["count"]


def train(server, steps, state=None):
    server.init({name: np.zeros(shape) for name, shape in SHAPES.items()})
    first = server.world.rank == server.workers[0]
    if state is not None and first:
        server.load_state_dict(state)
    server.barrier()
    for _ in range(steps):
        for name, shape in SHAPES.items():
            server.push(name, np.full(shape, 1.0 + server.world.rank))
        server.clock()
    values = {name: server.pull(name).wait() for name in SHAPES}
    server.barrier()
    return values, server.state_dict() if first else None


@pytest.mark.parametrize(("servers", "replicas"), [(1, 0), (3, 0), (3, 2)])
def test_goes_on_where_it_was_on_other_servers(servers, replicas):
    whole = served(5, lambda server: train(server, 6), 2, rule=Counting(), **OPTIONS)[0][0]
    saved = served(5, lambda server: train(server, 2), 2, rule=Counting(), **OPTIONS)[0][1]
    assert np.all(saved["fc.bias"][0]["count"] == 2)

    def work(server):
        return train(server, 4, saved)

    found = served(3 + servers, work, servers, rule=Counting(), replicas=replicas, **OPTIONS)[0][0]
    for name in SHAPES:
        assert np.array_equal(found[name], whole[name])


def test_what_is_loaded_must_fit():
    saved = served(3, lambda s: train(s, 1), 1, rule=Counting(), **OPTIONS)[0][1]

    def work(server):
        server.init({name: np.ones(shape) for name, shape in SHAPES.items()})
        if server.world.rank == 0:
            with pytest.raises(ValueError, match="load_state_dict: 'scale' has parts of None, here of"):
                server.load_state_dict({name: parts for name, parts in saved.items() if name != "scale"})
            with pytest.raises(ValueError, match="load_state_dict: 'more' has parts of"):
                server.load_state_dict({**saved, "more": saved["scale"]})
            with pytest.raises(ValueError, match=r"'fc\.bias' has parts of"):
                server.load_state_dict({**saved, "fc.bias": saved["fc.bias"][:-1]})
            assert all(np.all(server.pull(name).wait() == 1) for name in SHAPES), "nothing has been changed"
            strange = {name: [{"w": part["w"]} for part in parts] for name, parts in saved.items()}
            with pytest.raises(ArgumentError, match="load_state_dict on rank 0: KeyError: 'count'"):
                server.load_state_dict(strange)
        server.barrier()

    served(3, work, 1, rule=Counting(), **OPTIONS)


def compressed(server, steps, state=None, residuals=None):
    """Of each worker: values, the servers' state (of the first), its own."""
    server.init({"w": np.zeros((90, 200)), "small": np.zeros(3)})
    rank = server.world.rank
    if state is not None and rank == 0:
        server.load_state_dict(state)
    if residuals is not None:
        server.compression.load_state_dict(residuals[rank])
    server.barrier()
    for step in steps:
        random = np.random.default_rng((step, rank))
        server.push("w", random.standard_normal((90, 200)))
        server.push("small", random.standard_normal(3))
        server.clock()
    values = server.pull("w").wait()
    server.barrier()
    return values, server.state_dict() if rank == 0 else None, server.compression.state_dict()


@pytest.mark.parametrize("spec", ["int8:stochastic", "sign", "topk:0.1", "randomk:0.1", "powersgd:2"])
def test_compressed_pushes_go_on_bit_for_bit(spec):
    options = {"rule": "add", "part_bytes": 50_000, "compression": spec}
    whole = served(3, lambda server: compressed(server, range(6)), 1, **options)
    halfway = served(3, lambda server: compressed(server, range(3)), 1, **options)
    state, residuals = halfway[0][1], [found[2] for found in halfway[:2]]
    assert len(state["w"]) == 3
    named = {key.rpartition(".compressor.")[0] or key.removesuffix(".residual") for key in residuals[0]}
    assert named == {"0.w", "1.w", "2.w"}, "the rest is too small"

    again = served(3, lambda server: compressed(server, range(3, 6), state, residuals), 1, **options)
    for rank in range(2):
        np.testing.assert_array_equal(again[rank][0], whole[rank][0])
    without = served(3, lambda server: compressed(server, range(3, 6), state), 1, **options)
    assert not np.array_equal(without[0][0], whole[0][0])


def test_what_is_yet_to_be_pushed_must_fit():
    def work(server):
        server.init({"w": np.zeros((90, 200))})
        with pytest.raises(ValueError, match=r"compression 'sign': .* number of ranks: '0\.w\."):
            server.compression.load_state_dict({})

    served(3, work, 1, compression="sign")


def test_nothing_is_yet_to_be_pushed_where_nothing_is_compressed():
    assert served(3, lambda server: server.compression is None, 1)[:2] == [True, True]
