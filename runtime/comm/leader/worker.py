"""A worker: pushes gradients and pulls values, without waiting, the urgent ones first."""

from __future__ import annotations

import heapq
import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ringleader.runtime.comm.compression import ErrorFeedback, Feedbacks
from ringleader.runtime.comm.errors import ArgumentError, CollectiveError, CollectiveTimeout, RankLost, named
from ringleader.runtime.comm.leader.kinds import Kind
from ringleader.runtime.comm.leader.placement import Part, Tensor
from ringleader.runtime.comm.leader.post import Letter, Post
from ringleader.runtime.comm.leader.request import Request
from ringleader.runtime.comm.leader.settings import Settings
from ringleader.runtime.comm.wire import Wire

# Bytes of pushes on their way to one server at once: what is more urgent can still go before the rest. FREE: of those that
# bring values back, which nobody acknowledges before.
CREDIT, FREE = 8 << 20, 4 << 20
ANSWER_IN = 2.0  # seconds that a server has to say whom it waits for
AFTER_ALL = 1 << 30  # priority of what goes behind the pushes of its iteration
BEFORE_ALL = -1  # age of what does not wait until pushes have been taken


class Worker:
    """``timeout``: seconds that ``finish`` waits. Nothing else here waits."""

    def __init__(self, post: Post, settings: Settings, timeout: float) -> None:
        self.post, self.settings, self.timeout = post, settings, timeout
        self.rank = post.transport.rank
        self.servers = list(settings.servers)  # living ones
        self.iteration = 0
        self.closing = False  # servers may go
        self.tensors: dict[str, Tensor] = {}
        self._touched = 0  # bytes of an iteration, on all ranks
        self.parts: dict[str, list[Part]] = {}
        self.pushed = Wire()
        self._feedback: dict[int, ErrorFeedback] = {}  # of parts whose gradients are compressed
        self._pushed: dict[str, int] = {}  # iteration of the latest push
        self._holders: dict[int, list[int]] = {}  # living ones of each part, the first answers
        self._held: Counter[int] = Counter()  # parts, by the number of their server
        self._covered: dict[int, int] = defaultdict(int)  # how often one of them was pushed in this iteration
        self._latest: dict[str, tuple[int, int]] = {}  # iteration and priority of the latest push or pull
        self._under_way: dict[int, Request] = {}  # by token
        self._queues: dict[int, list[tuple[int, int, int, Request]]] = defaultdict(list)  # by server
        self._owed: dict[int, int] = defaultdict(int)  # bytes pushed and not yet answered, by server
        self._free: dict[int, int] = defaultdict(int)  # the same of those that need no credit
        self._tokens = count(1)

    # What a person calls

    def say_hello(self, tensors: Mapping[str, Tensor]) -> None:
        """Agree with the servers, and so with the other workers, on what there is. ValueError: they have others."""
        if self.tensors:
            raise RuntimeError(
                f"init has been called on rank {self.rank} already, with {len(self.tensors)} tensors"
            )
        text = json.dumps([[key, list(t.shape), t.dtype.str] for key, t in tensors.items()]).encode()
        hello = self._ask(Kind.HELLO, self.servers, payload=np.frombuffer(text, np.uint8))
        self.finish([hello], "init")
        self.tensors = dict(tensors)
        # Gradients and values of workers, sums and values of servers.
        copies = 2 * len(self.settings.workers) + 2
        self._touched = copies * sum(tensor.nbytes for tensor in tensors.values())
        for part in self.settings.place(tensors):
            self.parts.setdefault(part.key, []).append(part)
            servers = [self.settings.servers[i] for i in part.holders]
            self._holders[part.number] = [server for server in servers if server in self.servers]
            self._held.update(part.holders)
            code = self.settings.compressor(part)
            if code is not None:
                self._feedback[part.number] = ErrorFeedback(code)

    def init(self, key: str, w: NDArray[Any]) -> list[Request]:
        return [self._about(part, Kind.INIT, payload=_of(part, w)) for part in self.parts[key]]

    def push(
        self, key: str, g: NDArray[Any], priority: int, lr: float | None, out: NDArray[Any] | None = None
    ) -> list[Request]:  # fmt: skip
        """``out``: and pull the values, by the same letters. There must be no replicas then: one server has it all."""
        if self.settings.staleness == 0 and self._pushed.get(key) == self.iteration:
            raise ValueError(
                f"push: {key!r} has been pushed in iteration {self.iteration} already, and mode "
                f"{self.settings.mode!r} takes one gradient an iteration; call clock() between them"
            )
        priority = self._in_order(key, priority)
        self._pushed[key] = self.iteration
        kind = Kind.PUSH if out is None else Kind.PUSH_PULL
        value = float("nan") if lr is None else lr
        encoded = [(part, self._encoded(part, _of(part, g))) for part in self.parts[key]]
        requests = []
        for part, payload in encoded:
            for number in part.holders:
                self._covered[number] += 1
            into = None if out is None else _of(part, out)
            requests.append(self._ask(
                kind, self._holders[part.number], priority, part=part.number, clock=self.iteration, value=value,
                payload=payload, out=into,
            ))  # fmt: skip
        return requests

    def _encoded(self, part: Part, g: NDArray[Any]) -> NDArray[Any]:
        """What is pushed of a gradient. CompressionError: it is not finite."""
        feedback = self._feedback.get(part.number)
        payload = g if feedback is None else feedback.encode(g.reshape(part.shape))
        self.pushed.sent += payload.nbytes * (self.settings.replicas + 1)
        self.pushed.uncompressed += g.nbytes * (self.settings.replicas + 1)
        return payload

    @property
    def feedbacks(self) -> Feedbacks | None:
        """What has yet to be pushed; None: nothing is compressed."""
        if self.settings.compression is None:
            return None
        parts = (part for parts in self.parts.values() for part in parts if part.number in self._feedback)
        named = ((f"{part.number}.{part.key}", self._feedback[part.number]) for part in parts)
        return Feedbacks(self.settings.compression, named)

    def pull(self, key: str, out: NDArray[Any], priority: int) -> list[Request]:
        """It sees this worker's pushes, so it waits for them and, in mode "bsp", for the other workers' of that iteration."""
        clock = max(self.iteration, self._pushed.get(key, -1) + 1)
        priority = self._in_order(key, priority)
        return [
            self._about(part, Kind.PULL, priority, clock=clock, first_only=True, out=_of(part, out))
            for part in self.parts[key]
        ]

    def _in_order(self, key: str, priority: int) -> int:
        """Letters about one tensor do not overtake each other: pulls see the pushes before them, and no others."""
        iteration, before = self._latest.get(key, (-1, 0))
        priority = max(priority, before) if iteration == self.iteration else priority
        self._latest[key] = self.iteration, priority
        return priority

    def clock(self) -> None:
        """Where each part takes one gradient an iteration, and has got it, a server knows that already."""
        self.iteration += 1
        unaware = [
            server for number, server in enumerate(self.settings.servers) if server in self.servers
            and (self.settings.staleness or not self.tensors or self._covered[number] < self._held[number])
        ]  # fmt: skip
        self._covered.clear()
        if unaware:
            self._ask(Kind.CLOCK, unaware, AFTER_ALL, clock=self.iteration, age=self.iteration - 1)

    def meet(self, number: int, numbers: NDArray[np.float64]) -> Request:
        """All servers count: workers may not yet agree on which are living."""
        return self._ask(Kind.MEET, self.servers, clock=number, age=BEFORE_ALL, payload=numbers)

    def state(self, part: Part) -> Request:
        return self._about(part, Kind.STATE, age=BEFORE_ALL, first_only=True)

    def load(self, part: Part, payload: NDArray[Any]) -> Request:
        return self._about(part, Kind.LOAD, age=BEFORE_ALL, payload=payload)

    def close(self) -> None:
        """First all pushes must have been taken: servers forget a worker that has closed."""
        with self.post.lock:
            under_way = list(self._under_way.values())
        self.finish(under_way, "close")
        self.closing = True
        self.finish([self._ask(Kind.CLOSE, self.servers, AFTER_ALL)], "close")

    # Requests

    def _about(self, part: Part, kind: Kind, priority: int = 0, **options: Any) -> Request:
        return self._ask(kind, self._holders[part.number], priority, part=part.number, **options)

    def _ask(
        self, kind: Kind, servers: list[int], priority: int = 0, *, part: int = -1, clock: int = 0, value: float = 0.0,
        age: int | None = None, first_only: bool = False, payload: NDArray[Any] | None = None,
        out: NDArray[Any] | None = None,
    ) -> Request:  # fmt: skip
        """``age``: it goes after what belongs to earlier iterations than that."""
        token = next(self._tokens)
        with self.post.lock:
            free = kind is Kind.PUSH_PULL and self._needs_no_credit(servers, payload)
            letter = Letter(kind, part, clock, token, priority, value, free)
            request = Request(letter, servers.copy(), first_only, payload, out)
            if kind is not Kind.CLOCK:  # nobody answers that
                self._under_way[token] = request
            if not servers:
                self._fail(request, self._nobody_has(letter.part))
            for server in request.servers[:1] if first_only else request.servers:
                self._enqueue(server, request, self.iteration if age is None else age)
        return request

    def _needs_no_credit(self, servers: list[int], payload: NDArray[Any] | None) -> bool:
        """Of a push_pull, which has one server, if that lives."""
        if not servers or payload is None or self._free[servers[0]] + payload.nbytes > FREE:
            return False
        self._free[servers[0]] += payload.nbytes
        return True

    def _enqueue(self, server: int, request: Request, age: int) -> None:
        request.waiting.add(server)
        letter = request.letter
        heapq.heappush(self._queues[server], (age, letter.priority, letter.token, request))
        self._send(server)

    def _send(self, server: int) -> None:
        queue = self._queues[server]
        while queue:
            request = queue[0][-1]
            size = request.credit
            if size and self._owed[server] and self._owed[server] + size > CREDIT:
                return
            heapq.heappop(queue)
            self._owed[server] += size
            self.post.send(server, request.letter, request.payload)

    def answer(self, letter: Letter) -> None:
        """A server's answer has come."""
        request = self._under_way.get(letter.token)
        if request is None:  # it has failed
            self.post.discard(letter)
            return
        if letter.kind == Kind.ERROR or request.out is None:
            into: NDArray[Any] = np.empty(max(letter.nbytes, 0), np.uint8)
        else:
            into = request.out
        if letter.nbytes < 0 or self.post.receive_now(letter, into, self._touched):
            self._answered(letter, request, into)
        else:
            self.post.receive(letter, into, lambda: self._answered(letter, request, into))

    def _answered(self, letter: Letter, request: Request, payload: NDArray[Any]) -> None:
        server = letter.sender
        if request.letter.free:
            assert request.payload is not None
            self._free[server] -= request.payload.nbytes
        elif not request.taken:
            self._owed[server] -= request.credit
            self._send(server)
        if letter.kind == Kind.TAKEN:
            request.taken = True
            return
        request.waiting.discard(server)
        if letter.kind == Kind.ERROR:
            self._fail(request, ArgumentError(payload.tobytes().decode()))
        elif request.answered_by is None or server < request.answered_by:  # all workers go by the same
            request.answer, request.answered_by = payload, server
        self._end(request)

    def _end(self, request: Request) -> None:
        if request.done:
            self._under_way.pop(request.letter.token, None)

    def _fail(self, request: Request, error: CollectiveError) -> None:
        request.error = error
        self._end(request)

    def lost(self, server: int) -> None:
        """This server is gone: what it was asked for is asked of the next that has it."""
        self.servers.remove(server)
        for holders in self._holders.values():
            if server in holders:
                holders.remove(server)
        self._queues.pop(server, None)
        for request in list(self._under_way.values()):
            if server in request.servers:
                request.servers.remove(server)
            if server not in request.waiting:
                continue
            request.waiting.discard(server)
            if request.first_only and request.servers:
                self._enqueue(request.servers[0], request, self.iteration)
            elif not request.waiting and request.answered_by is None:
                self._fail(request, self._nobody_has(request.letter.part))
            self._end(request)

    def _nobody_has(self, number: int) -> RankLost:
        """Part ``number``, or what all servers have."""
        part = next((p for parts in self.parts.values() for p in parts if p.number == number), None)
        holders = self.settings.servers if part is None else [self.settings.servers[i] for i in part.holders]
        one, more = len(holders) == 1, self.settings.replicas + 1
        return RankLost(
            f"server {named(sorted(holders))} {'is' if one else 'are'} gone, and nobody else has "
            f"{'what was asked for' if part is None else repr(part.key)}. With replicas={more}, and at least {more + 1} "
            "servers, its values would survive."
        )

    # Waiting

    def finish(self, requests: list[Request], what: str, timeout: float | None = None) -> None:
        """Wait for all of them."""
        seconds, left = self.timeout if timeout is None else timeout, requests[::-1]

        def done() -> bool:
            while left and left[-1].done:
                left.pop()
            return not left

        if not self.post.wait_until(done, seconds):
            raise CollectiveTimeout(self._explain(requests, what, seconds))
        for request in requests:
            if request.error is not None:
                raise type(request.error)(f"{what} on rank {self.rank}: {request.error}")

    def _explain(self, requests: list[Request], what: str, seconds: float) -> str:
        """Whom the first of them waits for, in the server's own words if it can be asked."""
        server = min(next(r for r in requests if not r.done).waiting)
        why = self._ask(Kind.WHY, [server], age=BEFORE_ALL)
        answers = self.post.wait_until(lambda: why.done, ANSWER_IN) and why.answer is not None
        said = why.answer.tobytes().decode() if answers and why.answer is not None else "it does not answer"
        return f"{what} on rank {self.rank}: server rank {server} has not answered in {seconds:g} s: {said}"


def _of(part: Part, whole: NDArray[Any]) -> NDArray[Any]:
    return whole.reshape(-1)[part.start : part.stop]
