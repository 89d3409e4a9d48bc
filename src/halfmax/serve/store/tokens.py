"""Tokens: who may ask, known by the hash of a secret that is shown once."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from dataclasses import dataclass

from sqlalchemy import insert, select, update

from halfmax.serve.store.database import Database
from halfmax.serve.store.tables import tokens

_TOKEN = re.compile(r"hm_([0-9a-f]{16})_([0-9a-f]{64})")


@dataclass(frozen=True)
class Caller:
    """Who asks: a tenant, and whether it may change predictors."""

    tenant: str
    admin: bool


class Tokens:
    """Bearer tokens.

    Parameters
    ----------
    database
        Where their hashes are.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def create(self, tenant: str, *, admin: bool = False, days: float | None = None) -> str:
        """Make a token and return it; only its hash is kept."""
        token_id, secret, now = secrets.token_hex(8), secrets.token_hex(32), time.time()
        row = {"token_id": token_id, "tenant": tenant, "secret_sha256": _hash(secret), "admin": admin}
        row |= {"created": now, "expires": None if days is None else now + days * 86400, "revoked": False}
        with self.database.write() as connection:
            connection.execute(insert(tokens).values(**row))
        return f"hm_{token_id}_{secret}"

    def revoke(self, token_id: str) -> bool:
        """Let a token count no longer; False if there is none such."""
        with self.database.write() as connection:
            change = update(tokens).where(tokens.c.token_id == token_id).values(revoked=True)
            return bool(connection.execute(change).rowcount)

    def check(self, token: str) -> Caller | None:
        """Return who holds a token, or None; the time it takes does not tell how much of the secret is right."""
        found = _TOKEN.fullmatch(token)
        token_id, secret = (found[1], found[2]) if found else ("", "")
        with self.database.read() as connection:
            row = connection.execute(select(tokens).where(tokens.c.token_id == token_id)).one_or_none()
        expected = row.secret_sha256 if row is not None else _hash("")
        same = hmac.compare_digest(_hash(secret), expected)
        if row is None or not same or row.revoked or (row.expires is not None and row.expires < time.time()):
            return None
        return Caller(row.tenant, bool(row.admin))


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
