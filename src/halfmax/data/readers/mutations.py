"""Pairs of a sample and a mutated gene, gathered while a file goes by, as a matrix of 0 and 1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from halfmax.data.barcodes import Chosen
from halfmax.data.findings import Findings
from halfmax.data.identifiers import map_genes
from halfmax.data.readers.line_ids import flags
from halfmax.errors import DataError

_FLUSH = 1 << 20
_GENE = (1 << 32) - 1


class Pairs:
    """Distinct pairs of two numbers; memory grows with the distinct ones alone."""

    def __init__(self) -> None:
        self._parts: list[npt.NDArray[np.int64]] = [np.empty(0, dtype=np.int64)]

    def add(self, sample: npt.NDArray[np.int32], gene: npt.NDArray[np.int32]) -> None:
        """Add pairs of a sample's and a gene's number, both of shape ``(n,)``."""
        self._parts.append(np.unique((sample.astype(np.int64) << 32) | gene))
        if sum(map(len, self._parts[1:])) > _FLUSH:
            self._parts = [self._joined()]

    def get(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return samples and genes of the distinct pairs."""
        self._parts = [self._joined()]
        return self._parts[0] >> 32, self._parts[0] & _GENE

    def _joined(self) -> npt.NDArray[np.int64]:
        return np.unique(np.concatenate(self._parts))


def distinct(column: pa.Array | pa.ChunkedArray) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Return the distinct texts of a column and, for each row, which it is."""
    encoded = pc.dictionary_encode(column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column)
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    return encoded.dictionary.to_pylist(), np.asarray(encoded.indices.to_numpy(), dtype=np.int64)


def codes_of(column: pa.Array | pa.ChunkedArray, known: dict[str, int]) -> npt.NDArray[np.int32]:
    """Return the number of each text of a column, giving those that are new the next numbers."""
    names, codes = distinct(column)
    return np.array([known.setdefault(name, len(known)) for name in names], dtype=np.int32)[codes]


def empty_cells(column: pa.Array) -> npt.NDArray[np.bool_]:
    """Return which cells of an id are empty, or say that there is none."""
    return np.asarray(pc.is_in(column, value_set=pa.array(["", "NA", "nan", "None"])).to_numpy(zero_copy_only=False))


def flag_cells(column: pa.Array, name: str) -> npt.NDArray[np.bool_]:
    """Return a column of yes and no as booleans; raise DataError for other words."""
    words, codes = distinct(column)
    return flags(words, name)[codes] if words else np.empty(0, dtype=bool)


def matrix_of(
    pairs: Pairs, rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64], index: pd.Index, labels: list[str]
) -> pd.DataFrame:
    """Return samples × genes with 1 for every pair, float32.

    Parameters
    ----------
    pairs
        Numbers of samples and of genes.
    rows, columns
        The row of each sample's number and the column of each gene's, −1 for those that have none.
    index, labels
        What the rows and the columns are called.
    """
    samples, genes = pairs.get()
    row, column = rows[samples], columns[genes]
    use = (row >= 0) & (column >= 0)
    values = np.zeros((len(index), len(labels)), dtype=np.float32)
    values[row[use], column[use]] = 1
    return pd.DataFrame(values, index=index, columns=pd.Index(labels, dtype=object))


def gene_matrix(
    pairs: Pairs,
    symbols: Sequence[str],
    chosen: Chosen,
    n_ids: int,
    findings: Findings,
    *,
    genes: Sequence[str] | None,
    min_samples: int,
) -> pd.DataFrame:
    """Return samples × genes with 1 where a gene is mutated, float32.

    Parameters
    ----------
    pairs
        Numbers of samples and of genes.
    symbols
        What each gene's number means; empty for none.
    chosen, n_ids
        Which of the numbered samples stay, of how many.
    genes
        The columns, in their order; all that are mutated if not given.
    min_samples
        Without `genes`, leave out those that are mutated in fewer samples.

    Raises
    ------
    DataError
        If no gene is left.
    """
    row_of = np.full(n_ids, -1)
    row_of[chosen.rows] = np.arange(len(chosen.rows))
    samples, raw = pairs.get()
    named = np.array([bool(symbol) for symbol in symbols], dtype=bool)
    if nameless := int((~named[raw]).sum()):
        findings.info("no-gene", f"{nameless} mutated places lie in no named gene and are left out.", count=nameless)
    use = (row_of[samples] >= 0) & named[raw]
    known, number = np.unique(np.array(symbols, dtype=str), return_inverse=True)
    present, at = np.unique(number[raw[use]], return_inverse=True)
    labels, to = (
        _wanted(known[present], genes, findings)
        if genes is not None
        else _often(row_of[samples[use]], at, known[present], min_samples, findings)
    )
    if not labels:
        raise DataError(
            f"no gene is mutated in its {len(chosen.rows)} samples; state genes= to have their columns of 0."
        )
    column_of = np.full(len(known), -1)
    column_of[present] = to
    columns = np.where(named, column_of[number], -1)
    return matrix_of(pairs, row_of, columns, chosen.ids, labels)


def _wanted(
    columns: npt.NDArray[np.str_], genes: Sequence[str], findings: Findings
) -> tuple[list[str], npt.NDArray[np.int64]]:
    asked = map_genes(genes)
    wanted = [str(s) if s is not None else n for s, n in zip(asked.symbols, asked.names, strict=True)]
    place = {symbol: i for i, symbol in enumerate(wanted)}
    found = set(columns.tolist())
    if absent := [gene for gene, symbol in zip(genes, wanted, strict=True) if symbol not in found]:
        findings.info("genes-without-mutation", f"{len(absent)} of {len(genes)} genes have no mutation.", absent)
    return list(genes), np.array([place.get(str(c), -1) for c in columns], dtype=np.int64)


def _often(
    rows: npt.NDArray[np.int64],
    at: npt.NDArray[np.int64],
    columns: npt.NDArray[np.str_],
    min_samples: int,
    findings: Findings,
) -> tuple[list[str], npt.NDArray[np.int64]]:
    pairs = np.unique(rows.astype(np.int64) << 32 | at)
    often = np.bincount(pairs & _GENE, minlength=len(columns)) >= min_samples
    if rare := int((~often).sum()):
        findings.info(
            "rare-genes", f"{rare} genes are mutated in fewer than {min_samples} samples; left out.", count=rare
        )
    return [str(c) for c in columns[often]], np.where(often, np.cumsum(often) - 1, -1)
