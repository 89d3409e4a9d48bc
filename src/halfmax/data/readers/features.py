"""The columns of a matrix as features: repeated ones averaged, genes under their current symbols."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.data.findings import Findings
from halfmax.data.identifiers import HOW, GeneMap, map_genes, mean_of_columns
from halfmax.errors import DataError

_VERSION = re.compile(r"(ENS[A-Z]*[GT]\d{11})\.\d+")


def by_feature(
    samples: list[str], features: list[str], values: npt.NDArray[np.float32], findings: Findings, *, genes: bool
) -> tuple[pd.DataFrame, GeneMap | None]:
    """Return the frame with one column a feature: repeated names averaged, genes under their current symbols."""
    places: dict[str, list[int]] = {}
    for place, name in enumerate(features):
        name = (_VERSION.sub(r"\1", name) if genes else name).strip()
        if name:
            places.setdefault(name, []).append(place)
    if lacking := len(features) - sum(map(len, places.values())):
        findings.warn("unnamed-features", f"{lacking} columns without a name are left out.", count=lacking)
    repeated = {name: at for name, at in places.items() if len(at) > 1}
    first = np.array([at[0] for at in places.values()], dtype=np.int64)
    matrix = values[:, first] if len(first) < len(features) or (np.diff(first) != 1).any() else values
    if repeated:
        kind = "genes" if genes else "features"
        findings.mended(f"duplicate-{kind}", f"{len(repeated)} duplicate {kind} averaged.", list(repeated))
        column_of = {name: column for column, name in enumerate(places)}
        for name, at in repeated.items():
            matrix[:, column_of[name]] = mean_of_columns(values, at)
    names = list(places)
    mapped = map_genes(names) if genes else None
    if mapped is not None:
        names = _current_names(mapped, findings)
    index = pd.Index(samples, name="sample_id", dtype=object)
    return pd.DataFrame(matrix, index=index, columns=pd.Index(names, dtype=object)), mapped


def _current_names(genes: GeneMap, findings: Findings) -> list[str]:
    """Return the current symbol of each name, or the name itself where another column is the better one for it."""
    if genes.is_mouse:
        raise DataError(str(genes.findings[0]))
    for finding in genes.findings:
        if finding.code in ("retired-symbols", "aliases", "excel-dates"):
            findings.mended(finding.code, finding.message, finding.examples, finding.count)
        else:
            findings.extend([finding])
    rank = [HOW.index(how) if how in HOW else len(HOW) for how in genes.how]
    best: dict[str, tuple[int, int]] = {}
    for symbol, at in zip(genes.symbols, rank, strict=True):
        if symbol is not None:
            low, n = best.get(symbol, (at, 0))
            best[symbol] = (at, 1) if at < low else (low, n + (at == low))
    names, kept = [], []
    for name, symbol, at in zip(genes.names, genes.symbols, rank, strict=True):
        if symbol is None:
            names.append(name)
        elif best[symbol] == (at, 1):
            names.append(symbol)
        else:
            names.append(name)
            kept.append(f"{name} ({symbol})")
    if kept:
        findings.warn("several-names", f"{len(kept)} columns are further names of the same genes; kept apart.", kept)
    return names


def known_columns(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the columns that are genes; all, if fewer than half are."""
    known = np.array([how in HOW for how in map_genes(frame.columns).how], dtype=bool)
    return frame.loc[:, known] if known.mean() >= 0.5 or known.sum() >= 100 else frame
