"""Ringleader: collectives written once, as data; proved, priced and run; and models trained on them."""

from ringleader._rooms import extend as _extend

_extend(__file__)

from ringleader.collectives import (  # noqa: E402  (the rooms must be findable first)
    LogGP,
    Schedule,
    VerificationError,
    algorithm,
    algorithms,
    bounds,
    build,
    copy,
    cost,
    count,
    draw,
    export_msccl,
    export_trace,
    fold,
    import_msccl,
    lower,
    simulate,
    together,
    topology,
    tune,
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
from ringleader.runtime.comm.leader import ParameterServer  # noqa: E402

__version__ = "0.1.0"
__all__ = [
    "ANY",
    "ArgumentError",
    "CollectiveError",
    "CollectiveTimeout",
    "Communicator",
    "LogGP",
    "Op",
    "ParameterServer",
    "RankLost",
    "Schedule",
    "VerificationError",
    "algorithm",
    "algorithms",
    "bounds",
    "build",
    "copy",
    "cost",
    "count",
    "draw",
    "export_msccl",
    "export_trace",
    "fold",
    "import_msccl",
    "init",
    "lower",
    "simulate",
    "spawn",
    "together",
    "topology",
    "tune",
    "verify",
    "verify_programs",
]
