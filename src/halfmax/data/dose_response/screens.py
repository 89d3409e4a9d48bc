"""Published raw screens as tables of wells: the GDSC raw layout and the CCLE drug file."""

from __future__ import annotations

import numpy as np
import pandas as pd

from halfmax.data.dose_response.wells import as_text, numbers_of
from halfmax.data.findings import Findings
from halfmax.data.tables import plain_name
from halfmax.errors import DataError, examples

_GDSC = ("BARCODE", "POSITION", "TAG", "DRUG_ID", "CONC", "INTENSITY")
_CCLE = ("CCLE Cell Line Name", "Compound", "Doses (uM)", "Activity Data (median)")
_SINGLE, _COMBINED = r"[ALR]\d+(?:-D\d+)?-S", r"[ALR]\d+(?:-D\d+)?-C"
#: Columns of the plates that are sold, by their number of wells.
_PLATE_COLUMNS = {96: 12, 384: 24, 1536: 48}


def wells_from_gdsc(
    frame: pd.DataFrame, findings: Findings | None = None, *, sample: str = "COSMIC_ID", negative: str = "NC-1"
) -> pd.DataFrame:
    """Return the wells of a GDSC raw data table (``GDSC1_public_raw_data_…``, ``GDSC2_public_raw_data_…``).

    Tags ``L1-D1-S`` are a drug at one of its doses (D1 the highest) alone, ``NC-0`` untreated and ``NC-1`` vehicle
    controls, ``PC-…`` positive controls, ``B`` blanks. Wells with two drugs (``…-C``) and unused ones are left out.

    Parameters
    ----------
    frame
        The official columns, as text or numbers.
    findings
        Told what is left out.
    sample
        Column that names the sample: ``COSMIC_ID``, ``CELL_LINE_NAME`` or ``MASTER_CELL_ID``.
    negative
        Tag of the negative controls; a plate that has none of these uses its other ``NC`` wells.

    Returns
    -------
    DataFrame
        Columns sample_id, drug_id, dose [µM], intensity, plate, role, tag, row, column; and sample_name, project and
        drug_set where the table has them. Positive controls keep their drug and dose, and so can be curves as well.

    Raises
    ------
    DataError
        If a column is missing, or no well holds one drug.
    """
    findings = findings or Findings()
    at = _columns(frame, (*_GDSC, sample), "a GDSC raw data table")
    tag = as_text(frame[at["TAG"]]).fillna("").str.upper()
    role = _gdsc_roles(tag, as_text(frame[at["BARCODE"]]), negative.upper(), findings)
    wells = pd.DataFrame(
        {
            "sample_id": as_text(frame[at[sample]]),
            "drug_id": as_text(frame[at["DRUG_ID"]]).where(role.isin(["drug", "positive"]), None),
            "dose": numbers_of(frame[at["CONC"]], "CONC"),
            "intensity": numbers_of(frame[at["INTENSITY"]], "INTENSITY"),
            "plate": as_text(frame[at["BARCODE"]]),
            "role": role,
            "tag": tag,
            "position": numbers_of(frame[at["POSITION"]], "POSITION"),
        }
    )
    for name, column in (
        ("sample_name", "CELL_LINE_NAME"),
        ("project", "RESEARCH_PROJECT"),
        ("drug_set", "DRUGSET_ID"),
    ):
        if column in frame:
            wells[name] = as_text(frame[column])
    place = _places(wells["position"].to_numpy())
    wells["row"], wells["column"] = place
    wells = _one_row_a_well(wells[role != "left out"], findings).drop(columns="position").reset_index(drop=True)
    if not (wells["role"] == "drug").any():
        raise DataError(f"no well holds one drug (tags such as L1-D1-S); the tags are {examples(tag.unique(), 6)}.")
    return wells


def wells_from_ccle(frame: pd.DataFrame, findings: Findings | None = None) -> pd.DataFrame:
    """Return the points of the CCLE drug file (``CCLE_NP24.2009_Drug_data_….csv``), whose cells hold lists.

    Activities are medians over replicates, 0 for no effect and -100 for no live cells; viability is 1 + activity / 100.

    Parameters
    ----------
    frame
        The official columns, as text.
    findings
        Told what is left out.

    Returns
    -------
    DataFrame
        Columns sample_id (CCLE name), drug_id (compound), dose [µM], viability, role, sample_name.

    Raises
    ------
    DataError
        If a column is missing, or lists hold other than numbers.
    """
    findings = findings or Findings()
    at = _columns(frame, _CCLE, "the CCLE drug file")
    doses, activities = (frame[at[name]].astype("string").fillna("").str.split(",") for name in _CCLE[2:])
    same = (doses.map(len) == activities.map(len)).to_numpy()
    if not same.all():
        rows = [f"row {i}" for i in np.flatnonzero(~same)[:10]]
        message = f"{int((~same).sum())} curves have another number of doses than of activities; left out."
        findings.mended("lists-differ", message, rows, int((~same).sum()))
    wells = pd.DataFrame(
        {
            "sample_id": as_text(frame[at[_CCLE[0]]]),
            "drug_id": as_text(frame[at[_CCLE[1]]]),
            "dose": doses,
            "viability": activities,
        }
    )
    if "Primary Cell Line Name" in frame:
        wells["sample_name"] = as_text(frame["Primary Cell Line Name"])
    wells = wells[same].explode(["dose", "viability"], ignore_index=True)
    wells["dose"] = numbers_of(wells["dose"], _CCLE[2])
    wells["viability"] = 1 + numbers_of(wells["viability"], _CCLE[3]) / 100
    return wells.assign(role="drug")


def _columns(frame: pd.DataFrame, wanted: tuple[str, ...], what: str) -> dict[str, object]:
    """Return the frame's own names of the wanted columns, whatever capitals and signs."""
    plain = {plain_name(str(column)): column for column in frame.columns}
    if missing := [name for name in wanted if plain_name(name) not in plain]:
        raise DataError(f"{what} has the columns {examples(missing, 8)}, which this one lacks: {examples(plain, 20)}.")
    return {name: plain[plain_name(name)] for name in wanted}


def _gdsc_roles(tag: pd.Series, plate: pd.Series, negative: str, findings: Findings) -> pd.Series:
    role = pd.Series("left out", index=tag.index, dtype=object)
    role[tag.str.fullmatch(_SINGLE)] = "drug"
    role[tag.str.fullmatch(r"PC(?:-.*|\d*)")] = "positive"
    role[tag == "B"] = "blank"
    controls = tag.str.fullmatch(r"NC(?:-?\d+)?|DMSO")
    wanted = tag == negative
    lacking = controls & ~plate.isin(plate[wanted])
    role[wanted | lacking] = "negative"
    if lacking.any():
        plates = list(plate[lacking].unique())
        message = f"{len(plates)} plates have no {negative} wells; their other negative controls are taken."
        findings.warn("other-negative-controls", message, plates)
    combined, unused = tag.str.fullmatch(_COMBINED), tag.str.startswith("UN-") | (tag == "")
    told = {
        "unused-wells": (unused, "unused wells are left out."),
        "combined-wells": (combined, "wells hold two drugs; left out."),
        "other-controls": (controls & (role == "left out"), f"negative controls other than {negative} are left out."),
    }
    known = role != "left out"
    for code, (rows, words) in told.items():
        if rows.any():
            findings.info(code, f"{int(rows.sum())} {words}", list(tag[rows].unique()[:3]), int(rows.sum()))
        known |= rows
    if not known.all():
        message = f"{int((~known).sum())} wells have a tag that is not known; left out."
        findings.warn("unknown-tags", message, list(tag[~known].unique()), int((~known).sum()))
    return role


def _places(position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return row and column, counted from 1; wells are counted along the rows."""
    top = np.nanmax(position, initial=1)
    n_columns = next((n for size, n in _PLATE_COLUMNS.items() if top <= size), 48)
    return (position - 1) // n_columns + 1, (position - 1) % n_columns + 1


def _one_row_a_well(wells: pd.DataFrame, findings: Findings) -> pd.DataFrame:
    """Leave out repeated rows, and wells that hold two drugs in two rows."""
    well = ["plate", "position"]
    repeated = wells.duplicated([*well, "tag", "drug_id", "dose", "intensity"])
    if repeated.any():
        message = f"{int(repeated.sum())} rows repeat another row of the same well; left out."
        findings.mended("repeated-rows", message, list(wells.loc[repeated, "plate"].unique()), int(repeated.sum()))
        wells = wells[~repeated]
    several = wells.duplicated(well, keep=False) & wells["position"].notna()
    if several.any():
        message = f"{int(several.sum())} rows share their well with another drug or control; left out."
        findings.mended("shared-wells", message, list(wells.loc[several, "tag"].unique()), int(several.sum()))
    return wells[~several]
