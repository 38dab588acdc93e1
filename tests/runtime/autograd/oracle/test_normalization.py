"""Normalisation is PyTorch's, and so are batch norm's running statistics over several steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers.op_cases.draw import normal, positive
from ringleader.runtime.autograd import BatchNorm1d, BatchNorm2d, GroupNorm, LayerNorm, RMSNorm, Tensor
from ringleader.runtime.autograd import functional as F

torch = pytest.importorskip("torch", reason="PyTorch is the oracle: pip install 'ringleader[oracle]'")
from helpers.torch_oracle import close, same  # noqa: E402

T = torch.nn.functional
PARAMETERS = [(), (0,), (0, 1)]


TRAILING = [((4, 3), 1), ((4, 3), 2), ((2, 3, 5), 1), ((2, 3, 5), 2), ((1, 1), 1), ((0, 3), 1)]


@pytest.mark.parametrize("which", PARAMETERS, ids=len)
@pytest.mark.parametrize(("shape", "axes"), TRAILING)
def test_layer_norm(shape: tuple[int, ...], axes: int, which: tuple[int, ...]) -> None:
    size = shape[-axes:]
    parameters = [(normal, positive)[i](*size) for i in which]
    same(lambda x, *p: F.layer_norm(x, size, *p), lambda x, *p: T.layer_norm(x, size, *p), normal(*shape),
         *parameters)  # fmt: skip


@pytest.mark.parametrize("eps", [None, 1e-2])
@pytest.mark.parametrize("which", PARAMETERS[:2], ids=len)
@pytest.mark.parametrize(("shape", "axes"), TRAILING)
def test_rms_norm(shape: tuple[int, ...], axes: int, which: tuple[int, ...], eps: float | None) -> None:
    size = shape[-axes:]
    parameters = [normal(*size) for _ in which]
    same(lambda x, *p: F.rms_norm(x, size, *p, eps=eps), lambda x, *p: T.rms_norm(x, size, *p, eps=eps),
         normal(*shape), *parameters)  # fmt: skip


@pytest.mark.parametrize("which", PARAMETERS, ids=len)
@pytest.mark.parametrize(
    ("shape", "groups"), [((3, 4), 2), ((2, 6, 3), 3), ((2, 4, 3, 2), 4), ((2, 3, 2), 1)]
)
def test_group_norm(shape: tuple[int, ...], groups: int, which: tuple[int, ...]) -> None:
    parameters = [(normal, positive)[i](shape[1]) for i in which]
    same(lambda x, *p: F.group_norm(x, groups, *p), lambda x, *p: T.group_norm(x, groups, *p), normal(*shape),
         *parameters)  # fmt: skip


@pytest.mark.parametrize("which", PARAMETERS, ids=len)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 5), (2, 1, 3, 2), (1, 2, 2, 1)])
def test_batch_norm(shape: tuple[int, ...], training: bool, which: tuple[int, ...]) -> None:
    mean, variance = normal(shape[1]), positive(shape[1])
    others = torch.tensor(mean), torch.tensor(variance)
    parameters = [(normal, positive)[i](shape[1]) for i in which]
    options = {"training": training, "momentum": 0.3, "eps": 1e-3}
    same(lambda x, *p: F.batch_norm(x, mean, variance, *p, **options),
         lambda x, *p: T.batch_norm(x, *others, *p, **options), normal(*shape), *parameters)  # fmt: skip
    close(mean, others[0])
    close(variance, others[1])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"momentum": None},
        {"affine": False, "momentum": 0.5},
        {"track_running_stats": False},
        {"eps": 0.1},
    ],
    ids=str,
)
@pytest.mark.parametrize("shape", [(5, 3), (4, 3, 2), (2, 3, 4, 3), (0, 3, 1, 2)])
def test_layer_over_several_steps_then_evaluation(shape: tuple[int, ...], options: dict[str, Any]) -> None:
    kind = "BatchNorm2d" if len(shape) == 4 else "BatchNorm1d"
    ours = {"BatchNorm1d": BatchNorm1d, "BatchNorm2d": BatchNorm2d}[kind](3, dtype=np.float64, **options)
    theirs = getattr(torch.nn, kind)(3, dtype=torch.float64, **options)
    for seed in range(3):
        x = np.random.default_rng(seed).standard_normal(shape) * (seed + 1) + seed
        same(ours, theirs, x)
        for parameter, other in zip(ours.parameters(), theirs.parameters()):
            close(parameter.grad, other.grad)
            parameter.data += 0.1
            other.data += 0.1
    ours.eval()
    theirs.eval()
    same(ours, theirs, normal(*shape))
    state = theirs.state_dict()
    assert set(ours.state_dict()) == set(state)
    for name, array in ours.state_dict().items():
        close(array, state[name])


def test_states_move_between_both() -> None:
    ours = BatchNorm1d(2, dtype=np.float64)
    ours(Tensor(normal(4, 2)))
    theirs = torch.nn.BatchNorm1d(2, dtype=torch.float64)
    theirs.load_state_dict({name: torch.tensor(array) for name, array in ours.state_dict().items()})
    ours.eval()
    theirs.eval()
    same(ours, theirs, normal(3, 2))


@pytest.mark.parametrize(
    ("ours", "name", "arguments"),
    [(LayerNorm, "LayerNorm", ((3, 2), 1e-2)), (LayerNorm, "LayerNorm", (2, 1e-5, True, False)),
     (LayerNorm, "LayerNorm", (2, 1e-5, False)), (RMSNorm, "RMSNorm", (2,)), (RMSNorm, "RMSNorm", ((3, 2), 0.1)),
     (GroupNorm, "GroupNorm", (3, 6)), (GroupNorm, "GroupNorm", (2, 6, 0.1, False))],
)  # fmt: skip
def test_layers(ours: Any, name: str, arguments: tuple[Any, ...]) -> None:
    mine, other = ours(*arguments, dtype=np.float64), getattr(torch.nn, name)(*arguments, dtype=torch.float64)
    assert set(mine.state_dict()) == set(other.state_dict())
    same(mine, other, normal(2, 6, 3, 2))
