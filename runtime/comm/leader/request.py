"""What a worker has asked of servers, and what its caller waits for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray
from ringleader.runtime.comm.errors import CollectiveError
from ringleader.runtime.comm.leader.kinds import Kind
from ringleader.runtime.comm.leader.post import Letter

if TYPE_CHECKING:
    from ringleader.runtime.comm.leader.worker import Worker


@dataclass(eq=False, slots=True)
class Request:
    """A letter to one or several servers. It is done when all of them that live have answered."""

    letter: Letter
    servers: list[int]  # ranks, living ones, in the order in which they are asked
    first_only: bool = False  # the others are asked only when those before them are lost
    payload: NDArray[Any] | None = None
    out: NDArray[Any] | None = None  # what the answer brings goes here; None: it is kept as bytes
    waiting: set[int] = field(default_factory=set)
    taken: bool = False  # of a PUSH_PULL
    answered_by: int | None = None
    answer: NDArray[Any] | None = None
    error: CollectiveError | None = None

    @property
    def done(self) -> bool:
        return self.error is not None or (self.answered_by is not None and not self.waiting)

    @property
    def credit(self) -> int:
        """Bytes of a push that is not free, which a server may leave with its worker for a while."""
        pushes = self.letter.kind in (Kind.PUSH, Kind.PUSH_PULL) and not self.letter.free
        return self.payload.nbytes if pushes and self.payload is not None else 0


class Handle:
    """A push or pull under way."""

    def __init__(
        self, worker: Worker, requests: list[Request], what: str, result: NDArray[Any] | None = None, out: Any = None
    ) -> None:  # fmt: skip
        """``out``: an array on a GPU, that ``result`` shall be copied into."""
        self._worker, self._requests, self._what = worker, requests, what
        self._result, self._out = result, out

    def test(self) -> bool:
        """Has it completed? Never blocks; keeps all that is under way moving."""
        self._worker.post.progress()
        return all(request.done for request in self._requests)

    def wait(self, timeout: float | None = None) -> Any:
        """Block until it has completed; a pull's array. CollectiveTimeout after ``timeout`` seconds (default: the
        communicator's), which says who is waited for; RankLost: all servers that had it are gone."""
        self._worker.finish(self._requests, self._what, timeout)
        if self._out is None:
            return self._result
        self._out.set(self._result)
        return self._out
