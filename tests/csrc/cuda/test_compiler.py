"""NVRTC on small kernels of the test's own: resources, errors with lines, and the cache."""

import subprocess
import sys
import textwrap

import pytest
from ringleader.csrc.cuda import bindings, compiler, cubins, nvrtc
from ringleader.csrc.cuda.compiler import compile_kernels
from ringleader.csrc.cuda.nvrtc import CompileError, NoCompiler

KERNELS = """\
#include "scale.cuh"

template <typename T>
__global__ void scale(T* x, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) x[i] *= FACTOR;
}

__global__ void reverse(float* x) {
  __shared__ float kept[64];
  kept[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  x[threadIdx.x] = kept[63 - threadIdx.x];
}

// 32 registers a thread at most, and 120 numbers to keep.
template <typename T>
__global__ void __launch_bounds__(1024, 2) spilling(T* x, int n) {
  T kept[120];
#pragma unroll
  for (int i = 0; i < 120; i++) kept[i] = x[i * n];
  __syncthreads();
#pragma unroll
  for (int i = 0; i < 120; i++) x[i * n + 1] = kept[119 - i] * kept[(i * 7) % 120];
}
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A kernel file that includes a header, which includes another; and a cache of its own."""
    try:
        nvrtc.toolkit_headers()
    except NoCompiler as error:
        pytest.skip(str(error))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "scale.cu").write_text(KERNELS)
    (tmp_path / "scale.cuh").write_text('#pragma once\n#include "factor.cuh"\n')
    (tmp_path / "factor.cuh").write_text("#pragma once\n#define FACTOR 2\n")
    return tmp_path / "scale.cu"


@pytest.fixture
def compilations(monkeypatch):
    """The expressions that NVRTC was asked for, call by call."""
    asked = []
    real = compiler.nvrtc_compile

    def counted(source, name, headers, options, expressions):
        asked.append(tuple(expressions))
        return real(source, name, headers, options, expressions)

    monkeypatch.setattr(compiler, "nvrtc_compile", counted)
    return asked


def test_resources_of_each_kernel(file):
    made = compile_kernels(file, ["scale<float>", "scale<double>", "reverse", "spilling<float>"], "80")
    assert made.binary[:4] == b"\x7fELF"
    assert (
        set(made.names)
        == set(made.resources)
        == {"scale<float>", "scale<double>", "reverse", "spilling<float>"}
    )
    assert all(name.encode() in made.binary for name in made.names.values())
    plain, shared, spilling = (made.resources[e] for e in ("scale<float>", "reverse", "spilling<float>"))
    assert (plain.shared, plain.stack, plain.spills) == (0, 0, False)
    assert (shared.shared, shared.spills) == (256, False)
    assert spilling.spills
    assert spilling.registers == 32
    assert spilling.stack >= spilling.spill_stores > 0
    assert made.warnings == ""


@pytest.mark.parametrize("architecture", ["75", "90a", "120"])
def test_code_is_for_the_architecture(file, architecture):
    assert f"sm_{architecture}".encode() in compile_kernels(file, ["reverse"], architecture).binary


def test_subnormal_floats_count_as_zero(file):
    """As the emulator has it; without --ftz=true there is no .FTZ, and the two files are alike."""
    file.write_text("__global__ void add(float* x, float y) { *x += y; }")
    flushing = compile_kernels(file, ["add"], "80").binary
    options = [option for option in compiler.OPTIONS if not option.startswith("--ftz")]
    keeping = nvrtc.nvrtc_compile(
        file.read_text(), "scale.cu", {}, ["--gpu-architecture=sm_80", *options], ["add"]
    )
    assert flushing != keeping.cubin
    assert "--ftz=true" in compiler.OPTIONS


def test_wgmma_that_the_compiler_has_wait_is_a_warning(tmp_path, monkeypatch):
    """Sums that are read before their wait."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = tmp_path / "early.cu"
    file.write_text("""
#include "hopper.cuh"
__global__ void early(float* out, unsigned long long a) {
  float d[32] = {};
  wgmma_fence();
  wgmma<__half, false>(d, a, a, true);
  wgmma_commit();
  out[threadIdx.x] = d[0];
  wgmma_wait<0>();
  for (int i = 0; i < 32; i++) out[threadIdx.x * 32 + i] += d[i];
}
""")
    assert "wgmma.wait_group is injected" in compile_kernels(file, ["early"], "90a").warnings


def test_warnings_are_kept(file):
    file.write_text("__global__ void idle(int* x) { int unused; }")
    for _ in range(2):  # compiled, and from the cache
        assert (
            f'{file}(1): warning #177-D: variable "unused"' in compile_kernels(file, ["idle"], "80").warnings
        )


def test_an_error_shows_the_line_of_the_file(file):
    file.write_text(KERNELS.replace("x[i] *= FACTOR", "x[i] *= FACTORS"))
    with pytest.raises(CompileError) as error:
        compile_kernels(file, ["scale<float>"], "80")
    assert f'{file}(6): error: identifier "FACTORS" is undefined' in str(error.value)
    assert "if (i < n) x[i] *= FACTORS;" in str(error.value)


def test_an_error_in_a_header_shows_its_line(file):
    header = file.with_name("factor.cuh")
    header.write_text("#pragma once\n\n#error no factor\n")
    with pytest.raises(CompileError, match=r"factor\.cuh\(3\).*no factor") as error:
        compile_kernels(file, ["scale<float>"], "80")
    assert str(header) in str(error.value)


def test_an_error_in_a_file_of_ours_shows_where_it_lies_in_the_checkout(file, monkeypatch):
    file.write_text("\n__global__ void wrong() { right(); }\n")
    monkeypatch.setattr(compiler, "HERE", file.parent)
    with pytest.raises(CompileError, match=r"csrc/cuda/scale\.cu\(2\): error: "):
        compile_kernels("scale.cu", ["wrong"], "80")


def test_no_such_kernel(file):
    with pytest.raises(CompileError, match='identifier "scales" is undefined'):
        compile_kernels(file, ["scales<float>"], "80")


def test_no_such_architecture(file):
    with pytest.raises(CompileError, match="sm_12345"):
        compile_kernels(file, ["reverse"], "12345")


def test_what_was_compiled_is_kept(file, compilations):
    first = compile_kernels(file, ["reverse", "scale<float>"], "80")
    again = compile_kernels(file, ["reverse", "scale<float>", "reverse"], "80")
    assert again == first
    assert compiler.compiled_before(file, ["reverse", "scale<float>"], "80") == first
    assert compilations == [("reverse", "scale<float>")]


@pytest.mark.parametrize(
    "changed", ["source", "header", "inner header", "options", "architecture", "kernels", "nvrtc", "toolkit"]
)
def test_what_a_cubin_depends_on(file, compilations, monkeypatch, changed):
    compile_kernels(file, ["scale<float>"], "80")
    expressions, architecture = ["scale<float>"], "80"
    if changed == "source":
        file.write_text(KERNELS + "\n")
    elif changed == "header":
        file.with_name("scale.cuh").write_text('#include "factor.cuh"\n')
    elif changed == "inner header":
        file.with_name("factor.cuh").write_text("#define FACTOR 3\n")
    elif changed == "options":
        monkeypatch.setattr(compiler, "OPTIONS", (*compiler.OPTIONS, "--fmad=false"))
    elif changed == "architecture":
        architecture = "86"
    elif changed == "kernels":
        expressions.append("reverse")
    else:
        name = {"nvrtc": "nvrtc_version", "toolkit": "headers_version"}[changed]
        monkeypatch.setattr(compiler, name, lambda: "another")
    assert compiler.compiled_before(file, expressions, architecture) is None
    compile_kernels(file, expressions, architecture)
    assert len(compilations) == 2


def test_a_damaged_file_is_not_trusted(file, compilations):
    first = compile_kernels(file, ["reverse"], "80")
    (kept,) = cubins.folder().iterdir()
    whole = kept.read_bytes()
    for damaged in (b"", whole[:-1], whole[:100], whole[:-9] + b"!" + whole[-8:], b"no line"):
        kept.write_bytes(damaged)
        assert compile_kernels(file, ["reverse"], "80") == first
        assert kept.read_bytes() == whole  # mended
    assert len(compilations) == 6


def test_a_cache_that_cannot_be_written_is_done_without(file, compilations, monkeypatch, tmp_path):
    (tmp_path / "occupied").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "occupied"))
    assert compile_kernels(file, ["reverse"], "80") == compile_kernels(file, ["reverse"], "80")
    assert len(compilations) == 2


def test_two_processes_at_once(file):
    """Both compile the same, many times, since a third hand keeps deleting it; neither ever sees half a file."""
    code = textwrap.dedent(f"""
        from contextlib import suppress
        from ringleader.csrc.cuda import cubins
        from ringleader.csrc.cuda.compiler import compile_kernels
        for _ in range(20):
            made = compile_kernels({str(file)!r}, ["reverse"], "80")
            assert made.resources["reverse"].shared == 256 and made.binary[:4] == b"\\x7fELF"
            with suppress(FileNotFoundError):
                for kept in cubins.folder().glob("[!.]*"):
                    kept.unlink()
    """)
    jobs = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [job.wait(timeout=60) for job in jobs] == [0, 0]
    assert list(cubins.folder().glob(".*")) == []  # no temporary file is left


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for relative in ("", "cache"):
        monkeypatch.setenv("XDG_CACHE_HOME", relative)
        assert cubins.folder() == tmp_path / ".cache" / "ringleader" / "kernels"


@pytest.fixture
def unfound():
    """Finds the binding and the headers anew, before and after."""
    remembered = (nvrtc.binding, nvrtc.toolkit_headers, nvrtc.headers_version)
    for found in remembered:
        found.cache_clear()
    yield
    for found in remembered:
        found.cache_clear()


@pytest.mark.usefixtures("unfound")
def test_without_a_compiler_it_says_what_to_install(file, monkeypatch):
    for missing in ("cuda.bindings", "cupy", "cupy.cuda"):
        monkeypatch.setitem(sys.modules, missing, None)
    nvrtc.binding.cache_clear()
    with pytest.raises(
        NoCompiler, match=r"no NVRTC .*cuda\.bindings.*cupy.*pip install 'ringleader\[kernels\]'"
    ):
        compile_kernels(file, ["reverse"], "80")


@pytest.mark.usefixtures("unfound")
def test_without_headers_it_says_what_to_install(file, monkeypatch):
    nvrtc.toolkit_headers.cache_clear()
    monkeypatch.setattr(nvrtc, "NEEDED", ("cuda_fp17.h",))
    with pytest.raises(
        NoCompiler, match=r"cuda_fp17\.h.* pip install 'ringleader\[kernels\]', or set CUDA_PATH"
    ):
        compile_kernels(file, ["reverse"], "80")


def test_the_binding_of_cupy(file, monkeypatch):
    """Where CuPy is installed: the same cubin."""
    pytest.importorskip("cupy", reason="needs CuPy: pip install 'ringleader[cuda13]'")
    try:
        bindings.CupyBinding.version()
    except RuntimeError as error:
        pytest.skip(f"CuPy finds no NVRTC: {error}")
    first = compile_kernels(file, ["reverse", "scale<float>"], "80")
    monkeypatch.setattr(nvrtc, "binding", lambda: bindings.CupyBinding)
    monkeypatch.setenv("XDG_CACHE_HOME", str(file.parent / "another"))
    assert compile_kernels(file, ["reverse", "scale<float>"], "80") == first
    with pytest.raises(CompileError, match='identifier "scales" is undefined'):
        compile_kernels(file, ["scales"], "80")
