"""Ablation: what a modality adds, on the same samples and folds, with a paired interval of the difference."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.data.dataset import Dropped, ResponseDataset
from halfmax.data.storage import atomic_file
from halfmax.errors import DataError, examples
from halfmax.evaluate import BASELINE, ModelSpec, Progress, cross_validate
from halfmax.features.pipeline import FeaturePipeline
from halfmax.metrics import Fold, interval, regression_metrics
from halfmax.split import make_splits

Array = npt.NDArray[np.float64]
METRICS = ("rmse", "normalized_r2", "within_drug_pearson", "within_drug_spearman", "pearson")
DIFFERENCE_COLUMNS = (
    *("variant", "reference", "model", "fold", "metric", "value", "low", "high", "n_pairs", "n_samples", "n_drugs"),
)


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
    variants: Mapping[str, Sequence[str]],
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
        ``{"expression": ["expression"], "with proteins": ["expression", "proteomics"]}``.
    models
        Models to fit on each variant; the mean-effects baseline is always among them.
    protocol, n_folds, seed
        Of the folds, see `make_splits`.
    require
        Modalities that a sample must have; all that any variant names by default, so that no variant is judged on
        samples that it knows less of. With fewer, samples that lack the others are masked.
    features
        Makes an unfitted pipeline from modalities.
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
    if len(variants) < 2 or not all(variants.values()):
        raise DataError(f"an ablation compares at least two variants with a modality each; got {dict(variants)}.")
    used = list(dict.fromkeys(modality for chosen in variants.values() for modality in chosen))
    for modality in used:
        dataset.modality(modality)
    required = used if require is None else list(require)
    whole, dropped = dataset.align(required, any_of=() if required else used, smiles=protocol == "LDO")
    splits = make_splits(whole, protocol, n_folds=n_folds, seed=seed)
    specs = [spec for spec in models if spec.label != BASELINE]
    if not specs:
        raise DataError("an ablation needs a model beside the mean-effects baseline.")
    metrics, predictions = [], []
    for i, (name, modalities) in enumerate(variants.items()):
        found = cross_validate(
            whole,
            splits,
            [ModelSpec(BASELINE, BASELINE), *specs],
            features=lambda chosen=tuple(modalities): features(chosen),  # type: ignore[misc]
            n_boot=n_boot,
            seed=seed,
            on_progress=None if on_progress is None else _shifted(on_progress, name, i, len(variants)),
        )
        metrics.append(found.metrics.assign(variant=name))
        predictions.append(found.predictions.assign(variant=name))
    told = _variant_first(pd.concat(predictions, ignore_index=True))
    return Ablation(
        metrics=_variant_first(pd.concat(metrics, ignore_index=True)),
        differences=paired_differences(told, list(variants), protocol=protocol, n_boot=n_boot, seed=seed),
        predictions=told,
        coverage=_coverage(whole, variants),
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
    rows: list[dict[str, object]] = []
    models = [m for m in predictions["model"].unique() if m != BASELINE]
    for model in models:
        draws: dict[tuple[str, str], list[tuple[float, Array]]] = {}
        sizes: dict[str, tuple[int, int, int]] = {}
        for fold, part in predictions.groupby("fold", sort=False):
            wide = _pairs_by_variant(part, model, variants)
            scored = _scores(wide, variants, protocol, n_boot, seed)
            sizes[str(fold)] = (len(wide), wide["sample_id"].nunique(), wide["drug_id"].nunique())
            for variant in others:
                for metric in METRICS:
                    (a, draw_a), (b, draw_b) = scored[reference][metric], scored[variant][metric]
                    draws.setdefault((variant, metric), []).append((b - a, draw_b - draw_a))
                    low, high = interval(draw_b - draw_a)
                    place = (variant, reference, model, str(fold), metric)
                    rows.append(_row(*place, b - a, low, high, *sizes[str(fold)]))
        chosen = predictions[predictions["model"] == model]
        total = (sum(n for n, _, _ in sizes.values()), chosen["sample_id"].nunique(), chosen["drug_id"].nunique())
        for (variant, metric), folds in draws.items():
            value = float(np.nanmean([v for v, _ in folds])) if any(np.isfinite(v) for v, _ in folds) else float("nan")
            known = [d for v, d in folds if np.isfinite(v)]
            low, high = interval(np.mean(known, axis=0)) if known else (float("nan"), float("nan"))
            rows.append(_row(variant, reference, model, "all", metric, value, low, high, *total))
    return pd.DataFrame(rows, columns=list(DIFFERENCE_COLUMNS))


def _pairs_by_variant(part: pd.DataFrame, model: str, variants: Sequence[str]) -> pd.DataFrame:
    """Return a fold's pairs with one column of predictions a variant, and the baseline's."""
    keys = ["sample_id", "drug_id"]
    first = part["variant"] == variants[0]
    wide = part.loc[first & (part["model"] == BASELINE), [*keys, "y_true", "y_pred"]].rename(
        columns={"y_pred": BASELINE}
    )
    n = len(wide)
    for variant in variants:
        own = part.loc[(part["variant"] == variant) & (part["model"] == model), [*keys, "y_pred"]]
        wide = wide.merge(own.rename(columns={"y_pred": f"variant {variant}"}), on=keys, validate="one_to_one")
        if len(wide) != n or len(own) != n:
            raise DataError(f"{variant} was scored on other pairs than {variants[0]}: {len(own)} against {n}.")
    return wide


def _scores(
    wide: pd.DataFrame, variants: Sequence[str], protocol: str, n_boot: int, seed: int
) -> dict[str, dict[str, tuple[float, Array]]]:
    sample, drug = (pd.factorize(wide[c])[0].astype(np.int64) for c in ("sample_id", "drug_id"))
    values = {c: wide[c].to_numpy(dtype=np.float64) for c in wide if c not in ("sample_id", "drug_id")}
    fold = Fold(values["y_true"], values[BASELINE], sample, drug, drug if protocol == "LDO" else sample)
    # one seed and one number of clusters: every variant is scored on the same draws
    return {v: regression_metrics(fold, values[f"variant {v}"], n_boot=n_boot, seed=seed) for v in variants}


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


def _row(*values: object) -> dict[str, object]:
    return dict(zip(DIFFERENCE_COLUMNS, values, strict=True))
