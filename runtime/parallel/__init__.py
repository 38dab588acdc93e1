"""Ways to split training over ranks: data parallelism, over AllReduce or over a parameter server."""

from ringleader.runtime.parallel.data_parallel import DataParallel, broadcast_parameters
from ringleader.runtime.parallel.server_parallel import OptimizerRule, ServerParallel

__all__ = ["DataParallel", "OptimizerRule", "ServerParallel", "broadcast_parameters"]
