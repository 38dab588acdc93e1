"""What a lossy code has lost is sent later."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from ringleader.runtime.comm.compression.base import Array, Compressor, Payload

PREFIX = "compressor."


class ErrorFeedback:
    """Encodes x + e, and keeps as e what the payload lacks of it (Seide et al. 2014; Karimireddy et al. 2019; Stich and
    Karimireddy, "The error-feedback framework", JMLR 2020).

    Over any number of steps, what was sent plus ``residual`` is the sum of what was given, but for rounding. One for each
    tensor and each sender. ``compressor`` may be shared with nobody that encodes.
    """

    def __init__(self, compressor: Compressor) -> None:
        self.compressor = compressor
        self.residual: Array = np.zeros(compressor.shape, compressor.dtype)

    def encode(self, x: Array) -> Payload:
        """The payload of ``x`` and what was lost before. CompressionError as the compressor's; nothing has changed then."""
        corrected, sent = self.correct(x), np.empty_like(self.residual)
        payload = self.compressor.encode(corrected)
        self.compressor.decode(payload, sent)
        self.keep(corrected, sent)
        return payload

    def correct(self, x: Array) -> Array:
        """x + e, a new array: what should be sent. CompressionError: it does not fit, or is not finite."""
        self.compressor.check(x)
        with np.errstate(over="ignore"):
            corrected: Array = x + self.residual
        self.compressor.check(corrected)
        return corrected

    def keep(self, corrected: Array, sent: Array) -> None:
        """Of what should be sent, this was."""
        np.subtract(corrected, sent, out=self.residual)

    def state_dict(self) -> dict[str, Array]:
        """For a checkpoint: each rank has its own."""
        inner = {PREFIX + name: array for name, array in self.compressor.state_dict().items()}
        return {"residual": self.residual.copy(), **inner}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """CompressionError: it belongs to another code, shape or dtype."""
        own = {"residual": self.residual}
        self.compressor.require({k: v for k, v in state.items() if not k.startswith(PREFIX)}, own)
        self.compressor.load_state_dict(
            {k.removeprefix(PREFIX): v for k, v in state.items() if k.startswith(PREFIX)}
        )
        self.residual[...] = state["residual"]


class Feedbacks(dict[str, ErrorFeedback]):
    """All those of one rank, by name, of the scheme ``spec``."""

    def __init__(self, spec: str, feedbacks: Iterable[tuple[str, ErrorFeedback]]) -> None:
        super().__init__(feedbacks)
        self.spec = spec

    def state_dict(self) -> dict[str, Array]:
        """For a checkpoint of this rank: what has yet to be sent, and where the codes stand."""
        return {
            f"{name}.{key}": array
            for name, feedback in self.items()
            for key, array in feedback.state_dict().items()
        }

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Go on from there, with the same tensors, scheme and number of ranks. ValueError: they are others."""
        keys = {name: list(feedback.state_dict()) for name, feedback in self.items()}
        odd = state.keys() ^ {f"{name}.{key}" for name, own in keys.items() for key in own}
        if odd:
            raise ValueError(
                f"compression {self.spec!r}: the state is of another model or number of ranks: {min(odd)!r}"
            )
        for name, own in keys.items():
            self[name].load_state_dict({key: state[f"{name}.{key}"] for key in own})
