"""Queue: batch jobs in the database, given out under leases, tried again, and finished once."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, and_, delete, func, insert, or_, select, update

from halfmax.serve.store.database import Database
from halfmax.serve.store.tables import jobs, results

#: How long a worker holds a job before it must say again that it lives [s].
LEASE = 30.0
#: A job that has lost so many workers is given to no other.
MOST_ATTEMPTS = 3
OPEN, ENDED = ("queued", "running"), ("done", "failed", "cancelled")
_POISON = "poison: the job ended {n} workers, so it is not tried again. Send fewer samples at once."


@dataclass(frozen=True)
class Job:
    """One batch job.

    Parameters
    ----------
    job_id, tenant
        Its name, and whose it is.
    state
        ``queued``, ``running``, ``done``, ``failed`` or ``cancelled``.
    request
        What is to be done, as JSON text.
    input
        sha256 of the stored file that goes with it, or None.
    done, total
        Samples answered, of how many.
    attempts
        How often it was given to a worker.
    error
        Why it failed.
    created
        Seconds since 1970.
    """

    job_id: str
    tenant: str
    state: str
    request: str
    input: str | None
    done: int
    total: int
    attempts: int
    error: str | None
    created: float


class Queue:
    """Jobs of all tenants, first come, first served.

    Parameters
    ----------
    database
        Where they are.
    lease
        How long a worker holds a job before it must say again that it lives [s].
    """

    def __init__(self, database: Database, *, lease: float = LEASE) -> None:
        self.database, self.lease = database, lease

    def submit(self, tenant: str, request: str, *, input: str | None = None) -> str:
        """Keep a job and return its id; it is on disk by then."""
        job_id, now = secrets.token_hex(16), time.time()
        row: dict[str, object] = {
            "job_id": job_id,
            "tenant": tenant,
            "state": "queued",
            "request": request,
            "input": input,
        }
        row |= {"done": 0, "total": 0, "attempts": 0, "created": now, "changed": now}
        with self.database.write() as connection:
            connection.execute(insert(jobs).values(**row))
        return job_id

    def get(self, job_id: str, tenant: str) -> Job | None:
        """Return a tenant's job, or None."""
        asked = select(jobs).where(jobs.c.job_id == job_id, jobs.c.tenant == tenant)
        with self.database.read() as connection:
            row = connection.execute(asked).one_or_none()
        return None if row is None else _job(row)

    def list(self, tenant: str, *, limit: int = 100) -> list[Job]:
        """Return a tenant's newest jobs."""
        asked = select(jobs).where(jobs.c.tenant == tenant).order_by(jobs.c.number.desc()).limit(limit)
        with self.database.read() as connection:
            return [_job(row) for row in connection.execute(asked)]

    def counts(self) -> dict[str, int]:
        """Return how many jobs are in each state."""
        asked = select(jobs.c.state, func.count()).group_by(jobs.c.state)
        with self.database.read() as connection:
            return {str(state): int(n) for state, n in connection.execute(asked)}

    def claim(self, worker: str) -> Job | None:
        """Return the first job that waits, or whose worker has gone silent, now held by `worker`; or None."""
        with self.database.write() as connection:
            epoch, now = self.database.clock(connection)
            ended = _lease_ended(epoch, now)
            connection.execute(
                update(jobs)
                .where(jobs.c.state == "running", ended, jobs.c.attempts >= MOST_ATTEMPTS)
                .values(state="failed", error=_POISON.format(n=MOST_ATTEMPTS), worker=None, changed=time.time())
            )
            waiting = or_(jobs.c.state == "queued", and_(jobs.c.state == "running", ended))
            asked = select(jobs.c.number).where(waiting).order_by(jobs.c.number).limit(1)
            number = connection.execute(asked.with_for_update(skip_locked=True)).scalar_one_or_none()
            if number is None:
                return None
            held = {"worker": worker, "lease_epoch": epoch, "lease_until": now + self.lease}
            taken = (
                update(jobs)
                .where(jobs.c.number == number)
                .values(state="running", attempts=jobs.c.attempts + 1, done=0, changed=time.time(), **held)
                .returning(jobs)
            )
            return _job(connection.execute(taken).one())

    def renew(self, job: Job, worker: str, *, done: int, total: int) -> bool:
        """Say that the worker lives and how far it is; False if the job is no longer its own."""
        with self.database.write() as connection:
            epoch, now = self.database.clock(connection)
            told = {"done": done, "total": total, "lease_epoch": epoch, "lease_until": now + self.lease}
            return self._change(connection, job, worker, told)

    def finish(self, job: Job, worker: str, sha256: str) -> bool:
        """Write the result, once; False if the job is no longer the worker's own."""
        with self.database.write() as connection:
            if not self._change(connection, job, worker, {"state": "done", "done": jobs.c.total, "worker": None}):
                return False
            connection.execute(insert(results).values(job_id=job.job_id, sha256=sha256, written=time.time()))
            return True

    def fail(self, job: Job, worker: str, error: str) -> bool:
        """Say why a job cannot be done; False if it is no longer the worker's own."""
        with self.database.write() as connection:
            return self._change(connection, job, worker, {"state": "failed", "error": error, "worker": None})

    def give_back(self, job: Job, worker: str) -> bool:
        """Let another worker have it, as if this one had never begun."""
        back = {"state": "queued", "worker": None, "attempts": jobs.c.attempts - 1, "done": 0}
        with self.database.write() as connection:
            return self._change(connection, job, worker, back)

    def cancel(self, job_id: str, tenant: str) -> bool:
        """Stop a job that has not ended; False if it has."""
        with self.database.write() as connection:
            done = connection.execute(
                update(jobs)
                .where(jobs.c.job_id == job_id, jobs.c.tenant == tenant, jobs.c.state.in_(OPEN))
                .values(state="cancelled", worker=None, changed=time.time())
            )
            return bool(done.rowcount)

    def result(self, job_id: str) -> str | None:
        """Return the sha256 of a job's result, or None."""
        with self.database.read() as connection:
            found = connection.execute(select(results.c.sha256).where(results.c.job_id == job_id)).scalar_one_or_none()
        return None if found is None else str(found)

    def delete(self, job_id: str, tenant: str) -> bool:
        """Forget a job and its result."""
        with self.database.write() as connection:
            mine = select(jobs.c.job_id).where(jobs.c.job_id == job_id, jobs.c.tenant == tenant)
            connection.execute(delete(results).where(results.c.job_id.in_(mine)))
            gone = delete(jobs).where(jobs.c.job_id == job_id, jobs.c.tenant == tenant)
            return bool(connection.execute(gone).rowcount)

    def forget_older(self, seconds: float) -> int:
        """Forget jobs that ended longer ago than so many seconds; return how many."""
        with self.database.write() as connection:
            old = and_(jobs.c.state.in_(ENDED), jobs.c.changed < time.time() - seconds)
            connection.execute(delete(results).where(results.c.job_id.in_(select(jobs.c.job_id).where(old))))
            return int(connection.execute(delete(jobs).where(old)).rowcount)

    def stored(self) -> set[str]:
        """Return the sha256 of every file that a job or a result names."""
        with self.database.read() as connection:
            named = connection.execute(select(jobs.c.input).where(jobs.c.input.is_not(None))).scalars().all()
            return {*map(str, named), *map(str, connection.execute(select(results.c.sha256)).scalars())}

    def _change(self, connection: Connection, job: Job, worker: str, values: dict[str, Any]) -> bool:
        """Change a job that this very attempt of the worker still holds."""
        held = and_(jobs.c.state == "running", jobs.c.worker == worker, jobs.c.attempts == job.attempts)
        change = update(jobs).where(jobs.c.job_id == job.job_id, held).values(changed=time.time(), **values)
        return bool(connection.execute(change).rowcount)


def _lease_ended(epoch: str, now: float) -> Any:
    return or_(jobs.c.lease_epoch != epoch, jobs.c.lease_until < now)


def _job(row: Row[Any]) -> Job:
    return Job(**{name: getattr(row, name) for name in Job.__dataclass_fields__})
