"""Store: the database and the files of a service, opened together."""

from __future__ import annotations

import os

from halfmax.errors import DataError
from halfmax.serve.settings import ServeSettings
from halfmax.serve.store.audit import Audit
from halfmax.serve.store.database import Database
from halfmax.serve.store.files import Files
from halfmax.serve.store.queue import Queue
from halfmax.serve.store.registry import PredictorStore
from halfmax.serve.store.tokens import Tokens

_DAY = 86400.0


class Store:
    """What must outlive the processes of a service.

    Parameters
    ----------
    settings
        Where it is.

    Raises
    ------
    DataError
        If the folder or the database cannot be written.
    """

    def __init__(self, settings: ServeSettings) -> None:
        home = settings.home
        try:
            home.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise DataError(f"the store {home} cannot be made ({error.strerror or error}).") from None
        if not os.access(home, os.W_OK | os.X_OK):
            raise DataError(f"the store {home} cannot be written; make it writable, or set another with --home.")
        self.settings = settings
        self.database = Database(settings.url)
        self.queue = Queue(self.database)
        self.files = Files(home / "files")
        self.predictors = PredictorStore(self.database, home / "predictors")
        self.tokens, self.audit = Tokens(self.database), Audit(self.database)

    def tidy(self) -> int:
        """Delete jobs beyond retention, and the files that nothing names any more; return how many jobs."""
        n = self.queue.forget_older(self.settings.retention_days * _DAY)
        self.files.delete_all_but(self.queue.stored())
        return n

    def close(self) -> None:
        """Close every connection."""
        self.database.close()
