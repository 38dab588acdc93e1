"""Sums of products in Einstein's notation."""

from __future__ import annotations

from dataclasses import dataclass

from ringleader.runtime.autograd.op import Array, Function, Shape, op


@op("einsum")
@dataclass(eq=False)
class Einsum(Function):
    """``operands`` has the letters of each input's axes, ``output`` those of the result; the rest is summed.

    The gradient of one input is an einsum too: of the others and the output's gradient, to its letters.
    """

    operands: tuple[str, ...]
    output: str

    def shape(self, *shapes: Shape) -> Shape:
        sizes: dict[str, int] = {}
        if len(shapes) != len(self.operands):
            raise ValueError(f"einsum: {len(self.operands)} operands are written, {len(shapes)} given")
        for letters, shape in zip(self.operands, shapes):
            if len(letters) != len(shape):
                raise self.refuse(f"{letters!r} are not its axes", shape)
            for letter, size in zip(letters, shape):
                if sizes.setdefault(letter, size) != size:
                    raise self.refuse(f"index {letter!r} has sizes {sizes[letter]} and {size}", *shapes)
        self.sizes = sizes
        return tuple(sizes[letter] for letter in self.output)

    def contract(self, letters: tuple[str, ...], arrays: tuple[Array, ...], output: str) -> Array:
        arrays = tuple(
            a.astype("f4") if a.dtype.kind == "V" else a for a in arrays
        )  # numpy's has no bfloat16
        return self.xp.einsum(f"{','.join(letters)}->{output}", *arrays, optimize=len(arrays) > 1)

    def forward(self, *arrays: Array) -> Array:
        others = [any(self.needs[:i] + self.needs[i + 1 :]) for i in range(len(arrays))]
        self.arrays: Array = tuple(a if needed else None for a, needed in zip(arrays, others))
        return self.contract(self.operands, arrays, self.output)

    def backward(self, g: Array) -> tuple[Array | None, ...]:
        return tuple(self.gradient(i, g) if needed else None for i, needed in enumerate(self.needs))

    def gradient(self, i: int, g: Array) -> Array:
        letters = (*self.operands[:i], *self.operands[i + 1 :], self.output)
        arrays = (*self.arrays[:i], *self.arrays[i + 1 :], g)
        wanted = self.operands[i]
        known = "".join(letter for letter in wanted if letter in "".join(letters))
        part = self.contract(letters, arrays, known)
        part = part.reshape([self.sizes[c] if c in known else 1 for c in wanted])
        # an index of this input alone was summed: the gradient is the same all along it
        return self.xp.broadcast_to(part, [self.sizes[c] for c in wanted])
