"""Windows of a kernel on an image with any number of axes: what convolution and pooling share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeAlias

from ringleader.runtime.autograd.op import Shape

Region: TypeAlias = tuple[Any, ...]  # an index: an ellipsis, then a slice for each axis


@dataclass(frozen=True)
class Windows:
    """One number an axis: sizes of kernel, image and output; ``before``: the padding in front of the image.

    Nothing is padded in memory: a window's pixels outside of the image are left out.
    """

    kernel: Shape
    stride: Shape
    dilation: Shape
    before: Shape
    image: Shape
    out: Shape

    def places(self) -> Iterator[tuple[Shape, Region, Region]]:
        """For each place of the kernel, row by row: the windows (a region of the output) that meet the
        image with it, and the pixels (a region of the image) that they meet. Those that meet none miss."""
        along = [list(self._along(axis)) for axis in range(len(self.kernel))]
        for steps in product(*along):
            place, inside, pixels = zip(*steps)
            yield place, (..., *inside), (..., *pixels)

    def clipped(self) -> bool:
        """Whether a window has pixels outside of the image."""
        reach = [
            s * (o - 1) + d * (k - 1) + 1 - b
            for s, o, d, k, b in zip(self.stride, self.out, self.dilation, self.kernel, self.before)
        ]
        return max(self.before) > 0 or any(r > size for r, size in zip(reach, self.image))

    def _along(self, axis: int) -> Iterator[tuple[int, slice, slice]]:
        stride, size = self.stride[axis], self.image[axis]
        for place in range(self.kernel[axis]):
            shift = place * self.dilation[axis] - self.before[axis]  # window w meets pixel w stride + shift
            first = max(0, -(shift // stride))
            end = min(self.out[axis], (size - 1 - shift) // stride + 1)
            if first < end:
                start = first * stride + shift
                yield place, slice(first, end), slice(start, (end - 1) * stride + shift + 1, stride)


def window_counts(kernel: Shape, stride: Shape, dilation: Shape, padding: Shape, image: Shape) -> Shape:
    """How many windows fit along each axis of an image with ``padding`` pixels more: under 1 where not one."""
    return tuple(
        (size + p - d * (k - 1) - 1) // s + 1
        for k, s, d, p, size in zip(kernel, stride, dilation, padding, image)
    )
