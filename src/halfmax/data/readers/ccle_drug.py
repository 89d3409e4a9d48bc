"""CCLE's drug screen: 24 compounds at up to eight doses (Barretina et al., Nature 2012), curves and their wells."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.data.findings import Findings
from halfmax.data.readers.glimpse import Glimpse
from halfmax.data.readers.kinds import FileKind, Part, Reading
from halfmax.data.readers.screens import entity_part, ln_of, number_column, required, response_parts, text_column
from halfmax.data.tables import Table, read_table
from halfmax.errors import DataError, examples

_MEASURES = {"ln_ic50": "ln_ic50", "act_area": "act_area"}
_LIST = re.compile(r"\s*,\s*")
_TOLERANCE = 1e-6


def read_ccle_drug(path: Path | str, *, strict: bool = False) -> Reading:
    """Read ``CCLE_NP24.2009_Drug_data_2015.02.24.csv``.

    The parts are the responses ln_ic50 and act_area (the area above the curve, 0 to 8: one for every dose without a
    living cell), the wells (dose [µM], viability, sd), the drugs and the samples. An IC50 at the highest dose means
    that the curve did not reach half: ``at_highest_dose`` marks it, and it is counted.

    Parameters
    ----------
    path
        CSV; doses, activities and their spread are lists in quotes.
    strict
        Raise DataError where something would be put right otherwise.

    Raises
    ------
    DataError
        If it lacks columns, holds text among the numbers, or lists of a row differ in length.
    """
    path, findings = Path(path), Findings(strict=strict)
    table = read_table(path, strict=strict)
    findings.extend(table.findings)
    try:
        samples = required(text_column(table, "CCLE Cell Line Name"), "CCLE Cell Line Name", table)
        drugs = required(text_column(table, "Compound"), "Compound", table)
        has = (samples != "") & (drugs != "")
        if not has.all():
            rows = [str(table.row_of(int(row))) for row in np.flatnonzero(~has)]
            raise DataError(f"{len(rows)} rows name no cell line or no compound, e.g. rows {examples(rows)}.")
        pairs = pd.DataFrame({"sample_id": samples, "drug_id": drugs}, dtype=object)
        wells = _wells(table, pairs)
        _add_measures(pairs, table, wells, findings)
        measures = {column: name for column, name in _MEASURES.items() if column in pairs}
        parts = response_parts(pairs, measures, findings, id_kind="ccle_name")
        lines = {"name": text_column(table, "Primary Cell Line Name"), "ccle_name": samples}
        about = {"name": drugs, "targets": text_column(table, "Target")}
        entities = (entity_part("drugs", drugs, about), entity_part("samples", samples, lines, "ccle_name"))
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    plate = () if wells is None else (Part("wells", wells, id_kind="ccle_name"),)
    return Reading("ccle-drug", (*parts, *plate, *entities), findings.all())


def _wells(table: Table, pairs: pd.DataFrame) -> pd.DataFrame | None:
    """Return one row a dose: sample_id, drug_id, dose [µM], viability (1 = as untreated), sd of the viability."""
    lists = {
        "dose": text_column(table, "Doses (uM)"),
        "viability": text_column(table, "Activity Data (median)", "Activity Data (raw median)"),
        "sd": text_column(table, "Activity SD"),
    }
    if lists["dose"] is None or lists["viability"] is None:
        return None
    found = {key: _numbers(column, key, table) for key, column in lists.items() if column is not None}
    counts = found["dose"][1]
    for key, (_, n) in found.items():
        if (unequal := np.flatnonzero(n != counts)).size:
            shown = [f"row {table.row_of(int(r))}: {counts[r]} doses, {n[r]} of {key}" for r in unequal[:4]]
            raise DataError(f"{len(unequal)} rows have lists of unequal length: {examples(shown)}.")
    row = np.repeat(np.arange(len(pairs)), counts)
    wells = pairs.iloc[row].reset_index(drop=True)
    wells["dose"] = found["dose"][0]
    wells["viability"] = 1 + found["viability"][0] / 100
    if "sd" in found:
        wells["sd"] = found["sd"][0] / 100
    if (wells["dose"] <= 0).any():
        raise DataError(f"{int((wells['dose'] <= 0).sum())} doses are zero or negative.")
    return wells


def _numbers(
    column: npt.NDArray[np.object_], what: str, table: Table
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return the numbers of all lists one after another, and how many each list has."""
    split = [_LIST.split(text.strip()) if text.strip() else [] for text in column]
    counts = np.array([len(cells) for cells in split], dtype=np.int64)
    cells = pd.Series([cell for row in split for cell in row], dtype=object)
    values = pd.to_numeric(cells, errors="coerce").to_numpy(dtype=np.float64)
    if (bad := np.flatnonzero(~np.isfinite(values) & ~cells.isin(["", "NA", "NaN", "nan"]).to_numpy())).size:
        row = np.repeat(np.arange(len(counts)), counts)
        shown = [f"row {table.row_of(int(row[i]))}: {cells[i]!r}" for i in bad[:4]]
        raise DataError(f"{len(bad)} numbers among the lists of {what} cannot be read: {examples(shown)}.")
    return values, counts


def _add_measures(pairs: pd.DataFrame, table: Table, wells: pd.DataFrame | None, findings: Findings) -> None:
    ic50 = number_column(table, "IC50 (uM)")
    if ic50 is not None:
        pairs["ln_ic50"] = ln_of(ic50, "IC50", findings)
    if (area := number_column(table, "ActArea")) is not None:
        pairs["act_area"] = area
        findings.info(
            "act-area", f"ActArea runs from {np.nanmin(area):.3g} to {np.nanmax(area):.3g} of 8, higher is sensitive."
        )
    if ic50 is not None and wells is not None:
        top = wells.groupby(["sample_id", "drug_id"], sort=False)["dose"].max()
        highest = top.reindex(pd.MultiIndex.from_frame(pairs[["sample_id", "drug_id"]])).to_numpy(dtype=np.float64)
        pairs["at_highest_dose"] = ic50 >= highest * (1 - _TOLERANCE)
        if n := int(pairs["at_highest_dose"].sum()):
            share = f"{n:,} of {len(pairs):,} IC50 ({n / len(pairs):.0%})"
            message = f"{share} are the highest dose: the curve did not reach half. Marked at_highest_dose."
            findings.warn("at-highest-dose", message, count=n)
    for name, column in (("ln_ec50", "EC50 (uM)"), ("amax", "Amax")):
        if (values := number_column(table, column)) is not None:
            pairs[name] = ln_of(values, "EC50", findings) if name == "ln_ec50" else values
    if (fits := text_column(table, "FitType")) is not None:
        pairs["fit_type"] = fits


def _recognise(seen: Glimpse) -> float:
    return 0.95 if seen.has("CCLE Cell Line Name", "Compound", "Doses (uM)") else 0.0


DRUG = FileKind(
    "ccle-drug",
    "CCLE drug screen of 24 compounds",
    "CCLE",
    _recognise,
    read_ccle_drug,
    "CCLE terms of use (sites.broadinstitute.org/ccle)",
    ("strict",),
)
