"""Stretches of a reference genome from a FASTA file, by position; the file is mapped, not read into memory."""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from pathlib import Path

from halfmax.errors import DataError, examples


@dataclass(frozen=True)
class _Place:
    """Where a sequence lies: its bases, the byte of the first, bases and bytes a line."""

    bases: int
    offset: int
    line_bases: int
    line_bytes: int


class Reference:
    """A FASTA file with random access; an index ``.fai`` beside it (samtools faidx) is used, or else made in memory.

    Parameters
    ----------
    path
        Not packed: a packed file has no random access.

    Raises
    ------
    DataError
        If it is no FASTA, is packed, or has lines of unequal length within a sequence.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        try:
            with self.path.open("rb") as handle:
                self._bytes = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise DataError(f"cannot read the reference {self.path}: {error}.") from None
        if self._bytes[:2] == b"\x1f\x8b":
            raise DataError(f"{self.path} is packed; unpack it (gunzip), so that stretches can be read by position.")
        if self._bytes[:1] != b">":
            raise DataError(f"{self.path} is no FASTA file: it does not begin with '>'.")
        index = self.path.with_name(f"{self.path.name}.fai")
        self._places = self._indexed(index) if index.is_file() else self._scanned()

    def name_of(self, chromosome: str) -> str | None:
        """Return the file's name of a chromosome, with or without ``chr``, MT or M; None where it has none."""
        bare = chromosome.removeprefix("chr")
        bare = "MT" if bare == "M" else bare
        for name in (chromosome, bare, f"chr{bare}", "chrM" if bare == "MT" else ""):
            if name in self._places:
                return name
        return None

    def stretch(self, chromosome: str, start: int, end: int) -> str:
        """Return bases `start` to `end` [1-based, both included] in upper case, cut off at the chromosome's ends.

        Raises
        ------
        DataError
            If the file has no such chromosome.
        """
        name = self.name_of(chromosome)
        if name is None:
            raise DataError(f"{self.path} has no chromosome {chromosome!r}; it has {examples(self._places)}.")
        place = self._places[name]
        first, last = max(start, 1) - 1, min(end, place.bases)
        if last <= first:
            return ""
        begin, stop = (self._byte(place, base) for base in (first, last - 1))
        found = self._bytes[begin : stop + 1].translate(None, b"\r\n")
        return found.decode("ascii", errors="replace").upper()

    def _byte(self, place: _Place, base: int) -> int:
        line, rest = divmod(base, place.line_bases)
        return place.offset + line * place.line_bytes + rest

    def _indexed(self, index: Path) -> dict[str, _Place]:
        try:
            rows = [line.split("\t") for line in index.read_text(encoding="ascii").splitlines() if line]
            places = {row[0]: _Place(int(row[1]), int(row[2]), int(row[3]), int(row[4])) for row in rows}
        except (OSError, ValueError, IndexError) as error:
            raise DataError(
                f"{index} is no index of a FASTA file ({error}); make it anew with samtools faidx."
            ) from None
        size = len(self._bytes)
        bad = [
            name
            for name, p in places.items()
            if p.bases and (p.line_bases < 1 or p.line_bytes < p.line_bases or self._byte(p, p.bases - 1) >= size)
        ]
        if bad or index.stat().st_mtime < self.path.stat().st_mtime - 1:
            why = f"places {examples(bad)} beyond its end" if bad else "is older than it"
            raise DataError(f"{index} does not fit {self.path.name}: it {why}; make it anew with samtools faidx.")
        return places

    def _scanned(self) -> dict[str, _Place]:
        places: dict[str, _Place] = {}
        start = 0
        while start >= 0:
            line_end = self._bytes.find(b"\n", start)
            line_end = len(self._bytes) if line_end < 0 else line_end
            name = self._bytes[start + 1 : line_end].decode("ascii", errors="replace").split()
            following = self._bytes.find(b"\n>", line_end)
            stop = len(self._bytes) if following < 0 else following + 1
            if not name or name[0] in places:
                raise DataError(f"{self.path}: a sequence has no name, or that of another, at byte {start}.")
            places[name[0]] = self._measured(name[0], line_end + 1, stop)
            start = stop if following >= 0 else -1
        return places

    def _measured(self, name: str, offset: int, stop: int) -> _Place:
        end = self._bytes.find(b"\n", offset, stop)
        if end < 0:
            bases = len(self._bytes[offset:stop].rstrip(b"\r\n"))
            return _Place(bases, offset, max(bases, 1), max(bases, 1))
        line_bytes = end + 1 - offset
        line_bases = len(self._bytes[offset:end].rstrip(b"\r"))
        ending, last = line_bytes - line_bases, stop
        while last > offset and self._bytes[last - 1 : last] in (b"\n", b"\r"):
            last -= 1
        full, rest = divmod(last - offset, line_bytes)
        bases = full * line_bases + rest
        content = self._bytes[offset:last]
        in_place = content[line_bytes - 1 :: line_bytes].count(b"\n")
        if line_bases < 1 or rest > line_bases or not content.count(b"\n") == in_place == full:
            raise DataError(
                f"{self.path}: the lines of {name} differ in length (the first has {line_bases} bases and "
                f"{ending} bytes of line end); write it anew with lines of one length."
            )
        return _Place(bases, offset, line_bases, line_bytes)
