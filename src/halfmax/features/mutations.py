"""Mutations as features: a table of variants as genes, positions or variants, mutation burden, recurrence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.data.findings import Finding, Findings
from halfmax.errors import DataError, examples
from halfmax.features.blocks import Block
from halfmax.features.omics import Select, Stateless, select_columns
from halfmax.state import Stateful

LEVELS = ("gene", "position", "variant")
#: Consequences that leave the protein as it is, in the words of MAF files.
SILENT = ("Silent", "Intron", "3'UTR", "5'UTR", "3'Flank", "5'Flank", "IGR", "RNA", "lincRNA")


def encode_mutations(
    rows: pd.DataFrame,
    samples: Sequence[str],
    *,
    level: str = "gene",
    silent: Sequence[str] = SILENT,
) -> tuple[pd.DataFrame, tuple[Finding, ...]]:
    """Return a table of variants as a 0/1 matrix, samples × features.

    Parameters
    ----------
    rows
        One row a variant: ``sample_id``, ``gene``; ``protein_change`` (such as ``p.V600E``) for the finer levels; and,
        optionally, ``consequence``.
    samples
        Every sample that was sequenced: one without a row has no mutation, one that is not listed is unknown.
    level
        ``gene`` (``BRAF``), ``position`` (``BRAF p.600``) or ``variant`` (``BRAF p.V600E``).
    silent
        Values of ``consequence`` whose rows are left out.

    Returns
    -------
    The matrix, and what was left out, counted.

    Raises
    ------
    DataError
        If a column is missing or nothing is left.
    """
    if level not in LEVELS:
        raise DataError(f"level is {level!r}; it is one of {', '.join(LEVELS)}.")
    needed = ["sample_id", "gene"] + ([] if level == "gene" else ["protein_change"])
    if lacking := [c for c in needed if c not in rows]:
        raise DataError(f"the variants lack {examples(lacking)}; they have {examples(rows.columns, 6)}.")
    findings = Findings()
    keep = np.ones(len(rows), dtype=bool)
    if "consequence" in rows:
        keep = _leave_out(keep, rows["consequence"].isin(silent), rows["gene"], "silent", "are silent", findings)
    unknown = ~rows["sample_id"].isin(samples)
    keep = _leave_out(keep, unknown, rows["sample_id"], "unlisted", "are of samples that are not listed", findings)
    name = rows["gene"].astype(str)
    if level != "gene":
        change = rows["protein_change"].where(rows["protein_change"].notna(), "").astype(str)
        if level == "position":
            change = "p." + change.str.extract(r"(\d+)", expand=False)
            change = change.where(change.notna(), "")
        keep = _leave_out(keep, change == "", name, "no-change", "have no protein change", findings)
        name = name + " " + change
    if not keep.any():
        raise DataError(f"no variant of {len(rows)} is left: " + "; ".join(map(str, findings.all())))
    features, column = np.unique(name[keep].to_numpy(dtype=str), return_inverse=True)
    index = pd.Index(np.array(samples, dtype=object), name="sample_id")
    values = np.zeros((len(index), len(features)), dtype=np.float32)
    values[index.get_indexer(pd.Index(rows.loc[keep, "sample_id"])), column] = 1
    return pd.DataFrame(values, index=index, columns=features.astype(object)), findings.all()


class Burden(Stateless):
    """Append the sample's mutation burden: log2(1 + number of mutated features), gaps made up in proportion.

    Parameters
    ----------
    only
        Return the burden alone.
    """

    def __init__(self, only: bool = False) -> None:
        self.only = only

    def transform(self, block: Block) -> Block:
        """Return the block with a column ``burden``; NaN for a row without any known value."""
        known = np.isfinite(block.values)
        n_known = known.sum(axis=1)
        count = (known & (np.nan_to_num(block.values) != 0)).sum(axis=1)
        share = known.shape[1] / np.maximum(n_known, 1)
        burden = np.where(n_known > 0, np.log2(1 + count * share), np.nan).astype(np.float32)[:, None]
        if self.only:
            return Block(burden, ("burden",))
        mask = block.mask
        if mask is not None:
            mask = np.hstack([mask, mask.all(axis=1, keepdims=True)])
        return replace(block, values=np.hstack([block.values, burden]), names=(*block.names, "burden"), mask=mask)


class GeneLevel(Stateful):
    """Merge variants or positions of one gene: ``BRAF p.V600E`` and ``BRAF p.K601E`` become ``BRAF``.

    Parameters
    ----------
    separator
        What ends the gene's name; a name without it stays.
    how
        ``any`` (the largest value) or ``count`` (the sum).
    """

    def __init__(self, separator: str = " ", how: str = "any") -> None:
        self.separator = separator
        self.how = how

    def fit(self, block: Block) -> Self:
        """Learn which columns belong to which gene."""
        if self.how not in ("any", "count"):
            raise DataError(f"how is {self.how!r}; it is any or count.")
        genes = [name.split(self.separator)[0] if self.separator else name for name in block.names]
        self.genes_, code = np.unique(np.array(genes, dtype=str), return_inverse=True)
        order = np.argsort(code, kind="stable")
        self.names_ = np.array(block.names, dtype=str)[order]
        self.start_ = np.searchsorted(code[order], np.arange(len(self.genes_))).astype(np.int64)
        return self

    def transform(self, block: Block) -> Block:
        """Return one column a gene; NaN where none of its columns is known."""
        self._check_fitted()
        values = select_columns(block, tuple(self.names_.tolist())).values
        if not len(self.genes_):
            return Block(values, ())
        if self.how == "any":
            merged = np.fmax.reduceat(values, self.start_, axis=1)
        else:
            known = np.add.reduceat(np.isfinite(values).astype(np.int64), self.start_, axis=1)
            merged = np.where(known > 0, np.add.reduceat(np.nan_to_num(values), self.start_, axis=1), np.nan)
        return Block(merged.astype(np.float32), tuple(self.genes_.tolist()))


class Recurrent(Select):
    """Keep features that are mutated (not 0) in at least so many training samples.

    Parameters
    ----------
    min_samples
        Fewest training samples.
    """

    def __init__(self, min_samples: int = 3) -> None:
        self.min_samples = min_samples

    def _choose(self, block: Block) -> npt.NDArray[np.int64]:
        count = (np.nan_to_num(block.values) != 0).sum(axis=0)
        chosen = np.flatnonzero(count >= self.min_samples)
        if not len(chosen):
            raise DataError(
                f"no feature of {len(block.names)} is mutated in {self.min_samples} training samples; the most "
                f"frequent is in {int(count.max(initial=0))}."
            )
        return chosen


def _leave_out(
    keep: npt.NDArray[np.bool_], out: pd.Series, shown: pd.Series, code: str, why: str, findings: Findings
) -> npt.NDArray[np.bool_]:
    """Return `keep` without the rows of `out`, and count them."""
    lost = keep & out.to_numpy(dtype=bool)
    if lost.any():
        n = int(lost.sum())
        findings.info(f"variants-{code}", f"{n} of {len(out)} variants {why}; left out.", list(shown[lost][:3]), n)
    return np.asarray(keep & ~lost)
