"""A table of variants that grows batch by batch: in memory while it is small, in a Parquet file if one is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from halfmax.data.findings import Findings
from halfmax.data.gene_names import resolve
from halfmax.data.storage import atomic_file

#: A longer table is written to a file or not kept.
MOST_IN_MEMORY = 200_000
_TEXTS = ("consequence", "protein_change")
_FLAGS = ("damaging", "hotspot")


class VariantTable:
    """Collects variants.

    Parameters
    ----------
    path
        Parquet file to write them to, whole or not at all; None to keep up to `MOST_IN_MEMORY` of them.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._stack = ExitStack()
        self._batches: list[pa.Table] = []
        self._writer: Any = None
        self._n_rows = 0

    def __enter__(self) -> VariantTable:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()
        self._stack.__exit__(kind, error, trace)

    def add(self, columns: Mapping[str, pa.Array], yes: Mapping[str, npt.NDArray[np.bool_]]) -> None:
        """Add rows.

        Parameters
        ----------
        columns
            ``sample``, ``gene`` and, where the file has them, ``consequence``, ``protein_change``,
            ``allele_fraction``, as text.
        yes
            ``damaging``, ``hotspot``.
        """
        n = len(columns["sample"])
        self._n_rows += n
        if self.path is None and self._n_rows > MOST_IN_MEMORY:
            self._batches.clear()
            return
        data = {"sample_id": columns["sample"], "gene": _current(columns["gene"])}
        data |= {key: columns.get(key, pa.nulls(n, pa.string())) for key in _TEXTS}
        data["allele_fraction"] = _fractions(columns.get("allele_fraction"), n)
        data |= {key: pa.array(yes[key]) if key in yes else pa.nulls(n, pa.bool_()) for key in _FLAGS}
        batch = pa.table(data)
        if self.path is None:
            self._batches.append(batch)
        else:
            self._write(batch)

    def _write(self, batch: pa.Table) -> None:
        import pyarrow.parquet as pq

        if self._writer is None and self.path is not None:
            temporary = self._stack.enter_context(atomic_file(self.path))
            self._writer = pq.ParquetWriter(temporary, batch.schema, compression="zstd")
        self._writer.write_table(batch)

    def finish(self, source: str, findings: Findings) -> pd.DataFrame | None:
        """Return the table, or None if it is in a file or was too long to keep; say where it is."""
        if self.path is not None:
            findings.info("variants-written", f"{self._n_rows:,} variants are written to {self.path}.")
            return None
        if self._n_rows > MOST_IN_MEMORY:
            message = f"the table of {self._n_rows:,} variants is not kept; give variants=FILE.parquet to write it out."
            findings.info("variants-not-kept", f"{source}: {message}", count=self._n_rows)
            return None
        frame: pd.DataFrame = pa.concat_tables(self._batches).to_pandas() if self._batches else pd.DataFrame()
        return frame


def _current(genes: pa.Array) -> pa.Array:
    """Return genes under their current symbols, unknown and ambiguous ones as they are."""
    coded = genes.dictionary_encode()
    names = coded.dictionary.to_pylist()
    found = [resolve(name) for name in names]
    current = [symbols[0] if len(symbols) == 1 else name for name, (symbols, _) in zip(names, found, strict=True)]
    return pc.take(pa.array(current, pa.string()), coded.indices)


def _fractions(column: pa.Array | None, n: int) -> pa.Array:
    if column is None:
        return pa.nulls(n, pa.float32())
    good = pc.match_substring_regex(column, r"^\d*\.?\d+(?:[eE][+-]?\d+)?$")
    return pc.cast(pc.if_else(good, column, pa.scalar(None, pa.string())), pa.float32())
