"""The tables of the database; migrations in ``migrations/versions`` make them."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()
_NUMBER = BigInteger().with_variant(Integer, "sqlite")

#: Batch jobs. Times are seconds since 1970; a lease is counted on the clock of `halfmax.serve.store.clock`.
jobs = Table(
    "jobs",
    metadata,
    Column("number", _NUMBER, primary_key=True, autoincrement=True),
    Column("job_id", String(40), nullable=False, unique=True),
    Column("tenant", String(200), nullable=False),
    Column("state", String(20), nullable=False),
    Column("request", Text, nullable=False),
    Column("input", String(64)),
    Column("done", Integer, nullable=False, default=0),
    Column("total", Integer, nullable=False, default=0),
    Column("attempts", Integer, nullable=False, default=0),
    Column("worker", String(80)),
    Column("lease_epoch", String(80)),
    Column("lease_until", Float),
    Column("error", Text),
    Column("created", Float, nullable=False),
    Column("changed", Float, nullable=False),
    Index("jobs_waiting", "state", "number"),
    Index("jobs_of_tenant", "tenant", "number"),
)

#: One row a finished job: the key makes a second writing impossible.
results = Table(
    "results",
    metadata,
    Column("job_id", String(40), ForeignKey("jobs.job_id", ondelete="CASCADE"), primary_key=True),
    Column("sha256", String(64), nullable=False),
    Column("written", Float, nullable=False),
)

predictors = Table(
    "predictors",
    metadata,
    Column("name", String(200), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("golden", Text, nullable=False),
    Column("added", Float, nullable=False),
    UniqueConstraint("name", "digest", name="one_version_a_content"),
)

aliases = Table(
    "aliases",
    metadata,
    Column("alias", String(200), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("version", Integer, nullable=False),
    Column("changed", Float, nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("token_id", String(16), primary_key=True),
    Column("tenant", String(200), nullable=False),
    Column("secret_sha256", String(64), nullable=False),
    Column("admin", Boolean, nullable=False, default=False),
    Column("created", Float, nullable=False),
    Column("expires", Float),
    Column("revoked", Boolean, nullable=False, default=False),
)

#: Who did what, each row holding the hash of the one before it.
audit = Table(
    "audit",
    metadata,
    Column("number", _NUMBER, primary_key=True, autoincrement=False),
    Column("at", Float, nullable=False),
    Column("tenant", String(200), nullable=False),
    Column("action", String(80), nullable=False),
    Column("subject", String(200), nullable=False),
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
)
