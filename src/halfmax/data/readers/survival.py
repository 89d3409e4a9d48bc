"""Survival of patients: times in days and events, from the column names that TCGA's tables use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.data.barcodes import parse_barcode
from halfmax.data.findings import Findings
from halfmax.data.readers.kinds import Part, Reading
from halfmax.data.readers.places import naming
from halfmax.data.tables import Table, read_table
from halfmax.errors import DataError, examples

DAYS_PER_MONTH = 365.25 / 12
PATIENT = ("bcr_patient_barcode", "_PATIENT", "patient_id", "patient", "case_id", "sample", "sampleID")


@dataclass(frozen=True)
class Endpoint:
    """Names of an endpoint's columns: time in days, time in months, event (1 = it happened)."""

    time: tuple[str, ...]
    event: tuple[str, ...]
    months: tuple[str, ...] = ()


#: Endpoints as in the TCGA Clinical Data Resource (Liu et al., Cell 2018).
ENDPOINTS: Mapping[str, Endpoint] = {
    "os": Endpoint(("OS.time", "_OS"), ("OS", "_OS_IND", "OS_STATUS"), ("OS_MONTHS", "survival_months")),
    "dss": Endpoint(("DSS.time",), ("DSS", "DSS_STATUS"), ("DSS_MONTHS",)),
    "dfi": Endpoint(("DFI.time",), ("DFI", "DFS_STATUS"), ("DFS_MONTHS",)),
    "pfi": Endpoint(("PFI.time",), ("PFI", "PFS_STATUS"), ("PFS_MONTHS",)),
    "rfs": Endpoint(("RFS.time", "_RFS"), ("RFS", "_RFS_IND"), ()),
}
_YES = ("1", "1.0", "true", "yes", "dead", "deceased", "1:deceased", "1:recurred/progressed", "1:progression",
        "1:dead with tumor")  # fmt: skip
_NO = ("0", "0.0", "false", "no", "alive", "living", "0:living", "0:alive", "0:diseasefree", "0:censored",
       "0:alive or dead tumor free")  # fmt: skip


def read_survival(path: Path | str, *, strict: bool = False) -> Reading:
    """Read survival times.

    Parameters
    ----------
    path
        One row a patient, or a sample of a patient; endpoints under the names of the Clinical Data Resource (days),
        Xena (days) or cBioPortal (months), or ``survival_months`` with ``censorship``.
    strict
        Raise DataError where something would be put right otherwise.

    Returns
    -------
    Reading
        ``clinical``: index patient_id; for each endpoint ``os_days``, ``os_event`` (1 = it happened), and the other
        columns of the file as text.

    Raises
    ------
    DataError
        If it has no patient or no endpoint, or two rows of a patient differ.
    """
    path, findings = Path(path), Findings(strict=strict)
    with naming(path):
        table = read_table(path, strict=strict)
        findings.extend(table.findings)
        at = table.find(*PATIENT)
        if not at:
            raise DataError(
                f"it has no column for the patient, such as {PATIENT[0]!r}; it has {examples(table.columns)}."
            )
        frame, used = survival_of(table, findings)
        if frame.empty:
            raise DataError(f"it has no endpoint, such as OS and OS.time; it has {examples(table.columns, 9)}.")
        key = list(frame.columns)
        others = [i for i, name in enumerate(table.columns) if i not in used | {at[0]} and name and name not in key]
        texts = {table.columns[i]: [text or None for text in table.text(i)] for i in reversed(others)}  # the first wins
        frame = frame.join(pd.DataFrame(dict(reversed(texts.items())), index=frame.index, dtype=object))
        frame = by_patient(frame, list(table.text(at[0])), key, findings)
    return Reading("tcga-survival", (Part("clinical", frame, id_kind="barcode"),), findings.all())


def survival_of(table: Table, findings: Findings) -> tuple[pd.DataFrame, set[int]]:
    """Return times in days and events of every endpoint that a table has, and the columns that were read for them."""
    found: dict[str, npt.NDArray[np.float64]] = {}
    used: set[int] = set()
    for name, endpoint in ENDPOINTS.items():
        days, months = _find(table, endpoint.time), _find(table, endpoint.months)
        event, censored = _find(table, endpoint.event), _find(table, ("censorship",)) if name == "os" else []
        if not (days or months) or not (event or censored):
            continue
        time = (days or months)[0]
        numbers = table.numbers([time])
        if numbers.bad:
            shown = [f"row {table.row_of(row)}: {text!r}" for row, _, text in numbers.bad]
            findings.warn(
                "bad-times",
                f"{int(numbers.n_bad[0])} cells of {table.columns[time]!r} are no numbers; left empty.",
                shown,
            )
        values = np.where(np.isfinite(numbers.values[:, 0]), numbers.values[:, 0], np.nan)
        if negative := int((values < 0).sum()):
            findings.mended(
                "negative-times", f"{negative} times of {name.upper()} are negative; left empty.", (), negative
            )
            values = np.where(values < 0, np.nan, values)
        found[f"{name}_days"] = values if days else values * DAYS_PER_MONTH
        happened = _events(table, (event or censored)[0], findings)
        found[f"{name}_event"] = happened if event else 1 - happened
        used |= {time, (event or censored)[0]}
        both = np.isfinite(found[f"{name}_days"]) & np.isfinite(found[f"{name}_event"])
        findings.info(
            f"survival-{name}",
            f"{name.upper()}: {int(both.sum())} rows with time and event, {int(found[f'{name}_event'][both].sum())} "
            f"events; from {table.columns[time]!r} in {'days' if days else 'months (× 30.44 = days)'} and "
            f"{table.columns[(event or censored)[0]]!r}.",
        )
    return pd.DataFrame(found), used


def by_patient(frame: pd.DataFrame, ids: list[str], key: list[str], findings: Findings) -> pd.DataFrame:
    """Return one row a patient; raise DataError where rows of one patient differ in the columns of `key`."""
    barcodes = [parse_barcode(text) for text in ids]
    patients = [b.patient if b else text for b, text in zip(barcodes, ids, strict=True)]
    frame = frame.set_index(pd.Index(patients, name="patient_id", dtype=object))
    if without := int((frame.index == "").sum()):
        findings.mended("rows-without-id", f"{without} rows have no patient and are left out.", (), without)
        frame = frame[frame.index != ""]
    if not frame.index.has_duplicates:
        return frame
    apart = frame[key].reset_index().drop_duplicates()
    if twice := sorted(set(apart.loc[apart["patient_id"].duplicated(), "patient_id"])):
        raise DataError(f"{len(twice)} patients have rows with different survival: {examples(twice)}; keep one.")
    repeated = frame.index[frame.index.duplicated()]
    message = f"{len(repeated)} rows are further samples of a patient; one row a patient is kept."
    findings.info("rows-of-one-patient", message, list(repeated.unique()), len(repeated))
    return frame[~frame.index.duplicated()]


def _find(table: Table, names: tuple[str, ...]) -> list[int]:
    """Return the places of columns by name, signs included, for Xena has `OS` and `_OS`, which are not the same."""
    lower = [name.lower() for name in table.columns]
    return [lower.index(name.lower()) for name in names if name.lower() in lower]


def _events(table: Table, column: int, findings: Findings) -> npt.NDArray[np.float64]:
    texts = [text.lower() for text in table.text(column)]
    values = np.array([1.0 if t in _YES else 0.0 if t in _NO else np.nan for t in texts])
    strange = sorted(
        {t for t, v in zip(texts, values, strict=True) if np.isnan(v) and t not in ("", "na", "nan", "#n/a")}
    )
    if strange:
        findings.warn(
            "bad-events", f"{len(strange)} words of {table.columns[column]!r} are no event; left empty.", strange
        )
    return values
