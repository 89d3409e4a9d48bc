"""DepMap matrices of genes: expression, copy number, and damaging or hotspot mutations, in every layout since 2019.

Until 24Q4 the first column has no name and holds ACH ids; from 25Q2 ids of sequencings, models and model conditions
come first, with columns that say which row is the default entry of its model. Genes are ``SYMBOL (entrez)``.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.data.findings import Findings
from halfmax.data.readers.checks import check_samples, check_values, expression_unit
from halfmax.data.readers.features import by_feature
from halfmax.data.readers.glimpse import Glimpse
from halfmax.data.readers.kinds import FileKind, Part, Reading
from halfmax.data.readers.line_ids import ACH, Lines, is_id_column, lines_of, with_models
from halfmax.data.readers.wide import read_wide
from halfmax.data.tables import MAX_CELLS
from halfmax.data.units import UnitGuess, check_expression_unit
from halfmax.errors import DataError, UnknownNameError, did_you_mean, examples

LICENCE = "DepMap releases: CC BY 4.0"
#: Scales of copy number: what a value means, and where two copies of a diploid genome lie.
COPY_NUMBER_UNITS = {
    "relative": "copies relative to the line's mean, 1 = neutral",
    "log2_relative1": "log2(relative copies + 1), 1 = neutral",
    "log2_ratio": "log2 of relative copies, 0 = neutral",
    "copies": "copies of the gene, 2 = neutral",
}
_GENE = re.compile(r"\S.* \((?:\d+|ENSG\d+(?:\.\d+)?|unknown)\)")
_NAMES = {
    "expression": re.compile(r"expr|tpm|logp1|rsem", re.IGNORECASE),
    "copy_number": re.compile(r"omicscn|cn_?gene|gene_?cn|copy_?number|[_-]cn[_-]", re.IGNORECASE),
    "mutation": re.compile(r"damaging|hotspot|mut\w*(matrix|binary)", re.IGNORECASE),
}
_TOO_HIGH_FOR_LOG = 12.0  # log2(x + 1) of 4,000 times the usual copies
_LOST_LINEAR, _LOST_LOG = (0.46, 0.54), (0.56, 0.64)
_CLEAR, _ENOUGH = 1.5, 100


def read_depmap_expression(
    path: Path | str,
    *,
    unit: str | None = None,
    models: Path | str | None = None,
    strict: bool = False,
    max_cells: int = MAX_CELLS,
) -> Reading:
    """Read an expression matrix of DepMap, such as ``OmicsExpressionProteinCodingGenesTPMLogp1.csv``.

    Parameters
    ----------
    path
        CSV, gzip or Parquet, models × genes.
    unit
        A key of `EXPRESSION_UNITS`; found if not given (the releases hold log2(TPM + 1)).
    models
        A table with the column ModelID and the ids that the rows have, such as ``ModelCondition.csv`` or
        ``OmicsProfiles.csv``, where the rows name no model.
    strict
        Raise DataError where something would be put right otherwise.
    max_cells
        Largest table that is read.

    Raises
    ------
    DataError
        If it is no such matrix, or ids repeat, or values are text or infinite.
    """
    if unit is not None:
        check_expression_unit(unit)
    path, findings = Path(path), Findings(strict=strict)
    lines, frame = _matrix(path, findings, models, max_cells=max_cells)
    guess = expression_unit(frame, unit, findings)
    return _reading("depmap-expression", "expression", lines, frame, guess.unit, findings)


def read_depmap_copy_number(
    path: Path | str,
    *,
    scale: str | None = None,
    models: Path | str | None = None,
    strict: bool = False,
    max_cells: int = MAX_CELLS,
) -> Reading:
    """Read gene-level copy number of DepMap, such as ``OmicsCNGene.csv`` or ``OmicsCNGeneWGS.csv``; left on its scale.

    Parameters
    ----------
    path
        CSV, gzip or Parquet, models × genes.
    scale
        A key of `COPY_NUMBER_UNITS`; found from the values if not given.
    models, strict, max_cells
        As in `read_depmap_expression`.

    Raises
    ------
    DataError
        If it is no such matrix, or values are text, infinite or not of the stated scale.
    """
    if scale is not None and scale not in COPY_NUMBER_UNITS:
        hint = did_you_mean(scale, COPY_NUMBER_UNITS)
        raise UnknownNameError(f"there is no scale {scale!r}.{hint} Scales: {', '.join(COPY_NUMBER_UNITS)}.")
    path, findings = Path(path), Findings(strict=strict)
    lines, frame = _matrix(path, findings, models, max_cells=max_cells)
    guess = copy_number_scale(frame.to_numpy())
    if scale is not None:
        if guess.is_known and guess.unit != scale:
            message = f"the scale is stated as {scale}, but the values look like {guess.unit}: {guess.evidence}."
            findings.warn("scale-doubt", message)
        guess = UnitGuess(scale, "stated")
    level = findings.info if guess.is_known else findings.warn
    hint = "" if guess.is_known else f" Say it with scale=, one of {', '.join(COPY_NUMBER_UNITS)}."
    level("copy-number-scale", f"copy number: {COPY_NUMBER_UNITS.get(guess.unit, 'unknown')}; {guess.evidence}.{hint}")
    return _reading("depmap-copy-number", "copy_number", lines, frame, guess.unit, findings)


def read_depmap_mutation_matrix(path: Path | str, *, strict: bool = False, max_cells: int = MAX_CELLS) -> Reading:
    """Read a matrix of damaging or hotspot mutations as 0 and 1.

    DepMap writes 2 where the allele frequencies of a gene's mutations add up to more than 0.95 (README of 24Q4): that
    counts as mutated, and is said.

    Parameters
    ----------
    path
        CSV, gzip or Parquet, models × genes, such as ``OmicsSomaticMutationsMatrixDamaging.csv``.
    strict, max_cells
        As in `read_depmap_expression`.

    Raises
    ------
    DataError
        If it is no such matrix, or holds other values than 0, 1, 2 and empty.
    """
    path, findings = Path(path), Findings(strict=strict)
    lines, frame = _matrix(path, findings, None, max_cells=max_cells, booleans=True)
    values = frame.to_numpy()
    wrong = ~np.isin(values, (0, 1, 2)) & ~np.isnan(values)
    if wrong.any():
        shown = [f"{frame.index[row]} × {frame.columns[at]}: {values[row, at]:g}" for row, at in np.argwhere(wrong)[:4]]
        raise DataError(f"{path}: {int(wrong.sum())} values are neither 0, 1 nor 2: {examples(shown)}.")
    if n := int((values == 2).sum()):
        findings.info("both-alleles", f"{n:,} values are 2 (most alleles mutated); they count as 1, mutated.", count=n)
        frame = frame.clip(upper=1)
    return _reading("depmap-mutation-matrix", "mutation", lines, frame, None, findings)


def copy_number_scale(values: npt.NDArray[np.floating]) -> UnitGuess:
    """Return the scale of gene-level copy number, a key of `COPY_NUMBER_UNITS`, or ``unknown``.

    The median says where a neutral gene lies: 0, 1 or 2. At 1 it may be relative copies or log2(relative copies + 1);
    then a gene that lost one copy of two tells, for it lies at 0.5 or at log2(1.5) = 0.585, and a gain of thousands
    of copies, which only relative copies could be.

    Parameters
    ----------
    values
        Samples × genes; NaN is left out.
    """
    finite = values[np.isfinite(values)]
    if finite.size < _ENOUGH:
        return UnitGuess("unknown", f"{finite.size} values are too few to tell")
    low, high, middle = float(finite.min()), float(finite.max()), float(np.median(finite))
    span = f"median {middle:.3g}, values from {low:.3g} to {high:.3g}"
    if low < -1e-3:
        known = abs(middle) < 0.3 and high < _TOO_HIGH_FOR_LOG
        return UnitGuess("log2_ratio", f"{span}, some negative") if known else UnitGuess("unknown", span)
    if 1.5 < middle < 4.5:
        return UnitGuess("copies", span)
    if not 0.7 < middle < 1.4:
        return UnitGuess("unknown", span)
    if high > _TOO_HIGH_FOR_LOG:
        return UnitGuess("relative", f"{span}: too high for log2(x + 1)")
    linear, logged = (int(((finite > a) & (finite < b)).sum()) for a, b in (_LOST_LINEAR, _LOST_LOG))
    told = f"{span}; {linear:,} values about 0.5, {logged:,} about log2(1.5) = 0.585, where one lost copy of two lies"
    if max(linear, logged) >= _ENOUGH // 10 and max(linear, logged) > _CLEAR * min(linear, logged):
        return UnitGuess("relative" if linear > logged else "log2_relative1", told)
    return UnitGuess("unknown", told)


def _matrix(
    path: Path, findings: Findings, models: Path | str | None, *, max_cells: int, booleans: bool = False
) -> tuple[Lines, pd.DataFrame]:
    """Return the rows of cell lines, and samples × genes under their current symbols."""
    wide = read_wide(path, is_id_column, findings, booleans=booleans, max_cells=max_cells)
    try:
        texts = wide.texts if models is None else with_models(wide.texts, Path(models))
        lines = lines_of(texts, findings)
        values = wide.values if len(lines.rows) == len(wide.values) else wide.values[lines.rows]
        ids, values = _one_row_a_model(lines, values, findings)
        check_samples(ids)
        check_values(values, ids, wide.names, findings)
        frame, _ = by_feature(ids, list(wide.names), values, findings, genes=True)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    return lines, frame


def _one_row_a_model(
    lines: Lines, values: npt.NDArray[np.float32], findings: Findings
) -> tuple[list[str], npt.NDArray[np.float32]]:
    """Average the rows of a model that was profiled under several conditions, each the default of its own."""
    if "model_condition" not in lines.samples or len(lines.samples) == len(lines.ids):
        return lines.ids, values
    codes, index = pd.factorize(np.array(lines.ids, dtype=object))
    several = np.flatnonzero(np.bincount(codes) > 1)
    message = f"{len(several)} models have rows of several conditions; averaged."
    findings.mended("several-conditions", message, [str(index[i]) for i in several])
    averaged = values[np.unique(codes, return_index=True)[1]].copy()
    for row in several:
        with np.errstate(invalid="ignore"):
            of_model = values[codes == row].astype(np.float64)
            count = (~np.isnan(of_model)).sum(axis=0)
            averaged[row] = np.where(count > 0, np.nansum(of_model, axis=0) / np.maximum(count, 1), np.nan)
    return [str(name) for name in index], averaged


def _reading(kind: str, role: str, lines: Lines, frame: pd.DataFrame, unit: str | None, findings: Findings) -> Reading:
    parts = [Part(role, frame, unit=unit, id_kind=lines.kind)]
    if lines.samples.shape[1] > 1:
        parts.append(Part("samples", lines.samples, id_kind=lines.kind))
    return Reading(kind, tuple(parts), findings.all())


def _recognise(modality: str, seen: Glimpse) -> float:
    """Return how sure a file is a DepMap matrix of this modality: the layout from its columns, the rest by its name."""
    if seen.form not in ("text", "parquet") or len(seen.columns) < 3:
        return 0.0
    genes = [c for c in seen.columns[:2000] if not is_id_column(c)]
    layout = sum(_GENE.fullmatch(c) is not None for c in genes) > len(genes) / 2
    first = [row[0] for row in seen.rows[1:4] if row]
    ach = bool(first) and all(ACH.fullmatch(cell) for cell in first)
    if not layout and not ach and not seen.has("ModelID") and not seen.has("DepMap_ID") and not seen.has("depmap_id"):
        return 0.0
    named = [m for m, pattern in _NAMES.items() if pattern.search(seen.path.name)]
    if modality in named[:1]:
        return 0.95 if layout else 0.7
    return 0.3 if layout and not named else 0.0


EXPRESSION = FileKind(
    "depmap-expression",
    "DepMap expression, models × genes",
    "DepMap",
    lambda seen: _recognise("expression", seen),
    read_depmap_expression,
    LICENCE,
    ("unit", "models", "strict"),
)
COPY_NUMBER = FileKind(
    "depmap-copy-number",
    "DepMap gene-level copy number",
    "DepMap",
    lambda seen: _recognise("copy_number", seen),
    read_depmap_copy_number,
    LICENCE,
    ("scale", "models", "strict"),
)
MUTATION_MATRIX = FileKind(
    "depmap-mutation-matrix",
    "DepMap damaging or hotspot mutations, models × genes",
    "DepMap",
    lambda seen: _recognise("mutation", seen),
    read_depmap_mutation_matrix,
    LICENCE,
    ("strict",),
)
