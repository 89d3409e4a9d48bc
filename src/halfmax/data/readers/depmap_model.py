"""Tables that say what cell lines are: DepMap's Model.csv of any release, and CCLE's annotations of 2018."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from halfmax.data.findings import Findings
from halfmax.data.readers.columns import SAMPLE_COLUMNS, attributes, ids, pick, rows_with_id
from halfmax.data.readers.glimpse import Glimpse
from halfmax.data.readers.kinds import FileKind, Part, Reading
from halfmax.data.tables import read_table
from halfmax.errors import DataError, examples

#: Ids of a cell line, named as `Part.id_kind` names them, and the columns that hold them.
OTHER_IDS = {
    "name": ("CellLineName", "cell_line_name", "Name"),
    "stripped_name": ("StrippedCellLineName", "stripped_cell_line_name"),
    "ccle_name": ("CCLEName", "CCLE_Name", "CCLE_ID"),
    "cosmic": ("COSMICID", "COSMIC_ID"),
    "sidm": ("SangerModelID", "Sanger_Model_ID"),
    "rrid": ("RRID",),
    "patient": ("PatientID", "patient_id"),
}
_FRACTION = re.compile(r"(\d+)\.0")
_ENDS = r"\.0$"


def read_depmap_model(path: Path | str, *, strict: bool = False) -> Reading:
    """Read DepMap's table of models: samples under ACH ids, their other ids and what is known about them.

    Columns differ between releases; all are kept, ids, tissue (OncotreeLineage) and cancer_type (OncotreeCode) under
    their usual names.

    Parameters
    ----------
    path
        ``Model.csv``, or ``sample_info.csv`` of releases up to 22Q4.
    strict
        Raise DataError where something would be put right otherwise.

    Raises
    ------
    DataError
        If it has no ids, or they repeat.
    """
    return _read_lines(Path(path), "depmap-model", ("ModelID", "DepMap_ID"), "ach", strict=strict)


def read_ccle_annotations(path: Path | str, *, strict: bool = False) -> Reading:
    """Read CCLE's ``Cell_lines_annotations_20181226.txt``: samples under ACH ids, or CCLE names where there are none.

    Parameters
    ----------
    path, strict
        As in `read_depmap_model`.

    Raises
    ------
    DataError
        If it has no ids, or they repeat.
    """
    return _read_lines(Path(path), "ccle-annotations", ("depMapID",), "ach", strict=strict)


def _read_lines(path: Path, kind: str, id_names: tuple[str, ...], id_kind: str, *, strict: bool) -> Reading:
    findings = Findings(strict=strict)
    table = read_table(path, strict=strict)
    findings.extend(table.findings)
    try:
        at = pick(table, "sample", id_names, None, findings)
        by_name = table.find(*OTHER_IDS["ccle_name"])
        if not by_name:
            table = rows_with_id(table, at, "sample", findings)
            index = ids(table, at, "sample", findings)
        else:
            index, names = table.text(at), table.text(by_name[0])
            lacking = pd.Index(index).isin(["", "NA"])
            index[lacking] = names[lacking]
            if lacking.any() and lacking.all():
                raise DataError(f"its column {table.columns[at]!r} holds no id.")
            if lacking.any():
                message = f"{int(lacking.sum())} samples have no ACH id; their CCLE name is the id."
                findings.warn("other-ids", message, list(names[lacking]), int(lacking.sum()))
        known = OTHER_IDS | SAMPLE_COLUMNS
        columns = attributes(table, [i for i in range(len(table.columns)) if i != at], known, findings)
        frame = pd.DataFrame(columns, index=pd.Index(index, name="sample_id", dtype=object), dtype=object)
        if (frame.index == "").any():
            raise DataError(f"{int((frame.index == '').sum())} rows have neither an ACH id nor a CCLE name.")
        if twice := sorted(set(frame.index[frame.index.duplicated()])):
            raise DataError(f"{len(twice)} sample ids occur more than once: {examples(twice)}; make them unique.")
        _whole_numbers(frame, findings)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    return Reading(kind, (Part("samples", frame, id_kind=id_kind),), findings.all())


def _whole_numbers(frame: pd.DataFrame, findings: Findings) -> None:
    """Write COSMIC ids that a program made fractions (``905933.0``) as whole numbers."""
    if "cosmic" not in frame:
        return
    fractions = frame["cosmic"].str.fullmatch(_FRACTION, na=False)
    if n := int(fractions.sum()):
        frame["cosmic"] = frame["cosmic"].str.replace(_ENDS, "", regex=True)
        findings.info("ids-as-fractions", f"{n} COSMIC ids were written as fractions (123.0); read as 123.", count=n)


def _is_model(seen: Glimpse) -> float:
    if seen.has("ModelID", "StrippedCellLineName") or seen.has("DepMap_ID", "stripped_cell_line_name"):
        return 0.95
    return 0.6 if seen.has("ModelID", "CellLineName") and not seen.has("HugoSymbol") else 0.0


MODEL = FileKind(
    "depmap-model",
    "DepMap table of models (cell lines)",
    "DepMap",
    _is_model,
    read_depmap_model,
    "DepMap releases: CC BY 4.0",
    ("strict",),
)
ANNOTATIONS = FileKind(
    "ccle-annotations",
    "CCLE annotations of cell lines",
    "CCLE",
    lambda seen: 0.95 if seen.has("CCLE_ID", "depMapID", "Site_Primary") else 0.0,
    read_ccle_annotations,
    "CCLE terms of use (sites.broadinstitute.org/ccle)",
    ("strict",),
)
