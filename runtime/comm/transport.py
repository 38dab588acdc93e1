"""What every transport offers: messages between ranks, and running programs over them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray
from ringleader.runtime.comm.chooser import untuned
from ringleader.runtime.comm.ops import Op

if TYPE_CHECKING:
    from ringleader.collectives.tuning import Choice
    from ringleader.runtime.comm.call import Call
    from ringleader.runtime.comm.engine import Engine
    from ringleader.runtime.comm.work import InFlight

Bytes = NDArray[np.uint8]
Source = NDArray[Any] | tuple[int, int]  # numbers that are here, or a payload: whose, its tag
# Elements of a block, all being equal; or, by buffer, elements of each of its blocks.
Sizes = int | tuple[tuple[str, tuple[int, ...]], ...]
ANY = -1  # any source, any tag
MAX_MESSAGE = 1 << 30  # bytes; MPI counts are 32-bit, so longer messages travel in pieces


class Channel(NamedTuple):
    """Which messages belong together. Collective call ``number`` with ``digest`` of its signature, so that
    a rank which calls something else never matches; or, with ``number`` -1, point-to-point with ``tag``.
    ``synchronous``: a send completes only when its receive has been matched."""

    number: int
    digest: int
    tag: int = 0
    synchronous: bool = False


def point_to_point(tag: int) -> Channel:
    return Channel(-1, 0, tag)


class Request(ABC):
    """One message under way. ``peer`` is the other rank (ANY until a receive from anyone has matched)."""

    peer: int
    tag: int
    is_recv: bool

    @abstractmethod
    def test(self) -> bool:
        """Has it completed? Never blocks."""

    @abstractmethod
    def cancel(self) -> None:
        """Give up: the buffer is not written any more."""

    @property
    def lost(self) -> bool:
        """Has the other rank died, so that this never completes? Never said of a receive from ANY: others may send."""
        return False

    @property
    def received(self) -> int:
        """How many bytes of a receive have come, from its beginning on, while it is not complete."""
        return 0

    def conflict(self) -> bool:
        """Has some rank sent this one a message of another signature in this very call?"""
        return False


class UnderWay(Protocol):
    """As much of a Request as mail has."""

    def test(self) -> bool: ...

    def cancel(self) -> None: ...


class Pieces(Request):
    """A message longer than the transport's limit, as several."""

    def __init__(self, pieces: list[Request], length: int) -> None:
        """Each of ``length`` bytes, but for the last."""
        self.pieces = pieces
        self.length, self.complete = length, 0
        self.peer, self.tag, self.is_recv = pieces[0].peer, pieces[0].tag, pieces[0].is_recv

    def test(self) -> bool:
        while self.pieces and self.pieces[0].test():
            self.pieces.pop(0)
            self.complete += 1
        return not self.pieces

    @property
    def lost(self) -> bool:
        return any(piece.lost for piece in self.pieces)

    @property
    def received(self) -> int:
        return self.complete * self.length

    def cancel(self) -> None:
        for piece in self.pieces:
            piece.cancel()

    def conflict(self) -> bool:
        return bool(self.pieces) and self.pieces[0].conflict()


class Mail:
    """Notes of ``nbytes`` bytes from anyone, each with or without a payload, which stays with its sender until it is taken.
    One for a transport, which is then used for nothing else. Here: a message for the note, one for the payload."""

    def __init__(self, transport: Transport, nbytes: int) -> None:
        self.transport = transport
        self._note: Bytes = np.empty(nbytes, np.uint8)
        self._listening: Request | None = self._listen()

    def _listen(self) -> Request:
        return self.transport.irecv(self._note, ANY, point_to_point(0), whole=True)

    def send(
        self, peer: int, note: bytes, payload: NDArray[Any] | None, tag: int, quiet: bool = True
    ) -> UnderWay | None:  # fmt: skip
        """``payload``: contiguous. Complete when all of it has been taken; None: it has. ``tag``: from 1 on, another for
        each payload that is under way. ``quiet``: this rank need not wake up then."""
        request = self.transport.isend(np.frombuffer(note, np.uint8), peer, point_to_point(0), whole=True)
        if payload is None:
            return request
        return Pieces([request, self.transport.isend(_bytes(payload), peer, point_to_point(tag))], 0)

    def hear(self) -> list[tuple[int, bytes, bool]]:
        """The notes that have come since: whose each is, the note, and can its payload be read where it lies, by ``take_now``
        and ``add_up``?"""
        heard = []
        while self._listening is not None and self._listening.test():
            heard.append((self._listening.peer, self._note.tobytes(), False))
            self._listening = self._listen()
        return heard

    def take(self, peer: int, tag: int, array: NDArray[Any]) -> UnderWay:
        """Start to take a payload into ``array``, contiguous."""
        return self.transport.irecv(_bytes(array), peer, point_to_point(tag))

    def take_now(self, peer: int, tag: int, array: NDArray[Any], together: int = 0) -> bool:
        """Copy a payload into ``array``, contiguous, out of its sender's memory, if it can be read there. ``together``:
        bytes that ranks read and write before anybody reads these; past caches that could not hold so much a copy is
        faster."""
        return False

    def add_up(self, total: NDArray[Any], sources: Sequence[Source], onto: bool) -> None:
        """Into ``total``, from left to right: what it has, if ``onto``, and ``sources``, of which those that are payloads,
        (peer, tag), can be read where they lie."""
        for source in sources:
            assert isinstance(source, np.ndarray)  # here none can
            np.copyto(total, source) if not onto else np.add(total, source, out=total)
            onto = True

    def close(self) -> None:
        """Nothing more is heard."""
        if self._listening is not None:
            self._listening.cancel()
            self._listening = None


def _bytes(array: NDArray[Any]) -> Bytes:
    return array.reshape(-1).view(np.uint8)


class Transport(ABC):
    """Messages between the ``size`` ranks of one communicator.

    ``nodes[r]``: number of the node that rank r runs on. ``max_message``: longest message in bytes;
    longer ones are cut.
    """

    name: str
    rank: int
    size: int
    nodes: list[int]
    max_message: int = MAX_MESSAGE
    watch_every: int = 1  # turns of a waiting loop between two looks at the control channel
    engine: Engine | None = None  # runs calls natively where it can

    def isend(self, view: Bytes, peer: int, channel: Channel, whole: bool = False) -> Request:
        """Start sending the bytes of ``view`` (1-d, contiguous), which must stay as they are until done.
        ``whole``: never in pieces, so that a receive from ANY cannot mix those of several senders."""
        return self._isend(view, peer, channel) if whole else self._cut(self._isend, view, peer, channel)

    def irecv(self, view: Bytes, peer: int, channel: Channel, whole: bool = False) -> Request:
        """Start receiving exactly ``view.size`` bytes. ``peer`` and the tag may be ANY if ``whole``."""
        return self._irecv(view, peer, channel) if whole else self._cut(self._irecv, view, peer, channel)

    def _cut(self, start: Any, view: Bytes, peer: int, channel: Channel) -> Request:
        if view.size <= self.max_message:
            request: Request = start(view, peer, channel)
            return request
        cuts = range(0, view.size, self.max_message)
        return Pieces(
            [start(view[at : at + self.max_message], peer, channel) for at in cuts], self.max_message
        )

    def work_for(self, call: Call, number: int) -> InFlight | None:
        """Call ``number``, started in a way of this transport's own; None: by the messages of its program."""
        return None

    @abstractmethod
    def _isend(self, view: Bytes, peer: int, channel: Channel) -> Request: ...

    @abstractmethod
    def _irecv(self, view: Bytes, peer: int, channel: Channel) -> Request: ...

    @abstractmethod
    def pause(self, turn: int) -> None:
        """Wait a little, in the ``turn``-th turn of a waiting loop: spin, then yield, then sleep."""

    def mail(self, nbytes: int) -> Mail:
        return Mail(self, nbytes)

    def await_message(self, turn: int) -> None:
        """The same where nothing but messages is waited for."""
        self.pause(turn)

    @abstractmethod
    def post(self, peer: int, report: Any) -> None:
        """Send a small object over the control channel; never blocks."""

    @abstractmethod
    def poll(self) -> Iterable[tuple[int, Any]]:
        """What has arrived on the control channel since the last call, as (rank, object)."""

    @abstractmethod
    def leave(self) -> None:
        """This rank makes no more calls, on no communicator."""

    @abstractmethod
    def gone(self) -> set[int]:
        """Ranks that have finished or failed, so that no message from them will come any more."""

    def dead(self) -> set[int]:
        """Of those, the ranks that are known to have ended without a word, so that they will not answer either."""
        return set()

    @abstractmethod
    def publish(self, key: int, value: Any) -> None:
        """Before the barrier inside a split: make ``value`` known to all ranks under ``key``."""

    def empty(self, shape: Sequence[int], dtype: DTypeLike) -> NDArray[Any]:
        """An array that the other ranks of the node can read where it lies, if the transport shares memory."""
        return np.empty(shape, dtype)

    @abstractmethod
    def split(self, key: int, color: int | None, order: int) -> Transport | None:
        """After that barrier: the transport of all ranks with this color, ordered by (order, rank)."""

    def untuned(
        self, collective: str, n: int, nbytes: int, ordered: bool, equal: bool, vendor: bool
    ) -> Choice:  # fmt: skip
        """What "auto" means where nothing is tuned."""
        return untuned(collective, n, nbytes, ordered, equal, vendor)

    def over(self, comm: Any) -> Transport:
        """The same kind of transport for the ranks of an MPI communicator. Collective over them."""
        raise RuntimeError(f"transport {self.name!r} knows no MPI communicators")

    def free(self) -> None:
        """Give back what ``over`` made. Collective; no call may be under way."""
        raise RuntimeError(f"transport {self.name!r} was not made by over()")

    def vendor_refuses(self, collective: str, dtype: np.dtype[Any], op: Op | None, equal: bool) -> str | None:
        """Why the communication library's own collective cannot do this; None if it can."""
        return f"transport {self.name!r} has no {collective} of its own; use another algorithm"

    def vendor_suits(self, collective: str, dtype: np.dtype[Any], op: Op | None, equal: bool) -> bool:
        """May "auto" take it: can it do this, and does it fold as numpy does?"""
        return False

    def vendor(
        self, collective: str, buffers: dict[str, NDArray[Any]], op: Op | None, root: int, sizes: Sizes
    ) -> None:
        """The communication library's own collective on our buffers, blocking, once all ranks have agreed."""
        raise RuntimeError(f"transport {self.name!r} has no {collective} of its own")
