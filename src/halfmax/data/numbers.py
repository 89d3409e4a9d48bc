"""Cells of text as numbers: what is missing, what is infinite and what is no number at all, each counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from halfmax.data.findings import Findings

#: Texts that mean "no value" in a column of numbers.
MISSING = ("", "na", "n/a", "#n/a", "nan", "null", "none", "-", ".", "?", "missing")
_NUMBER = r"^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$"
_COMMA_NUMBER = r"^[+-]?\d*,\d+(?:[eE][+-]?\d+)?$"
_THOUSANDS = r"^[+-]?[1-9]\d{0,2},\d{3}$"
_INFINITE = r"(?i)^[+-]?inf(?:inity)?$"
_BATCH_CELLS = 4_000_000


@dataclass(frozen=True)
class Numbers:
    """Columns as numbers.

    Parameters
    ----------
    values
        Shape ``(n_rows, n_columns)``; NaN where a cell is missing or no number.
    n_missing, n_bad
        For each column, cells that are empty or say so, and cells that hold other text.
    bad
        Up to ten cells that are no numbers: row, place among the columns asked for, text.
    """

    values: npt.NDArray[np.floating[Any]]
    n_missing: npt.NDArray[np.int64]
    n_bad: npt.NDArray[np.int64]
    bad: tuple[tuple[int, int, str], ...]

    @property
    def is_text(self) -> npt.NDArray[np.bool_]:
        """For each column, whether it holds text and no number at all."""
        return np.asarray((self.n_bad > 0) & (self.n_bad + self.n_missing == len(self.values)))


def parse_numbers(
    data: pa.Table,
    columns: Sequence[int],
    commas: frozenset[int],
    dtype: type[np.floating[Any]],
    *,
    booleans: bool = False,
) -> Numbers:
    """Return columns of a table as numbers.

    Parameters
    ----------
    data
        Arrow table with text or number columns.
    columns
        Positions of the columns.
    commas
        Positions of those with decimal commas.
    dtype
        Type of the values.
    booleans
        Whether ``true`` and ``false`` are 1 and 0.
    """
    n_rows = data.num_rows
    values = np.empty((n_rows, len(columns)), dtype=dtype, order="F")
    n_missing, n_bad = np.zeros(len(columns), dtype=np.int64), np.zeros(len(columns), dtype=np.int64)
    bad: list[tuple[int, int, str]] = []
    step = max(_BATCH_CELLS // max(n_rows, 1), 1)
    for start in range(0, len(columns), step):
        batch = columns[start : start + step]
        fast = None if commas.intersection(batch) else _all_at_once(data, batch)
        if fast is not None:
            values[:, start : start + len(batch)] = _as(fast, dtype)
            n_missing[start : start + len(batch)] = np.isnan(fast).sum(axis=0)
            continue
        for place, column in enumerate(batch, start):
            one, wrong, texts = _one_column(data.column(column), comma=column in commas, booleans=booleans)
            values[:, place] = _as(one, dtype)
            n_bad[place] = len(wrong)
            n_missing[place] = int(np.isnan(one).sum()) - len(wrong)
            bad += [(int(row), place, texts[int(row)].as_py()) for row in wrong[: max(10 - len(bad), 0)]]
    return Numbers(values, n_missing, n_bad, tuple(bad))


def _as(values: npt.NDArray[np.float64], dtype: type[np.floating[Any]]) -> npt.NDArray[np.floating[Any]]:
    """Return values in a type; what is too large for it becomes infinite, which readers refuse."""
    with np.errstate(over="ignore"):
        return values.astype(dtype, copy=False)


def _all_at_once(data: pa.Table, columns: Sequence[int]) -> npt.NDArray[np.float64] | None:
    """Return the columns if every cell of all of them is a number; the common case, in one call."""
    chosen = [data.column(column) for column in columns]
    if not all(pa.types.is_string(column.type) for column in chosen):
        return None
    try:
        flat = pc.cast(pa.chunked_array([c for column in chosen for c in column.chunks], pa.string()), pa.float64())
    except pa.ArrowInvalid:
        return None
    return np.asarray(flat.to_numpy(), dtype=np.float64).reshape(len(columns), data.num_rows).T


def _one_column(
    column: pa.ChunkedArray, *, comma: bool, booleans: bool
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], pa.ChunkedArray]:
    """Return the values, the rows that are no numbers, and the texts."""
    if not pa.types.is_string(column.type):
        return np.asarray(pc.cast(column, pa.float64(), safe=False).to_numpy(), dtype=np.float64), _NONE, column
    texts = pc.fill_null(pc.utf8_trim_whitespace(column), "")
    plain = pc.replace_substring(texts, ",", ".") if comma else texts
    if booleans:
        plain = pc.replace_substring_regex(plain, "(?i)^(?:true|t|yes)$", "1")
        plain = pc.replace_substring_regex(plain, "(?i)^(?:false|f|no)$", "0")
    good = pc.match_substring_regex(plain, _NUMBER)
    infinite = pc.match_substring_regex(plain, _INFINITE)
    missing = pc.is_in(pc.utf8_lower(plain), value_set=pa.array(MISSING))
    values = np.full(len(column), np.nan)
    cells = pc.utf8_ltrim(plain.filter(good), "+")
    try:
        parsed = pc.cast(cells, pa.float64()).to_numpy()
    except pa.ArrowInvalid:  # 1e400
        parsed = np.array([float(cell) for cell in cells.to_pylist()])
    values[good.to_numpy()] = parsed
    where_infinite = infinite.to_numpy()
    if where_infinite.any():
        values[where_infinite] = np.inf
    wrong = ~(good.to_numpy() | where_infinite | missing.to_numpy())
    return values, np.flatnonzero(wrong), texts


def decimal_commas(data: pa.Table, names: Sequence[str], findings: Findings) -> frozenset[int]:
    """Return the positions of the columns whose numbers have decimal commas, and say so.

    ``1,234`` may be a thousand or one and a bit: where every number with a comma looks like that, it is left as text
    and reported.
    """
    found: list[int] = []
    unclear: list[int] = []
    for place, column in enumerate(data.columns):
        if not pa.types.is_string(column.type) or not pc.any(pc.match_substring(column, ",")).as_py():
            continue
        texts = pc.fill_null(pc.utf8_trim_whitespace(column), "")
        with_comma = pc.match_substring_regex(texts, _COMMA_NUMBER)
        if not pc.any(with_comma).as_py():
            continue
        fits = pc.or_(with_comma, pc.match_substring_regex(texts, r"^[+-]?\d+$"))
        fits = pc.or_(fits, pc.is_in(pc.utf8_lower(texts), value_set=pa.array(MISSING)))
        if pc.all(fits).as_py():
            thousands = pc.match_substring_regex(texts.filter(with_comma), _THOUSANDS)
            (unclear if pc.all(thousands).as_py() else found).append(place)
    if found:
        findings.mended(
            "decimal-comma",
            f"{len(found)} columns have decimal commas; read as decimal points.",
            [names[place] or f"column {place + 1}" for place in found],
        )
        return frozenset(found + unclear)
    if unclear:
        findings.warn(
            "comma-unclear",
            f"in {len(unclear)} columns a comma may separate thousands or decimals; left as text.",
            [names[place] or f"column {place + 1}" for place in unclear],
        )
    return frozenset()


_NONE = np.empty(0, dtype=np.int64)
