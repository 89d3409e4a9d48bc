"""A file that is not whole yet: ``NAME.part``, and beside it a journal of which bytes of which version are there.

The journal never claims more than lies on the disk, so a process may be killed at any moment: the next one goes on
from the journal, and the bytes come out the same.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import IO

#: Bytes and seconds after which the journal is brought up to date.
JOURNAL_BYTES, JOURNAL_SECONDS = 2**23, 2.0


@dataclass
class Span:
    """A stretch of the file, from `start` to `end` (None = the end is not known).

    `at` is how far it was written, `safe` how far it is surely on the disk.
    """

    start: int
    end: int | None
    at: int
    safe: int

    @property
    def done(self) -> bool:
        """Whether nothing of it is missing."""
        return self.end is not None and self.at >= self.end


@dataclass
class Partial:
    """An unfinished file.

    Parameters
    ----------
    path
        Where its bytes lie.
    url
        What is fetched, as shown in messages; bytes of another address are not continued.
    """

    path: Path
    url: str
    size: int | None = None
    validator: str = ""
    spans: list[Span] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        if not self._load():
            self.drop()

    @property
    def n_bytes(self) -> int:
        """How many bytes are here."""
        return sum(span.at - span.start for span in self.spans)

    @property
    def complete(self) -> bool:
        """Whether every byte is here."""
        return bool(self.spans) and all(span.done for span in self.spans)

    def missing(self) -> list[Span]:
        """Return the spans that lack bytes."""
        return [span for span in self.spans if not span.done]

    def begin(self, size: int | None, validator: str, n_spans: int = 1) -> None:
        """Forget what is here and expect a file of this size in this many spans."""
        self.size, self.validator = size, validator
        if size is None:
            self.spans = [Span(0, None, 0, 0)]
        else:
            cuts = [size * i // n_spans for i in range(n_spans + 1)]
            self.spans = [Span(a, b, a, a) for a, b in pairwise(cuts)]
        with self.path.open("wb") as handle:
            handle.truncate(size if n_spans > 1 and size is not None else 0)
        self.save()

    def finish(self, span: Span) -> None:
        """Note that a span without a known end has ended where it is."""
        span.end = self.size = span.at
        self.save()

    @contextmanager
    def writer(self, span: Span) -> Iterator[Writer]:
        """Yield a writer that goes on where the span ends now; what it wrote is in the journal afterwards."""
        with self.path.open("r+b") as handle:
            handle.seek(span.at)
            writer = Writer(self, span, handle)
            try:
                yield writer
            finally:
                writer.note()

    def save(self) -> None:
        """Write the journal."""
        with self._lock:
            spans = [[span.start, span.end, span.safe] for span in self.spans]
            content = {"url": self.url, "size": self.size, "if_range": self.validator, "spans": spans}
            fresh = self._journal.with_name(self._journal.name + ".new")
            with fresh.open("w", encoding="utf-8") as handle:
                json.dump(content, handle)
                handle.flush()
                os.fsync(handle.fileno())
            fresh.replace(self._journal)

    def drop(self) -> None:
        """Delete what is here."""
        self.size, self.validator, self.spans = None, "", []
        for path in (self.path, self._journal, self._journal.with_name(self._journal.name + ".new")):
            path.unlink(missing_ok=True)

    @property
    def _journal(self) -> Path:
        return self.path.with_name(self.path.name + ".json")

    def _load(self) -> bool:
        """Take over an earlier journal; return whether it and the bytes fit together."""
        try:
            kept = json.loads(self._journal.read_text(encoding="utf-8"))
            length = self.path.stat().st_size
            spans = [Span(int(a), None if b is None else int(b), int(at), int(at)) for a, b, at in kept["spans"]]
            size = None if kept["size"] is None else int(kept["size"])
            validator = str(kept["if_range"])
        except (OSError, ValueError, KeyError, TypeError):
            return False
        ends = [0, *(span.end for span in spans)]
        joined = all(span.start == end for span, end in zip(spans, ends, strict=False)) and ends[-1] == size
        inside = all(span.start <= span.at and (span.end is None or span.at <= span.end) for span in spans)
        there = all(span.at <= length for span in spans if span.at > span.start)
        if kept.get("url") != self.url or not (spans and joined and inside and there):
            return False
        self.size, self.validator, self.spans = size, validator, spans
        return True


@dataclass
class Writer:
    """Writes the bytes of one span, and the journal now and then."""

    partial: Partial
    span: Span
    handle: IO[bytes]
    _last: float = field(default_factory=time.monotonic)

    def write(self, data: bytes) -> None:
        """Write the next bytes."""
        self.handle.write(data)
        self.handle.flush()
        self.span.at += len(data)
        if self.span.at - self.span.safe >= JOURNAL_BYTES or time.monotonic() - self._last >= JOURNAL_SECONDS:
            self.note()

    def note(self) -> None:
        """Bring what was written to the disk, then say so in the journal."""
        self.handle.flush()
        os.fsync(self.handle.fileno())
        self.span.safe = self.span.at
        self._last = time.monotonic()
        self.partial.save()
