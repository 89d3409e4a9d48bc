"""PRISM's secondary screen: fitted curves of pooled cell lines (Corsello et al., Nature Cancer 2020)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from halfmax.data.findings import Findings
from halfmax.data.readers.glimpse import Glimpse
from halfmax.data.readers.kinds import FileKind, Part, Reading
from halfmax.data.readers.line_ids import flags
from halfmax.data.readers.screens import entity_part, ln_of, number_column, required, response_parts, text_column
from halfmax.data.tables import Table, read_table
from halfmax.errors import DataError, examples

#: The screen that takes the place of the older ones for every compound in it.
PREFERRED_SCREEN = "MTS010"
_COMPOUND = r"^(BRD-[A-Z]\d{8})-.*$"
_MEASURES = {"ln_ic50": "ln_ic50", "auc": "auc", "ln_ec50": "ln_ec50"}
_CURVE = ("upper_limit", "lower_limit", "slope", "r2")


def read_prism_secondary(path: Path | str, *, screen: str = PREFERRED_SCREEN, strict: bool = False) -> Reading:
    """Read ``secondary-screen-dose-response-curve-parameters.csv``.

    The parts are a response for each of ln_ic50, auc and ln_ec50, the drugs and the samples. Rows that failed STR
    profiling are left out. A compound that was screened in `screen` is read from there alone. Drugs are compounds
    (``BRD-K12345678``): batches of one compound are averaged. All that is left out or averaged is counted.

    Parameters
    ----------
    path
        CSV, gzip or Parquet.
    screen
        The screen to prefer; MTS010 repeats compounds of the older ones.
    strict
        Raise DataError where something would be put right otherwise.

    Raises
    ------
    DataError
        If it lacks columns, holds text among the numbers, or no row is left.
    """
    path, findings = Path(path), Findings(strict=strict)
    table = read_table(path, strict=strict)
    findings.extend(table.findings)
    try:
        table = _passed(table, findings)
        samples, drugs, kind, table = _ids(table, findings)
        keep = _of_screen(table, drugs, screen, findings)
        table, samples, drugs = _take(table, keep), samples[keep], drugs[keep]
        pairs = pd.DataFrame({"sample_id": samples, "drug_id": drugs}, dtype=object)
        measures = _add_measures(pairs, table, findings)
        parts = response_parts(pairs, measures, findings, id_kind=kind)
        entities = _entities(table, samples, drugs, kind, findings)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    return Reading("prism-secondary", (*parts, *entities), findings.all())


def _take(table: Table, keep: npt.NDArray[np.bool_]) -> Table:
    return table if keep.all() else replace(table, data=table.data.filter(pa.array(keep)))


def _passed(table: Table, findings: Findings) -> Table:
    passed = text_column(table, "passed_str_profiling")
    if passed is None:
        findings.warn("no-str-profiling", "it has no column passed_str_profiling: mixed-up lines cannot be told.")
        return table
    keep = flags(passed, "passed_str_profiling")
    if not keep.any():
        raise DataError(f"none of its {len(keep):,} rows passed STR profiling.")
    if n := int((~keep).sum()):
        message = f"{n:,} of {len(keep):,} rows are of lines that did not pass STR profiling and are left out."
        findings.info("failed-str-profiling", message, count=n)
    return _take(table, keep)


def _ids(table: Table, findings: Findings) -> tuple[npt.NDArray[np.object_], npt.NDArray[np.object_], str, Table]:
    """Return sample and drug of each row, what the sample ids are, and the rows that have both."""
    ach, names = text_column(table, "depmap_id"), text_column(table, "ccle_name")
    samples = required(ach if ach is not None else names, "depmap_id", table).copy()
    kind = "ach" if ach is not None and (ach != "").any() else "ccle_name"
    if ach is not None and names is not None and (filled := (samples == "") & (names != "")).any():
        samples[filled] = names[filled]
        lines = sorted(set(names[filled]))
        message = f"{int(filled.sum()):,} rows of {len(lines)} lines have no ACH id; their CCLE name is the id."
        findings.warn("other-ids", message, lines, int(filled.sum()))
    broad = required(text_column(table, "broad_id"), "broad_id", table)
    drugs = pd.Series(broad, dtype=object).str.replace(_COMPOUND, r"\1", regex=True).to_numpy(dtype=object)
    has = (samples != "") & (drugs != "")
    if not has.any():
        raise DataError(f"none of its {len(has):,} rows names both a cell line and a compound.")
    if n := int((~has).sum()):
        findings.mended("rows-without-id", f"{n:,} rows name no cell line or no compound and are left out.", count=n)
    return samples[has], drugs[has], kind, _take(table, np.asarray(has, dtype=bool))


def _of_screen(table: Table, drugs: npt.NDArray[np.object_], screen: str, findings: Findings) -> npt.NDArray[np.bool_]:
    """Return which rows are of the preferred screen, or of a compound that it does not have."""
    screens = text_column(table, "screen_id")
    if screens is None:
        findings.warn("no-screens", "it has no column screen_id: screens cannot be told apart.")
        return np.ones(len(drugs), dtype=bool)
    known = sorted(set(screens))
    if screen not in known:
        findings.warn("no-such-screen", f"no row is of screen {screen}; those there are kept: {examples(known, 6)}.")
        return np.ones(len(drugs), dtype=bool)
    preferred = screens == screen
    again = ~preferred & pd.Index(drugs).isin(pd.unique(drugs[preferred]))
    if n := int(again.sum()):
        message = f"{n:,} rows of older screens are left out, because {screen} has the same compounds."
        findings.info("older-screens", message, sorted(set(screens[again])), n)
    if n := int((~preferred & ~again).sum()):
        message = f"{n:,} rows are of compounds that {screen} does not have; kept from the older screens."
        findings.info("only-older-screens", message, sorted(set(screens[~preferred & ~again])), n)
    return np.asarray(~again, dtype=bool)


def _add_measures(pairs: pd.DataFrame, table: Table, findings: Findings) -> dict[str, str]:
    """Add the columns of the measures and of the curves; return the measures there are."""
    for column, name in (("ln_ic50", "ic50"), ("ln_ec50", "ec50")):
        if (values := number_column(table, name)) is not None:
            pairs[column] = ln_of(values, name.upper(), findings)
    if (auc := number_column(table, "auc")) is not None:
        pairs["auc"] = auc
    for name in _CURVE:
        if (values := number_column(table, name)) is not None:
            pairs[name] = values
    if (screens := text_column(table, "screen_id")) is not None:
        pairs["screen_id"] = screens
    measures = {column: name for column, name in _MEASURES.items() if column in pairs}
    if not measures:
        raise DataError(f"it has no column ic50, auc or ec50; its columns: {examples(table.columns, 12)}.")
    if "auc" in pairs and float(np.nanmax(pairs["auc"], initial=0)) > 1.5:
        findings.warn("auc-scale", f"auc runs up to {np.nanmax(pairs['auc']):.3g}; 1 is an area without effect.")
    return measures


def _entities(
    table: Table, samples: npt.NDArray[np.object_], drugs: npt.NDArray[np.object_], kind: str, findings: Findings
) -> tuple[Part, Part]:
    smiles = text_column(table, "smiles")
    if smiles is not None:
        several = pd.Series(smiles, dtype=object).str.contains(",", regex=False)
        if n := len(set(drugs[several])):
            shown = sorted(set(drugs[several]))
            findings.info("several-structures", f"{n:,} drugs have several SMILES; the first is kept.", shown, n)
        smiles = pd.Series(smiles, dtype=object).str.partition(",")[0].str.strip().to_numpy(dtype=object)
    about = {
        "name": text_column(table, "name"),
        "targets": text_column(table, "target"),
        "pathway": text_column(table, "moa"),
        "smiles": smiles,
        "phase": text_column(table, "phase"),
        "disease_area": text_column(table, "disease.area"),
        "indication": text_column(table, "indication"),
        "broad_id": text_column(table, "broad_id"),
    }
    lines = entity_part("samples", samples, {"ccle_name": text_column(table, "ccle_name")}, kind)
    return entity_part("drugs", drugs, about), lines


def _recognise(seen: Glimpse) -> float:
    return (
        0.95 if seen.has("broad_id", "screen_id", "auc") and (seen.has("depmap_id") or seen.has("ccle_name")) else 0.0
    )


PRISM = FileKind(
    "prism-secondary",
    "PRISM secondary screen, dose–response parameters",
    "DepMap",
    _recognise,
    read_prism_secondary,
    "DepMap releases: CC BY 4.0",
    ("screen", "strict"),
)
