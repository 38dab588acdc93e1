"""Element by element: dropout and a step of Adam, beside PyTorch's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ringleader.bench.gpu.case import Call, Case, Work
from ringleader.bench.gpu.place import Place, Tensor
from ringleader.csrc.cuda import dropout, optimizer
from ringleader.csrc.cuda.device import Device

DTYPE, BYTES = "bfloat16", 2
DROPPED = 0.1
SIGMAS = 6  # that the share of dropped elements may be off
LR, BETAS, EPS, STEP = 1e-3, (0.9, 0.999), 1e-8, 10


def dropout_case(count: int, dtype: str = DTYPE) -> Case:
    """Which elements are dropped is random on both sides: the others must be right, and the share plausible."""

    def prepare(place: Place) -> Work:
        torch = place.torch

        def ours(device: Device, version: str | None, x: Tensor) -> Call:
            shared = place.share(x)
            return lambda: dropout.dropout(device, shared, DROPPED, seed=1, version=version)

        def peer(x: Tensor) -> Call:
            return lambda: torch.nn.functional.dropout(x, DROPPED)

        def holds(results: Sequence[Tensor], x: Tensor) -> str:
            (y,) = results
            kept = y != 0
            wanted = torch.where(kept, x.double() / (1 - DROPPED), 0)
            if bool(((y.double() - wanted).abs() > torch.finfo(x.dtype).eps * wanted.abs()).any()):
                return "what is kept is not x / (1 - p)"
            dropped = float((~kept & (x != 0)).double().mean())
            off = abs(dropped - DROPPED) / (DROPPED * (1 - DROPPED) / x.numel()) ** 0.5
            return f"{dropped:.4f} of the elements are dropped, not {DROPPED}" if off > SIGMAS else ""

        return Work(
            (place.normal(count, dtype=dtype),), ours, {"PyTorch": peer}, lambda y: [place.tensor(y)], holds=holds
        )  # fmt: skip

    return Case(
        "rows", f"dropout, {count:,}", "dropout", dtype, flops=0, moved=2 * BYTES * count, kind="single", prepare=prepare,
        quick=True,
    )  # fmt: skip


def adam_case(count: int) -> Case:
    """Weights w, gradient g, states m and v (count,), float32; in step 10 as in any later one."""

    def prepare(place: Place) -> Work:
        torch = place.torch
        w, g, m = (place.normal(count, dtype="float32") for _ in range(3))
        v = place.normal(count, dtype="float32") ** 2

        def ours(device: Device, version: str | None, *given: Tensor) -> Call:
            w, g, m, v = map(place.share, given)

            def call() -> Any:
                optimizer.adam(device, w, g, m, v, STEP, lr=LR, betas=BETAS, eps=EPS, version=version)
                return w, m, v

            return call

        def peer(w: Tensor, g: Tensor, m: Tensor, v: Tensor) -> Call:
            w = torch.nn.Parameter(w)
            w.grad = g
            adam = torch.optim.Adam([w], LR, BETAS, EPS, fused=True)
            step = torch.tensor(float(STEP - 1), device=place.where)
            adam.state[w] = {"step": step, "exp_avg": m, "exp_avg_sq": v}

            def call() -> Any:
                adam.step()
                return w, m, v

            return call

        def plain(dtype: Any, *given: Tensor) -> Sequence[Tensor]:
            """Kingma and Ba 2015, algorithm 1."""
            w, g, m, v = (tensor.to(dtype) for tensor in given)
            m = BETAS[0] * m + (1 - BETAS[0]) * g
            v = BETAS[1] * v + (1 - BETAS[1]) * g * g
            rate = LR / (1 - BETAS[0] ** STEP)
            return w - rate * m / ((v / (1 - BETAS[1] ** STEP)).sqrt() + EPS), m, v

        inputs = (w, g, m, v)
        return Work(
            inputs, ours, {"PyTorch": peer}, lambda made: [place.tensor(each) for each in made], plain
        )

    return Case(
        "rows", f"Adam, {count:,} weights, float32", "adam", "float32", flops=0, moved=7 * 4 * count, kind="single",
        prepare=prepare, quick=True, tags=frozenset({"optimiser"}),
    )  # fmt: skip


CASES = (dropout_case(16384 * 4096), adam_case(1 << 25))
