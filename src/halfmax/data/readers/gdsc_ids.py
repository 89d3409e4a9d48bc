"""What a row of a GDSC file is about: its cell line by the best id there is, its drug by name and GDSC's number."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.data.findings import Findings
from halfmax.data.readers.glimpse import Glimpse
from halfmax.data.readers.screens import text_column
from halfmax.data.tables import Table
from halfmax.errors import DataError, UnknownNameError, did_you_mean, examples

LICENCE = "GDSC, Wellcome Sanger Institute and MGH: free for research; commercial use needs their permission"
Rescreens = Literal["separate", "average", "latest"]
#: What is read, and what the releases of 2012 to 2024 and the web site's exports call it.
COSMIC = ("COSMIC_ID", "Cosmic sample Id", "COSMIC identifier", "COSMIC sample ID", "Cosmic ID")
SIDM = ("SANGER_MODEL_ID", "Sanger model", "SIDM", "model_id")
NAME = ("CELL_LINE_NAME", "Cell line name", "Sample Name", "model_name", "Cell line")
DRUG_ID = ("DRUG_ID", "Drug Id")
DRUG_NAME = ("DRUG_NAME", "Drug name")
SCREEN = ("DATASET", "Dataset version", "DATASET_VERSION", "Datasets")
TARGETS = ("PUTATIVE_TARGET", "TARGET", "Targets", "Drug target")
PATHWAY = ("PATHWAY_NAME", "TARGET_PATHWAY", "Target pathway", "Pathway name")
CANCER_TYPE = ("TCGA_DESC", "TCGA classification", "TCGA label", "Cancer Type (matching TCGA label)", "Cancer Type")
TISSUE = ("Tissue", "gdsc_desc1", "GDSC Tissue descriptor 1", "GDSC desc 1")
TISSUE_SUBTYPE = ("Tissue sub-type", "gdsc_desc2", "GDSC Tissue descriptor 2", "GDSC desc 2")
#: What GDSC writes where a line fits no label of TCGA.
_NO_TYPE = ("UNCLASSIFIED", "UNABLE TO CLASSIFY")
#: Kind of id to the column of a table of samples, the best one first: every GDSC file of all years has COSMIC ids.
ID_COLUMNS: Mapping[str, str] = {"cosmic": "cosmic_id", "sidm": "sidm", "name": "name"}
_WHOLE = re.compile(r"\d+\.0")

Texts = npt.NDArray[np.object_]


def has_any(seen: Glimpse, *columns: Sequence[str]) -> bool:
    """Return whether a file has each of these columns under one of its names."""
    return all(any(seen.has(name) for name in names) for names in columns)


def id_column(table: Table, *names: str) -> Texts | None:
    """Return a column of ids as text, empty where there is none; numbers written as fractions (123.0) as 123."""
    texts = text_column(table, *names)
    if texts is None:
        return None
    distinct = [text for text in pd.unique(texts) if text]
    if distinct and all(_WHOLE.fullmatch(text) for text in distinct):
        plain = {text: text.removesuffix(".0") for text in ["", *distinct]}
        texts = np.array([plain[text] for text in texts], dtype=object)
    return texts


def cancer_types(table: Table) -> Texts | None:
    """Return TCGA labels, empty for the words by which GDSC says that there is none."""
    texts = text_column(table, *CANCER_TYPE)
    if texts is not None:
        texts[pd.Index(texts).isin(_NO_TYPE)] = ""
    return texts


def sample_ids(columns: Mapping[str, Texts | None], given: str | None, findings: Findings) -> tuple[Texts, str]:
    """Return the sample id of every row, empty where there is none, and what the ids are.

    Parameters
    ----------
    columns
        ``cosmic``, ``sidm`` and ``name`` to the texts, None where the file has no such column.
    given
        The kind to take; otherwise the first that no row lacks, or that fewest lack.
    findings
        Told which was taken and where one id has several names.

    Raises
    ------
    DataError
        If the file has none of the columns, or not the one that was asked for.
    """
    there = {kind: texts for kind, texts in columns.items() if texts is not None and (texts != "").any()}
    if given is not None and given not in there:
        if given not in ID_COLUMNS:
            hint = did_you_mean(given, ID_COLUMNS)
            raise UnknownNameError(f"there is no kind of sample id {given!r}.{hint} Kinds: {', '.join(ID_COLUMNS)}.")
        raise DataError(f"it has no {given} ids; it has {examples(there) or 'none of any kind'}.")
    if not there:
        raise DataError("no column names the cell lines: COSMIC ids, SIDM ids or names are known.")
    lacking = {kind: int((texts == "").sum()) for kind, texts in there.items()}
    kind = given or min(there, key=lambda k: (lacking[k], list(ID_COLUMNS).index(k)))
    ids = there[kind]
    if better := [k for k in list(ID_COLUMNS)[: list(ID_COLUMNS).index(kind)] if k in there and given is None]:
        message = f"{lacking[better[0]]:,} rows have no {better[0]} id, so the {kind} is the sample id."
        findings.warn("incomplete-ids", message, sorted(set(ids[there[better[0]] == ""])), lacking[better[0]])
    for other, texts in there.items():
        if other != kind:
            _tell_several(ids, texts, kind, other, findings)
    return ids, kind


def _tell_several(ids: Texts, texts: Texts, kind: str, other: str, findings: Findings) -> None:
    """Say where one id stands beside several others, and where several ids stand beside one."""
    pairs = pd.DataFrame({"id": ids, "other": texts}).drop_duplicates()
    pairs = pairs[(pairs["id"] != "") & (pairs["other"] != "")]
    for one, many, first, second in (("id", "other", kind, other), ("other", "id", other, kind)):
        several = pairs.groupby(one, sort=False)[many].agg(list)
        several = several[several.map(len) > 1]
        if len(several):
            shown = [f"{key}: {', '.join(found)}" for key, found in several.items()]
            message = f"{len(several)} {first} ids stand beside several {second} ids; kept as the file has them."
            findings.warn(f"several-{second}", message, shown)


def sample_columns(columns: Mapping[str, Texts | None], kind: str) -> dict[str, Texts | None]:
    """Return the ids besides the one that is the index, under the names they have in tables of samples."""
    return {ID_COLUMNS[k]: texts for k, texts in columns.items() if k != kind}


def drug_keys(table: Table, findings: Findings) -> pd.DataFrame:
    """Return name, gdsc_drug_id and screen of the drug of every row; empty where the file does not say.

    Raises
    ------
    DataError
        If it has neither a drug's name nor its number.
    """
    numbers, names = id_column(table, *DRUG_ID), text_column(table, *DRUG_NAME)
    if numbers is None and names is None:
        raise DataError(f"it has no column {DRUG_NAME[0]!r} or {DRUG_ID[0]!r}; it has {examples(table.columns, 12)}.")
    if names is None:
        findings.warn("numbers-for-names", "it has no names of drugs, so GDSC's numbers are the drug ids.")
    blank = np.full(len(table), "", dtype=object)
    screens = text_column(table, *SCREEN)
    return pd.DataFrame(
        {
            "name": numbers if names is None else names,
            "gdsc_drug_id": blank if numbers is None else numbers,
            "screen": blank if screens is None else screens,
        }
    )


def drug_ids(keys: pd.DataFrame, rescreens: Rescreens, findings: Findings) -> tuple[Texts, npt.NDArray[np.bool_]]:
    """Return the drug id of every row, and which rows to keep.

    The id is the drug's name. A name that has several of GDSC's numbers was screened several times, with other doses
    or by another laboratory; the ids of these are ``Name (number)``, and ``Name (number, screen)`` where one number
    was used in both screens.

    Parameters
    ----------
    keys
        What `drug_keys` returns.
    rescreens
        ``separate`` keeps them apart, ``average`` gives them the one name, ``latest`` keeps the highest number.
    """
    if rescreens not in ("separate", "average", "latest"):
        hint = did_you_mean(rescreens, ("separate", "average", "latest"))
        raise UnknownNameError(f"rescreens is {rescreens!r}.{hint} It can be separate, average or latest.")
    codes = keys.groupby(["name", "gdsc_drug_id", "screen"], sort=False).ngroup().to_numpy()
    labels = with_numbers(keys.drop_duplicates(ignore_index=True))
    names = labels["name"].to_numpy(dtype=object)
    again = labels[labels["label"] != labels["name"]]
    if again.empty:
        return names[codes], np.ones(len(keys), dtype=bool)
    shown, n = list(again["label"]), again["name"].nunique()
    said = f"{n} drugs were screened more than once, under several numbers or in both screens"
    if rescreens == "average":
        findings.warn("rescreens", f"{said}; put together.", shown, n)
        return names[codes], np.ones(len(keys), dtype=bool)
    if rescreens == "latest":
        order = pd.to_numeric(labels["gdsc_drug_id"], errors="coerce").fillna(-1)
        keep = order == order.groupby(labels["name"]).transform("max")
        left = list(labels["label"][~keep])
        findings.warn("rescreens", f"{said}; of each the highest number is kept.", left, int((~keep).sum()))
        labels = with_numbers(labels.loc[keep, ["name", "gdsc_drug_id", "screen"]]).reindex(labels.index)
        return labels["label"].to_numpy(dtype=object)[codes], keep.to_numpy()[codes]
    hint = "rescreens= takes average or latest instead"
    findings.warn("rescreens", f"{said}; kept apart, as drugs of their own ({hint}).", shown, n)
    return labels["label"].to_numpy(dtype=object)[codes], np.ones(len(keys), dtype=bool)


def with_numbers(drugs: pd.DataFrame) -> pd.DataFrame:
    """Return distinct drugs, columns name, gdsc_drug_id and screen, with the ``label`` that tells each from the others.

    Parameters
    ----------
    drugs
        One row a drug, number and screen.
    """
    n_numbers = drugs.groupby("name")["gdsc_drug_id"].transform("nunique")
    n_screens = drugs.groupby(["name", "gdsc_drug_id"])["screen"].transform("nunique")
    number, screen = drugs["gdsc_drug_id"], drugs["screen"]
    parts = number.where(n_screens == 1, number.str.cat(screen, sep=", ").str.removeprefix(", "))
    several = (n_numbers > 1) | (n_screens > 1)
    return drugs.assign(label=drugs["name"].where(~several, drugs["name"] + " (" + parts + ")"))


def joined(frame: pd.DataFrame, by: str) -> pd.DataFrame:
    """Return one row a value of `by`, its index, with the distinct texts of every other column, `` | `` between them.

    Parameters
    ----------
    frame
        Columns of text, empty where there is nothing to say.
    by
        The column to join by; its order stays.
    """
    columns = {}
    for name in frame.columns.drop(by):
        said = frame.loc[frame[name] != "", [by, name]].drop_duplicates()
        columns[name] = said.groupby(by, sort=False)[name].agg(" | ".join)
    index = pd.Index(frame[by].unique(), name=by, dtype=object)
    frame = pd.DataFrame(columns, index=index, dtype=object)
    return frame.where(frame.notna(), None)
