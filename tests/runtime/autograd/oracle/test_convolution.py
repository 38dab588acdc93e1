"""Convolution and pooling are PyTorch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers.op_cases.draw import distinct, normal
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from ringleader.runtime.autograd import Tensor
from ringleader.runtime.autograd import functional as F

torch = pytest.importorskip("torch", reason="PyTorch is the oracle: pip install 'ringleader[oracle]'")
from helpers.torch_oracle import same  # noqa: E402

T = torch.nn.functional


def pairs(low: int, high: int) -> Any:
    return st.tuples(st.integers(low, high), st.integers(low, high))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    n=st.integers(0, 2), groups=st.integers(1, 3), c=st.integers(1, 2), o=st.integers(1, 2), size=pairs(1, 7),
    kernel=pairs(1, 4), stride=pairs(1, 3), padding=st.one_of(pairs(0, 3), st.sampled_from(["same", "valid"])),
    dilation=pairs(1, 3), biased=st.booleans(), axes=st.integers(1, 2),
)  # fmt: skip
def test_convolution(
    n: int, groups: int, c: int, o: int, size: Any, kernel: Any, stride: Any, padding: Any, dilation: Any,
    biased: bool, axes: int,
) -> None:  # fmt: skip
    stride = (1, 1) if padding == "same" else stride
    around = padding if isinstance(padding, tuple) else (0, 0)
    room = [size[i] + 2 * around[i] - dilation[i] * (kernel[i] - 1) for i in range(axes)]
    assume(padding == "same" or min(room) > 0)
    options = {"stride": stride[:axes], "dilation": dilation[:axes], "groups": groups,
               "padding": padding if isinstance(padding, str) else padding[:axes]}  # fmt: skip
    arrays = [normal(n, groups * c, *size[:axes]), normal(groups * o, c, *kernel[:axes]), normal(groups * o)]
    ours, theirs = (F.conv1d, T.conv1d) if axes == 1 else (F.conv2d, T.conv2d)
    same(lambda *t: ours(*t, **options), lambda *t: theirs(*t, **options), *arrays[: 2 + biased])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    n=st.integers(0, 2), groups=st.integers(1, 3), c=st.integers(1, 2), o=st.integers(1, 2), size=pairs(1, 4),
    kernel=pairs(1, 4), stride=pairs(1, 3), padding=pairs(0, 2), more=pairs(0, 2), dilation=pairs(1, 3),
    biased=st.booleans(), axes=st.integers(1, 2),
)  # fmt: skip
def test_transposed_convolution(
    n: int, groups: int, c: int, o: int, size: Any, kernel: Any, stride: Any, padding: Any, more: Any,
    dilation: Any, biased: bool, axes: int,
) -> None:  # fmt: skip
    for i in range(axes):
        assume(more[i] < max(stride[i], dilation[i]))
        assume((size[i] - 1) * stride[i] - 2 * padding[i] + dilation[i] * (kernel[i] - 1) + more[i] >= 0)
    options = {"stride": stride[:axes], "padding": padding[:axes], "output_padding": more[:axes],
               "groups": groups, "dilation": dilation[:axes]}  # fmt: skip
    arrays = [normal(n, groups * c, *size[:axes]), normal(groups * c, o, *kernel[:axes]), normal(groups * o)]
    ours, theirs = (
        (F.conv_transpose1d, T.conv_transpose1d) if axes == 1 else (F.conv_transpose2d, T.conv_transpose2d)
    )
    same(lambda *t: ours(*t, **options), lambda *t: theirs(*t, **options), *arrays[: 2 + biased])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    n=st.integers(1, 2), size=pairs(1, 8), kernel=pairs(1, 3), stride=st.one_of(st.none(), pairs(1, 4)),
    padding=pairs(0, 1), dilation=pairs(1, 3), counted=st.booleans(), axes=st.integers(1, 2),
)  # fmt: skip
def test_pooling(
    n: int, size: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, counted: bool, axes: int
) -> None:
    for i in range(axes):
        assume(2 * padding[i] <= kernel[i] and size[i] + 2 * padding[i] > dilation[i] * (kernel[i] - 1))
    options = {"kernel_size": kernel[:axes], "padding": padding[:axes], "stride": stride and stride[:axes]}
    average = {**options, "count_include_pad": counted}
    x = distinct(n, 2, *size[:axes])
    means = (F.avg_pool1d, T.avg_pool1d) if axes == 1 else (F.avg_pool2d, T.avg_pool2d)
    largest = (F.max_pool1d, T.max_pool1d) if axes == 1 else (F.max_pool2d, T.max_pool2d)
    same(lambda t: means[0](t, **average), lambda t: means[1](t, **average), x)
    options["dilation"] = dilation[:axes]
    smallest = largest[0](Tensor(x), **options).data.min(initial=0)
    assume(smallest > -np.inf)  # where a window has no pixel, PyTorch writes its gradient anywhere
    same(lambda t: largest[0](t, **options), lambda t: largest[1](t, **options), x)


@pytest.mark.parametrize("size", [1, (2, 3), (1, 6), (4, 6)])
def test_adaptive_pooling(size: Any) -> None:
    same(
        lambda t: F.adaptive_avg_pool2d(t, size), lambda t: T.adaptive_avg_pool2d(t, size), normal(2, 3, 4, 6)
    )


def test_equal_maxima_and_infinities() -> None:
    flat = np.zeros((1, 1, 5, 4))
    least = np.full((1, 1, 4, 4), -np.inf)
    for x in (flat, least):
        same(lambda t: F.max_pool2d(t, 3, 2, 1), lambda t: T.max_pool2d(t, 3, 2, 1), x)
