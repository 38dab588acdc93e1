"""That nothing between a tensor and its gradient takes a GPU's array for one of numpy: with a strict stand-in for CuPy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.devices import assert_alike, label, on, strict_cuda, trained
from helpers.op_cases import CASES
from helpers.op_cases.draw import Case, normal
from ringleader.runtime import autograd as ag
from ringleader.runtime.autograd.op import WRITTEN, to_host
from ringleader.runtime.comm import spawn
from ringleader.runtime.parallel import DataParallel


@pytest.fixture(autouse=True, scope="module")
def cuda() -> Iterator[None]:
    with strict_cuda():
        ag.Tensor(0.0, device="cuda")
        yield


@pytest.mark.parametrize("case", [case for case in CASES if case[0] != "checkpoint"], ids=label)
def test_an_op_is_on_the_device_what_it_is_in_numpy(case: Case) -> None:
    name, options, arrays = case
    results: list[Any] = []
    for device in ("cpu", "cuda"):
        given = {key: option if key == "lengths" else on(device, option) for key, option in options.items()}
        tensors = [ag.Tensor(a, requires_grad=True, device=device) for a in arrays]
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(ag.OPS, name, {"cpu": WRITTEN[name]})
            out = ag.apply(name, *tensors, **given)
        out.backward(on(device, np.ones(out.shape)))
        assert out.device == device
        results.append([to_host(out.data), *(to_host(t.grad) for t in tensors)])
    for mine, wanted in zip(*results):
        np.testing.assert_array_equal(mine, wanted)


def test_the_stand_in_is_strict() -> None:
    x = ag.Tensor(np.ones(3), device="cuda").data
    for wrong in (lambda: np.exp(x), lambda: np.where(x, 0, 1), lambda: x * np.ones(3), lambda: np.asarray(x),
                  lambda: x[np.arange(2)], lambda: x.__setitem__(0, np.ones(()))):  # fmt: skip
        with pytest.raises(TypeError):
            wrong()


@pytest.mark.parametrize(
    ("model", "data", "optimizer"),
    [("lenet5", "digits", "sgd"), ("lstm", "text", "adam"), ("gru", "copy:3", "adamw"), ("rnn", "adding:5", "adam"),
     ("transformer", "text", "lamb"), ("seq2seq", "reverse:4", "adagrad"), ("bigram", "text", "sgd")],
)  # fmt: skip
def test_models_train_as_on_the_cpu(model: str, data: str, optimizer: str) -> None:
    mine, wanted = (trained(model, data, device, optimizer=optimizer) for device in ("cuda", "cpu"))
    assert_alike(mine, wanted, 1e-9)


def on_two_ranks(device: str) -> tuple[list[float], list[Any]]:
    """The losses and weights of rank 0 after some steps in which both ranks see half of each batch."""

    def rank(world: Any) -> tuple[list[float], list[Any]]:
        net = ag.Sequential(
            ag.Linear(3, 4, generator=np.random.default_rng(world.rank), dtype=np.float64), ag.Tanh(),
            ag.Linear(4, 2, generator=np.random.default_rng(world.rank), dtype=np.float64),
        ).to(device)  # fmt: skip
        parallel, optimizer, losses = (
            DataParallel(net, world, bucket_bytes=0),
            ag.SGD(net.parameters(), lr=0.1),
            [],
        )
        for step in range(3):
            x = ag.Tensor(np.random.default_rng([step, world.rank]).standard_normal((2, 3)), device=device)
            parallel.zero_grad()
            losses.append(
                parallel.backward(ag.cross_entropy(parallel(x), np.array([0, 1]), reduction="sum") / 4)
            )
            optimizer.step()
        return losses, list(net.state_dict().values())

    return spawn(2, rank)[0]


def test_gradients_of_a_device_are_reduced_through_the_host() -> None:
    (mine, weights), (wanted, others) = on_two_ranks("cuda"), on_two_ranks("cpu")
    np.testing.assert_allclose(mine, wanted, rtol=1e-12)
    for one, other in zip(weights, others):
        np.testing.assert_allclose(one, other, rtol=1e-12)


def test_a_tensor_moves_and_its_gradient_comes_back() -> None:
    x = ag.Tensor(normal(2, 3), requires_grad=True)
    there = (x * 2).to("cuda")
    assert there.device == "cuda" and there.to("cuda") is there
    (there * there).to("cpu").sum().backward()
    np.testing.assert_allclose(x.grad, 8 * x.data)
    np.testing.assert_array_equal(np.asarray(there), 2 * x.data)
    with pytest.raises(TypeError, match=r"numpy: the tensor of shape \(2, 3\) is on 'cuda'; use cpu\(\)"):
        there.numpy()
    with pytest.raises(ValueError, match="different devices: cpu, cuda"):
        ag.mse_loss(x, there)
    with pytest.raises(ValueError, match="different devices: cuda, cpu"):
        ag.cross_entropy(there, ag.Tensor(np.array([0, 1])))


def test_a_module_moves_with_its_buffers_and_gradients(tmp_path: Path) -> None:
    net = ag.Sequential(ag.Linear(3, 4, generator=np.random.default_rng(0)), ag.BatchNorm1d(4))
    before = net.state_dict()
    net(ag.Tensor(normal(5, 3).astype("f4"))).sum().backward()
    weight = net[0].weight
    assert net.to("cuda") is net and net[0].weight is weight and weight.device == "cuda"
    assert all(
        type(a).__module__ == "helpers.strict_cupy" for a in (weight.data, weight.grad, *net.buffers())
    )
    net(ag.Tensor(normal(5, 3).astype("f4"), device="cuda"))
    ag.save(net, tmp_path / "net")
    ag.save_tree({"net": net.state_dict(), "mean": net[1].running_mean}, tmp_path / "tree")
    assert ag.load_tree(tmp_path / "tree")["net"]["1.num_batches_tracked"] == 2
    net.load_state_dict(before)
    assert all((a == before[name]).all() for name, a in net.state_dict().items())
    net.load_state_dict(ag.load(tmp_path / "net"))
    assert net.to("cpu")[1].num_batches_tracked == 2
    ag.flatten_parameters(net)
    with pytest.raises(ValueError, match=r"'0\.weight' live in storage of others; move the module before"):
        net.to("cuda")


def test_mixed_precision_and_recomputation_on_the_device() -> None:
    def losses(device: str) -> list[float]:
        net = ag.Sequential(
            ag.Linear(4, 4, generator=np.random.default_rng(0)), ag.BatchNorm1d(4), ag.ReLU()
        ).to(device)
        mixed, seen = ag.MixedPrecision(net, ag.AdamW(net.parameters()), "float16"), []
        for step in range(3):
            x = ag.Tensor(np.random.default_rng(step).standard_normal((5, 4)).astype("f2"), device=device)
            mixed.zero_grad()
            loss = ag.checkpoint(net, x).square().mean()
            mixed.scale(loss).backward()
            assert mixed.step()
            seen.append(loss.item())
        mixed.load_state_dict(mixed.state_dict())
        return seen

    np.testing.assert_allclose(
        losses("cuda"), losses("cpu"), rtol=1e-2
    )  # of 16 bits, whose sums differ in order
