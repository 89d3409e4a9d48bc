"""The table of wells: which columns it must have, what each well holds, and what is left out before curves are made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import pandas as pd

from halfmax.data.findings import Findings
from halfmax.errors import DataError, examples

#: What a well can hold.
WELL_ROLES: Final = ("drug", "negative", "positive", "blank", "unused")
_ROLE_WORDS: Mapping[str, str] = {
    **{role: role for role in WELL_ROLES},
    **dict.fromkeys(("", "treated", "treatment", "sample", "compound"), "drug"),
    **dict.fromkeys(("nc", "dmso", "vehicle", "untreated", "control", "negative_control"), "negative"),
    **dict.fromkeys(("pc", "positive_control"), "positive"),
    **dict.fromkeys(("b", "background", "medium", "no_cells"), "blank"),
    **dict.fromkeys(("un-used", "empty"), "unused"),
}
_NUMBERS = ("dose", "intensity", "viability", "row", "column")


def check_wells(wells: pd.DataFrame, findings: Findings | None = None) -> pd.DataFrame:
    """Return a table of wells with plain roles, text ids and numbers.

    Parameters
    ----------
    wells
        One row a well: ``sample_id``; ``drug_id``; ``dose`` [µM]; ``viability`` (1 = untreated, 0 = no live cells) or
        ``intensity`` with ``plate`` and ``role``; optional ``row`` and ``column`` of the well on its plate, counted
        from 1. Roles are `WELL_ROLES`, or usual words for them such as ``DMSO``; without the column every well holds a
        drug. Other columns are kept.
    findings
        Told what is left out.

    Raises
    ------
    DataError
        If a column is missing, a role is unknown, a number is text, or viabilities are in percent.
    """
    findings = findings or Findings()
    _check_columns(wells)
    checked = wells.reset_index(drop=True).copy()
    for column in (c for c in _NUMBERS if c in checked):
        checked[column] = _numbers(checked[column], column, findings)
    checked["role"] = _roles(checked["role"]) if "role" in checked else "drug"
    for column in (c for c in ("sample_id", "drug_id", "plate") if c in checked):
        checked[column] = as_text(checked[column])
    if "viability" in checked:
        _check_viability(checked["viability"].to_numpy(np.float64))
    return _without_unusable(checked, findings)


def as_text(values: pd.Series) -> pd.Series:
    """Return ids as text, whole numbers without ``.0``, None where missing."""
    codes, distinct = pd.factorize(values)
    names = pd.Series(distinct)
    if pd.api.types.is_float_dtype(names.dtype) and (names % 1 == 0).all():
        names = names.astype("Int64")
    texts = names.astype("string").str.strip()
    if texts[texts.fillna("") != ""].str.fullmatch(r"\d+\.0").all():  # a column of whole numbers with gaps, as text
        texts = texts.str.removesuffix(".0")
    found = np.full(len(names) + 1, None, dtype=object)  # the last stands for what is missing, whose code is -1
    found[:-1] = texts.astype(object).where(texts.fillna("") != "", None)
    return pd.Series(found[codes], index=values.index, dtype=object)


def numbers_of(values: pd.Series, name: str) -> pd.Series:
    """Return a column as float64; raise DataError for text that is no number."""
    if pd.api.types.is_numeric_dtype(values.dtype):
        return values.astype(np.float64)
    texts = values.astype("string").str.strip()
    empty = texts.isna() | texts.str.lower().isin(["", "na", "nan", "null", "none"])
    found = pd.to_numeric(texts.where(~empty), errors="coerce").astype(np.float64)
    if (bad := found.isna() & ~empty).any():
        raise DataError(
            f"{int(bad.sum())} values of {name!r} are no numbers: {examples(texts[bad])}; write them with a decimal "
            "point, or leave them empty."
        )
    return found


def _check_columns(wells: pd.DataFrame) -> None:
    wanted = [c for c in ("sample_id", "drug_id", "dose") if c not in wells]
    if "viability" not in wells:
        wanted += [c for c in ("intensity", "plate", "role") if c not in wells]
    if wanted:
        raise DataError(
            f"the table of wells lacks {examples(wanted, 6)}; it has {examples(wells.columns, 12)}. It needs "
            "sample_id, drug_id, dose [µM], and either viability or intensity with plate and role."
        )
    if not len(wells):
        raise DataError("the table of wells has no rows.")


def _numbers(values: pd.Series, name: str, findings: Findings) -> pd.Series:
    found = numbers_of(values, name)
    infinite = np.isinf(found.to_numpy())
    if infinite.any():
        rows = [f"row {i}" for i in np.flatnonzero(infinite)[:10]]
        findings.mended("infinite", f"{int(infinite.sum())} values of {name!r} are infinite; read as missing.", rows)
    return found.mask(infinite)


def _roles(values: pd.Series) -> pd.Series:
    words = values.astype("string").fillna("").str.strip().str.lower()
    found = words.map(_ROLE_WORDS)
    if found.isna().any():
        raise DataError(
            f"{int(found.isna().sum())} wells have an unknown role: {examples(words[found.isna()].unique())}; "
            f"roles are {', '.join(WELL_ROLES)}."
        )
    return found.astype(object)


def _check_viability(values: np.ndarray) -> None:
    finite = values[np.isfinite(values)]
    if finite.size and float(np.median(np.abs(finite))) > 5:
        raise DataError(
            f"the viabilities have a median of {np.median(finite):.4g}, so they are not fractions (1 = untreated); "
            "divide percentages by 100, or name the column intensity if it is a raw signal."
        )


def _without_unusable(wells: pd.DataFrame, findings: Findings) -> pd.DataFrame:
    """Leave out wells with a drug but no sample, drug or positive dose."""
    treated = (wells["role"] == "drug").to_numpy()
    dose = wells["dose"].to_numpy(np.float64)
    causes = {
        "wells-without-id": treated & (wells["sample_id"].isna() | wells["drug_id"].isna()).to_numpy(),
        "wells-without-dose": treated & ~(dose > 0),
    }
    words = {"wells-without-id": "have no sample or no drug", "wells-without-dose": "have no dose above zero"}
    keep = np.ones(len(wells), dtype=bool)
    for code, bad in causes.items():
        bad = bad & keep
        if bad.any():
            rows = [f"row {i}" for i in np.flatnonzero(bad)[:10]]
            message = f"{int(bad.sum())} wells with a drug {words[code]}; left out."
            findings.mended(code, message, rows, int(bad.sum()))
            keep &= ~bad
    if not (keep & treated).any():
        raise DataError(
            f"none of the {len(wells)} wells holds a drug with a dose above zero; roles: "
            f"{examples(wells['role'].unique(), 5)}, e.g. doses {examples(wells['dose'].head(3))}."
        )
    return wells[keep].reset_index(drop=True)
