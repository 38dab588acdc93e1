"""Options of the whole suite, and what several test folders share."""

import os

import pytest

os.environ["RINGLEADER_TUNING"] = "off"  # what was measured on this machine is not for the tests


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--exhaustive", action="store_true", help="prove every root for all rank counts up to 130 (hours)"
    )


@pytest.fixture
def exhaustive(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--exhaustive"))


@pytest.fixture(scope="session")
def needs_mpi() -> None:
    """Skips where the mpi extra is not installed."""
    pytest.importorskip("mpi4py", reason="needs the mpi extra: pip install 'ringleader[mpi]'")
