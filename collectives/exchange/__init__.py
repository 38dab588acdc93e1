"""Schedules and simulations in the formats of other tools: MSCCL-IR and Chrome's trace events."""

from ringleader.collectives.exchange.msccl_export import export_msccl
from ringleader.collectives.exchange.msccl_import import import_msccl
from ringleader.collectives.exchange.trace import export_trace

__all__ = ["export_msccl", "export_trace", "import_msccl"]
