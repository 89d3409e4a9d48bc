"""The database: SQLite with full durability by default, PostgreSQL by URL, brought to the newest schema on opening."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import SQLAlchemyError

from halfmax.errors import DataError

_MIGRATIONS = Path(__file__).parent / "migrations"
#: How long a statement waits for another process's writing [s].
_WAIT = 20.0


class Database:
    """Connections to one database.

    Parameters
    ----------
    url
        SQLAlchemy URL.
    wait
        How long a statement waits for another process's writing [s].

    Raises
    ------
    DataError
        If it cannot be opened or written.
    """

    def __init__(self, url: str, *, wait: float = _WAIT) -> None:
        self.url = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        try:
            if self.is_sqlite and self.url.database:
                Path(self.url.database).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.engine = _engine(url, self.is_sqlite, wait)
            self._migrate()
        except (SQLAlchemyError, OSError) as error:
            where = self.url.database if self.is_sqlite else self.url.render_as_string(hide_password=True)
            reason = str(getattr(error, "orig", error)).strip().splitlines()[0]
            raise DataError(
                f"the database {where} cannot be used: {reason}; is it there, and may it be written?"
            ) from None

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Yield a connection in a transaction that no other writer crosses; it is committed, or not at all."""
        with self.engine.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Yield a connection for looking."""
        with self.engine.connect().execution_options(halfmax_reads=True) as connection:
            yield connection

    def clock(self, connection: Connection) -> tuple[str, float]:
        """Return what leases are counted on: an epoch, and seconds in it.

        PostgreSQL's own clock; for SQLite, whose users share a machine, the time since it started, which nobody sets.
        A lease of another epoch has ended.
        """
        if not self.is_sqlite:
            return "database", float(
                connection.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one()
            )
        return _boot_id(), time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    def _migrate(self) -> None:
        from alembic.command import upgrade
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
        with self.write() as connection:
            if not self.is_sqlite:  # two processes that start at once do not both migrate
                connection.execute(text("SELECT pg_advisory_xact_lock(727272)"))
            config.attributes["connection"] = connection
            upgrade(config, "head")


def _engine(url: str, is_sqlite: bool, wait: float) -> Engine:
    if not is_sqlite:
        return create_engine(url, pool_size=4, max_overflow=8, pool_pre_ping=True)
    engine = create_engine(url, connect_args={"timeout": wait, "check_same_thread": False}, pool_size=4, max_overflow=8)

    @event.listens_for(engine, "connect")
    def _connected(connection, _record):  # type: ignore[no-untyped-def]
        connection.isolation_level = None  # SQLAlchemy's own BEGIN below is the only one
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        reads = connection.get_execution_options().get("halfmax_reads", False)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


def _boot_id() -> str:
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text(encoding="ascii").strip() if path.exists() else "boot"
