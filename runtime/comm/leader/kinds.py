"""What letters ask and answer."""

from __future__ import annotations

from enum import IntEnum


class Kind(IntEnum):
    """From a worker:"""

    HELLO = 1  # payload: which tensors there are, as JSON; every worker says it
    INIT = 2  # payload: the first values of a part
    PUSH = 3  # payload: a gradient of iteration ``clock``, maybe compressed
    PULL = 4  # the values that a worker in iteration ``clock`` may see
    CLOCK = 5  # iterations before ``clock`` are over: no more pushes for them
    MEET = 6  # payload: numbers to add up over the workers, in meeting ``clock``
    STATE = 7  # all that goes into a checkpoint of a part
    LOAD = 8  # payload: such a state
    WHY = 9  # what do you wait for?
    CLOSE = 10
    PUSH_PULL = 11  # a PUSH, and the PULL that sees it
    # From a server, about the letter with the same token:
    DONE = 20  # payload, if any: what was asked for
    ERROR = 21  # payload: text
    TAKEN = 22  # the gradient of a PUSH_PULL that is not free is here; the values follow


ANSWERS = (Kind.DONE, Kind.ERROR, Kind.TAKEN)
