"""Losses are PyTorch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers.op_cases.draw import normal, positive
from ringleader.runtime.autograd import BCEWithLogitsLoss, CrossEntropyLoss, MSELoss
from ringleader.runtime.autograd import functional as F

torch = pytest.importorskip("torch", reason="PyTorch is the oracle: pip install 'ringleader[oracle]'")
from helpers.torch_oracle import same  # noqa: E402

T = torch.nn.functional
REDUCTIONS = ("mean", "sum", "none")
LABELLED: list[tuple[tuple[int, ...], Any]] = [
    ((5, 3), [0, 2, -100, 1, 2]), ((3,), 1), ((3,), -100), ((2, 3, 2), [[0, -100], [1, 1]]), ((0, 3), []),
    ((1, 3, 2, 1), [[[0], [2]]]), ((2, 3), [-100, -100]), ((1, 1), [0]),
]  # fmt: skip


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("shape", "labels"), LABELLED)
@pytest.mark.parametrize("smoothing", [0.0, 0.3, 1.0])
def test_cross_entropy(shape: Any, labels: Any, weighted: bool, reduction: str, smoothing: float) -> None:
    target = np.asarray(labels, np.int64)
    weight = positive(shape[0 if len(shape) == 1 else 1]) if weighted else None
    options = {"reduction": reduction, "label_smoothing": smoothing}
    theirs = None if weight is None else torch.tensor(weight)
    same(lambda x: F.cross_entropy(x, target, weight, **options),
         lambda x: T.cross_entropy(x, torch.tensor(target), theirs, **options), 3 * normal(*shape))  # fmt: skip


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("shape", "labels"), LABELLED)
def test_nll_loss(shape: Any, labels: Any, weighted: bool, reduction: str) -> None:
    target = np.asarray(labels, np.int64)
    weight = positive(shape[0 if len(shape) == 1 else 1]) if weighted else None
    theirs = None if weight is None else torch.tensor(weight)
    same(lambda x: F.nll_loss(x, target, weight, reduction=reduction),
         lambda x: T.nll_loss(x, torch.tensor(target), theirs, reduction=reduction), normal(*shape))  # fmt: skip


def test_another_index_is_ignored() -> None:
    target = np.array([1, 0, 1])
    same(lambda x: F.cross_entropy(x, target, ignore_index=1),
         lambda x: T.cross_entropy(x, torch.tensor(target), ignore_index=1), normal(3, 2))  # fmt: skip


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (0, 2)])
@pytest.mark.parametrize(
    ("name", "options"),
    [("mse_loss", {}), ("l1_loss", {}), ("huber_loss", {"delta": 0.4}), ("smooth_l1_loss", {"beta": 0.4}),
     ("binary_cross_entropy_with_logits", {})],
)  # fmt: skip
def test_losses_of_pairs(name: str, options: Any, shape: Any, reduction: str) -> None:
    ours, theirs = getattr(F, name), getattr(T, name)
    same(lambda x, t: ours(x, t, reduction=reduction, **options),
         lambda x, t: theirs(x, t, reduction=reduction, **options), normal(*shape), positive(*shape))  # fmt: skip


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weight", [None, positive(2, 1)])
@pytest.mark.parametrize("pos_weight", [None, positive(3), positive()])
def test_weights_of_the_binary_loss(weight: Any, pos_weight: Any, reduction: str) -> None:
    options = {"weight": weight, "pos_weight": pos_weight}
    theirs = {name: None if array is None else torch.tensor(array) for name, array in options.items()}
    x = np.array([[-800.0, 0.3, 800.0], [0.0, -1.0, 2.0]])
    same(lambda x, t: F.binary_cross_entropy_with_logits(x, t, reduction=reduction, **options),
         lambda x, t: T.binary_cross_entropy_with_logits(x, t, reduction=reduction, **theirs), x,
         np.array([[0, 0.5, 1], [1, 0, 0.2]]))  # fmt: skip


def test_layers() -> None:
    target, weight = np.array([0, 2, 2, 1]), positive(3)
    nn = torch.nn
    ours = CrossEntropyLoss(weight, ignore_index=1, reduction="sum", label_smoothing=0.1)
    theirs = nn.CrossEntropyLoss(torch.tensor(weight), ignore_index=1, reduction="sum", label_smoothing=0.1)
    same(lambda x: ours(x, target), lambda x: theirs(x, torch.tensor(target)), normal(4, 3))
    binary = BCEWithLogitsLoss(pos_weight=weight), nn.BCEWithLogitsLoss(pos_weight=torch.tensor(weight))
    same(*binary, normal(4, 3), (normal(4, 3) > 0).astype(np.float64))
    same(MSELoss(reduction="sum"), nn.MSELoss(reduction="sum"), normal(4, 3), positive(4, 3))
