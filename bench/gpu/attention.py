"""Scaled dot-product attention, beside PyTorch's with FlashAttention's and cuDNN's kernels.

16,384 tokens and 2,048 channels whatever T and d, as in the figures of FlashAttention-2 (Dao 2023) and 3 (Shah et al. 2024);
in memory (batch, T, heads, d), as a linear layer leaves it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ringleader.bench.gpu.case import Call, Case, Work
from ringleader.bench.gpu.place import Place, Tensor
from ringleader.csrc.cuda import attention
from ringleader.csrc.cuda.device import Device

TOKENS, CHANNELS = 16384, 2048
DTYPE, BYTES = "bfloat16", 2
HEADS, LENGTHS = (64, 128, 256), (512, 1024, 2048, 4096, 8192, 16384)
BACKENDS = {"FlashAttention": "FLASH_ATTENTION", "cuDNN": "CUDNN_ATTENTION"}  # names of SDPBackend
CORNERS = ((0, 0), (-1, -1))  # batch row and head whose results are checked: one score matrix at a time


def prepare(
    place: Place, backwards: bool, batch: int, heads: int, length: int, head: int, causal: bool, dtype: str
) -> Work:
    torch, scale = place.torch, head**-0.5

    def draw() -> Tensor:
        return place.normal(batch, length, heads, head, dtype=dtype).transpose(1, 2)

    def ours(device: Device, version: str | None, *given: Tensor) -> Call:
        q, k, v, *g = map(place.share, given)
        if not backwards:
            return lambda: attention.forward(device, q, k, v, scale=scale, causal=causal, version=version)[0]
        out, sums = attention.forward(device, q, k, v, scale=scale, causal=causal)
        return lambda: attention.backward(
            device, g[0], q, k, v, out, sums, scale=scale, causal=causal, version=version
        )

    def peer(backend: str) -> Callable[..., Call]:
        flag = getattr(torch.nn.attention.SDPBackend, backend)

        def forward(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            with torch.nn.attention.sdpa_kernel(flag):
                return torch.nn.functional.scaled_dot_product_attention(
                    q, k, v, is_causal=causal, scale=scale
                )

        def make(*given: Tensor) -> Call:
            if not backwards:
                return lambda: forward(*given)
            leaves, g = [tensor.detach().requires_grad_() for tensor in given[:3]], given[3]
            out = forward(*leaves)
            return lambda: torch.autograd.grad(out, leaves, g, retain_graph=True)

        return make

    def plain(dtype: Any, *given: Tensor) -> Sequence[Tensor]:
        corners = [
            _corner(torch, *(t[at].to(dtype) for t in given), scale=scale, causal=causal) for at in CORNERS
        ]
        return [torch.stack(results) for results in zip(*corners, strict=True)]

    def results(made: Any) -> list[Tensor]:
        tensors = map(place.tensor, made if isinstance(made, tuple) else (made,))
        return [torch.stack([tensor[at] for at in CORNERS]) for tensor in tensors]

    inputs = tuple(draw() for _ in range(4 if backwards else 3))
    return Work(inputs, ours, {name: peer(backend) for name, backend in BACKENDS.items()}, results, plain)


def _corner(
    torch: Any, q: Tensor, k: Tensor, v: Tensor, *g: Tensor, scale: float, causal: bool
) -> Sequence[Tensor]:
    """One head, (T, d), by the formula: out, or with the gradient of out those of q, k and v."""
    leaves = [tensor.requires_grad_(bool(g)) for tensor in (q, k, v)]
    scores = scale * (q @ k.t())
    if causal:
        hidden = torch.ones(scores.shape, dtype=torch.bool, device=scores.device).triu_(1)
        scores = scores.masked_fill(hidden, float("-inf"))
    out = scores.softmax(-1) @ v
    return torch.autograd.grad(out, leaves, g[0]) if g else [out]


def case(
    backwards: bool, batch: int, heads: int, length: int, head: int, causal: bool, dtype: str = DTYPE
) -> Case:
    way = "backward" if backwards else "forward"
    tags = {way} | ({f"{way} 8k"} if (head, length, causal) == (128, 8192, False) else set())
    products = 2 * batch * heads * length**2 * head  # operations of one product with the scores
    arrays = 8 if backwards else 4  # q, k, v, out; and the gradients of all
    return Case(
        "attention", f"{way}, d {head}, T {length}{', causal' if causal else ''}", f"attention_{way}", dtype,
        flops=(5 if backwards else 2) * products / (2 if causal else 1),
        moved=arrays * BYTES * batch * heads * length * head, kind="half",
        prepare=lambda place: prepare(place, backwards, batch, heads, length, head, causal, dtype),
        quick=head == 128 and length in (2048, 8192), tags=frozenset(tags),
    )  # fmt: skip


CASES = tuple(
    case(backwards, TOKENS // length, CHANNELS // head, length, head, causal)
    for backwards in (False, True)
    for head in HEADS
    for causal in (False, True)
    for length in LENGTHS
)
