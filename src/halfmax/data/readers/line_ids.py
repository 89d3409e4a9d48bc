"""Which cell line a row of a Broad table is: its ACH id where there is one, else its CCLE name, else what there is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.data.findings import Findings
from halfmax.data.tables import plain_name, read_table
from halfmax.errors import DataError, examples

ACH = re.compile(r"ACH-\d{6}")
SIDM = re.compile(r"SIDM\d{5}")
#: Tissues that end a CCLE name (``A549_LUNG``), those of more than a few lines.
CCLE_TISSUES = (
    "HAEMATOPOIETIC_AND_LYMPHOID_TISSUE", "LUNG", "SKIN", "CENTRAL_NERVOUS_SYSTEM", "BREAST",
    "UPPER_AERODIGESTIVE_TRACT", "LARGE_INTESTINE", "SOFT_TISSUE", "OVARY", "BONE", "KIDNEY", "PANCREAS",
    "AUTONOMIC_GANGLIA", "STOMACH", "BILIARY_TRACT", "OESOPHAGUS", "FIBROBLAST", "MATCHED_NORMAL_TISSUE",
    "URINARY_TRACT", "ENDOMETRIUM", "PLEURA", "LIVER", "THYROID", "CERVIX", "PROSTATE", "SMALL_INTESTINE",
    "SALIVARY_GLAND", "PLACENTA", "TESTIS", "EYE", "UVEA", "ADRENAL_CORTEX", "ENGINEERED",
)  # fmt: skip
CCLE_NAME = re.compile(r"[A-Za-z0-9]+_(?:" + "|".join(CCLE_TISSUES) + r")(?:_\w+)?")
#: Columns that name a cell line or one of its profiles, written plainly, and what they hold.
ID_COLUMNS: Mapping[str, str] = {
    "modelid": "ach", "depmapid": "ach", "achid": "ach", "cclename": "ccle_name", "ccleid": "ccle_name",
    "cclecelllinename": "ccle_name", "sangermodelid": "sidm", "cosmicid": "cosmic", "rrid": "rrid",
    "celllinedisplayname": "name", "celllinename": "name", "strippedcelllinename": "stripped_name", "cellline": "name",
    "primarycelllinename": "name", "profileid": "profile", "sequencingid": "sequencing",
    "modelconditionid": "model_condition", "lineage1": "tissue", "lineage2": "cancer_type", "lineage3": "lineage_3",
    "lineage4": "lineage_4", "lineage5": "lineage_5", "lineage6": "lineage_6",
}  # fmt: skip
#: Columns that say whether a row speaks for its cell line, the surest first.
DEFAULT_COLUMNS = ("isdefaultentryformodel", "isdefaultentry", "isdefaultentryformc")
_PROFILES = ("model_condition", "profile", "sequencing")
_ORDER = ("ach", "ccle_name", "sidm", "name", *_PROFILES)
_YES, _NO = ("yes", "true", "1", "1.0", "t"), ("no", "false", "0", "0.0", "f", "")
_EMPTY = ("", "NA", "N/A", "nan", "NaN", "None", "null")


@dataclass(frozen=True)
class Lines:
    """The rows that stand for a cell line.

    Parameters
    ----------
    rows
        Positions of these rows in the file.
    ids
        Sample id of each.
    kind
        What most ids are, as `Part.id_kind` says it.
    samples
        The other names of each, a column a kind of id; index = id, each once.
    """

    rows: npt.NDArray[np.int64]
    ids: list[str]
    kind: str
    samples: pd.DataFrame


def is_id_column(name: str) -> bool:
    """Return whether a column of this name names a cell line or says whether a row is its default."""
    if name.endswith(")"):  # a gene, SYMBOL (entrez), as most columns are
        return False
    plain = plain_name(name)
    return plain in ID_COLUMNS or plain in DEFAULT_COLUMNS


def lines_of(texts: Mapping[str, npt.NDArray[np.object_]], findings: Findings) -> Lines:
    """Return which rows of a table to read and the ids of their cell lines.

    Rows that another row of the same cell line is the default for are left out and counted, as are rows without id.

    Parameters
    ----------
    texts
        Columns of text by name; one without name that holds ACH ids or CCLE names counts as such.
    findings
        Told what was left out, and which id was taken.

    Raises
    ------
    DataError
        If no column holds ids, or a column of defaults holds other words than yes and no.
    """
    rows = _default_rows(texts, findings)
    columns: dict[str, npt.NDArray[np.object_]] = {}
    for place, (name, column) in enumerate(texts.items()):
        kind = ID_COLUMNS.get(plain_name(name)) or (_kind_by_sight(column) if place == 0 else None)
        if kind == "ach" and not _share(ACH, column):
            kind = _kind_by_sight(column)
        if kind is not None and kind not in columns:
            columns[kind] = np.array(["" if c in _EMPTY else c for c in column[rows]], dtype=object)
    order = [kind for kind in _ORDER if kind in columns and any(columns[kind])]
    if not order:
        raise DataError(f"none of its columns {examples(texts, 6)} names cell lines: ACH ids or CCLE names are known.")
    ids, has = columns[order[0]].copy(), columns[order[0]] != ""
    for kind in (k for k in order[1:] if k == "ccle_name" and not has.all()):
        filled = ~has & (columns[kind] != "")
        ids[filled] = columns[kind][filled]
        message = f"{int(filled.sum())} samples have no {order[0]} id; their {kind} is the id."
        findings.warn("other-ids", message, list(ids[filled]), int(filled.sum()))
        has |= filled
    if not has.all():
        findings.mended("rows-without-id", f"{int((~has).sum())} rows name no cell line and are left out.")
    if order[0] in _PROFILES:
        message = f"the rows name no cell line, only a {order[0].replace('_', ' ')}; these are the sample ids. "
        message += "models= takes a table with their ModelID."
        findings.warn("profile-ids", message, list(ids[:3]))
    index = pd.Index(ids[has], name="sample_id", dtype=object)
    others = pd.DataFrame({k: c[has] for k, c in columns.items() if any(c)}, index=index, dtype=object)
    samples = others[~index.duplicated()].replace({"": None})
    return Lines(rows[has], list(ids[has]), order[0], samples)


def with_models(texts: Mapping[str, npt.NDArray[np.object_]], path: Path) -> dict[str, npt.NDArray[np.object_]]:
    """Return the columns of text with one of ACH ids, found in a table by the other ids.

    Parameters
    ----------
    texts
        Columns of text by name, one of them with ids of profiles, sequencings or model conditions.
    path
        A table with the column ModelID and one of those ids.

    Raises
    ------
    DataError
        If the table lacks these columns, or says two models of one id.
    """
    table = read_table(path)
    model = table.find("ModelID")
    for kind in _PROFILES:
        mine = next((name for name in texts if ID_COLUMNS.get(plain_name(name)) == kind), None)
        theirs = [i for i, name in enumerate(table.columns) if ID_COLUMNS.get(plain_name(name)) == kind]
        if mine is not None and len(theirs) == 1 and len(model) == 1:
            known = pd.Series(table.text(model[0]), index=table.text(theirs[0]), dtype=object)
            known = known[~pd.DataFrame({"id": known.index, "model": known.to_numpy()}).duplicated().to_numpy()]
            known = known[(known.index != "") & (known != "")]
            if twice := sorted(set(known.index[known.index.duplicated()])):
                raise DataError(f"{path}: {len(twice)} ids have several models: {examples(twice)}.")
            return {"ModelID": known.reindex(texts[mine]).fillna("").to_numpy(dtype=object), **texts}
    raise DataError(
        f"{path} does not say the models of these rows: it needs the column ModelID and one of {examples(texts, 6)}; "
        f"it has {examples(table.columns, 6)}."
    )


def _default_rows(texts: Mapping[str, npt.NDArray[np.object_]], findings: Findings) -> npt.NDArray[np.int64]:
    plain = {plain_name(name): name for name in texts}
    n_rows = len(next(iter(texts.values())))
    name = next((plain[column] for column in DEFAULT_COLUMNS if column in plain), None)
    if name is None:
        return np.arange(n_rows)
    keep = flags(texts[name], name)
    if not keep.any():
        raise DataError(f"none of its {n_rows} rows is a default entry: {name!r} never says yes.")
    if n := int((~keep).sum()):
        message = f"{n:,} of {n_rows:,} rows are not the default entry of their cell line ({name}) and are left out."
        findings.info("default-entries", message, count=n)
    return np.flatnonzero(keep)


def flags(words: Sequence[str] | npt.NDArray[np.object_], name: str) -> npt.NDArray[np.bool_]:
    """Return words such as Yes, TRUE, 0 as booleans, an empty one as no; raise DataError for others."""
    known = {word: _flag(word, name) for word in dict.fromkeys(words)}
    return np.array([known[word] for word in words], dtype=bool)


def _flag(word: str, name: str) -> bool:
    plain = word.strip().lower()
    if plain in _YES or plain in _NO:
        return plain in _YES
    raise DataError(f"the column {name!r} holds {word!r}; yes or no, true or false, 1 or 0 are known.")


def _kind_by_sight(column: npt.NDArray[np.object_]) -> str | None:
    for kind, pattern in (("ach", ACH), ("ccle_name", CCLE_NAME), ("sidm", SIDM)):
        if _share(pattern, column):
            return kind
    return None


def _share(pattern: re.Pattern[str], column: npt.NDArray[np.object_]) -> bool:
    """Whether half of the first cells that are not empty are of this form."""
    seen = [cell for cell in column[:200] if cell not in _EMPTY]
    return bool(seen) and sum(pattern.fullmatch(cell) is not None for cell in seen) >= len(seen) / 2
