"""Clinical tables of TCGA: the drugs that patients had and what came of them (Biotab), and survival."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.data.barcodes import parse_barcode, share_of_barcodes
from halfmax.data.dataset import Measure
from halfmax.data.findings import Findings
from halfmax.data.readers.glimpse import Glimpse
from halfmax.data.readers.kinds import FileKind, Part, Reading
from halfmax.data.readers.places import naming
from halfmax.data.readers.survival import ENDPOINTS, read_survival
from halfmax.data.tables import Table, plain_name, read_table
from halfmax.errors import DataError, UnknownNameError, examples

#: RECIST's categories as ordered numbers: PD 0, SD 1, PR 2, CR 3 (Eisenhauer et al., Eur J Cancer 2009).
RECIST = Measure("recist", "0 PD, 1 SD, 2 PR, 3 CR", higher_is_sensitive=True)
CATEGORIES = ("PD", "SD", "PR", "CR")
PATIENT = ("bcr_patient_barcode", "patient_id", "patient.arr", "patient", "submitter_id", "bcr_patient")
DRUG = ("pharmaceutical_therapy_drug_name", "drug_name", "drug", "therapeutic_agents")
RESPONSE = ("treatment_best_response", "measure_of_response", "best_response", "response", "treatment_outcome")
#: Other columns under one name, whatever the cohort calls them.
COURSE: Mapping[str, tuple[str, ...]] = {
    "start_day": ("pharmaceutical_tx_started_days_to", "days_to_drug_therapy_start", "start_time"),
    "end_day": ("pharmaceutical_tx_ended_days_to", "days_to_drug_therapy_end", "end_time"),
    "therapy_type": ("pharmaceutical_therapy_type", "therapy_type", "therapy_types"),
    "regimen_number": ("regimen_number",),
    "n_cycles": ("pharma_adjuvant_cycles_count", "number_cycles"),
    "dose": ("prescribed_dose", "pharmaceutical_tx_total_dose", "total_dose"),
    "dose_unit": ("prescribed_dose_units", "pharmaceutical_tx_total_dose_units", "pharmaceutical_tx_dose_units",
                  "total_dose_units"),
    "cancer_type": ("cancers", "cohort", "disease", "acronym"),
}  # fmt: skip
_NUMBERS = ("start_day", "end_day")
_WORDS: Mapping[str, str] = {
    "CR": "complete response|complete remission/response|complete remission|cr",
    "PR": "partial response|partial remission/response|partial remission|pr",
    "SD": "stable disease|sd",
    "PD": "clinical progressive disease|progressive disease|radiographic progressive disease|disease progression|pd",
}
_CATEGORY = {word: category for category, words in _WORDS.items() for word in words.split("|")}
_BRACKETS = re.compile(r"\[.*\]")
_MISSING = ("", "na", "n/a", "nan", "none", "null", "unknown", "not available", "not reported", "not applicable", "--",
            "'--", "not evaluated", "discrepancy")  # fmt: skip


def read_drug_courses(path: Path | str, *, course: str = "first", strict: bool = False) -> Reading:
    """Read which drugs patients had, and their best response.

    Parameters
    ----------
    path
        ``nationwidechildrens.org_clinical_drug_*.txt`` with its three header rows, or a table with the same columns
        under one.
    course
        Which of several courses of one drug is the pair's response: ``first`` (by day of start; the sample was taken
        before it), ``best`` or ``worst``.
    strict
        Raise DataError where something would be put right otherwise.

    Returns
    -------
    Reading
        ``response`` (one row a patient and drug with a RECIST response; `RECIST` says the numbers; ``drug_id`` is the
        name in small letters, and ``drug_name`` as it was written), ``drugs``, and ``clinical`` with every course.

    Raises
    ------
    DataError
        If it lacks a column for patient, drug or response, or no course has a response.
    """
    if course not in ("first", "best", "worst"):
        raise UnknownNameError(f"course is first, best or worst, not {course!r}.")
    path, findings = Path(path), Findings(strict=strict)
    with naming(path):
        table = _without_header_rows(read_table(path, strict=strict), findings)
        courses = _courses(table, findings)
        response = _one_row_a_pair(courses, course, findings)
    drugs = courses[courses["drug_id"].notna()].groupby("drug_id", sort=True)["drug_name"]
    names = pd.DataFrame({"name": drugs.first(), "n_courses": drugs.size()})
    parts = (
        Part("response", response, measure=RECIST, id_kind="barcode"),
        Part("drugs", names),
        Part("clinical", courses, id_kind="barcode"),
    )
    return Reading("tcga-biotab-drug", parts, findings.all())


def is_missing(text: str) -> bool:
    """Return whether a cell of a clinical table holds no value: empty, ``[Not Available]``, ``Unknown``, …."""
    return text.strip().lower() in _MISSING or _BRACKETS.fullmatch(text.strip()) is not None


def drug_key(name: str) -> str:
    """Return a drug's name in small letters with single blanks; spelling and synonyms stay for the drug table."""
    return " ".join(name.lower().split())


def category_of(text: str) -> str | None:
    """Return ``CR``, ``PR``, ``SD`` or ``PD`` for the words of a response; None for others."""
    return _CATEGORY.get(" ".join(text.lower().split()))


def _column(table: Table, names: Sequence[str], what: str) -> int:
    found = table.find(*names)
    if not found:
        raise DataError(
            f"it has no column for the {what}: {examples(names)} are known, it has {examples(table.columns, 9)}."
        )
    return found[0]


def _without_header_rows(table: Table, findings: Findings) -> Table:
    """Leave out the second and third header row of a Biotab file, which name the data elements."""
    patients = table.text(_column(table, PATIENT, "patient"))
    known = {plain_name(name) for name in table.columns}
    n = 0
    while n < min(3, len(patients)) and (
        patients[n].startswith("CDE_ID") or plain_name(patients[n]) in known
    ):  # a patient is never called as a column is
        n += 1
    if n:
        findings.info("header-rows", f"{n} further header rows (names and ids of data elements) are skipped.", count=n)
        table = replace(table, data=table.data.slice(n), first_row=table.first_row + n)
    if not len(table):
        raise DataError("it has header rows and no patient below them.")
    return replace(table, findings=(*findings.all(), *table.findings))


def _texts(table: Table, column: int) -> npt.NDArray[np.object_]:
    """Return a column as text, None where it says that there is no value."""
    return np.array([None if is_missing(text) else text for text in table.text(column)], dtype=object)


def _courses(table: Table, findings: Findings) -> pd.DataFrame:
    """Return every course: patient_id, drug_id, drug_name, response, value, then what else the file says."""
    at = {"patient": _column(table, PATIENT, "patient"), "drug": _column(table, DRUG, "drug")}
    at["response"] = _column(table, RESPONSE, "response")
    patients = _texts(table, at["patient"])
    barcodes = [parse_barcode(text) if text else None for text in patients]
    ids = [b.patient if b else text for b, text in zip(barcodes, patients, strict=True)]
    drugs, words = _texts(table, at["drug"]), _texts(table, at["response"])
    category = np.array([category_of(text) if text else None for text in words], dtype=object)
    frame = pd.DataFrame(
        {
            "patient_id": np.array(ids, dtype=object),
            "drug_id": np.array([drug_key(d) if d else None for d in drugs], dtype=object),
            "drug_name": drugs,
            "response": category,
            "value": [float(CATEGORIES.index(c)) if c else np.nan for c in category],
        }
    )
    strange = [text for text, known in zip(words, category, strict=True) if text and not known]
    if strange:
        kinds = list(dict.fromkeys(strange))
        findings.warn(
            "unknown-response",
            f"{len(strange)} responses are no RECIST category and do not count.",
            kinds,
            len(strange),
        )
    used = set(at.values())
    for name, names in COURSE.items():
        if found := [i for i in table.find(*names) if i not in used]:
            frame[name] = _days(table, found[0], findings) if name in _NUMBERS else _texts(table, found[0])
            used.add(found[0])
    for i, name in enumerate(table.columns):
        if i not in used and name and name not in frame:
            frame[name] = _texts(table, i)
    if lacking := int(frame["patient_id"].isna().sum()):
        findings.mended("rows-without-id", f"{lacking} rows have no patient and are left out.", (), lacking)
        frame = frame[frame["patient_id"].notna()].reset_index(drop=True)
    return frame


def _days(table: Table, column: int, findings: Findings) -> npt.NDArray[np.float64]:
    values, bad = np.full(len(table), np.nan), []
    for row, text in enumerate(_texts(table, column)):
        if text is not None:
            if re.fullmatch(r"[+-]?\d{1,6}(?:\.\d*)?", text, re.ASCII):
                values[row] = float(text)
            else:
                bad.append(f"row {table.row_of(row)}: {text}")
    if bad:
        findings.warn(
            "bad-days", f"{len(bad)} cells of {table.columns[column]!r} are no number of days; left empty.", bad
        )
    return values


def _one_row_a_pair(courses: pd.DataFrame, course: str, findings: Findings) -> pd.DataFrame:
    rated = courses[courses["value"].notna() & courses["drug_id"].notna()]
    counts = rated["response"].value_counts()
    told = ", ".join(f"{int(counts.get(c, 0))} {c}" for c in reversed(CATEGORIES))
    findings.info(
        "responses",
        f"{len(rated)} of {len(courses)} courses of {courses['patient_id'].nunique()} patients have a drug and a "
        f"RECIST response: {told}; the others are in the clinical table alone.",
        count=len(rated),
    )
    if rated.empty:
        raise DataError(f"none of its {len(courses)} courses has a drug and a response (CR, PR, SD or PD).")
    pair = ["patient_id", "drug_id"]
    if course == "first" and "start_day" in rated:
        rated = rated.sort_values("start_day", kind="stable", na_position="last")
    elif course != "first":
        rated = rated.sort_values("value", kind="stable", ascending=course == "worst")
    groups = rated.groupby(pair, sort=False)
    if repeats := int((groups.size() > 1).sum()):
        differ = groups["value"].nunique()
        shown = [" × ".join(map(str, key)) for key in differ[differ > 1].index]
        findings.mended(
            "several-courses",
            f"{repeats} pairs of patient and drug have several courses, {len(shown)} of them with different responses; "
            f"the {course} is taken.",
            shown,
            repeats,
        )
    first = rated.drop_duplicates(pair).sort_index()
    first = first.rename(columns={"patient_id": "sample_id"}).reset_index(drop=True)
    front = ["sample_id", "drug_id", "value", "response", "drug_name"]
    extra = [name for name in COURSE if name in first]
    return first[front + extra]


def _recognise_drugs(seen: Glimpse) -> float:
    if seen.form not in ("text", "parquet", "workbook"):
        return 0.0
    has = [any(seen.has(name) for name in names) for names in (PATIENT, DRUG, RESPONSE)]
    if not all(has):
        return 0.0
    if seen.has("bcr_patient_barcode"):
        return 0.95
    return 0.7 if any(share_of_barcodes([c for c in row if c.startswith("TCGA")]) for row in seen.rows[1:5]) else 0.0


def _recognise_survival(seen: Glimpse) -> float:
    if seen.form not in ("text", "parquet", "workbook"):
        return 0.0
    if seen.has("censorship", "survival_months") or any(
        seen.has(e.time[0], e.event[0]) or (e.months and seen.has(e.months[0], e.event[-1])) for e in ENDPOINTS.values()
    ):
        clinical_matrix = any(name.startswith("_EVENT") for name in seen.columns)
        return 0.0 if clinical_matrix else 0.85
    return 0.0


BIOTAB_DRUG = FileKind(
    "tcga-biotab-drug",
    "TCGA clinical drug table (Biotab): drugs of patients and their best response",
    "GDC",
    _recognise_drugs,
    read_drug_courses,
    licence="TCGA open tier: GDC/NIH; cite TCGA",
    options=("course", "strict"),
)
SURVIVAL = FileKind(
    "tcga-survival",
    "Survival of TCGA patients (Clinical Data Resource, Xena, cBioPortal)",
    "TCGA",
    _recognise_survival,
    read_survival,
    licence="TCGA open tier: GDC/NIH; cite TCGA",
    options=("strict",),
)
