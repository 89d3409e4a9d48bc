"""What every way of harmonising is: learned from training samples, applied to new ones, saying what it needs."""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np

from halfmax.errors import DataError
from halfmax.features.blocks import Block, FloatArray
from halfmax.features.harmonise.reference import ScaleReference
from halfmax.features.omics import select_columns
from halfmax.registry import Registry
from halfmax.state import Stateful


class Harmoniser(Stateful):
    """A step that puts new samples on the training scale; it learns from training profiles, never from responses.

    Attributes
    ----------
    least : least number of new samples.
    transductive : whether the new samples change each other's values, which a report must declare.
    keeps_profiles : whether it needs the training profiles themselves.
    """

    least: ClassVar[int] = 1
    transductive: ClassVar[bool] = False
    keeps_profiles: ClassVar[bool] = False

    @property
    def needs(self) -> str:
        """What it must be given."""
        return "one sample" if self.least == 1 else f"a cohort of at least {self.least} samples"

    def fit(self, block: Block) -> Self:
        """Learn from training samples, each once."""
        return self.fit_reference(ScaleReference(profiles=self.keeps_profiles).fit(block))

    def fit_reference(self, reference: ScaleReference) -> Self:
        """Take what is needed from a scale that is known already."""
        raise NotImplementedError

    def transform(self, block: Block) -> Block:
        """Return the new samples on the training scale, in the training genes; NaN where a gene is missing.

        Raises
        ------
        DataError
            If there are fewer samples than it needs, no gene in common, or a sample without any value.
        """
        self._check_fitted()
        if len(block.values) < self.least:
            raise DataError(
                f"{type(self).__name__} needs {self.needs}, and {len(block.values)} were given; "
                "'rank' works for one sample."
            )
        block = select_columns(block, tuple(self.names_.tolist()))
        empty = ~np.isfinite(block.values).any(axis=1)
        if empty.all():
            raise DataError("no new sample has a value for any training gene; check the gene names.")
        full = np.flatnonzero(~empty)
        values = np.full(block.values.shape, np.nan, dtype=np.float32)
        if len(full) < self.least:
            raise DataError(f"{type(self).__name__} needs {self.needs}; only {len(full)} have any value.")
        values[full] = self._apply(block.take(full)).values
        return Block(values, block.names, block.mask)

    def _limited(self, values: FloatArray) -> FloatArray:
        """Return values pulled to within `limit` training sd of the gene's mean, for one that learned both."""
        if self.limit is None:
            return values
        reach = np.float32(self.limit) * self.sd_
        return np.clip(values, self.mean_ - reach, self.mean_ + reach)

    def _apply(self, block: Block) -> Block:
        """Return the block, whose columns are the training genes, on the training scale."""
        raise NotImplementedError

    limit: float | None = None
    mean_: FloatArray
    sd_: FloatArray
    names_: np.ndarray[tuple[int], np.dtype[np.str_]]


HARMONISERS: Registry[type[Harmoniser]] = Registry(
    "harmoniser",
    {
        "rank": "halfmax.features.harmonise.quantile:RankToReference",
        "zscore": "halfmax.features.harmonise.cohort:GeneZscore",
        "cohort": "halfmax.features.harmonise.cohort:CohortStandardise",
        "cohort_quantile": "halfmax.features.harmonise.cohort:CohortQuantile",
        "combat": "halfmax.features.harmonise.combat:ReferenceComBat",
        "celligner": "halfmax.features.harmonise.celligner:Celligner",
    },
)
