"""Simulating a schedule on a topology: the two models, and what they have in common."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from ringleader.collectives.schedule import Schedule
from ringleader.collectives.simulate.bounds import bound, smallest_latency
from ringleader.collectives.simulate.loggp import Asynchronous, LogGP
from ringleader.collectives.simulate.network import Network
from ringleader.collectives.simulate.result import Recorder, Simulation, in_a_row
from ringleader.collectives.simulate.rounds import Synchronous
from ringleader.collectives.topology import Cut, Topology, place
from ringleader.collectives.topology.base import Floats
from ringleader.collectives.topology.placement import MOST_SEEDS, Placement
from ringleader.collectives.topology.units import LONGEST, MOST_BYTES, require_number

MODELS = ("rounds", "loggp")
OVERHEAD = 1e-6  # s for each message, besides the links' latencies
GAMMA = 1 / 50e9  # s for each byte folded: two reads and a write, at 150 GB/s in all
MOST_TRANSFERS = 1 << 28  # that are evaluated one by one, at about 1 us each


def simulate(
    schedule: Schedule, nbytes: float, topology: Topology, *, model: str = "rounds", placement: Placement = "block",
    overhead: float = OVERHEAD, ports: float = 1, gamma: float = GAMMA,
    slow: Mapping[int, float] | None = None, jitter: float = 0.0, seed: int = 0, loggp: LogGP | None = None, record: bool = False,
) -> Simulation:  # fmt: skip
    """How long ``schedule`` takes on ``topology``, and where the time goes.

    ``nbytes``: of the collective's larger buffer on a rank, of which every slot is an equal share (an allgather's
    whole result; a barrier: 0). ``model``: "rounds" (see the module of that name) or "loggp" (likewise;
    without ``loggp`` its o is ``overhead``). ``overhead``: start-up seconds of a message. ``ports``: messages that
    a rank can start, and take in, in that time (model "rounds"; inf: any number). ``gamma``: seconds for each
    byte folded. ``slow``: factors of stragglers, by rank. ``jitter``: relative noise of message times, drawn
    from ``seed``. ``record``: keep every event. ValueError says what is wrong, and names a pair of ranks that a
    cut link keeps apart.
    """
    _require(model in MODELS, f"unknown model {model!r}; known: {', '.join(MODELS)}")
    _require(model == "loggp" or loggp is None, "loggp is for model loggp only")
    _require(
        model == "rounds" or ports == 1,
        "ports are for model rounds only; a card of model loggp sends one message",
    )
    _require_numbers(nbytes=nbytes, overhead=overhead, gamma=gamma, jitter=jitter, ports=ports, seed=seed)
    if model == "loggp" or jitter:
        _require_few(schedule)
    nbytes = buffer_bytes(schedule, nbytes)
    hosts = place(topology, schedule.n, placement)
    factors = _factors(schedule.n, slow or {})
    network, recorder = Network(topology, hosts), Recorder(record)
    run: Synchronous | Asynchronous
    if model == "rounds":
        start, cuts = overhead * factors.min(), topology.cuts()
        run = Synchronous(
            network, factors, overhead=overhead, ports=ports, gamma=gamma, jitter=jitter, seed=seed,
            recorder=recorder,
        )  # fmt: skip
    else:
        params = loggp or LogGP(o=overhead)
        start, cuts = 2 * params.o * factors.min() + params.L, [_cards(topology, params)]
        run = Asynchronous(network, factors, params, gamma=gamma, jitter=jitter, seed=seed, recorder=recorder)
    rounds, busy = run.run(schedule, slot_bytes(schedule, nbytes))
    total = math.fsum(r.times * r.seconds for r in rounds)
    return Simulation(
        schedule=schedule, nbytes=nbytes, topology=topology, placement=placement, hosts=hosts, model=model,
        total=total, rounds=in_a_row(rounds), link_bytes=network.link_bytes,
        idle=np.maximum(1 - busy / total, 0.0) if total else np.zeros(schedule.n),
        bound=bound(schedule, nbytes, cuts, hosts, start + smallest_latency(topology, hosts)),
        events=recorder.events,
    )  # fmt: skip


def buffer_bytes(schedule: Schedule, nbytes: float) -> float:
    """Bytes of the larger buffer of a rank: those given, but a barrier moves nothing."""
    return 0 if schedule.collective is not None and schedule.collective.at_least_once else nbytes


def slot_bytes(schedule: Schedule, nbytes: float) -> float:
    """Bytes of a slot: all slots of the larger buffer are equally large."""
    return buffer_bytes(schedule, nbytes) / max(schedule.size("input"), schedule.size("output"))


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(f"simulate: {otherwise}")


def _require_numbers(**given: float) -> None:
    """Within these limits every time is finite."""
    limits = {"nbytes": (0, MOST_BYTES), "ports": (1, math.inf), "seed": (0, MOST_SEEDS - 1)}
    for name, value in given.items():
        require_number(f"simulate: {name}", value, *limits.get(name, (0, LONGEST)))


def _require_few(schedule: Schedule) -> None:
    """Every message is evaluated on its own in model loggp and with jitter."""
    transfers = sum(r.times * sum(len(g.src) for g in r.groups) for r in schedule.rounds)
    _require(
        transfers <= MOST_TRANSFERS,
        f"{transfers:,} transfers are too many for model loggp or jitter; at most {MOST_TRANSFERS:,}",
    )


def _factors(n: int, slow: Mapping[int, float]) -> Floats:
    factors = np.ones(n)
    for rank, factor in slow.items():
        _require(0 <= rank < n, f"slow names rank {rank}, but ranks are 0 ... {n - 1}")
        require_number(f"simulate: slow: factor of rank {rank}", factor, 1 / LONGEST, LONGEST)
        factors[rank] = factor
    return factors


def _cards(topology: Topology, params: LogGP) -> Cut:
    """The only cut that counts where links have no contention: each host's network card, one message at a time."""
    capacity: list[Floats] = []
    for end in topology.links.ends.T:
        most = np.zeros(topology.vertices)
        np.maximum.at(most, end, topology.links.bandwidth)
        if params.G is not None:
            most[:] = 1 / params.G if params.G else np.inf
        capacity.append(most[: topology.hosts])
    return Cut("cards", np.arange(topology.hosts), *capacity)
