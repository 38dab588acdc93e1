"""Planted bugs: the checked mode says what and where, the scrambled mode computes something else, repaired all is well."""

import numpy as np
import pytest
from ringleader.csrc.emulate import EmulatedDevice, KernelError

FILE = "faults.cu"
X = np.arange(1, 257, dtype=np.float32)


def args_of(name):
    """Grid, block, arguments (the last array is the result), bytes of dynamic shared memory."""
    y = np.zeros(1024, np.float32)
    return {
        "missing_barrier": (2, 64, [X, y[:128]], 0),
        "missing_second_barrier": (1, 64, [X, y[:64], np.int32(4)], 0),
        "missing_syncwarp": (1, 32, [X, y[:32]], 0),
        "one_too_far": (2, 64, [X[:100], y[:100], np.int32(100)], 0),
        "past_shared": (1, 64, [X, y[:64]], 0),
        "past_dynamic": (1, 64, [X, y[:64]], 256),
        "uninitialised": (1, 64, [X, y[:64]], 0),
        "missing_wait": (1, 32, [X, y[:128]], 0),
        "wait_for_too_few": (1, 32, [X, y[:32]], 0),
        "divergent_barrier": (1, 32, [y[:32]], 0),
        "missing_lane": (1, 32, [X, y[:32]], 0),
        "blocks_collide": (4, 32, [y[:4]], 0),
    }[name]


KINDS = {
    "missing_barrier": "race", "missing_second_barrier": "race", "missing_syncwarp": "race", "one_too_far": "out of bounds",
    "past_shared": "out of bounds", "past_dynamic": "out of bounds", "uninitialised": "uninitialised",
    "missing_wait": "copy under way", "wait_for_too_few": "copy under way", "divergent_barrier": "divergent barrier",
    "missing_lane": "deadlock", "blocks_collide": "race",
}  # fmt: skip


def check(kernels, name, bug, seed):
    grid, block, args, shared = args_of(name)
    kernel = kernels(FILE).get(f"{name}<{'true' if bug else 'false'}>")
    return kernel.check(grid, block, args, shared=shared, seed=seed)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", KINDS)
def test_the_checked_mode_finds_it(kernels, line_of, name, seed):
    report = check(kernels, name, True, seed)
    assert KINDS[name] in {fault.kind for fault in report.faults}, str(report)
    if name not in ("divergent_barrier", "missing_lane"):
        places = {(fault.file, fault.line) for fault in report.faults if fault.kind == KINDS[name]}
        messages = " ".join(fault.message for fault in report.faults)
        here = (FILE, line_of(FILE, name))
        assert here in places or f"{here[0]}:{here[1]}" in messages, str(report)
    assert name in str(report)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", KINDS)
def test_repaired_it_is_clean(kernels, name, seed):
    report = check(kernels, name, False, seed)
    assert report, str(report)


def result(kernels, name, bug, mode, seed=0):
    grid, block, args, shared = args_of(name)
    kernel = kernels(FILE).get(f"{name}<{'true' if bug else 'false'}>")
    kernel(grid, block, args, shared=shared, mode=mode, seed=seed)
    return next(argument for argument in reversed(args) if isinstance(argument, np.ndarray))


@pytest.mark.parametrize(
    "name",
    [
        "missing_barrier",
        "missing_second_barrier",
        "missing_syncwarp",
        "uninitialised",
        "missing_wait",
        "wait_for_too_few",
    ],
)
def test_the_scrambled_mode_computes_something_else(kernels, name):
    right = result(kernels, name, False, "fast")
    assert all(np.array_equal(result(kernels, name, False, "scrambled", seed), right) for seed in range(5))
    assert not any(np.array_equal(result(kernels, name, True, "scrambled", seed), right) for seed in range(5))


def test_a_race_names_both_lines(kernels, line_of):
    report = check(kernels, "missing_barrier", True, 0)
    message = report.faults[0].message
    here = line_of(FILE, "missing_barrier")
    lines = {report.faults[0].line} | {int(message.split(f"{FILE}:")[1].split()[0])}
    assert lines == {here, here - 2}
    assert "tile" in message


@pytest.mark.parametrize("mode", ["fast", "scrambled"])
def test_a_divergent_barrier_is_an_error(kernels, mode):
    with pytest.raises(KernelError, match="divergent barrier") as caught:
        result(kernels, "divergent_barrier", True, mode)
    assert caught.value.file == FILE
    assert "wait in __syncthreads at faults.cu:" in str(caught.value)


@pytest.mark.parametrize("mode", ["fast", "scrambled"])
def test_a_missing_lane_is_a_deadlock_and_says_who_waits_where(kernels, line_of, mode):
    with pytest.raises(KernelError) as caught:
        result(kernels, "missing_lane", True, mode)
    line = line_of(FILE, "missing_lane")
    message = str(caught.value)
    assert caught.value.kind == "deadlock"
    assert f"31 threads, first (0, 0, 0), wait in __shfl_xor_sync at {FILE}:{line}" in message
    assert f"1 thread, first (7, 0, 0), waits in __syncthreads at {FILE}:{line + 1}" in message


def test_after_an_error_the_next_launch_works(kernels):
    for _ in range(3):
        with pytest.raises(KernelError):
            result(kernels, "missing_lane", True, "fast")
        assert (result(kernels, "missing_barrier", False, "fast")[:64] == X[63::-1]).all()


def test_a_wild_pointer_is_an_error_with_its_line(kernels, line_of):
    y = np.zeros(32, np.float32)
    with pytest.raises(KernelError, match=r"crash at faults\.cu") as caught:
        kernels(FILE).get("wild")(1, 32, [y, np.int64(1 << 44)])
    assert caught.value.line == line_of(FILE, "wild")
    report = kernels(FILE).get("wild").check(1, 32, [y, np.int64(1 << 44)])
    assert [fault.kind for fault in report.faults] == ["out of bounds"]


def test_too_much_of_a_stack_is_an_error(kernels):
    with pytest.raises(KernelError, match="the stack of 128 KB is used up"):
        kernels(FILE).get("deep")(1, 32, [np.zeros(32, np.float32), np.int32(5)])


def test_a_checked_device_raises_and_keeps_reports(kernels):
    device = EmulatedDevice(mode="checked")
    file = kernels(FILE).file
    grid, block, args, _ = args_of("missing_barrier")
    device.launch(str(file), "missing_barrier<false>", grid, block, args)
    with pytest.raises(KernelError, match=r"missing_barrier<true>: race at faults\.cu"):
        device.launch(str(file), "missing_barrier<true>", grid, block, args)
    assert [bool(report) for report in device.reports] == [True, False]
