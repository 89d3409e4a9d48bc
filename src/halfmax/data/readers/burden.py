"""How many distinct variants a sample has, counted in memory that does not grow with the rows of a file."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from types import TracebackType
from typing import IO

import numpy as np
import numpy.typing as npt

from halfmax.errors import DataError

_MOST_ROWS = 1 << 18
_N_SHARES = 256
_ROW = np.dtype([("place", "<u8"), ("sample", "<i4"), ("effect", "i1")])

Rows = npt.NDArray[np.void]


class DistinctVariants:
    """Gathers variants that may stand in several rows, and counts each once, with its gravest effect.

    Up to 262,144 rows are held in memory. More of them wait in one temporary file, 13 bytes each, and are counted a
    256th at a time: rows of one variant always fall into the same share.

    Use it in a ``with`` statement, which takes the temporary file away.
    """

    def __init__(self) -> None:
        self.n_rows = 0
        self._held: list[Rows] = []
        self._n_held = 0
        self._file: IO[bytes] | None = None
        self._bounds: list[npt.NDArray[np.int64]] = []  # first row of each share in each part of the file, and the end

    def __enter__(self) -> DistinctVariants:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def add(
        self, places: npt.NDArray[np.uint64], samples: npt.NDArray[np.int32], effects: npt.NDArray[np.int8]
    ) -> None:
        """Add rows.

        Parameters
        ----------
        places
            A hash of the sample and its variant, shape ``(n,)``: equal ones are one variant.
        samples, effects
            The sample's number and the effect's place, 0 for the gravest, both of shape ``(n,)``.

        Raises
        ------
        DataError
            If there is no room for the temporary file.
        """
        rows = np.empty(len(places), dtype=_ROW)
        rows["place"], rows["sample"], rows["effect"] = places, samples, effects
        self.n_rows += len(rows)
        self._held.append(rows)
        self._n_held += len(rows)
        if self._n_held > _MOST_ROWS:
            self._write(self._take_held())

    def count(self, n_samples: int, effects: Sequence[int]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return how many variants every sample has, and how many of these effects, both of shape ``(n_samples,)``."""
        n_variants, n_counted = np.zeros((2, n_samples), dtype=np.int64)
        last = self._take_held()
        bounds = _bounds(last)
        for share in range(_N_SHARES):
            rows = _distinct(np.concatenate([*self._read(share), last[bounds[share] : bounds[share + 1]]]))
            n_variants += np.bincount(rows["sample"], minlength=n_samples)
            n_counted += np.bincount(rows["sample"][np.isin(rows["effect"], effects)], minlength=n_samples)
        self._held, self._n_held = [last], len(last)
        return n_variants, n_counted

    def _take_held(self) -> Rows:
        held = _distinct(np.concatenate([np.empty(0, dtype=_ROW), *self._held]))
        self._held, self._n_held = [], 0
        return held

    def _write(self, rows: Rows) -> None:
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115  closed by __exit__
            start = self._file.seek(0, 2) // _ROW.itemsize
            self._file.write(rows.tobytes())
            self._file.flush()
        except OSError as error:
            raise DataError(
                f"{self.n_rows:,} variants need a temporary file, and it cannot be written in {tempfile.gettempdir()} "
                f"({error.strerror}); free some room, 13 bytes a row, or name another folder in TMPDIR."
            ) from None
        self._bounds.append(start + _bounds(rows))

    def _read(self, share: int) -> list[Rows]:
        if self._file is None:
            return []
        parts = []
        for bounds in self._bounds:
            self._file.seek(int(bounds[share]) * _ROW.itemsize)
            data = self._file.read(int(bounds[share + 1] - bounds[share]) * _ROW.itemsize)
            parts.append(np.frombuffer(data, dtype=_ROW))
        return parts


def _distinct(rows: Rows) -> Rows:
    """Return one row for each place, the one of the gravest effect, in the order of places."""
    rows = rows[np.lexsort((rows["effect"], rows["place"]))]
    first = np.ones(len(rows), dtype=bool)
    first[1:] = rows["place"][1:] != rows["place"][:-1]
    return rows[first]


def _bounds(rows: Rows) -> npt.NDArray[np.int64]:
    """Return where each share begins among rows in the order of places, and the end, shape ``(_N_SHARES + 1,)``."""
    begins = np.arange(_N_SHARES, dtype=np.uint64) << np.uint64(56)
    return np.append(np.searchsorted(rows["place"], begins), len(rows)).astype(np.int64)
