"""GDSC's fitted dose responses: the releases' workbooks and CSVs, and the web site's PANCANCER_IC exports."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.data.findings import Findings
from halfmax.data.readers import gdsc_ids as ids
from halfmax.data.readers.gdsc_ids import Rescreens, has_any, id_column
from halfmax.data.readers.glimpse import Glimpse
from halfmax.data.readers.kinds import FileKind, Part, Reading
from halfmax.data.readers.places import naming
from halfmax.data.readers.screens import entity_part, number_column, response_parts, text_column
from halfmax.data.tables import Table, read_table
from halfmax.data.units import RESPONSE_UNITS, convert_response, detect_response_unit
from halfmax.errors import DataError, UnknownNameError, did_you_mean, examples

_IC50 = ("LN_IC50", "IC50")
#: What is read of a pair besides ln IC50, and how the releases call it; doses in µM.
_NUMBERS: Mapping[str, tuple[str, ...]] = {
    "auc": ("AUC",),
    "rmse": ("RMSE",),
    "z_score": ("Z_SCORE",),
    "min_conc": ("MIN_CONC", "MIN_CONC_MICROMOLAR"),
    "max_conc": ("MAX_CONC", "MAX_CONC_MICROMOLAR"),
}
_CURVE = ("NLME_CURVE_ID", "CURVE_ID", "IC50_RESULTS_ID")
_LARGEST_AUC = 1.5


def read_gdsc_fitted(
    path: Path | str,
    *,
    screen: str | None = None,
    sample_id: str | None = None,
    rescreens: Rescreens = "separate",
    unit: str | None = None,
    strict: bool = False,
) -> Reading:
    """Read ``GDSC1_fitted_dose_response_….xlsx``, ``GDSC2_…``, the same as CSV, or ``PANCANCER_IC….csv``.

    Parameters
    ----------
    path
        Workbook, CSV, TSV, gzip or Parquet.
    screen
        ``GDSC1`` or ``GDSC2``, to read one of a file that holds both.
    sample_id
        Which ids the samples get: ``cosmic``, ``sidm`` or ``name``; the first that no row lacks if not given.
    rescreens
        What to do with drugs that have several of GDSC's numbers; see `halfmax.data.readers.gdsc_ids.drug_ids`.
    unit
        Unit of the column IC50, if it is not the natural logarithm of µM.
    strict
        Raise DataError where something would be put right otherwise.

    Returns
    -------
    Reading
        A ``response`` of ln_ic50 [ln µM] and one of auc, each with ln_ic50, auc, rmse, z_score, min_conc and max_conc
        [µM], gdsc_drug_id, screen and curve_id where the file has them; ``samples`` with the other ids; ``drugs``.

    Raises
    ------
    DataError
        If columns are missing, numbers are text or cannot be of their unit, or no row is left.
    """
    path, findings = Path(path), Findings(strict=strict)
    table = read_table(path, strict=strict)
    findings.extend(table.findings)
    with naming(path):
        columns = {"cosmic": id_column(table, *ids.COSMIC), "sidm": text_column(table, *ids.SIDM)}
        columns["name"] = text_column(table, *ids.NAME)
        samples, kind = ids.sample_ids(columns, sample_id, findings)
        keys = ids.drug_keys(table, findings)
        keep = _of_screen(keys["screen"], screen, findings)
        has = (samples != "") & (keys["name"] != "").to_numpy()
        if n := int((keep & ~has).sum()):
            rows = [f"row {table.row_of(int(row))}" for row in np.flatnonzero(keep & ~has)]
            findings.mended("rows-without-id", f"{n:,} rows name no cell line or no drug and are left out.", rows, n)
        keep &= has
        drugs = np.full(len(table), "", dtype=object)
        drugs[keep], kept = ids.drug_ids(keys[keep].reset_index(drop=True), rescreens, findings)
        keep[keep] = kept
        if rescreens == "average":
            keys = keys[["name"]].join(ids.joined(keys[keep].drop_duplicates(), "name"), on="name")
            keys = keys.where(keys.notna(), "")
        if not keep.any():
            raise DataError(f"none of its {len(table):,} rows is left.")
        pairs = _pairs(table, samples, drugs, keys, unit, findings)[keep].reset_index(drop=True)
        _tell_extrapolated(pairs, findings)
        measures = {f"value of {name}": name for name in ("ln_ic50", "auc") if name in pairs}
        pairs = pairs.assign(**{column: pairs[name] for column, name in measures.items()})
        parts = response_parts(pairs, measures, findings, id_kind=kind)
        about = ids.sample_columns(columns, kind) | {
            "tissue": text_column(table, *ids.TISSUE),
            "tissue_subtype": text_column(table, *ids.TISSUE_SUBTYPE),
            "cancer_type": ids.cancer_types(table),
        }
        agents = {
            "name": keys["name"].to_numpy(dtype=object),
            "gdsc_drug_id": keys["gdsc_drug_id"].to_numpy(dtype=object),
            "targets": text_column(table, *ids.TARGETS),
            "pathway": text_column(table, *ids.PATHWAY),
        }
        entities = (_entities("samples", samples, about, keep, kind), _entities("drugs", drugs, agents, keep, "name"))
    return Reading("gdsc-fitted", (*parts, *entities), findings.all())


def _of_screen(screens: pd.Series, wanted: str | None, findings: Findings) -> npt.NDArray[np.bool_]:
    """Return which rows are of the screen that was asked for."""
    known = [name for name in screens.unique() if name]
    if wanted is None:
        if len(known) > 1:
            findings.info("screens", f"it holds {len(known)} screens; screen= reads one of them.", known)
        return np.ones(len(screens), dtype=bool)
    if not known:
        raise DataError(f"it does not say of which screen its rows are, so {wanted!r} cannot be chosen.")
    keep = screens.str.upper() == wanted.upper()
    if not keep.any():
        raise UnknownNameError(f"it has no screen {wanted!r}.{did_you_mean(wanted, known)} It has: {', '.join(known)}.")
    if n := int((~keep).sum()):
        findings.info("other-screens", f"{n:,} rows of other screens than {wanted} are left out.", count=n)
    return np.array(keep, dtype=bool)


def _pairs(
    table: Table,
    samples: npt.NDArray[np.object_],
    drugs: npt.NDArray[np.object_],
    keys: pd.DataFrame,
    unit: str | None,
    findings: Findings,
) -> pd.DataFrame:
    """Return one row a curve: ids, numbers, and what tells one curve from another."""
    pairs: dict[str, npt.NDArray[np.object_] | npt.NDArray[np.float64]] = {"sample_id": samples, "drug_id": drugs}
    if (ln_ic50 := _ln_ic50(table, unit, findings)) is not None:
        pairs["ln_ic50"] = ln_ic50
    for name, names in _NUMBERS.items():
        if (values := number_column(table, *names)) is not None:
            pairs[name] = _finite(values, name)
    if "ln_ic50" not in pairs and "auc" not in pairs:
        raise DataError(f"it has no column {examples(_IC50)} or 'AUC'; its columns: {examples(table.columns, 12)}.")
    if "auc" in pairs and float(np.nanmax(pairs["auc"].astype(float), initial=0)) > _LARGEST_AUC:
        raise DataError(f"AUC runs up to {np.nanmax(pairs['auc']):.4g}; GDSC's is the mean viability, at most about 1.")
    for name in ("gdsc_drug_id", "screen"):
        if (keys[name] != "").any():
            pairs[name] = keys[name].to_numpy(dtype=object)
    if (curves := id_column(table, *_CURVE)) is not None:
        pairs["curve_id"] = curves
    return pd.DataFrame(pairs)


def _ln_ic50(table: Table, unit: str | None, findings: Findings) -> npt.NDArray[np.float64] | None:
    """Return ln IC50 [ln µM] and say how its unit is known; None if the file has no IC50."""
    column = next((name for name in _IC50 if table.find(name)), None)
    if column is None:
        return None
    values = _finite(number_column(table, column), column)
    if unit is not None:
        findings.info("unit", f"unit of {column}: {RESPONSE_UNITS.get(unit, unit)}; stated.")
        return convert_response(values, unit)
    if np.isnan(values).all():
        return values
    guess = detect_response_unit(values, "LN_IC50")
    if not guess.is_known:
        raise DataError(f"the unit of {column} is not clear: {guess.evidence}. Say it with unit=.")
    if column == "LN_IC50":
        findings.info("unit", f"unit: {RESPONSE_UNITS[guess.unit]}; {guess.evidence}.")
    elif n := int((values < 0).sum()):
        message = f"IC50 is read as ln µM, as GDSC's exports have it: {n:,} values are negative."
        findings.info("unit", message)
    else:
        message = "IC50 is read as ln µM, as GDSC's exports have it; no value is negative, so µM is possible too: "
        findings.warn("unit-doubt", f"{message}say unit='uM' if it is that.")
    return values


def _finite(values: npt.NDArray[np.float64] | None, name: str) -> npt.NDArray[np.float64]:
    if values is None:
        raise DataError(f"it has no column {name!r}.")
    if n := int(np.isinf(values).sum()):
        raise DataError(f"{n} values of {name} are infinite or too large.")
    return values


def _tell_extrapolated(pairs: pd.DataFrame, findings: Findings) -> None:
    """Say how many curves reach half their height only beyond the highest dose."""
    if {"ln_ic50", "max_conc"} <= set(pairs.columns):
        dose = pairs["max_conc"].to_numpy()
        beyond = pairs["ln_ic50"].to_numpy() > np.log(np.where(dose > 0, dose, np.nan))
        message = f"{int(beyond.sum()):,} of {len(beyond):,} IC50 lie above the highest dose (max_conc): extrapolated."
        findings.info("extrapolated", message, count=int(beyond.sum()))


def _entities(
    role: str,
    of_row: npt.NDArray[np.object_],
    columns: Mapping[str, npt.NDArray[np.object_] | None],
    keep: npt.NDArray[np.bool_],
    kind: str,
) -> Part:
    given = pd.DataFrame({name: texts for name, texts in columns.items() if texts is not None}).assign(id=of_row)
    distinct = given[keep].drop_duplicates()
    return entity_part(
        role,
        distinct.pop("id").to_numpy(dtype=object),
        {str(name): distinct[name].to_numpy(dtype=object) for name in distinct.columns},
        kind,
    )


def _recognise(seen: Glimpse) -> float:
    drug = has_any(seen, ids.DRUG_ID) or has_any(seen, ids.DRUG_NAME)
    line = has_any(seen, ids.COSMIC) or has_any(seen, ids.SIDM)
    if drug and line and has_any(seen, _IC50, _NUMBERS["auc"]):
        return 0.95
    return 0.7 if has_any(seen, ids.DRUG_ID) and line and has_any(seen, _IC50) else 0.0


FITTED = FileKind(
    "gdsc-fitted",
    "GDSC fitted dose responses",
    "GDSC",
    _recognise,
    read_gdsc_fitted,
    ids.LICENCE,
    ("screen", "sample_id", "rescreens", "unit", "strict"),
)
