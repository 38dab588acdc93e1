"""What the checked mode found in one launch: faults, and requests to memory line by line."""

from __future__ import annotations

from dataclasses import dataclass, field

from ringleader.csrc.emulate.errors import Index


@dataclass(frozen=True)
class Fault:
    """Something wrong; of all that are the same, the first.

    kind: "race", "out of bounds", "uninitialised" (shared memory read before it was written), "copy under way" (memory that
    a cp.async writes to, touched before its wait), or what a launch can fail by: "deadlock", "divergent barrier", ...
    file, line: in the kernel's source. block, thread: who was there. count: how often.
    """

    kind: str
    message: str
    file: str
    line: int
    block: Index
    thread: Index
    count: int = 1

    def __str__(self) -> str:
        times = f", {self.count} times" if self.count > 1 else ""
        return f"{self.kind} at {self.file}:{self.line}, block {self.block}, thread {self.thread}{times}: {self.message}"


@dataclass(frozen=True)
class Requests:
    """What warps asked of memory at one line.

    space: "shared" or "global". requests: instructions, counted a warp each. cost: wavefronts of shared memory (each serves
    the 32 banks once), or sectors of 32 bytes of global memory, in all. ideal: the fewest with which it could be done.
    """

    space: str
    file: str
    line: int
    requests: int
    cost: int
    ideal: int

    def __str__(self) -> str:
        unit = "wavefronts" if self.space == "shared" else "sectors"
        each, best = self.cost / self.requests, self.ideal / self.requests
        waste = ""
        if self.cost > self.ideal:
            waste = ", bank conflicts" if self.space == "shared" else ", not all of each sector used"
        return f"{self.file}:{self.line}  {self.space}  {self.requests} requests of {each:.2f} {unit} (ideal {best:.2f}){waste}"


@dataclass(frozen=True)
class Report:
    """Of one launch of ``kernel``. As a condition it is true if there are no faults."""

    kernel: str
    faults: list[Fault] = field(default_factory=list)
    requests: list[Requests] = field(default_factory=list)

    def __bool__(self) -> bool:
        return not self.faults

    def __str__(self) -> str:
        lines = [f"{self.kernel}: {len(self.faults)} fault{'' if len(self.faults) == 1 else 's'}"]
        lines += [f"  {fault}" for fault in self.faults]
        if self.requests:
            lines.append("requests to memory, by line:")
            lines += [f"  {request}" for request in self.requests]
        return "\n".join(lines)
