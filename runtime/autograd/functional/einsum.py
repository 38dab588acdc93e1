"""Sums of products in Einstein's notation."""

from __future__ import annotations

from string import ascii_letters

import numpy as np
from ringleader.runtime.autograd.op import ShapeError
from ringleader.runtime.autograd.tensor import Tensor, apply


def einsum(equation: str, *tensors: Tensor) -> Tensor:
    """Sum of products, as ``einsum("bik,bkj->bij", a, b)``; any number of tensors.

    Without "->" the result has the letters that are there once, in alphabetical order, behind what "..." stands for:
    axes that have no letter, as many as there are, which broadcast. A letter twice in one operand is its diagonal.
    ValueError: what is no letter, or a letter that is twice in the result or in no operand. ShapeError: sizes differ.
    """
    left, arrow, output = equation.replace(" ", "").partition("->")
    parts = left.split(",")
    if not arrow:
        letters = left.replace(",", "").replace("...", "")
        output = "..." * ("..." in left) + "".join(sorted(c for c in set(letters) if letters.count(c) == 1))
    for part in (*parts, output):
        rest = part.replace("...", "", 1)
        if rest and not (rest.isascii() and rest.isalpha()):
            raise ValueError(f"einsum: {equation!r}: {part!r} may have letters, and ... once")
    if len(tensors) != len(parts):
        raise ValueError(f"einsum: {len(parts)} operands are written, {len(tensors)} given")
    named, lead = _without_ellipses(parts, tensors, [c for c in ascii_letters if c not in equation])
    output = output.replace("...", lead)
    if len(set(output)) < len(output):
        raise ValueError(f"einsum: {equation!r}: the result has a letter twice")
    unknown = [c for c in output if c not in "".join(named)]
    if unknown:
        raise ValueError(f"einsum: {equation!r}: {unknown[0]!r} of the result is in no operand")
    pairs = [_without_twins(letters, tensor) for letters, tensor in zip(named, tensors)]
    operands, lone = zip(*_without_stretched(pairs, lead))
    return apply("einsum", *lone, operands=operands, output=output)


def _without_ellipses(
    parts: list[str], tensors: tuple[Tensor, ...], free: list[str]
) -> tuple[list[str], str]:
    """Letters in place of "...", the same for the same axis counted from the right; and all of them."""
    counts = [t.ndim - len(part) + 3 if "..." in part else 0 for part, t in zip(parts, tensors)]
    if min(counts) < 0 or max(counts) > len(free):
        raise ShapeError(f"einsum: shapes {[t.shape for t in tensors]} do not have the axes of {parts}")
    lead = "".join(free[: max(counts)])
    return [part.replace("...", lead[len(lead) - n :]) for part, n in zip(parts, counts)], lead


def _without_twins(letters: str, x: Tensor) -> tuple[str, Tensor]:
    """Of axes with the same letter, one: the diagonal, in front."""
    for letter in letters:
        while letters.count(letter) > 1 and len(letters) == x.ndim:
            first, second = letters.index(letter), letters.rindex(letter)
            if x.shape[first] != x.shape[second]:
                raise ShapeError(f"einsum: shape {x.shape}: the axes {letter!r} of {letters!r} differ")
            others = [axis for axis in range(x.ndim) if axis not in (first, second)]
            along = np.arange(x.shape[first])
            x = x.permute(first, second, *others)[along, along]
            letters = letter + "".join(letters[axis] for axis in others)
    return letters, x


def _without_stretched(pairs: list[tuple[str, Tensor]], lead: str) -> list[tuple[str, Tensor]]:
    """Axes of ``lead`` that have size 1 here and more elsewhere are left out."""
    wide = {c for letters, x in pairs for c, size in zip(letters, x.shape) if size != 1}

    def kept(letters: str, x: Tensor) -> tuple[str, Tensor]:
        gone = [i for i, c in enumerate(letters) if c in lead and c in wide and x.shape[i] == 1]
        return "".join(c for i, c in enumerate(letters) if i not in gone), x.squeeze(tuple(gone))

    return [kept(letters, x) if lead else (letters, x) for letters, x in pairs]
