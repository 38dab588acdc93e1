"""Every algorithm of the library, with every parameter value it says is worth trying: proved and counted."""

import pytest
from helpers.library import VARIANTS
from ringleader.collectives import (
    COLLECTIVES,
    build,
    count,
    find,
    verify,
    verify_programs,
)

MOST = 130  # ranks
EVERY_ROOT = 33  # ranks up to which CI proves every root
TIMEOUT = 600
DAY = 24 * 3600  # for --exhaustive


def roots(collective, n):
    return range(n) if COLLECTIVES[collective].rooted else [0]


@pytest.mark.timeout(DAY)
@pytest.mark.parametrize(("collective", "name", "parameters"), VARIANTS)
def test_proved_for_every_rank_count_and_root(collective, name, parameters, exhaustive):
    for n in range(1, (MOST if exhaustive else EVERY_ROOT) + 1):
        for root in roots(collective, n):
            verify(build(collective, name, n, root, **parameters)).require()


@pytest.mark.timeout(DAY)
@pytest.mark.parametrize(("collective", "name", "parameters"), VARIANTS)
def test_programs_are_proved(collective, name, parameters, exhaustive):
    """Every root as well; beyond EVERY_ROOT ranks one of them."""
    for n in range(1, (MOST if exhaustive else EVERY_ROOT) + 1):
        every = roots(collective, n)
        for root in every if n <= EVERY_ROOT else {n // 3 % len(every)}:
            verdict = verify_programs(build(collective, name, n, root, **parameters))
            assert verdict, f"{verdict}\n{verdict.grid()}"


@pytest.mark.timeout(TIMEOUT)
@pytest.mark.parametrize(("collective", "name", "parameters"), VARIANTS)
def test_the_closed_form_is_what_counting_finds(collective, name, parameters):
    algorithm = find(collective, name)
    if algorithm.count is None:
        pytest.skip("no closed form is known")
    known = 0
    for n in range(1, MOST + 1):
        root = n // 3 if COLLECTIVES[collective].rooted else 0
        closed = algorithm.count(**algorithm.arguments(n, root, parameters))
        if closed is not None:
            assert closed == count(build(collective, name, n, root, **parameters)), f"n={n}"
            known += 1
    assert known
