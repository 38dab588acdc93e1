"""Reading MSCCL-IR. The file is not trusted: whatever is wrong is a ValueError that names element and line."""

from __future__ import annotations

import os
import re
from io import BytesIO
from itertools import pairwise
from typing import TYPE_CHECKING
from xml.sax import SAXException, SAXParseException
from xml.sax.handler import ContentHandler
from xml.sax.xmlreader import InputSource

from ringleader.collectives.exchange.msccl import KINDS, LAYOUTS, Algo, Chunks, Step, Threadblock, printable

if TYPE_CHECKING:
    from xml.sax.xmlreader import AttributesImpl

MOST_BYTES = 64 << 20
MOST_CELLS = 1 << 19  # chunks of all gpus together, and chunks that all steps together move
NESTING = ("algo", "gpu", "tb", "step")


def read(path_or_text: str | bytes | os.PathLike[str]) -> Algo:
    """Parse a file, or a text if it contains a ``<``."""
    from defusedxml.common import DefusedXmlException
    from defusedxml.sax import make_parser

    source = InputSource()
    source.setByteStream(BytesIO(_contents(path_or_text)))
    if isinstance(path_or_text, str) and "<" in path_or_text:
        source.setEncoding("utf-8")
    parser, handler = make_parser(), _Handler()
    parser.forbid_dtd = True
    parser.setContentHandler(handler)
    try:
        parser.parse(source)
    except SAXParseException as error:
        raise ValueError(f"line {error.getLineNumber()}: not well-formed XML: {error.getMessage()}") from None
    except DefusedXmlException:
        raise ValueError(f"line {handler.line()}: document type and entities are not allowed here") from None
    except Refused:
        raise
    except (SAXException, LookupError, ValueError) as error:  # encodings that there are not, or not for XML
        raise ValueError(f"line {handler.line()}: not readable as XML: {_short(str(error))}") from None
    return handler.finished()


def _contents(path_or_text: str | bytes | os.PathLike[str]) -> bytes:
    if isinstance(path_or_text, str) and "<" in path_or_text:
        path_or_text = path_or_text.encode("utf-8", "surrogatepass")
    if isinstance(path_or_text, bytes):
        contents = path_or_text
    else:
        with open(path_or_text, "rb") as file:
            contents = file.read(MOST_BYTES + 1)
    if len(contents) > MOST_BYTES:
        raise ValueError(f"line 1: the XML is larger than {MOST_BYTES >> 20} MiB")
    return contents


def _short(value: str) -> str:
    return repr(value if len(value) <= 40 else value[:37] + "...")


class Refused(ValueError):
    """What we say of the file ourselves, while it is parsed."""


class _Element:
    """A start tag."""

    def __init__(self, name: str, attributes: AttributesImpl, line: int) -> None:
        self.name, self.attributes, self.line = name, attributes, line

    def wrong(self, key: str | None, text: str) -> Refused:
        """What to raise about attribute ``key``."""
        shown = f" {key}={_short(self.attributes[key])}" if key is not None else ""
        return Refused(f"line {self.line}: <{self.name}{shown}>: {text}")

    def text(self, key: str) -> str:
        if key not in self.attributes:
            raise self.wrong(None, f"attribute {key!r} is missing")
        value: str = self.attributes[key]
        return value

    def integer(self, key: str, low: int, high: int = 10**9 - 1) -> int:
        """The attribute, which must be in low ... high."""
        value = self.text(key)
        if not re.fullmatch(r"-?[0-9]{1,9}", value, re.ASCII):
            raise self.wrong(key, "not an integer of at most 9 digits")
        number = int(value)
        if not low <= number <= high:
            raise self.wrong(key, f"must be in {low} ... {high}")
        return number

    def one_of(self, key: str, known: tuple[str, ...], what: str) -> str:
        value = self.text(key)
        if value not in known:
            raise self.wrong(key, f"unknown {what}; supported: {', '.join(known)}")
        return value


class _Handler(ContentHandler):
    """Builds an Algo, element by element."""

    def __init__(self) -> None:
        super().__init__()
        self.depth = 0
        self.algo: Algo | None = None
        self.gpu = self.channels = self.moved = 0
        self.chunks = {"i": 0, "o": 0, "s": 0}  # of the gpu that is being read
        self.ids: dict[int, dict[int, int]] = {}  # gpu -> threadblock id -> index

    def line(self) -> int:
        """Where the parser is."""
        locator = getattr(self, "_locator", None)
        return (locator.getLineNumber() or 1) if locator is not None else 1

    def startElement(self, name: str, attrs: AttributesImpl) -> None:
        expected = NESTING[self.depth] if self.depth < len(NESTING) else None
        element = _Element(name[:40], attrs, self.line())
        if name != expected:
            where = f"inside <{NESTING[self.depth - 1]}>" if self.depth else "as the outermost element"
            raise element.wrong(None, f"expected {f'<{expected}>' if expected else 'nothing'} {where}")
        self.depth += 1
        getattr(self, f"_{name}")(element)

    def endElement(self, name: str) -> None:
        self.depth -= 1
        if name == "gpu":
            ids = self.ids[self.gpu]
            missing = set(range(len(ids))) - set(ids)
            if missing:
                raise Refused(f"line {self.line()}: </gpu>: gpu {self.gpu} has no threadblock {min(missing)}")

    def _algo(self, e: _Element) -> None:
        layout = LAYOUTS[e.one_of("coll", tuple(LAYOUTS), "collective")]
        n = e.integer("ngpus", 1)
        chunks = e.integer("nchunksperloop", 1)
        if n * chunks > MOST_CELLS:
            raise e.wrong("nchunksperloop", f"{n} gpus with so many chunks are more than {MOST_CELLS} in all")
        many = layout.many_in or layout.many_out
        if many and chunks % n:
            raise e.wrong("nchunksperloop", f"must be a multiple of the {n} gpus")
        self.channels = e.integer("nchannels", 0)
        in_place = e.integer("inplace", 0, 1) == 1
        root = e.integer("root", 0, n - 1) if "root" in e.attributes else 0
        name = printable(e.attributes.get("name", "msccl"))
        self.algo = Algo(name, layout, n, chunks // n if many else chunks, in_place, root, e.line)

    def _gpu(self, e: _Element) -> None:
        assert self.algo is not None
        self.gpu = e.integer("id", 0, self.algo.n - 1)
        if self.gpu in self.ids:
            raise e.wrong("id", "there is a gpu of this id already")
        self.ids[self.gpu] = {}
        self.chunks = {b: e.integer(f"{b}_chunks", 0, self.algo.size(b)) for b in "io"}
        self.chunks["s"] = e.integer("s_chunks", 0)

    def _tb(self, e: _Element) -> None:
        assert self.algo is not None
        ids, n = self.ids[self.gpu], self.algo.n
        number = e.integer("id", 0)
        if number in ids:
            raise e.wrong("id", f"gpu {self.gpu} has a threadblock of this id already")
        ids[number] = len(self.algo.blocks)
        send, recv = (e.integer(key, -1, n - 1) for key in ("send", "recv"))
        for key, peer in (("send", send), ("recv", recv)):
            if peer == self.gpu:
                raise e.wrong(key, "a threadblock cannot exchange messages with its own gpu")
        chan = e.integer("chan", -1 if send == recv == -1 else 0, max(self.channels - 1, 0))
        first = len(self.algo.steps)
        self.algo.blocks.append(Threadblock(self.gpu, number, send, recv, chan, first, e.line))

    def _step(self, e: _Element) -> None:
        assert self.algo is not None
        block = self.algo.blocks[-1]
        at = e.integer("s", 0)
        if at != len(self.algo.steps) - block.first:
            raise e.wrong(
                "s", f"steps are numbered in order; here {len(self.algo.steps) - block.first} is next"
            )
        kind = KINDS[e.one_of("type", tuple(KINDS), "step type")]
        cnt = e.integer("cnt", 1 if any(kind) else 0)
        src, dst = (
            self._chunks(e, end, cnt, used) for end, used in (("src", kind.reads), ("dst", kind.writes))
        )
        for does, key, peer in ((kind.sends, "send", block.send), (kind.receives, "recv", block.recv)):
            if does and peer < 0:
                raise e.wrong("type", f"its threadblock (line {block.line}) has no {key} peer")
        self.moved += cnt
        if self.moved > MOST_CELLS:
            raise e.wrong("cnt", f"all steps together move more than {MOST_CELLS} chunks")
        depid, deps = e.integer("depid", -1), e.integer("deps", -1)
        dep = (depid, deps) if depid >= 0 else None
        hasdep = e.integer("hasdep", 0, 1) == 1
        self.algo.steps.append(
            Step(e.text("type"), src, dst, cnt, dep, hasdep, len(self.algo.blocks) - 1, at, e.line)
        )

    def _chunks(self, e: _Element, end: str, cnt: int, used: bool) -> Chunks:
        """Attributes ``srcbuf`` and ``srcoff``, or ``dstbuf`` and ``dstoff``. Unused ones are not looked at
        closely: a receive may say there what the sender sends."""
        buffer = e.one_of(f"{end}buf", ("i", "o", "s"), "buffer")
        first = e.integer(f"{end}off", 0 if used else -1)
        if used and first + cnt > self.chunks[buffer]:
            text = f"{cnt} chunks from {first} leave buffer {buffer}, of which gpu {self.gpu} has "
            raise e.wrong(f"{end}off", f"{text}{self.chunks[buffer]} chunks")
        return Chunks(buffer, first)

    def finished(self) -> Algo:
        """The Algo, with what can only be checked at the end."""
        assert self.algo is not None
        if len(self.ids) != self.algo.n:
            raise ValueError(
                f"line {self.algo.line}: <algo ngpus='{self.algo.n}'>: there are {len(self.ids)} gpus inside"
            )
        blocks, steps = self.algo.blocks, self.algo.steps
        sizes = [after.first - b.first for b, after in pairwise(blocks)]
        sizes += [len(steps) - blocks[-1].first] if blocks else []
        for number, step in enumerate(steps):
            if step.dep is not None:
                steps[number] = step._replace(dep=self._resolved(step, sizes))
        return self.algo

    def _resolved(self, step: Step, sizes: list[int]) -> tuple[int, int]:
        """(index of the threadblock, step) that ``step`` waits for."""
        assert self.algo is not None
        assert step.dep is not None
        (depid, deps), gpu = step.dep, self.algo.blocks[step.block].gpu
        block = self.ids[gpu].get(depid)
        if block is None:
            raise ValueError(f"line {step.line}: <step depid='{depid}'>: gpu {gpu} has no such threadblock")
        if not 0 <= deps < sizes[block]:
            text = f"threadblock {depid} of gpu {gpu} has {sizes[block]} steps"
            raise ValueError(f"line {step.line}: <step deps='{deps}'>: {text}")
        waited = self.algo.steps[self.algo.blocks[block].first + deps]
        if not waited.hasdep or waited.type == "nop":
            why = "a nop, which tells nobody" if waited.type == "nop" else "marked hasdep='0'"
            raise ValueError(
                f"line {step.line}: <step deps='{deps}'>: that step (line {waited.line}) is {why}"
            )
        return block, deps
