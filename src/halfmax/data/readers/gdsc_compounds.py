"""GDSC's drugs: screened_compounds of the releases, and the web site's lists of drugs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from halfmax.data.findings import Findings
from halfmax.data.readers import gdsc_ids as ids
from halfmax.data.readers.gdsc_ids import has_any, id_column
from halfmax.data.readers.glimpse import Glimpse
from halfmax.data.readers.kinds import FileKind, Part, Reading
from halfmax.data.readers.places import naming
from halfmax.data.readers.screens import required, text_column
from halfmax.data.tables import read_table

_NAMES = (*ids.DRUG_NAME, "Name")
_TEXTS: Mapping[str, tuple[str, ...]] = {
    "synonyms": ("SYNONYMS", "Synonyms"),
    "targets": ids.TARGETS,
    "pathway": ids.PATHWAY,
    "pubchem": ("PubCHEM", "PubChem", "PUBCHEM_CID"),
    "screening_site": ("SCREENING_SITE", "Screening site"),
    "n_cell_lines": ("number of cell lines", "Sample Size", "Count"),
}
_CID = re.compile(r"\d+")


def read_gdsc_compounds(path: Path | str, *, strict: bool = False) -> Reading:
    """Read ``screened_compounds_rel_….csv`` or a list of drugs from the web site (2019, 2022).

    A name with several of GDSC's numbers has a row under the name, with what is said of any of them, and one for each
    number under ``Name (number)``: so the table fits the drug ids of any file of responses, of one screen or both.

    Parameters
    ----------
    path
        CSV, TSV, gzip, workbook or Parquet.
    strict
        Raise DataError where something would be put right otherwise.

    Returns
    -------
    Reading
        ``drugs``: name, gdsc_drug_id, synonyms, targets, pathway, pubchem, screening_site, screen, n_cell_lines, as
        far as the file has them; `` | `` stands between what several rows of a drug say.

    Raises
    ------
    DataError
        If it has no column of names or numbers, or no drug.
    """
    path, findings = Path(path), Findings(strict=strict)
    table = read_table(path, strict=strict)
    findings.extend(table.findings)
    with naming(path):
        names = required(text_column(table, *_NAMES), ids.DRUG_NAME[0], table)
        numbers = required(id_column(table, *ids.DRUG_ID), ids.DRUG_ID[0], table)
        screens = text_column(table, *ids.SCREEN)
        texts = {name: text_column(table, *at) for name, at in _TEXTS.items()}
        frame = pd.DataFrame(
            {"name": names, "gdsc_drug_id": numbers, "screen": "" if screens is None else screens}
            | {name: column for name, column in texts.items() if column is not None},
            dtype=object,
        )
        if n := int((frame["name"] == "").sum()):
            rows = [f"row {table.row_of(int(row))}" for row in np.flatnonzero(frame["name"] == "")]
            findings.mended("rows-without-id", f"{n} rows have no name of a drug and are left out.", rows, n)
            frame = frame[frame["name"] != ""].reset_index(drop=True)
        frame = _with_cids(frame, findings)
        drugs = _drugs(frame, findings)
    return Reading("gdsc-compounds", (Part("drugs", drugs),), findings.all())


def _with_cids(frame: pd.DataFrame, findings: Findings) -> pd.DataFrame:
    """Keep PubChem CIDs where there is one; ``several`` and lists name no one compound."""
    if "pubchem" not in frame:
        return frame
    known = frame["pubchem"].map(lambda text: _CID.fullmatch(text) is not None)
    other = frame[~known & ~frame["pubchem"].isin(["", "none"])]
    if len(other):
        shown = [f"{name}: {text}" for name, text in zip(other["name"], other["pubchem"], strict=True)]
        message = f"{len(other)} drugs have no PubChem CID but a word or several CIDs; left empty."
        findings.info("no-single-cid", message, shown)
    return frame.assign(pubchem=frame["pubchem"].where(known, ""))


def _drugs(frame: pd.DataFrame, findings: Findings) -> pd.DataFrame:
    """Return a row a name, and besides one a number where a name has several, and one a screen where a number has."""
    n_numbers = frame.groupby("name")["gdsc_drug_id"].transform("nunique")
    n_screens = frame.groupby(["name", "gdsc_drug_id"])["screen"].transform("nunique")
    one_screen = frame.assign(screen=frame["screen"].where(n_numbers < 0, "")).drop_duplicates(["name", "gdsc_drug_id"])
    by_number = frame.merge(
        ids.with_numbers(one_screen[["name", "gdsc_drug_id", "screen"]]).drop(columns="screen"),
        on=["name", "gdsc_drug_id"],
    )
    by_screen = frame.assign(label=frame["name"] + " (" + frame["gdsc_drug_id"] + ", " + frame["screen"] + ")")
    levels = [
        frame.assign(label=frame["name"]),
        by_number[by_number["label"] != by_number["name"]],
        by_screen[(n_screens > 1).to_numpy()],
    ]
    tables = [ids.joined(level, "label") for level in levels if len(level)]
    drugs = pd.concat(tables).rename_axis("drug_id")
    several = frame.loc[n_numbers > 1, "name"].unique()
    if len(several):
        message = f"{len(several)} drugs have several of GDSC's numbers: rows under the name and under each number."
        findings.info("rescreens", message, list(several))
    return drugs.dropna(axis=1, how="all")


def _recognise(seen: Glimpse) -> float:
    if not has_any(seen, ids.DRUG_ID, _NAMES, ids.TARGETS) or has_any(seen, ids.NAME):
        return 0.0
    return 0.95 if has_any(seen, ids.PATHWAY) else 0.5


COMPOUNDS = FileKind(
    "gdsc-compounds",
    "GDSC screened compounds",
    "GDSC",
    _recognise,
    read_gdsc_compounds,
    ids.LICENCE,
    ("strict",),
)
