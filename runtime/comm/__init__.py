"""Ranks and what carries bytes between them: Communicator, transports."""

from ringleader.runtime.comm.caller import Handle
from ringleader.runtime.comm.communicator import Communicator
from ringleader.runtime.comm.errors import ArgumentError, CollectiveError, CollectiveTimeout, RankLost
from ringleader.runtime.comm.ops import OPS, Op
from ringleader.runtime.comm.start import adopt, init, spawn
from ringleader.runtime.comm.transport import ANY

__all__ = [
    "ANY", "OPS", "ArgumentError", "CollectiveError", "CollectiveTimeout", "Communicator", "Handle", "Op",
    "RankLost", "adopt", "init", "spawn",
]  # fmt: skip
