"""Data-parallel training in a script of one's own: ``mpirun -n 2 python examples/train.py``."""

import numpy as np
from ringleader.models import LeNet5
from ringleader.runtime.autograd import SGD, Tensor, cross_entropy
from ringleader.runtime.parallel import DataParallel
from ringleader.runtime.training import global_batches, load_digits, shard

import ringleader as rl

world = rl.init()
data = load_digits()
model = LeNet5(np.random.default_rng(0))
parallel = DataParallel(model, world)  # all ranks start with rank 0's weights
optimizer = SGD(model.parameters(), lr=0.03, momentum=0.9)

for step, batch in enumerate(global_batches(len(data.train_y), 64, seed=0, epoch=0), start=1):
    mine = shard(batch, world.rank, world.size)
    parallel.zero_grad()
    losses = cross_entropy(parallel(Tensor(data.train_x[mine])), data.train_y[mine], reduction="sum")
    loss = parallel.backward(losses / len(batch))  # gradients are summed over the ranks while it runs
    optimizer.step()
    if world.rank == 0 and step % 5 == 0:
        print(f"step {step}: loss {loss:.3f}")
