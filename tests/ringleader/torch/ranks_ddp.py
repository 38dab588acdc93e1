"""DistributedDataParallel over ringleader and over Gloo, side by side; run by test_ddp.py on two or three ranks."""

import copy
from datetime import timedelta

import pytest
import torch
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import fp16_compress_hook
from torch.distributed.algorithms.ddp_comm_hooks.powerSGD_hook import PowerSGDState, powerSGD_hook
from torch.nn.parallel import DistributedDataParallel

BUCKET = 0.01  # MiB: several buckets even for these small models


@pytest.fixture(scope="module")
def gloo(world):
    return world.new_group(backend="gloo", timeout=timedelta(seconds=30))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(16, 32, batch_first=True), nn.Linear(32, 4)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


MODELS = {
    "perceptron": (lambda: nn.Sequential(*[nn.Linear(64, 64) for _ in range(6)]), (8, 64)),
    "convolution": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 10)
        ),
        (4, 3, 8, 8),
    ),
    "recurrent": (Recurrent, (4, 5, 16)),
}


def gradients(model, data, **options):
    """Of a copy of ``model``, in DDP if there are options. In the second pass, for in its first DDP has one bucket."""
    model = copy.deepcopy(model)
    net = DistributedDataParallel(model, bucket_cap_mb=BUCKET, **options) if options else model
    for _ in range(2):
        net.zero_grad()
        net(data).square().sum().backward()
    return [p.grad.clone() for p in model.parameters()]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_gradients_are_those_over_gloo(world, rank, n, gloo, name, dtype):
    """Bit for bit with two ranks, where there is one order only; with more up to the rounding of n - 1 additions
    each, whose error is at most (n - 1) u times the sum of the absolute values."""
    make, shape = MODELS[name]
    torch.manual_seed(1)
    model = make().to(dtype)
    torch.manual_seed(100 + rank)
    data = torch.randn(shape, dtype=dtype)
    ours = gradients(model, data, process_group=world.group.WORLD)
    theirs = gradients(model, data, process_group=gloo)
    for local, a, b in zip(gradients(model, data), ours, theirs):
        if n == 2:
            assert torch.equal(a, b)
        sizes = local.abs() / n
        world.all_reduce(sizes, group=gloo)
        assert ((a - b).abs() <= 2 * (n - 1) * torch.finfo(dtype).eps * sizes).all()
        assert a.abs().max() > 0
        mean = local / n  # and what both mean
        world.all_reduce(mean, group=gloo)
        assert ((a - mean).abs() <= 2 * n * torch.finfo(dtype).eps * sizes).all()


def test_parameters_stay_equal_on_all_ranks(world, rank, n):
    """Rank 0's are copied at the start, and 10 steps of training keep them the same, bit for bit."""
    torch.manual_seed(rank)
    net = DistributedDataParallel(MODELS["convolution"][0](), bucket_cap_mb=BUCKET)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    losses = []
    for _ in range(10):
        optimiser.zero_grad()
        loss = net(torch.ones(4, 3, 8, 8) * (rank + 1)).square().mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    for parameter in net.parameters():
        of_all = [torch.empty_like(parameter) for _ in range(n)]
        world.all_gather(of_all, parameter.detach())
        assert all(torch.equal(of_all[0], other) for other in of_all)


def test_backward_goes_on_while_a_bucket_is_under_way(world, rank):
    """Rank 0's first bucket waits for rank 1, which starts its backward pass only when rank 0's has reached the
    first layer, where the last gradients are made. Were a bucket waited for, this could not end."""
    store = world.distributed_c10d._get_default_store()
    torch.manual_seed(1)
    model = MODELS["perceptron"][0]()
    net = DistributedDataParallel(model, bucket_cap_mb=BUCKET)
    events = []

    def hook(_, bucket):
        events.append(f"bucket {bucket.index()} started")
        work = world.all_reduce(bucket.buffer(), async_op=True)

        def complete(future):
            events.append(f"bucket {bucket.index()} complete")
            return future.value()[0]

        return work.get_future().then(complete)

    def first_layer_reached(_):
        events.append("first layer")
        if rank == 0:
            store.set("rank 0 is through", "yes")

    net.register_comm_hook(None, hook)
    net(torch.ones(8, 64)).sum().backward()  # after which DDP cuts its buckets
    events.clear()
    model[0].weight.register_hook(first_layer_reached)
    loss = net(torch.ones(8, 64)).sum()
    if rank == 1:
        store.wait(["rank 0 is through"], timedelta(seconds=30))
    loss.backward()
    buckets = sum(event.endswith("started") for event in events)
    assert buckets >= 3
    assert sum(event.endswith("complete") for event in events) == buckets
    if rank == 0:
        assert events.index("bucket 0 started") < events.index("bucket 1 started")
        assert events.index("bucket 1 started") < events.index("first layer")
        assert events.index("first layer") < events.index("bucket 0 complete")


def test_backward_goes_on_without_a_hook_too(world, rank):
    """The same with DDP as it is, whose buckets come by way of C++."""
    store = world.distributed_c10d._get_default_store()
    torch.manual_seed(1)
    model = MODELS["perceptron"][0]()
    net = DistributedDataParallel(model, bucket_cap_mb=BUCKET)
    net(torch.ones(8, 64)).sum().backward()
    model[0].weight.register_hook(lambda _: store.set("through again", "yes") if rank == 0 else None)
    loss = net(torch.ones(8, 64)).sum()
    if rank == 1:
        store.wait(["through again"], timedelta(seconds=30))
    loss.backward()
    assert model[0].weight.grad.abs().max() > 0


@pytest.mark.parametrize("name", ["fp16_compress", "powerSGD"])
def test_compressed_gradients(world, rank, gloo, name):
    """PyTorch's own hooks. PowerSGD starts calls, and waits for them, in callbacks of others: with one bucket,
    since several would do so in an order of their own on each rank."""
    results = []
    for group in (world.group.WORLD, gloo):
        torch.manual_seed(1)
        model = MODELS["perceptron"][0]()
        net = DistributedDataParallel(
            model, bucket_cap_mb=25 if name == "powerSGD" else BUCKET, process_group=group
        )
        if name == "powerSGD":
            state = PowerSGDState(
                group, matrix_approximation_rank=2, start_powerSGD_iter=2, min_compression_rate=1
            )
            net.register_comm_hook(state, powerSGD_hook)
        else:
            net.register_comm_hook(group, fp16_compress_hook)
        for step in range(4):
            net.zero_grad()
            torch.manual_seed(10 * step + rank)
            net(torch.randn(8, 64)).square().sum().backward()
        results.append([p.grad.clone() for p in model.parameters()])
    for ours, theirs in zip(*results):
        torch.testing.assert_close(ours, theirs, rtol=0.02, atol=0.02 * float(theirs.abs().max()))


def test_an_error_in_a_bucket_comes_out_of_backward(world, rank):
    """DDP itself sees to it that models agree; so the group is spoilt behind its back."""
    group = world.new_group(timeout=timedelta(seconds=20))
    net = DistributedDataParallel(nn.Linear(4, 2), process_group=group)
    loss = net(torch.ones(3, 4)).sum()
    if rank == 0:
        group.allreduce([torch.ones(3)])
    with pytest.raises(RuntimeError, match="the ranks disagree"):
        loss.backward()
    world.barrier()
