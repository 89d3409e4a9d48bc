"""What a reader saw and did, as data that travels with the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal

from halfmax.errors import DataError, examples

Level = Literal["info", "warning", "error"]


@dataclass(frozen=True)
class Finding:
    """One thing that a person should know about what was read.

    Parameters
    ----------
    code
        Short fixed name, such as ``duplicate-genes``, for programs.
    level
        ``info`` (done as usual), ``warning`` (may change the answer) or ``error`` (refused).
    message
        What was found, how many, what was done or is to be done.
    examples
        A few of the names or places concerned.
    count
        How many there are.
    """

    code: str
    level: Level
    message: str
    examples: tuple[str, ...] = ()
    count: int = 0

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON."""
        return asdict(self) | {"examples": list(self.examples)}

    def __str__(self) -> str:
        """Return the message with a few examples."""
        return f"{self.message} E.g. {examples(self.examples)}." if self.examples else self.message


@dataclass
class Findings:
    """Collects findings while a file is read; in strict mode what would be put right is an error instead.

    Parameters
    ----------
    strict
        Whether `mended` raises.
    """

    strict: bool = False
    items: list[Finding] = field(default_factory=list)

    def info(self, code: str, message: str, found: Sequence[str] = (), count: int = 0) -> None:
        """Note what was done as usual."""
        self._add("info", code, message, found, count)

    def warn(self, code: str, message: str, found: Sequence[str] = (), count: int = 0) -> None:
        """Note what may change the answer."""
        self._add("warning", code, message, found, count)

    def mended(self, code: str, message: str, found: Sequence[str] = (), count: int = 0) -> None:
        """Note what was put right, or raise DataError if `strict`."""
        if self.strict:
            raise DataError(f"{Finding(code, 'error', message, tuple(found[:3]))} Refused, because strict is set.")
        self._add("warning", code, message, found, count)

    def extend(self, more: Sequence[Finding]) -> None:
        """Take over findings of an earlier step."""
        self.items.extend(more)

    def all(self) -> tuple[Finding, ...]:
        """Return what was found so far."""
        return tuple(self.items)

    def _add(self, level: Level, code: str, message: str, found: Sequence[str], count: int) -> None:
        self.items.append(Finding(code, level, message, tuple(map(str, found[:10])), count or len(found)))
