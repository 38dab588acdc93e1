"""``from ringleader.mpi4py import MPI`` in place of ``from mpi4py import MPI``: the same program on our schedules.

``MPI`` has all names of ``mpi4py.MPI``. Its communicators and requests are subclasses of mpi4py's whose
collectives run on our programs; everything else is mpi4py's own. See docs/mpi4py.md.
"""

import os

# Before MPI starts: Open MPI would otherwise complain, on every rank, when windows are used and there is no UCX.
os.environ.setdefault("OMPI_MCA_osc_ucx_verbose", "-1")
