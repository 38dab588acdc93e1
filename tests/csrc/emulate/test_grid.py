"""Blocks that wait for each other."""

import numpy as np
import pytest
from ringleader.csrc.emulate import KernelError

modes = pytest.mark.parametrize("mode", ["fast", "scrambled"])


@modes
def test_all_blocks_pass_the_barrier_of_the_grid_together(kernels, mode):
    blocks, rounds = 7, 5
    barrier, numbers = np.zeros(1, np.uint32), np.zeros(blocks, np.float32)
    sums = np.zeros((rounds, blocks), np.float32)
    args = [barrier, numbers, sums, np.int32(rounds)]
    kernels("grid.cu").get("in_rounds")(blocks, 32, args, mode=mode, seed=8)
    assert (sums == blocks * np.arange(1, rounds + 1)[:, None]).all()


@modes
def test_the_last_block_adds_what_the_others_left(kernels, mode):
    x = np.arange(1000, dtype=np.float32)
    parts, finished, total = np.full(9, np.nan, np.float32), np.zeros(1, np.uint32), np.zeros(1, np.float32)
    args = [x, parts, finished, total, np.int32(1000)]
    kernels("grid.cu").get("sum_by_last_block<true>")(9, 64, args, mode=mode, seed=8)
    assert total[0] == 499500


def test_polling_for_what_nobody_sets_is_an_error(kernels, line_of):
    with pytest.raises(KernelError, match=r"wait_for_ever: deadlock at grid.cu:\d+.* wait in poll") as caught:
        kernels("grid.cu").get("wait_for_ever")(3, 32, [np.zeros(1, np.uint32)])
    assert caught.value.line == line_of("grid.cu", "wait_for_ever")


def test_neither_pattern_is_a_race(kernels):
    barrier, numbers, sums = np.zeros(1, np.uint32), np.zeros(4, np.float32), np.zeros((3, 4), np.float32)
    report = kernels("grid.cu").get("in_rounds").check(4, 32, [barrier, numbers, sums, np.int32(3)])
    assert report, str(report)
    args = [
        np.ones(500, np.float32),
        np.zeros(4, np.float32),
        np.zeros(1, np.uint32),
        np.zeros(1, np.float32),
    ]
    report = kernels("grid.cu").get("sum_by_last_block<true>").check(4, 64, [*args, np.int32(500)])
    assert report, str(report)


def test_a_missing_fence_is_a_race(kernels):
    args = [
        np.ones(500, np.float32),
        np.zeros(4, np.float32),
        np.zeros(1, np.uint32),
        np.zeros(1, np.float32),
    ]
    report = kernels("grid.cu").get("sum_by_last_block<false>").check(4, 64, [*args, np.int32(500)])
    assert {fault.kind for fault in report.faults} == {"race"}
