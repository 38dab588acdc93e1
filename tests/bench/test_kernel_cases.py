"""The cases that are measured on a GPU, small, on the emulator and PyTorch's CPU: each side computes what it must, and what
does not is caught before it is timed. Nothing here says how long anything takes."""

import dataclasses
import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="it measures PyTorch")
pytest.importorskip("ml_dtypes", reason="numpy's bfloat16")
if shutil.which("g++") is None:
    pytest.skip("the emulator needs g++", allow_module_level=True)

from helpers.fake_clock import FakeClock  # noqa: E402
from ringleader.bench.gpu import attention, convolution, elements, recurrent, rows  # noqa: E402
from ringleader.bench.gpu.case import COPY, OURS, WHOLE  # noqa: E402
from ringleader.bench.gpu.place import Place, bfloat16  # noqa: E402
from ringleader.bench.gpu.trial import (  # noqa: E402
    contestants,
    copying,
    error_share,
    fitting,
    measured,
    relative_error,
)
from ringleader.csrc.cuda.versions import VERSIONS  # noqa: E402
from ringleader.csrc.emulate import EmulatedDevice  # noqa: E402

NO_CUDNN = {"cuDNN"}  # attention's: PyTorch's CPU build has none, and says so
LAYER = convolution.Layer(8, 16, 3, 2, 7)
CASES = {
    "attention": [
        attention.case(backwards, 2, 2, 17, 8, causal) for backwards in (False, True) for causal in (False, True)
    ],
    "convolution": [convolution.case(LAYER, which, 2) for which in convolution.PASSES],
    "recurrent": [
        recurrent.case(cell, which, 3, 16, dtype, steps=3)
        for cell in recurrent.GATES
        for which in ("forward", recurrent.BOTH)
        for dtype in recurrent.DTYPES
    ],
    "rows": [
        *(
            rows.case(op, way, 6, 16)
            for op in (rows.LAYER_NORM, rows.RMS_NORM, rows.SOFTMAX, rows.CROSS_ENTROPY, rows.GELU)
            for way in rows.WAYS
        ),
        rows.case(rows.EMBEDDING, True, 6, 16),
        elements.dropout_case(3000),
        elements.adam_case(100),
    ],
}  # fmt: skip
ALL = [case for cases in CASES.values() for case in cases]


class Ticking(FakeClock):
    """Each mark a second after the last: long enough for one call a measurement."""

    def mark(self):
        self.device += 1
        return self.device


@pytest.fixture(scope="module")
def place():
    return Place(torch, EmulatedDevice(), "cpu", cache=1)


@pytest.mark.parametrize("case", ALL, ids=str)
def test_all_sides_of_a_case_are_right(case, place):
    result = measured(case, place, Ticking(), repeats=1)
    assert set(result.failed) <= NO_CUDNN if case.group == "attention" else not result.failed
    assert result.version
    assert OURS in result.timings and result.peers
    assert (COPY in result.timings) == (case.group == "rows")
    assert result.error is not None and result.error <= 1


SOFTMAX = rows.case(rows.SOFTMAX, False, 6, 16)


def spoilt(**parts):
    """The softmax case with parts of its work replaced by what they are given makes of them."""

    def prepare(place):
        work = SOFTMAX.prepare(place)
        return dataclasses.replace(
            work, **{name: change(getattr(work, name)) for name, change in parts.items()}
        )

    return dataclasses.replace(SOFTMAX, prepare=prepare)


def times(factor):
    """Ours, with every result multiplied."""
    return lambda ours: lambda device, *given: lambda: ours(device, *given)() * np.asarray(factor, bfloat16())


@pytest.mark.parametrize(("factor", "why"), [(1.125, "wrong: "), (np.nan, "wrong: inf times")])
def test_what_is_wrong_is_not_timed(place, factor, why):
    result = measured(spoilt(ours=times(factor)), place, Ticking(), repeats=1)
    assert result.failed[OURS].startswith(why)
    assert set(result.timings) == {"PyTorch", COPY}  # the others are
    assert result.seconds is None and result.broken


def test_a_wrong_peer_is_not_timed(place):
    wrong = spoilt(peers=lambda peers: {"PyTorch": lambda x: lambda: torch.softmax(2 * x, -1)})
    result = measured(wrong, place, Ticking(), repeats=1)
    assert result.failed["PyTorch"].startswith("wrong: ")
    assert set(result.timings) == {OURS, COPY}
    assert result.peer is None and result.ratios == []


def test_what_raises_is_named(place):
    def fails(*given):
        raise RuntimeError("out of\n  memory")

    result = measured(spoilt(ours=lambda _: fails), place, Ticking(), repeats=1)
    assert result.failed == {OURS: "RuntimeError: out of memory"}
    result = measured(dataclasses.replace(SOFTMAX, prepare=fails), place, Ticking(), repeats=1)
    assert result.failed == {WHOLE: "RuntimeError: out of memory"}
    assert result.broken == "RuntimeError: out of memory" and not result.timings


def test_the_chosen_version_is_the_launchers_and_all_can_be_measured(place):
    chosen, others = fitting(SOFTMAX, SOFTMAX.prepare(place), place)
    names = [version.name for version in VERSIONS["softmax_forward"]]
    assert [chosen, *others] == names  # 32 bytes a row: all fit, the first is taken
    odd = rows.case(rows.SOFTMAX, False, 6, 15)
    assert fitting(odd, odd.prepare(place), place)[0] == names[1]  # 30 bytes: no registers
    result = measured(SOFTMAX, place, Ticking(), repeats=1, every=True)
    assert [side for side in result.timings if side.startswith(OURS)] == [
        OURS,
        *(f"{OURS} {name}" for name in others),
    ]


def test_inputs_are_in_as_many_sets_as_the_cache_asks_for():
    place = Place(torch, EmulatedDevice(), "cpu", cache=10 * 6 * 16 * 2)  # ten times the inputs
    work = SOFTMAX.prepare(place)
    seen = []
    side = {"it": lambda x: lambda: seen.append(x.data_ptr())}
    it, copy = contestants(SOFTMAX, work, side, place)
    for _ in range(40):
        it()
    assert len(set(seen)) == 20 and seen[:20] == seen[20:]
    assert copy.name == COPY and copying(place, 100)() is None


def test_an_error_is_relative_to_the_largest_number_of_its_result():
    exact = [torch.tensor([1.0, -4.0]).double(), torch.tensor([100.0]).double()]
    got = [torch.tensor([1.5, -4.0]).double(), torch.tensor([101.0]).double()]
    assert relative_error(got, exact) == 0.125  # half of four, not a hundredth
    low = [torch.tensor([1.0, -4.25]).double(), torch.tensor([100.0]).double()]  # a sixteenth
    assert error_share(got, exact, low, unit=0.001) == 1.0  # twice as much is allowed
    assert error_share(got, exact, exact, unit=0.25) == 0.25  # at least the rounding
    assert error_share([torch.tensor([1.0, torch.nan]).double(), got[1]], exact, low, 0.001) == float("inf")
    with pytest.raises(ValueError, match=r"the result is \(1,\), it must be \(2,\)"):
        error_share(got[1:] * 2, exact, low, 0.001)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "int64"])
def test_arrays_and_tensors_share_memory_both_ways(place, dtype):
    tensor = torch.arange(6).to(getattr(torch, dtype)).reshape(2, 3).t()
    array = place.share(tensor)
    assert array.dtype.name == dtype and array.shape == (3, 2) and array[2, 1] == 5
    array[2, 1] = 7
    assert tensor[2, 1] == 7 and place.tensor(array).data_ptr() == tensor.data_ptr()
    assert torch.equal(place.tensor(array), tensor) and place.tensor(tensor).dtype == tensor.dtype
