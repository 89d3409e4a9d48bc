"""Pathway scores: gene sets in place of genes, by mean z-score, ssGSEA or a library's own method."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
import numpy.typing as npt

from halfmax.errors import DataError, UnknownNameError, did_you_mean, examples
from halfmax.features.blocks import Block, FloatArray
from halfmax.features.omics import known_columns, select_columns
from halfmax.state import Stateful

log = logging.getLogger(__name__)
Array = npt.NDArray[np.float64]
#: Methods that score each sample alone; those with a colon call the library before it.
METHODS = ("mean_z", "ssgsea", "decoupler:ulm", "decoupler:mlm", "decoupler:aucell", "gseapy:ssgsea")


class Pathways(Stateful):
    """Replace genes by the scores of gene sets.

    Parameters
    ----------
    gmt
        File of gene sets, read in `fit`; what was learned from it is saved with the predictor, the file is not needed
        again.
    sets
        Set name to genes, in place of a file.
    method
        ``mean_z``: mean of the genes' z-scores, centred and scaled by the training samples.
        ``ssgsea``: the single-sample enrichment score of Barbie et al. (2009, Nature 462) on a sample's own ranks,
        divided by its range over training samples and sets.
        ``decoupler:ulm``, ``decoupler:mlm``, ``decoupler:aucell`` (Badia-i-Mompel et al. 2022, Bioinformatics Advances
        2) and ``gseapy:ssgsea`` (Fang et al. 2023, Bioinformatics 39), where these libraries are installed.
    min_genes
        Sets with fewer genes in the data are left out and counted.
    weight
        Exponent of the ranks in ssGSEA.

    Notes
    -----
    With genes ranked 1 to N (the highest N) and a set of k genes, the sum over positions of ssGSEA has the closed form
    Σ r^(w+1) / Σ r^w − (N(N+1)/2 − Σ r) / (N − k), with sums over the set's genes: three matrix products for all
    samples and sets. Missing values take no part, and tied genes share their rank.
    """

    def __init__(
        self,
        gmt: str = "",
        sets: Mapping[str, Sequence[str]] | None = None,
        method: str = "mean_z",
        min_genes: int = 5,
        weight: float = 0.25,
    ) -> None:
        self.gmt = gmt
        self.sets = sets
        self.method = method
        self.min_genes = min_genes
        self.weight = weight

    def fit(self, block: Block) -> Self:
        """Find the sets' genes by name, and learn the scale of the training samples."""
        if self.method not in METHODS:
            raise UnknownNameError(
                f"Unknown pathway method {self.method!r}.{did_you_mean(self.method, METHODS)} "
                f"Known: {', '.join(METHODS)}."
            )
        found = _present(self._wanted(), block.names, max(self.min_genes, 1))
        self.genes_ = np.array(block.names, dtype=str)
        self.sets_ = np.array(list(found), dtype=str)
        self.size_ = np.array([len(rows) for rows in found.values()], dtype=np.int64)
        self.member_ = np.concatenate(list(found.values()))
        known = known_columns(block.values)
        wide = np.where(known, block.values, 0).astype(np.float64)
        spread = np.nanstd(wide, axis=0)
        self.centre_ = np.nanmean(wide, axis=0)
        self.gain_ = np.where(spread > 1e-8, 1 / np.where(spread > 1e-8, spread, 1), 0.0)
        self.range_ = 1.0
        if self.method == "ssgsea":
            scores = self._ssgsea(block.values)
            width = float(np.nanmax(scores) - np.nanmin(scores)) if np.isfinite(scores).any() else 0.0
            self.range_ = width if width > 0 else 1.0
        return self

    def transform(self, block: Block) -> Block:
        """Return scores, shape ``(n, n_sets)``; NaN where a sample knows no gene of a set."""
        self._check_fitted()
        values = select_columns(block, tuple(self.genes_.tolist())).values
        if self.method == "mean_z":
            scores = self._mean_z(values)
        elif self.method == "ssgsea":
            scores = self._ssgsea(values) / self.range_
        elif self.method == "gseapy:ssgsea":
            scores = self._gseapy(values)
        else:
            scores = self._decoupler(values)
        return Block(scores.astype(np.float32), tuple(self.sets_.tolist()))

    def _wanted(self) -> Mapping[str, Sequence[str]]:
        if bool(self.gmt) == bool(self.sets):
            raise DataError("pathways needs gene sets: either a GMT file (gmt) or sets, and not both.")
        if self.sets:
            return self.sets
        from halfmax.data.readers.gmt import read_gmt

        return read_gmt(self.gmt)

    def _membership(self) -> Array:
        """Return the 0/1 matrix of genes × sets."""
        out = np.zeros((len(self.genes_), len(self.sets_)))
        out[self.member_, np.repeat(np.arange(len(self.sets_)), self.size_)] = 1
        return out

    def _mean_z(self, values: FloatArray) -> Array:
        known = np.isfinite(values)
        z = np.where(known, (values - self.centre_) * self.gain_, 0.0)
        member = self._membership()
        count = known @ member
        return np.where(count > 0, (z @ member) / np.maximum(count, 1), np.nan)

    def _ssgsea(self, values: FloatArray) -> Array:
        from scipy.stats import rankdata

        known = np.isfinite(values)
        rank = np.where(known, rankdata(values, axis=1, nan_policy="omit"), 0.0)
        member = self._membership()
        n, size = known.sum(axis=1, keepdims=True), known @ member
        weighted = np.where(known, rank**self.weight, 0.0)
        inside = ((weighted * rank) @ member) / np.maximum(weighted @ member, 1e-300)
        outside = (n * (n + 1) / 2 - rank @ member) / np.maximum(n - size, 1)
        return np.where(size > 0, inside - outside, np.nan)

    def _decoupler(self, values: FloatArray) -> Array:
        import pandas as pd

        dc = _library("decoupler")
        frame, name = self._frame(values), self.method.partition(":")[2]
        source = np.repeat(self.sets_.astype(object), self.size_)
        net = pd.DataFrame({"source": source, "target": self.genes_[self.member_].astype(object), "weight": 1.0})
        scores = getattr(dc.mt, name)(frame, net, tmin=1)
        table = scores[0] if isinstance(scores, tuple) else scores
        return np.asarray(table.reindex(index=frame.index, columns=self.sets_), dtype=np.float64)

    def _gseapy(self, values: FloatArray) -> Array:
        gseapy = _library("gseapy")
        frame = self._frame(values)
        groups = np.split(self.genes_[self.member_], np.cumsum(self.size_)[:-1])
        sets = {name: genes.tolist() for name, genes in zip(self.sets_.tolist(), groups, strict=True)}
        told = gseapy.ssgsea(
            frame.T,
            sets,
            outdir=None,
            min_size=1,
            max_size=len(self.genes_),
            weight=self.weight,
            threads=1,
            no_plot=True,
        )
        table = told.res2d.pivot(index="Name", columns="Term", values="ES")
        return np.asarray(table.reindex(index=frame.index, columns=self.sets_), dtype=np.float64)

    def _frame(self, values: FloatArray):  # type: ignore[no-untyped-def]
        import pandas as pd

        if not np.isfinite(values).all():
            raise DataError(f"{self.method} takes no missing values; put an impute step before pathways.")
        index = [f"s{i}" for i in range(len(values))]
        return pd.DataFrame(values.astype(np.float64), index=index, columns=self.genes_.astype(object))


def _present(
    wanted: Mapping[str, Sequence[str]], names: Sequence[str], min_genes: int
) -> dict[str, npt.NDArray[np.int64]]:
    """Return the sets with enough genes among `names`, as columns."""
    place = {name: i for i, name in enumerate(names)}
    rows = {
        name: np.array(sorted({place[gene] for gene in genes if gene in place}), dtype=np.int64)
        for name, genes in wanted.items()
    }
    found = {name: columns for name, columns in rows.items() if len(columns) >= min_genes}
    if not found:
        every = dict.fromkeys(gene for genes in wanted.values() for gene in genes)
        raise DataError(
            f"none of {len(wanted)} gene sets has {min_genes} genes among the {len(names)} features: the sets name "
            f"{examples(every)}, the data {examples(names)}. Are both gene symbols?"
        )
    if lost := [name for name in wanted if name not in found]:
        log.warning(
            "%d of %d gene sets have fewer than %d genes in the data, e.g. %s",
            *(len(lost), len(wanted), min_genes, examples(lost)),
        )
    return found


def _library(name: str):  # type: ignore[no-untyped-def]
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError:
        raise DataError(
            f"this pathway method needs the package {name}; install it (pip install {name}), or use mean_z or ssgsea."
        ) from None
