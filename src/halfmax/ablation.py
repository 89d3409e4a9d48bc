"""Ablation: what a part of the input adds, on the same samples and folds, with a paired interval of the difference."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pandas as pd

from halfmax import compare
from halfmax.compare import BASELINE
from halfmax.data.dataset import Dropped, ResponseDataset
from halfmax.data.storage import atomic_file
from halfmax.errors import DataError, examples
from halfmax.evaluate import ModelSpec, Progress, cross_validate
from halfmax.features.pipeline import FeaturePipeline
from halfmax.split import make_splits

DIFFERENCE_COLUMNS = (
    *("variant", "reference", "model", "fold", "metric", "value", "low", "high", "n_pairs", "n_samples", "n_drugs"),
)


@dataclass(frozen=True)
class Variant:
    """A way to make features: the modalities that it reads, and what makes an unfitted pipeline."""

    modalities: tuple[str, ...]
    features: Callable[[], FeaturePipeline]


@dataclass(frozen=True)
class Ablation:
    """What variants of the input are worth.

    Parameters
    ----------
    metrics
        As in `halfmax.evaluate.Results`, with a column variant before them.
    differences
        variant, reference, model, fold, metric, value (the variant's metric less the reference's), low, high (95 %
        paired cluster bootstrap), n_pairs, n_samples, n_drugs. Fold ``all`` is the mean over folds.
    predictions
        variant, sample_id, drug_id, fold, model, y_true, y_pred.
    coverage
        variant, modality, n_samples, n_with: how many of the samples have each modality of a variant.
    dropped
        What was lost to give every variant the same samples.
    """

    metrics: pd.DataFrame
    differences: pd.DataFrame
    predictions: pd.DataFrame
    coverage: pd.DataFrame
    dropped: Dropped

    def write(self, folder: Path | str) -> Path:
        """Write metrics.csv, differences.csv, coverage.csv, dropped.csv and predictions.parquet to `folder`."""
        folder = Path(folder)
        tables = {"metrics": self.metrics, "differences": self.differences, "coverage": self.coverage}
        for name, table in (tables | {"dropped": self.dropped.to_frame()}).items():
            with atomic_file(folder / f"{name}.csv") as path:
                table.to_csv(path, index=False, float_format="%.6g")
        with atomic_file(folder / "predictions.parquet") as path:
            self.predictions.to_parquet(path, index=False, compression="zstd")
        return folder


def ablate(
    dataset: ResponseDataset,
    variants: Mapping[str, Sequence[str] | Variant],
    models: Sequence[ModelSpec] = (ModelSpec("kernel_ridge", "kernel_ridge"),),
    *,
    protocol: str = "LCO",
    n_folds: int = 5,
    require: Sequence[str] | None = None,
    features: Callable[[Sequence[str]], FeaturePipeline] = FeaturePipeline,
    n_boot: int = 1000,
    seed: int = 0,
    on_progress: Callable[[Progress], None] | None = None,
) -> Ablation:
    """Compare variants of the input on the same samples, folds and bootstrap draws.

    Parameters
    ----------
    variants
        Name to modalities; the first is the reference, the others are compared with it, for example
        ``{"expression": ["expression"], "with proteins": ["expression", "proteomics"]}``. Or name to `Variant`: see
        `halfmax.ablation_kinds` for gene sets and steps.
    models
        Models to fit on each variant; the mean-effects baseline is always among them.
    protocol, n_folds, seed
        Of the folds, see `make_splits`.
    require
        Modalities that a sample must have; all that any variant names by default, so that no variant is judged on
        samples that it knows less of. With fewer, samples that lack the others are masked.
    features
        Makes an unfitted pipeline from modalities, for variants that are given by them.
    n_boot
        Draws of the cluster bootstrap. A draw takes the same samples (drugs under LDO) for every variant, and the
        interval is that of the difference within draws.

    Raises
    ------
    DataError
        If there are fewer than two variants, one is empty, or no sample has what is required.
    UnknownNameError
        If the dataset has no such modality.
    """
    told = {name: list(v.modalities if isinstance(v, Variant) else v) for name, v in variants.items()}
    if len(variants) < 2 or not all(told.values()):
        raise DataError(f"an ablation compares at least two variants with a modality each; got {told}.")
    makers = {
        name: v.features if isinstance(v, Variant) else partial(features, tuple(v)) for name, v in variants.items()
    }
    used = list(dict.fromkeys(modality for chosen in told.values() for modality in chosen))
    for modality in used:
        dataset.modality(modality)
    required = used if require is None else list(require)
    whole, dropped = dataset.align(required, any_of=() if required else used, smiles=protocol == "LDO")
    splits = make_splits(whole, protocol, n_folds=n_folds, seed=seed)
    specs = [spec for spec in models if spec.label != BASELINE]
    if not specs:
        raise DataError("an ablation needs a model beside the mean-effects baseline.")
    metrics, predictions = [], []
    for i, (name, maker) in enumerate(makers.items()):
        found = cross_validate(
            whole,
            splits,
            [ModelSpec(BASELINE, BASELINE), *specs],
            features=maker,
            n_boot=n_boot,
            seed=seed,
            on_progress=None if on_progress is None else _shifted(on_progress, name, i, len(variants)),
        )
        metrics.append(found.metrics.assign(variant=name))
        predictions.append(found.predictions.assign(variant=name))
    scored = _variant_first(pd.concat(predictions, ignore_index=True))
    return Ablation(
        metrics=_variant_first(pd.concat(metrics, ignore_index=True)),
        differences=paired_differences(scored, list(variants), protocol=protocol, n_boot=n_boot, seed=seed),
        predictions=scored,
        coverage=_coverage(whole, told),
        dropped=dropped,
    )


def paired_differences(
    predictions: pd.DataFrame, variants: Sequence[str], *, protocol: str = "LCO", n_boot: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Return the differences of variants to the first, with paired cluster-bootstrap intervals.

    Parameters
    ----------
    predictions
        variant, sample_id, drug_id, fold, model, y_true, y_pred of the same pairs for every variant, the model
        ``mean_effects`` among them.

    Returns
    -------
    Columns as in `Ablation.differences`.

    Raises
    ------
    DataError
        If a variant was scored on other pairs than the first.
    """
    reference, *others = variants
    baseline = predictions[(predictions["variant"] == reference) & (predictions["model"] == BASELINE)]
    columns = ["sample_id", "drug_id", "fold", "y_true", "y_pred"]
    tables = []
    for model in (m for m in predictions["model"].unique() if m != BASELINE):
        own = predictions[predictions["model"] == model]
        # a variant may have the baseline's name
        both = pd.concat([baseline[[*columns, "model"]], own[columns].assign(model="variant " + own["variant"])])
        found = compare.paired_differences(
            both, f"variant {reference}", [f"variant {v}" for v in others], protocol=protocol, n_boot=n_boot, seed=seed
        )
        names = {c: found[c].str.removeprefix("variant ") for c in ("model", "reference")}
        tables.append(found.assign(variant=names["model"], reference=names["reference"], model=model))
    return pd.concat(tables, ignore_index=True)[list(DIFFERENCE_COLUMNS)]


def _coverage(dataset: ResponseDataset, variants: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    n = len(dataset.samples)
    rows = [
        (variant, modality, n, int(dataset.samples.index.isin(dataset.profiled(modality)).sum()))
        for variant, modalities in variants.items()
        for modality in modalities
    ]
    return pd.DataFrame(rows, columns=["variant", "modality", "n_samples", "n_with"])


def parse_variants(texts: Sequence[str]) -> dict[str, list[str]]:
    """Return ``expression+proteomics`` and the like as name to modalities.

    Raises
    ------
    DataError
        If one names no modality, or the same one twice.
    """
    variants = {text.strip(): [part.strip() for part in text.split("+")] for text in texts}
    odd = [text for text, parts in variants.items() if not all(parts) or len(set(parts)) < len(parts)]
    if odd or len(variants) < len(texts):
        raise DataError(
            f"variants {examples(odd or list(texts))} cannot be read: give different ones, modalities joined by +, "
            "such as expression expression+proteomics."
        )
    return variants


def _shifted(
    on_progress: Callable[[Progress], None], variant: str, place: int, n_variants: int
) -> Callable[[Progress], None]:
    def show(where: Progress) -> None:
        model = f"{variant} · {where.model}" if where.model else ""
        done, total = where.done + place * where.total, where.total * n_variants
        on_progress(replace(where, model=model, done=done, total=total))

    return show


def _variant_first(table: pd.DataFrame) -> pd.DataFrame:
    return table[["variant", *(c for c in table.columns if c != "variant")]]
