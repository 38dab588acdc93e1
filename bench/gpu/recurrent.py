"""LSTM and GRU layers, beside cuDNN's. A cell's state is H wide, and so are its inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ringleader.bench.gpu.case import Call, Case, Work
from ringleader.bench.gpu.place import Place, Tensor
from ringleader.csrc.cuda import recurrent
from ringleader.csrc.cuda.device import Device

STEPS = 128
HIDDEN, BATCHES = (256, 512, 1024), (16, 32, 64)
DTYPES = {"bfloat16": (2, "half"), "float32": (4, "single")}  # bytes, and whose peak
GATES = {"lstm": 4, "gru": 3}
BOTH = "forward and backward"  # one after the other: PyTorch copies what forward has kept, if backward may come twice


def prepare(place: Place, cell: str, which: str, steps: int, batch: int, hidden: int, dtype: str) -> Work:
    """Inputs of a set: x (T, N, H), W_x and W_h (G H, H), b_x and b_h (G H,), h and c before the first step (N, H), and
    the gradient of the outputs (T, N, H)."""
    torch, rows = place.torch, GATES[cell] * hidden
    scale = hidden**-0.5
    x, g = (place.normal(steps, batch, hidden, dtype=dtype) for _ in range(2))
    w_x, w_h = (place.normal(rows, hidden, dtype=dtype, scale=scale) for _ in range(2))
    b_x, b_h = (place.normal(rows, dtype=dtype, scale=scale) for _ in range(2))
    h, c = (place.normal(batch, hidden, dtype=dtype) for _ in range(2))
    backwards = which == BOTH

    def ours(device: Device, version: str | None, *given: Tensor) -> Call:
        x, w_x, w_h, b_x, b_h, h, c, g = given
        weights, h_first, c_first, doutputs, own_bias = map(
            place.share, (w_h, h, c, g, b_h[2 * hidden : 3 * hidden])
        )
        zeros = device.xp.zeros_like(h_first)
        first = (h_first, c_first if cell == "lstm" else None)
        bias = own_bias if cell == "gru" else None
        versions = (None, version) if backwards else (version, None)

        def call() -> list[Any]:
            folded = b_x + b_h  # but a GRU's gate n multiplies W h + b by r
            if cell == "gru":
                folded[2 * hidden :] = b_x[2 * hidden :]
            inputs = place.share(torch.addmm(folded, x.flatten(0, 1), w_x.t()).view(steps, batch, rows))
            y, _, layer = recurrent.forward(device, cell, inputs, *first, weights, bias, version=versions[0])
            if not backwards:
                return [y]
            dlast = (zeros, zeros if cell == "lstm" else None)
            of = recurrent.backward(device, layer, doutputs, *dlast, version=versions[1])
            d = place.tensor(of.inputs).flatten(0, 1)
            made = [
                y,
                (d @ w_x).view_as(x),
                d.t() @ x.flatten(0, 1),
                of.weights,
                d.sum(0),
                of.h_first,
                of.c_first,
            ]
            return [result for result in made if result is not None]

        return call

    def cudnn(*given: Tensor) -> Call:
        x, *weights, h, c, g = (tensor.detach().clone().requires_grad_() for tensor in given)
        layer = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[cell](
            hidden, hidden, device=place.where, dtype=x.dtype
        )
        with torch.no_grad():
            for parameter, value in zip(layer.parameters(), weights, strict=True):
                parameter.copy_(value)
        layer.flatten_parameters()
        first = (h[None], c[None]) if cell == "lstm" else h[None]
        wanted = (x, *list(layer.parameters())[:3], h, *([c] if cell == "lstm" else []))

        def call() -> Sequence[Tensor]:
            y, _ = layer(x, first)
            return [y, *torch.autograd.grad(y, wanted, g)] if backwards else [y]

        return call

    def plain(dtype: Any, *given: Tensor) -> Sequence[Tensor]:
        x, w_x, w_h, b_x, b_h, h, c, g = (tensor.to(dtype).requires_grad_() for tensor in given)
        y = torch.stack(list(formula(torch, cell, x, w_x, w_h, b_x, b_h, h, c)))
        if not backwards:
            return [y]
        wanted = (x, w_x, w_h, b_x, h, *([c] if cell == "lstm" else []))
        return [y, *torch.autograd.grad(y, wanted, g)]

    inputs = (x, w_x, w_h, b_x, b_h, h, c, g)
    return Work(inputs, ours, {"cuDNN": cudnn}, lambda made: [place.tensor(result) for result in made], plain)


def formula(
    torch: Any, cell: str, x: Tensor, w_x: Tensor, w_h: Tensor, b_x: Tensor, b_h: Tensor, h: Tensor, c: Tensor
) -> Any:
    """The states h (N, H), step by step; as the documentation of nn.LSTM and nn.GRU has it."""
    for step in x:
        of_x, of_h = step @ w_x.t() + b_x, h @ w_h.t() + b_h
        if cell == "lstm":
            i, f, g, o = (of_x + of_h).chunk(4, dim=1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
        else:
            (x_r, x_z, x_n), (h_r, h_z, h_n) = of_x.chunk(3, dim=1), of_h.chunk(3, dim=1)
            r, z = (x_r + h_r).sigmoid(), (x_z + h_z).sigmoid()
            n = (x_n + r * h_n).tanh()
            h = (1 - z) * n + z * h
        yield h


def case(cell: str, which: str, batch: int, hidden: int, dtype: str, steps: int = STEPS) -> Case:
    itemsize, kind = DTYPES[dtype]
    weights, states = 2 * GATES[cell] * hidden**2, steps * batch * hidden  # numbers
    return Case(
        "recurrent", f"{cell.upper()} {which}, hidden {hidden}, batch {batch}, {dtype}",
        f"{cell}_backward" if which == BOTH else f"{cell}_forward", dtype,
        flops=(3 if which == BOTH else 1) * 2 * steps * batch * weights,
        moved=itemsize * (2 if which == BOTH else 1) * (weights + 2 * states), kind=kind,
        prepare=lambda place: prepare(place, cell, which, steps, batch, hidden, dtype),
        quick=(hidden, batch, dtype) == (512, 32, "bfloat16"), tags=frozenset({cell}),
    )  # fmt: skip


CASES = tuple(
    case(cell, which, batch, hidden, dtype)
    for dtype in DTYPES
    for cell in GATES
    for which in ("forward", BOTH)
    for hidden in HIDDEN
    for batch in BATCHES
)
