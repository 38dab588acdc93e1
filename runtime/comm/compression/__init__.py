"""Gradients in fewer bytes: lossy codes for one tensor, and the feedback that sends later what they lost."""

from ringleader.runtime.comm.compression.base import CompressionError, Compressor
from ringleader.runtime.comm.compression.feedback import ErrorFeedback, Feedbacks
from ringleader.runtime.comm.compression.schemes import KNOWN, check_spec, make_compressor, worthwhile

__all__ = [
    "KNOWN",
    "CompressionError",
    "Compressor",
    "ErrorFeedback",
    "Feedbacks",
    "check_spec",
    "make_compressor",
    "worthwhile",
]
