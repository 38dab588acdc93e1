"""MSCCL-IR there and back. What is exported is also run by a second, independent reader of the format."""

import os
import random
import subprocess
import sys
from dataclasses import replace
from itertools import product
from xml.etree import ElementTree

import numpy as np
import pytest
from helpers.coded import coded, total
from helpers.msccl import (
    READS,
    RECEIVES,
    SENDS,
    WRITES,
    Executor,
    executes,
    follow,
    tried_import,
    xml,
)
from ringleader.collectives import (
    COLLECTIVES,
    Round,
    algorithms,
    build,
    export_msccl,
    fragment,
    import_msccl,
    simulate,
    topology,
    variants,
    verify,
    verify_programs,
)  # fmt: skip
from ringleader.runtime.comm import spawn

SAYABLE = ("allreduce", "allgather", "reduce_scatter", "alltoall", "broadcast", "reduce")
NAMES = [(c, a) for c in SAYABLE for a in algorithms(c)]
RANKS = (1, 2, 3, 4, 7, 8)


def check_format(text):
    """What the executors' own reader relies on."""
    algo = ElementTree.fromstring(text)
    gpus, chunks = list(algo), int(algo.get("nchunksperloop"))
    assert [int(gpu.get("id")) for gpu in gpus] == list(range(int(algo.get("ngpus"))))
    assert chunks == max(int(gpu.get(f"{b}_chunks")) for gpu in gpus for b in "io")
    for gpu in gpus:
        size = {b: int(gpu.get(f"{b}_chunks")) for b in "ios"}
        assert [int(block.get("id")) for block in gpu] == list(range(len(gpu)))
        links = [
            (end, b.get(end), b.get("chan")) for b in gpu for end in ("send", "recv") if b.get(end) != "-1"
        ]
        assert len(set(links)) == len(links)
        asked = set()
        for block in gpu:
            assert 0 <= int(block.get("chan")) < int(algo.get("nchannels"))
            assert [int(step.get("s")) for step in block] == list(range(len(block)))
            for step in block:
                asked |= check_step(gpu, block, step, size)
        told = {(int(b.get("id")), int(s.get("s"))) for b in gpu for s in b if s.get("hasdep") == "1"}
        assert told == asked


def check_step(gpu, block, step, size):
    kind, cnt = step.get("type"), int(step.get("cnt"))
    assert kind not in SENDS or block.get("send") not in ("-1", gpu.get("id"))
    assert kind not in RECEIVES or block.get("recv") not in ("-1", gpu.get("id"))
    assert cnt == 0 if kind == "nop" else 1 <= cnt < 72
    for end, used in (("src", READS), ("dst", WRITES)):
        assert kind not in used or 0 <= int(step.get(f"{end}off")) <= size[step.get(f"{end}buf")] - cnt
    block_id, number = int(step.get("depid")), int(step.get("deps"))
    if block_id < 0:
        return set()
    assert block_id != int(block.get("id"))
    assert number < len(gpu[block_id])
    assert gpu[block_id][number].get("type") != "nop"
    return {(block_id, number)}


def built(collective, name, ranks=RANKS):
    """The algorithm with all variants, rank counts and some roots."""
    for given, n in product(variants(collective, name), ranks):
        for root in sorted({0, n // 2, n - 1}) if COLLECTIVES[collective].rooted else [0]:
            yield build(collective, name, n, root, **given)


def proves(schedule):
    return bool(verify(schedule)) and bool(verify_programs(schedule))


@pytest.mark.parametrize(("collective", "name"), NAMES)
def test_every_algorithm_goes_there_and_back(collective, name):
    for seed, schedule in enumerate(built(collective, name)):
        text = export_msccl(schedule)
        check_format(text)
        assert executes(text, schedule.root, seed)
        back = import_msccl(text)
        assert (back.n, back.slots, back.root) == (schedule.n, schedule.slots, schedule.root)
        assert (back.collective, back.name) == (schedule.collective, schedule.name)
        assert proves(back)


@pytest.mark.parametrize(("collective", "name"), NAMES)
def test_no_timing_spoils_what_is_exported(collective, name):
    """Connections hold one message only, and threadblocks take turns at random."""
    (schedule, *_) = built(collective, name, [4])
    text = export_msccl(schedule)
    assert all(executes(text, schedule.root, seed, room=1) for seed in range(5))


def test_long_runs_of_chunks_are_several_steps():
    """The executors move at most 71 chunks in a step; messages are cut in the same way at both ends."""
    for schedule in (
        build("allreduce", "ring", 3).refine(50),
        build("reduce", "chain", 3, chunks=2).refine(80),
    ):
        text = export_msccl(schedule)
        check_format(text)
        assert executes(text)
        assert proves(import_msccl(text))


def test_reduce_leaves_the_inputs_of_the_others_alone():
    for name in algorithms("reduce"):
        executor = Executor(export_msccl(build("reduce", name, 5, 2)))
        executor.run()
        for gpu in (0, 1, 3, 4):
            np.testing.assert_array_equal(executor.memory[gpu]["i"], executor.before[gpu]["i"])


def test_export_is_the_same_in_every_process():
    code = "from ringleader.collectives import *; print(end=export_msccl(build('allreduce', 'two-shot', 5)))"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60,
            env=os.environ | {"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert outputs == {export_msccl(build("allreduce", "two-shot", 5))}


def spoiled(schedule, how):
    """One transfer left out, or one copy a fold, or one fold a copy."""
    rounds = list(schedule.rounds)
    every = [(a, w) for a, r in enumerate(rounds) for w, g in enumerate(r.groups) if len(g.src)]
    at, which = how.choice(every)
    groups = list(rounds[at].groups)
    group = groups[which]
    element = how.randrange(len(group.src))
    if how.random() < 0.5:
        groups[which] = group.pick(np.arange(len(group.src)) != element)
    else:
        order = group.order.copy()
        order[element] = 0 if order[element] else 1
        groups[which] = replace(group, order=order)
    rounds[at] = Round(tuple(groups), rounds[at].times)
    return replace(schedule, rounds=tuple(rounds), ordered=False)


@pytest.mark.parametrize(("collective", "name"), NAMES)
def test_what_is_wrong_stays_wrong(collective, name):
    (schedule, *_) = built(collective, name, [4])
    how, tried = random.Random(name), 0
    for _ in range(8):
        mutant = spoiled(schedule, how)
        fault = verify(mutant).fault
        if fault is None or "that are not one fold" in fault:  # which cannot be lowered
            continue
        text = export_msccl(mutant)
        tried += 1
        imported, refusal = tried_import(text)
        assert "which nothing has written before" in refusal or not verify(imported)
        assert "another shape" in fault or not executes(text, schedule.root)
    assert tried


@pytest.mark.parametrize("collective", ["barrier", "scan", "exscan", "gather", "scatter"])
def test_what_msccl_cannot_say(collective):
    (name, *_) = algorithms(collective)
    with pytest.raises(
        ValueError, match=f"^export_msccl: MSCCL-IR cannot say {collective}; it can say allg.*$"
    ):
        export_msccl(build(collective, name, 4))


def test_a_fragment_is_not_exported():
    with pytest.raises(ValueError, match=r"^export_msccl: MSCCL-IR cannot say a fragment; it can .*$"):
        export_msccl(fragment(2, 1, []))


def test_names_stay_in_one_line(tmp_path):
    odd = replace(build("allreduce", "ring", 2), name='<"a\x1b[31m\n&' + "x" * 300)
    path = tmp_path / "odd.xml"
    assert export_msccl(odd, path) == path.read_text(encoding="utf-8")
    assert import_msccl(path).name == import_msccl(str(path)).name == ('<"a?[31m?&' + "x" * 300)[:100]
    text = path.read_text(encoding="utf-8")
    assert import_msccl(text.replace("&lt;", "&#10;&#155;2J")).name.startswith('??2J"a?')
    assert import_msccl(text.encode()).digest == import_msccl(path).digest


def test_the_root_is_in_the_file_or_given():
    text = export_msccl(build("broadcast", "chain", 4, 2))
    assert import_msccl(text).root == 2
    without = text.replace(' root="2"', "")
    assert proves(import_msccl(without, root=2))
    assert not verify(import_msccl(without))
    with pytest.raises(ValueError, match=r"^import_msccl: root 4 is out of range for 4 gpus \(0 ... 3\)$"):
        import_msccl(text, root=4)


# Algorithms written by hand, in the dialect that msccl-tools writes


LITERAL = """<?xml version="1.0"?>
<!-- two gpus swap halves -->
<algo name="swap" proto="LL" nchannels="1" nchunksperloop="2" ngpus="2" coll="allreduce" inplace="1">
  <gpu id="0" i_chunks="2" o_chunks="0" s_chunks="1">
    <tb id="0" send="-1" recv="-1" chan="0">
      <step s="0" type="re" srcbuf="s" srcoff="0" dstbuf="i" dstoff="0" cnt="1" depid="1" deps="1" hasdep="1"/>
    </tb>
    <tb id="1" send="1" recv="1" chan="0">
      <step s="0" type="s" srcbuf="i" srcoff="1" dstbuf="s" dstoff="0" cnt="1" depid="-1" deps="-1" hasdep="0"/>
      <step s="1" type="r" srcbuf="i" srcoff="0" dstbuf="s" dstoff="0" cnt="1" depid="-1" deps="-1" hasdep="1"/>
      <step s="2" type="s" srcbuf="i" srcoff="0" dstbuf="i" dstoff="0" cnt="1" depid="0" deps="0" hasdep="0"/>
      <step s="3" type="r" srcbuf="i" srcoff="1" dstbuf="i" dstoff="1" cnt="1" depid="-1" deps="-1" hasdep="0"/>
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


def ring_allreduce(n=3):
    """Two rings the same way on two channels, each with half of the chunks; the reduced chunk goes on fused."""

    def steps(r, first):
        at = [f"i{first + (r - k) % n}" for k in range(2 * n)]
        reducing = [f"rrs {at[k]}" for k in range(1, n - 1)]
        copying = [f"rcs {at[k]}" for k in range(n, 2 * n - 2)]
        return [f"s {at[0]}", *reducing, f"rrcs {at[n - 1]}", *copying, f"r {at[2 * n - 2]}"]

    return xml(
        "allreduce", 2 * n,
        [((2 * n, 0, 0), [((r + 1) % n, (r - 1) % n, c, steps(r, c * n)) for c in (0, 1)]) for r in range(n)],
        channels=2,
    )  # fmt: skip


def allpairs_allreduce(n=3):
    """Out of place: gpu r folds everyone's chunk r in scratch, in the order of gpus, then tells everyone. What a
    step waits for beyond one dependency is on nops."""
    gpus = []
    for r in range(n):
        peers = [p for p in range(n) if p != r]
        links = [(p, p, 0, [f"s i{p}", f"r s{p}", f"s o{r} @0.{2 * n - 1}", f"r o{p}"]) for p in peers]
        waiting = [*(f"nop @{k}.1" for k in range(1, n - 1)), f"cpy s0 s{n} @{n - 1}.1"]
        folding = [f"re s{q} s{n}" for q in range(1, n)]
        own = (-1, -1, 0, [f"cpy i{r} s{r}", *waiting, *folding, f"cpy s{n} o{r}"])
        gpus.append(((n, n, n + 1), [own, *links]))
    return xml("allreduce", n, gpus, inplace=0)


def ring_allgather(n=4):
    """Out of place: each gpu has to copy its own block as well."""
    return xml(
        "allgather", n,
        [
            ((1, n, 0), [
                (-1, -1, 0, [f"cpy i0 o{r}"]),
                ((r + 1) % n, (r - 1) % n, 0,
                 ["s i0", *(f"rcs o{(r - k) % n}" for k in range(1, n - 1)), f"r o{(r + 1) % n}"]),
            ])
            for r in range(n)
        ],
        inplace=0,
    )  # fmt: skip


def doubling_allgather():
    """In place, several chunks in a step."""
    gpus = []
    for r in range(4):
        near, far, low = r ^ 1, r ^ 2, r // 2 * 2
        second = [f"s o{low} x2 @0.1", f"r o{low ^ 2} x2"]
        gpus.append(((0, 4, 0), [(near, near, 0, [f"s o{r}", f"r o{near}"]), (far, far, 0, second)]))
    return xml("allgather", 4, gpus)


def relayed_alltoall():
    """Round a ring of three; what is for the next but one goes through scratch."""
    gpus = []
    for r in range(3):
        a, b = (r + 1) % 3, (r + 2) % 3
        steps = [f"s i{a}", f"s i{b}", f"r o{b}", "rcs s0", f"r o{a}", f"cpy i{r} o{r}"]
        gpus.append(((3, 3, 1), [(a, b, 0, steps)]))
    return xml("alltoall", 3, gpus, inplace=0)


def ring_reduce_scatter(name, inplace, n=3):
    gpus = []
    for r in range(n):
        relayed = [f"rrs i{(r - k) % n}" for k in range(2, n)]
        steps = [f"s i{(r - 1) % n}", *relayed, f"rrc i{r}" if inplace else f"rrc i{r} o0"]
        gpus.append(((n, 0 if inplace else 1, 0), [((r + 1) % n, (r - 1) % n, 0, steps)]))
    return xml(name, n, gpus, inplace)


HAND = {
    "literal": LITERAL,
    "ring allreduce": ring_allreduce(),
    "allpairs allreduce": allpairs_allreduce(),
    "exchange": xml("allreduce", 1, [((1, 0, 0), [(p, p, 0, ["s i0", "rrc i0"])]) for p in (1, 0)]),
    "ring allgather": ring_allgather(),
    "doubling allgather": doubling_allgather(),
    "relayed alltoall": relayed_alltoall(),
    "alltoall in place": xml("alltoall", 2, [((2, 2, 0), [(p, p, 0, [f"s i{p}", f"r o{p}"])]) for p in (1, 0)]),
    "ring reduce_scatter": ring_reduce_scatter("reduce_scatter", 0),
    "ring reducescatter": ring_reduce_scatter("reducescatter", 1),
    "chain broadcast": xml("broadcast", 2, [
        ((2, 0, 0), [(1, -1, 0, ["s i0", "s i1"])]),
        ((2, 0, 0), [(2, 0, 0, ["rcs i0", "rcs i1"])]),
        ((2, 0, 0), [(-1, 1, 0, ["r i0", "r i1"])]),
    ]),
    "chain reduce": xml("reduce", 1, [
        ((1, 1, 0), [(-1, 1, 0, ["rrc i0 o0"])]),
        ((1, 0, 0), [(0, 2, 0, ["rrs i0"])]),
        ((1, 0, 0), [(1, -1, 0, ["s i0"])]),
    ], inplace=0),
}  # fmt: skip


@pytest.mark.parametrize("name", HAND)
def test_by_hand_is_proved_and_simulated(name):
    schedule = import_msccl(HAND[name])
    assert proves(schedule), verify(schedule)
    assert all(executes(HAND[name], 0, seed) for seed in range(10))
    for model in ("rounds", "loggp"):
        assert simulate(schedule, 1 << 20, topology("switch", schedule.n), model=model).total > 0
    again = export_msccl(schedule)
    check_format(again)
    assert executes(again)
    assert proves(import_msccl(again))


def ran(world, schedule, rows):
    """What the collective gives on coded integers, and what it should."""
    n, mine = world.size, coded(rows, world.rank)
    everyone = [coded(rows, r) for r in range(n)]
    what = schedule.collective.name
    if what == "allreduce":
        return world.allreduce(mine, algorithm=schedule), total(rows, n)
    if what == "allgather":
        return world.allgather(mine, algorithm=schedule), np.concatenate(everyone)
    if what == "broadcast":
        return world.broadcast(mine, root=schedule.root, algorithm=schedule), everyone[schedule.root]
    if what == "reduce":
        got = world.reduce(mine, root=schedule.root, algorithm=schedule)
        return got, total(rows, n) if world.rank == schedule.root else coded(rows, world.rank)
    blocks = slice(world.rank * rows, (world.rank + 1) * rows)
    if what == "reduce_scatter":
        return world.reduce_scatter(coded(n * rows, world.rank), algorithm=schedule), total(n * rows, n)[
            blocks
        ]
    got = world.alltoall(coded(n * rows, world.rank), algorithm=schedule)
    return got, np.concatenate([coded(n * rows, r)[blocks] for r in range(n)])


@pytest.mark.parametrize("name", HAND)
def test_by_hand_runs(name):
    schedule = import_msccl(HAND[name])
    for rows in (0, 1, 6, 601):
        for got, wanted in spawn(schedule.n, lambda w, rows=rows: ran(w, schedule, rows), timeout=30):
            np.testing.assert_array_equal(got, wanted)


def test_pipelines_stay_pipelines():
    """Two chunks down a chain of three take three rounds, not two nor four."""
    assert len(import_msccl(HAND["chain broadcast"])) == 3
    assert len(import_msccl(HAND["doubling allgather"])) == 2


def test_out_of_place_the_own_block_must_be_copied():
    """Our buffers would hide that: the input is there already."""
    lines = [
        line for line in ring_allgather().splitlines() if 'dstoff="2" cnt' not in line or "cpy" not in line
    ]
    text = "\n".join(lines)
    assert not executes(text)
    with pytest.raises(
        ValueError, match=r"^line 1: <algo inplace='0'>: nothing is written to chunk 2 of buffer o on gpu 2"
    ):
        import_msccl(text)


@pytest.mark.parametrize(
    ("coll", "gpus"),
    [
        ("allreduce", [((1, 1, 0), [(-1, -1, 0, ["cpy i0 o0", "re i0 o0", "cpy i0 o0"])])]),
        ("allgather", [
            ((1, 2, 1), [(-1, -1, 0, ["cpy i0 s0", "cpy i0 o1"]), (-1, -1, 0, ["re i0 s0 @0.0", "cpy s0 o0"])]),
            ((1, 2, 0), [(-1, -1, 0, ["cpy i0 o0", "cpy i0 o1"])]),
        ]),
    ],
)  # fmt: skip
def test_copies_that_only_seem_to_do_nothing(coll, gpus):
    """Input and output share memory here: it is not to be taken for the same where it is not, or no longer is."""
    text = xml(coll, len(gpus), gpus, inplace=0)
    executor = Executor(text)
    for mine, theirs in zip(follow(import_msccl(text), executor), executor.run(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
