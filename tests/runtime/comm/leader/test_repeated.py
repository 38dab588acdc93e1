"""Letters that come twice, at once or late, change nothing."""

import numpy as np
import pytest
from helpers.leader import repeat
from ringleader.runtime.comm import spawn
from ringleader.runtime.comm.leader import ParameterServer


@pytest.mark.parametrize("lag", [0, 1, 5, 50])
@pytest.mark.parametrize(("mode", "replicas"), [("bsp", 0), ("ssp", 0), ("asp", 1)])
def test_every_letter_once_more(mode, replicas, lag):
    steps = 8

    def rank(world):
        repeat(world, lag)
        options = {"rule": "add", "reduction": "sum", "replicas": replicas, "part_bytes": 64}
        with ParameterServer(world, 2, mode=mode, **options) as server:
            if not server.is_worker:
                return None
            me, workers = server.workers.index(world.rank), len(server.workers)
            server.init({"w": np.zeros((workers, 5), np.int64), "v": np.zeros((), np.int64)})
            unit = np.zeros((workers, 5), np.int64)
            unit[me] = 1
            for step in range(steps):
                server.push("v", np.array(10**me))
                pulled = server.push_pull("w", unit).wait()
                assert np.all(pulled[me] == step + 1)
                server.clock()
            total, _ = server.sum(np.array([me + 1.0]))
            assert total[0] == workers * (workers + 1) / 2
            return server.pull("w").wait().tolist(), int(server.pull("v").wait())

    results = spawn(5, rank, timeout=60)
    assert results[:3] == [([[steps] * 5] * 3, 111 * steps)] * 3
