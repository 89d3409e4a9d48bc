"""Kinds of ablation: variants of a run's input by gene set and by preprocessing step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from halfmax.ablation import Variant
from halfmax.config import RunConfig
from halfmax.data.dataset import ResponseDataset
from halfmax.errors import DataError, UnknownNameError, did_you_mean, examples
from halfmax.features.pipeline import DRUG_STEPS, OMICS_STEPS, OTHER_STEPS, FeaturePipeline, StepSpec
from halfmax.run import make_features

#: Steps that treat a sample by all its genes, and so come before a choice of genes.
_WHOLE_SAMPLE = ("log1p", "sample_zscore", "rank")
#: What a block cannot do without.
_NEEDED = ("impute", "knn_impute", "iterative_impute")


def gene_set_variants(
    config: RunConfig,
    dataset: ResponseDataset,
    sets: Mapping[str, Sequence[str]],
    *,
    modality: str = "expression",
    controls: bool = True,
    seed: int = 0,
) -> dict[str, Variant]:
    """Return ``all genes`` and, for each set, ``only SET``, ``without SET`` and ``random like SET``.

    Parameters
    ----------
    sets
        Name to genes, such as `halfmax.data.readers.gmt.read_gmt` returns.
    modality
        Whose genes are chosen; a set's genes that it lacks are left out.
    controls
        Whether to add as many genes drawn at random, without which a set cannot be told from its size.

    Raises
    ------
    DataError
        If the modality lacks all genes of a set, or a set holds all of its genes.
    UnknownNameError
        If the dataset has no such modality.
    """
    known = list(map(str, dataset.modality(modality).columns))
    if modality not in config.features.modalities:
        raise DataError(f"{modality} is not among the modalities in use: {', '.join(config.features.modalities)}.")
    inside = {name: sorted(set(known) & set(genes)) for name, genes in sets.items()}
    odd = [name for name, genes in inside.items() if not 0 < len(genes) < len(known)]
    if odd or not sets:
        raise DataError(
            f"{len(odd)} of {len(sets)} gene sets hold none or all of the {len(known)} genes of {modality}, e.g. "
            f"{examples(odd)}; genes are matched by name, e.g. {examples(known)}. Leave those sets out."
        )
    rng, variants = np.random.default_rng(seed), {"all genes": _variant(config, {})}
    for name, genes in inside.items():
        rest = sorted(set(known) - set(genes))
        variants[f"only {name}"] = _variant(config, _with_genes(config, modality, genes))
        variants[f"without {name}"] = _variant(config, _with_genes(config, modality, rest))
        if controls:
            drawn = sorted(map(str, rng.choice(known, len(genes), replace=False)))
            variants[f"random like {name}"] = _variant(config, _with_genes(config, modality, drawn))
    return variants


def step_variants(config: RunConfig, block: str) -> dict[str, Variant]:
    """Return ``all steps`` and ``without N. STEP`` for each step of a block that it can do without.

    Parameters
    ----------
    block
        A modality or a drug block in use.

    Raises
    ------
    DataError
        If there is no step to leave out.
    UnknownNameError
        If the block is not in use.
    """
    used = (*config.features.modalities, *config.features.drug_blocks)
    if block not in used:
        raise UnknownNameError(f"no block {block!r} is in use.{did_you_mean(block, used)} In use: {', '.join(used)}.")
    steps = _steps_of(config, block)
    variants = {"all steps": _variant(config, {})}
    for place, step in enumerate(steps):
        if _name(step) not in _NEEDED:
            rest = [*steps[:place], *steps[place + 1 :]]
            variants[f"without {place + 1}. {_name(step)}"] = _variant(config, {block: rest})
    if len(variants) < 2:
        raise DataError(f"{block} has no step to leave out: {', '.join(map(_name, steps))}.")
    return variants


def chosen_sets(sets: Mapping[str, Sequence[str]], names: Sequence[str]) -> dict[str, Sequence[str]]:
    """Return the sets of these names, or all where none is named.

    Raises
    ------
    UnknownNameError
        If there is no such set.
    """
    for name in names:
        if name not in sets:
            raise UnknownNameError(f"there is no gene set {name!r}.{did_you_mean(name, sets)} There are {len(sets)}.")
    return {name: sets[name] for name in names or sets}


def _variant(config: RunConfig, changed: Mapping[str, Sequence[StepSpec]]) -> Variant:
    steps = {**config.features.steps, **changed}
    own = config.model_copy(update={"features": config.features.model_copy(update={"steps": steps})})

    def features() -> FeaturePipeline:
        return make_features(own)

    return Variant(tuple(config.features.modalities), features)


def _with_genes(config: RunConfig, modality: str, genes: Sequence[str]) -> dict[str, list[StepSpec]]:
    """Return the steps of a modality with a choice of genes after those that need every gene of a sample."""
    steps = _steps_of(config, modality)
    place = next((i for i, step in enumerate(steps) if _name(step) not in _WHOLE_SAMPLE), len(steps))
    return {modality: [*steps[:place], ("genes", {"genes": list(genes)}), *steps[place:]]}


def _steps_of(config: RunConfig, block: str) -> list[Any]:
    defaults = OMICS_STEPS if block in config.features.modalities else DRUG_STEPS
    return list(config.features.steps.get(block, defaults.get(block, OTHER_STEPS)))


def _name(step: Any) -> str:
    return step if isinstance(step, str) else str(step[0])
