"""What goes wrong when a kernel is compiled or run."""

from __future__ import annotations

Index = tuple[int, int, int]


class CompileError(RuntimeError):
    """g++ refuses a kernel, or there is no g++; the message has its words, with the .cu file's own lines."""


class KernelError(RuntimeError):
    """A launch that cannot go on: a deadlock, a barrier that only some threads reach, a wild pointer.

    kind: "deadlock", "divergent barrier", "divergent warp", "crash", ...; file, line: where in the kernel's source
    ("" and 0 where that is not known); block, thread: who was there first.
    """

    def __init__(
        self, kernel: str, kind: str, message: str, file: str, line: int, block: Index, thread: Index
    ):
        where = f" at {file}:{line}" if file else ""
        super().__init__(f"{kernel}: {kind}{where}, block {block}, thread {thread}: {message}")
        self.kernel, self.kind, self.message = kernel, kind, message
        self.file, self.line, self.block, self.thread = file, line, block, thread
