"""AnnData and 10x files: samples as they are, or cells summed to one pseudobulk profile a sample."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.data.findings import Findings
from halfmax.data.identifiers import map_genes
from halfmax.data.readers import tenx
from halfmax.data.readers.features import by_feature, known_columns
from halfmax.data.readers.glimpse import Glimpse, glimpse
from halfmax.data.readers.kinds import FileKind, Part, Reading
from halfmax.data.readers.places import naming
from halfmax.data.readers.tenx import Cells, import_or_say
from halfmax.data.units import check_expression_unit, detect_expression_unit
from halfmax.errors import DataError, UnknownNameError, did_you_mean, examples

Rows = Literal["samples", "cells"]
#: Columns of `obs` that say which sample a cell is from, the surest first.
SAMPLE_KEYS = (
    "sample_id",
    "sample",
    "donor_id",
    "donor",
    "patient_id",
    "patient",
    "orig.ident",
    "library_id",
    "library",
)
_CELL = re.compile(r"(?:.*[_#-])?[ACGTN]{10,}(?:[-_.]\w+)*", re.ASCII)
_FEW_CELLS, _FEW_READS = 20, 100


@dataclass(frozen=True)
class _Bulk:
    """Profiles by sample: values of shape ``(n_samples, n_genes)`` and what is known of each sample."""

    values: npt.NDArray[np.float32]
    about: pd.DataFrame


def read_single_cell(
    path: Path | str,
    *,
    layer: str | None = None,
    raw: bool = False,
    by: str | None = None,
    rows: Rows | None = None,
    sample: str | None = None,
    unit: str | None = None,
    strict: bool = False,
) -> Reading:
    """Read an AnnData file, a 10x ``.h5``, or a 10x folder of matrix, features and barcodes.

    Cells are summed, count by count, to one profile a sample (pseudobulk); nothing else makes a profile that can be
    set beside a bulk sample.

    Parameters
    ----------
    path
        ``.h5ad``, ``.h5``, or a folder with ``matrix.mtx.gz``, ``features.tsv.gz`` and ``barcodes.tsv.gz``.
    layer, raw
        Which matrix of an AnnData file to read: a layer, or ``raw.X``; ``X`` if not given.
    by
        Column of `obs` that says which sample a cell is from; found by its usual names if not given.
    rows
        Whether the rows are ``samples`` or ``cells``; told from their names if not given.
    sample
        Name of the sample where the file holds one.
    unit
        Unit of the values where rows are samples; detected if not given. Sums of cells are counts.
    strict
        Raise DataError where something would be put right otherwise.

    Returns
    -------
    Reading
        ``expression`` (samples × current symbols, float32; counts for cells) and ``samples`` with n_cells and n_reads,
        and those columns of `obs` that are the same for all cells of a sample.

    Raises
    ------
    DataError
        If a file is damaged, the matrix is not there, or cells do not hold counts.
    """
    if rows not in (None, "samples", "cells"):
        raise UnknownNameError(f"rows is samples or cells, not {rows!r}.")
    if unit is not None:
        check_expression_unit(unit)
    path, findings = Path(path), Findings(strict=strict)
    with naming(path):
        seen = glimpse(path)
        if seen.form == "folder":
            cells = tenx.read_folder(path, findings)
        elif seen.form == "hdf5":
            cells = tenx.read_h5(path, findings) if tenx.is_10x(path) else _read_h5ad(path, layer, findings, raw=raw)
        else:
            raise DataError(f"it is a {seen.form} file; an AnnData (.h5ad) or 10x file is HDF5, or a 10x folder.")
        chosen = rows or ("cells" if by is not None or cells.of_10x else _rows(cells, findings))
        name = sample or _name_of(path)
        bulk = _as_they_are(cells) if chosen == "samples" else _summed(cells, by, name, findings)
        names = [str(name) for name in bulk.about.index]
        if len(set(names)) < len(names):
            raise DataError("sample ids occur more than once; make them unique.")
        frame, _ = by_feature(names, cells.genes, bulk.values, findings, genes=True)
        found = "counts" if chosen == "cells" else unit or _unit(frame, findings)
    return Reading("single-cell", (Part("expression", frame, unit=found), Part("samples", bulk.about)), findings.all())


def _name_of(path: Path) -> str:
    """Return a sample's name from its file, or from the folder around the one that 10x always calls the same."""
    if path.is_dir() and re.fullmatch(r"(?:filtered|raw)_.*matri(?:x|ces).*|outs|hg\d+|GRCh\d+", path.name):
        return path.resolve().parent.name
    return path.name.split(".")[0]


def _read_h5ad(path: Path, layer: str | None, findings: Findings, *, raw: bool) -> Cells:
    anndata = import_or_say("anndata")
    if layer is not None and raw:
        raise DataError("layer= and raw= name two matrices; give one.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about encodings of older versions, which are read all the same
            data: Any = anndata.read_h5ad(path)
    except MemoryError:
        raise DataError("it does not fit into memory.") from None
    except Exception as error:  # h5py and anndata raise many kinds on a damaged file
        raise DataError(f"it is no AnnData file, or a damaged one ({type(error).__name__}: {_short(error)}).") from None
    layers = sorted(map(str, data.layers))
    if layer is not None and layer not in layers:
        raise DataError(
            f"it has no layer {layer!r}.{did_you_mean(layer, layers)} It has: {', '.join(layers) or 'none'}."
        )
    if raw and data.raw is None:
        raise DataError(f"it has no raw matrix; it has X and the layers {', '.join(layers) or '(none)'}.")
    holder = data.raw if raw else data
    matrix = data.layers[layer] if layer is not None else holder.X
    if matrix is None:
        raise DataError(f"it has no X; say which layer: {', '.join(layers) or 'it has none'}.")
    try:
        if hasattr(matrix, "check_format"):  # indices out of range would be read as they are
            matrix.check_format(full_check=True)
    except (ValueError, TypeError, IndexError) as error:
        raise DataError(f"its sparse matrix is damaged ({_short(error)}).") from None
    name = "raw.X" if raw else f"layers[{layer!r}]" if layer else "X"
    others = [f"layers[{other!r}]" for other in layers if other != layer]
    others += ["raw.X"] if data.raw is not None and not raw else []
    findings.info(
        "matrix-choice", f"the matrix {name} is read of {data.n_obs:,} rows × {matrix.shape[1]:,} genes.", others
    )
    ids = [str(name) for name in data.obs_names]
    return Cells(matrix, ids, _genes(holder.var, findings), data.obs, name, tuple(others))


def _genes(var: pd.DataFrame, findings: Findings) -> list[str]:
    """Return gene names: the index, or the column in which more names are known."""
    names = [str(name) for name in var.index]
    best, share = None, map_genes(names).known_share
    for column in var.columns if share < 0.5 else ():
        if (other := map_genes(map(str, var[column])).known_share) > max(share, 0.3):
            best, share = str(column), other
    if best is None:
        return names
    findings.info(
        "gene-column", f"genes are named by the column {best!r} of var; {share:.0%} of these names are known."
    )
    return [str(name) for name in var[best]]


def _rows(cells: Cells, findings: Findings) -> Rows:
    """Return whether row names are cell barcodes."""
    share = sum(_CELL.fullmatch(name) is not None for name in cells.names) / max(len(cells.names), 1)
    rows: Rows = "cells" if share > 0.5 else "samples"
    findings.info(
        "rows", f"rows are taken as {rows}: {share:.0%} of their names are cell barcodes; rows= states it.", cells.names
    )
    return rows


def _as_they_are(cells: Cells) -> _Bulk:
    values = cells.matrix.toarray() if hasattr(cells.matrix, "toarray") else np.asarray(cells.matrix)
    with np.errstate(over="ignore"):
        values = np.array(values, dtype=np.float32)
    if wrong := int((~np.isfinite(values)).sum()):
        raise DataError(f"{wrong} values of {cells.which} are missing or infinite.")
    return _Bulk(values, cells.obs.set_axis(pd.Index(cells.names, name="sample_id", dtype=object), axis=0))


def _summed(cells: Cells, by: str | None, name: str, findings: Findings) -> _Bulk:
    """Return the sums over the cells of each sample."""
    import scipy.sparse as sp

    matrix = sp.csr_array(cells.matrix)
    _check_counts(matrix.data, cells)
    key = _sample_key(cells, by, findings)
    labels = np.array(
        [name] * len(cells.names) if key is None else cells.obs[key].astype(object).map(_text), dtype=object
    )
    known = labels != ""
    if lost := int((~known).sum()):
        findings.mended("cells-without-sample", f"{lost} cells have no {key} and are left out.", (), lost)
    if not known.any():
        raise DataError(f"none of its {len(labels)} cells has a sample in {key!r}.")
    names, group = np.unique(labels[known].astype(str), return_inverse=True)
    places = np.flatnonzero(known)
    picker = sp.csr_array((np.ones(len(places)), (group, places)), shape=(len(names), len(labels)))
    sums = (picker @ matrix.astype(np.float64)).toarray()
    n_cells, n_reads = np.bincount(group, minlength=len(names)), sums.sum(axis=1)
    findings.info(
        "pseudobulk",
        f"{len(places):,} cells are summed to {len(names)} samples"
        f"{'' if key is None else f' by {key!r}'}: {n_cells.min():,} to {n_cells.max():,} cells a sample.",
        [f"{label}: {n} cells" for label, n in zip(names, n_cells, strict=True)],
        len(names),
    )
    if few := [f"{label}: {n}" for label, n in zip(names, n_cells, strict=True) if n < _FEW_CELLS]:
        findings.warn("few-cells", f"{len(few)} samples have fewer than {_FEW_CELLS} cells; their sums are noisy.", few)
    if np.median(matrix.sum(axis=1)) < _FEW_READS:
        findings.warn(
            "empty-droplets",
            f"half of the cells have fewer than {_FEW_READS} reads: is it the raw matrix? Give the filtered one.",
        )
    about = pd.DataFrame(
        {"n_cells": n_cells, "n_reads": n_reads}, index=pd.Index(names, name="sample_id", dtype=object)
    )
    return _Bulk(sums.astype(np.float32), about.join(_constant(cells.obs.iloc[places], group, names, key)))


def _check_counts(data: npt.NDArray[Any], cells: Cells) -> None:
    bad = ~np.isfinite(data) | (data < 0) | (np.mod(data, 1) != 0) if len(data) else np.zeros(0, dtype=bool)
    if bad.any():
        shown = [f"{value:.4g}" for value in data[bad][:4]]
        others = f"; it also has {examples(cells.others, 6)}" if cells.others else ""
        raise DataError(
            f"{cells.which} holds {int(bad.sum()):,} values that are no counts, e.g. {examples(shown)}: cells can be "
            f"summed as raw counts alone{others}. Say which matrix has them with layer= or raw=True; if the rows are "
            "samples, say rows='samples'."
        )
    if not len(data) or not data.sum():
        raise DataError(f"{cells.which} holds no read at all.")


def _sample_key(cells: Cells, by: str | None, findings: Findings) -> str | None:
    columns = [str(name) for name in cells.obs.columns]
    if by is not None:
        if by not in columns:
            raise DataError(
                f"obs has no column {by!r}.{did_you_mean(by, columns)} It has: {', '.join(columns) or 'none'}."
            )
        return by
    lower = {name.lower(): name for name in columns}
    found = [lower[key] for key in SAMPLE_KEYS if key in lower and cells.obs[lower[key]].nunique() < len(cells.names)]
    if not found:
        findings.info("one-sample", "obs does not say which sample a cell is from; all cells are one sample.")
        return None
    findings.info("sample-column", f"the column {found[0]!r} of obs says which sample a cell is from.", found[1:])
    return found[0]


def _constant(obs: pd.DataFrame, group: npt.NDArray[np.int64], names: Collection[str], key: str | None) -> pd.DataFrame:
    """Return what is the same for all cells of each sample."""
    about = {}
    for column in obs.columns:
        grouped = obs[column].astype(object).groupby(group)
        if column != key and str(column) not in ("n_cells", "n_reads") and (grouped.nunique(dropna=False) <= 1).all():
            about[str(column)] = grouped.first().to_numpy()
    return pd.DataFrame(about, index=pd.Index(list(names), name="sample_id", dtype=object))


def _text(value: object) -> str:
    return "" if pd.isna(value) else str(value).strip()  # type: ignore[call-overload]


def _unit(frame: pd.DataFrame, findings: Findings) -> str:
    guess = detect_expression_unit(known_columns(frame))
    say: Callable[[str, str], None] = findings.info if guess.is_known else findings.warn
    say("unit", f"unit: {guess.unit}; {guess.evidence}.")
    return guess.unit


def _short(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0][:200]


def _recognise(seen: Glimpse) -> float:
    if seen.form == "folder":
        return 0.95 if any(tenx.MATRIX.search(name) for name in seen.members) else 0.0
    return {".h5ad": 0.9, ".h5": 0.6}.get(seen.path.suffix.lower(), 0.0) if seen.form == "hdf5" else 0.0


SINGLE_CELL = FileKind(
    "single-cell",
    "AnnData (.h5ad) or 10x counts, cells summed by sample",
    "any",
    _recognise,
    read_single_cell,
    options=("layer", "raw", "by", "rows", "sample", "unit", "strict"),
)
