"""Point-to-point messages of arrays: a header that tells dtype and shape, then the bytes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ringleader.runtime.comm.errors import CollectiveTimeout, RankLost
from ringleader.runtime.comm.transport import ANY, Bytes, Request, Transport, point_to_point

HEADER = 512  # bytes; longest header of a 64-d array fits

Wait = Callable[[Callable[[], Request | None], None], None]


def send(transport: Transport, wait: Wait, x: NDArray[Any], dest: int, tag: int) -> None:
    """See Communicator.send. ValueError: rank or tag out of range."""
    _check_rank(transport, dest, "dest")
    if tag < 0:
        raise ValueError(f"send: tag must be at least 0, got {tag}")
    if not isinstance(x, np.ndarray) or x.dtype.hasobject:
        raise TypeError("send: x must be a numpy array of plain memory")
    header = np.zeros(HEADER, np.uint8)
    text = json.dumps([x.dtype.str, x.shape]).encode()
    header[: len(text)] = np.frombuffer(text, np.uint8)
    payload = np.ascontiguousarray(x).reshape(-1).view(np.uint8)
    channel = point_to_point(tag)
    requests = [
        transport.isend(header, dest, channel, whole=True),
        transport.isend(payload, dest, channel),
    ]
    _complete(wait, requests, f"send to rank {dest} (tag {tag}) on rank {transport.rank}")


def receive(
    transport: Transport, wait: Wait, out: NDArray[Any] | None, source: int, tag: int
) -> NDArray[Any]:
    """See Communicator.recv."""
    if source != ANY:
        _check_rank(transport, source, "source")
    who = "any rank" if source == ANY else f"rank {source}"
    what = f"recv from {who} ({'any tag' if tag == ANY else f'tag {tag}'}) on rank {transport.rank}"
    header: Bytes = np.empty(HEADER, np.uint8)
    request = transport.irecv(header, source, point_to_point(tag), whole=True)
    _complete(wait, [request], what)
    dtype, shape = json.loads(header.tobytes().rstrip(b"\0"))
    array = np.empty(shape, np.dtype(dtype))
    view = array.reshape(-1).view(np.uint8)
    _complete(wait, [transport.irecv(view, request.peer, point_to_point(request.tag))], what)
    if out is None:
        return array
    if out.shape != array.shape or out.dtype != array.dtype:
        raise ValueError(
            f"{what}: out is {out.dtype}{list(out.shape)}, but rank {request.peer} sent "
            f"{array.dtype}{list(array.shape)}"
        )
    out[...] = array
    return out


def _complete(wait: Wait, requests: list[Request], what: str) -> None:
    def advance() -> Request | None:
        return next((r for r in requests if not r.test()), None)

    try:
        wait(advance, None)
    except (CollectiveTimeout, RankLost) as error:
        for request in requests:
            request.cancel()
        if str(error).startswith("call "):  # the other ranks' error, about a collective
            raise
        raise type(error)(f"{what}: {error}") from None


def _check_rank(transport: Transport, rank: int, name: str) -> None:
    if not 0 <= rank < transport.size:
        size = transport.size
        raise ValueError(f"{name} {rank} is out of range for {size} ranks (0 ... {size - 1})")
