"""The process group: PyTorch's collectives in terms of a Communicator's."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from ringleader.runtime.comm import ANY, Communicator
from ringleader.runtime.comm.layout import bring_home, flat
from ringleader.torch.arrays import array_of, deal_out, joined, one_dtype, operation
from ringleader.torch.mail import Mail
from ringleader.torch.work import Lane, Work

Tensors = list[torch.Tensor]


class ProcessGroup(dist.ProcessGroup):
    """A group of ``torch.distributed`` over ``comm``. Made by init_process_group and new_group, not by users.

    Every method starts a call and returns its Work. Tensors may be of any shape and strides; where PyTorch passes
    ``asyncOp = False`` the call may be complete on return. Errors of arguments that this rank alone can see are
    raised at once, all others by ``Work.wait``. ``name``: PyTorch's own for the group. ``mail`` is None in a world
    of one, which has nobody to write to.
    """

    def __init__(self, rank: int, size: int, name: str, comm: Communicator, mail: Mail | None) -> None:
        super().__init__(rank, size)
        self._name, self._comm, self._mail = name, comm, mail
        self._lane = Lane(comm.name)

    def getBackendName(self) -> str:
        return "ringleader"

    def _get_backend(self, device: torch.device) -> ProcessGroup:
        """What carries out calls on tensors of ``device``: this group is its own backend. PyTorch asks, e.g. whether
        it batches messages (``supports_coalescing``)."""
        return self

    @property
    def group_name(self) -> str:  # by which functional collectives find the group
        return self._name

    def shutdown(self) -> None:
        """Complete all calls under way; later ones raise RuntimeError."""
        self._lane.close()
        if self._mail is not None:
            self._mail.close()

    def abort(self) -> None:
        self.shutdown()

    def _start(self, what: str, job: Callable[[], object], result: Tensors, opts: Any) -> Work:
        work = Work(f"{what} on rank {self._comm.rank} of {self._comm.name!r}", result)
        self._lane.submit(work, job, here=not getattr(opts, "asyncOp", True))
        return work

    # One array on every rank

    def allreduce(self, tensors: Tensors, opts: Any = None) -> Work:
        opts = opts or dist.AllreduceOptions()
        op = operation(opts.reduceOp, tensors)
        arrays = [array_of(tensor) for tensor in tensors]

        def job() -> None:
            for array in arrays:
                self._comm.allreduce(array, op)

        return self._start("allreduce", job, tensors, opts)

    def allreduce_coalesced(self, tensors: Tensors, opts: Any = None) -> Work:
        return self.allreduce(tensors, opts)

    def broadcast(self, tensors: Tensors, opts: Any = None) -> Work:
        opts = opts or dist.BroadcastOptions()
        arrays = [array_of(tensor) for tensor in tensors]

        def job() -> None:
            for array in arrays:
                self._comm.broadcast(array, opts.rootRank)

        return self._start("broadcast", job, tensors, opts)

    def reduce(self, tensors: Tensors, opts: Any = None) -> Work:
        """The other ranks' tensors stay as they are."""
        opts = opts or dist.ReduceOptions()
        op = operation(opts.reduceOp, tensors)
        arrays = [array_of(tensor) for tensor in tensors]

        def job() -> None:
            for array in arrays:
                self._comm.reduce(array, op, opts.rootRank)

        return self._start("reduce", job, tensors, opts)

    def barrier(self, opts: Any = None) -> Work:
        return self._start("barrier", self._comm.barrier, [], opts)

    # An array of every rank

    def allgather(self, outputs: list[Tensors], inputs: Tensors, opts: Any = None) -> Work:
        """``outputs[i][r]`` becomes rank r's ``inputs[i]``; sizes may differ from rank to rank."""
        for into, tensor in zip(outputs, inputs):
            self._one_each("allgather", into, tensor)

        def job() -> None:
            for into, tensor in zip(outputs, inputs):
                sizes = [t.numel() for t in into]
                whole = np.empty(sum(sizes), array_of(tensor).dtype)
                self._comm.allgather(flat(array_of(tensor)), out=whole, counts=_unequal(sizes))
                deal_out(whole, into)

        return self._start("allgather", job, [t for into in outputs for t in into], opts)

    def allgather_coalesced(self, outputs: list[Tensors], inputs: Tensors, opts: Any = None) -> Work:
        return self.allgather(outputs, inputs, opts)

    def all_gather_single(self, output: torch.Tensor, tensor: torch.Tensor, opts: Any = None) -> Work:
        return self.all_gather_single_coalesced([output], [tensor], opts)

    def all_gather_single_coalesced(self, outputs: Tensors, inputs: Tensors, opts: Any = None) -> Work:
        """``outputs[i]`` becomes the ranks' ``inputs[i]`` in rank order."""
        for output, tensor in zip(outputs, inputs):
            self._whole("all_gather_single", output, tensor)

        def job() -> None:
            for output, tensor in zip(outputs, inputs):
                array = array_of(output)
                contents = flat(array)
                self._comm.allgather(flat(array_of(tensor)), out=contents)
                bring_home(array, contents)

        return self._start("all_gather_single", job, outputs, opts)

    def gather(self, outputs: list[Tensors], inputs: Tensors, opts: Any = None) -> Work:
        """On the root ``outputs[0][r]`` becomes rank r's ``inputs[0]``; elsewhere ``outputs`` is empty."""
        opts = opts or dist.GatherOptions()
        (tensor,) = inputs
        here = self._comm.rank == opts.rootRank
        into = outputs[0] if here else []
        if here:
            self._one_each("gather", into, tensor)

        def job() -> None:
            whole = self._comm.gather(flat(array_of(tensor)), opts.rootRank)
            if here:
                deal_out(whole, into)

        return self._start("gather", job, into, opts)

    # A block for every rank

    def reduce_scatter(self, outputs: Tensors, inputs: list[Tensors], opts: Any = None) -> Work:
        """``outputs[i]`` becomes the fold of all ranks' ``inputs[i][this rank]``; blocks may be unequal."""
        opts = opts or dist.ReduceScatterOptions()
        op = operation(opts.reduceOp, outputs)
        for output, blocks in zip(outputs, inputs):
            self._one_each("reduce_scatter", blocks, output)

        def job() -> None:
            for output, blocks in zip(outputs, inputs):
                counts = _unequal([block.numel() for block in blocks])
                self._reduce_scatter(output, joined(blocks), op, counts)

        return self._start("reduce_scatter", job, outputs, opts)

    def reduce_scatter_single(self, output: torch.Tensor, tensor: torch.Tensor, opts: Any = None) -> Work:
        return self.reduce_scatter_single_coalesced([output], [tensor], opts)

    def reduce_scatter_single_coalesced(self, outputs: Tensors, inputs: Tensors, opts: Any = None) -> Work:
        """``outputs[i]`` becomes this rank's block, in rank order, of the fold of the ranks' ``inputs[i]``."""
        opts = opts or dist.ReduceScatterOptions()
        op = operation(opts.reduceOp, outputs)
        for output, tensor in zip(outputs, inputs):
            self._whole("reduce_scatter_single", tensor, output)

        def job() -> None:
            for output, tensor in zip(outputs, inputs):
                self._reduce_scatter(output, flat(array_of(tensor)), op, None)

        return self._start("reduce_scatter_single", job, outputs, opts)

    def _reduce_scatter(self, output: torch.Tensor, whole: Any, op: Any, counts: list[int] | None) -> None:
        array = array_of(output)
        contents = flat(array)
        self._comm.reduce_scatter(whole, op, out=contents, counts=counts)
        bring_home(array, contents)

    def scatter(self, outputs: Tensors, inputs: list[Tensors], opts: Any = None) -> Work:
        """``outputs[0]`` becomes the root's ``inputs[0][this rank]``; elsewhere ``inputs`` is empty."""
        opts = opts or dist.ScatterOptions()
        (output,) = outputs
        here = self._comm.rank == opts.rootRank
        if here:
            self._one_each("scatter", inputs[0], output)

        def job() -> None:
            array = array_of(output)
            contents = flat(array)
            self._comm.scatter(joined(inputs[0]) if here else None, opts.rootRank, out=contents)
            bring_home(array, contents)

        return self._start("scatter", job, outputs, opts)

    def alltoall(self, outputs: Tensors, inputs: Tensors, opts: Any = None) -> Work:
        """``outputs[r]`` becomes rank r's ``inputs[this rank]``; blocks may be unequal."""
        one_dtype("alltoall", *outputs, *inputs)
        self._as_many("alltoall", outputs)
        self._as_many("alltoall", inputs)

        def job() -> None:
            whole = joined(inputs)
            received = np.empty(sum(t.numel() for t in outputs), whole.dtype)
            # with counts even if this rank's blocks are equal, for another's need not be
            self._comm.alltoall(whole, out=received, counts=[t.numel() for t in inputs])
            deal_out(received, outputs)

        return self._start("alltoall", job, outputs, opts)

    def all_to_all_single(
        self, output: torch.Tensor, tensor: torch.Tensor, output_splits: Sequence[int],
        input_splits: Sequence[int], opts: Any = None,
    ) -> Work:  # fmt: skip
        """The blocks of ``tensor``, cut along axis 0, go to the ranks; the blocks received fill ``output``.

        Splits are rows for each rank. Empty ones say that all blocks are equal; either all ranks give them,
        or none.
        """
        one_dtype("all_to_all_single", output, tensor)
        row = math.prod(tensor.shape[1:])
        counts = [rows * row for rows in input_splits] or None
        if output_splits and sum(output_splits) != len(output):
            raise ValueError(f"output splits {list(output_splits)} do not add up to {len(output)} rows")

        def job() -> None:
            array = array_of(output)
            contents = flat(array)
            self._comm.alltoall(flat(array_of(tensor)), out=contents, counts=counts)
            bring_home(array, contents)

        return self._start("all_to_all_single", job, [output], opts)

    # The same by the names that older versions of PyTorch call

    _allgather_base = all_gather_single
    allgather_into_tensor_coalesced = all_gather_single_coalesced
    _reduce_scatter_base = reduce_scatter_single
    reduce_scatter_tensor_coalesced = reduce_scatter_single_coalesced
    alltoall_base = all_to_all_single

    # Point to point

    def send(self, tensors: Tensors, dest: int, tag: int) -> Work:
        (tensor,) = tensors
        return self._mailbox().send(tensor, dest, tag)

    def recv(self, tensors: Tensors, source: int, tag: int) -> Work:
        (tensor,) = tensors
        return self._mailbox().recv(tensor, source, tag)

    def recv_anysource(self, tensors: Tensors, tag: int) -> Work:
        return self.recv(tensors, ANY, tag)

    def _mailbox(self) -> Mail:
        if self._mail is None:
            raise RuntimeError("send and recv: this world has one rank, there is nobody to write to")
        return self._mail

    # Checks

    def _as_many(self, what: str, tensors: Tensors) -> None:
        if len(tensors) != self._comm.size:
            raise ValueError(
                f"{what}: {len(tensors)} tensors for {self._comm.size} ranks; pass one for each rank"
            )

    def _one_each(self, what: str, tensors: Tensors, own: torch.Tensor) -> None:
        """``tensors``: one for each rank, this rank's as large as ``own``, and of its dtype."""
        self._as_many(what, tensors)
        one_dtype(what, *tensors, own)
        mine = tensors[self._comm.rank]
        if mine.numel() != own.numel():
            raise ValueError(f"{what}: this rank's block is {list(mine.shape)}, its tensor {list(own.shape)}")

    def _whole(self, what: str, whole: torch.Tensor, block: torch.Tensor) -> None:
        one_dtype(what, whole, block)
        if whole.numel() != self._comm.size * block.numel():
            raise ValueError(
                f"{what}: {list(whole.shape)} must hold {self._comm.size} blocks of {list(block.shape)}, one for each rank"
            )


def _unequal(sizes: list[int]) -> list[int] | None:
    """What ``counts=`` takes: None if all are equal, as all ranks can see."""
    return None if len(set(sizes)) <= 1 else sizes
