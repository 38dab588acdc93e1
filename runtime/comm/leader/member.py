"""One rank of a parameter server: its roles, its letters, and how it ends."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, TypeVar

import numpy as np
from ringleader.runtime.comm.communicator import Communicator
from ringleader.runtime.comm.errors import ArgumentError
from ringleader.runtime.comm.leader.kinds import ANSWERS
from ringleader.runtime.comm.leader.post import Letter, Post
from ringleader.runtime.comm.leader.rules import Rule
from ringleader.runtime.comm.leader.server import Server
from ringleader.runtime.comm.leader.settings import Settings
from ringleader.runtime.comm.leader.worker import Worker

M = TypeVar("M", bound="Member")

log = logging.getLogger("ringleader.leader")


class Member:
    """What a ParameterServer does behind its calls. Collective over ``world``."""

    def __init__(self, world: Communicator, settings: Settings, rule: Rule) -> None:
        _agree(world, settings)
        own = world.split(0)
        assert own is not None
        self.world, self.settings, self._closed = world, settings, False
        self._post = Post(own._transport, self._deliver, self._lost)
        rank, serving = world.rank, settings.servers
        self._server = Server(serving.index(rank), self._post, settings, rule) if rank in serving else None
        self._worker = Worker(self._post, settings, world.timeout) if rank in settings.workers else None
        if self._server and self._worker:
            fail = _say if world.transport == "threads" else _end_job
            self._post.serve_in_thread(f"server of rank {rank}", fail)
        world.barrier()

    # Who does what

    @property
    def servers(self) -> tuple[int, ...]:
        """Ranks."""
        return self.settings.servers

    @property
    def workers(self) -> tuple[int, ...]:
        """Ranks."""
        return self.settings.workers

    @property
    def gone(self) -> frozenset[int]:
        """Ranks, servers and workers, that have ended or died, as far as this one knows."""
        return frozenset(self._post.gone)

    @property
    def is_server(self) -> bool:
        return self._server is not None

    @property
    def is_worker(self) -> bool:
        return self._worker is not None

    def serve(self) -> None:
        """On a rank that only serves: return when all workers have closed, or are gone. On others: nothing."""
        if self._worker is None:
            self._serve()

    def _serve(self) -> None:
        server = self._server
        if server is not None:
            self._post.wait_until(lambda: server.finished, float("inf"))

    # The end

    def close(self) -> None:
        """This worker is done, and its handles are complete. A server goes on until all workers are done. Collective over
        the living ranks, but for what they have to do until then."""
        if self._closed:
            return
        try:
            if self._worker is not None:
                self._worker.close()
            self._serve()
            self._post.wait_until(lambda: not self._post.sending, self.world.timeout)
        finally:
            self._leave()

    def __enter__(self: M) -> M:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is None:
            self.close()
        else:  # the others will find this rank gone
            self._leave()

    def _leave(self) -> None:
        self._closed = True
        self._post.close()

    # Behind it

    def _deliver(self, letter: Letter) -> None:
        if letter.kind in ANSWERS:
            assert self._worker is not None
            self._worker.answer(letter)
        else:
            assert self._server is not None
            self._server.handle(letter)

    def _lost(self, rank: int) -> None:
        if self._server is not None and rank in self._server.clocks.workers:
            self._server.drop(rank)
            if self._first_of(self.servers):
                left = len(self._server.clocks.workers)
                log.warning("rank %d is gone; training goes on with %d workers", rank, left)
        if self._worker is not None and rank in self._worker.servers:
            if self.settings.replicas and not self._worker.closing and self._first_of(self.workers):
                log.warning("server rank %d is gone; the next that has its values takes over", rank)
            self._worker.lost(rank)

    def _first_of(self, ranks: Sequence[int]) -> bool:
        """Is this the one of them that speaks for all?"""
        return self.world.rank == next(rank for rank in ranks if rank not in self._post.gone)


def _say(error: BaseException) -> None:
    """Of ranks that are threads, the one that waits for the server raises it; but it may never wait again."""
    log.error("a server has failed", exc_info=error)


def _end_job(error: BaseException) -> None:
    """What an exception that nobody catches does: the hook was set when the ranks were brought together."""
    sys.excepthook(type(error), error, error.__traceback__)


def _agree(world: Communicator, settings: Settings) -> None:
    """ArgumentError on every rank if not all have the same."""
    mine = np.frombuffer(json.dumps(asdict(settings)).encode(), np.uint8)
    lengths = world.allgather(np.array([mine.size]))
    together = world.allgather(mine, counts=[int(n) for n in lengths]).tobytes()
    ends = np.cumsum(lengths)
    told = [json.loads(together[end - n : end]) for n, end in zip(lengths, ends)]
    for rank, other in enumerate(told):
        for name, value in other.items():
            if value != told[0][name]:
                raise ArgumentError(
                    f"ParameterServer: the ranks disagree on {name}: rank 0 has {told[0][name]!r}, rank {rank} has "
                    f"{value!r}. Pass the same options on every rank."
                )
