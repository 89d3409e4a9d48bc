"""A user's tables of samples and of drugs: one row each, usual column names, structures checked."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from pathlib import Path

import pandas as pd

from halfmax.data.findings import Findings
from halfmax.data.readers.columns import (
    DRUG,
    DRUG_COLUMNS,
    SAMPLE,
    SAMPLE_COLUMNS,
    SMILES,
    attributes,
    ids,
    pick,
    rows_with_id,
)
from halfmax.data.structures import check_smiles
from halfmax.data.tables import read_table
from halfmax.errors import DataError, did_you_mean, examples

_log = logging.getLogger(__name__)


def read_samples(path: Path | str, *, sample: str | None = None, strict: bool = False) -> pd.DataFrame:
    """Read a table of samples: index sample_id, text columns, tissue and cancer_type under these names.

    Raises
    ------
    DataError
        If ids are missing or occur twice.
    """
    frame, findings = samples_table(path, sample, strict=strict)
    _tell(path, findings)
    return frame


def read_drugs(
    path: Path | str, *, drug: str | None = None, smiles: str | None = None, strict: bool = False
) -> pd.DataFrame:
    """Read a table of drugs: index drug_id, name, targets, pathway, smiles (canonical, largest fragment) and the rest.

    Parameters
    ----------
    path
        Table with a column for the drug and, if structures are known, one for the SMILES.
    drug, smiles
        Names of these columns; found by their usual names if not given.
    strict
        Raise DataError for drugs without structure and for duplicate rows.

    Raises
    ------
    DataError
        If ids are missing, a SMILES is not valid, or one drug has two structures.
    """
    frame, findings = drugs_table(path, drug, smiles, strict=strict)
    _tell(path, findings)
    return frame


def _read_entities(
    path: Path | str,
    what: str,
    names: Sequence[str],
    given: str | None,
    known: dict[str, tuple[str, ...]],
    *,
    strict: bool,
    wanted: Collection[str],
    repeats: bool = False,
) -> tuple[pd.DataFrame, Findings]:
    findings = Findings(strict=strict)
    table = read_table(path, strict=strict)
    findings.extend(table.findings)
    try:
        at = pick(table, what, names, given, findings, wanted)
        table = rows_with_id(table, at, what, findings)
        index = pd.Index(ids(table, at, what, findings), name=f"{what}_id", dtype=object)
        if index.has_duplicates and not repeats:
            twice = index[index.duplicated()].unique()
            raise DataError(f"{len(twice)} {what} ids occur more than once: {examples(twice)}; make them unique.")
        columns = attributes(table, [i for i in range(len(table.columns)) if i != at], known, findings)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    return pd.DataFrame(columns, index=index), findings


def samples_table(
    path: Path | str, sample: str | None = None, *, strict: bool = False, wanted: Collection[str] = ()
) -> tuple[pd.DataFrame, Findings]:
    """Return the samples and what was found; `wanted` ids decide between several columns of ids."""
    return _read_entities(path, "sample", SAMPLE, sample, SAMPLE_COLUMNS, strict=strict, wanted=wanted)


def drugs_table(
    path: Path | str,
    drug: str | None = None,
    smiles: str | None = None,
    *,
    strict: bool = False,
    wanted: Collection[str] = (),
) -> tuple[pd.DataFrame, Findings]:
    """Return the drugs and what was found; `wanted` ids decide between several columns of ids."""
    known = {**DRUG_COLUMNS, "smiles": (smiles,) if smiles else SMILES}
    frame, findings = _read_entities(path, "drug", DRUG, drug, known, strict=strict, wanted=wanted, repeats=True)
    try:
        if smiles is not None and "smiles" not in frame:
            raise DataError(f"it has no column {smiles!r} for the SMILES.{did_you_mean(smiles, frame.columns)}")
        if "smiles" in frame:
            frame["smiles"] = _checked_smiles(frame["smiles"], findings)
        frame = _one_row_a_drug(frame, findings)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    return frame, findings


def _checked_smiles(column: pd.Series, findings: Findings) -> pd.Series:
    """Return canonical SMILES of the largest fragments."""
    known = column[column.notna()]  # pandas 3 makes NaN of None
    checked: dict[str, str] = {}
    wrong: list[str] = []
    for drug, text in known.items():
        if text in checked:
            continue
        try:
            checked[text] = check_smiles(text)
        except DataError as error:
            wrong.append(f"{drug}: {error}")
    if wrong:
        shown = " | ".join(wrong[:3])
        raise DataError(f"{len(wrong)} drugs have no valid SMILES: {shown} Correct them or leave them empty.")
    if empty := [str(drug) for drug in column.index[column.isna()]]:
        findings.mended("no-structure", f"{len(empty)} drugs have no SMILES; their structure counts as unknown.", empty)
    if salts := [str(drug) for drug, text in known.items() if "." in text]:
        message = f"{len(salts)} SMILES have several parts (salts, solvents); the largest is kept."
        findings.info("salts", message, salts)
    return column.map(checked, na_action="ignore")


def _one_row_a_drug(frame: pd.DataFrame, findings: Findings) -> pd.DataFrame:
    twice = frame.index[frame.index.duplicated()].unique()
    if not len(twice):
        return frame
    if "smiles" in frame:
        several = frame["smiles"].groupby(level=0).nunique()
        if len(other := several.index[several > 1]):
            raise DataError(f"{len(other)} drugs have more than one structure: {examples(other)}; keep one row each.")
    message = f"{len(twice)} drugs have several rows; the first that says something is kept for each column."
    findings.mended("duplicate-drugs", message, [str(d) for d in twice])
    return frame.groupby(level=0, sort=False).first()


def _tell(path: Path | str, findings: Findings) -> None:
    for finding in findings.all():
        _log.log(logging.WARNING if finding.level == "warning" else logging.INFO, "%s: %s", path, finding)
