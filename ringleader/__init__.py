"""Ringleader: collectives written once, as data; proved, priced and run; and models trained on them."""

from ringleader._rooms import extend as _extend

_extend(__file__)

__version__ = "0.1.0"
