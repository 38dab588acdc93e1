"""The convolutions of ResNet-50 (He et al. 2015, table 1; the stride in the 3 x 3 layers), beside cuDNN's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from ringleader.bench.gpu.case import Call, Case, Work
from ringleader.bench.gpu.place import Place, Tensor
from ringleader.csrc.cuda import convolution
from ringleader.csrc.cuda.device import Device

BATCH, DTYPE = 64, "bfloat16"
BYTES = 2
PASSES = ("forward", "backward_data", "backward_weight")
QUICK = (
    (3, 7),
    (64, 3),
    (128, 3),
    (256, 1),
    (256, 3),
    (2048, 1),
)  # channels and kernel of the layers that --quick measures


@dataclass(frozen=True)
class Layer:
    """Without bias. size: of the square image; count: how often the network has it."""

    channels: int
    features: int
    kernel: int
    stride: int
    size: int
    count: int = 1

    @property
    def padding(self) -> int:
        return self.kernel // 2

    @property
    def out(self) -> int:
        return (self.size + 2 * self.padding - self.kernel) // self.stride + 1

    @property
    def multiply_adds(self) -> int:
        """An image."""
        return self.out**2 * self.features * self.channels * self.kernel**2

    def moved(self, batch: int, which: str) -> int:
        """Numbers of both images and the weights; of the image only those under a window, unless all must be written."""
        seen = self.out * self.kernel if self.kernel < self.stride and which != "backward_data" else self.size
        pixels = batch * (seen**2 * self.channels + self.out**2 * self.features)
        return pixels + self.features * self.channels * self.kernel**2

    def __str__(self) -> str:
        stride = f", stride {self.stride}" if self.stride > 1 else ""
        window = f"{self.kernel} x {self.kernel}{stride}"
        return f"{self.channels} to {self.features}, {window}, {self.size} x {self.size} (x {self.count})"


def resnet50() -> Iterator[Layer]:
    """Four stages of bottlenecks: 1 x 1 down, 3 x 3, 1 x 1 up to four times as many; the first of a stage halves the image
    (not in the first stage) and has a 1 x 1 beside it."""
    yield Layer(3, 64, 7, 2, 224)
    channels, size = 64, 56
    for width, blocks, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        wide, out = 4 * width, size // stride
        yield Layer(channels, width, 1, 1, size)
        yield Layer(width, width, 3, stride, size)
        yield Layer(width, wide, 1, 1, out, blocks)
        yield Layer(channels, wide, 1, stride, size)
        yield Layer(wide, width, 1, 1, out, blocks - 1)
        yield Layer(width, width, 3, 1, out, blocks - 1)
        channels, size = wide, out


def layers() -> list[Layer]:
    """The distinct ones."""
    counts: dict[Layer, int] = {}
    for layer in resnet50():
        key = Layer(layer.channels, layer.features, layer.kernel, layer.stride, layer.size)
        counts[key] = counts.get(key, 0) + layer.count
    return [Layer(k.channels, k.features, k.kernel, k.stride, k.size, count) for k, count in counts.items()]


def prepare(place: Place, layer: Layer, which: str, batch: int, dtype: str) -> Work:
    torch = place.torch
    last = {"memory_format": torch.channels_last}
    fan = layer.channels * layer.kernel**2
    x = place.normal(batch, layer.channels, layer.size, layer.size, dtype=dtype).contiguous(**last)
    w = place.normal(
        layer.features, layer.channels, layer.kernel, layer.kernel, dtype=dtype, scale=fan**-0.5
    ).contiguous(**last)
    g = place.normal(batch, layer.features, layer.out, layer.out, dtype=dtype).contiguous(**last)
    inputs = {"forward": (x, w), "backward_data": (g, w), "backward_weight": (x, g)}[which]
    geometry = {"stride": layer.stride, "padding": layer.padding}

    def ours(device: Device, version: str | None, *given: Tensor) -> Call:
        first, second = (place.share(tensor) for tensor in given)
        launch: Any = getattr(convolution, which)
        more: dict[str, Any] = {
            "backward_data": {"size": layer.size},
            "backward_weight": {"kernel": layer.kernel},
        }.get(which, {})
        return partial(launch, device, first, second, **more, **geometry, version=version)

    def peer(*given: Tensor) -> Call:
        return partial(torchs, given[0].dtype, *given)

    def torchs(dtype: Any, first: Tensor, second: Tensor) -> Any:
        """By PyTorch's own operator, cuDNN's where there is a GPU."""
        first, second = first.to(dtype), second.to(dtype)
        if which == "forward":
            return torch.nn.functional.conv2d(first, second, **geometry)
        backward = partial(torch.ops.aten.convolution_backward, bias_sizes=None, **_twice(geometry), dilation=[1, 1],
                           transposed=False, output_padding=[0, 0], groups=1)  # fmt: skip
        if which == "backward_data":
            like = torch.empty((batch, *x.shape[1:]), dtype=dtype, device=place.where).contiguous(**last)
            return backward(first, like, second, output_mask=[True, False, False])[0]
        like = torch.empty(w.shape, dtype=dtype, device=place.where).contiguous(**last)
        return backward(second, first, like, output_mask=[False, True, False])[1]

    return Work(
        inputs, ours, {"cuDNN": peer}, lambda result: [place.tensor(result)],
        plain=lambda dtype, *given: [torchs(dtype, *given)],
    )  # fmt: skip


def _twice(geometry: dict[str, int]) -> dict[str, list[int]]:
    return {name: [value, value] for name, value in geometry.items()}


def case(layer: Layer, which: str, batch: int = BATCH, dtype: str = DTYPE) -> Case:
    return Case(
        "convolution", f"{which.replace('_', '-')}, {layer}", f"convolution_{which}", dtype,
        flops=2 * batch * layer.multiply_adds, moved=BYTES * layer.moved(batch, which), kind="half",
        prepare=lambda place: prepare(place, layer, which, batch, dtype),
        quick=(layer.channels, layer.kernel) in QUICK, tags=frozenset({"layer"}),
    )  # fmt: skip


CASES = tuple(
    case(layer, which)
    for which in PASSES
    for layer in layers()
    if which != "backward_data" or layer.channels > 3
)
