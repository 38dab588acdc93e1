"""What the library has, for tests that go through all of it."""

import pytest
from ringleader.collectives import COLLECTIVES, algorithms, variants

ALGORITHMS = [(c, a) for c in COLLECTIVES for a in algorithms(c)]

# Each with every combination of the parameter values that it says are worth trying.
VARIANTS = [
    pytest.param(c, a, v, id="-".join([c, a, *map(str, v.values())]))
    for c, a in ALGORITHMS
    for v in variants(c, a)
]
