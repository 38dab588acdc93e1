"""How CUDA kernels are timed, with a clock that only moves when a call says so; and the roofline, by hand."""

import pytest
from helpers.fake_clock import FakeClock
from ringleader.bench.gpu.cards import CARDS, Card, roofline
from ringleader.bench.gpu.timing import (
    AHEAD,
    BUDGET,
    COLD,
    WARM,
    Contestant,
    Timing,
    interleaved,
    measure,
    plan,
    ratios,
    seconds,
    sets_needed,
)


def test_a_measurement_is_the_devices_time_of_a_call_without_what_it_was_held():
    clock = FakeClock()
    timing = measure(clock.side("ours", 2e-3, host=5e-5), 4, hold=1.0, clock=clock)
    assert timing.device == pytest.approx(2e-3)
    assert timing.host == pytest.approx(5e-5)
    assert clock.log == [("hold", 1.0), *["ours"] * 4]


@pytest.mark.parametrize(("device", "host", "calls"), [
    (2 * BUDGET, 1e-6, 1),  # longer than the budget: once
    (BUDGET / 10.5, 1e-6, 10),
    (1e-6, AHEAD / 50.5, 50),  # more would not fit into the queue
    (1e-6, 10 * AHEAD, 1),
])  # fmt: skip
def test_a_plan_fills_the_budget_and_holds_the_device_for_longer_than_the_host_needs(device, host, calls):
    clock = FakeClock()
    planned, hold = plan(clock.side("ours", device, host), clock)
    assert planned == calls
    assert hold == pytest.approx(2 * calls * host)
    assert clock.log[:WARM] == ["ours"] * WARM  # what the first calls take is not measured


def test_contestants_take_turns_and_every_other_repeat_goes_backwards():
    clock = FakeClock()
    names = {"ours": 3 * BUDGET, "flash": 2 * BUDGET, "cuDNN": 4 * BUDGET}
    timings = interleaved([clock.side(name, device) for name, device in names.items()], 3, clock)
    measured = [entry for entry in clock.log if isinstance(entry, str)][-9:]
    assert measured == ["ours", "flash", "cuDNN", "cuDNN", "flash", "ours", "ours", "flash", "cuDNN"]
    for name, device in names.items():
        assert [timing.device for timing in timings[name]] == pytest.approx([device] * 3)


@pytest.mark.parametrize(("nbytes", "cache", "sets"), [
    (100, 50, 1), (99, 50, 2), (1, 50, 100), (33, 50, 4), (1 << 30, 50 << 20, 1), (0, 50, 100),
])  # fmt: skip
def test_the_sets_are_together_more_than_the_cache(nbytes, cache, sets):
    assert sets_needed(nbytes, cache) == sets
    assert sets * max(nbytes, 1) >= COLD * cache > (sets - 1) * max(nbytes, 1)


def test_calls_go_round_through_the_sets_and_results_stay_until_their_turn():
    alive, order = set(), []

    class Kept:
        def __init__(self, of):
            alive.add(of)
            self.of = of

        def __del__(self):
            alive.discard(self.of)

    def call(of):
        def make():
            order.append(of)
            assert len(alive) == min(
                len(order) - 1, 3
            )  # none was given back early, for the next to lie in its place
            return Kept((of, len(order)))

        return make

    side = Contestant("ours", [call(of) for of in "abc"])
    for _ in range(7):
        side()
    assert "".join(order) == "abcabca"
    assert alive == {("b", 5), ("c", 6), ("a", 7)}


def test_medians_and_ratios_by_hand():
    ours = [Timing(2.0, 0), Timing(4.0, 0), Timing(1.0, 0)]
    theirs = [Timing(3.0, 0), Timing(3.0, 0), Timing(3.0, 0)]
    assert seconds(ours) == 2.0
    assert ratios(ours, theirs) == [0.75, 1.5, 3.0]


def test_the_roofline_is_the_slower_of_computing_and_moving():
    card = Card(half=100.0, tf32=50.0, single=10.0, bandwidth=20.0)
    assert roofline(1000.0, 60.0, "half", card, copied=1.0) == 10.0  # computing 10 s, moving 3 s
    assert roofline(100.0, 60.0, "half", card, copied=1.0) == 3.0
    assert roofline(100.0, 60.0, "single", card, copied=1.0) == 10.0
    assert roofline(100.0, 60.0, "tf32", card, copied=1.0) == 3.0


def test_an_unknown_card_has_no_computing_limit_but_a_measured_one_for_moving():
    assert roofline(1000.0, 60.0, "half", None, copied=15.0) is None
    assert roofline(0.0, 60.0, "half", None, copied=15.0) == 4.0


def test_the_table_of_cards():
    h200, h100 = CARDS["NVIDIA H200"], CARDS["NVIDIA H100 80GB HBM3"]
    assert h200.half == pytest.approx(989.5e12) and h200.bandwidth == 4.8e12
    assert h100.bandwidth == pytest.approx(3.35e12, rel=0.01)
    for name, card in CARDS.items():
        assert card.half >= card.tf32 >= card.single, name
        assert card.half / 2 == pytest.approx(card.tf32, rel=0.02), (
            name
        )  # tensor cores: half as many of twice the bits
