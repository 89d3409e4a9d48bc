"""Cells × genes as 10x Genomics writes them: an HDF5 file, or a folder of matrix, features and barcodes."""

from __future__ import annotations

import gzip
import re
import zlib
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO, cast

import numpy as np
import pandas as pd

from halfmax.data.findings import Findings
from halfmax.errors import DataError, examples

MATRIX = re.compile(r"^(?P<prefix>.*?)matrix\.mtx(?:\.gz)?$")
_GENES = "Gene Expression"
_PARTS = ("data", "indices", "indptr", "shape", "barcodes")
#: A stored value takes at least four bytes of text, and gzip packs a thousandfold at most.
_MOST_VALUES_A_BYTE = 250


@dataclass(frozen=True)
class Cells:
    """A matrix of rows (cells or samples) × genes, and what is known of the rows.

    Parameters
    ----------
    matrix
        Dense or sparse, shape ``(n_rows, n_genes)``.
    names, genes
        Names of the rows and of the genes.
    obs
        What is known of each row.
    which, others
        Name of the matrix in the file, and of the other ones.
    of_10x
        Whether a 10x program wrote it, so that rows are cells.
    """

    matrix: Any  # a scipy matrix, sparse array or numpy array: AnnData gives any of them
    names: list[str]
    genes: list[str]
    obs: pd.DataFrame
    which: str = "the matrix"
    others: tuple[str, ...] = field(default=())
    of_10x: bool = False


def import_or_say(name: str) -> ModuleType:
    """Return a library of the extra `scverse`, or say how to install it."""
    try:
        return import_module(name)
    except ImportError:
        raise DataError(f"this needs {name}; run `pip install 'halfmax[scverse]'`.") from None


def is_10x(path: Path) -> bool:
    """Return whether an HDF5 file has 10x's layout; raise DataError if it is damaged."""
    h5py = import_or_say("h5py")
    try:
        with h5py.File(path, "r") as file:
            return _group(file) is not None
    except Exception as error:  # h5py raises many kinds on a damaged file
        raise DataError(f"it is a damaged HDF5 file ({type(error).__name__}: {str(error)[:200]}).") from None


def read_h5(path: Path, findings: Findings) -> Cells:
    """Read a 10x ``.h5``, of version 3 (matrix/features) or 2 (a group named by the genome)."""
    import scipy.sparse as sp

    h5py = import_or_say("h5py")
    try:
        with h5py.File(path, "r") as file:
            group = file[_group(file)]
            features = group.get("features", group)
            names = [_decode(features["id" if "features" in group else "genes"][()]), _decode(group["barcodes"][()])]
            kinds = _decode(features["feature_type"][()]) if "feature_type" in features else None
            data, indices, indptr = (np.asarray(group[name][()]) for name in ("data", "indices", "indptr"))
            n_rows, n_columns = (int(n) for n in group["shape"][()])
        matrix = sp.csc_array((data, indices, indptr), shape=(n_rows, n_columns))
        matrix.check_format(full_check=True)
    except Exception as error:  # h5py raises many kinds on a damaged file
        raise DataError(f"it is a damaged 10x file ({type(error).__name__}: {str(error)[:200]}).") from None
    return _cells(matrix, names[0], names[1], kinds, None, findings)


def read_folder(path: Path, findings: Findings) -> Cells:
    """Read a folder with one matrix, or with several of which each has a prefix and is a sample."""
    import scipy.sparse as sp

    names = sorted(p.name for p in path.iterdir())
    prefixes = [found["prefix"] for name in names if (found := MATRIX.match(name))]
    if not prefixes:
        raise DataError(f"it holds no matrix.mtx or matrix.mtx.gz; it holds {examples(names) or 'nothing'}.")
    if len(set(prefixes)) < len(prefixes):
        raise DataError("it holds a matrix both packed and unpacked; remove one.")
    read = [_read_mtx(path, prefix, names, findings) for prefix in prefixes]
    if len(read) == 1:
        return read[0]
    other = next((p for p, cells in zip(prefixes, read, strict=True) if cells.genes != read[0].genes), None)
    if other is not None:
        raise DataError(f"its matrices {prefixes[0]!r} and {other!r} have different genes; read them apart.")
    findings.info("several-matrices", f"{len(read)} matrices are read as samples named by their prefixes.", prefixes)
    label = [p.rstrip("_.-") or path.name for p, cells in zip(prefixes, read, strict=True) for _ in cells.names]
    ids = [name for cells in read for name in cells.names]
    obs = pd.DataFrame({"sample_id": label}, index=pd.Index(ids, dtype=object))
    return Cells(sp.vstack([cells.matrix for cells in read]), ids, read[0].genes, obs, of_10x=True)


def _read_mtx(path: Path, prefix: str, names: list[str], findings: Findings) -> Cells:
    import scipy.io
    import scipy.sparse as sp

    def find(*stems: str) -> Path:
        for stem in stems:
            for name in (f"{prefix}{stem}", f"{prefix}{stem}.gz"):
                if name in names:
                    return path / name
        raise DataError(f"it holds {prefix}matrix.mtx, but no {prefix}{stems[0]} beside it.")

    features, barcodes = _lines(find("features.tsv", "genes.tsv")), _lines(find("barcodes.tsv"))
    file = find("matrix.mtx")
    try:
        with _open(file) as handle:
            rows, columns, entries, *_ = scipy.io.mminfo(handle)
            most = max(file.stat().st_size, 1) * _MOST_VALUES_A_BYTE
            if (rows, columns) != (len(features), len(barcodes)) or entries > most:
                raise DataError(
                    f"{file.name} has {rows:,} × {columns:,} rows and columns and {entries:,} values; there are "
                    f"{len(features):,} features and {len(barcodes):,} barcodes. Do the three files belong together?"
                )
        with _open(file) as handle:
            matrix = sp.csc_array(scipy.io.mmread(handle))
    except DataError:
        raise
    except (OSError, EOFError, ValueError, OverflowError, MemoryError, zlib.error, AttributeError, TypeError) as error:
        raise DataError(f"{file.name} is a damaged matrix file ({type(error).__name__}: {str(error)[:200]}).") from None
    cells = [line.split("\t") for line in features]
    kinds = [parts[2] if len(parts) > 2 else _GENES for parts in cells]
    return _cells(matrix, [p[0] for p in cells], [line.split("\t")[0] for line in barcodes], kinds, prefix, findings)


def _cells(
    matrix: Any, ids: list[str], barcodes: list[str], kinds: list[str] | None, prefix: str | None, findings: Findings
) -> Cells:
    """Return cells × genes of a features × cells matrix, without features that are no genes."""
    if matrix.shape != (len(ids), len(barcodes)):
        raise DataError(
            f"its matrix is {matrix.shape}, but there are {len(ids)} features and {len(barcodes)} barcodes."
        )
    is_gene = np.array([kind == _GENES for kind in kinds] if kinds is not None else [True] * len(ids), dtype=bool)
    if not is_gene.any():
        raise DataError(f"none of its {len(ids)} features is of type {_GENES!r}: {examples(sorted(set(kinds or [])))}.")
    if others := int((~is_gene).sum()):
        findings.info(
            "not-genes", f"{others} features are no genes (antibodies, guides, peaks); left out.", count=others
        )
    places = np.flatnonzero(is_gene)
    genes = [ids[place] for place in places]
    which = "the matrix" if not prefix else f"{prefix}matrix"
    return Cells(matrix.T.tocsr()[:, places], barcodes, genes, pd.DataFrame(index=barcodes), which, of_10x=True)


def _group(file: Any) -> str | None:
    return next((name for name in file if hasattr(file[name], "keys") and set(_PARTS) <= set(file[name])), None)


def _decode(values: Any) -> list[str]:
    return [value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value) for value in values]


def _open(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")


def _lines(path: Path) -> list[str]:
    try:
        with _open(path) as file:
            return file.read().decode("utf-8").splitlines()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(f"{path.name} cannot be read ({error}).") from None
