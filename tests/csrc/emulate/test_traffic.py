"""The report of the checked mode counts wavefronts of shared and sectors of global memory, line by line."""

import numpy as np

FILE = "faults.cu"


def at(report, space, line):
    return next(r for r in report.requests if (r.space, r.file, r.line) == (space, FILE, line))


def transpose(kernels, name):
    x, y = np.arange(1024, dtype=np.float32), np.zeros(1024, np.float32)
    report = kernels(FILE).get(name).check(1, (32, 32), [x, y])
    assert report, str(report)
    assert (y.reshape(32, 32) == x.reshape(32, 32).T).all()
    return report


def test_bank_conflicts(kernels, line_of):
    line = line_of(FILE, "bank_conflicts")
    found = at(transpose(kernels, "bank_conflicts<true>"), "shared", line)
    assert (found.requests, found.cost, found.ideal) == (32, 32 * 32, 32)
    repaired = at(transpose(kernels, "bank_conflicts<false>"), "shared", line)
    assert (repaired.requests, repaired.cost, repaired.ideal) == (32, 32, 32)


def test_sectors(kernels, line_of):
    report = transpose(kernels, "strided")
    line = line_of(FILE, "strided")
    both = at(report, "global", line)  # 32 reads of 32 sectors, 32 writes of 4
    assert (both.requests, both.cost, both.ideal) == (64, 32 * 32 + 32 * 4, 64 * 4)
    assert f"{FILE}:{line}  global  64 requests of 18.00 sectors (ideal 4.00)" in str(report)


def test_reads_of_16_bytes_a_lane_take_4_wavefronts(kernels):
    args = [np.zeros((64, 32), np.float16), np.zeros((32, 64), np.float16), np.zeros((64, 64), np.float32)]
    kernel = kernels("tensor.cu").get("multiply<__half, true>")
    report = kernel.check(1, 128, [*args, np.int32(64), np.int32(32)], shared=(64 * 40 + 32 * 72) * 2)
    assert report, str(report)
    shared = [r for r in report.requests if r.space == "shared"]
    # cp.async of a's rows of 64 bytes, 80 bytes apart; of b's rows of 128; ldmatrix x4 and x2
    assert [(r.requests, r.cost, r.ideal) for r in shared] == [
        (8, 64, 32),
        (8, 32, 32),
        (16, 64, 64),
        (32, 64, 64),
    ]
