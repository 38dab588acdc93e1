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
