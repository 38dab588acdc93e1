"""Which version of an operator is chosen, what is compiled for which architecture, and examples."""

import numpy as np
import pytest
from ringleader.csrc.cuda import versions as registry
from ringleader.csrc.cuda.versions import Draw, Instance, Version, choices, choose, example, versions


@pytest.fixture
def product(monkeypatch):
    """An operator of three versions."""
    monkeypatch.setattr(registry, "VERSIONS", {})
    monkeypatch.setattr(registry, "EXAMPLES", {})
    versions(
        Version("product", "wgmma", least=90, only="90a", dtypes=("bfloat16",)),
        Version(
            "product", "mma", least=80, dtypes=("bfloat16", "float16"), fits=lambda shape: shape["k"] % 8 == 0
        ),
        Version("product", "clear"),
    )


@pytest.mark.usefixtures("product")
@pytest.mark.parametrize(
    ("architecture", "dtype", "k", "name"),
    [
        (90, "float16", 64, "mma"), (80, "float16", 64, "mma"), (75, "float16", 64, "clear"), (80, "float16", 7, "clear"),
        (120, "float32", 64, "clear"),
    ],
)  # fmt: skip
def test_the_first_that_fits_is_chosen(architecture, dtype, k, name):
    assert choose("product", architecture, dtype, k=k).name == name


@pytest.mark.usefixtures("product")
def test_why_the_better_ones_were_not_chosen_is_recorded():
    with choices() as made:
        choose("product", 75, "float16", k=64)
    (choice,) = made
    assert choice.version.name == "clear"
    assert choice.refused == {
        "wgmma": "needs compute capability 9.0, this is 7.5",
        "mma": "needs compute capability 8.0, this is 7.5",
    }
    choose("product", 75, "float16", k=64)
    assert len(made) == 1  # only inside


@pytest.mark.usefixtures("product")
def test_one_that_is_asked_for_and_does_not_fit():
    with pytest.raises(
        ValueError, match=r"product: no version for this: mma needs compute capability 8\.0, this is 7\.5"
    ):
        choose("product", 75, "float16", version="mma", k=64)
    with pytest.raises(ValueError, match="product has no version 'fast'; it has: wgmma, mma, clear"):
        choose("product", 75, "float16", version="fast", k=64)
    with pytest.raises(ValueError, match="unknown operator 'sum'; known: product"):
        choose("sum", 75, "float16")


def test_which_architectures_an_instance_claims():
    def claimed(**limits):
        return [a for a in registry.ARCHITECTURES if Instance("x.cu", "x", **limits).claims(a)]

    assert claimed() == list(registry.ARCHITECTURES)
    assert claimed(least=80) == ["80", "86", "89", "90", "90a", "100", "120"]
    assert claimed(least=90, only="90a") == ["90a"]


@pytest.mark.usefixtures("product")
def test_an_example():
    @example("product", shape="M,N", default=(2, 3))
    def run(device, draw, version, m, n):
        return draw(m, n)

    registered = registry.EXAMPLES["product"]
    assert (registered.operator, registered.shape, registered.default) == ("product", ("M", "N"), (2, 3))
    assert registered.run is run
    assert registered.module == "test_versions"
    with pytest.raises(ValueError, match="product: shape M has 1 extents, its default 2"):
        example("product", shape="M", default=(2, 3))


def test_draws_are_the_same_numbers_for_each_dtype():
    class OnNumpy:
        xp = np

    def draw(dtype, rounded=None):
        source = Draw(OnNumpy(), np.random.default_rng(3), dtype, rounded)
        return source(4, 5, scale=3), source.integers(2, 7, 6), source(2)

    low, integers, last = draw(np.float16)
    assert low.dtype == last.dtype == np.float16
    assert integers.dtype == np.int32
    assert set(integers) <= {2, 3, 4, 5, 6}
    for one, other in zip(draw(np.float64, np.float16), (low, integers, last)):
        np.testing.assert_array_equal(one, other)
    assert draw(np.float64)[0].std() > 1.5
    assert (draw(np.float64)[0] != low).any()
