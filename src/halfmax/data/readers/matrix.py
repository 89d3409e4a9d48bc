"""A user's matrix of samples and features, whichever way round it lies, as samples × current gene symbols."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.data.dataset import MODALITIES
from halfmax.data.findings import Finding, Findings
from halfmax.data.identifiers import HOW, GeneMap, map_genes
from halfmax.data.readers.checks import check_samples, check_values, expression_unit, refuse_text
from halfmax.data.readers.features import by_feature, known_columns
from halfmax.data.tables import MAX_BYTES, Table, plain_name, read_table
from halfmax.data.units import UnitGuess, check_expression_unit, to_log
from halfmax.errors import DataError, UnknownNameError, did_you_mean, examples

Orientation = Literal["samples_by_features", "features_by_samples"]
GENE_MODALITIES = ("expression", "mutation", "copy_number")
_SUMMARY_ROWS = re.compile(r"N_(unmapped|multimapping|noFeature|ambiguous)|__\w+")
_ANNOTATIONS = frozenset(
    plain_name(name)
    for name in (
        "gene_id", "gene_name", "gene_type", "gene_symbol", "gene_biotype", "hugo_symbol", "entrez_gene_id", "entrez",
        "entrezid", "ensembl_gene_id", "ensembl", "description", "gene_description", "GENE_title", "name", "length",
        "gene_length", "effective_length", "chr", "chrom", "chromosome", "chromosome_name", "start", "end", "stop",
        "start_position", "end_position", "strand", "cytoband", "locus", "locus_id", "probe", "probe_id", "biotype",
        "transcript_id", "transcript_id(s)", "band", "width",
    )
)  # fmt: skip
_FEW_KNOWN = 0.3


@dataclass(frozen=True)
class OmicsTable:
    """One modality of a user's samples.

    Parameters
    ----------
    frame
        Samples × features, float32; genes under their current symbols, other names as they are; NaN where missing.
    modality
        What the values are.
    findings
        What was seen and done.
    unit
        For expression, the unit and why; None for other modalities.
    orientation
        How the file lies.
    genes
        What the file's own names mean; None where features are no genes.
    """

    frame: pd.DataFrame
    modality: str
    findings: tuple[Finding, ...]
    unit: UnitGuess | None
    orientation: Orientation
    genes: GeneMap | None

    def logged(self) -> tuple[pd.DataFrame, Finding]:
        """Return expression on a log2 scale, and what was done; raise DataError if the unit is not known.

        Counts are set against the sum over the columns that are genes, so that other columns change nothing.
        """
        if self.unit is None:
            raise DataError(f"{self.modality} has no unit to convert; use its frame.")
        if not self.unit.is_known:
            try:
                check_expression_unit(self.unit.unit)
            except DataError as error:
                raise DataError(f"{error} Seen: {self.unit.evidence}.") from None
        known = known_columns(self.frame)
        return to_log(self.frame, self.unit.unit, total=np.nansum(known.to_numpy(dtype=np.float64), axis=1))


def read_omics(
    path: Path | str,
    modality: str = "expression",
    *,
    unit: str | None = None,
    orientation: Orientation | None = None,
    sample_ids: Collection[str] = (),
    strict: bool = False,
    max_bytes: int = MAX_BYTES,
) -> OmicsTable:
    """Read a matrix of samples and features.

    Parameters
    ----------
    path
        CSV, TSV, TXT, gzip, Parquet or ``.xlsx``, one or many samples.
    modality
        One of `MODALITIES`.
    unit
        Unit of expression, a key of `EXPRESSION_UNITS`; detected if not given.
    orientation
        Which way the file lies; found by the gene names if not given.
    sample_ids
        Known sample ids, which also tell the orientation.
    strict
        Raise DataError where something would be put right otherwise: duplicate genes, old symbols, decimal commas.
    max_bytes
        Largest text, unpacked, that is read.

    Raises
    ------
    DataError
        If the file is no such matrix, or holds duplicate sample ids, text among the numbers, or infinite values.
    """
    if modality not in MODALITIES:
        hint = did_you_mean(modality, MODALITIES)
        raise UnknownNameError(f"there is no modality {modality!r}.{hint} Modalities: {', '.join(MODALITIES)}.")
    if unit is not None:
        check_expression_unit(unit)
    findings = Findings(strict=strict)
    table = read_table(path, strict=strict, max_bytes=max_bytes)
    try:
        if table.find("Hugo_Symbol") and table.find("Variant_Classification"):
            raise DataError("it is a list of mutations (MAF), not a matrix of genes and samples.")
        table = _with_header_as_row(table, strict=strict, max_bytes=max_bytes)
        findings.extend(table.findings)
        genes = modality in GENE_MODALITIES
        lies, names_at = _orientation(table, orientation, sample_ids, findings, genes=genes)
        samples, features, values = _values(table, lies, names_at, findings, booleans=modality == "mutation")
        check_samples(samples)
        check_values(values, samples, features, findings)
        frame, gene_map = by_feature(samples, features, values, findings, genes=genes)
        guess = expression_unit(frame, unit, findings) if modality == "expression" else None
        _check_modality(frame, modality, guess, findings)
    except DataError as error:
        raise DataError(f"{path}: {error}" if not str(error).startswith(str(path)) else str(error)) from None
    return OmicsTable(frame, modality, findings.all(), guess, lies, gene_map)


def _with_header_as_row(table: Table, *, strict: bool, max_bytes: int) -> Table:
    """Read a two-column list of genes and values again without a header, if its first row is a gene."""
    if len(table.columns) != 2 or not table.columns[0]:
        return table
    first = map_genes([table.columns[0]]).how[0]
    try:
        float(table.columns[1])
    except ValueError:
        return table
    rows = map_genes(table.text(0)[:1000])
    if first in HOW and rows.known_share > 0.5 and table.path.suffix.lower() not in (".parquet", ".xlsx"):
        return read_table(table.path, strict=strict, header=False, max_bytes=max_bytes)
    return table


def _orientation(
    table: Table, given: Orientation | None, sample_ids: Collection[str], findings: Findings, *, genes: bool
) -> tuple[Orientation, int]:
    """Return how the table lies and which column holds the names of its rows."""
    header = map_genes(table.columns[1:])
    texts = [i for i in range(min(len(table.columns), 6)) if i == 0 or bool(table.numbers([i]).is_text[0])]
    rows = {i: map_genes(table.text(i)) for i in texts}
    best = max(texts, key=lambda i: (_known(rows[i]), -i))
    if given is not None:
        return given, 0 if given == "samples_by_features" else (best if genes else 0)
    n_header, n_rows = _known(header), _known(rows[best])
    if sample_ids:
        ids = set(sample_ids)
        in_header = sum(c in ids for c in table.columns[1:])
        in_rows = sum(name in ids for name in table.text(0))
        if in_header != in_rows:
            return ("features_by_samples", best if genes else 0) if in_header > in_rows else ("samples_by_features", 0)
    if not genes:
        findings.info("orientation", "rows are taken as samples and columns as features.")
        return "samples_by_features", 0
    shares = header.known_share if n_header >= n_rows else rows[best].known_share
    if shares < _FEW_KNOWN and max(n_header, n_rows) < 1000:
        mouse = next((m for m in (header, rows[0]) if m.is_mouse), None)
        if mouse is not None:
            raise DataError(str(mouse.findings[0]))
        raise DataError(
            f"neither its rows ({examples(table.text(0))}) nor its columns ({examples(table.columns[1:])}) are named "
            "by genes: symbols, Ensembl ids or Entrez ids are known. Name the genes, or state the orientation."
        )
    if n_header >= n_rows:
        findings.info("orientation", f"samples are in rows: {n_header:,} of {len(header.names):,} columns are genes.")
        return "samples_by_features", 0
    findings.info("orientation", f"samples are in columns: {n_rows:,} of {len(table):,} rows are genes.")
    return "features_by_samples", best


def _known(genes: GeneMap) -> int:
    return sum(symbol is not None for symbol in genes.symbols)


def _values(
    table: Table, lies: Orientation, names_at: int, findings: Findings, *, booleans: bool
) -> tuple[list[str], list[str], npt.NDArray[np.float32]]:
    """Return sample ids, feature names and the values between them."""
    names = list(table.text(names_at))
    columns = [i for i in range(len(table.columns)) if i != names_at]
    if lies == "features_by_samples":
        star = table.find("tpm_unstranded")
        if star:
            findings.info(
                "star-counts", "it is a STAR gene count file of one sample; its column tpm_unstranded is read."
            )
            columns = star
        named = [i for i in columns if plain_name(table.columns[i]) in _ANNOTATIONS and len(columns) > 1]
        columns = [i for i in columns if i not in named]
    else:
        named = [i for i in columns if not table.columns[i] and not any(table.text(i))]
        columns = [i for i in columns if i not in named]
    numbers = table.numbers(columns, np.float32, booleans=booleans)
    is_text = numbers.is_text
    named += [i for i, text in zip(columns, is_text, strict=True) if text]
    if named:
        shown = [table.columns[i] or f"column {i + 1}" for i in sorted(named)]
        findings.info("annotations", f"{len(named)} columns describe the rows and are left out.", shown)
    keep = np.flatnonzero(~is_text)
    if not len(keep):
        raise DataError(f"none of its {len(columns)} columns {examples(table.columns)} holds numbers.")
    refuse_text(table, [columns[i] for i in keep], numbers, keep)
    labels = [_label(table, columns[i], lies) for i in keep]
    values = numbers.values[:, keep]
    if lies == "samples_by_features":
        return names, labels, values
    rows = [i for i, name in enumerate(names) if name and not _SUMMARY_ROWS.fullmatch(name)]
    if len(rows) < len(names):
        left = [names[i] or f"row {table.row_of(i)} without a name" for i in set(range(len(names))) - set(rows)]
        findings.info("summary-rows", f"{len(left)} rows are no genes and are left out.", sorted(left))
    return labels, [names[i] for i in rows], np.ascontiguousarray(values[rows].T)


def _label(table: Table, column: int, lies: Orientation) -> str:
    stem = table.path.name.split(".")[0]
    one_sample = lies == "features_by_samples" and table.columns[column] in ("", "tpm_unstranded")
    return stem if one_sample else table.columns[column]


def _check_modality(frame: pd.DataFrame, modality: str, unit: UnitGuess | None, findings: Findings) -> None:
    values = frame.to_numpy()
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    if modality == "expression" and unit is not None and low < 0:
        if unit.unit == "counts" or (bool(np.all(np.mod(values[~np.isnan(values)], 1) == 0)) and high >= 100):
            n = int((values < 0).sum())
            raise DataError(f"{n} read counts are negative, e.g. {low:g}; counts never are.")
    elif modality == "mutation":
        if low < 0 or not np.isin(values[~np.isnan(values)], (0, 1)).all():
            raise DataError(f"mutation values run from {low:g} to {high:g}; give 1 for mutated and 0 for not.")
    elif modality == "copy_number":
        whole = bool(np.all(np.mod(values[~np.isnan(values)], 1) == 0))
        scale = (
            "GISTIC calls"
            if whole and low >= -2 and high <= 2 and low < 0
            else "log2 ratios"
            if low < 0
            else "copies or ratios"
        )
        findings.info("copy-number-scale", f"copy number runs from {low:.3g} to {high:.3g}: {scale}.")
        if high > 1000 or low < -100:
            raise DataError(f"copy number runs from {low:.4g} to {high:.4g}; that is no copy number.")
