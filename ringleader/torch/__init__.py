"""PyTorch's ``torch.distributed`` over Ringleader's collectives, on CPU tensors.

Importing this module starts MPI (``ringleader.init``), registers the backend ``ringleader``, and sets what
``init_process_group`` reads from the environment, so that this is all a script started by mpirun needs::

    import ringleader.torch
    torch.distributed.init_process_group("ringleader")

The import is collective: every rank must do it. docs/torch.md says what works and what does not.
"""

try:
    import torch as _torch  # noqa: F401  (PyTorch, not this module: imports are absolute)
except ImportError as error:
    raise ImportError("ringleader.torch needs PyTorch: pip install 'ringleader[torch]'") from error

from ringleader.torch.group import ProcessGroup
from ringleader.torch.start import register

register()

__all__ = ["ProcessGroup"]
