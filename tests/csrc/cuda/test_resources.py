"""Tables of what kernels take, and plans of launches."""

import numpy as np
import pytest
from ringleader.csrc.cuda import catalogue, planned, resources, versions
from ringleader.csrc.cuda.cubins import Cubin, Resources
from ringleader.csrc.cuda.nvrtc import CompileError, NoCompiler, nvrtc_version
from ringleader.csrc.cuda.versions import Example, Instance, Version


def build(architecture, *expressions, file="sum.cu"):
    return resources.Build(file, architecture, tuple(Instance(file, e) for e in expressions))


def cubin(**by_expression):
    return Cubin(b"", {}, {e: Resources(*of) for e, of in by_expression.items()})


def test_a_page_can_be_read_again():
    compiled = [
        (build("80", "sum<float, 128>", "sum<float, 32>"),
         Cubin(b"", {}, {"sum<float, 128>": Resources(40, 256, 0, 0, 0), "sum<float, 32>": Resources(32, 64, 8, 0, 0)})),
        (build("90a", "sum<float, 32>"), Cubin(b"", {}, {"sum<float, 32>": Resources(33, 128, 32, 16, 8)})),
    ]  # fmt: skip
    page = resources.markdown(resources.table(compiled), ["80", "90a"], "13.0")
    assert "| `sum<float, 32>` | 128 | 32 | 33 + 24 B |\n| `sum<float, 128>` | 256 | 40 | - |\n" in page
    compiler, cells = resources.parsed(page)
    assert compiler == "13.0"
    assert cells == {
        ("sum.cu", "sum<float, 32>", "shared"): "128",
        ("sum.cu", "sum<float, 32>", "80"): "32",
        ("sum.cu", "sum<float, 32>", "90a"): "33 + 24 B",
        ("sum.cu", "sum<float, 128>", "shared"): "256",
        ("sum.cu", "sum<float, 128>", "80"): "40",
        ("sum.cu", "sum<float, 128>", "90a"): "-",
    }


def test_builds_are_of_what_claims_the_architecture(monkeypatch):
    monkeypatch.setattr(catalogue, "INSTANCES", [
        Instance("a.cu", "f"), Instance("b.cu", "g", least=80), Instance("b.cu", "h", least=90, only="90a"),
        Instance("b.cu", "g", least=80, production=False),
    ])  # fmt: skip
    found = resources.builds(["a.cu", "b.cu"], ["75", "80", "90a"])
    assert [(of.file, of.architecture, [i.expression for i in of.instances]) for of in found] == [
        ("b.cu", "90a", ["g", "h"]), ("a.cu", "75", ["f"]), ("a.cu", "80", ["f"]), ("b.cu", "80", ["g"]), ("a.cu", "90a", ["f"]),
    ]  # fmt: skip
    assert all(i.production for of in found for i in of.instances)  # if one of two registrations says so


@pytest.mark.parametrize("jobs", [1, 2])
def test_several_are_compiled_at_once(tmp_path, monkeypatch, jobs):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    try:
        nvrtc_version()
    except NoCompiler as error:
        pytest.skip(str(error))
    file = tmp_path / "sum.cu"
    file.write_text(
        "template <int N> __global__ void sum(float* x) { __shared__ float s[N]; s[threadIdx.x] = *x; *x = s[1]; }"
    )
    wanted = [build(a, f"sum<{n}>", file=str(file)) for a in ("80", "90") for n in (2, 64)]
    found = dict(resources.compile_all(wanted, jobs))
    assert set(found) == set(wanted)
    shared = {(b.architecture, e): of.shared for b, c in found.items() for e, of in c.resources.items()}
    assert shared == {
        ("80", "sum<2>"): 8,
        ("80", "sum<64>"): 256,
        ("90", "sum<2>"): 8,
        ("90", "sum<64>"): 256,
    }
    with pytest.raises(CompileError, match='identifier "none" is undefined'):
        list(resources.compile_all([*wanted, build("80", "none", file=str(file))], jobs))


def test_a_plan(monkeypatch):
    monkeypatch.setattr(versions, "VERSIONS", {
        "sum": [Version("sum", "mma", least=80), Version("sum", "clear", dtypes=("float32",))]})  # fmt: skip

    def run(device, draw, version, m, n):
        chosen = versions.choose("sum", device.architecture, draw.dtype, version=version).name
        device.launch(
            "sum.cu", chosen, (m, device.multiprocessors), n, [draw(m, n), draw.integers(1, 5, 2)], shared=7
        )

    example = Example("sum", ("M", "N"), (2, 3), run)
    choices, launches = planned.plan(example, (10, 20), np.float32, 75, multiprocessors=6)
    assert [(c.version.name, list(c.refused)) for c in choices] == [("clear", ["mma"])]
    assert launches == [planned.Launch("sum.cu", "clear", (10, 6, 1), (20, 1, 1), 7)]
    with pytest.raises(ValueError, match="clear takes float32, not float16"):
        planned.plan(example, (10, 20), np.float16, 75)
    assert example.check(None) == (2, 3)
    assert example.check([4, 5]) == (4, 5)
    with pytest.raises(ValueError, match="sum takes a shape M,N, like 2,3, not 4"):
        example.check([4])


@pytest.mark.parametrize("operator", sorted(catalogue.operators()))
def test_every_operator_has_an_example_of_registered_kernels(operator):
    """Whatever an example launches, in any dtype and on any card, is among the kernels that are compiled and checked."""
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="needs ml_dtypes, numpy's bfloat16")
    example = versions.EXAMPLES[operator]
    registered = {(of.file, of.expression): of for of in versions.INSTANCES}
    for name in versions.ALL:
        dtype = np.dtype(getattr(ml_dtypes, name) if name == "bfloat16" else name)
        for architecture in (75, 80, 90, 120):
            try:
                _, launches = planned.plan(example, example.default, dtype, architecture)
            except ValueError:  # no version for this dtype
                assert not any(name in v.dtypes for v in versions.VERSIONS[operator])
                continue
            assert launches
            for launch in launches:
                assert registered[launch.file, launch.expression].least <= architecture
