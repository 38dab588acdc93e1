"""Where kernels are measured: PyTorch, a device for ours, and arrays that both see without a copy."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ringleader.csrc.cuda.device import Array, Device
from ringleader.csrc.cuda.gpu import Gpu, NoGpu
from ringleader.csrc.cuda.nvrtc import NoCompiler

Tensor = Any  # PyTorch's: an extra, so never imported here
TORCH = "pip install torch: a build for CUDA, as pytorch.org/get-started says"
BFLOAT16 = "bfloat16 needs CuPy 14, numpy 2.1.2 and ml_dtypes: pip install -U 'ringleader[cuda13]' ml_dtypes"


def missing() -> list[str]:
    """What stands in the way of measuring here, each with its remedy."""
    found = []
    try:
        Gpu()
    except (NoGpu, NoCompiler) as error:
        found.append(str(error))
    else:
        cupy = importlib.import_module("cupy")
        if int(cupy.__version__.split(".")[0]) < 14 or importlib.util.find_spec("ml_dtypes") is None:
            found.append(f"CuPy is {cupy.__version__}; {BFLOAT16}")
    if importlib.util.find_spec("torch") is None:
        return [*found, f"PyTorch, the peer, is not installed: {TORCH}"]
    torch = importlib.import_module("torch")
    if torch.version.cuda is None:
        found.append(f"PyTorch {torch.__version__} is built without CUDA: {TORCH}")
    elif not torch.cuda.is_available():
        found.append(
            f"PyTorch {torch.__version__}, for CUDA {torch.version.cuda}, finds no GPU: look at nvidia-smi"
        )
    return found


@dataclass(frozen=True)
class Place:
    """torch: the module. device: what launches ours. where: PyTorch's name of the same device. cache: bytes of its
    second-level cache."""

    torch: Any
    device: Device
    where: str
    cache: int
    generator: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "generator", self.torch.Generator(self.where).manual_seed(1))

    def dtype(self, name: str) -> Any:
        """PyTorch's."""
        return getattr(self.torch, name)

    def normal(self, *shape: int, dtype: str, scale: float = 1.0) -> Tensor:
        """Normally distributed with that standard deviation."""
        drawn = self.torch.randn(shape, generator=self.generator, device=self.where)
        return drawn.mul_(scale).to(self.dtype(dtype))

    def integers(self, high: int, *shape: int, dtype: str = "int64") -> Tensor:
        """From 0 to high - 1."""
        return self.torch.randint(
            high, shape, generator=self.generator, device=self.where, dtype=self.dtype(dtype)
        )

    def share(self, tensor: Tensor) -> Array:
        """The tensor's memory as an array of the device. Bfloat16 goes as whole numbers of as many bits: CuPy takes
        it by DLPack from 14.1 on alone, and numpy not at all."""
        tensor = tensor.detach()
        if tensor.dtype == self.torch.bfloat16:
            return self.share(tensor.view(self.torch.int16)).view(bfloat16())
        return tensor.numpy() if self.where == "cpu" else self.device.xp.from_dlpack(tensor)

    def tensor(self, array: Array | Tensor) -> Tensor:
        """The other way round; a tensor is itself."""
        if isinstance(array, self.torch.Tensor):
            return array.detach()
        if array.dtype.name == "bfloat16":
            return self.tensor(array.view(np.int16)).view(self.torch.bfloat16)
        return self.torch.from_numpy(array) if self.where == "cpu" else self.torch.from_dlpack(array)

    def wait(self) -> None:
        """Until the device has done all. RuntimeError: it is lost, by an illegal access for example."""
        if self.where != "cpu":
            self.torch.cuda.synchronize()

    def free(self) -> None:
        """Give back what PyTorch and CuPy keep for later, each for itself."""
        self.wait()
        if self.where != "cpu":
            self.device.xp.get_default_memory_pool().free_all_blocks()
            self.torch.cuda.empty_cache()


def bfloat16() -> np.dtype[Any]:
    """numpy's, from ml_dtypes."""
    found: np.dtype[Any] = np.dtype(importlib.import_module("ml_dtypes").bfloat16)
    return found
