"""The samples of a screen, a block at a time, with a predictor's genes in its order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.data.findings import Finding, Findings
from halfmax.data.identifiers import match_genes
from halfmax.data.readers.checks import check_samples, check_values, expression_unit
from halfmax.data.readers.features import known_columns
from halfmax.data.readers.matrix import read_omics
from halfmax.data.units import to_log
from halfmax.errors import DataError, examples
from halfmax.predictor import REFUSE_COVERAGE
from halfmax.state import State

if TYPE_CHECKING:
    from halfmax.features.pipeline import FeaturePipeline

#: Samples of a Parquet file that are read at a time.
_READ = 2048
#: Units that `to_log` does not change, which need no further copy.
_LEFT_AS_THEY_ARE = ("rma", "zscore_gene", "zscore_sample")


@dataclass
class Samples:
    """Profiles of samples, of which a block at a time is in memory where they lie in a Parquet file.

    Parameters
    ----------
    pipeline
        The predictor's.
    files
        Modality to file. A table of text, or a workbook, is read as a whole. A Parquet file of expression alone whose
        first column is ``sample_id`` is read a block of rows at a time, and so need not fit in memory.
    about
        The table of the samples (tissue, …), index = sample_id, or None.
    unit
        Of expression, where it is not plain.
    allow_low_coverage
        Go on where fewer than 80 % of a modality's genes are there.
    """

    pipeline: FeaturePipeline
    files: Mapping[str, Path]
    about: pd.DataFrame | None = None
    unit: str | None = None
    allow_low_coverage: bool = False
    findings: list[Finding] = field(default_factory=list)

    def blocks(self, size: int) -> Iterator[State]:
        """Yield blocks of at most `size` samples: arrays ``omics/MODALITY``; meta sample_ids and about.

        Raises
        ------
        DataError
            If expression is needed and absent, genes are too few, or a sample occurs twice.
        """
        if "expression" in self.pipeline.modalities and "expression" not in self.files:
            raise DataError("this predictor needs expression; give a table of samples × genes.")
        if unused := [name for name in self.files if name not in self.pipeline.modalities]:
            raise DataError(f"this predictor reads {', '.join(self.pipeline.modalities)} and no {', '.join(unused)}.")
        if list(self.files) == ["expression"] and _is_long(self.files["expression"]):
            yield from self._streamed(self.files["expression"], size)
            return
        values = {name: self._whole(name, path) for name, path in self.files.items()}
        ids = list(dict.fromkeys(i for frame in values.values() for i in frame.index))
        for start in range(0, len(ids), size):
            part = ids[start : start + size]
            yield self._block(part, {n: f.reindex(part).to_numpy(dtype=np.float32) for n, f in values.items()})

    def _whole(self, modality: str, path: Path) -> pd.DataFrame:
        table = read_omics(path, modality, unit=self.unit if modality == "expression" else None)
        self.findings.extend(table.findings)
        frame = table.frame
        if modality == "expression":
            frame, done = table.logged()
            self.findings.append(done)
        return self._matched(modality, frame)

    def _streamed(self, path: Path, size: int) -> Iterator[State]:
        """Read a file in blocks; its columns are matched once, and its unit is that of the first block."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        wanted = self.pipeline.input_names("expression")
        names = [str(name) for name in pq.read_schema(path).names[1:]]
        match = match_genes(names, wanted)
        if not self.allow_low_coverage:
            match.require(REFUSE_COVERAGE)
        counted = pd.Index(names).get_indexer(
            known_columns(pd.DataFrame(np.zeros((1, len(names))), columns=names)).columns
        )
        seen: set[str] = set()
        unit: str | None = None
        # a table of so many columns is read faster in larger pieces
        for batch in pq.ParquetFile(path).iter_batches(batch_size=max(size, _READ)):
            ids = [str(i) for i in batch.column(0).to_pylist()]
            if twice := sorted(seen.intersection(ids)):
                raise DataError(f"{path}: {len(twice)} samples occur more than once, e.g. {examples(twice)}.")
            seen.update(ids)
            check_samples(ids)
            try:
                table = batch.select(names).to_tensor(null_to_nan=True, row_major=True).to_numpy()
            except (pa.ArrowException, TypeError) as error:
                raise DataError(f"{path}: columns after sample_id must hold numbers ({error}).") from None
            values = table.astype(np.float32, copy=False)
            findings = Findings()
            check_values(values, ids, names, findings)
            frame = pd.DataFrame(values, index=ids, columns=names)
            unit = unit or expression_unit(frame, self.unit, findings).unit
            first = len(seen) == len(ids)
            if first or unit not in _LEFT_AS_THEY_ARE:
                sums = np.asarray(np.nansum(values[:, counted], axis=1, dtype=np.float64))
                total = sums if unit == "counts" else None
                frame, done = to_log(frame, unit, total=total)
            if first:
                self.findings.extend((*findings.all(), done, *match.findings))
            matched = match.take(frame.to_numpy(dtype=np.float32))
            for start in range(0, len(ids), size):
                part = slice(start, start + size)
                yield self._block(ids[part], {"expression": matched[part]})

    def _matched(self, modality: str, frame: pd.DataFrame) -> pd.DataFrame:
        wanted = self.pipeline.input_names(modality)
        match = match_genes(map(str, frame.columns), wanted)
        if not self.allow_low_coverage:
            match.require(REFUSE_COVERAGE)
        self.findings.extend(match.findings)
        values = match.take(frame.to_numpy(dtype=np.float32))
        return pd.DataFrame(values, index=frame.index.astype(str), columns=list(wanted))

    def _block(self, ids: list[str], values: Mapping[str, npt.NDArray[np.float32]]) -> State:
        about: dict[str, Any] = {}
        if self.about is not None:
            table = self.about.reindex(ids)
            columns = [column for column in self.pipeline.categories if column in table]
            text = table[columns].astype(object).where(table[columns].notna(), None)
            about = {column: text[column].tolist() for column in columns}
        return State({f"omics/{n}": v for n, v in values.items()}, {"sample_ids": [*ids], "about": about})


def _is_long(path: Path) -> bool:
    """Whether a file can be read in blocks of samples."""
    if path.suffix != ".parquet":
        return False
    import pyarrow.parquet as pq

    names = pq.read_schema(path).names
    return bool(names[:1] == ["sample_id"] and len(set(names)) == len(names))
