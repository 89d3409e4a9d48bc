"""ServeSettings: the limits of the service and where it keeps its state."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from halfmax.data.cache import cache_dir

#: Environment variable with the database's URL, which may hold a password.
DATABASE_URL = "HALFMAX_DATABASE_URL"
_MIB = 1 << 20


def default_home() -> Path:
    """Return the folder of the service's state: ``serve`` in the cache folder."""
    return cache_dir() / "serve"


@dataclass(frozen=True)
class ServeSettings:
    """How the service is run.

    Parameters
    ----------
    home
        Folder of its database, stored files and registered predictors.
    database_url
        SQLAlchemy URL; SQLite in `home` if None. ``postgresql+psycopg://…`` for PostgreSQL.
    max_body, max_upload, max_unpacked
        Largest JSON body, uploaded file, and either of them unpacked [bytes].
    body_seconds
        How long a client may take to send its body [s].
    request_seconds
        How long an answer may take before the client is told to come back [s].
    max_in_flight
        Requests in work at once; more are answered 503 with Retry-After.
    max_samples
        Samples in one JSON request; more belong into a job.
    compute_threads, blas_threads
        Predictions computed at once, and threads of linear algebra in each.
    require_token
        Whether every request of the API must carry a bearer token.
    retention_days
        After how many days jobs and their files are deleted.
    job_workers
        Processes that work off batch jobs.
    drain_seconds
        How long requests in work may go on after SIGTERM [s].
    """

    home: Path = field(default_factory=default_home)
    database_url: str | None = None
    max_body: int = 20 * _MIB
    max_upload: int = 256 * _MIB
    max_unpacked: int = 512 * _MIB
    body_seconds: float = 30.0
    request_seconds: float = 60.0
    max_in_flight: int = 64
    max_samples: int = 2000
    compute_threads: int = 2
    blas_threads: int = 1
    require_token: bool = False
    retention_days: float = 30.0
    job_workers: int = 1
    drain_seconds: float = 10.0

    @property
    def url(self) -> str:
        """The database's URL."""
        return self.database_url or f"sqlite:///{self.home / 'halfmax.sqlite'}"
