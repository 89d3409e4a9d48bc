"""TCGA barcodes: the patient, the kind of tissue and the aliquot behind an id, and which of several samples to keep."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.data.findings import Findings
from halfmax.errors import DataError, UnknownNameError, examples

Which = Literal["tumour", "normal", "all"]
Aliquots = Literal["one", "all"]
Kind = Literal["tumour", "normal", "other", "unknown"]

#: What the two digits of the sample type say (GDC, code table "Sample Type").
SAMPLE_TYPES: Mapping[str, str] = {
    "01": "Primary Solid Tumor",
    "02": "Recurrent Solid Tumor",
    "03": "Primary Blood Derived Cancer - Peripheral Blood",
    "04": "Recurrent Blood Derived Cancer - Bone Marrow",
    "05": "Additional - New Primary",
    "06": "Metastatic",
    "07": "Additional Metastatic",
    "08": "Human Tumor Original Cells",
    "09": "Primary Blood Derived Cancer - Bone Marrow",
    "10": "Blood Derived Normal",
    "11": "Solid Tissue Normal",
    "12": "Buccal Cell Normal",
    "13": "EBV Immortalized Normal",
    "14": "Bone Marrow Normal",
    "20": "Control Analyte",
    "40": "Recurrent Blood Derived Cancer - Peripheral Blood",
    "50": "Cell Lines",
    "60": "Primary Xenograft Tissue",
    "61": "Cell Line Derived Xenograft Tissue",
}
#: Sample types in the order in which one of them stands for a patient: the primary tumour first.
PREFERENCE = ("01", "03", "09", "05", "08", "02", "04", "40", "06", "07")
_BARCODE = re.compile(
    r"(?P<project>TCGA)(?P<sign>[-.])(?P<tss>[A-Z0-9]{2})(?P=sign)(?P<participant>[A-Z0-9]{4})"
    r"(?:(?P=sign)(?P<sample_type>\d\d)(?P<vial>[A-Z])?"
    r"(?:(?P=sign)(?P<portion>\d\d)(?P<analyte>[A-Z])?"
    r"(?:(?P=sign)(?P<plate>[A-Z0-9]{4})(?:(?P=sign)(?P<centre>\d\d))?)?)?)?",
    re.ASCII | re.IGNORECASE,
)
#: Analytes, the better first: H and R over T for RNA, native DNA over amplified.
_ANALYTES = "HRTDGWX"


@dataclass(frozen=True)
class Barcode:
    """The parts of a TCGA barcode; what a shorter one does not say is empty.

    Parameters
    ----------
    tss, participant
        Tissue source site and participant; with the project they name the patient.
    sample_type, vial
        Two digits (see `SAMPLE_TYPES`) and a letter.
    portion, analyte, plate, centre
        Where the aliquot comes from and went.
    """

    project: str
    tss: str
    participant: str
    sample_type: str = ""
    vial: str = ""
    portion: str = ""
    analyte: str = ""
    plate: str = ""
    centre: str = ""

    @property
    def patient(self) -> str:
        """The patient, such as ``TCGA-A1-A0SB``."""
        return f"{self.project}-{self.tss}-{self.participant}"

    @property
    def sample(self) -> str:
        """Patient and sample type, such as ``TCGA-A1-A0SB-01``: one id for every modality of one tumour."""
        return f"{self.patient}-{self.sample_type}" if self.sample_type else self.patient

    @property
    def kind(self) -> Kind:
        """Whether it is tumour, normal tissue, something else (control, cell line, xenograft) or not said."""
        if not self.sample_type:
            return "unknown"
        if self.sample_type in PREFERENCE:
            return "tumour"
        return "normal" if self.sample_type.startswith("1") else "other"


def parse_barcode(text: str) -> Barcode | None:
    """Return the parts of a barcode, in any capitals, with hyphens or R's dots; None if it is none."""
    found = _BARCODE.fullmatch(text.strip())
    if found is None:
        return None
    return Barcode(**{name: (part or "").upper() for name, part in found.groupdict().items() if name != "sign"})


def share_of_barcodes(ids: Iterable[str]) -> float:
    """Return the share of ids that are TCGA barcodes; 0 where there is none."""
    found = [parse_barcode(text) is not None for text in ids]
    return sum(found) / max(len(found), 1)


def id_kind_of(ids: Iterable[str]) -> str:
    """Return ``barcode`` if most ids are TCGA barcodes, else ``name``."""
    return "barcode" if share_of_barcodes(ids) > 0.5 else "name"


@dataclass(frozen=True)
class Chosen:
    """Which rows of a table of aliquots were kept, and what they are now called.

    Parameters
    ----------
    rows
        Places of the rows that stay, in their order, shape ``(n_samples,)``.
    samples
        Index sample_id; patient_id, sample_type, sample_kind, tissue_source_site, aliquot (the id in the file).
    """

    rows: npt.NDArray[np.int64]
    samples: pd.DataFrame

    @property
    def ids(self) -> pd.Index:
        """The sample ids."""
        return self.samples.index


def choose_samples(
    ids: Sequence[str],
    findings: Findings,
    *,
    samples: Which = "tumour",
    aliquots: Aliquots = "one",
    kinds: Sequence[Kind] | None = None,
    patients: Sequence[str | None] | None = None,
) -> Chosen:
    """Tell tumour from normal, and keep one aliquot a sample.

    Of several aliquots of one sample the lowest vial is kept (later ones are often from paraffin), then analyte H
    before R before T and native DNA before amplified, then the highest portion and plate, which is the order of the
    Broad Institute's Firehose.

    Parameters
    ----------
    ids
        Barcodes, or other ids, which stay as they are.
    findings
        Told what was left out.
    samples
        ``tumour`` (the default), ``normal`` or ``all``.
    aliquots
        ``one`` a sample, named by its first 15 characters; or ``all``, under the ids of the file.
    kinds, patients
        What is known from elsewhere of ids that are no barcodes.

    Raises
    ------
    DataError
        If nothing is left, or an id occurs twice.
    """
    _check_choice(samples, ("tumour", "normal", "all"), "samples")
    _check_choice(aliquots, ("one", "all"), "aliquots")
    parsed = [parse_barcode(text) for text in ids]
    kind = np.array(
        [b.kind if b else (kinds[row] if kinds is not None else "unknown") for row, b in enumerate(parsed)],
        dtype=object,
    )
    if foreign := [text for text, b in zip(ids, parsed, strict=True) if b is None]:
        findings.info(
            "no-barcodes", f"{len(foreign)} of {len(ids)} ids are no TCGA barcodes; kept as they are.", foreign
        )
    rows = _of_kind(ids, kind, samples, findings)
    names = [b.sample if b else text.strip() for text, b in zip(ids, parsed, strict=True)]
    if aliquots == "one":
        rows = _one_aliquot(ids, parsed, names, rows, findings)
    else:
        names = [text.strip() for text in ids]
    _refuse_repeats([names[row] for row in rows])
    about = [_about(ids[row], parsed[row], patients[row] if patients is not None else None) for row in rows]
    frame = pd.DataFrame(about, index=pd.Index([names[row] for row in rows], name="sample_id", dtype=object))
    frame.insert(2, "sample_kind", kind[rows])
    return Chosen(rows, frame)


def _check_choice(value: str, allowed: tuple[str, ...], name: str) -> None:
    if value not in allowed:
        raise UnknownNameError(f"{name} is one of {', '.join(allowed)}, not {value!r}.")


def _of_kind(
    ids: Sequence[str], kind: npt.NDArray[np.object_], samples: Which, findings: Findings
) -> npt.NDArray[np.int64]:
    """Return the rows of the wanted kind; what is of no known kind stays."""
    counts = Counter(kind)
    if samples == "all":
        findings.info(
            "sample-kinds", f"samples: {', '.join(f'{n} {k}' for k, n in sorted(counts.items()))}; all are kept."
        )
        return np.arange(len(ids), dtype=np.int64)
    keep = (kind == samples) | (kind == "unknown")
    left = [ids[int(row)] for row in np.flatnonzero(~keep)]
    if left:
        what = ", ".join(f"{n} {k}" for k, n in sorted(counts.items()) if k not in (samples, "unknown"))
        message = f"{len(left)} samples are not {samples} ({what}) and are left out; samples='all' keeps them."
        findings.info("not-" + samples, message, left)
    if not keep.any():
        raise DataError(f"none of its {len(ids)} samples is {samples}: {examples(ids)}; state samples='all'.")
    return np.flatnonzero(keep)


def _one_aliquot(
    ids: Sequence[str],
    parsed: Sequence[Barcode | None],
    names: Sequence[str],
    rows: npt.NDArray[np.int64],
    findings: Findings,
) -> npt.NDArray[np.int64]:
    by_sample: dict[str, list[int]] = {}
    for row in rows:
        by_sample.setdefault(names[row], []).append(int(row))
    several = {name: at for name, at in by_sample.items() if len(at) > 1 and parsed[at[0]] is not None}
    if not several:
        return rows
    best = {name: min(at, key=lambda row: _rank(parsed[row], ids[row])) for name, at in several.items()}
    left = {row for name, at in several.items() for row in at if row != best[name]}
    # The same id twice is a fault of the file, not a second aliquot.
    left -= {row for row in left if ids[row].strip() == ids[best[names[row]]].strip()}
    if left:
        findings.mended(
            "several-aliquots",
            f"{len(several)} samples have several aliquots; one of each is kept and {len(left)} are left out; "
            "aliquots='all' keeps them.",
            [ids[row] for row in sorted(left)],
            len(left),
        )
    return np.array([row for row in rows if int(row) not in left], dtype=np.int64)


def _rank(barcode: Barcode | None, text: str) -> tuple[object, ...]:
    if barcode is None:
        return ("", 0, ())
    analyte = _ANALYTES.find(barcode.analyte) if barcode.analyte else len(_ANALYTES)
    highest = tuple(-ord(letter) for letter in barcode.portion + barcode.plate)
    return (barcode.vial or "A", analyte if analyte >= 0 else len(_ANALYTES), highest, text)


def _refuse_repeats(names: Sequence[str]) -> None:
    if twice := [name for name, n in Counter(names).items() if n > 1]:
        raise DataError(f"{len(twice)} sample ids occur more than once: {examples(twice)}; make them unique.")


def _about(text: str, barcode: Barcode | None, patient: str | None) -> dict[str, str | None]:
    if barcode is None:
        return {"patient_id": patient, "sample_type": None, "tissue_source_site": None, "aliquot": text.strip()}
    return {
        "patient_id": barcode.patient,
        "sample_type": SAMPLE_TYPES.get(barcode.sample_type, barcode.sample_type or None),
        "tissue_source_site": barcode.tss,
        "aliquot": text.strip(),
    }


def sample_of_patient(sample_ids: Iterable[str]) -> dict[str, str]:
    """Return for each patient the one sample that stands for the patient: the primary tumour before all others.

    Clinical files speak of patients, molecular ones of samples; this joins them. Normal tissue stands for no one.
    """
    best: dict[str, tuple[int, str]] = {}
    for text in sample_ids:
        barcode = parse_barcode(text)
        if barcode is None or (barcode.sample_type and barcode.sample_type not in PREFERENCE):
            continue
        rank = PREFERENCE.index(barcode.sample_type) if barcode.sample_type else len(PREFERENCE)
        best[barcode.patient] = min(best.get(barcode.patient, (rank, text)), (rank, text))
    return {patient: text for patient, (_, text) in best.items()}
