"""Convolution, its transpose, and pooling by CUDA kernels, along one axis and along two: a line is an image one pixel high."""

from __future__ import annotations

from typing import Any

from ringleader.csrc.cuda import convolution, pooling
from ringleader.runtime.autograd.cuda import cuda, kernel_device, takes
from ringleader.runtime.autograd.op import Array, Shape
from ringleader.runtime.autograd.ops.convolution import (
    Conv1d,
    Conv2d,
    Convolution,
    ConvTranspose1d,
    ConvTranspose2d,
    Direct,
    Transposed,
)
from ringleader.runtime.autograd.ops.pooling import (
    AvgPool,
    AvgPool1d,
    AvgPool2d,
    MaxPool,
    MaxPool1d,
    MaxPool2d,
    Pool,
)
from ringleader.runtime.autograd.ops.windows import window_counts


def image(x: Array) -> Array:
    """(N, C, L) as (N, C, 1, L)."""
    return x[:, :, None] if x.ndim == 3 else x


def two(sizes: Shape, before: int) -> tuple[int, int]:
    """Of height and width, where there is one size: ``before`` that."""
    return (sizes[0], sizes[1]) if len(sizes) == 2 else (before, sizes[0])


class OnWindows:
    """What the kernels are told of a convolution or a pooling."""

    windows: Any
    xp: Any

    def options(self) -> dict[str, Any]:
        """Stride, dilation, and the padding before and after: as much as the last window needs, or cut off."""
        w = self.windows
        reach = [s * (o - 1) + d * (k - 1) + 1 for s, o, d, k in zip(w.stride, w.out, w.dilation, w.kernel)]
        after = tuple(max(0, r - size - b) for r, size, b in zip(reach, w.image, w.before))
        padding = tuple(zip(two(w.before, 0), two(after, 0)))
        return {"stride": two(w.stride, 1), "dilation": two(w.dilation, 1), "padding": padding}

    def fits(self) -> bool:
        """Whether these options lead from the image to the grid: not where a transpose's output_padding reaches
        beyond the next window."""
        w, options = self.windows, self.options()
        sides = (sum(side) for side in options["padding"][-len(w.kernel) :])
        out: Shape = w.out
        return window_counts(w.kernel, w.stride, w.dilation, tuple(sides), w.image) == out

    def flat(self, x: Array) -> Array:
        """The way back from ``image``."""
        return x[:, :, 0] if len(self.windows.kernel) == 1 else x


class CudaConvolution(OnWindows, Convolution):
    """Between image and grid, whichever of them is the op's input."""

    by_kernel = False  # forward went to the kernel, and backward has to

    def to_grid(self, x: Array, weight: Array, *bias: Array) -> Array:
        device, options = kernel_device(self.xp), self.options()
        return self.flat(
            convolution.forward(device, image(x), image(weight), *bias, groups=self.groups, **options)
        )

    def to_image(self, grid: Array, weight: Array, *bias: Array) -> Array:
        size = two(self.windows.image, 1)
        return self.flat(convolution.backward_data(kernel_device(self.xp), image(grid), image(weight), *bias, size=size,
                                                   groups=self.groups, **self.options()))  # fmt: skip

    def to_weight(self, x: Array, grid: Array) -> Array:
        kernel = two(self.windows.kernel, 1)
        dw = convolution.backward_weight(kernel_device(self.xp), image(x), image(grid), kernel=kernel,
                                         groups=self.groups, **self.options())  # fmt: skip
        return self.flat(dw)

    def to_bias(self, g: Array) -> Array:
        return convolution.backward_bias(kernel_device(self.xp), image(g))


class CudaDirect(CudaConvolution, Direct):
    """Where the one window is the whole image, the op's own matrix product stays."""

    def forward(self, x: Array, weight: Array, *bias: Array) -> Array:
        self.by_kernel = not self.whole and takes(x, weight, *bias)
        if not self.by_kernel:
            return super().forward(x, weight, *bias)
        self.x, self.weight = x if self.needs[1] else None, weight if self.needs[0] else None
        return self.to_grid(x, weight, *bias)

    def backward(self, g: Array) -> tuple[Array | None, ...]:
        if not self.by_kernel:
            return super().backward(g)
        dx = self.to_image(g, self.weight) if self.needs[0] else None
        dw = self.to_weight(self.x, g) if self.needs[1] else None
        return (dx, dw, self.to_bias(g)) if len(self.needs) == 3 else (dx, dw)


class CudaTransposed(CudaConvolution, Transposed):
    def forward(self, x: Array, weight: Array, *bias: Array) -> Array:
        self.by_kernel = self.fits() and takes(x, weight, *bias)
        if not self.by_kernel:
            return super().forward(x, weight, *bias)
        self.x, self.weight = x if self.needs[1] else None, weight if self.needs[0] else None
        return self.to_image(x, weight, *bias)

    def backward(self, g: Array) -> tuple[Array | None, ...]:
        if not self.by_kernel:
            return super().backward(g)
        dx = self.to_grid(g, self.weight) if self.needs[0] else None
        dw = self.to_weight(g, self.x) if self.needs[1] else None
        return (dx, dw, self.to_bias(g)) if len(self.needs) == 3 else (dx, dw)


@cuda("conv1d")
class CudaConv1d(CudaDirect, Conv1d):
    pass


@cuda("conv2d")
class CudaConv2d(CudaDirect, Conv2d):
    pass


@cuda("conv_transpose1d")
class CudaConvTranspose1d(CudaTransposed, ConvTranspose1d):
    pass


@cuda("conv_transpose2d")
class CudaConvTranspose2d(CudaTransposed, ConvTranspose2d):
    pass


class CudaPool(OnWindows, Pool):
    def options(self) -> dict[str, Any]:
        """The padding is the same before and after, whatever the last window needs: the kernels count in it."""
        padding = tuple((p, p) for p in two(self.padding, 0))
        return super().options() | {"padding": padding, "kernel": two(self.kernel_size, 1)}


class CudaMaxPool(CudaPool, MaxPool):
    def forward(self, x: Array) -> Array:
        if not takes(x):
            return super().forward(x)
        y, self.winner = pooling.max_forward(kernel_device(self.xp), image(x), **self.options())
        return self.flat(y)

    def backward(self, g: Array) -> Array:
        if self.winner.dtype != "i4":  # the op's own, which is as small as it can be
            return super().backward(g)
        size = two(self.windows.image, 1)
        dx = pooling.max_backward(kernel_device(self.xp), image(g), self.winner, size=size, **self.options())
        return self.flat(dx)


class CudaAvgPool(CudaPool, AvgPool):
    def options(self) -> dict[str, Any]:
        return super().options() | {"count_include_pad": self.count_include_pad}

    def forward(self, x: Array) -> Array:
        if not takes(x):
            return super().forward(x)
        return self.flat(pooling.average_forward(kernel_device(self.xp), image(x), **self.options()))

    def backward(self, g: Array) -> Array:
        if not takes(g):
            return super().backward(g)
        size = two(self.windows.image, 1)
        return self.flat(
            pooling.average_backward(kernel_device(self.xp), image(g), size=size, **self.options())
        )


@cuda("max_pool1d")
class CudaMaxPool1d(CudaMaxPool, MaxPool1d):
    pass


@cuda("max_pool2d")
class CudaMaxPool2d(CudaMaxPool, MaxPool2d):
    pass


@cuda("avg_pool1d")
class CudaAvgPool1d(CudaAvgPool, AvgPool1d):
    pass


@cuda("avg_pool2d")
class CudaAvgPool2d(CudaAvgPool, AvgPool2d):
    pass
