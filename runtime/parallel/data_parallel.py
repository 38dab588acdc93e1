"""Data parallelism: every rank holds the whole model and works on its part of each batch.

Gradients are laid out one after the other in flat *buckets*, last layer first, as they become ready in
that order; as soon as a bucket is complete its AllReduce starts, while the rest of the backward still
runs (Li et al., "PyTorch distributed: experiences on accelerating data parallel training", VLDB 2020).
Buckets are in memory that the ranks of a node share, where there is such, and are reduced where they lie.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from ringleader.runtime.autograd import Module, Parameter, Tensor
from ringleader.runtime.autograd.op import Array, array_module, module_of, moved, to_host
from ringleader.runtime.autograd.optim.flat import follows, lay_out
from ringleader.runtime.comm.cores import share_cores
from ringleader.runtime.comm.wire import Wire
from ringleader.runtime.parallel.compressed import Compression, Reduction

if TYPE_CHECKING:
    from ringleader.collectives import Schedule
    from ringleader.runtime.comm import Communicator

BUCKET_BYTES = 1 << 20


@dataclass(eq=False)
class Bucket:
    """Gradients that are reduced together: views into ``flat``, which has one more element, at the end.

    Those of a GPU are views into ``gradients``, memory of its own, and pass through ``flat``, the host's.
    """

    flat: Array
    names: list[str]
    gradients: Array | None = None
    waiting: set[str] = field(default_factory=set)  # gradients that this backward has yet to bring
    work: Any = None  # Handle of the AllReduce under way
    compressed: Reduction | None = None  # instead of an AllReduce


class DataParallel:
    """A model whose gradients are *summed* over the ranks of ``world``.

    Ranks may have different numbers of samples, so nothing is averaged here: divide each rank's sum of
    losses by the number of samples of all ranks, which every rank knows, and the sum over the ranks is
    the gradient of the global mean.

        parallel = DataParallel(model, world)       # all ranks start with rank 0's weights
        parallel.zero_grad()
        loss = cross_entropy(parallel(x), y, reduction="sum") / global_batch
        mean = parallel.backward(loss)              # the global loss; the gradients are reduced
        optimizer.step()

    Every rank must call backward in every step, with an empty batch if need be. Buckets are started in
    the same order on all ranks, even where gradients become ready in another; the gradient of a parameter
    that a step has not used is zero. ``bucket_bytes``: about how large a bucket is; 0 gives each parameter
    its own. ``compression``: large gradients are sent in fewer bytes, by a scheme like "topk:0.01" (docs/compression.md), with
    error feedback; ``wire`` counts the bytes. Ranks that share a node share its cores, unless OMP_NUM_THREADS says how many
    threads each may use. ValueError: no parameters, ``bucket_bytes`` below 0, or an unknown scheme.
    """

    def __init__(
        self, model: Module, world: Communicator, bucket_bytes: int = BUCKET_BYTES,
        algorithm: str | Schedule = "auto", compression: str | None = None,
    ) -> None:  # fmt: skip
        if bucket_bytes < 0:
            raise ValueError(f"bucket_bytes must not be negative, it is {bucket_bytes}")
        self.model, self.world, self.algorithm = model, world, algorithm
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        if not self.parameters:
            raise ValueError(f"DataParallel: {type(model).__name__} has no parameters that need a gradient")
        if world.transport != "threads" and world.local_size > 1:
            share_cores(world.local_size)
        broadcast_parameters(model.parameters(), world)
        self.compression = None if compression is None else Compression(compression, world, algorithm)
        divided = self._divide(bucket_bytes)
        self.buckets = [self._bucket(names, last=names is divided[-1]) for names in divided]
        self.hooks = [
            self.parameters[name].register_post_accumulate_grad_hook(self._hook(bucket, name))
            for bucket in self.buckets for name in bucket.names
        ]  # fmt: skip
        self._unused: list[str] = []
        self._expect()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.model(*args, **kwargs)

    def _divide(self, bucket_bytes: int) -> list[list[str]]:
        """Names in reverse order of registration; a bucket has one dtype and ends when it is full."""
        divided: list[list[str]] = []
        size = 0
        for name, parameter in reversed(self.parameters.items()):
            same = bool(divided) and self.parameters[divided[-1][0]].dtype == parameter.dtype
            if not same or size + parameter.data.nbytes > bucket_bytes:
                divided.append([])
                size = 0
            divided[-1].append(name)
            size += parameter.data.nbytes
        return divided

    def _bucket(self, names: list[str], last: bool) -> Bucket:
        """The parameters' data come to lie in the same order: an optimiser updates a bucket by one call."""
        if self.compression:
            names = self.compression.ordered(names, self.parameters)
        parameters = [self.parameters[name] for name in names]
        size, dtype = sum(p.size for p in parameters), parameters[0].dtype
        try:
            flat = self.world.empty(size + 1, dtype)
        except MemoryError:  # shared memory may be scarcer than memory: then messages are copied
            flat = np.empty(size + 1, dtype)
        flat[-1] = 0
        together = all(follows(one.data, two.data) for one, two in pairwise(parameters))
        xp = array_module(parameters[0].device)
        gradients = None if xp is np else xp.empty(size, dtype)
        lay_out(
            parameters, None if together else xp.empty(size, dtype), flat if gradients is None else gradients
        )
        reduction = None
        if self.compression and self.world.size > 1:
            reduction = self.compression.reduction(flat, dict(zip(names, parameters)), last)
        return Bucket(flat, names, gradients, compressed=reduction)

    def _hook(self, bucket: Bucket, name: str) -> Any:
        def ready(_: Tensor) -> None:
            if name not in bucket.waiting:
                raise RuntimeError(f"DataParallel: gradient of {name!r} came again before synchronize(); call "
                                   "it after each backward")  # fmt: skip
            bucket.waiting.remove(name)
            if self.world.size > 1:
                self._start_ready()
            for started in self.buckets[: self._started]:
                started.work.test()  # over threads and MPI messages move only inside calls: give them the chance

        return ready

    def _expect(self) -> None:
        """Before a backward: nothing has been started."""
        self._started = 0
        for bucket in self.buckets:
            bucket.waiting = set(bucket.names)

    def _start_ready(self) -> None:
        """Start complete buckets, but none before its predecessor: the order is the same on all ranks.

        The last is left to ``synchronize``: when it is complete there is no more to do meanwhile.
        """
        while self._started < len(self.buckets) - 1 and not self.buckets[self._started].waiting:
            self.buckets[self._started].work = self._reduce(self.buckets[self._started], async_op=True)
            self._started += 1

    def _reduce(self, bucket: Bucket, async_op: bool) -> Any:
        if bucket.gradients is not None:
            bucket.flat[:-1] = to_host(bucket.gradients)
        if bucket.compressed:
            return bucket.compressed.start()
        return self.world.allreduce(bucket.flat, op="sum", algorithm=self.algorithm, async_op=async_op)

    def zero_grad(self) -> None:
        """No parameter has a gradient then: the first that comes overwrites what is in its bucket."""
        for parameter in self.parameters.values():
            parameter.grad = None

    def backward(self, loss: Tensor) -> float:
        """loss.backward() and synchronize(); returns the sum of ``loss`` over the ranks.

        The loss costs no message of its own: it rides in the last bucket. ``loss``: a single element.
        """
        self.buckets[-1].flat[-1] = loss.item()
        loss.backward()
        self.synchronize()
        return float(self.buckets[-1].flat[-1])

    def synchronize(self) -> None:
        """Return when all gradients are reduced. Buckets that lack a gradient are started here."""
        self._unused = [name for bucket in self.buckets for name in bucket.names if name in bucket.waiting]
        for name in self._unused:
            if self.parameters[name].grad is None:
                self.parameters[name].zero_grad()
        if self.world.size > 1:
            for bucket in self.buckets:
                bucket.waiting.clear()
            self._start_ready()
            if self.compression:
                self._reduce(self.buckets[-1], async_op=True)
                self.compression.finish()
            else:
                self._reduce(self.buckets[-1], async_op=False)
                for bucket in self.buckets[:-1]:
                    bucket.work.wait()
            for bucket in self.buckets:
                if bucket.gradients is not None:
                    bucket.gradients[...] = moved(bucket.flat[:-1], module_of(bucket.gradients))
        self._expect()

    @property
    def wire(self) -> Wire | None:
        """Bytes that this rank has sent for gradients so far; None: nothing is compressed, so nobody counts."""
        return self.compression.wire if self.compression else None

    def unused_parameters(self) -> list[str]:
        """Names of the parameters that got no gradient on this rank in the last backward."""
        return list(self._unused)

    def close(self) -> None:
        """Give the parameters back: no hooks, and gradients of their own."""
        for hook in self.hooks:
            hook.remove()
        for parameter in self.parameters.values():
            parameter.grad_storage = None
            parameter.grad = None


def broadcast_parameters(parameters: Iterable[Parameter], world: Communicator, root: int = 0) -> None:
    """Overwrite all ranks' parameters with those of ``root``: one broadcast per dtype, in flat form."""
    by_dtype: dict[np.dtype[Any], list[Parameter]] = {}
    for parameter in parameters:
        by_dtype.setdefault(parameter.dtype, []).append(parameter)
    for group in by_dtype.values():
        flat = np.concatenate([to_host(p.data.reshape(-1)) for p in group])
        world.broadcast(flat, root=root)
        at = 0
        for parameter in group:
            part = flat[at : at + parameter.size].reshape(parameter.shape)
            parameter.data[...] = moved(part, module_of(parameter.data))
            at += parameter.size
