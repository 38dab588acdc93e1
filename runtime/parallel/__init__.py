"""Ways to split training over ranks: data parallelism."""

from ringleader.runtime.parallel.compressed import Wire
from ringleader.runtime.parallel.data_parallel import DataParallel, broadcast_parameters

__all__ = ["DataParallel", "Wire", "broadcast_parameters"]
