"""Training with DistributedDataParallel."""

import pytest


@pytest.mark.timeout(240)
@pytest.mark.parametrize("n", [2, 3])
def test_ddp(n, on_ranks):
    on_ranks(n, "ranks_ddp.py")
