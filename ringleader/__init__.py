"""Ringleader: collectives written once, as data; proved, priced and run; and models trained on them."""

from ringleader._rooms import extend as _extend

_extend(__file__)

from ringleader.collectives import (  # noqa: E402  (the rooms must be findable first)
    Schedule,
    VerificationError,
    algorithm,
    algorithms,
    build,
    copy,
    count,
    fold,
    lower,
    together,
    verify,
    verify_programs,
)
from ringleader.runtime.comm import (  # noqa: E402
    ANY,
    ArgumentError,
    CollectiveError,
    CollectiveTimeout,
    Communicator,
    Op,
    RankLost,
    init,
    spawn,
)

__version__ = "0.1.0"
__all__ = [
    "ANY",
    "ArgumentError",
    "CollectiveError",
    "CollectiveTimeout",
    "Communicator",
    "Op",
    "RankLost",
    "Schedule",
    "VerificationError",
    "algorithm",
    "algorithms",
    "build",
    "copy",
    "count",
    "fold",
    "init",
    "lower",
    "spawn",
    "together",
    "verify",
    "verify_programs",
]
