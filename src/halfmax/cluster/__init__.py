"""Where work runs: this process, this machine's cores, a Dask cluster, or the processes that torchrun started."""

from halfmax.cluster.base import JOBS, Cluster, Here, Job
from halfmax.cluster.connect import connect, is_helper, serve_rank

__all__ = ["JOBS", "Cluster", "Here", "Job", "connect", "is_helper", "serve_rank"]
