"""FeaturePipeline: from a dataset to PairFeatures, learned from the training rows that it is handed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.data.dataset import ResponseDataset
from halfmax.data.drug_facts import descriptions
from halfmax.errors import DataError, NotFittedError, examples
from halfmax.features.blocks import Block, PairFeatures, rows_of
from halfmax.features.omics import STEPS, GeneList, Select, Step, SupervisedStep, Targets, select_columns
from halfmax.state import JSON, State

log = logging.getLogger(__name__)
#: How drugs are encoded where nothing else is said.
DEFAULT_DRUG_BLOCKS = ("fingerprint", "atom_pair", "descriptors", "targets", "mechanism", "pathway", "process", "stage")
#: Drug blocks made by a pretrained encoder, ``text:ENCODER`` and ``smiles:ENCODER``, and the text that each reads.
ENCODED_BLOCKS: Mapping[str, str] = {"text": "description", "smiles": "smiles"}
#: What may become of a category that was not seen in training.
UNKNOWN = ("zeros", "column", "error")
#: A step's name, or its name and parameters.
StepSpec = str | tuple[str, Mapping[str, JSON]]

OMICS_STEPS: Mapping[str, tuple[StepSpec, ...]] = {
    # the limit keeps genes that hardly vary in training from outweighing a sample of another platform
    "expression": ("sample_zscore", "impute", ("standard", {"clip": 5.0})),
    "mutation": (("impute", {"strategy": "constant"}),),
    "copy_number": (("impute", {"strategy": "constant"}),),
    "events": (("impute", {"strategy": "constant"}),),
}
OTHER_STEPS: tuple[StepSpec, ...] = ("impute", "standard")
DRUG_STEPS: Mapping[str, tuple[StepSpec, ...]] = {
    **dict.fromkeys(
        ("fingerprint", "atom_pair", "targets", "mechanism", "pathway", "process", "stage"),
        (("impute", {"strategy": "constant"}),),
    ),
    "descriptors": ("impute", "standard"),
}


@dataclass(frozen=True)
class _Fitted:
    """One block: its columns in training and its fitted steps."""

    names: tuple[str, ...]
    steps: tuple[tuple[str, Step], ...]

    def transform(self, block: Block) -> Block:
        """Return what the steps make of the rows that are there; the others become zeros, masked throughout."""
        block = select_columns(block, self.names)
        present: npt.NDArray[np.bool_] = np.asarray(np.isfinite(block.values).any(axis=1))
        if present.all():
            return self._apply(block)
        # without any row, one of zeros tells the columns
        rows = np.flatnonzero(present)
        some = block.take(rows) if len(rows) else replace(block, values=np.zeros((1, len(self.names)), np.float32))
        done = self._apply(some)
        values = np.zeros((len(present), len(done.names)), dtype=np.float32)
        mask = np.ones(values.shape, dtype=bool)
        if len(rows):
            values[rows], mask[rows] = done.values, False if done.mask is None else done.mask
        return Block(values, done.names, mask)

    def _apply(self, block: Block) -> Block:
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
        Columns of the samples table to one-hot encode.
    drug_blocks
        ``fingerprint``, ``atom_pair``, ``descriptors`` (from SMILES), ``targets``, ``mechanism``, ``pathway``,
        ``process``, ``stage`` (from the shipped table of facts), ``text:ENCODER`` and ``smiles:ENCODER`` (what a
        pretrained encoder, a folder or a hub's name, makes of the description or the structure; see
        `halfmax.features.encoders`) and names of ready-made drug matrices. What is unknown is masked.
    steps
        Block name to step specifications, where they differ from the defaults.
    unknown
        What a category that was not seen in training, or none, becomes: ``zeros`` (a row of zeros, masked), ``column``
        (a column of its own) or ``error``.

    Notes
    -----
    A sample that lacks a modality takes no part in fitting its steps, and its row in the block is masked throughout.
    """

    def __init__(
        self,
        modalities: Sequence[str] = ("expression",),
        categories: Sequence[str] = ("tissue",),
        drug_blocks: Sequence[str] = DEFAULT_DRUG_BLOCKS,
        steps: Mapping[str, Sequence[StepSpec]] | None = None,
        unknown: str = "zeros",
    ) -> None:
        self.modalities = modalities
        self.categories = categories
        self.drug_blocks = drug_blocks
        self.steps = steps
        self.unknown = unknown

    def fit(self, train: ResponseDataset) -> Self:
        """Learn every step from the samples and drugs of `train`, each once; supervised steps also from its responses.

        Raises
        ------
        DataError
            If no training sample has a modality, steps are given for a block that is not in use, or a step refuses.
        """
        if self.unknown not in UNKNOWN:
            raise DataError(f"unknown is {self.unknown!r}; it is one of {', '.join(UNKNOWN)}.")
        responses = Responses(train)
        specs = dict(self.steps or {})
        fitted: dict[str, _Fitted] = {}
        for name in self.modalities:
            block = omics_block(train, name)
            present = np.isfinite(block.values).any(axis=1)
            if not present.any():
                raise DataError(f"no training sample has {name}; leave it out of the modalities.")
            rows = np.flatnonzero(present)
            chosen = specs.pop(name, OMICS_STEPS.get(name, OTHER_STEPS))
            fitted[name] = _fit_steps(name, block.take(rows), chosen, lambda r=rows: responses.of_samples()[r])  # type: ignore[misc]
        self.levels_: dict[str, list[str]] = {}
        for column in self.categories:
            values = train.samples[column] if column in train.samples else pd.Series(dtype=object)
            self.levels_[column] = sorted(set(map(str, values.dropna().unique())) - {"", "unknown"})
        for name in self.drug_blocks:
            steps = specs.pop(name, DRUG_STEPS.get(name, OTHER_STEPS))
            fitted[f"drug/{name}"] = _fit_steps(name, drug_block(train, name), steps, responses.of_drugs)
        if specs:
            raise DataError(f"steps are given for {examples(specs)}, which is not among the blocks in use.")
        self.blocks_ = fitted
        return self

    def transform(self, dataset: ResponseDataset) -> PairFeatures:
        """Encode every sample, drug and pair of `dataset` (values of its responses are not looked at)."""
        sample_x = self.sample_blocks(dataset)
        drug_x = {n: self.blocks_[f"drug/{n}"].transform(self._drug_block(dataset, n)) for n in self.drug_blocks}
        sample_ids = dataset.samples.index.to_numpy(dtype=str)
        drug_ids = dataset.drugs.index.to_numpy(dtype=str)
        return PairFeatures(
            sample_ids=sample_ids,
            drug_ids=drug_ids,
            sample_x=sample_x,
            drug_x=drug_x,
            sample_index=_row_numbers(dataset.response["sample_id"], sample_ids),
            drug_index=_row_numbers(dataset.response["drug_id"], drug_ids),
            modalities=tuple(self.modalities),
            drug_text=drug_text(dataset.drugs),
        )

    def sample_blocks(self, dataset: ResponseDataset) -> dict[str, Block]:
        """Encode every sample of `dataset`, and no drug."""
        self._check_fitted()
        blocks = {name: self.blocks_[name].transform(omics_block(dataset, name)) for name in self.modalities}
        return blocks | {c: _one_hot(dataset, c, levels, self.unknown) for c, levels in self.levels_.items()}

    def _drug_block(self, dataset: ResponseDataset, name: str) -> Block:
        block, known = drug_block(dataset, name), self.blocks_[f"drug/{name}"].names
        if name.partition(":")[0] in ENCODED_BLOCKS and block.names != known:
            raise DataError(
                f"the encoder of the drug block {name} is not the one of training: its vectors are called "
                f"{examples(block.names)}, those of training {examples(known)}. Put the old folder back, or fit again."
            )
        return block

    def input_names(self, modality: str) -> tuple[str, ...]:
        """Return the feature names, in order, that `modality` had in training."""
        self._check_fitted()
        return self.blocks_[modality].names

    def selections(self) -> Iterator[tuple[str, str, tuple[str, ...], int]]:
        """Yield (block, step, features kept, number offered) of each step that chose features by the data."""
        self._check_fitted()
        for name, fitted in self.blocks_.items():
            for place, (kind, step) in enumerate(fitted.steps, 1):
                if isinstance(step, Select) and not isinstance(step, GeneList):
                    yield (
                        name,
                        f"{place}. {kind}",
                        tuple(step.names_.tolist()),
                        getattr(step, "n_offered_", len(fitted.names)),
                    )

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
            "unknown": self.unknown,
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
    """Return one of `halfmax.features.drugs.DRUG_BLOCKS`, or a ready-made drug matrix, one row a drug."""
    from halfmax.features import drugs

    if name in dataset.drug_features:
        frame = dataset.drug_features[name].reindex(dataset.drugs.index)
        return Block(frame.to_numpy(dtype=np.float32), tuple(map(str, frame.columns)))
    kind, _, encoder = name.partition(":")
    if encoder and kind in ENCODED_BLOCKS:
        return _encoded_block(kind, encoder, dataset.drugs)
    if name not in drugs.DRUG_BLOCKS:
        raise DataError(
            f"there is no drug block {name!r}: it is one of {', '.join(drugs.DRUG_BLOCKS)}, text:ENCODER, "
            "smiles:ENCODER, or the dataset's."
        )
    return drugs.drug_table_block(name, dataset.drugs)


def _encoded_block(kind: str, name: str, drugs: pd.DataFrame) -> Block:
    """Return what an encoder makes of each drug; NaN rows where there is no text. Names hold the encoder's hash."""
    from halfmax.data.structures import check_smiles
    from halfmax.features.encoders import load_encoder

    encoder, texts = load_encoder(name), drug_text(drugs)[ENCODED_BLOCKS[kind]].tolist()
    if kind == "smiles":
        texts = [check_smiles(text) if text else "" for text in texts]
    values = encoder.embed(texts)
    unknown = np.isnan(values)
    names = tuple(f"{kind}:{encoder.sha256[:12]}:{i}" for i in range(encoder.width))
    return Block(values, names, unknown if unknown.any() else None)


def drug_text(drugs: pd.DataFrame) -> dict[str, npt.NDArray[np.str_]]:
    """Return each drug's structure and what the shipped table knows of it, in words; empty where nothing is known."""
    smiles = drugs["smiles"] if "smiles" in drugs else pd.Series("", index=drugs.index, dtype=object)
    return {
        "smiles": np.array([text if isinstance(text, str) else "" for text in smiles], dtype=str),
        "description": np.array(descriptions(drugs), dtype=str),
    }


class Responses:
    """What training responses say of each sample and each drug, for supervised steps; computed when it is asked for."""

    def __init__(self, train: ResponseDataset) -> None:
        self.train = train

    def of_samples(self) -> Targets:
        """Return responses less each drug's mean, shape ``(n_samples, n_drugs)``, NaN where not measured."""
        return _centred(self._grid())

    def of_drugs(self) -> Targets:
        """Return responses less each sample's mean, shape ``(n_drugs, n_samples)``, NaN where not measured."""
        return _centred(self._grid().T)

    def _grid(self) -> Targets:
        samples, drugs, response = self.train.samples.index, self.train.drugs.index, self.train.response
        grid = np.full((len(samples), len(drugs)), np.nan)
        rows, columns = (
            table.get_indexer(pd.Index(response[column]))
            for table, column in ((samples, "sample_id"), (drugs, "drug_id"))
        )
        grid[rows, columns] = response["value"]
        return grid


def _centred(grid: Targets) -> Targets:
    known = np.isfinite(grid)
    mean = np.where(known, grid, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return np.asarray(grid - mean)


def _fit_steps(name: str, block: Block, specs: Sequence[StepSpec], targets: Callable[[], Targets]) -> _Fitted:
    names, steps = block.names, []
    for spec in specs:
        kind, parameters = (spec, {}) if isinstance(spec, str) else spec
        step = STEPS.get(kind)(**parameters)
        try:
            if getattr(step, "supervised", False):
                step = cast("Step", cast("SupervisedStep", step).fit(block, targets()))
            else:
                step = step.fit(block)
            block = step.transform(block)
        except DataError as error:
            error.add_note(f"in step {kind} of {name}, on {len(block.values)} training rows")
            raise
        steps.append((kind, step))
    return _Fitted(names, tuple(steps))


def _one_hot(dataset: ResponseDataset, column: str, levels: Sequence[str], unknown: str) -> Block:
    values = dataset.samples[column].astype(str) if column in dataset.samples else pd.Series(dtype=str)
    values = values.reindex(dataset.samples.index)
    codes = pd.Index(levels).get_indexer(pd.Index(values))
    names = tuple(f"{column}={level}" for level in levels)
    strange = codes < 0
    if strange.any():
        shown = examples(values[strange].dropna().unique())
        if unknown == "error":
            raise DataError(
                f"{column} of {int(strange.sum())} samples was not seen in training: {shown or 'none given'}."
            )
        log.info("%s of %d of %d samples was not seen in training: %s", column, strange.sum(), len(codes), shown)
    width = len(levels) + (unknown == "column")
    eye = np.vstack([np.eye(width, dtype=np.float32), np.zeros((1, width), dtype=np.float32)])
    if unknown == "column":
        return Block(eye[np.where(strange, len(levels), codes)], (*names, f"{column}=?"))
    return Block(eye[codes], names, np.repeat(strange[:, None], width, axis=1) if strange.any() else None)


def _row_numbers(ids: pd.Series, known: npt.NDArray[np.str_]) -> npt.NDArray[np.int64]:
    codes, distinct = pd.factorize(ids)
    return rows_of(np.asarray(distinct, dtype=str), known)[codes]
