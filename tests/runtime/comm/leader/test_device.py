"""Arrays on a GPU, by a stand-in that numpy cannot touch, go through the host."""

import numpy as np
import pytest
from helpers.strict_cupy import ndarray
from ringleader.runtime.comm import spawn
from ringleader.runtime.comm.leader import ParameterServer


@pytest.mark.parametrize("replicas", [0, 1])
def test_arrays_of_a_gpu_are_pushed_and_pulled(replicas):
    def main(world):
        server = ParameterServer(world, 2, replicas=replicas, part_bytes=20)
        if server.is_worker:
            server.init({"w": ndarray(np.arange(6.0).reshape(3, 2))})
            out = ndarray(np.empty((3, 2)))
            first = server.pull("w", out=out).wait()
            assert first is out
            np.testing.assert_array_equal(out.get(), np.arange(6.0).reshape(3, 2))
            for iteration in range(2):
                gradient = ndarray(np.full((3, 2), world.rank + 10.0 * iteration))
                result = server.push_pull("w", gradient, out=gradient).wait()
                assert result is gradient
                np.testing.assert_array_equal(gradient.get(), np.full((3, 2), 0.5 + 10.0 * iteration))
                server.clock()
            with pytest.raises(ValueError, match=r"push: 'w' is float64\[3, 2\], this array is float64\[2\]"):
                server.push("w", ndarray(np.zeros(2)))
            with pytest.raises(TypeError, match="must be a numpy array of numbers, not list"):
                server.push("w", [1.0])
        server.close()

    spawn(4, main, timeout=30)
