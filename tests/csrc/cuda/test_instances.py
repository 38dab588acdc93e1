"""Every registered kernel compiles for the architectures it claims, and spills nowhere if it is used.

All of them for all architectures take minutes: --exhaustive. Otherwise each file is compiled for one architecture, in turn,
and docs/kernel-resources.md, which all of them were compiled for, tells of the others.
"""

import os
from pathlib import Path

import pytest
from ringleader.csrc.cuda import catalogue, resources
from ringleader.csrc.cuda.nvrtc import NoCompiler, nvrtc_version, toolkit_headers
from ringleader.csrc.cuda.versions import ARCHITECTURES, INSTANCES

PAGE = Path(__file__).parents[3] / "docs" / "kernel-resources.md"
REMEDY = "make it anew: ringleader kernels compile --arch all --table docs/kernel-resources.md"
FILES = catalogue.files()
PRODUCTION = {(of.file, of.expression) for of in INSTANCES if of.production}

pytestmark = pytest.mark.timeout(3000)


def in_turn():
    """Each file for one of the architectures that all of its kernels claim. Whole files, as for the page: how many
    registers a kernel gets depends on what is compiled with it."""
    of_file = {}
    for build in resources.builds(FILES, ARCHITECTURES):
        of_file.setdefault(build.file, []).append(build)
    chosen = []
    for i, (_, builds) in enumerate(sorted(of_file.items())):
        most = max(len(build.instances) for build in builds)
        whole = [build for build in builds if len(build.instances) == most]
        chosen.append(whole[i % len(whole)])
    return chosen


@pytest.fixture(scope="module")
def compiled(request):
    """Cubins of each file, with what they were to hold."""
    try:
        toolkit_headers()
    except NoCompiler as error:
        pytest.skip(str(error))
    exhaustive = request.config.getoption("--exhaustive")
    wanted = resources.builds(FILES, ARCHITECTURES) if exhaustive else in_turn()
    found = {file: [] for file in FILES}
    for build, cubin in resources.compile_all(wanted, jobs=os.cpu_count()):
        found[build.file].append((build, cubin))
    return found


@pytest.mark.parametrize("file", FILES)
def test_kernels_compile_and_do_not_spill(compiled, file):
    for build, cubin in compiled[file]:
        spilling = [
            of.expression for of in build.instances if of.production and cubin.resources[of.expression].spills
        ]
        assert spilling == [], f"for sm_{build.architecture}"
        assert cubin.warnings == "", f"for sm_{build.architecture}"


def test_every_kernel_is_compiled(compiled):
    made = {
        (of.file, of.expression)
        for builds in compiled.values()
        for build, _ in builds
        for of in build.instances
    }
    assert made == {(of.file, of.expression) for of in INSTANCES}


@pytest.mark.parametrize("file", FILES)
def test_the_page_says_what_the_compiler_says(compiled, file):
    compiler, cells = resources.parsed(PAGE.read_text(encoding="utf-8"))
    if compiler != nvrtc_version():
        pytest.skip(f"the page is of NVRTC {compiler}, this is {nvrtc_version()}")
    found = resources.table(compiled[file])
    for architecture in ARCHITECTURES:
        for of, kernel, (cell,) in resources.rows(found, [architecture]):
            if architecture in found[of, kernel]:
                assert cells.get((of, kernel, architecture)) == cell, f"{kernel}: {REMEDY}"


def test_the_page_has_all_kernels_and_no_spills():
    _, cells = resources.parsed(PAGE.read_text(encoding="utf-8"))
    for build in resources.builds(FILES, ARCHITECTURES):
        for of in build.instances:
            cell = cells.get((of.file, of.expression, build.architecture), "-")
            assert cell != "-", f"{of.expression} is not on the page: {REMEDY}"
            assert "+" not in cell or not of.production, f"{of.expression} spills on sm_{build.architecture}"
    assert {(file, kernel) for file, kernel, _ in cells} == {(of.file, of.expression) for of in INSTANCES}
