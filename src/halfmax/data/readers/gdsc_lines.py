"""GDSC's cell lines: Cell_Lines_Details, with its row of totals, COSMIC's tissues and what the labels stand for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from halfmax.data.findings import Findings
from halfmax.data.readers import gdsc_ids as ids
from halfmax.data.readers.gdsc_ids import has_any, id_column
from halfmax.data.readers.glimpse import Glimpse, glimpse
from halfmax.data.readers.kinds import FileKind, Part, Reading
from halfmax.data.readers.places import naming
from halfmax.data.readers.screens import required, text_column
from halfmax.data.tables import Table, plain_name, read_table
from halfmax.errors import DataError, examples

_LINES, _TISSUES, _DECODE = "celllinedetails", "cosmictissueclassification", "decode"
#: Columns of Y and N: what was measured of a line.
_MEASURED: Mapping[str, tuple[str, ...]] = {
    "has_wes": ("Whole Exome Sequencing (WES)",),
    "has_copy_number": ("Copy Number Alterations (CNA)",),
    "has_expression": ("Gene Expression",),
    "has_methylation": ("Methylation",),
    "has_drug_response": ("Drug Response",),
}
_TEXTS: Mapping[str, tuple[str, ...]] = {
    "name": ids.NAME,
    "tissue": ids.TISSUE,
    "tissue_subtype": ids.TISSUE_SUBTYPE,
    "cancer_type": ids.CANCER_TYPE,
    "msi": ("Microsatellite instability Status (MSI)", "Microsatellite instability Status", "MSI"),
    "screen_medium": ("Screen Medium",),
    "growth_properties": ("Growth Properties",),
}
_LABEL = re.compile(r"[A-Z]{2,8}")


def read_gdsc_cell_lines(path: Path | str, *, strict: bool = False) -> Reading:
    """Read ``Cell_Lines_Details.xlsx``, or its first sheet as CSV.

    Parameters
    ----------
    path
        Workbook, CSV, gzip or Parquet.
    strict
        Raise DataError where something would be put right otherwise.

    Returns
    -------
    Reading
        ``samples``, index = COSMIC id: name, tissue and tissue_subtype (GDSC's descriptors 1 and 2), cancer_type (TCGA
        label) and its name, msi, screen_medium, growth_properties, what was measured (has_wes, …, true or false), and
        site and histology from the second sheet, which also has lines that the first lacks.

    Raises
    ------
    DataError
        If ids are missing, are no COSMIC ids or occur twice.
    """
    path, findings = Path(path), Findings(strict=strict)
    with naming(path):
        seen = glimpse(path)
        sheets = {plain_name(name): name for name in seen.sheets}
        table = read_table(path, strict=strict, sheet=sheets.get(_LINES))
        findings.extend(table.findings)
        frame = _lines(table, findings)
        if _TISSUES in sheets:
            frame = _with_tissues(frame, read_table(path, strict=strict, sheet=sheets[_TISSUES]), findings)
        if _DECODE in sheets:
            names = _labels(read_table(path, sheet=sheets[_DECODE], header=False))
            found = frame["cancer_type"].map(names, na_action="ignore").astype(object)
            if found.notna().any():
                frame.insert(
                    list(frame.columns).index("cancer_type") + 1, "cancer_type_name", found.where(found.notna(), None)
                )
    return Reading("gdsc-cell-lines", (Part("samples", frame, id_kind="cosmic"),), findings.all())


def _lines(table: Table, findings: Findings) -> pd.DataFrame:
    """Return the first sheet, index = COSMIC id."""
    cosmic = required(id_column(table, *ids.COSMIC), ids.COSMIC[2], table)
    texts = {name: text_column(table, *names) for name, names in _TEXTS.items()}
    texts["cancer_type"] = ids.cancer_types(table)
    measured = {name: text_column(table, *names) for name, names in _MEASURED.items()}
    names = texts["name"] if texts["name"] is not None else np.full(len(table), "", dtype=object)
    total = np.array([re.fullmatch(r"total:?", str(name), re.IGNORECASE) is not None for name in names]) & (
        cosmic == ""
    )
    lacking = (cosmic == "") & ~total
    if n := int(lacking.sum()):
        shown = [name or f"row {table.row_of(int(i))}" for i, name in zip(*_where(lacking, names), strict=True)]
        findings.mended("rows-without-id", f"{n} lines have no COSMIC id and are left out.", shown, n)
    keep = ~total & ~lacking
    index = _index(cosmic[keep])
    columns = {name: column[keep] for name, column in texts.items() if column is not None}
    frame = pd.DataFrame(columns, index=index, dtype=object).replace({"": None})
    for name, column in measured.items():
        if column is not None:
            frame[name] = _yes(column[keep], name, index)
            if total.any():
                _check_total(str(column[total][0]), int(frame[name].sum()), name, findings)
    if total.any():
        rows = [f"row {table.row_of(int(row))}" for row in np.flatnonzero(total)]
        findings.info("total-row", "the row of totals at the end is no cell line and is left out.", rows)
    return frame


def _where(mask: np.ndarray, names: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.flatnonzero(mask), names[mask]


def _index(cosmic: np.ndarray) -> pd.Index:
    index: pd.Index = pd.Index(cosmic, name="sample_id", dtype=object)
    if index.empty:
        raise DataError("it has no cell line with a COSMIC id.")
    if wrong := [text for text in index if not text.isdecimal()]:
        raise DataError(f"{len(wrong)} COSMIC ids are no numbers: {examples(wrong)}.")
    if index.has_duplicates:
        twice = index[index.duplicated()].unique()
        raise DataError(f"{len(twice)} COSMIC ids occur more than once: {examples(twice)}; make them unique.")
    return index


def _yes(words: np.ndarray, name: str, index: pd.Index) -> pd.Series:
    plain: pd.Series = pd.Series(words, index=index).str.upper()
    if len(other := plain[~plain.isin(["Y", "N", ""])]):
        raise DataError(f"{len(other)} cells of {name} are neither Y nor N: {examples(other)}.")
    return plain.map({"Y": True, "N": False}).astype("boolean")


def _check_total(said: str, counted: int, name: str, findings: Findings) -> None:
    if said.isdecimal() and int(said) != counted:
        message = (
            f"the row of totals says {said} lines for {name}, but {counted} are marked: rows are missing or changed."
        )
        findings.warn("totals-differ", message)


def _with_tissues(frame: pd.DataFrame, table: Table, findings: Findings) -> pd.DataFrame:
    """Add site and histology of the sheet of COSMIC's classification, and the lines that only it has."""
    cosmic = id_column(table, *ids.COSMIC)
    if cosmic is None:
        findings.warn("no-tissues", "the sheet of COSMIC's tissues has no COSMIC ids and is not read.")
        return frame
    columns = {"other_name": ("Line",), "site": ("Site",), "histology": ("Histology",)}
    found = {name: text_column(table, *names) for name, names in columns.items()}
    more = pd.DataFrame({name: texts for name, texts in found.items() if texts is not None}, index=cosmic, dtype=object)
    more = more[(cosmic != "") & ~pd.Index(cosmic).duplicated()].replace({"": None})
    only = more.index.difference(frame.index, sort=False)
    if len(only):
        shown = [str(name) for name in (more.loc[only, "other_name"] if "other_name" in more else only)]
        findings.info("tissue-sheet-only", f"{len(only)} lines stand only in the sheet of COSMIC's tissues.", shown)
    index = frame.index.append(pd.Index(only, dtype=object)).rename("sample_id")
    whole = frame.reindex(index).join(more)
    if "other_name" in whole:
        if "name" in whole:
            whole["name"] = whole["name"].where(whole["name"].notna(), whole["other_name"])
            whole["other_name"] = whole["other_name"].where(whole["other_name"] != whole["name"], None)
        if whole["other_name"].isna().all():
            whole = whole.drop(columns="other_name")
    texts = whole.drop(columns=[c for c in _MEASURED if c in whole]).astype(object)
    return whole.assign(**{str(c): texts[c].where(texts[c].notna(), None) for c in texts})


def _labels(table: Table) -> dict[str, str]:
    """Return what TCGA's labels stand for, from a sheet of labels and definitions below each other."""
    if len(table.columns) < 2:
        return {}
    found = dict(zip(table.text(0), table.text(1), strict=True))
    found = {label: name for label, name in found.items() if _LABEL.fullmatch(label) and name}
    if "COREAD" in found:
        found["COAD/READ"] = found["COREAD"]
    return found


def _recognise(seen: Glimpse) -> float:
    if has_any(seen, ("Sample Name",), ("COSMIC identifier",)):
        return 0.95
    return 0.6 if _LINES in map(plain_name, seen.sheets) else 0.0


CELL_LINES = FileKind(
    "gdsc-cell-lines",
    "GDSC cell lines (Cell_Lines_Details)",
    "GDSC",
    _recognise,
    read_gdsc_cell_lines,
    ids.LICENCE,
    ("strict",),
)
