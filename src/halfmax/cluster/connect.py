"""connect: the cluster that a word names, as it is given after --on."""

from __future__ import annotations

from halfmax.cluster.base import Cluster, Here
from halfmax.cluster.cores import Cores
from halfmax.cluster.dask import BATCH_SYSTEMS, Dask
from halfmax.cluster.ranks import Ranks, is_helper, serve_rank
from halfmax.errors import DataError, did_you_mean

__all__ = ["PLACES", "connect", "is_helper", "serve_rank"]

#: Words that `connect` knows, beside the address of a Dask scheduler.
PLACES = ("here", "cores", "dask", "torchrun", *BATCH_SYSTEMS)


def connect(on: str = "here", n_workers: int | None = None) -> Cluster:
    """Return the cluster of this name; use it in a ``with`` block, which ends its workers.

    Parameters
    ----------
    on
        ``here`` (this process), ``cores`` (processes of this machine), ``dask`` (Dask on this machine), ``tls://…`` or
        ``tcp://…`` (a Dask scheduler), a batch system such as ``slurm``, or ``torchrun`` (the ranks that it started).
    n_workers
        How many workers to start; as many as cores by default. Running clusters have their own number.

    Raises
    ------
    DataError
        If the name is unknown.
    WorkerError
        If a library that it needs is not installed.
    """
    if n_workers is not None and n_workers < 1:
        raise DataError(f"the number of workers is {n_workers}; it is at least 1.")
    if on == "here":
        return Here()
    if on == "cores":
        return Cores(n_workers)
    if on == "torchrun":
        return Ranks()
    if on == "dask" or on in BATCH_SYSTEMS or on.startswith(("tls://", "tcp://")):
        return Dask(on, n_workers)
    raise DataError(
        f"there is no place {on!r} to run on.{did_you_mean(on, PLACES)} It is one of {', '.join(PLACES)}, or the "
        "address of a Dask scheduler such as tls://host:8786."
    )
