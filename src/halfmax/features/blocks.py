"""Block and PairFeatures: what a model is given, dense arrays over samples and drugs, and pairs of row numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from halfmax.errors import UnknownNameError, did_you_mean

FloatArray = npt.NDArray[np.float32]
IndexArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Block:
    """One dense matrix over samples or drugs.

    Parameters
    ----------
    values
        Shape ``(n, d)``, float32, no NaN: what was missing has been filled.
    names
        The d column names.
    mask
        Shape ``(n, d)``, True where the value was missing and has been filled; None if nothing was. A row that is True
        throughout is absent: nothing is known of it in this block, and its values are zeros.
    """

    values: FloatArray
    names: tuple[str, ...]
    mask: npt.NDArray[np.bool_] | None = None

    @property
    def absent(self) -> npt.NDArray[np.bool_]:
        """Rows of which nothing is known, shape ``(n,)``."""
        return np.zeros(len(self.values), dtype=bool) if self.mask is None else np.asarray(self.mask.all(axis=1))

    def take(self, rows: IndexArray) -> Block:
        """Return these rows."""
        return replace(self, values=self.values[rows], mask=None if self.mask is None else self.mask[rows])


@dataclass(frozen=True)
class PairFeatures:
    """Encoded samples and drugs, and pairs that point at their rows.

    Parameters
    ----------
    sample_ids, drug_ids
        Names of the rows, shapes ``(n_samples,)`` and ``(n_drugs,)``. Models know seen samples and drugs by these.
    sample_x, drug_x
        Block name to block; every block of a side has one row an id. A tissue block is one-hot.
    sample_index, drug_index
        Shape ``(n_pairs,)``, int64 row numbers.
    modalities
        The sample blocks that are omics profiles; models see all of them unless told otherwise.
    drug_text
        What networks over molecules and words read: ``smiles``, and ``description`` (what is known of the drug);
        each of shape ``(n_drugs,)``, empty where nothing is known.
    """

    sample_ids: npt.NDArray[np.str_]
    drug_ids: npt.NDArray[np.str_]
    sample_x: Mapping[str, Block]
    drug_x: Mapping[str, Block]
    sample_index: IndexArray
    drug_index: IndexArray
    notes: Mapping[str, object] = field(default_factory=dict)
    modalities: tuple[str, ...] = ("expression",)
    drug_text: Mapping[str, npt.NDArray[np.str_]] = field(default_factory=dict)

    @property
    def n_pairs(self) -> int:
        """Number of pairs."""
        return len(self.sample_index)

    def sample(self, *names: str) -> FloatArray:
        """Return these sample blocks side by side, shape ``(n_samples, d)``."""
        return _side_by_side(self.sample_x, names, len(self.sample_ids), "sample")

    def drug(self, *names: str) -> FloatArray:
        """Return these drug blocks side by side, shape ``(n_drugs, d)``."""
        return _side_by_side(self.drug_x, names, len(self.drug_ids), "drug")

    def take_pairs(self, rows: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> PairFeatures:
        """Return the same tables with only these pairs."""
        return replace(self, sample_index=self.sample_index[rows], drug_index=self.drug_index[rows])

    def grid(self) -> PairFeatures:
        """Return the same tables with every (sample, drug) pair, samples varying slowest."""
        n, m = len(self.sample_ids), len(self.drug_ids)
        rows = np.arange(n * m, dtype=np.int64)
        return replace(self, sample_index=rows // m, drug_index=rows % m)

    def matrix(self, sample_blocks: Sequence[str], drug_blocks: Sequence[str]) -> FloatArray:
        """Return one row a pair: its sample's and its drug's blocks side by side, shape ``(n_pairs, d)``."""
        left = self.sample(*sample_blocks)[self.sample_index]
        return np.hstack([left, self.drug(*drug_blocks)[self.drug_index]])


def _side_by_side(blocks: Mapping[str, Block], names: Sequence[str], n: int, side: str) -> FloatArray:
    for name in names:
        if name not in blocks:
            raise UnknownNameError(
                f"there is no {side} block {name!r}.{did_you_mean(name, blocks)} "
                f"There are: {', '.join(blocks) or 'none'}."
            )
    if not names:
        return np.zeros((n, 0), dtype=np.float32)
    return blocks[names[0]].values if len(names) == 1 else np.hstack([blocks[name].values for name in names])


def rows_of(ids: npt.NDArray[np.str_], known: npt.NDArray[np.str_]) -> IndexArray:
    """Return for each of `ids` its row in `known`, or -1."""
    if not len(known):
        return np.full(len(ids), -1, dtype=np.int64)
    order = np.argsort(known)
    place = np.minimum(np.searchsorted(known, ids, sorter=order), len(known) - 1)
    rows = order[place]
    return np.where(known[rows] == ids, rows, -1).astype(np.int64)
