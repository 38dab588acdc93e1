"""The ranks of one contestant, started once and then asked again and again."""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ringleader.bench.contestants import Contestant, Launcher

GRACE = 5.0  # seconds that ranks get to end by themselves
LONGEST_FOLDER = 60  # characters: the path of a socket has 104 at most on some systems
LAST_WORDS = 300  # characters of what a job printed before it was lost

Answer = dict[str, Any]


class JobLostError(RuntimeError):
    """A contestant can take no further part; the message says why."""


class Job:
    """A context manager. ``ask`` sends one order to all ranks and waits for all their answers, ``patience`` seconds
    at most. Between orders the ranks sleep. When this process ends, in whatever way, they end."""

    def __init__(
        self, contestant: Contestant, n: int, peers: Path, launcher: Launcher, patience: float
    ) -> None:
        self.contestant, self.n, self.patience = contestant, n, patience
        short = "/tmp" if len(tempfile.gettempdir()) > LONGEST_FOLDER else None
        self.folder = tempfile.TemporaryDirectory(prefix="ringleader-bench-", dir=short)
        self.printed = open(Path(self.folder.name) / "printed", "w+b")  # noqa: SIM115  (closed by close)
        self.processes: list[subprocess.Popen[bytes]] = []
        self.connections: list[socket.socket] = []
        self.unread: dict[socket.socket, bytes] = {}
        self.pids: list[int] = []
        self.lost = False
        try:
            self._start(peers, launcher)
            self.hello = self.ask(do="hello")
        except BaseException:
            self.close()
            raise

    def _start(self, peers: Path, launcher: Launcher) -> None:
        address = Path(self.folder.name) / "socket"
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
            door.bind(str(address))
            door.listen(self.n)
            for command in self.contestant.commands(self.n, address, peers, launcher):
                # a session of its own: Ctrl-C is for us alone, who then end it
                process = subprocess.Popen(
                    command, env=self.contestant.environment(), stdin=subprocess.DEVNULL,
                    stdout=self.printed, stderr=subprocess.STDOUT, start_new_session=True,
                )  # fmt: skip
                self.processes.append(process)
            deadline = time.monotonic() + self.patience
            door.settimeout(0.1)  # to look now and then whether anyone will come at all
            while len(self.connections) < self.n:
                with suppress(socket.timeout):
                    connection, _ = door.accept()
                    self.connections.append(connection)
                    self.unread[connection] = b""
                    continue
                if any(process.poll() is not None for process in self.processes):
                    raise self._lost("ended before all ranks had started")
                if time.monotonic() > deadline:
                    raise self._lost(f"has not started within {self.patience:g} s")
        self.pids = [answer["pid"] for answer in self._answers()]

    def ask(self, **order: Any) -> list[Answer]:
        """The answers of all ranks, by rank. JobLostError if one has gone or is late."""
        line = json.dumps(order).encode() + b"\n"
        for connection in self.connections:
            try:
                connection.sendall(line)
            except OSError:
                raise self._lost("a rank has gone") from None
        return sorted(self._answers(), key=lambda answer: int(answer["rank"]))

    def _answers(self) -> list[Answer]:
        """One line of every rank."""
        deadline = time.monotonic() + self.patience
        answers: list[Answer] = []
        with selectors.DefaultSelector() as late:
            for connection in self.connections:
                late.register(connection, selectors.EVENT_READ)
            while True:
                for connection in [
                    c for c in self.connections if c in late.get_map() and b"\n" in self.unread[c]
                ]:
                    line, _, self.unread[connection] = self.unread[connection].partition(b"\n")
                    answers.append(json.loads(line))
                    late.unregister(connection)
                if errors := [answer["error"] for answer in answers if "error" in answer]:
                    self.lost = True
                    raise JobLostError(errors[0])
                if len(answers) == self.n:
                    return answers
                self._receive(late.select(max(0.0, deadline - time.monotonic())))

    def _receive(self, ready: Sequence[tuple[selectors.SelectorKey, int]]) -> None:
        if not ready:
            raise self._lost(f"no answer within {self.patience:g} s")
        for key, _ in ready:
            assert isinstance(key.fileobj, socket.socket)
            received = b""
            with suppress(OSError):
                received = key.fileobj.recv(1 << 16)
            if not received:
                raise self._lost("a rank has gone")
            self.unread[key.fileobj] += received

    def _lost(self, what: str) -> JobLostError:
        """With the job's exit code, if it ends by itself, and its last words."""
        self.lost = True
        end = time.monotonic() + GRACE / 5
        while time.monotonic() < end and any(p.poll() is None for p in self.processes):
            time.sleep(0.02)
        codes = sorted({p.returncode for p in self.processes if p.returncode})
        self.printed.seek(0)
        words = " ".join(filter(str.isprintable, self.printed.read().decode(errors="replace").split()))
        code = f", exit code {codes[0]}" if codes else ""
        return JobLostError(f"{what}{code}" + (f": ... {words[-LAST_WORDS:]}" if words else ""))

    def close(self) -> None:
        """End all its processes: by asking, by hanging up, by SIGKILL; each step has ``GRACE`` seconds."""
        asked = False
        if not self.lost and len(self.connections) == self.n:
            with suppress(OSError):
                for connection in self.connections:
                    connection.sendall(b'{"do": "end"}\n')
                asked = self._ended(GRACE)
        for connection in self.connections:
            connection.close()
        if not asked and not self._ended(GRACE):
            self._kill()
        self.printed.close()
        self.folder.cleanup()

    def _ended(self, seconds: float) -> bool:
        end = time.monotonic() + seconds
        while any(p.poll() is None for p in self.processes):
            if time.monotonic() > end:
                return False
            time.sleep(0.02)
        return True

    def _kill(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
        for pid in self.pids:  # which its launcher, if it had one, may have left behind
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def __enter__(self) -> Job:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
