"""UCSC Xena: genomic matrices (genes × samples) and clinical matrices (samples × columns)."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from halfmax.data.barcodes import Aliquots, Which, choose_samples, id_kind_of, parse_barcode, share_of_barcodes
from halfmax.data.findings import Findings
from halfmax.data.readers.clinical import is_missing
from halfmax.data.readers.glimpse import Glimpse, glimpse
from halfmax.data.readers.kinds import FileKind, Part, Reading
from halfmax.data.readers.matrix import OmicsTable, read_omics
from halfmax.data.readers.places import naming
from halfmax.data.readers.survival import by_patient, survival_of
from halfmax.data.tables import plain_name, read_table
from halfmax.errors import DataError, examples

_GENE_COLUMN = ("sample", "xena_sample", "Ensembl_ID", "gene", "genes", "gene_symbol", "Gene Symbol", "Hugo_Symbol")
_SAMPLE_COLUMN = ("sampleID", "sample", "xena_sample", "submitter_id.samples")
_PROBE = re.compile(r"c[gh][\d.]+\w?")
#: Columns of a clinical matrix under a dataset's own names.
_KNOWN = {
    "tissue": ("_primary_site", "primary_site"),
    "disease": ("_primary_disease", "primary_disease"),
    "age": ("age_at_initial_pathologic_diagnosis", "age_at_index", "age_at_diagnosis"),
    "sex": ("gender", "sex"),
}
_COHORT = ("_cohort", "_study", "cohort")
_SOURCE = "TCGA open tier through UCSC Xena; cite TCGA and Goldman et al., Nature Biotechnology 2020"


def read_xena_matrix(
    path: Path | str,
    *,
    modality: str | None = None,
    unit: str | None = None,
    samples: Which = "tumour",
    aliquots: Aliquots = "one",
    strict: bool = False,
) -> Reading:
    """Read a genomic matrix of Xena, genes or probes in rows and samples in columns.

    Parameters
    ----------
    path
        TSV, also packed with gzip.
    modality
        ``expression``, ``mutation`` (0 or 1), ``copy_number``, ``methylation`` or ``proteomics``; told from the first
        rows if not given.
    unit
        Unit of expression; told from the values if not given: log2(TPM + 0.001) of the Toil hub by its floor of
        −9.966, log2(RSEM + 1) and the GDC hub's log2(x + 1) by their zeros.
    samples, aliquots
        See `choose_samples`.
    strict
        Raise DataError where something would be put right otherwise.

    Returns
    -------
    Reading
        The modality (samples × current symbols, float32) and ``samples``.

    Raises
    ------
    DataError
        If it is no such matrix, or holds text among the numbers, or infinite values.
    """
    path, findings = Path(path), Findings(strict=strict)
    with naming(path):
        if modality is None:
            modality, why = _modality(glimpse(path))
            findings.info("modality", f"it is read as {modality}: {why}; modality= states another.")
        table = read_omics(path, modality, unit=unit, orientation="features_by_samples", strict=strict)
        findings.extend(table.findings)
        ids = [str(text) for text in table.frame.index]
        chosen = choose_samples(ids, findings, samples=samples, aliquots=aliquots)
        frame = table.frame.iloc[chosen.rows].set_axis(chosen.ids, axis=0)
        found = _unit(table, findings) if modality == "expression" else None
    id_kind = id_kind_of(ids)
    parts = (Part(modality, frame, unit=found, id_kind=id_kind), Part("samples", chosen.samples, id_kind=id_kind))
    return Reading("xena-matrix", parts, findings.all())


def _modality(seen: Glimpse) -> tuple[str, str]:
    """Return what the first rows look like, and why."""
    rows = [row for row in seen.rows[1:] if row]
    if rows and sum(_PROBE.fullmatch(row[0]) is not None for row in rows) > len(rows) / 2:
        return "methylation", "its rows are named as methylation probes are"
    values = pd.to_numeric(
        pd.Series([cell for row in rows for cell in row[1:]], dtype=object), errors="coerce"
    ).dropna()
    if len(values) and bool((values % 1 == 0).all()) and values.abs().max() <= 2:
        if values.min() < 0:
            return "copy_number", "its first rows hold whole numbers from -2 to 2 (GISTIC)"
        if values.max() == 1:
            return "mutation", "its first rows hold 0 and 1 alone"
    return "expression", "its first rows hold numbers of many sizes"


def _unit(table: OmicsTable, findings: Findings) -> str:
    """Return the unit; where the values do not prove one, Xena's usual log2(x + 1) if they are in its range."""
    if table.unit is None or table.unit.is_known:
        unit = table.unit.unit if table.unit is not None else "unknown"
        if unit == "log2_tpm001":
            findings.info("xena-hub", "it is log2(TPM + 0.001), the Toil recompute hub's unit.")
        elif unit == "log2":
            findings.info(
                "xena-hub", "it is log2(x + 1): RSEM normalised counts in the TCGA hub, else see its hub's page."
            )
        return unit
    values = table.frame.to_numpy()
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    if low >= 0 and high <= 25:
        message = f"unit: taken as log2(x + 1), Xena's usual one ({low:.4g} to {high:.4g}); unit= states another."
        findings.warn("unit-usual", message)
        return "log2"
    return "unknown"


def read_xena_clinical(path: Path | str, *, samples: Which = "tumour", strict: bool = False) -> Reading:
    """Read a clinical matrix of Xena.

    Parameters
    ----------
    path
        ``*_clinicalMatrix``, one row a sample.
    samples
        See `choose_samples`.
    strict
        Raise DataError where something would be put right otherwise.

    Returns
    -------
    Reading
        ``samples`` (index sample_id; patient_id, sample_type, cancer_type, tissue, age, sex and the file's other
        columns as text) and, where the file has it, ``clinical`` with the survival of each patient.

    Raises
    ------
    DataError
        If it has no column of sample ids, or one occurs twice.
    """
    path, findings = Path(path), Findings(strict=strict)
    with naming(path):
        table = read_table(path, strict=strict)
        findings.extend(table.findings)
        at = table.find(*_SAMPLE_COLUMN)
        if not at:
            raise DataError(f"it has no column {_SAMPLE_COLUMN[0]!r}; it has {examples(table.columns)}.")
        ids = [str(text) for text in table.text(at[0])]
        if empty := [f"row {table.row_of(row)}" for row, text in enumerate(ids) if not text]:
            raise DataError(f"{len(empty)} rows have no sample id: {examples(empty)}.")
        chosen = choose_samples(ids, findings, samples=samples)
        about = _about(table.frame, at[0], findings).iloc[chosen.rows].set_axis(chosen.ids, axis=0)
        about = about.drop(columns=[name for name in chosen.samples if name in about])
        parts = [Part("samples", chosen.samples.drop(columns="aliquot").join(about), id_kind="barcode")]
        survival, used = survival_of(table, findings)
        if used:
            rows = survival.iloc[chosen.rows]
            clinical = by_patient(rows, [ids[row] for row in chosen.rows], list(rows.columns), findings)
            parts.append(Part("clinical", clinical, id_kind="barcode"))
    return Reading("xena-clinical", tuple(parts), findings.all())


def _about(frame: pd.DataFrame, id_at: int, findings: Findings) -> pd.DataFrame:
    """Return the columns as text, None where nothing is said, known ones under their usual names."""
    plain = [plain_name(str(name)) for name in frame.columns]
    names = [str(name) for name in frame.columns]
    for known, called in _KNOWN.items():
        places = [plain.index(plain_name(name)) for name in called if plain_name(name) in plain]
        if places and known not in names:
            names[places[0]] = known
    links = [i for i, name in enumerate(names) if name.startswith("_GENOMIC_ID") or not name]
    if links:
        shown = [names[i] for i in links]
        findings.info("genomic-ids", f"{len(links)} columns hold ids of other files and are left out.", shown)
    keep = [i for i in range(len(names)) if i not in {*links, id_at} and names[i] not in names[:i]]
    columns = {names[i]: [None if is_missing(t) else t for t in frame.iloc[:, i]] for i in keep}
    about = pd.DataFrame(columns, dtype=object)
    cohort = next((about[name] for name in _COHORT if name in about), None)
    if cohort is not None and "cancer_type" not in about:
        about["cancer_type"] = cohort.map(_code_of, na_action="ignore")
    return about


def _code_of(cohort: str) -> str:
    """Return ``STAD`` for ``TCGA Stomach Cancer (STAD)``; other names as they are."""
    found = re.search(r"\(([A-Z]{2,5})\)\s*$", cohort)
    return found[1] if found else cohort


def _recognise_matrix(seen: Glimpse) -> float:
    if seen.form != "text" or len(seen.columns) < 2 or len(seen.rows) < 2:
        return 0.0
    if share_of_barcodes(seen.columns[1:]) < 0.5 or share_of_barcodes(row[0] for row in seen.rows[1:] if row) > 0.1:
        return 0.0
    if seen.rows[1] and (seen.rows[1][0].lower() in ("gene_id", "composite element ref") or "|" in seen.rows[1][0]):
        return 0.0
    return 0.85 if plain_name(seen.columns[0]) in map(plain_name, _GENE_COLUMN) else 0.6


def _recognise_clinical(seen: Glimpse) -> float:
    if seen.form != "text" or len(seen.rows) < 2 or not seen.columns:
        return 0.0
    if plain_name(seen.columns[0]) not in map(plain_name, _SAMPLE_COLUMN):
        return 0.0
    parsed = [parse_barcode(row[0]) for row in seen.rows[1:] if row]
    if sum(b is not None and bool(b.sample_type) for b in parsed) < len(parsed) / 2:
        return 0.0
    return 0.9 if any(name.startswith("_") and name != "_PATIENT" for name in seen.columns) else 0.55


XENA_MATRIX = FileKind(
    "xena-matrix",
    "UCSC Xena genomic matrix",
    "UCSC Xena",
    _recognise_matrix,
    read_xena_matrix,
    licence=_SOURCE,
    options=("modality", "unit", "samples", "aliquots", "strict"),
)
XENA_CLINICAL = FileKind(
    "xena-clinical",
    "UCSC Xena clinical matrix",
    "UCSC Xena",
    _recognise_clinical,
    read_xena_clinical,
    licence=_SOURCE,
    options=("samples", "strict"),
)
