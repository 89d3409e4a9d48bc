"""The package's own errors, each also a built-in one, so that plain Python code can catch them."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class HalfmaxError(Exception):
    """Base of every error that halfmax raises on purpose."""


class DataError(HalfmaxError, ValueError):
    """A table, file or value that cannot be used as it is."""


class LeakageError(HalfmaxError, ValueError):
    """A split, or a fitted step, that would let test rows be seen in training."""


class UnknownNameError(HalfmaxError, KeyError):
    """A name that nobody registered, or an id that a table does not hold."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class NotFittedError(HalfmaxError, ValueError):
    """A step or model that was asked to work before `fit`."""


class ModelFileError(HalfmaxError, ValueError):
    """A saved predictor or dataset that is damaged, foreign or of another version."""


class DownloadError(HalfmaxError, OSError):
    """A source that could not be fetched or did not match its checksum."""


class WorkerError(HalfmaxError, RuntimeError):
    """A worker process that could not do its task, or a message between processes that cannot be read."""


class ContractError(HalfmaxError, AssertionError):
    """A model, step or reader that does not keep what `halfmax.testing` asks of every one."""


def examples(items: Iterable[object], n: int = 3) -> str:
    """Return the first `n` items as text, e.g. ``'A', 'B', 'C', …``."""
    found = [repr(str(item)) for item, _ in zip(items, range(n + 1), strict=False)]
    return ", ".join(found[:n]) + (", …" if len(found) > n else "")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the closest known names, or an empty string."""
    by_lower = {k.lower(): k for k in known}
    close = get_close_matches(name.lower(), list(by_lower), n=3, cutoff=0.6)
    return f" Did you mean {' or '.join(repr(by_lower[c]) for c in close)}?" if close else ""
