"""Space-time diagrams, by rounds or, of a simulation, over its seconds: messages, folds and waits."""

from __future__ import annotations

from collections import defaultdict, deque
from typing import TYPE_CHECKING, Any, NamedTuple

from ringleader.collectives.draw.canvas import (
    BLACK,
    FAINT,
    FOLDS,
    GREY,
    SKY,
    Target,
    caption,
    check_suffix,
    plain,
    save,
    seconds_drawn,
    shortened,
)
from ringleader.collectives.draw.contents import messages, refuse_large
from ringleader.collectives.draw.rounds import (
    arrow,
    legend,
    message_handles,
    rank_axes,
    refuse_arrows,
    rounds_figure,
)
from ringleader.collectives.schedule import Schedule
from ringleader.collectives.simulate import Event, Simulation
from ringleader.collectives.topology.units import bytes_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

MODELS = {"rounds": "round by round", "loggp": "LogGP"}


class _Bar(NamedTuple):
    """How a kind of event looks: ``height`` in distances between ranks."""

    label: str
    face: str
    edge: str
    hatch: str
    height: float


# Folds are what a rank does, so they stand out; a wait is an empty box. Handling a message is a bar of its own
# only where the model has a CPU that does it.
LOOKS = {
    "wait": _Bar("waits", "white", GREY, "////", 0.2),
    "reduce": _Bar("folds", FOLDS, FOLDS, "", 0.36),
    "send": _Bar("CPU sends", BLACK, BLACK, "", 0.2),
    "recv": _Bar("CPU receives", SKY, SKY, "", 0.2),
}


def space_time(what: Schedule | Simulation, path: Target = None) -> Figure:
    """A line per rank, and an arrow for every message, blue if it is copied and dashed if it is folded.

    Of a Schedule: rounds along the line. Of a Simulation that has recorded its events (record=True): seconds.
    There an arrow leads from the start of the send to the end of the receive, and bars show where a rank folds,
    waits and (LogGP) handles messages. ValueError for what is too large to see.
    """
    check_suffix("space_time", path)
    figure = rounds_figure(what) if isinstance(what, Schedule) else _seconds_figure(what)
    return save(figure, path)


def _seconds_figure(simulation: Simulation) -> Figure:
    schedule = simulation.schedule
    refuse_large("space_time", schedule)
    if not simulation.events and len(schedule):
        raise ValueError("space_time: the simulation has no events; simulate with record=True")
    flights = _flights(simulation.events)
    refuse_arrows(len(flights))
    where = f"{bytes_text(simulation.nbytes)} on {shortened(simulation.topology.name)}"
    how = f"{MODELS[simulation.model]}: {seconds_drawn(simulation.total)} in all"
    axes = rank_axes(schedule.n, len(schedule), caption(schedule), plain(f"{where}, {how}"))
    _time_axis(axes, simulation)
    folding = _folding(schedule)
    heaviest = max((sent.nbytes for sent, _ in flights), default=0.0) or 1.0
    for sent, received in flights:
        ends = (sent.start, float(sent.rank)), (received.end, float(received.rank))
        folds = (sent.round, sent.rank, sent.peer) in folding
        arrow(axes, *ends, folds=folds, weight=sent.nbytes / heaviest)
    kinds = {(False, (sent.round, sent.rank, sent.peer) in folding) for sent, _ in flights}
    uneven = "more bytes" if len({sent.nbytes for sent, _ in flights}) > 1 else ""
    legend(axes, [*message_handles(kinds, uneven), *_bars(axes, simulation)])
    return axes.figure  # type: ignore[return-value]


def _folding(schedule: Schedule) -> set[tuple[int, int, int]]:
    """(round, source, destination) of the messages that are folded."""
    return {
        (number, m.src, m.dst)
        for number, groups in enumerate(schedule.expand())
        for m in messages(groups)
        if m.folds
    }


def _flights(events: list[Event]) -> list[tuple[Event, Event]]:
    """Each send with its receive: the k-th of one size between two ranks are the two ends of one message."""
    flying: dict[tuple[int, int, float], deque[Event]] = defaultdict(deque)
    for e in events:
        if e.kind == "send":
            flying[e.rank, e.peer, e.nbytes].append(e)
    return [(flying[e.peer, e.rank, e.nbytes].popleft(), e) for e in events if e.kind == "recv"]


def _time_axis(axes: Axes, simulation: Simulation) -> None:
    from matplotlib.ticker import EngFormatter, MaxNLocator

    axes.set_xlim(0, simulation.total or 1.0)
    axes.xaxis.set_major_locator(MaxNLocator(max(3, min(9, int(axes.bbox.width / 90)))))
    axes.xaxis.set_major_formatter(EngFormatter("s"))
    axes.set_xlabel("time")
    if simulation.model == "rounds":
        ends = [0.0, *simulation.per_round().cumsum().tolist()]
        axes.vlines(
            ends, -0.6, simulation.schedule.n - 0.4, color=FAINT, linewidth=0.6, zorder=0, gid="rounds"
        )


def _bars(axes: Axes, simulation: Simulation) -> list[Patch]:
    """What ranks do on their own, on their lines; returns what the legend says of it."""
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Patch, Rectangle

    kinds = LOOKS if simulation.model == "loggp" else ("wait", "reduce")
    handles = []
    for kind in kinds:
        look = LOOKS[kind]
        boxes = [
            Rectangle((e.start, e.rank - look.height / 2), e.end - e.start, look.height)
            for e in simulation.events
            if e.kind == kind
        ]
        if boxes:
            how: dict[str, Any] = {"facecolor": look.face, "edgecolor": look.edge, "hatch": look.hatch}
            axes.add_collection(
                PatchCollection(boxes, **how, linewidth=0.5, zorder=2, gid=kind), autolim=False
            )
            handles.append(Patch(**how, linewidth=0.5, label=look.label))
    return handles
