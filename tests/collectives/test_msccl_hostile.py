"""Files that are broken, or made to break things: a schedule, or a ValueError in one line that names the line."""

import codecs
import encodings
import os
import pkgutil
import random
import re
import sys
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ringleader.collectives import Schedule, build, export_msccl, import_msccl, verify
from ringleader.collectives.exchange import msccl_order, msccl_read

from ringleader.cli import main

# The swap of two gpus, with everything in it that steps have; line numbers matter
GOOD = """\
<algo name="swap" proto="LL" nchannels="2" nchunksperloop="2" ngpus="2" coll="allreduce" inplace="1">
  <gpu id="0" i_chunks="2" o_chunks="0" s_chunks="2">
    <tb id="0" send="-1" recv="-1" chan="0">
      <step s="0" type="nop" srcbuf="i" srcoff="-1" dstbuf="o" dstoff="-1" cnt="0" depid="2" deps="0" hasdep="0"/>
      <step s="1" type="re" srcbuf="s" srcoff="0" dstbuf="i" dstoff="0" cnt="1" depid="1" deps="1" hasdep="1"/>
    </tb>
    <tb id="1" send="1" recv="1" chan="0">
      <step s="0" type="s" srcbuf="i" srcoff="1" dstbuf="s" dstoff="0" cnt="1" depid="-1" deps="-1" hasdep="0"/>
      <step s="1" type="r" srcbuf="i" srcoff="0" dstbuf="s" dstoff="0" cnt="1" depid="-1" deps="-1" hasdep="1"/>
      <step s="2" type="s" srcbuf="i" srcoff="0" dstbuf="i" dstoff="0" cnt="1" depid="0" deps="1" hasdep="0"/>
      <step s="3" type="r" srcbuf="i" srcoff="1" dstbuf="i" dstoff="1" cnt="1" depid="-1" deps="-1" hasdep="0"/>
    </tb>
    <tb id="2" send="-1" recv="-1" chan="0">
      <step s="0" type="cpy" srcbuf="i" srcoff="1" dstbuf="s" dstoff="1" cnt="1" depid="-1" deps="-1" hasdep="1"/>
    </tb>
  </gpu>
  <gpu id="1" i_chunks="2" o_chunks="0" s_chunks="0">
    <tb id="0" send="0" recv="0" chan="0">
      <step s="0" type="s" srcbuf="i" srcoff="0" dstbuf="s" dstoff="0" cnt="1" depid="-1" deps="-1" hasdep="0"/>
      <step s="1" type="rrc" srcbuf="i" srcoff="1" dstbuf="i" dstoff="1" cnt="1" depid="-1" deps="-1" hasdep="0"/>
      <step s="2" type="r" srcbuf="i" srcoff="0" dstbuf="i" dstoff="0" cnt="1" depid="-1" deps="-1" hasdep="0"/>
      <step s="3" type="s" srcbuf="i" srcoff="1" dstbuf="i" dstoff="1" cnt="1" depid="-1" deps="-1" hasdep="0"/>
    </tb>
  </gpu>
</algo>
"""
LINES = GOOD.splitlines()
LONGEST = 600  # characters of a message


def said(contents):
    """What is said of a file; None if it is imported."""
    try:
        schedule = import_msccl(contents)
    except ValueError as error:
        text = str(error)
        assert re.match(r"line \d+: ", text), text
        assert text.isprintable()
        assert len(text) <= LONGEST
        return text
    assert isinstance(schedule, Schedule)
    if schedule.n * schedule.size("output") < 10_000:
        verify(schedule)  # which raises nothing
    return None


def with_line(number, old, new):
    """GOOD, with line ``number`` changed."""
    lines = list(LINES)
    assert old in lines[number - 1]
    lines[number - 1] = lines[number - 1].replace(old, new, 1)
    return "\n".join(lines)


def test_the_good_one_is_good():
    assert said(GOOD) is None
    assert verify(import_msccl(GOOD))


# XML that attacks its reader

LAUGHS = "".join(f'<!ENTITY l{k} "{f"&l{k - 1};" * 10}">' for k in range(1, 12))
BOMBS = {
    "billion laughs": f'<!DOCTYPE a [<!ENTITY l0 "ha">{LAUGHS}]>\n<algo name="&l11;"/>',
    "quadratic": f'<!DOCTYPE a [<!ENTITY q "{"q" * 100_000}">]>\n<algo name="{"&q;" * 10_000}"/>',
    "external entity": '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>\n<algo name="a">&x;</algo>',
    "over the network": '<!DOCTYPE a [<!ENTITY x SYSTEM "http://127.0.0.1:9/x">]>\n<algo>&x;</algo>',
    "parameter entity": '<!DOCTYPE a [<!ENTITY % p SYSTEM "file:///etc/passwd"> %p;]>\n<algo/>',
    "external DTD": '<!DOCTYPE algo SYSTEM "http://127.0.0.1:9/algo.dtd">\n' + GOOD,
    "public DTD": '<!DOCTYPE algo PUBLIC "-//X//Y" "http://127.0.0.1:9/algo.dtd">\n' + GOOD,
    "default attributes": '<!DOCTYPE algo [<!ATTLIST algo root CDATA "1">]>\n' + GOOD,
    "bare": "<!DOCTYPE algo>\n" + GOOD,
}


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_document_types_and_entities(name, encoding):
    assert said(BOMBS[name].encode(encoding)) == "line 1: document type and entities are not allowed here"


def test_undefined_entities():
    assert said(with_line(1, "swap", "&x;")) == "line 1: not well-formed XML: undefined entity"
    assert said(with_line(1, "swap", "&#0;")).startswith("line 1: not well-formed XML: ")


def test_deep_nesting():
    assert said("<algo>" * 100_000).startswith("line 1: <algo>: attribute ")
    head = "\n".join(LINES[:3])
    for name in ("algo", "gpu", "tb", "step", "x" * 10_000):
        text = said(f"{head}\n" + f"<{name}>" * (2_000_000 // len(name)))
        assert text.startswith(f"line 4: <{name[:40]}>: ")
    nested = with_line(9, "/>", ">" + LINES[8] + "</step>")
    assert said(nested) == "line 9: <step>: expected nothing inside <step>"


def test_large_attributes_and_names():
    assert len(import_msccl(with_line(1, "swap", "x" * 5_000_000)).name) == 100
    assert said(with_line(8, 's="0"', f's="{"0" * 5_000_000}"')).startswith("line 8: <step s='000")
    assert said(with_line(8, "<step", "<step " + " ".join(f'a{k}="1"' for k in range(100_000)))) is None
    assert said(with_line(8, "<step", f"<{'s' * 5_000_000}")).startswith("line 8: <ssss")


def test_too_large_a_file(tmp_path):
    most = msccl_read.MOST_BYTES
    assert said(GOOD.encode().ljust(most + 1)) == "line 1: the XML is larger than 64 MiB"
    path = tmp_path / "sparse.xml"
    with open(path, "wb") as file:
        file.truncate(1 << 40)
    assert said(path) == "line 1: the XML is larger than 64 MiB"


# Encodings


def test_encodings_that_are_right():
    digest = import_msccl(GOOD).digest
    declared = '<?xml version="1.0" encoding="{}"?>\n' + GOOD
    for name in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "latin-1", "ascii", "cp1252"):
        assert (
            import_msccl(declared.format(name.removesuffix("-sig").removesuffix("-le")).encode(name)).digest
            == digest
        )
    undecoded = declared.format("latin-1").replace("swap", "Täusch ⇄")
    assert import_msccl(undecoded).name == "Täusch ⇄"  # a str is not decoded
    assert import_msccl(with_line(1, "swap", "Täusch ⇄").encode()).name == "Täusch ⇄"


@pytest.mark.parametrize(
    "contents",
    [
        with_line(1, "swap", "Täusch").encode("latin-1"),
        ('<?xml version="1.0" encoding="utf-16"?>' + GOOD).encode(),
        ('<?xml version="1.0" encoding="ascii"?>' + with_line(1, "swap", "ä")).encode(),
        GOOD.encode("utf-16").rstrip(b"\n\0")[:-1],
        GOOD.encode("utf-32"),
        codecs.BOM_UTF16_BE + GOOD.encode("utf-16-le"),
        with_line(1, "swap", "a\0b"),
        with_line(1, "swap", "\ud800"),
        with_line(1, "swap", "\ud800").encode("utf-8", "surrogatepass"),
        with_line(1, "swap", "\x1b[2J"),
        b"\0" * 100,
        b"<" + b"\0" * 100,
        b"",
        b" \n",
        "<",
        "<>",
        "no xml <",
        "<algo",
        "<!--",
        "<?xml",
        ('<?xml version="1.0" encoding="nonsense"?>' + GOOD).encode(),
        GOOD + GOOD,
        GOOD + "Rank 0 chunk 0 is incorrect",
        GOOD.encode() + b"\x1f\x8b\x08",
    ],
)
def test_encodings_and_scraps_that_are_wrong(contents):
    assert said(contents) is not None


@pytest.mark.filterwarnings("ignore:invalid escape sequence")  # by the codec unicode_escape
def test_every_encoding_that_python_knows():
    for module in pkgutil.iter_modules(encodings.__path__):
        head = f'<?xml version="1.0" encoding="{module.name}"?>'
        said((head + GOOD).encode())
        said((head + with_line(1, "swap", "ä")).encode("latin-1"))


# Damage


def test_truncated_anywhere():
    for text in (GOOD, export_msccl(build("reduce", "binomial", 4, 1))):
        for contents in (text.encode(), text.encode("utf-16")):
            end = len(contents.decode("utf-16" if contents[:1] == b"\xff" else "utf-8").rstrip())
            for cut in range(0, end, 50):
                assert said(contents[:cut]) is not None


def damaged(random, contents):
    """A few bytes changed, lost, doubled or exchanged."""
    contents = bytearray(contents)
    for _ in range(random.choice([1, 1, 1, 2, 5, 20])):
        at, other = random.randrange(len(contents)), random.randrange(len(contents))
        kind = random.randrange(5)
        if kind == 0:
            contents[at] = random.randrange(256)
        elif kind == 1:
            contents[at] ^= 1 << random.randrange(8)
        elif kind == 2:
            del contents[at : at + random.choice([1, 1, 10, 100])]
        elif kind == 3:
            contents[at:at] = contents[other : other + random.choice([1, 10, 100])]
        else:
            contents[at], contents[other] = contents[other], contents[at]
    return bytes(contents)


def test_random_damage():
    texts = [GOOD, export_msccl(build("allgather", "ring", 3)), export_msccl(build("alltoall", "linear", 3))]
    survived = 0
    for seed in range(1500):
        chance = random.Random(seed)
        survived += said(damaged(chance, texts[seed % 3].encode())) is None
    assert 15 < survived < 750


def test_random_digits():
    """Damage that stays XML: all that can go wrong later goes wrong."""
    seen = set()
    for seed in range(1500):
        chance = random.Random(seed)
        text = GOOD
        for _ in range(chance.choice([1, 2, 4])):
            at = chance.choice([m.start(1) for m in re.finditer(r'="(-?\d+)"', text)])
            end = text.index('"', at)
            text = text[:at] + str(chance.randrange(-1, 4)) + text[end:]
        if (message := said(text)) is not None:
            seen.add(next((w for w in KINDS_OF_WRONG if w in message), message))
    assert seen >= set(KINDS_OF_WRONG)


KINDS_OF_WRONG = (
    "deadlock", "data race", "which nothing has written before", "messages on channel", "chunks, but its sender",
    "no such threadblock", "marked hasdep='0'", "which tells nobody", "steps are numbered in order", "leave buffer",
    "of this id already", "its own gpu", "gpus inside", "has no threadblock", "must be in", "peer",
)  # fmt: skip

# Each attribute of each element

ATTRIBUTES = [
    (number, element, key, value)
    for number, line in enumerate(LINES, 1)
    for element in re.findall(r"<(\w+)", line)
    for key, value in re.findall(r'(\w+)="([^"]*)"', line)
]
FREE = ("name", "proto")  # may be anything
SENSELESS = (
    "", " ", "x", "1e3", "1.0", "0x1", "+1", "--1", "1 ", "1_0", "٣", "１", "²", "99999999999", "1" * 5000, "-2", "None",
    "true", "nan", "\t", "&#10;1", "ﬁ", "I", "rcsr", "allreduce2", "&lt;",
)  # fmt: skip


@pytest.mark.parametrize("value", SENSELESS)
def test_senseless_attributes_are_named_with_their_line(value):
    for number, element, key, old in ATTRIBUTES:
        text = said(with_line(number, f' {key}="{old}"', f' {key}="{value}"'))
        if key in FREE:
            assert text is None
        else:
            assert text.startswith(f"line {number}: <{element} {key}=")


def test_missing_attributes_are_named_with_their_line():
    for number, element, key, old in ATTRIBUTES:
        text = said(with_line(number, f' {key}="{old}"', ""))
        if key in FREE:
            assert text is None
        else:
            assert text == f"line {number}: <{element}>: attribute {key!r} is missing"


def test_doubled_attributes():
    for number, _, key, old in ATTRIBUTES:
        pair = f' {key}="{old}"'
        assert (
            said(with_line(number, pair, pair * 2))
            == f"line {number}: not well-formed XML: duplicate attribute"
        )


def test_all_other_values():
    """In range or not, known or not."""
    values = [*map(str, range(-1, 5)), "999999999", "i", "o", "s", "allgather", "alltoall", "reduce", *"rn"]
    values += ["rcs", "rrs", "rrcs", "cpy", "nop", "re"]
    for number, _, key, old in ATTRIBUTES:
        for value in values:
            said(with_line(number, f' {key}="{old}"', f' {key}="{value}"'))


@pytest.mark.parametrize("name", ["algo", "gpu", "tb", "step", "op", "Step", "steps", "x:step", "ß"])
def test_elements_where_they_do_not_belong(name):
    expected = {1: "algo", 2: "gpu", 3: "tb", 4: "step"}
    for number, right in expected.items():
        if name != right:
            lines = list(LINES)
            lines[number - 1] = lines[number - 1].replace(f"<{right}", f"<{name}")
            text = said("\n".join(lines))
            assert text.startswith(f"line {number}: <{name}>: expected <{right}> ")


# What is wrong in itself: (line, old, new), and what is said


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ((17, 'id="1"', 'id="0"'), "line 17: <gpu id='0'>: there is a gpu of this id already"),
        ((17, 'id="1"', 'id="2"'), "line 17: <gpu id='2'>: must be in 0 ... 1"),
        ((1, 'ngpus="2"', 'ngpus="3"'), "line 1: <algo ngpus='3'>: there are 2 gpus inside"),
        ((1, '"allreduce"', '"custom"'), "line 1: <algo coll='custom'>: unknown collective; supported: allreduce,"),
        ((7, 'id="1"', 'id="0"'), "line 7: <tb id='0'>: gpu 0 has a threadblock of this id already"),
        ((7, 'id="1"', 'id="7"'), "line 16: </gpu>: gpu 0 has no threadblock 1"),
        ((7, 'send="1"', 'send="0"'), "line 7: <tb send='0'>: a threadblock cannot exchange messages with its own gpu"),
        ((7, 'send="1"', 'send="2"'), "line 7: <tb send='2'>: must be in -1 ... 1"),
        ((7, 'chan="0"', 'chan="2"'), "line 7: <tb chan='2'>: must be in 0 ... 1"),
        ((7, 'chan="0"', 'chan="-1"'), "line 7: <tb chan='-1'>: must be in 0 ... 1"),
        ((7, 'send="1"', 'send="-1"'), "line 8: <step type='s'>: its threadblock (line 7) has no send peer"),
        ((9, 's="1"', 's="2"'), "line 9: <step s='2'>: steps are numbered in order; here 1 is next"),
        ((9, '"r"', '"rr"'), "line 9: <step type='rr'>: unknown step type; supported: s, r, rcs, rrs,"),
        ((9, 'cnt="1"', 'cnt="0"'), "line 9: <step cnt='0'>: must be in 1 ... 999999999"),
        ((9, 'cnt="1"', 'cnt="3"'), "line 9: <step dstoff='0'>: 3 chunks from 0 leave buffer s, of which gpu 0 has 2"),
        ((9, 'cnt="1"', 'cnt="2"'), "line 9: <step s='1' type='r'>: receives 2 chunks, but its sender (line 19) sends 1"),
        ((5, 'depid="1"', 'depid="3"'), "line 5: <step depid='3'>: gpu 0 has no such threadblock"),
        ((5, 'deps="1"', 'deps="4"'), "line 5: <step deps='4'>: threadblock 1 of gpu 0 has 4 steps"),
        ((5, 'deps="1"', 'deps="-1"'), "line 5: <step deps='-1'>: threadblock 1 of gpu 0 has 4 steps"),
        ((5, 'deps="1"', 'deps="0"'), "line 5: <step deps='0'>: that step (line 8) is marked hasdep='0'"),
        ((10, 'deps="1"', 'deps="0"'), "line 10: <step deps='0'>: that step (line 4) is a nop, which tells nobody"),
        ((4, 'depid="2" deps="0"', 'depid="0" deps="1"'), "line 4: deadlock of 2 steps: gpu 0 tb 0 step 0 (line 4), wh"),
        ((9, 'depid="-1" deps="-1"', 'depid="0" deps="1"'), "line 5: deadlock of 2 steps: gpu 0 tb 0 step 1 (line 5), "),
        ((11, 'type="r"', 'type="nop"'), "line 22: <step s='3' type='s'>: gpu 1 sends gpu 0 2 messages on channel 0, wh"),
        ((22, 'type="s"', 'type="nop"'), "line 11: <step s='3' type='r'>: gpu 1 sends gpu 0 1 messages on channel 0, wh"),
        ((18, 'chan="0"', 'chan="1"'), "line 8: <step s='0' type='s'>: gpu 0 sends gpu 1 2 messages on channel 0, which"),
        ((5, 'depid="1" deps="1"', 'depid="-1" deps="-1"'), "line 5: <step s='1' type='re'>: reads chunk 0 of buffer s"),
        ((10, 'depid="0" deps="1"', 'depid="-1" deps="-1"'), "line 11: <step s='3' type='r'>: data race for chunk 1 of"),
        ((4, 'depid="2" deps="0"', 'depid="-1" deps="-1"'), "line 11: <step s='3' type='r'>: data race for chunk 1 of"),
        ((10, 'srcbuf="i"', 'srcbuf="s"'), None),
        ((5, 'srcoff="0"', 'srcoff="1"'), None),
        ((14, 'type="cpy"', 'type="re"'), "line 14: <step s='0' type='re'>: reads chunk 1 of buffer s on gpu 0, which not"),
        ((14, 'type="cpy" srcbuf="i"', 'type="cpy" srcbuf="s"'), "line 14: <step s='0' type='cpy'>: reads chunk 1 of b"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(change, message):
    text = said(with_line(*change))
    assert text is None if message is None else text.startswith(message)


def test_two_threadblocks_on_one_connection():
    lines = list(LINES)
    lines[12] = lines[12].replace('send="-1"', 'send="1"')
    lines[13] = lines[13].replace('type="cpy"', 'type="s"')
    text = "line 14: <step s='0' type='s'>: threadblock 1 (line 7) sends to the same gpu on the same channel"
    assert said("\n".join(lines)) == text


def test_a_copy_onto_itself_shifted():
    text = said(with_line(14, 'dstbuf="s" dstoff="1" cnt="1"', 'dstbuf="i" dstoff="0" cnt="2"'))
    assert text == "line 14: <step srcoff='1'>: 2 chunks from 1 leave buffer i, of which gpu 0 has 2 chunks"
    lines = [line.replace('_chunks="2"', '_chunks="3"').replace('loop="2"', 'loop="3"') for line in LINES]
    lines[13] = lines[13].replace('dstbuf="s" dstoff="1" cnt="1"', 'dstbuf="i" dstoff="0" cnt="2"')
    assert (
        said("\n".join(lines)) == "line 14: <step s='0' type='cpy'>: what it reads and what it writes overlap"
    )


# Millions


def lone(body, chunks, coll="allreduce", inplace=1):
    """An algorithm of one gpu."""
    return (
        f'<algo nchannels="1" nchunksperloop="{chunks}" ngpus="1" coll="{coll}" inplace="{inplace}">\n'
        f'<gpu id="0" i_chunks="{chunks}" o_chunks="{chunks}" s_chunks="{chunks}">\n{body}</gpu></algo>'
    )


def block(number, *steps):
    lines = [f'<tb id="{number}" send="-1" recv="-1" chan="0">']
    for at, (kind, src, dst, cnt, dep, asked) in enumerate(steps):
        lines.append(
            f'<step s="{at}" type="{kind}" srcbuf="{src[0]}" srcoff="{src[1:]}" dstbuf="{dst[0]}" '
            f'dstoff="{dst[1:]}" cnt="{cnt}" depid="{dep}" deps="{0 if dep >= 0 else -1}" hasdep="{asked}"/>'
        )
    return "\n".join([*lines, "</tb>\n"])


def peak(contents):
    """Bytes that an import takes at most, and what it says."""
    tracemalloc.start()
    try:
        text = said(contents)
        return tracemalloc.get_traced_memory()[1], text
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('ngpus="2"', 'ngpus="999999999"'),
        ('ngpus="2"', 'ngpus="200000"'),
        ('nchunksperloop="2"', 'nchunksperloop="999999999"'),
        ('nchunksperloop="2" ngpus="2"', 'nchunksperloop="700" ngpus="700"'),
        ('nchunksperloop="2" ngpus="2"', 'nchunksperloop="700000" ngpus="700000"'),
        ('nchannels="2"', 'nchannels="999999999"'),
    ],
)
def test_millions_of_ranks_and_chunks_take_no_room(old, new):
    for coll in ("allreduce", "allgather", "alltoall"):
        text = with_line(1, old, new).replace("allreduce", coll)
        assert peak(text)[0] < 32 << 20
        assert peak(text.replace('_chunks="2"', '_chunks="999999999"'))[0] < 32 << 20


def test_chunks_that_a_short_file_moves_are_limited():
    most, step = msccl_read.MOST_CELLS, ("cpy", "i0", "s0")
    size, text = peak(
        lone(block(0, (*step, most // 2, -1, 0), (*step, most // 2, -1, 0), (*step, 1, -1, 0)), most)
    )
    assert text == f"line 6: <step cnt='1'>: all steps together move more than {most} chunks"
    assert size < 32 << 20


@pytest.mark.parametrize(
    ("kind", "dst", "coll", "inplace"),
    [("cpy", "s0", "allreduce", 1), ("re", "i0", "allreduce", 1), ("cpy", "o0", "allreduce", 0),
     ("nop", "o0", "alltoall", 1)],
)  # fmt: skip
def test_room_for_a_chunk(kind, dst, coll, inplace):
    """So a short file gets a gigabyte at the very most."""
    chunks = 10_000
    steps = [(kind, "i0", dst, chunks, -1, 0)]
    size, text = peak(lone(block(0, *steps), chunks, coll, inplace))
    assert text is None
    assert size * msccl_read.MOST_CELLS // chunks < 1 << 30


def test_many_readers_and_many_writers_take_no_square(monkeypatch):
    """N threadblocks read one input; then the output of the same number is written N times."""
    calls, before = [], msccl_order._Accesses._before
    monkeypatch.setattr(msccl_order._Accesses, "_before", lambda *a: calls.append(1) or before(*a))
    many = 300
    readers = [block(k, ("cpy", "i0", f"s{k}", 1, -1, 1)) for k in range(many)]
    waits = [("nop", "i0", "o0", 0, k, 0) for k in range(many)]
    text = "".join(readers) + block(many, *waits, *[("cpy", "s0", "o0", 1, -1, 0)] * many)
    said(lone(text, many).replace('inplace="1"', 'inplace="0"'))
    assert many < len(calls) < 20 * many


def test_scratch_that_nobody_uses_takes_no_room():
    size, text = peak(GOOD.replace('s_chunks="2"', 's_chunks="999999999"'))
    assert text is None
    assert size < 32 << 20
    assert import_msccl(GOOD.replace('s_chunks="2"', 's_chunks="999999999"')).scratch < 10


# Anything at all

numbers = st.one_of(st.integers(-2, 4), st.sampled_from([10**8, 10**9, -(10**9)])).map(str)
words = st.sampled_from(
    [*"iosr", "rcs", "rrs", "rrc", "rrcs", "cpy", "re", "nop", "allreduce", "alltoall", "0", "1"]
)
values = st.one_of(numbers, words, st.text(max_size=5))
KEYS = sorted({key for _, _, key, _ in ATTRIBUTES} | {"root"})
trees = st.recursive(
    st.tuples(st.sampled_from(["algo", "gpu", "tb", "step"]), st.dictionaries(st.sampled_from(KEYS), values), st.just([])),
    lambda inner: st.tuples(
        st.sampled_from(["algo", "gpu", "tb", "x"]), st.dictionaries(st.sampled_from(KEYS), values), st.lists(inner)
    ),
    max_leaves=8,
)  # fmt: skip


def written(tree):
    name, attributes, inner = tree
    escaped = {k: "".join(f"&#{ord(c)};" if c in "<&\"'\n" else c for c in v) for k, v in attributes.items()}
    head = " ".join([name, *(f'{k}="{v}"' for k, v in escaped.items())])
    return f"<{head}>{''.join(map(written, inner))}</{name}>"


@settings(max_examples=200, derandomize=True, deadline=None, database=None)
@given(st.one_of(st.binary(), st.binary().map(lambda b: b"<algo" + b), st.text().map(lambda s: "<" + s)))
def test_any_bytes(contents):
    assert said(contents) is not None


@settings(max_examples=300, derandomize=True, deadline=None, database=None)
@given(trees.map(written))
def test_any_tree(text):
    said(text)


@settings(max_examples=300, derandomize=True, deadline=None, database=None)
@given(st.lists(st.tuples(st.sampled_from(ATTRIBUTES), values), min_size=1, max_size=3))
def test_any_values(changes):
    text = GOOD
    for (number, _, key, old), value in changes:
        lines = text.split("\n")
        if f' {key}="{old}"' in lines[number - 1]:
            shown = "".join(f"&#{ord(c)};" for c in value)
            lines[number - 1] = lines[number - 1].replace(f' {key}="{old}"', f' {key}="{shown}"')
        text = "\n".join(lines)
    said(text)


# Files, through the command line


def refused(capsys, path):
    with pytest.raises(SystemExit) as stop:
        main(["verify", str(path)])
    assert stop.value.code == 2
    text = capsys.readouterr().err
    assert text.startswith("ringleader: ")
    assert text.count("\n") == 1
    return text


def test_files_that_are_not_there(capsys, tmp_path):
    assert "there is no file" in refused(capsys, tmp_path / "nothing.xml")
    (tmp_path / "folder.xml").mkdir()
    assert "folder.xml" in refused(capsys, tmp_path / "folder.xml")
    (tmp_path / "dangling.xml").symlink_to(tmp_path / "nothing.xml")
    assert "dangling.xml" in refused(capsys, tmp_path / "dangling.xml")
    for path in (tmp_path / "nothing.xml", tmp_path / "folder.xml"):
        with pytest.raises(OSError):
            import_msccl(path)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_files_that_cannot_be_read(capsys, tmp_path):
    """A file whose first page is no memory: reading it fails even for root."""
    (tmp_path / "broken.xml").symlink_to("/proc/self/mem")
    refused(capsys, tmp_path / "broken.xml")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_files_that_may_not_be_read(capsys, tmp_path):
    path = tmp_path / "secret.xml"
    path.write_text(GOOD)
    path.chmod(0)
    assert "secret.xml" in refused(capsys, path)


def test_files_that_are_wrong(capsys, tmp_path):
    path = tmp_path / "wrong.xml"
    path.write_text(with_line(9, '"r"', '"rr"'))
    assert "line 9: <step type='rr'>: unknown step type" in refused(capsys, path)
    path.write_bytes(bytes(range(256)))
    assert "line 1: not well-formed XML" in refused(capsys, path)
    path.write_text(GOOD)
    assert main(["verify", str(path)]) == 0
