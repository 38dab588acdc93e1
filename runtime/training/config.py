"""What a training run is told."""

from __future__ import annotations

from dataclasses import dataclass

from ringleader.runtime.parallel.data_parallel import BUCKET_BYTES

OPTIMIZERS = ("sgd", "adam")
DTYPES = ("float32", "float64")


@dataclass(frozen=True)
class TrainConfig:
    """The defaults train LeNet-5 on the digits. ValueError names an option that makes no sense.

    ``batch_size`` is that of all ranks together; ``steps`` ends training early; ``seed`` is for the
    weights, ``data_seed`` for the order of the samples. ``ranks`` and ``require_accuracy`` are for the
    launcher. ``momentum`` and ``weight_decay`` are the optimiser's (momentum: sgd only). In each epoch each
    training image is moved by up to ``shift`` pixels each way: LeNet-5 then errs on the digits about
    half as often.
    """

    model: str = "lenet5"
    ranks: int = 1
    epochs: int = 20
    steps: int | None = None
    batch_size: int = 64
    optimizer: str = "sgd"
    lr: float = 0.03
    momentum: float = 0.9
    weight_decay: float = 0.0
    seed: int = 0
    data_seed: int = 0
    shift: int = 2
    dtype: str = "float32"
    algorithm: str = "auto"
    bucket_bytes: int = BUCKET_BYTES
    require_accuracy: float = 0.0

    def __post_init__(self) -> None:
        for name, known in (("optimizer", OPTIMIZERS), ("dtype", DTYPES)):
            if getattr(self, name) not in known:
                raise ValueError(f"unknown {name} {getattr(self, name)!r}; known: {', '.join(known)}")
        for name, least in (("ranks", 1), ("epochs", 0), ("batch_size", 1), ("lr", 0), ("momentum", 0),
                            ("weight_decay", 0), ("seed", 0), ("data_seed", 0), ("shift", 0),
                            ("bucket_bytes", 0)):  # fmt: skip
            if not getattr(self, name) >= least:
                raise ValueError(f"{name} must be at least {least}, it is {getattr(self, name)}")
        if self.steps is not None and self.steps < 0:
            raise ValueError(f"steps must be at least 0, it is {self.steps}")
        if not 0 <= self.require_accuracy <= 1:
            raise ValueError(f"require_accuracy must be between 0 and 1, it is {self.require_accuracy}")
