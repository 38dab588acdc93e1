"""What does not fit is refused before the launch; kernels are compiled once and kept."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ringleader.csrc.emulate import CompileError, EmulatedDevice, compiler, load

X, Y = np.ones(64, np.float32), np.zeros(64, np.float32)


@pytest.fixture
def scale(kernels):
    return kernels("language.cu").get("scale_packs<float>")  # const float*, float*, float, int


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([X, Y, np.float32(2)], r"scale_packs<float> takes 4 arguments, 3 were given"),
        ([X.astype("f8"), Y, np.float32(2), np.int32(1)], "argument 0 is an array of float64, the kernel's pointer is to float"),
        ([X, Y, np.float64(2), np.int32(1)], "argument 2 is a float: it takes a numpy scalar float32, not float64 2.0"),
        ([X, Y, 2.0, np.int32(1)], "argument 2 is a float: .* not float 2.0"),
        ([X, Y, np.float32(2), np.int64(1)], "argument 3 is a int: .* int32, not int64 1"),
        ([X, [1.0], np.float32(2), np.int32(1)], "argument 1 is for a pointer: it takes a numpy array or None, not list"),
        ([X, np.broadcast_to(Y, 64), np.float32(2), np.int32(1)], "argument 1 is a read-only array"),
    ],
)  # fmt: skip
def test_arguments_that_do_not_fit(scale, args, message):
    with pytest.raises(TypeError, match=message):
        scale(1, 32, args)


def test_a_read_only_array_for_a_pointer_to_const(scale):
    x = X.copy()
    x.setflags(write=False)
    y = np.zeros(64, np.float32)
    scale(1, 32, [x, y, np.float32(3), np.int32(16)])
    assert (y == 3).all()


def test_a_view_is_its_first_element(scale):
    x = np.arange(64, dtype=np.float32)
    y = np.zeros(64, np.float32)
    scale(1, 32, [x[16:], y[32:], np.float32(1), np.int32(2)])
    assert y.tolist() == [0] * 32 + list(range(16, 24)) + [0] * 24


@pytest.mark.parametrize(
    ("grid", "block", "shared", "message"),
    [
        (0, 32, 0, r"no GPU takes a grid of \(0, 1, 1\) blocks"),
        ((1, 70000), 32, 0, "no GPU takes a grid"),
        (1, 1025, 0, "no GPU takes a block"),
        (1, (1, 1, 65), 0, "no GPU takes a block"),
        (1, 32, 1 << 20, "1048576 bytes of dynamic and 0 of static shared memory"),
    ],
)
def test_launches_that_no_gpu_takes(scale, grid, block, shared, message):
    with pytest.raises(ValueError, match=message):
        scale(grid, block, [X, Y, np.float32(1), np.int32(1)], shared=shared)


def test_unknown_modes(scale):
    with pytest.raises(ValueError, match="mode is one of fast, scrambled, not 'quick'"):
        scale(1, 32, [], mode="quick")
    with pytest.raises(ValueError, match="fast, scrambled or checked, not 'quick'"):
        EmulatedDevice(mode="quick")


def test_a_device_launches(kernels):
    device = EmulatedDevice(architecture=90)
    y = device.xp.zeros(64, np.float32)
    args = [X, y, np.float32(5), np.int32(16)]
    device.launch(str(kernels("language.cu").file), "scale_packs<float>", 1, 32, args)
    assert (y == 5).all()
    assert device.architecture == 90


def test_no_such_file():
    with pytest.raises(FileNotFoundError, match=r"no kernel file .*nothing\.cu"):
        load("nothing.cu")


def test_a_failed_compile_shows_the_line(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    file = tmp_path / "wrong.cu"
    file.write_text('#include "common.cuh"\n__global__ void wrong(float* x) {\n  x[0] = threadIdx.q;\n}\n')
    with pytest.raises(
        CompileError, match=r"(?s)wrong\.cu: wrong does not compile:.*wrong\.cu:3:\d+: error.*threadIdx\.q"
    ):
        load(file).get("wrong")(1, 1, [np.zeros(1, np.float32)])
    with pytest.raises(CompileError, match="wrong<float>"):
        load(file).get("wrong<float>")(1, 1, [np.zeros(1, np.float32)])
    assert not list((tmp_path / "ringleader" / "emulate").glob("build-*"))  # nothing is left half made


def test_a_change_of_the_file_is_a_new_kernel(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = tmp_path / "set.cu"
    (tmp_path / "value.cuh").write_text("#define VALUE 1\n")
    file.write_text(
        '#include "common.cuh"\n#include "value.cuh"\n__global__ void set(int* x) { *x = VALUE; }\n'
    )
    first = compiler.build(file, "set", checked=False)
    assert compiler.build(file, "set", checked=False) == first
    (tmp_path / "value.cuh").write_text("#define VALUE 2\n")
    assert compiler.build(file, "set", checked=False) != first


def test_two_processes_at_once(tmp_path):
    """Both compile into one cache; both get whole files."""
    file = tmp_path / "one.cu"
    file.write_text('#include "common.cuh"\n__global__ void one(int* x) { *x = 1; }\n')
    code = (
        "import sys, numpy as np; from ringleader.csrc.emulate import load; x = np.zeros(1, np.int32); "
        "load(sys.argv[1]).get('one')(1, 1, [x]); print(x[0])"
    )
    root = Path(compiler.__file__).parents[2]
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    jobs = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(file)],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=root,
        )
        for _ in range(2)
    ]
    assert [job.communicate(timeout=100)[0].strip() for job in jobs] == ["1", "1"]


def test_without_a_compiler_it_says_what_to_install(kernels, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    compiler.compiler.cache_clear()
    try:
        with pytest.raises(
            CompileError, match=r"no-such-compiler, and there is none: install it .*apt-get install g"
        ):
            compiler.compiler()
    finally:
        compiler.compiler.cache_clear()
