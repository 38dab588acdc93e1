"""The memory of large arrays is kept for the next ones of their size, by numpy's own means (NEP 49)."""

import os
import subprocess
import sys
from textwrap import dedent

import numpy as np
import pytest

kernels = pytest.importorskip("ringleader.csrc.cpu._kernels", reason="the kernels are not built")


def run(code):
    """In a process of its own, whose memory nobody else has used; prints what it finds."""
    start = """
        import numpy as np
        from ringleader.csrc.cpu import _kernels
        _kernels.keep_memory()
        KIB, MIB = 1 << 10, 1 << 20
        address = lambda a: a.__array_interface__["data"][0]
    """
    command = [sys.executable, "-c", dedent(start) + dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_the_next_array_of_about_that_size_gets_the_memory():
    same = run("""
        a = np.empty(MIB, np.uint8)
        first = address(a)
        del a
        print(_kernels.bytes_kept() == MIB)
        b = np.empty(MIB - 100 * KIB, np.uint8)
        print(address(b) == first, _kernels.bytes_kept() == 0)
        print(address(np.empty(MIB // 2)) != first)  # another size, while b is there
    """)
    assert same == ["True"] * 4


def test_small_arrays_are_not_kept():
    assert run("a = np.empty(60 * KIB, np.uint8); del a; print(_kernels.bytes_kept())") == ["0"]


def test_no_more_than_a_gibibyte_is_kept():
    got = run("""
        many = [np.empty(256 * MIB, np.uint8) for _ in range(6)]
        huge = np.empty(3 << 30, np.uint8)  # no memory before it is touched
        del many, huge
        print(_kernels.bytes_kept() // MIB)
    """)
    assert got == ["1024"]


def test_zeros_are_zeros_in_memory_that_was_used():
    got = run("""
        a = np.full(MIB, 7, np.uint8)
        first = address(a)
        del a
        b = np.zeros(MIB - 5, np.uint8)
        print(address(b) == first, b.any())
        c = np.zeros(1 << 33, np.uint8)  # not touched: costs nothing
        print(c[12345], np.zeros(0).size)
    """)
    assert got == ["True", "False", "0", "0"]


def test_arrays_grow_and_shrink_and_are_freed_wherever_they_come_from():
    got = run("""
        a = np.arange(MIB)
        for size in (2 * MIB, 10, 3 * MIB, 5 * MIB, 0):
            a.resize(size, refcheck=False)
            assert (a[:10] == np.arange(10)[: min(10, size)]).all()
        import threading
        b = [np.ones(MIB)]
        threads = [threading.Thread(target=lambda: b.append(b.pop() + 1)) for _ in range(8)]
        for t in threads: t.start(); t.join()
        print(int(b[0].sum()) // MIB)
        print(np._core.multiarray.get_handler_name(np.empty(3)) if hasattr(np, "_core") else "ringleader")
    """)
    assert got == ["9", "ringleader"]


def test_the_kernels_are_loaded_with_it():
    probe = "import numpy as np, ringleader.runtime.autograd; print(np._core.multiarray.get_handler_name(np.empty(3)))"
    if not hasattr(np, "_core"):
        pytest.skip("numpy 1 has the function elsewhere")
    for wanted, name in (("native", "ringleader"), ("numpy", "default_allocator")):
        done = subprocess.run([sys.executable, "-c", probe], env={**os.environ, "RINGLEADER_KERNELS": wanted},
                              capture_output=True, text=True, timeout=60)  # fmt: skip
        assert done.stdout.strip() == name
