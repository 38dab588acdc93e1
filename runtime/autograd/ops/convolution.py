"""Two-dimensional convolution (cross-correlation, as everywhere in deep learning)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from ringleader.runtime.autograd.op import Array, Function, Shape, op


def windows(kernel: tuple[int, int], stride: tuple[int, int], out: tuple[int, int]) -> Iterator[
    tuple[int, int, slice, slice]
]:  # fmt: skip
    """For each place (i, j) of the kernel: the rows and columns of the image that it meets."""
    for i in range(kernel[0]):
        rows = slice(i, i + stride[0] * (out[0] - 1) + 1, stride[0])
        for j in range(kernel[1]):
            yield i, j, rows, slice(j, j + stride[1] * (out[1] - 1) + 1, stride[1])


@op("conv2d")
@dataclass(eq=False)
class Conv2d(Function):
    """x (N, C, H, W), weight (O, C, kh, kw), optionally bias (O,) -> (N, O, P, Q).

    P = (H + 2 padding - kh) // stride + 1, Q likewise. One matrix product over all images: x is unrolled
    into columns (C kh kw, N P Q), *im2col* (Chellapilla, Puri, Simard 2006), kept for the gradient.
    The result lies in memory as (O, N, P, Q) and is returned as a view (N, O, P, Q): element-wise ops and
    pooling keep that layout, so that neither the next convolution nor the gradient has to copy it back.
    """

    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)

    def shape(self, x: Shape, weight: Shape, *bias: Shape) -> Shape:
        if len(x) != 4 or len(weight) != 4:
            raise self.refuse("input must be (N, C, H, W) and weight (O, C, kh, kw)", x, weight)
        if x[1] != weight[1]:
            raise self.refuse(f"input has {x[1]} channels, weight expects {weight[1]}", x, weight)
        if bias and bias[0] != weight[:1]:
            raise self.refuse(f"bias must be ({weight[0]},)", weight, bias[0])
        if min(self.stride) < 1 or min(self.padding) < 0:
            raise self.refuse(
                f"stride {self.stride} must be positive, padding {self.padding} not negative", x
            )
        room = [x[i + 2] + 2 * self.padding[i] - weight[i + 2] for i in (0, 1)]
        if min(room) < 0:
            raise self.refuse("the kernel is larger than the padded image", x, weight)
        self.out = (room[0] // self.stride[0] + 1, room[1] // self.stride[1] + 1)
        return (x[0], weight[0], *self.out)

    def forward(self, x: Array, weight: Array, *bias: Array) -> Array:
        (ph, pw), (n, c), (o, _, kh, kw) = self.padding, x.shape[:2], weight.shape
        if ph or pw:
            x = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
        image = x.transpose(1, 0, 2, 3)  # (C, N, H, W)
        columns = np.empty((c, kh, kw, n, *self.out), x.dtype)
        for i, j, rows, cols in windows((kh, kw), self.stride, self.out):
            columns[:, i, j] = image[:, :, rows, cols]
        self.columns = columns.reshape(c * kh * kw, -1)  # (C kh kw, N P Q)
        self.weight, self.padded = weight, image.shape
        y = weight.reshape(o, -1) @ self.columns  # (O, C kh kw) (C kh kw, N P Q)
        if bias:
            y += bias[0][:, None]
        return y.reshape(o, n, *self.out).transpose(1, 0, 2, 3)

    def backward(self, g: Array) -> tuple[Array | None, ...]:
        o = self.weight.shape[0]
        g = g.transpose(1, 0, 2, 3).reshape(o, -1)  # (O, N P Q)
        dx = self._image_gradient(g) if self.needs[0] else None
        dw = (g @ self.columns.T).reshape(self.weight.shape) if self.needs[1] else None
        return (dx, dw, g.sum(axis=1)) if len(self.needs) == 3 else (dx, dw)

    def _image_gradient(self, g: Array) -> Array:
        """g (O, N P Q) -> (N, C, H, W): each column's gradient is added back where it was taken from."""
        o, c, kh, kw = self.weight.shape
        columns = (self.weight.reshape(o, -1).T @ g).reshape(c, kh, kw, -1, *self.out)
        image = np.zeros(self.padded, g.dtype)  # (C, N, H + 2 ph, W + 2 pw)
        for i, j, rows, cols in windows((kh, kw), self.stride, self.out):
            image[:, :, rows, cols] += columns[:, i, j]
        (ph, pw), (h, w) = self.padding, self.padded[2:]
        return image[:, :, ph : h - ph, pw : w - pw].transpose(1, 0, 2, 3)
