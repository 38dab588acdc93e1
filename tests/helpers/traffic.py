"""Who sends whom how much in a schedule."""

from ringleader.collectives import build, count


def log2(n):
    """Rounded up."""
    return (n - 1).bit_length()


def messages(schedule):
    """Per round, {(src, dst): slots in the message}, local copies left out."""
    for groups in schedule.expand():
        found = {}
        for g in groups:
            for src, dst in zip(g.src.tolist(), g.dst.tolist()):
                if src != dst:
                    found[src, dst] = found.get((src, dst), 0) + g.width
        yield found


def total(schedule):
    """{(src, dst): slots in all rounds together}."""
    found = {}
    for there in messages(schedule):
        for ends, slots in there.items():
            found[ends] = found.get(ends, 0) + slots
    return found


def rounds_of(collective, name, n, **parameters):
    return count(build(collective, name, n, **parameters)).rounds
