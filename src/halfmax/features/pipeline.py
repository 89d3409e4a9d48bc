"""FeaturePipeline: from a dataset to PairFeatures, learned from the training rows that it is handed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.data.dataset import ResponseDataset
from halfmax.errors import DataError, NotFittedError, examples
from halfmax.features.blocks import Block, PairFeatures, rows_of
from halfmax.features.omics import STEPS, Step, select_columns
from halfmax.state import JSON, State

#: A step's name, or its name and parameters.
StepSpec = str | tuple[str, Mapping[str, JSON]]

OMICS_STEPS: Mapping[str, tuple[StepSpec, ...]] = {
    "expression": ("sample_zscore", "impute", "standard"),
    "mutation": (("impute", {"strategy": "constant"}),),
    "copy_number": (("impute", {"strategy": "constant"}),),
    "events": (("impute", {"strategy": "constant"}),),
}
OTHER_STEPS: tuple[StepSpec, ...] = ("impute", "standard")
DRUG_STEPS: Mapping[str, tuple[StepSpec, ...]] = {
    "fingerprint": (("impute", {"strategy": "constant"}),),
    "descriptors": ("impute", "standard"),
}


@dataclass(frozen=True)
class _Fitted:
    """One block: its columns in training and its fitted steps."""

    names: tuple[str, ...]
    steps: tuple[tuple[str, Step], ...]

    def transform(self, block: Block) -> Block:
        block = select_columns(block, self.names)
        for _, step in self.steps:
            block = step.transform(block)
        values = np.ascontiguousarray(block.values, dtype=np.float32)
        if not np.isfinite(values).all():
            columns = np.array(block.names)[~np.isfinite(values).all(axis=0)]
            raise DataError(f"{len(columns)} features still hold NaN, e.g. {examples(columns)}; add an impute step.")
        return Block(values, block.names, block.mask)


class FeaturePipeline:
    """Encode samples and drugs, each once, with steps fitted on training rows only.

    Parameters
    ----------
    modalities
        Omics tables to encode; those that the dataset lacks in training are an error.
    categories
        Columns of the samples table to one-hot encode; a value unseen in training, or none, gives a row of zeros.
    drug_blocks
        ``fingerprint``, ``descriptors`` (from SMILES) and names of ready-made drug matrices.
    steps
        Block name to step specifications, where they differ from the defaults.
    """

    def __init__(
        self,
        modalities: Sequence[str] = ("expression",),
        categories: Sequence[str] = ("tissue",),
        drug_blocks: Sequence[str] = ("fingerprint", "descriptors"),
        steps: Mapping[str, Sequence[StepSpec]] | None = None,
    ) -> None:
        self.modalities = modalities
        self.categories = categories
        self.drug_blocks = drug_blocks
        self.steps = steps

    def fit(self, train: ResponseDataset) -> Self:
        """Learn every step from the samples and drugs of `train`, each once."""
        specs = dict(self.steps or {})
        fitted: dict[str, _Fitted] = {}
        for name in self.modalities:
            block = omics_block(train, name)
            present = np.isfinite(block.values).any(axis=1)
            if not present.any():
                raise DataError(f"no training sample has {name}; leave it out of the modalities.")
            known = block.take(np.flatnonzero(present))
            fitted[name] = _fit_steps(known, specs.pop(name, OMICS_STEPS.get(name, OTHER_STEPS)))
        self.levels_: dict[str, list[str]] = {}
        for column in self.categories:
            values = train.samples[column] if column in train.samples else pd.Series(dtype=object)
            self.levels_[column] = sorted(set(map(str, values.dropna().unique())) - {"", "unknown"})
        for name in self.drug_blocks:
            steps = specs.pop(name, DRUG_STEPS.get(name, OTHER_STEPS))
            fitted[f"drug/{name}"] = _fit_steps(drug_block(train, name), steps)
        if specs:
            raise DataError(f"steps are given for {examples(specs)}, which is not among the blocks in use.")
        self.blocks_ = fitted
        return self

    def transform(self, dataset: ResponseDataset) -> PairFeatures:
        """Encode every sample, drug and pair of `dataset` (values of its responses are not looked at)."""
        self._check_fitted()
        sample_x = {name: self.blocks_[name].transform(omics_block(dataset, name)) for name in self.modalities}
        sample_x |= {column: _one_hot(dataset, column, levels) for column, levels in self.levels_.items()}
        drug_x = {n: self.blocks_[f"drug/{n}"].transform(drug_block(dataset, n)) for n in self.drug_blocks}
        sample_ids = dataset.samples.index.to_numpy(dtype=str)
        drug_ids = dataset.drugs.index.to_numpy(dtype=str)
        return PairFeatures(
            sample_ids=sample_ids,
            drug_ids=drug_ids,
            sample_x=sample_x,
            drug_x=drug_x,
            sample_index=_row_numbers(dataset.response["sample_id"], sample_ids),
            drug_index=_row_numbers(dataset.response["drug_id"], drug_ids),
        )

    def input_names(self, modality: str) -> tuple[str, ...]:
        """Return the feature names, in order, that `modality` had in training."""
        self._check_fitted()
        return self.blocks_[modality].names

    def get_state(self) -> State:
        """Return every step's state under ``block.number.key``."""
        self._check_fitted()
        arrays: dict[str, npt.NDArray[np.generic]] = {}
        blocks: dict[str, JSON] = {}
        for name, fitted in self.blocks_.items():
            steps: list[JSON] = []
            for i, (kind, step) in enumerate(fitted.steps):
                state = step.get_state()
                arrays |= {f"{name}.{i}.{key}": value for key, value in state.arrays.items()}
                steps.append({"step": kind, "params": step.get_params(), "meta": dict(state.meta)})
            blocks[name] = {"names": list(fitted.names), "steps": steps}
        parameters: dict[str, JSON] = {
            "modalities": list(self.modalities),
            "categories": list(self.categories),
            "drug_blocks": list(self.drug_blocks),
        }
        levels: dict[str, JSON] = {k: list(v) for k, v in self.levels_.items()}
        return State(arrays=arrays, meta={"params": parameters, "levels": levels, "blocks": blocks})

    @classmethod
    def from_state(cls, state: State) -> FeaturePipeline:
        """Return the pipeline that `get_state` described."""
        meta = cast("dict[str, dict]", state.meta)  # type: ignore[type-arg]
        pipeline = cls(**meta["params"])
        pipeline.levels_ = meta["levels"]
        pipeline.blocks_ = {}
        for name, block in meta["blocks"].items():
            steps = []
            for i, spec in enumerate(block["steps"]):
                prefix = f"{name}.{i}."
                arrays = {k.removeprefix(prefix): v for k, v in state.arrays.items() if k.startswith(prefix)}
                step = STEPS.get(spec["step"])(**spec["params"])
                steps.append((spec["step"], step.set_state(State(arrays, spec["meta"]))))
            pipeline.blocks_[name] = _Fitted(tuple(block["names"]), tuple(steps))
        return pipeline

    def _check_fitted(self) -> None:
        if not hasattr(self, "blocks_"):
            raise NotFittedError("the FeaturePipeline has not been fitted; call fit with the training dataset.")


def omics_block(dataset: ResponseDataset, modality: str) -> Block:
    """Return a modality as a block with one row a sample of the dataset; NaN rows where a sample has none."""
    if modality not in dataset.omics:
        return Block(np.empty((len(dataset.samples), 0), dtype=np.float32), ())
    frame = dataset.omics[modality]
    rows = frame.index.get_indexer(dataset.samples.index)
    values = frame.to_numpy(dtype=np.float32)
    if len(rows) != len(values) or not np.array_equal(rows, np.arange(len(values))):
        found = rows >= 0
        out = np.full((len(rows), values.shape[1]), np.nan, dtype=np.float32)
        out[found] = values[rows[found]]
        values = out
    if np.isinf(values).any():
        columns = frame.columns[np.isinf(values).any(axis=0)]
        raise DataError(f"{modality} holds infinite values in {len(columns)} features, e.g. {examples(columns)}.")
    return Block(values, tuple(map(str, frame.columns)))


def drug_block(dataset: ResponseDataset, name: str) -> Block:
    """Return fingerprints or descriptors of the dataset's drugs, or a ready-made drug matrix, one row a drug."""
    from halfmax.features import drugs

    if name in dataset.drug_features:
        frame = dataset.drug_features[name].reindex(dataset.drugs.index)
        return Block(frame.to_numpy(dtype=np.float32), tuple(map(str, frame.columns)))
    structures = dataset.drugs["smiles"] if "smiles" in dataset.drugs else pd.Series(None, index=dataset.drugs.index)
    smiles = [text if isinstance(text, str) and text else None for text in structures]
    if name == "fingerprint":
        return drugs.fingerprints(smiles)
    if name == "descriptors":
        return drugs.descriptors(smiles)
    raise DataError(f"there is no drug block {name!r}: it is fingerprint, descriptors or one of the dataset's own.")


def _fit_steps(block: Block, specs: Sequence[StepSpec]) -> _Fitted:
    names, steps = block.names, []
    for spec in specs:
        kind, parameters = (spec, {}) if isinstance(spec, str) else spec
        step = STEPS.get(kind)(**parameters).fit(block)
        block = step.transform(block)
        steps.append((kind, step))
    return _Fitted(names, tuple(steps))


def _one_hot(dataset: ResponseDataset, column: str, levels: Sequence[str]) -> Block:
    values = dataset.samples[column].astype(str) if column in dataset.samples else pd.Series(dtype=str)
    codes = pd.Index(levels).get_indexer(pd.Index(values.reindex(dataset.samples.index)))
    eye = np.vstack([np.eye(len(levels), dtype=np.float32), np.zeros((1, len(levels)), dtype=np.float32)])
    return Block(eye[codes], tuple(f"{column}={level}" for level in levels))


def _row_numbers(ids: pd.Series, known: npt.NDArray[np.str_]) -> npt.NDArray[np.int64]:
    codes, distinct = pd.factorize(ids)
    return rows_of(np.asarray(distinct, dtype=str), known)[codes]
