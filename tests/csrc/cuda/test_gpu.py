"""The device that runs kernels on a GPU: what it asks CuPy for, by a stand-in; and what it says where there is none."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from ringleader.csrc.cuda import gpu
from ringleader.csrc.cuda.compiler import compile_kernels
from ringleader.csrc.cuda.gpu import Gpu, NoGpu
from ringleader.csrc.cuda.nvrtc import NoCompiler, toolkit_headers

KERNELS = """
template <typename T>
__global__ void fill(T* x, T value) { x[threadIdx.x] = value; }
__global__ void copy(const float* x, float* y) {
  __shared__ float kept[256];
  kept[threadIdx.x] = x[threadIdx.x];
  y[threadIdx.x] = kept[threadIdx.x];
}
"""


class StandIn:
    """As much of CuPy as the device asks for, on one card; ``done`` lists what it was asked to do."""

    def __init__(self, capability="90", driver=13000, count=1):
        self.done = []

        class CUDARuntimeError(RuntimeError):
            pass

        class CupyDevice:
            def __init__(self, ordinal):
                self.id = ordinal or 0
                self.attributes = {"MultiProcessorCount": 132, "MaxSharedMemoryPerBlockOptin": 227 * 1024}
                self.compute_capability = capability

            def __enter__(self):
                return self

            def __exit__(self, *error):
                pass

        class Module:
            def load(module, cubin):
                module.cubin = cubin
                self.done.append(("load", cubin[:4]))

            def get_function(module, name):
                assert name.encode() in module.cubin
                return Function(name)

        class Function:
            def __init__(self, name):
                self.name, self.ptr = name, name

            def __call__(self, grid, block, args, shared_mem):
                self_args = [(type(value), value) for value in args]
                done.append(("launch", self.name, grid, block, self_args, shared_mem))

        done = self.done
        self.ndarray = Array

        def device_count():
            if count < 0:
                raise CUDARuntimeError("cudaErrorInsufficientDriver")
            return count

        self.cuda = SimpleNamespace(
            Device=CupyDevice,
            function=SimpleNamespace(Module=Module),
            driver=SimpleNamespace(funcSetAttribute=lambda *asked: done.append(("allow", *asked))),
            runtime=SimpleNamespace(
                CUDARuntimeError=CUDARuntimeError,
                driverGetVersion=lambda: driver,
                runtimeGetVersion=lambda: 13050,
                getDeviceCount=device_count,
                getDeviceProperties=lambda id: {"name": b"NVIDIA Stand-in"},
            ),
        )


class Array:
    def __init__(self, address):
        self.data = SimpleNamespace(ptr=address)


@pytest.fixture
def file(tmp_path, monkeypatch):
    try:
        toolkit_headers()
    except NoCompiler as error:
        pytest.skip(str(error))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "kernels.cu").write_text(KERNELS)
    return str(tmp_path / "kernels.cu")


@pytest.fixture
def cupy(monkeypatch):
    stands_in = StandIn()
    monkeypatch.setitem(sys.modules, "cupy", stands_in)
    return stands_in


def test_the_card(file, cupy):
    device = Gpu()
    assert (device.name, device.architecture, device.multiprocessors) == ("NVIDIA Stand-in", 90, 132)
    assert device.target == "90a"
    assert device.xp is cupy


def test_other_cards_are_compiled_for_as_they_are(file, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", StandIn("120"))
    device = Gpu()
    assert (device.architecture, device.target) == (120, "120")


def test_a_launch(file, cupy):
    device = Gpu()
    device.launch(file, "fill<float>", 3, (32, 2), [Array(0x1000), np.float32(0.5)])
    device.launch(file, "fill<float>", (3, 1, 2), 32, [None, np.float32(2)], shared=100)
    load, first, second = cupy.done
    assert load == ("load", b"\x7fELF")
    name = compile_kernels(file, ["fill<float>"], "90a").names["fill<float>"]
    assert first == ("launch", name, (3, 1, 1), (32, 2, 1), [(np.uintp, 0x1000), (np.float32, 0.5)], 0)
    assert second == ("launch", name, (3, 1, 2), (32, 1, 1), [(np.uintp, 0), (np.float32, 2)], 100)


def test_an_empty_grid_is_not_launched(file, cupy):
    Gpu().launch(file, "fill<float>", (0, 4), 32, [None, np.float32(2)])
    assert [what for what, *_ in cupy.done] == ["load"]


@pytest.mark.parametrize("wrong", [1, 1.0, np.zeros(3), "x"])
def test_what_is_no_argument(file, cupy, wrong):
    with pytest.raises(TypeError, match=r"fill<float>: argument 1 is .*; kernels take CuPy arrays, None"):
        Gpu().launch(file, "fill<float>", 1, 32, [None, wrong])
    assert cupy.done == []


def test_much_dynamic_shared_memory_is_asked_for_once(file, cupy):
    """Beyond 48 KB, of which the kernel's static KB counts as used."""
    device = Gpu()
    for shared in (47 << 10, (47 << 10) + 16, 1 << 10, 100 << 10, 64 << 10):
        device.launch(file, "copy", 1, 256, [None, None], shared=shared)
    name = compile_kernels(file, ["copy"], "90a").names["copy"]
    allowed = [done for done in cupy.done if done[0] == "allow"]
    assert allowed == [("allow", name, 8, (47 << 10) + 16), ("allow", name, 8, 100 << 10)]
    with pytest.raises(
        ValueError, match=r"copy wants 231,936 bytes .* on NVIDIA Stand-in it can have 231,424"
    ):
        device.launch(file, "copy", 1, 256, [None, None], shared=(226 << 10) + 512)


def test_a_file_that_was_compiled_ahead_is_loaded_whole(file, cupy, monkeypatch):
    monkeypatch.setattr(gpu, "expressions", lambda file, architecture: ["copy", "fill<float>"])
    compile_kernels(file, ["copy", "fill<float>"], "90a")
    device = Gpu()
    device.launch(file, "fill<float>", 1, 32, [None, np.float32(2)])
    device.launch(file, "copy", 1, 32, [None, None])
    assert [what for what, *_ in cupy.done] == ["load", "launch", "launch"]
    device.launch(file, "fill<double>", 1, 32, [None, np.float64(2)])  # not in it
    assert [what for what, *_ in cupy.done] == ["load", "launch", "launch", "load", "launch"]


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ({"driver": 0}, "needs NVIDIA's driver, and none is loaded"),
        ({"count": 0}, "no GPU is visible: look at nvidia-smi and at CUDA_VISIBLE_DEVICES"),
        (
            {"count": -1},
            r"the driver, for CUDA 13\.0, and CuPy, for CUDA 13\.5, do not work together: cudaErrorIns",
        ),
        (
            {"driver": 11080},
            r"NVRTC 1\d\.\d+ compiles for drivers of CUDA 1\d, this one is for 11\.8: update it, or pip",
        ),
    ],
)
def test_what_is_missing(file, monkeypatch, what, said):
    monkeypatch.setitem(sys.modules, "cupy", StandIn(**what))
    with pytest.raises(NoGpu, match=said):
        Gpu()


def test_without_cupy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(NoGpu, match=r"a GPU needs CuPy .*pip install 'ringleader\[cuda13\]'"):
        Gpu()


def test_on_a_gpu():
    """The real thing."""
    try:
        device = Gpu()
    except (NoGpu, NoCompiler) as error:
        pytest.skip(str(error))
    assert device.multiprocessors > 0
