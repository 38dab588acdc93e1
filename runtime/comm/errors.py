"""What a collective call raises: on every rank the same, naming rank, operation and remedy."""


class CollectiveError(RuntimeError):
    """A collective call failed, on all ranks of its communicator."""


class ArgumentError(CollectiveError, ValueError):
    """Ranks disagree on what to do, or an argument is not usable."""


class CollectiveTimeout(CollectiveError, TimeoutError):
    """Some rank did not call in time."""


class RankLost(CollectiveError):
    """A rank has finished or failed while others wait for it."""


def named(ranks: list[int]) -> str:
    """For messages."""
    return f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {', '.join(map(str, ranks))}"
