"""What a training run is told."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any

from ringleader.runtime.comm.compression import KNOWN, check_spec
from ringleader.runtime.comm.leader import MODES, PLACEMENTS
from ringleader.runtime.parallel.data_parallel import BUCKET_BYTES
from ringleader.runtime.training.optimizers import OPTIMIZERS, SCHEDULES

DTYPES = ("float32", "float64")
TRAINED_ON = ("cpu", "cuda", "emulated")
SYNCS: dict[str, tuple[str, ...]] = {  # the options of TrainConfig that they alone have
    "allreduce": ("algorithm", "bucket_bytes"),
    "ps": ("servers", "colocated", "mode", "placement", "replicas"),
}
STALENESS: dict[str, tuple[str, ...]] = {mode: ("staleness",) if mode == "ssp" else () for mode in MODES}
CHOICES = {"optimizer": tuple(OPTIMIZERS), "schedule": tuple(SCHEDULES), "dtype": DTYPES,
           "device": TRAINED_ON, "sync": tuple(SYNCS), "mode": tuple(STALENESS), "placement": tuple(PLACEMENTS)}  # fmt: skip
MOST_SEED = (1 << 63) - 1


def option(default: Any, about: str, least: float | None = None) -> Any:
    """A field with its help for people. It must not be below ``least``, unless it is None, which is the default."""
    return field(default=default, metadata={"help": about, "least": least})


@dataclass(frozen=True)
class TrainConfig:
    """The defaults train LeNet-5 on the digits; ``ringleader.models.configure`` has those of other models and data.

    ``sizes`` are the model's own options, for those who build it. ``ranks``, ``threads``, ``save`` and the two
    ``require`` are for the launcher. ValueError names an option that makes no sense.
    """

    model: str = "lenet5"
    data: str = option("digits", "what to train on")
    ranks: int = option(1, "ranks to start on this machine, by mpirun", least=1)
    epochs: int = option(20, "passes over the training set", least=0)
    steps: int | None = option(None, "end after so many steps, whatever the epochs", least=0)
    batch_size: int = option(64, "samples in a step, of all ranks together", least=1)
    context: int = option(64, "characters of a text that a sample has", least=1)
    shift: int = option(2, "training images are moved by up to so many pixels", least=0)
    optimizer: str = option("sgd", f"one of {', '.join(OPTIMIZERS)}")
    lr: float = option(0.03, "learning rate", least=0)
    momentum: float = option(0.9, "of sgd", least=0)
    weight_decay: float = option(0.0, "L2 penalty; adamw and lamb: decay", least=0)
    clip: float | None = option(None, "gradients are scaled down to at most this norm", least=0)
    schedule: str = option("constant", f"of the learning rate: {', '.join(SCHEDULES)}")
    warmup: int = option(0, "steps in which the learning rate rises to its full size", least=0)
    step_size: int | None = option(None, "schedule step: steps between two drops (default: a third)", least=1)
    gamma: float = option(0.1, "schedule step: what the learning rate is multiplied by", least=0)
    seed: int = option(0, "for the initial weights", least=0)
    data_seed: int = option(0, "for what is in which batch", least=0)
    dtype: str = option("float32", "float32 or float64")
    device: str = option(
        "cpu",
        "cpu, cuda (a GPU, by CuPy), or emulated: the CUDA kernels, run on the CPU to try and study them",
    )
    sync: str = option("allreduce", "how gradients are averaged: allreduce, or ps (a parameter server)")
    servers: int = option(1, "ranks that serve, the last ones, if sync is ps", least=1)
    colocated: bool = option(False, "the servers work as well, and are spread over the ranks")
    mode: str = option(
        "bsp", "of a parameter server: bsp (synchronous), ssp (stale synchronous), asp (asynchronous)"
    )
    staleness: int | None = option(
        None, "mode ssp: steps that a worker may be ahead of the slowest (default 3)", least=0
    )
    placement: str = option("balanced", f"of parameters on servers: {', '.join(PLACEMENTS)}")
    replicas: int = option(
        0, "servers that hold a copy of each parameter and take over if its server dies", least=0
    )
    algorithm: str = option(
        "auto", "AllReduce that averages the gradients: auto, vendor (MPI's own), or one of ours"
    )
    bucket_bytes: int = option(
        BUCKET_BYTES, "gradients are reduced in buckets of about so many bytes", least=0
    )
    compression: str | None = option(None, f"gradients are sent in fewer bytes: {KNOWN}")
    threads: int | None = option(
        None, "of each rank (default: OMP_NUM_THREADS, or its share of the cores)", least=1
    )
    eval_every: int | None = option(None, "also test after every so many steps", least=1)
    save: str | None = option(None, "write the trained model to this safetensors file")
    require_accuracy: float = option(0.0, "exit with 1 if the test accuracy (0 ... 1) stays below", least=0)
    require_loss: float | None = option(None, "exit with 1 if the test loss stays above", least=0)
    sizes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise ValueError(f"unknown {name} {getattr(self, name)!r}; known: {', '.join(known)}")
        if self.compression is not None:
            check_spec(self.compression)
        for name, least in least_values().items():
            value = getattr(self, name)
            if value is not None and not least <= value < inf:
                raise ValueError(f"{name} must be at least {least}, it is {value}")
        if self.require_accuracy > 1:
            raise ValueError(f"require_accuracy must be between 0 and 1, it is {self.require_accuracy}")
        for name in ("seed", "data_seed"):
            if getattr(self, name) > MOST_SEED:
                raise ValueError(f"{name} must be at most {MOST_SEED}, it is {getattr(self, name)}")


def least_values() -> dict[str, float]:
    """Of the options of TrainConfig that have one."""
    fields = dataclasses.fields(TrainConfig)
    return {f.name: f.metadata["least"] for f in fields if f.metadata.get("least") is not None}
