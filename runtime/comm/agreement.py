"""Finding out that ranks disagree, without a message when they agree.

Each collective call has a *signature* (what is called, on which dtype and shape, how). A digest of it is
part of the channel of the call's messages, so messages of different calls never match, and a rank that
waits notices the odd one. It then *reports* its signature to all ranks over the control channel, which
every waiting loop watches; each answers with its own, so that all ranks hold all signatures and raise the
same error. The same happens when a rank finds its own argument wrong, when time runs out, and when a
rank has gone.
"""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass
from typing import NoReturn

from ringleader.runtime.comm.errors import ArgumentError, CollectiveError, CollectiveTimeout, RankLost, named
from ringleader.runtime.comm.transport import ANY, Request, Transport

HISTORY = 256  # signatures kept, for ranks that are still in a call which this one has left
GRACE = 5.0  # seconds within which a rank that is in a call answers a report
FOREIGN = 1.0  # seconds of waiting after which a report about a later call is answered too


class Calls:
    """How many collective calls this rank has made on a communicator, and what the latest were."""

    def __init__(self) -> None:
        self.next = 0
        self._signatures: dict[int, str] = {}

    def enter(self, signature: str, digest: int) -> int:
        """The number of a call that is made now."""
        number, self.next = self.next, self.next + 1
        self._signatures[number] = signature
        self._signatures.pop(number - HISTORY, None)
        return number

    def signature(self, number: int) -> str | None:
        """None if this rank has not made that call, or long ago."""
        return self._signatures.get(number)

    def close(self) -> None:
        """A call has failed halfway: the next ones would not match those of the other ranks."""


@dataclass(frozen=True)
class Report:
    """What a rank says about call ``number``: the signature of its call, or what is wrong with it.

    ``started``: messages of the call may be under way. ``late``: sent because time ran out or a rank has
    gone, so do not wait long for the others. ``called``: False if this rank has not come to the call.
    """

    number: int
    signature: str
    error: str | None = None
    started: bool = True
    late: bool = False
    called: bool = True


class Agreement:
    """One communicator's view of who calls what."""

    def __init__(self, transport: Transport, calls: Calls, name: str, timeout: float) -> None:
        self.transport, self.calls, self.name, self.timeout = transport, calls, name, timeout
        self.reports: dict[int, dict[int, Report]] = defaultdict(dict)
        self.answered: set[int] = set()
        self.broken: str | None = None
        self.seen: float | None = None  # when the first report came in
        self.state = "has not made this call"  # what a rank that has left says

    def enter(self, signature: str, digest: int) -> int:
        """A call starts; its number. Raises now if somebody has already reported about it or an earlier one."""
        self._require_whole()
        number = self.calls.enter(signature, digest)
        self.listen()
        due = [k for k in self.reports if k <= number]
        if due:
            self._answer(min(due))
        return number

    def refuse(self, signature: str, error: str) -> NoReturn:
        """This rank cannot make the call: its argument is wrong. Nothing has been sent."""
        self._require_whole()
        number = self.calls.enter(signature, 0)
        self.settle(Report(number, signature, error, started=False))

    def _require_whole(self) -> None:
        if self.broken:
            raise CollectiveError(f"{self.broken}\nThis communicator cannot be used any more.")

    def watch(self, number: int | None, request: Request | None, waited: float, timeout: float) -> None:
        """Called now and then while waiting, for ``request``, in call ``number`` (None: point to point)."""
        self.listen()
        if self.reports:
            first = min(self.reports)
            impatient = self.seen is not None and time.monotonic() - self.seen > FOREIGN
            if impatient or (number is not None and first <= number):
                self._answer(first)
        if request is not None and request.conflict():
            self._raise_about(number, late=False)
        if request is not None and self._deserted(request) and not request.test():
            self._raise_about(number, late=True)
        if waited > timeout:
            self._raise_about(number, late=True, waited=waited)

    def _deserted(self, request: Request) -> bool:
        """Will nobody ever answer this request?"""
        gone = self.transport.gone()
        if request.peer == ANY:
            return len(gone | {self.transport.rank}) == self.transport.size > 1
        return request.peer in gone

    def hear_out(self, state: str) -> None:
        """After this rank's last call: answer those who still ask, and raise what they raise."""
        self.state = state
        self.listen()
        if self.reports and not self.broken:
            self._answer(min(self.reports))

    def abandon(self, number: int) -> NoReturn:
        """A rank has died in call ``number``: say so on all others."""
        self._raise_about(number, late=True)

    def _raise_about(self, number: int | None, late: bool, waited: float = 0.0) -> NoReturn:
        if number is None:  # point to point: the caller words the error, the other ranks are not in it
            kind = CollectiveTimeout if waited else RankLost
            raise kind(f"no answer after {waited:.0f} s" if waited else "that rank has finished or failed")
        self.settle(Report(number, self.calls.signature(number) or "a call long ago", late=late), waited)

    def listen(self) -> None:
        for rank, report in self.transport.poll():
            if report.number not in self.answered:
                self.reports[report.number][rank] = report
                self.seen = self.seen or time.monotonic()

    def _answer(self, number: int) -> NoReturn:
        """Somebody reported about call ``number``: say what this rank did in it, and raise with the rest."""
        late = all(r.late for r in self.reports[number].values())
        signature = self.calls.signature(number)
        called = signature is not None
        if signature is None:
            latest = self.calls.next - 1
            last = "no call" if latest < 0 else f"call {latest}, {self.calls.signature(latest)}"
            signature = f"{self.state}; its last was {last}"
        self.settle(Report(number, signature, late=late, called=called))

    def settle(self, mine: Report, waited: float = 0.0) -> NoReturn:
        """Tell everyone, hear everyone, raise what all of them raise."""
        transport, number = self.transport, mine.number
        for peer in range(transport.size):
            if peer != transport.rank:
                transport.post(peer, mine)
        heard = self.reports[number]
        heard[transport.rank] = mine
        start, turn = time.monotonic(), 0
        while len(heard) < transport.size:
            self.listen()
            if (first := min(self.reports)) < number:  # some came through that call, some did not
                self._answer(first)
            silent = set(range(transport.size)) - set(heard)
            if silent <= transport.dead():
                break
            late = any(r.late for r in heard.values()) or silent <= transport.gone()
            if time.monotonic() - start > (min(GRACE, self.timeout) if late else self.timeout):
                break
            transport.pause(turn := turn + 1)
        self.answered.add(number)
        del self.reports[number]
        self.seen = None
        error = self._error(number, heard)
        if any(r.started for r in heard.values()) or len(heard) < transport.size:
            self.broken = str(error)
            self.calls.close()
        raise error

    def _error(self, number: int, heard: dict[int, Report]) -> CollectiveError:
        """The same text on every rank: who said what, grouped."""
        size = self.transport.size
        head = f"call {number} on communicator {self.name!r} ({size} ranks)"
        groups: dict[str, list[int]] = defaultdict(list)
        for rank in sorted(heard):
            report = heard[rank]
            groups[f"{report.signature}: {report.error}" if report.error else report.signature].append(rank)
        missing = [r for r in range(size) if r not in heard or not heard[r].called]
        silent = [r for r in missing if r not in heard]
        lines = [f"  {named(ranks)}: {text}" for text, ranks in groups.items()]
        if any(r.error for r in heard.values()):
            return ArgumentError("\n".join([f"{head}: an argument is not usable.", *lines]))
        if missing:
            dead = [r for r in silent if r in self.transport.dead()]
            lines += [f"  {named(dead)}: ended without a word (killed, or crashed)"] if dead else []
            silent = [r for r in silent if r not in dead]
            lines += [f"  {named(silent)}: did not answer"] if silent else []
            kind = RankLost if set(missing) <= self.transport.gone() else CollectiveTimeout
            within = f" within {self.timeout:g} s" if kind is CollectiveTimeout else ""
            advice = "Every rank must make the same calls in the same order; see what the missing ranks did."
            return kind("\n".join([f"{head}: {named(missing)} did not call{within}.", *lines, advice]))
        if len(groups) == 1:
            return CollectiveTimeout("\n".join([f"{head}: all are in it, but it does not end.", *lines]))
        advice = "Pass the same shape, dtype, op, root and algorithm on every rank, in the same order."
        return ArgumentError("\n".join([f"{head}: the ranks disagree.", *lines, advice]))
