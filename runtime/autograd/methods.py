"""Mathematical methods of a tensor. Names and meaning are PyTorch's; ``axis`` and ``keepdims`` are its other names
for ``dim`` and ``keepdim``."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, NamedTuple, overload

from ringleader.runtime.autograd.apply import apply
from ringleader.runtime.autograd.op import ShapeError, array_module
from ringleader.runtime.autograd.operators import Operand
from ringleader.runtime.autograd.shaping import Shaping
from ringleader.runtime.autograd.transfer import to_device

if TYPE_CHECKING:
    from ringleader.runtime.autograd.tensor import Tensor

Axis = int | tuple[int, ...] | None


class Extreme(NamedTuple):
    """What max and min over one axis return."""

    values: Tensor
    indices: Tensor


class Methods(Shaping):
    # Element by element: ops/elementwise.py, ops/activation.py, ops/comparison.py

    def exp(self) -> Tensor:
        return apply("exp", self)

    def expm1(self) -> Tensor:
        return apply("expm1", self)

    def log(self) -> Tensor:
        return apply("log", self)

    def log1p(self) -> Tensor:
        return apply("log1p", self)

    def log2(self) -> Tensor:
        return apply("log2", self)

    def sqrt(self) -> Tensor:
        return apply("sqrt", self)

    def rsqrt(self) -> Tensor:
        return apply("rsqrt", self)

    def square(self) -> Tensor:
        return apply("square", self)

    def reciprocal(self) -> Tensor:
        return 1 / self

    def pow(self, exponent: Operand) -> Tensor:
        return self.__pow__(exponent)

    def abs(self) -> Tensor:
        return apply("abs", self)

    def sign(self) -> Tensor:
        return apply("sign", self)

    def floor(self) -> Tensor:
        return apply("floor", self)

    def ceil(self) -> Tensor:
        return apply("ceil", self)

    def round(self) -> Tensor:
        """Halves go to the even neighbour."""
        return apply("round", self)

    def sin(self) -> Tensor:
        return apply("sin", self)

    def cos(self) -> Tensor:
        return apply("cos", self)

    def tan(self) -> Tensor:
        return apply("tan", self)

    def asin(self) -> Tensor:
        return apply("asin", self)

    def acos(self) -> Tensor:
        return apply("acos", self)

    def atan(self) -> Tensor:
        return apply("atan", self)

    def sinh(self) -> Tensor:
        return apply("sinh", self)

    def cosh(self) -> Tensor:
        return apply("cosh", self)

    def asinh(self) -> Tensor:
        return apply("asinh", self)

    def acosh(self) -> Tensor:
        return apply("acosh", self)

    def atanh(self) -> Tensor:
        return apply("atanh", self)

    def tanh(self) -> Tensor:
        return apply("tanh", self)

    def erf(self) -> Tensor:
        return apply("erf", self)

    def sigmoid(self) -> Tensor:
        return apply("sigmoid", self)

    def relu(self) -> Tensor:
        return apply("relu", self)

    def maximum(self, other: Operand) -> Tensor:
        """The larger of two, element by element; where they are equal each gets half the gradient."""
        return apply("maximum", self, self._operand(other))

    def minimum(self, other: Operand) -> Tensor:
        return apply("minimum", self, self._operand(other))

    def clamp(self, min: float | None = None, max: float | None = None) -> Tensor:
        """Into [min, max]; either may be left out. ValueError: both are."""
        if min is None and max is None:
            raise ValueError("clamp: min or max must be given")
        return apply("clamp", self, low=-inf if min is None else min, high=inf if max is None else max)

    clip = clamp

    def masked_fill(self, mask: Operand, value: float) -> Tensor:
        """``value`` where ``mask``, which broadcasts to this tensor, is True."""
        out = apply("where", self._operand(value), self, condition=self._operand(mask).data)
        if out.shape != self.shape:
            raise ShapeError(f"masked_fill: mask of {self._operand(mask).shape} is larger than {self.shape}")
        return out

    def clone(self) -> Tensor:
        """A copy, through which the gradient goes."""
        return apply("clone", self)

    def to(self, device: str) -> Tensor:
        """A copy on ``device``, through which the gradient goes; the tensor itself if it is there already."""
        return self if device == self.device else to_device(self, device)  # type: ignore[return-value]  # a Tensor

    def cpu(self) -> Tensor:
        return self.to("cpu")

    def detach(self) -> Tensor:
        """The same memory, with no memory of how it was computed."""
        out = self.like(self.data)
        out.memory, out.known = self.memory, inf
        return out

    # Reductions: ops/reduction.py

    def sum(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return apply("sum", self, axis=axis, keepdims=keepdims)

    def mean(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return apply("mean", self, axis=axis, keepdims=keepdims)

    def prod(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return apply("prod", self, axis=axis, keepdims=keepdims)

    def amax(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """The maximum; equal maxima share the gradient. ShapeError: over no elements."""
        return apply("amax", self, axis=axis, keepdims=keepdims)

    def amin(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return apply("amin", self, axis=axis, keepdims=keepdims)

    @overload
    def max(self, axis: None = None, keepdims: bool = False) -> Tensor: ...
    @overload
    def max(self, axis: int, keepdims: bool = False) -> Extreme: ...
    def max(self, axis: int | None = None, keepdims: bool = False) -> Tensor | Extreme:
        """Of all elements: as amax. Over one axis: values and indices; the first of equal maxima counts."""
        if axis is None:
            return self.amax(None, keepdims)
        return self._extreme(self.argmax(axis, keepdims=True), axis, keepdims)

    @overload
    def min(self, axis: None = None, keepdims: bool = False) -> Tensor: ...
    @overload
    def min(self, axis: int, keepdims: bool = False) -> Extreme: ...
    def min(self, axis: int | None = None, keepdims: bool = False) -> Tensor | Extreme:
        if axis is None:
            return self.amin(None, keepdims)
        return self._extreme(self.argmin(axis, keepdims=True), axis, keepdims)

    def _extreme(self, indices: Tensor, axis: int, keepdims: bool) -> Extreme:
        values = self.gather(axis, indices)
        return Extreme(values, indices) if keepdims else Extreme(values.squeeze(axis), indices.squeeze(axis))

    def argmax(self, axis: int | None = None, keepdims: bool = False) -> Tensor:
        """Where the first maximum is, without gradient; axis None: in the flattened tensor."""
        return self._argument("argmax", axis, keepdims)

    def argmin(self, axis: int | None = None, keepdims: bool = False) -> Tensor:
        return self._argument("argmin", axis, keepdims)

    def _argument(self, name: str, axis: int | None, keepdims: bool) -> Tensor:
        count = self.size if axis is None else self.shape[self._axis(name, axis)]
        if count == 0:
            raise ShapeError(f"{name}: shape {self.shape}: there are no elements over axis {axis}")
        found = getattr(array_module(self.device), name)(self.data, axis=axis, keepdims=keepdims)
        return self.like(array_module(self.device).asarray(found))

    def var(self, axis: Axis = None, correction: int = 1, keepdims: bool = False) -> Tensor:
        """Squared distance from the mean, summed, divided by count - correction (inf or NaN if not > 0)."""
        return apply("var", self, axis=axis, keepdims=keepdims, correction=correction)

    def std(self, axis: Axis = None, correction: int = 1, keepdims: bool = False) -> Tensor:
        """The root of var; its gradient at 0 is 0."""
        return apply("std", self, axis=axis, keepdims=keepdims, correction=correction)

    def logsumexp(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return apply("logsumexp", self, axis=axis, keepdims=keepdims)

    def norm(self, p: float = 2, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """The 1, 2 or inf norm; the gradient of the 2-norm at 0 is 0. ValueError: another p."""
        if p == 1:
            return self.abs().sum(axis, keepdims)
        if p == inf:
            return self.abs().amax(axis, keepdims)
        if p != 2:
            raise ValueError(f"norm: p is {p}; possible are 1, 2 and inf")
        return apply("norm", self, axis=axis, keepdims=keepdims)

    def cumsum(self, axis: int) -> Tensor:
        return apply("cumsum", self, axis=axis)
