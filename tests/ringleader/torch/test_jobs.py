"""How a job starts, ends and fails: scripts as users write them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

START = """
import os, sys, time
from datetime import timedelta
import ringleader.torch
import torch
import torch.distributed as dist
"""
SECONDS = 60  # for each of these jobs to end by itself, also where it fails


@pytest.fixture
def script(tmp_path):
    def write(text):
        path = tmp_path / "script.py"
        path.write_text(START + text)
        return path

    return write


def test_nothing_but_the_name_of_the_backend(torch_job, script):
    """No rank, address or port; and no destroy_process_group at the end, with calls still under way."""
    path = script("""
dist.init_process_group("ringleader")
for name, value in {"RANK": dist.get_rank(), "WORLD_SIZE": 3, "LOCAL_RANK": dist.get_rank()}.items():
    assert os.environ[name] == str(value), name
x = torch.ones(100_000) * dist.get_rank()
dist.all_reduce(x, async_op=True).get_future().then(lambda f: print("sum", int(f.value()[0][-1]), flush=True))
if dist.get_rank() < 2:
    work = dist.irecv(torch.zeros(3), 2)
else:
    dist.isend(torch.ones(3), 0), dist.isend(torch.ones(3), 1)
""")
    done = torch_job(3, path, seconds=SECONDS)
    assert done.returncode == 0, done.stdout[-3000:]
    assert done.stdout.count("sum 3") == 3, done.stdout[-3000:]


def test_again_after_destroying(torch_job, script):
    path = script("""
for value in range(3):
    dist.init_process_group("ringleader", timeout=timedelta(seconds=20))
    group = dist.new_group(backend="gloo")
    for g in (None, group):
        x = torch.tensor([value])
        dist.all_reduce(x, group=g)
        assert x.item() == 2 * value
    dist.destroy_process_group()
print("fine", flush=True)
time.sleep(0.5)  # Gloo drops its last tensor a moment after wait(): PyTorch 2.14 aborts if Python is gone by then
""")
    done = torch_job(2, path, seconds=SECONDS)
    assert done.returncode == 0, done.stdout[-3000:]
    assert done.stdout.count("fine") == 2


def test_an_address_of_the_users_own(torch_job, script):
    path = script("""
assert os.environ["MASTER_ADDR"] == "localhost"
dist.init_process_group("ringleader")
dist.barrier()
print("fine", flush=True)
""")
    done = torch_job(2, path, seconds=SECONDS, MASTER_ADDR="localhost")
    assert done.stdout.count("fine") == 2, done.stdout[-3000:]


def test_an_exception_on_one_rank_ends_the_job_with_its_traceback(torch_job, script):
    path = script("""
dist.init_process_group("ringleader")
if dist.get_rank() == 1:
    raise KeyError("the cause")
dist.all_reduce(torch.ones(3), async_op=True)
dist.all_reduce(torch.ones(3))
""")
    done = torch_job(2, path, seconds=SECONDS)
    assert done.returncode != 0
    assert "Rank 1 of 2 failed" in done.stdout
    assert "KeyError: 'the cause'" in done.stdout


def test_a_rank_that_has_finished_is_named(torch_job, script):
    """Whether the others wait for a collective of it or for a message."""
    path = script("""
dist.init_process_group("ringleader", timeout=timedelta(seconds=300))
group = dist.new_group()
if dist.get_rank() == 0:
    for call in (lambda: dist.recv(torch.ones(3), 1), lambda: dist.all_reduce(torch.ones(3), group=group)):
        try:
            call()
        except RuntimeError as error:
            print("caught", error, flush=True)
""")
    done = torch_job(2, path, seconds=SECONDS)
    assert "caught recv from rank 1 (tag 0) on rank 0: that rank has finished or failed" in done.stdout
    assert "caught call 0 on communicator 'torch group" in done.stdout
    assert "rank 1 did not call" in done.stdout


def test_who_does_not_come_to_a_group_is_named(torch_job, script):
    path = script("""
dist.init_process_group("ringleader")
if dist.get_rank() == 0:
    try:
        dist.new_group([0, 1], timeout=timedelta(seconds=1))
    except RuntimeError as error:
        print("caught", error, flush=True)
dist.barrier()
""")
    done = torch_job(2, path, seconds=SECONDS)
    assert "a process group of ranks [0, 1] is being made, but ranks [1] have not come to it" in done.stdout


def test_who_never_calls_is_named(torch_job, script):
    path = script("""
dist.init_process_group("ringleader")
group = dist.new_group(timeout=timedelta(seconds=1))
if dist.get_rank() != 1:
    try:
        dist.all_reduce(torch.ones(3), group=group)
    except RuntimeError as error:
        print("caught", error, flush=True)
dist.barrier()
""")
    done = torch_job(3, path, seconds=SECONDS)
    assert done.stdout.count("caught call 0") == 2, done.stdout[-3000:]
    assert "rank 1 did not call within 1 s" in done.stdout


def test_ranks_that_are_not_those_of_mpi(torch_job, script, tmp_path):
    path = script("""
rank = 1 - int(os.environ["RANK"])
dist.init_process_group("ringleader", rank=rank, world_size=2, init_method=f"file://{sys.argv[1]}")
""")
    done = torch_job(2, path, tmp_path / "meeting", seconds=SECONDS)
    assert done.returncode != 0
    assert "needs PyTorch's ranks to be MPI's, but PyTorch says rank " in done.stdout


def test_torchrun_is_told_to_be_mpirun(torch_job, script):
    path = script('dist.init_process_group("ringleader")\n')
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", str(path)]
    done = subprocess.run(
        command, timeout=SECONDS, check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode != 0
    assert "torchrun starts processes that MPI does not know of" in done.stdout
    assert "mpirun -n 2 python script.py" in done.stdout


def test_one_process_without_a_launcher(torch_job, script):
    path = script("""
dist.init_process_group("ringleader")
dist.all_reduce(x := torch.ones(3))
print(x, dist.get_world_size())
""")
    command = [sys.executable, str(path)]
    done = subprocess.run(command, timeout=SECONDS, check=False, text=True, capture_output=True)
    assert done.stdout == "tensor([1., 1., 1.]) 1\n", done.stderr


def test_the_script_that_the_docs_show(torch_job, tmp_path):
    text = (Path(__file__).parents[3] / "docs" / "torch.md").read_text()
    path = tmp_path / "train.py"
    path.write_text(re.findall(r"```python\n(.*?)```", text, re.S)[0])
    done = torch_job(2, path, seconds=SECONDS)
    assert done.returncode == 0, done.stdout[-3000:]
    biases = re.findall(r"rank [01] of 2: (\S+)\n", done.stdout)
    assert len(biases) == 2
    assert biases[0] == biases[1]


def test_without_ml_dtypes(torch_job, script):
    path = script("""
sys.modules["ml_dtypes"] = None
dist.init_process_group("ringleader")
dist.all_reduce(torch.ones(3, dtype=torch.bfloat16))
""")
    done = subprocess.run(
        [sys.executable, path], timeout=SECONDS, check=False, text=True, capture_output=True
    )
    assert "TypeError: numpy has no bfloat16 of its own: pip install ml_dtypes" in done.stderr


def test_without_pytorch():
    code = "import sys; sys.modules['torch'] = None; import ringleader.torch"
    done = subprocess.run(
        [sys.executable, "-c", code], timeout=SECONDS, check=False, text=True, capture_output=True
    )
    assert done.returncode != 0
    assert "ringleader.torch needs PyTorch: pip install 'ringleader[torch]'" in done.stderr
