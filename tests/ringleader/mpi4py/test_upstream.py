"""mpi4py's own tests against ours, with 1 to 5 ranks. They are fetched from its source distribution, not kept here.

One rank tries every type of element on every kind of array; more ranks try a part of them, since five ranks take
turns on CI's two cores.
"""

import importlib.metadata
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

RUNNER = Path(__file__).with_name("run_upstream.py")
ROUTED = (
    "test_cco_buf",
    "test_cco_vec",
    "test_cco_obj",
    "test_cco_nb_buf",
    "test_cco_nb_vec",
    "test_msgzero",
)
PASSED_ON = (
    "test_cco_pr_buf", "test_cco_pr_vec", "test_cco_pr_ngh_buf", "test_cco_ngh_buf", "test_cco_ngh_obj",
    "test_cco_buf_inter", "test_cco_vec_inter", "test_cco_obj_inter",
)  # fmt: skip
AROUND = (
    "test_op", "test_comm", "test_comm_topo", "test_comm_inter", "test_subclass", "test_request", "test_grequest",
    "test_p2p_buf", "test_attributes", "test_group",
)  # fmt: skip
STRIDES = {1: 1, 2: 2, 3: 4, 4: 8, 5: 10}  # by ranks: of how many types of element one is tried


@pytest.fixture(scope="module")
def upstream(tmp_path_factory, needs_mpi):
    """The folder of the tests of the mpi4py that is installed."""
    folder = tmp_path_factory.mktemp("mpi4py")
    version = importlib.metadata.version("mpi4py")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "mpi4py"]
    done = subprocess.run(
        [*command, f"mpi4py=={version}"], cwd=folder, timeout=100, check=False, text=True, capture_output=True
    )
    if done.returncode:
        problem = f"mpi4py {version}'s source distribution cannot be fetched: {done.stderr[-500:]}"
        if os.environ.get("CI") == "true":
            pytest.fail(problem)
        pytest.skip(problem)
    (archive,) = folder.glob("mpi4py-*.tar.gz")
    with tarfile.open(archive) as source:
        source.extractall(folder, filter="data") if hasattr(tarfile, "data_filter") else source.extractall(
            folder
        )
    return folder / f"mpi4py-{version}" / "test"


@pytest.fixture
def run(upstream, mpi_job, tmp_path):
    """run(n, modules) gives every rank's report."""

    def on_ranks(n, modules, seconds=280):
        report = tmp_path / "report"
        done = mpi_job(n, RUNNER, upstream, report, STRIDES[n], *modules, seconds=seconds)
        assert done.returncode == 0, done.stdout[-4000:]
        reports = [json.loads(report.with_name(f"report.{rank}").read_text()) for rank in range(n)]
        for found in reports:
            assert found["failed"] == [], "\n".join(found["failed"])[:4000]
        return reports

    return on_ranks


@pytest.mark.timeout(300)
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_the_collectives_of_mpi4pys_tests_run_on_our_programs(n, run):
    from ringleader.mpi4py.communicators import ROUTED as names
    from ringleader.mpi4py.counter import PASSED_ON as allowed

    for found in run(n, ROUTED):
        assert found["ran"] > 290
        assert {test: why for test, why in found["skipped"].items() if why != "openmpi"} == {}
        assert set(found["routed"]) == set(names)
        assert set(found["passed"]) <= set(allowed)
        assert found["runtime"]["vendor"] == 0
        assert found["runtime"]["programs"] >= sum(found["routed"].values()) > 5000


@pytest.mark.timeout(200)
@pytest.mark.parametrize("n", [1, 3])
def test_what_is_passed_on_behaves_as_ever(n, run):
    from ringleader.mpi4py.communicators import ROUTED as names
    from ringleader.mpi4py.counter import PASSED_ON as allowed

    for found in run(n, PASSED_ON, seconds=180):
        # Of the collectives that we do have, only those of intercommunicators may have been passed on.
        assert set(found["passed"]) - set(allowed) <= set(names)
        assert {"Allreduce_init", "Neighbor_allgather", "neighbor_alltoall"} <= set(found["passed"])
        assert ("Allreduce" in found["passed"]) == (n > 1)


@pytest.mark.timeout(200)
@pytest.mark.parametrize("n", [1, 2, 3])
def test_the_rest_of_mpi_is_as_ever(n, run):
    run(n, AROUND, seconds=180)


@pytest.mark.timeout(200)
def test_buffer_specifications_are_mpi4pys(run):
    run(1, ("test_msgspec",), seconds=180)
