"""A slow worker is named, while the others wait and afterwards."""

import logging
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from ringleader.runtime.comm import spawn
from ringleader.runtime.comm.leader import ParameterServer, patience
from ringleader.runtime.comm.leader.post import Letter


class Heard(logging.Handler):
    """Sets an event when somebody is called slow."""

    def __init__(self):
        super().__init__()
        self.event, self.texts = threading.Event(), []

    def emit(self, record):
        self.texts.append(record.getMessage())
        self.event.set()


@pytest.fixture
def heard():
    handler = Heard()
    patience.log.addHandler(handler)
    yield handler
    patience.log.removeHandler(handler)


@pytest.mark.parametrize("mode", [{"mode": "bsp"}, {"mode": "ssp", "staleness": 1}], ids=str)
@pytest.mark.parametrize("colocated", [False, True])
def test_a_worker_that_the_others_wait_for_is_named(mode, colocated, heard, monkeypatch):
    """It goes on only when it has been named, so no clock decides whether it is."""
    monkeypatch.setattr(patience, "SLOW_AFTER", 0.01)

    def main(world):
        server = ParameterServer(world, colocated=colocated, **mode)
        if server.is_worker:
            server.init({"w": np.zeros(3)})
            for _ in range(4):
                if world.rank == 1:
                    assert heard.event.wait(20)
                server.push("w", np.ones(3))
                server.clock()
                server.pull("w").wait()
        waits = server.stats().get("waits")
        server.close()
        return waits

    waits = [w for w in spawn(3, main, timeout=30) if w is not None]
    assert heard.texts[0].startswith("rank 1 is slow: others have waited ")
    assert len(waits) == 1


def letter(sender, token):
    return Letter(0, token=token, sender=sender)


def test_who_came_last_is_charged_with_the_others_waits(monkeypatch, heard):
    now = 100.0
    monkeypatch.setattr(patience, "time", SimpleNamespace(monotonic=lambda: now))
    watch = patience.Patience()
    first, second, third = letter(0, 1), letter(2, 1), letter(1, 1)
    for pull in (first, second):
        watch.start(pull)
    now += 4
    watch.look([(first, [1]), (second, [1])])
    assert not heard.texts, "not yet"
    now += 2
    watch.start(third)
    watch.look([(first, [1]), (second, [1])])
    assert heard.texts == ["rank 1 is slow: others have waited 6 s for its gradients"]
    now += 3
    watch.look([(first, [1])])
    assert len(heard.texts) == 1, "again only after twice as long"
    now += 4
    watch.look([(first, [1])])
    assert heard.texts[1:] == ["rank 1 is slow: others have waited 13 s for its gradients"]
    for pull in (first, second, third):
        watch.end(pull, cause=1)
    assert watch.waits == {1: 26.0}, "not for its own"
    now += 10
    watch.start(first)
    now += 6
    watch.look([(first, [1])])
    assert heard.texts[2:] == ["rank 1 is slow: others have waited 6 s for its gradients"], "a new wait"
