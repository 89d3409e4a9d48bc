"""Background: training samples that a predictor carries, against whose mean prediction every explanation is read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.data.dataset import ResponseDataset
from halfmax.errors import DataError, ModelFileError, examples
from halfmax.features.blocks import FloatArray
from halfmax.features.pipeline import omics_block

#: Training samples kept, and the fewest that an explanation is read against.
SIZE, LEAST = 64, 5
_MISSING = ".missing"


@dataclass(frozen=True)
class Background:
    """Raw profiles of training samples, dealt over tissues.

    Parameters
    ----------
    sample_ids, tissue
        Shape ``(n,)``; a tissue that is not known is empty.
    omics
        Modality to values of shape ``(n, d)``, in the columns of `FeaturePipeline.input_names`, NaN where missing.
    """

    sample_ids: npt.NDArray[np.str_]
    tissue: npt.NDArray[np.str_]
    omics: Mapping[str, FloatArray]

    def __len__(self) -> int:
        return len(self.sample_ids)

    @classmethod
    def of(cls, dataset: ResponseDataset, modalities: Sequence[str], n: int = SIZE, *, seed: int = 0) -> Background:
        """Choose `n` samples of `dataset`, as many of a tissue as its share; the order of its rows means nothing.

        Samples that lack a modality are left out unless that leaves fewer than five.
        """
        blocks = {name: omics_block(dataset, name).values for name in modalities}
        ids = dataset.samples.index.to_numpy(dtype=str)
        whole = np.ones(len(ids), dtype=bool)
        for values in blocks.values():
            whole &= np.isfinite(values).any(axis=1)
        rows = np.flatnonzero(whole) if whole.sum() >= LEAST else np.arange(len(ids))
        rows = rows[np.argsort(ids[rows])]
        tissue = _tissues(dataset.samples)
        rows = rows[_stratified(tissue[rows], n, np.random.default_rng(seed))]
        return cls(ids[rows], tissue[rows], {name: values[rows] for name, values in blocks.items()})

    def like(self, tissue: str) -> Background:
        """Return only the samples of a tissue.

        Raises
        ------
        DataError
            If there are fewer than five.
        """
        rows = np.flatnonzero(np.char.lower(self.tissue) == tissue.lower())
        if len(rows) < LEAST:
            known = pd.Series(self.tissue).value_counts()
            enough = known.index[known >= LEAST].tolist()
            raise DataError(
                f"the background holds {len(rows)} samples of {tissue!r}; at least {LEAST} are needed. "
                f"There are enough of: {examples(enough) or 'none'}."
            )
        omics = {name: values[rows] for name, values in self.omics.items()}
        return replace(self, sample_ids=self.sample_ids[rows], tissue=self.tissue[rows], omics=omics)

    @property
    def sha256(self) -> str:
        """Hash of ids and values, by which two explanations can be seen to stand on the same samples."""
        digest = hashlib.sha256("\n".join(self.sample_ids.tolist()).encode())
        for name in sorted(self.omics):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(np.nan_to_num(self.omics[name]), dtype="<f4").tobytes())
            digest.update(np.packbits(np.isnan(self.omics[name])).tobytes())
        return digest.hexdigest()

    def frames(self, names: Mapping[str, Sequence[str]]) -> dict[str, pd.DataFrame]:
        """Return the profiles as tables, samples × features, under these feature names."""
        return {
            modality: pd.DataFrame(values, index=self.sample_ids.astype(object), columns=list(names[modality]))
            for modality, values in self.omics.items()
        }

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return what a model folder keeps beside `manifest`; missing values are zeros there, and told apart."""
        out: dict[str, npt.NDArray[Any]] = {}
        for name, values in self.omics.items():
            out[name] = np.nan_to_num(values)
            if (missing := np.isnan(values)).any():
                out[name + _MISSING] = missing
        return out

    def manifest(self) -> dict[str, Any]:
        """Return ids, tissues and hash as JSON."""
        return {"samples": self.sample_ids.tolist(), "tissue": self.tissue.tolist(), "sha256": self.sha256}

    @classmethod
    def from_parts(cls, manifest: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Background | None:
        """Return what `manifest` and `arrays` were made from; None from the folder of an earlier version."""
        if not manifest:
            return None
        ids, tissue = (np.array(manifest[key], dtype=str) for key in ("samples", "tissue"))
        omics = {}
        for name in (name for name in arrays if not name.endswith(_MISSING)):
            values = np.array(arrays[name], dtype=np.float32)
            if name + _MISSING in arrays:
                values[arrays[name + _MISSING]] = np.nan
            omics[name] = values
        if {len(v) for v in (tissue, *omics.values())} - {len(ids)}:
            raise ModelFileError("the background's tables differ in length")
        found = cls(ids, tissue, omics)
        if found.sha256 != manifest["sha256"]:
            raise ModelFileError("the background is not the one that was written: its sha256 differs")
        return found


def _tissues(samples: pd.DataFrame) -> npt.NDArray[np.str_]:
    if "tissue" not in samples:
        return np.full(len(samples), "", dtype=str)
    return samples["tissue"].astype(object).where(samples["tissue"].notna(), "").to_numpy().astype(str)


def _stratified(tissue: npt.NDArray[np.str_], n: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return `n` rows, each tissue with its share by largest remainder, in the order of the rows."""
    if len(tissue) <= n:
        return np.arange(len(tissue))
    _, code, count = np.unique(tissue, return_inverse=True, return_counts=True)
    wanted = count * n / len(tissue)
    taken = wanted.astype(np.int64)
    most = np.argsort(-(wanted - taken), kind="stable")
    taken[most[: n - taken.sum()]] += 1
    order = rng.permutation(len(tissue))
    place = np.empty(len(tissue), dtype=np.int64)  # of a row among its tissue's, in random order
    grouped = order[np.argsort(code[order], kind="stable")]
    place[grouped] = np.arange(len(tissue)) - np.repeat(np.cumsum(count) - count, count)
    return np.flatnonzero(place < taken[code])
