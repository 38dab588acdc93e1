"""What several test folders share."""

import pytest


@pytest.fixture(scope="session")
def needs_mpi():
    """Skips where the mpi extra is not installed."""
    pytest.importorskip("mpi4py", reason="needs the mpi extra: pip install 'ringleader[mpi]'")
