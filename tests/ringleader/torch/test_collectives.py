"""The process group's calls do what PyTorch promises, on one to four ranks."""

import pytest

FILES = ["ranks_collectives.py", "ranks_messages.py", "ranks_work.py"]


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("n", "files"), [(1, FILES[:1]), (2, FILES), (3, FILES), (4, FILES[:2])])
def test_on_ranks(n, files, on_ranks):
    on_ranks(n, *files)
