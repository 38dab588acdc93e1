"""A second, independent reader of MSCCL-IR, which runs it as its executors do; and a short way to write it."""

from collections import defaultdict, deque
from xml.etree import ElementTree

import numpy as np
from ringleader.collectives import import_msccl

MANY_IN = ("reducescatter", "reduce_scatter", "alltoall")  # an input block for each rank
MANY_OUT = ("allgather", "alltoall")
RECEIVES = ("r", "rcs", "rrs", "rrc", "rrcs")
SENDS = ("s", "rcs", "rrs", "rrcs")
READS = ("s", "rrs", "rrc", "rrcs", "cpy", "re")
WRITES = ("r", "rcs", "rrc", "rrcs", "cpy", "re")


class Executor:
    """MSCCL-IR as its executors run it: all threadblocks of all gpus in some order, on random 64-bit words that
    wrap around; whatever is not input is noise. ``room``: messages that a connection holds."""

    def __init__(self, text, seed=0, room=1_000_000):
        self.random = np.random.default_rng(seed)
        self.algo = ElementTree.fromstring(text)
        self.coll, self.n, self.room = self.algo.get("coll"), int(self.algo.get("ngpus")), room
        self.chunks = int(self.algo.get("nchunksperloop"))
        self.block = self.chunks // self.n if self.coll in MANY_IN + MANY_OUT else self.chunks
        self.gpus = list(self.algo)
        self.memory = [self.buffers(gpu) for gpu in range(self.n)]
        self.before = [{name: m[name].copy() for name in "io"} for m in self.memory]
        self.links = defaultdict(deque)
        self.done = [[0] * len(gpu) for gpu in self.gpus]  # steps of each threadblock

    def buffers(self, gpu):
        size = {
            "i": self.block * (self.n if self.coll in MANY_IN else 1),
            "o": self.block * (self.n if self.coll in MANY_OUT else 1),
        }
        found = {"s": self.noise(int(self.gpus[gpu].get("s_chunks")))}
        if self.algo.get("inplace") == "0":
            return found | {name: self.noise(size[name]) for name in "io"}
        whole = self.noise(max(size.values()))
        own = whole[gpu * self.block : (gpu + 1) * self.block]
        return found | {name: whole if size[name] == len(whole) else own for name in "io"}

    def noise(self, size):
        return self.random.integers(0, 2**64 - 1, size, np.uint64, endpoint=True)

    def run(self):
        left = [(g, t) for g, gpu in enumerate(self.gpus) for t in range(len(gpu)) if len(gpu[t])]
        while left:
            moved = False
            for at in self.random.permutation(len(left)):
                burst = self.random.integers(1, 5)
                while burst and self.step(*left[at]):
                    moved, burst = True, burst - 1
            assert moved, "deadlock"
            left = [(g, t) for g, t in left if self.done[g][t] < len(self.gpus[g][t])]
        assert not any(self.links.values()), "messages that nobody receives"
        return [m["o"] for m in self.memory]

    def step(self, g, t):
        """One step of a threadblock, if it can be done now."""
        block, at = self.gpus[g][t], self.done[g][t]
        if at == len(block):
            return False
        step, chan = block[at], block.get("chan")
        kind, waits = step.get("type"), int(step.get("depid"))
        here = self.links[int(block.get("recv")), g, chan]
        there = self.links[g, int(block.get("send")), chan]
        if waits >= 0 and self.done[g][waits] <= int(step.get("deps")):
            return False
        if (kind in RECEIVES and not here) or (kind in SENDS and len(there) >= self.room):
            return False
        self.move(g, step, kind, here, there)
        self.done[g][t] += 1
        return True

    def move(self, g, step, kind, here, there):
        if kind == "nop":
            return
        src, dst = self.chunk(g, step, "src"), self.chunk(g, step, "dst")
        value = here.popleft() if kind in RECEIVES else src.copy()
        if kind in ("rrs", "rrc", "rrcs"):
            value = value + src
        if kind == "re":
            value = value + dst
        if kind in WRITES:
            dst[:] = value
        if kind in SENDS:
            there.append(value)

    def chunk(self, g, step, end):
        first, cnt = int(step.get(f"{end}off")), int(step.get("cnt"))
        found = self.memory[g][step.get(f"{end}buf")][first : first + cnt]
        used = step.get("type") in (READS if end == "src" else WRITES)
        assert not used or (first >= 0 and len(found) == cnt), "outside of its buffer"
        return found


def promised(coll, inputs, root):
    """What ``o`` must hold on each gpu in the end; None: anything."""
    n, x = len(inputs), np.array(inputs)
    if coll == "allgather":
        return [x.ravel()] * n
    if coll == "alltoall":
        return list(x.reshape(n, n, -1).swapaxes(0, 1).reshape(n, -1))
    if coll == "broadcast":
        return [x[root]] * n
    folded = x.sum(axis=0, dtype=np.uint64)
    if coll in ("reducescatter", "reduce_scatter"):
        return list(folded.reshape(n, -1))
    return [folded if coll == "allreduce" or gpu == root else None for gpu in range(n)]


def executes(text, root=0, seed=0, **room):
    """Does it compute its collective, on words that are random?"""
    executor = Executor(text, seed, **room)
    outputs = executor.run()
    wanted = promised(executor.coll, [b["i"] for b in executor.before], root)
    return all(w is None or np.array_equal(o, w) for o, w in zip(outputs, wanted, strict=True))


def follow(schedule, executor):
    """``o`` of each gpu after the rounds of the schedule, from what the executor started with."""
    ours, n, block = schedule.collective, executor.n, executor.block
    memory = {b: executor.noise((n, schedule.size(b))) for b in ("input", "output", "scratch")}
    for g, before in enumerate(executor.before):
        if not ours.in_place:
            memory["input"][g] = before["i"]
        elif executor.algo.get("inplace") == "1":
            memory["output"][g] = max(before["i"], before["o"], key=len)
        else:
            first = g * block if len(before["i"]) < schedule.size("output") else 0
            memory["output"][g, first : first + len(before["i"])] = before["i"]
    for groups in schedule.expand():
        one_round(groups, memory)
    own = executor.coll in MANY_IN and executor.coll not in MANY_OUT
    return [
        memory["output"][g, g * block : (g + 1) * block] if own else memory["output"][g] for g in range(n)
    ]


def one_round(groups, memory):
    values = [memory[g.source][g.src, g.src_slot] for g in groups]
    orders = defaultdict(list)
    for g, read in zip(groups, values, strict=True):
        for rank, slot, order, value in zip(g.dst, g.dst_slot, g.order, read, strict=True):
            cell = memory[g.target][rank]
            cell[[slot]] = cell[[slot]] + value if order else value
            orders[g.target, rank, slot].append(order)
    assert all(len(o) == 1 or (0 not in o and len(set(o)) == len(o)) for o in orders.values())


def tried_import(text):
    """The schedule or None, and why it is refused or an empty text."""
    try:
        return import_msccl(text), ""
    except ValueError as error:
        return None, str(error)


def xml(coll, chunks, gpus, inplace=1, channels=1):
    """``gpus``: for each its (i, o, s) chunks and its threadblocks (send, recv, channel, steps). A step is its type,
    one or two chunks (the second: where to), xCOUNT and @THREADBLOCK.STEP that it waits for: "cpy i0 s2 x2 @1.0"."""
    lines = [
        f'<algo name="by hand" proto="Simple" nchannels="{channels}" nchunksperloop="{chunks}" '
        f'ngpus="{len(gpus)}" coll="{coll}" inplace="{inplace}">'
    ]
    for g, ((i, o, s), blocks) in enumerate(gpus):
        lines.append(f'  <gpu id="{g}" i_chunks="{i}" o_chunks="{o}" s_chunks="{s}">')
        asked = {
            word[1:] for *_, steps in blocks for step in steps for word in step.split() if word[0] == "@"
        }
        for t, (send, recv, chan, steps) in enumerate(blocks):
            lines.append(f'    <tb id="{t}" send="{send}" recv="{recv}" chan="{chan}">')
            lines += [f"      {step_xml(at, step, f'{t}.{at}' in asked)}" for at, step in enumerate(steps)]
            lines.append("    </tb>")
        lines.append("  </gpu>")
    return "\n".join([*lines, "</algo>"])


def step_xml(at, step, asked):
    kind, *words = step.split()
    places = [word for word in words if word[0] in "ios"] or ["i-1", "o-1"]
    (src, dst), cnt = (
        (places * 2)[:2],
        next((w[1:] for w in words if w[0] == "x"), "0" if kind == "nop" else "1"),
    )
    depid, deps = next((w[1:].split(".") for w in words if w[0] == "@"), ("-1", "-1"))
    return (
        f'<step s="{at}" type="{kind}" srcbuf="{src[0]}" srcoff="{src[1:]}" dstbuf="{dst[0]}" dstoff="{dst[1:]}" '
        f'cnt="{cnt}" depid="{depid}" deps="{deps}" hasdep="{int(asked)}"/>'
    )
