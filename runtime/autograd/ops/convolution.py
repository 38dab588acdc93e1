"""Convolution (cross-correlation, as everywhere in deep learning) and its transpose."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

from ringleader.runtime.autograd.op import Array, Function, Shape, op
from ringleader.runtime.autograd.ops.matmul import product
from ringleader.runtime.autograd.ops.windows import Windows, window_counts

LAYOUTS = {1: ("(N, C, L)", "k"), 2: ("(N, C, H, W)", "kh, kw")}  # axes -> input, kernel


@dataclass(eq=False)
class Convolution(Function):
    """What a convolution and its transpose share; each is the other's gradient.

    Between an image (N, C, *S) and a grid (N, O, *P) of the windows on it stands weight (O, C / G, *K), in
    G groups: channels of the grid see the channels of the image in their own group alone. The image is
    unrolled into columns (G, C / G K, N P), *im2col* (Chellapilla, Puri, Simard 2006), so that all images
    meet a group's weights in one matrix product. Images and grids lie in memory as (C, N, ...) and are
    returned as views (N, C, ...): element-wise ops and pooling keep that layout, so that neither the next
    convolution nor the gradient has to copy it back.
    """

    stride: Shape
    padding: Shape | str
    dilation: Shape
    groups: int
    windows: Windows = field(init=False, repr=False)
    weight_shape: Shape = field(init=False, repr=False)

    def check(self, x: Shape, weight: Shape, bias: tuple[Shape, ...], channels: str, features: int) -> None:
        """Refuse ranks, options, and a bias that is not (features,)."""
        image, kernel = LAYOUTS[len(self.stride)]
        if len(x) != len(self.stride) + 2 or len(weight) != len(x):
            raise self.refuse(f"input must be {image} and weight ({channels}, {kernel})", x, weight)
        if min(self.stride) < 1 or min(self.dilation) < 1 or self.groups < 1:
            raise self.refuse(f"stride {self.stride}, dilation {self.dilation} and groups {self.groups} must "
                              "be positive", x)  # fmt: skip
        if not isinstance(self.padding, str) and min(self.padding) < 0:
            raise self.refuse(f"padding {self.padding} must not be negative", x)
        if min(weight[2:]) < 1:
            raise self.refuse("the kernel is empty", weight)
        if weight[0] % self.groups:
            raise self.refuse(f"{self.groups} groups do not divide {weight[0]} channels", weight)
        if bias and bias[0] != (features,):
            raise self.refuse(f"bias must be ({features},)", weight, bias[0])

    def pads(self, kernel: Shape) -> tuple[Shape, Shape]:
        """The padding before the image, and before and after together."""
        if self.padding == "valid":
            return (0,) * len(kernel), (0,) * len(kernel)
        if self.padding == "same":
            if max(self.stride) > 1:
                raise ValueError(f"{self.name}: padding 'same' needs stride 1, not {self.stride}")
            both = tuple(d * (k - 1) for d, k in zip(self.dilation, kernel))
            return tuple(p // 2 for p in both), both
        if isinstance(self.padding, str):
            raise ValueError(f"{self.name}: padding must be numbers, 'same' or 'valid', not {self.padding!r}")
        return self.padding, tuple(2 * p for p in self.padding)

    def matrix(self, weight: Array) -> Array:
        """weight (O, C / G, *K) -> (G, O / G, C / G K)."""
        o, share = weight.shape[:2]
        return weight.reshape(self.groups, o // self.groups, share * prod(weight.shape[2:]))

    def rows(self, grid: Array) -> Array:
        """grid (N, O, *P) -> (G, O / G, N P)."""
        n, o = grid.shape[:2]
        return grid.swapaxes(0, 1).reshape(self.groups, o // self.groups, n * prod(grid.shape[2:]))

    def grid(self, rows: Array) -> Array:
        """The way back: (G, O / G, N P) -> (N, O, *P)."""
        o, places = rows.shape[0] * rows.shape[1], prod(self.windows.out)
        return rows.reshape(o, rows.shape[2] // places, *self.windows.out).swapaxes(0, 1)

    def unroll(self, image: Array) -> Array:
        """image (N, C, *S) -> (G, C / G K, N P), 0 where a window has no pixel."""
        kernel, out = self.windows.kernel, self.windows.out
        (n, c), image = image.shape[:2], image.swapaxes(0, 1)
        make = self.xp.zeros if self.windows.clipped() else self.xp.empty
        columns = make((c, *kernel, n, *out), image.dtype)
        by_place = self.xp.moveaxis(columns, 0, len(kernel))  # (*K, C, N, *P)
        for place, inside, pixels in self.windows.places():
            by_place[place][inside] = image[pixels]
        return columns.reshape(self.groups, c // self.groups * prod(kernel), n * prod(out))

    def roll(self, columns: Array) -> Array:
        """The adjoint, (G, C / G K, N P) -> (N, C, *S): each column is added where it was taken from."""
        kernel, out = self.windows.kernel, self.windows.out
        c, n = columns.shape[0] * columns.shape[1] // prod(kernel), columns.shape[2] // prod(out)
        by_place = self.xp.moveaxis(columns.reshape(c, *kernel, n, *out), 0, len(kernel))
        image = self.xp.zeros((c, n, *self.windows.image), columns.dtype)
        for place, inside, pixels in self.windows.places():
            image[pixels] += by_place[place][inside]
        return image.swapaxes(0, 1)


class Direct(Convolution):
    """x (N, C, *S), weight (O, C / groups, *K), optionally bias (O,) -> (N, O, *P).

    P = (S + 2 padding - dilation (K - 1) - 1) // stride + 1. Padding "valid" is none; "same", with stride 1,
    makes P = S, and is one more after the image than before it where it is odd. Where the one window is the
    whole image, nothing is unrolled: the columns are the images as they lie, (N, C K).
    """

    matmul = staticmethod(product)

    def shape(self, x: Shape, weight: Shape, *bias: Shape) -> Shape:
        self.check(x, weight, bias, "O, C / groups", weight[0] if weight else 0)
        if x[1] != weight[1] * self.groups:
            raise self.refuse(
                f"input has {x[1]} channels, weight expects {weight[1] * self.groups}", x, weight
            )
        kernel, (before, both) = weight[2:], self.pads(weight[2:])
        out = window_counts(kernel, self.stride, self.dilation, both, x[2:])
        if min(out) < 1:
            raise self.refuse("the kernel is larger than the padded image", x, weight)
        self.windows, self.weight_shape = (
            Windows(kernel, self.stride, self.dilation, before, x[2:], out),
            weight,
        )
        return (x[0], weight[0], *out)

    @property
    def whole(self) -> bool:
        return self.groups == 1 and self.windows.kernel == self.windows.image and not self.windows.clipped()

    def forward(self, x: Array, weight: Array, *bias: Array) -> Array:
        self.weight = weight if self.needs[0] else None
        if self.whole:
            columns = x.reshape(len(x), prod(x.shape[1:]))
            y = self.matmul(columns, self.matrix(weight)[0].T, *bias)  # (N, C K) (C K, O)
            y = y.reshape(*y.shape, *self.windows.out)
        else:
            columns = self.unroll(x)
            rows = self.matrix(weight) @ columns  # (G, O / G, C / G K) (G, C / G K, N P)
            if bias:
                rows += bias[0].reshape(*rows.shape[:2], 1)
            y = self.grid(rows)
        self.columns: Array = columns if self.needs[1] else None
        return y

    def backward(self, g: Array) -> tuple[Array | None, ...]:
        if self.whole:
            return self._backward_whole(g.reshape(g.shape[:2]))
        rows, dx, dw = self.rows(g), None, None
        if self.needs[0]:
            dx = self.roll(self.matrix(self.weight).swapaxes(1, 2) @ rows)
        if self.needs[1]:
            dw = (rows @ self.columns.swapaxes(1, 2)).reshape(self.weight_shape)
        return (dx, dw, rows.sum(axis=2).reshape(-1)) if len(self.needs) == 3 else (dx, dw)

    def _backward_whole(self, g: Array) -> tuple[Array | None, ...]:
        """g (N, O)."""
        dx = dw = None
        if self.needs[0]:
            dx = self.matmul(g, self.matrix(self.weight)[0]).reshape(len(g), *self.weight_shape[1:])
        if self.needs[1]:
            dw = self.matmul(g.T, self.columns).reshape(self.weight_shape)
        return (dx, dw, g.sum(axis=0)) if len(self.needs) == 3 else (dx, dw)


@dataclass(eq=False)
class Transposed(Convolution):
    """x (N, O, *P), weight (O, C / groups, *K), optionally bias (C,) -> (N, C, *S): the gradient of a
    convolution by its input (Zeiler, Krishnan, Taylor, Fergus, "Deconvolutional networks", 2010).

    S = (P - 1) stride - 2 padding + dilation (K - 1) + output_padding + 1. ``output_padding``, less than
    stride or dilation, says which of the image sizes that lead to P is meant.
    """

    output_padding: Shape

    def shape(self, x: Shape, weight: Shape, *bias: Shape) -> Shape:
        features = weight[1] * self.groups if len(weight) > 1 else 0
        self.check(x, weight, bias, "C, O / groups", features)
        if isinstance(self.padding, str):
            raise ValueError(f"{self.name}: padding must be numbers, not {self.padding!r}")
        if x[1] != weight[0]:
            raise self.refuse(f"input has {x[1]} channels, weight expects {weight[0]}", x, weight)
        options = list(zip(x[2:], weight[2:], self.stride, self.padding, self.dilation, self.output_padding))
        if any(not 0 <= more < max(s, d) for _, _, s, _, d, more in options):
            raise self.refuse(f"output_padding {self.output_padding} must be less than stride {self.stride} or "
                              f"dilation {self.dilation}", x)  # fmt: skip
        image = tuple((n - 1) * s - 2 * p + d * (k - 1) + more + 1 for n, k, s, p, d, more in options)
        if min(x[2:]) < 1 or min(image) < 1:
            raise self.refuse(f"padding {self.padding} leaves nothing of the image", x, weight)
        self.windows = Windows(weight[2:], self.stride, self.dilation, self.padding, image, x[2:])
        self.weight_shape = weight
        return (x[0], features, *image)

    def forward(self, x: Array, weight: Array, *bias: Array) -> Array:
        self.x, self.weight = x if self.needs[1] else None, weight if self.needs[0] else None
        image = self.roll(self.matrix(weight).swapaxes(1, 2) @ self.rows(x))
        if bias:
            image += bias[0].reshape(-1, *(1 for _ in self.stride))
        return image

    def backward(self, g: Array) -> tuple[Array | None, ...]:
        columns, dx, dw = self.unroll(g), None, None
        if self.needs[0]:
            dx = self.grid(self.matrix(self.weight) @ columns)
        if self.needs[1]:
            dw = (self.rows(self.x) @ columns.swapaxes(1, 2)).reshape(self.weight_shape)
        return (dx, dw, g.sum(axis=(0, *range(2, g.ndim)))) if len(self.needs) == 3 else (dx, dw)


@op("conv1d")
@dataclass(eq=False)
class Conv1d(Direct):
    stride: Shape = (1,)
    padding: Shape | str = (0,)
    dilation: Shape = (1,)
    groups: int = 1


@op("conv2d")
@dataclass(eq=False)
class Conv2d(Direct):
    stride: Shape = (1, 1)
    padding: Shape | str = (0, 0)
    dilation: Shape = (1, 1)
    groups: int = 1


@op("conv_transpose1d")
@dataclass(eq=False)
class ConvTranspose1d(Transposed):
    stride: Shape = (1,)
    padding: Shape | str = (0,)
    dilation: Shape = (1,)
    groups: int = 1
    output_padding: Shape = (0,)


@op("conv_transpose2d")
@dataclass(eq=False)
class ConvTranspose2d(Transposed):
    stride: Shape = (1, 1)
    padding: Shape | str = (0, 0)
    dilation: Shape = (1, 1)
    groups: int = 1
    output_padding: Shape = (0, 0)
