"""Random MSCCL-IR programs: whatever is imported does what the executors would do."""

import random
from collections import defaultdict, deque

import numpy as np
from helpers.msccl import MANY_IN, MANY_OUT, READS, WRITES, Executor, follow, tried_import, xml
from ringleader.collectives import import_msccl


class Program:
    """Random steps, in an order in which all can happen. ``forgetful``: leaves out some dependencies."""

    def __init__(self, seed, forgetful):
        self.random, self.forgetful = random.Random(seed), forgetful
        self.coll = self.random.choice(["allreduce", "allgather", "reduce_scatter", "alltoall"])
        self.n, self.inplace = self.random.randint(1, 3), self.random.randint(0, 1)
        self.block = self.random.randint(1, 2)
        many_in, many_out = self.coll in MANY_IN, self.coll in MANY_OUT
        self.chunks = self.block * (self.n if many_in or many_out else 1)
        self.size = {
            "i": self.block * (self.n if many_in else 1),
            "o": self.block * (self.n if many_out else 1),
            "s": 2,
        }
        self.shift = {"i": many_out and not many_in, "o": many_in and not many_out, "s": False}
        self.blocks = [self.threadblocks(g) for g in range(self.n)]
        self.writer, self.readers = {}, defaultdict(dict)  # of an address; by threadblock
        self.flying = defaultdict(deque)  # messages, by who receives them in which threadblock
        for _ in range(self.random.randint(2, 20)):
            self.random.choice([self.local, self.message, self.receive])()
        while any(self.flying.values()):
            self.receive()
        self.fill()

    def threadblocks(self, g):
        after, before = (g + 1) % self.n, (g - 1) % self.n
        links = (
            [(after, before, 0), (after, before, 1), (before, -1, 2), (-1, after, 2)] if self.n > 1 else []
        )
        return [(*link, []) for link in [(-1, -1, 0), (-1, -1, 0), *links]]

    def addresses(self, g, place, cnt):
        """In place, ``i`` and ``o`` are one memory."""
        buffer, first = place
        first += g * self.block if self.inplace and self.shift[buffer] else 0
        return [(g, "io" if self.inplace and buffer != "s" else buffer, first + k) for k in range(cnt)]

    def places(self, g, cnt, readable):
        every = [(b, k) for b in "ios" for k in range(self.size[b] - cnt + 1)]
        return [p for p in every if not readable or all(self.holds(a) for a in self.addresses(g, p, cnt))]

    def holds(self, address):
        return address in self.writer or address[1] in ("i", "io")

    def choose(self, g, kind, cnt):
        """Where a step reads and writes, or None if there is nothing to read."""
        src = self.places(g, cnt, True) if kind in READS else self.places(g, cnt, False)
        if not src:
            return None
        src = self.random.choice(src)
        reads = set(self.addresses(g, src, cnt)) if kind in READS else set()
        dst = [p for p in self.places(g, cnt, kind == "re") if reads.isdisjoint(self.addresses(g, p, cnt))]
        dst += [src] if kind not in ("cpy", "re") else []
        return (src, self.random.choice(dst)) if dst else None

    def add(self, g, t, kind, cnt, src, dst):
        """The step, with what it must wait for."""
        steps = self.blocks[g][t][3]
        reads = self.addresses(g, src, cnt) if kind in READS else []
        reads += self.addresses(g, dst, cnt) if kind == "re" else []
        writes = self.addresses(g, dst, cnt) if kind in WRITES else []
        before = [self.writer[a] for a in reads + writes if a in self.writer]
        before += [at for a in writes for at in self.readers[a].items()]
        needed = {block: max(s for b, s in before if b == block) for block, _ in before if block != t}
        waits = [
            f" @{b}.{s}"
            for b, s in sorted(needed.items())
            if not self.forgetful or self.random.random() < 0.8
        ]
        steps += [f"nop{wait}" for wait in waits[:-1]]
        steps.append(f"{kind} {src[0]}{src[1]} {dst[0]}{dst[1]} x{cnt}{''.join(waits[-1:])}")
        for address in reads:
            self.readers[address][t] = len(steps) - 1
        for address in writes:
            self.writer[address] = (t, len(steps) - 1)
            self.readers.pop(address, None)

    def local(self):
        g, kind = self.random.randrange(self.n), self.random.choice(["cpy", "re"])
        cnt = self.random.randint(1, 2)
        if places := self.choose(g, kind, cnt):
            self.add(g, self.random.randrange(2), kind, cnt, *places)

    def message(self):
        """Sent now, for one hop or several."""
        if self.n > 1:
            g, chan, cnt = self.random.randrange(self.n), self.random.randrange(3), self.random.randint(1, 2)
            if places := self.choose(g, "s", cnt):
                self.send(g, chan, "s", cnt, places, 1 if chan == 2 else self.random.randint(1, 3))

    def send(self, g, chan, kind, cnt, places, hops):
        self.add(g, 2 + chan, kind, cnt, *places)
        to = ((g - 1) % self.n, 5) if chan == 2 else ((g + 1) % self.n, 2 + chan)
        self.flying[to].append((chan, cnt, hops - 1))

    def receive(self):
        """At any later time, the oldest of a connection; with hops left it goes on at once."""
        links = [link for link, messages in self.flying.items() if messages]
        if not links:
            return
        g, t = self.random.choice(links)
        chan, cnt, hops = self.flying[g, t].popleft()
        kind = self.random.choice(["rcs", "rrs", "rrcs"] if hops else ["r", "rrc"])
        places = self.choose(g, kind, cnt)
        if places is None:  # there is nothing that it could be folded with
            kind = "rcs" if hops else "r"
            places = self.choose(g, kind, cnt)
        if hops:
            self.send(g, chan, kind, cnt, places, hops)
        else:
            self.add(g, t, kind, cnt, *places)

    def fill(self):
        """Nothing of the output may be left as it was."""
        for g in range(self.n):
            for k in range(self.size["o"]):
                if not self.holds(*self.addresses(g, ("o", k), 1)):
                    self.add(g, 0, "cpy", 1, ("i", self.random.randrange(self.size["i"])), ("o", k))

    def text(self):
        gpus = [(tuple(self.size[b] for b in "ios"), blocks) for blocks in self.blocks]
        return xml(self.coll, self.chunks, gpus, self.inplace, channels=3)


def test_random_programs_mean_here_what_they_mean_there():
    for seed in range(400):
        text = Program(seed, forgetful=False).text()
        schedule = import_msccl(text)
        for timing in range(2):
            executor = Executor(text, timing)
            for mine, theirs in zip(follow(schedule, executor), executor.run(), strict=True):
                np.testing.assert_array_equal(mine, theirs, f"seed {seed}\n{text}")


def test_random_programs_that_forget_to_wait():
    """Refused, or right whatever the timing."""
    refused = 0
    for seed in range(1000, 1250):
        text = Program(seed, forgetful=True).text()
        schedule, refusal = tried_import(text)
        if refusal:
            assert "data race" in refusal or "nothing has written before" in refusal
            refused += 1
            continue
        for timing in range(4):
            executor = Executor(text, timing)
            for mine, theirs in zip(follow(schedule, executor), executor.run(), strict=True):
                np.testing.assert_array_equal(mine, theirs, f"seed {seed}\n{text}")
    assert 25 < refused < 225
