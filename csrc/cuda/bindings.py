"""The two Python bindings of NVRTC, behind one interface."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class Program(Protocol):
    """A source to compile. Every method raises RuntimeError if NVRTC refuses."""

    package: str  # what to call the binding

    def __init__(self, source: str, name: str, headers: Mapping[str, str]) -> None:
        """headers: text of files that may be included, by name. ImportError, RuntimeError: there is no NVRTC."""

    @staticmethod
    def version() -> tuple[int, int]: ...

    def add(self, expression: str) -> None:
        """Instantiate a kernel: "softmax_forward<float>"."""

    def compile(self, options: Sequence[str]) -> tuple[bool, str]:
        """Whether it compiles, and what the compiler said."""

    def lowered(self, expression: str) -> str:
        """The mangled name."""

    def cubin(self) -> bytes: ...


class CudaBindings:
    """NVIDIA's own: package cuda-bindings."""

    package = "cuda.bindings"

    def __init__(self, source: str, name: str, headers: Mapping[str, str]) -> None:
        from cuda.bindings import nvrtc

        self._nvrtc = nvrtc
        texts, names = [h.encode() for h in headers.values()], [n.encode() for n in headers]
        self._program = self._done(
            nvrtc.nvrtcCreateProgram(source.encode(), name.encode(), len(names), texts, names)
        )

    def __del__(self) -> None:
        if hasattr(self, "_program"):
            self._nvrtc.nvrtcDestroyProgram(self._program)

    @staticmethod
    def version() -> tuple[int, int]:
        from cuda.bindings import nvrtc

        _, major, minor = nvrtc.nvrtcVersion()
        return major, minor

    def add(self, expression: str) -> None:
        self._done(self._nvrtc.nvrtcAddNameExpression(self._program, expression.encode()))

    def compile(self, options: Sequence[str]) -> tuple[bool, str]:
        encoded = [option.encode() for option in options]
        (result,) = self._nvrtc.nvrtcCompileProgram(self._program, len(encoded), encoded)
        log = self._bytes(self._nvrtc.nvrtcGetProgramLogSize, self._nvrtc.nvrtcGetProgramLog)
        return int(result) == 0, log.rstrip(b"\0").decode(errors="replace")

    def lowered(self, expression: str) -> str:
        name: bytes = self._done(self._nvrtc.nvrtcGetLoweredName(self._program, expression.encode()))
        return name.decode()

    def cubin(self) -> bytes:
        return self._bytes(self._nvrtc.nvrtcGetCUBINSize, self._nvrtc.nvrtcGetCUBIN)

    def _bytes(self, size_of: Any, read: Any) -> bytes:
        into = bytearray(self._done(size_of(self._program)))
        self._done(read(self._program, into))
        return bytes(into)

    def _done(self, answer: Any) -> Any:
        """What a call answered besides its result."""
        result, *values = answer
        if int(result) != 0:
            _, text = self._nvrtc.nvrtcGetErrorString(result)
            raise RuntimeError(f"NVRTC: {text.decode()}")
        return values[0] if values else None


class CupyBinding:
    """CuPy's: an object file, whose import asks for no GPU."""

    package = "cupy.cuda.nvrtc"

    def __init__(self, source: str, name: str, headers: Mapping[str, str]) -> None:
        from cupy.cuda import nvrtc

        self._nvrtc = nvrtc
        texts, names = [h.encode() for h in headers.values()], [n.encode() for n in headers]
        self._program = nvrtc.createProgram(source, name, texts, names)

    def __del__(self) -> None:
        if hasattr(self, "_program"):
            self._nvrtc.destroyProgram(self._program)

    @staticmethod
    def version() -> tuple[int, int]:
        from cupy.cuda import nvrtc

        major, minor = nvrtc.getVersion()
        return major, minor

    def add(self, expression: str) -> None:
        self._nvrtc.addNameExpression(self._program, expression)

    def compile(self, options: Sequence[str]) -> tuple[bool, str]:
        try:
            self._nvrtc.compileProgram(self._program, tuple(options))
        except self._nvrtc.NVRTCError:
            return False, self._nvrtc.getProgramLog(self._program)
        return True, self._nvrtc.getProgramLog(self._program)

    def lowered(self, expression: str) -> str:
        name: str = self._nvrtc.getLoweredName(self._program, expression)
        return name

    def cubin(self) -> bytes:
        return (
            bytes(self._nvrtc.getCUBIN(self._program)) + b"\0"
        )  # it takes the last byte for the end of a string
