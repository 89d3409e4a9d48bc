"""Errors that name the file in which they arose."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from halfmax.errors import DataError


@contextmanager
def naming(path: Path | str) -> Iterator[None]:
    """Put the path in front of the message of every DataError that leaves the block without it."""
    try:
        yield
    except DataError as error:
        if str(error).startswith(str(path)):
            raise
        raise DataError(f"{path}: {error}") from None
