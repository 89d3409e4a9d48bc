"""GDSC's expression arrays: Cell_line_RMA_proc_basalExp, genes × DATA.<COSMIC id>, as samples × genes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from halfmax.data.findings import Findings
from halfmax.data.readers.gdsc_ids import LICENCE
from halfmax.data.readers.glimpse import Glimpse
from halfmax.data.readers.kinds import FileKind, Part, Reading
from halfmax.data.readers.matrix import read_omics
from halfmax.data.readers.places import naming
from halfmax.errors import DataError, examples

_COLUMN = re.compile(r"(?:DATA[. ])?(\d{5,8})(?:\.\d)?")


def read_gdsc_rma(path: Path | str, *, unit: str | None = None, strict: bool = False) -> Reading:
    """Read ``Cell_line_RMA_proc_basalExp.txt``: log2 intensities, RMA.

    Rows without a gene symbol are left out; columns of the same line (``DATA.1503362``, ``DATA.1503362.1``) and rows
    of the same gene are averaged. All are counted.

    Parameters
    ----------
    path
        TSV, CSV, gzip, workbook or Parquet.
    unit
        Unit of the values; found from them if not given.
    strict
        Raise DataError where something would be put right otherwise.

    Returns
    -------
    Reading
        ``expression``, COSMIC ids × current gene symbols, float32 [log2 intensity].

    Raises
    ------
    DataError
        If the columns are not named by COSMIC ids, or values are text, infinite or all missing.
    """
    path = Path(path)
    with naming(path):
        table = read_omics(path, "expression", unit=unit, orientation="features_by_samples", strict=strict)
        findings = Findings(strict=strict, items=list(table.findings))
        frame = _by_cosmic(table.frame, findings)
    guess = table.unit
    part = Part("expression", frame, unit=None if guess is None else guess.unit, id_kind="cosmic")
    return Reading("gdsc-rma", (part,), findings.all())


def _by_cosmic(frame: pd.DataFrame, findings: Findings) -> pd.DataFrame:
    """Return the frame with COSMIC ids as index, arrays of one line averaged."""
    found = [_COLUMN.fullmatch(name) for name in frame.index]
    if wrong := [name for name, match in zip(frame.index, found, strict=True) if match is None]:
        raise DataError(
            f"{len(wrong)} of {len(found)} columns are not named by COSMIC ids as DATA.906826 is: {examples(wrong)}."
        )
    cosmic = pd.Index([match[1] for match in found if match is not None], name="sample_id", dtype=object)
    if not cosmic.has_duplicates:
        return frame.set_axis(cosmic)
    several = cosmic[cosmic.duplicated()].unique()
    findings.mended("repeated-lines", f"{len(several)} lines have several arrays; averaged.", list(several))
    means = frame.set_axis(cosmic).groupby(level=0, sort=False).mean()
    return means.astype(np.float32)


def _recognise(seen: Glimpse) -> float:
    data = sum(name.upper().startswith("DATA.") for name in seen.columns)
    return 0.95 if seen.has("GENE_SYMBOLS") and data else 0.0


RMA = FileKind(
    "gdsc-rma",
    "GDSC expression arrays (RMA)",
    "GDSC",
    _recognise,
    read_gdsc_rma,
    LICENCE,
    ("unit", "strict"),
)
