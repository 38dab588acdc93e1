"""The sizes of a convolution, as every one of its kernels is told them."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from ringleader.csrc.cuda.device import Array
from ringleader.csrc.cuda.windows import GRID_LIMIT, LIMIT, Sides, grid_size, integers, strides


@dataclass(frozen=True)
class Geometry:
    """What all kernels are told."""

    image: tuple[int, int, int, int]  # N, C, H, W
    filter: tuple[int, int, int, int]  # O, C / groups, R, S
    stride: tuple[int, int]
    padding: Sides
    dilation: tuple[int, int]
    groups: int

    def check(self, operator: str) -> None:
        """ValueError: sizes do not fit each other."""
        if self.groups < 1:
            raise ValueError(f"{operator}: groups {self.groups} must be at least 1")
        if self.filter[0] % self.groups or self.image[1] % self.groups:
            raise ValueError(f"{operator}: {self.groups} groups do not divide {self.image[1]} channels of the image and "
                             f"{self.filter[0]} of weight")  # fmt: skip
        if self.image[1] != self.filter[1] * self.groups:
            raise ValueError(f"{operator}: the image has {self.image[1]} channels, weight expects "
                             f"{self.filter[1] * self.groups} ({self.filter[1]} in each of {self.groups} groups)")  # fmt: skip
        if min(self.filter[2:]) < 1:
            raise ValueError(f"{operator}: the kernel of weight is empty, {self.filter[2:]}")
        if min(self.grid[2:]) < 1:
            raise ValueError(f"{operator}: kernel {self.filter[2:]} with dilation {self.dilation} is larger than the "
                             f"padded image, {self.image[2:]} with padding {self.padding}")  # fmt: skip
        for name, (n, c, h, w) in (("image", self.image), ("grid", self.grid)):
            if n * h * w >= LIMIT or c > GRID_LIMIT:
                raise ValueError(f"{operator}: the {name} has {n * h * w} pixels and {c} channels; kernels take less "
                                 f"than {LIMIT} and at most {GRID_LIMIT}")  # fmt: skip
        largest = max(prod(self.image[1:]), prod(self.grid[1:]), prod(self.filter))
        if largest >= LIMIT:
            raise ValueError(
                f"{operator}: an image, or weight, has {largest} elements; kernels take less than {LIMIT}"
            )

    def check_grid(self, operator: str, dy: Array) -> None:
        """ValueError: dy (N, O, P, Q) is not the grid."""
        if dy.shape != self.grid:
            raise ValueError(f"{operator}: dy is (N, O, P, Q) = {dy.shape}, but an image {self.image} and weight "
                             f"{self.filter} make {self.grid}")  # fmt: skip

    @property
    def grid(self) -> tuple[int, int, int, int]:
        """N, O, P, Q."""
        p, q = grid_size(self.image[2:], self.filter[2:], self.stride, self.dilation, self.padding)
        return self.image[0], self.filter[0], p, q

    def arguments(self, x: Array, weight: Array, y: Array) -> tuple[Any, ...]:
        """GEOMETRY_PARAMETERS of convolution.cuh, for arrays (N, C, H, W), (O, C / groups, R, S), (N, O, P, Q)."""
        before = tuple(side[0] for side in self.padding)
        sizes = (
            *self.image,
            *self.grid[1:],
            *self.filter[2:],
            *self.stride,
            *before,
            *self.dilation,
            self.groups,
        )
        return (*integers(*sizes), *strides(x), *strides(weight), *strides(y))
