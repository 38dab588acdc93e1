"""The process group's calls give what PyTorch promises, on one to four ranks."""

import pytest


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_collectives(n, on_ranks):
    on_ranks(n, "ranks_collectives.py")


@pytest.mark.parametrize("n", [2, 3])
def test_messages(n, on_ranks):
    on_ranks(n, "ranks_messages.py")
