"""PyTorch's ``torch.distributed`` over Ringleader's collectives, on CPU tensors.

Importing this module starts MPI (``ringleader.init``), registers the backend ``ringleader``, and sets what
``init_process_group`` reads from the environment, so that this is all a script started by mpirun needs::

    import ringleader.torch
    torch.distributed.init_process_group("ringleader")

The import is collective: every rank must do it. docs/torch.md says what works and what does not.
"""

from ringleader.torch.group import ProcessGroup
from ringleader.torch.start import register

register()

__all__ = ["ProcessGroup"]
