"""CCLE's and ProCan's matrices of cell lines: expression, RPPA, mass spectrometry, metabolites, methylation.

Samples are named by ACH id where the file has one, else by CCLE name (``A549_LUNG``), ProCan's by Sanger model id.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.data.findings import Findings
from halfmax.data.identifiers import map_genes
from halfmax.data.readers.checks import check_samples, check_values, expression_unit
from halfmax.data.readers.features import by_feature
from halfmax.data.readers.kinds import Part, Reading
from halfmax.data.readers.line_ids import CCLE_NAME, Lines, is_id_column, lines_of
from halfmax.data.readers.wide import Wide, read_wide
from halfmax.data.units import check_expression_unit
from halfmax.errors import DataError, examples

TEN_PLEX = re.compile(r"(?P<line>\w+?)_TenPx(?P<plex>\d+)")
PROCAN_SAMPLE = re.compile(r"(?P<sidm>SIDM\d{5})[;:_](?P<name>.+)")
PROCAN_PROTEIN = re.compile(r"(?P<accession>[A-Z0-9]+(?:-\d+)?);(?P<entry>\w+_HUMAN)")
LOCUS = re.compile(r".+_(?:\d{1,2}|X|Y|MT?)_\d+_\d+")
#: Columns that describe the rows of a matrix with cell lines in columns.
DESCRIBING = frozenset(
    ("", "name", "description", "gene_id", "transcript_ids", "gene", "protein_id", "gene_symbol", "group_id", "uniprot",
     "uniprot_acc", "tss_id", "cluster_id", "gene_name", "refseq_id", "cpg_sites_hg19", "chr", "fpos", "tpos", "strand",
     "avg_coverage", "locus_id", "cpg_id")
)  # fmt: skip
_PEPTIDES = re.compile(r"TenPx\d+_Peptides", re.IGNORECASE)
_PROJECT = "Project_Identifier"


def read_ccle_expression(path: Path | str, *, unit: str | None = None, strict: bool = False) -> Reading:
    """Read an expression matrix of CCLE: genes × lines (GCT, text) or lines × genes, arrays or RNA-seq.

    Parameters
    ----------
    path
        Such as ``CCLE_Expression_Entrez_2012-09-29.gct`` (log2 RMA) or ``CCLE_RNAseq_genes_rpkm_20180929.gct.gz``.
    unit
        A key of `EXPRESSION_UNITS`; found if not given.
    strict
        Raise DataError where something would be put right otherwise.

    Raises
    ------
    DataError
        If it is no such matrix, or ids repeat, or values are text or infinite.
    """
    if unit is not None:
        check_expression_unit(unit)
    path, findings = Path(path), Findings(strict=strict)
    lines, frame = _read(path, findings, genes=True)
    guess = expression_unit(frame, unit, findings)
    return _reading("ccle-expression", "expression", lines, frame, guess.unit, findings)


def read_ccle_rppa(path: Path | str, *, strict: bool = False) -> Reading:
    """Read CCLE's reverse-phase protein arrays, ``CCLE_RPPA_20181003.csv``: lines × antibodies, log2, centred.

    Parameters
    ----------
    path, strict
        As in `read_ccle_expression`.

    Raises
    ------
    DataError
        As `read_ccle_expression`.
    """
    path, findings = Path(path), Findings(strict=strict)
    lines, frame = _read(path, findings)
    doubtful = [str(name) for name in frame.columns if str(name).endswith("_Caution")]
    if doubtful:
        message = f"{len(doubtful)} of {frame.shape[1]} antibodies are marked Caution by those who measured; kept."
        findings.info("antibodies-in-doubt", message, doubtful)
    return _reading("ccle-rppa", "proteomics", lines, frame, "log2_centred", findings)


def read_ccle_metabolomics(path: Path | str, *, strict: bool = False) -> Reading:
    """Read CCLE's metabolites, ``CCLE_metabolomics_20190502.csv``: lines × metabolites, log10 of peak areas.

    Parameters
    ----------
    path, strict
        As in `read_ccle_expression`.

    Raises
    ------
    DataError
        As `read_ccle_expression`.
    """
    path, findings = Path(path), Findings(strict=strict)
    lines, frame = _read(path, findings)
    return _reading("ccle-metabolomics", "metabolomics", lines, frame, "log10", findings)


def read_ccle_methylation(path: Path | str, *, strict: bool = False) -> Reading:
    """Read CCLE's promoter methylation by RRBS, loci × lines or lines × loci: the methylated fraction, 0 to 1.

    Parameters
    ----------
    path, strict
        As in `read_ccle_expression`; ``CCLE_RRBS_TSS1kb_20181022.txt`` and such.

    Raises
    ------
    DataError
        As `read_ccle_expression`, or if values are no fractions.
    """
    path, findings = Path(path), Findings(strict=strict)
    lines, frame = _read(path, findings)
    values = frame.to_numpy()
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    if low < 0 or high > 1:
        raise DataError(
            f"{path}: methylation runs from {low:g} to {high:g}; the fraction that is methylated is 0 to 1."
        )
    return _reading("ccle-methylation", "methylation", lines, frame, "fraction", findings)


def read_ccle_proteomics(path: Path | str, *, strict: bool = False) -> Reading:
    """Read CCLE's mass spectrometry (Nusinow et al., Cell 2020): proteins × lines in ten-plexes, log2, normalised.

    Features are UniProt accessions. Lines measured in several ten-plexes are averaged and named.

    Parameters
    ----------
    path, strict
        As in `read_ccle_expression`; ``protein_quant_current_normalized.csv``.

    Raises
    ------
    DataError
        As `read_ccle_expression`.
    """
    path, findings = Path(path), Findings(strict=strict)
    lines, frame = _read(path, findings)
    return _reading("ccle-proteomics", "proteomics", lines, frame, "log2_relative", findings)


def read_procan_proteomics(path: Path | str, *, strict: bool = False) -> Reading:
    """Read the ProCan-DepMapSanger protein matrix (Gonçalves et al., Cancer Cell 2022): lines × proteins, log2.

    Features are UniProt accessions, samples Sanger model ids.

    Parameters
    ----------
    path, strict
        As in `read_ccle_expression`; ``ProCan-DepMapSanger_protein_matrix_8498_averaged.txt`` and such.

    Raises
    ------
    DataError
        As `read_ccle_expression`.
    """
    path, findings = Path(path), Findings(strict=strict)
    wide = read_wide(path, lambda name: name == _PROJECT, findings)
    try:
        project = next(iter(wide.texts.values()))
        found = [PROCAN_SAMPLE.fullmatch(cell) for cell in project]
        if bad := [cell for cell, match in zip(project, found, strict=True) if match is None]:
            raise DataError(f"{len(bad)} samples are not named SIDM…;name, as ProCan's are: {examples(bad)}.")
        parts = {key: np.array([m[key] for m in found if m], dtype=object) for key in ("sidm", "name")}
        texts = {"SangerModelID": parts["sidm"], "CellLineName": parts["name"]}
        lines = lines_of(texts, findings)
        names = [match["accession"] if (match := PROCAN_PROTEIN.fullmatch(name)) else name for name in wide.names]
        frame = _checked(lines.ids, names, wide.values[lines.rows], findings)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    return _reading("procan-proteomics", "proteomics", lines, frame, "log2", findings)


def _read(path: Path, findings: Findings, *, genes: bool = False) -> tuple[Lines, pd.DataFrame]:
    """Return the lines and lines × features of a matrix that lies either way round."""
    wide = read_wide(path, _describes, findings)
    try:
        if not any(map(is_line_column, wide.names)):
            lines = lines_of(wide.texts, findings)
            return lines, _checked(lines.ids, list(wide.names), wide.values[lines.rows], findings, genes=genes)
        wide = _without_counts(wide, findings)
        names = _row_names(wide, genes=genes)
        columns = [match["line"] if (match := TEN_PLEX.fullmatch(name)) else name for name in wide.names]
        ids, values = _one_column_a_line(columns, wide, findings)
        lines = lines_of({"CCLE_ID": np.array(ids, dtype=object)}, findings)
        return lines, _checked(lines.ids, names, np.ascontiguousarray(values.T), findings, genes=genes)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def is_line_column(name: str) -> bool:
    """Return whether a column's name is a CCLE name, with or without a ten-plex."""
    return TEN_PLEX.fullmatch(name) is not None or CCLE_NAME.fullmatch(name) is not None


def _describes(name: str) -> bool:
    return name.lower() in DESCRIBING or is_id_column(name)


def _without_counts(wide: Wide, findings: Findings) -> Wide:
    """Leave out columns that are no cell lines, such as numbers of peptides."""
    keep = [i for i, name in enumerate(wide.names) if is_line_column(name)]
    left = [name for name in wide.names if not is_line_column(name)]
    counts = [name for name in left if _PEPTIDES.fullmatch(name)]
    if counts:
        findings.info("peptide-counts", f"{len(counts)} columns of peptide counts are left out.", counts)
    if others := [name for name in left if name not in set(counts)]:
        message = f"{len(others)} columns have no CCLE name and are left out."
        findings.mended("other-columns", message, others)
    return wide if not left else replace(wide, names=tuple(wide.names[i] for i in keep), values=wide.values[:, keep])


def _row_names(wide: Wide, *, genes: bool) -> list[str]:
    """Return the names of the rows: of several columns of gene names the best known, else UniProt, else the first."""
    if genes:
        best = max(wide.texts.values(), key=lambda column: map_genes(column[:2000]).known_share)
        return list(best)
    by_name = {name.lower(): column for name, column in wide.texts.items()}
    return list(by_name.get("uniprot_acc", next(iter(wide.texts.values()))))


def _one_column_a_line(columns: list[str], wide: Wide, findings: Findings) -> tuple[list[str], npt.NDArray[np.float32]]:
    """Average the columns of a line that was measured in several ten-plexes."""
    codes, names = pd.factorize(np.array(columns, dtype=object))
    several = np.flatnonzero(np.bincount(codes) > 1)
    if not len(several):
        return columns, wide.values
    if any(TEN_PLEX.fullmatch(name) is None for name in wide.names):
        return columns, wide.values  # repeated names alone are refused later
    findings.info(
        "several-plexes",
        f"{len(several)} lines were measured in several ten-plexes; averaged.",
        [str(names[i]) for i in several],
    )
    first = np.unique(codes, return_index=True)[1]
    values = wide.values[:, first].copy()
    for line in several:
        of_line = wide.values[:, codes == line].astype(np.float64)
        count = (~np.isnan(of_line)).sum(axis=1)
        values[:, line] = np.where(count > 0, np.nansum(of_line, axis=1) / np.maximum(count, 1), np.nan)
    return [str(name) for name in names], values


def _checked(
    ids: list[str], names: list[str], values: npt.NDArray[np.float32], findings: Findings, *, genes: bool = False
) -> pd.DataFrame:
    check_samples(ids)
    check_values(values, ids, names, findings)
    return by_feature(ids, names, values, findings, genes=genes)[0]


def _reading(kind: str, role: str, lines: Lines, frame: pd.DataFrame, unit: str, findings: Findings) -> Reading:
    parts = [Part(role, frame, unit=unit, id_kind=lines.kind)]
    if lines.samples.shape[1] > 1:
        parts.append(Part("samples", lines.samples, id_kind=lines.kind))
    return Reading(kind, tuple(parts), findings.all())
