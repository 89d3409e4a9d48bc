"""Audit: who did what and when, each row holding the hash of the one before, so that none can be changed unseen."""

from __future__ import annotations

import hashlib
import json
import time

from sqlalchemy import insert, select, text

from halfmax.errors import DataError
from halfmax.serve.store.database import Database
from halfmax.serve.store.tables import audit

_FIRST = "0" * 64


class Audit:
    """A log to which rows are only added.

    Parameters
    ----------
    database
        Where it is.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def add(self, tenant: str, action: str, subject: str = "") -> str:
        """Note that a tenant did something to a subject (an id, never what was sent); return the row's hash."""
        with self.database.write() as connection:
            if not self.database.is_sqlite:
                connection.execute(text("SELECT pg_advisory_xact_lock(727273)"))
            newest = select(audit.c.number, audit.c.hash).order_by(audit.c.number.desc()).limit(1)
            last = connection.execute(newest).one_or_none()
            number, previous = (1, _FIRST) if last is None else (last.number + 1, last.hash)
            row = {"number": number, "at": time.time(), "tenant": tenant, "action": action, "subject": subject}
            row |= {"previous": previous}
            hashed = _hash(row)
            connection.execute(insert(audit).values(**row, hash=hashed))
        return hashed

    def verify(self) -> int:
        """Return the number of rows after checking each against its hash and the row before.

        Raises
        ------
        DataError
            If a row was changed, or one is missing between others.
        """
        previous, n = _FIRST, 0
        with self.database.read() as connection:
            for row in connection.execute(select(audit).order_by(audit.c.number)).mappings():
                n += 1
                content = {key: row[key] for key in ("number", "at", "tenant", "action", "subject", "previous")}
                if row["number"] != n or row["previous"] != previous or row["hash"] != _hash(content):
                    raise DataError(f"row {row['number']} of the audit log does not follow from the one before it.")
                previous = row["hash"]
        return n


def _hash(row: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest()
