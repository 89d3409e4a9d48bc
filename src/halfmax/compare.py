"""Compare: how far predictions of the same pairs differ in a metric, with a paired interval over clusters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.errors import DataError, UnknownNameError, did_you_mean, examples
from halfmax.metrics import Fold, interval, regression_metrics

Array = npt.NDArray[np.float64]
#: The naive model that `normalized_r2` is measured against.
BASELINE = "mean_effects"
#: Metrics whose differences are told.
METRICS = ("rmse", "normalized_r2", "within_drug_pearson", "within_drug_spearman", "pearson")
COLUMNS = ("model", "reference", "fold", "metric", "value", "low", "high", "n_pairs", "n_samples", "n_drugs")
_PAIR = ["sample_id", "drug_id"]


def paired_differences(
    predictions: pd.DataFrame,
    reference: str,
    models: Sequence[str] | None = None,
    *,
    protocol: str = "LCO",
    clusters: Mapping[str, str] | None = None,
    n_boot: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the metrics of each model less those of `reference`, on the same pairs and the same draws.

    A draw of the bootstrap takes the same clusters for both, so that what makes a cluster hard for either cancels.

    Parameters
    ----------
    predictions
        sample_id, drug_id, fold, model, y_true, y_pred, as `halfmax.evaluate.Results.predictions`; the model
        ``mean_effects`` is among them.
    models
        What to compare with `reference`; all others but ``mean_effects`` by default.
    protocol
        Clusters are samples, or drugs under LDO, unless `clusters` says otherwise.
    clusters
        Sample id to the name of what is drawn together, for example its tissue.

    Returns
    -------
    model, reference, fold, metric, value (the model's less the reference's), low, high (95 %), n_pairs, n_samples,
    n_drugs. Fold ``all`` is the mean over folds, which are drawn one by one.

    Raises
    ------
    DataError
        If a model was scored on other pairs than the reference, or a sample has no cluster.
    UnknownNameError
        If a model is not in the table.
    """
    known = list(predictions["model"].unique())
    others = [m for m in known if m not in (BASELINE, reference)] if models is None else list(models)
    for name in (BASELINE, reference, *others):
        if name not in known:
            raise UnknownNameError(f"no predictions of {name!r}.{did_you_mean(name, known)} There are: {known}.")
    rows: list[dict[str, object]] = []
    draws: dict[tuple[str, str], list[tuple[float, Array]]] = {}
    for fold, part in predictions.groupby("fold", sort=False):
        wide = _side_by_side(part, list(dict.fromkeys([reference, *others])))
        scored = _scores(wide, protocol, clusters, n_boot, seed)
        for model in others:
            for metric in METRICS:
                (a, draw_a), (b, draw_b) = scored[reference][metric], scored[model][metric]
                draws.setdefault((model, metric), []).append((b - a, draw_b - draw_a))
                rows.append(_row(model, reference, str(fold), metric, b - a, *interval(draw_b - draw_a), *_sizes(wide)))
    total = _sizes(predictions[predictions["model"] == reference])
    for (model, metric), folds in draws.items():
        defined = [(v, d) for v, d in folds if np.isfinite(v)]
        value = float(np.mean([v for v, _ in defined])) if defined else float("nan")
        low, high = interval(np.mean([d for _, d in defined], axis=0)) if defined else (value, value)
        rows.append(_row(model, reference, "all", metric, value, low, high, *total))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _side_by_side(part: pd.DataFrame, models: Sequence[str]) -> pd.DataFrame:
    """Return a fold's pairs with y_true, the baseline (``b``) and one column ``p NAME`` a model."""
    base = part.loc[part["model"] == BASELINE, [*_PAIR, "y_true", "y_pred"]].rename(columns={"y_pred": "b"})
    wide = base
    for model in models:
        own = part.loc[part["model"] == model, [*_PAIR, "y_pred"]].rename(columns={"y_pred": f"p {model}"})
        wide = wide.merge(own, on=_PAIR, validate="one_to_one")
        if len(wide) != len(base) or len(own) != len(base):
            raise DataError(f"{model} was scored on other pairs than {models[0]}: {len(own)} against {len(base)}.")
    return wide


def _scores(
    wide: pd.DataFrame, protocol: str, clusters: Mapping[str, str] | None, n_boot: int, seed: int
) -> dict[str, dict[str, tuple[float, Array]]]:
    sample, drug = (pd.factorize(wide[c])[0].astype(np.int64) for c in _PAIR)
    cluster = drug if protocol == "LDO" else sample
    if clusters is not None:
        names = wide["sample_id"].map(clusters)
        if names.isna().any():
            lacking = wide.loc[names.isna(), "sample_id"].unique()
            raise DataError(f"{len(lacking)} samples have no cluster, e.g. {examples(lacking)}.")
        cluster = pd.factorize(names)[0].astype(np.int64)
    y, b = (wide[c].to_numpy(dtype=np.float64) for c in ("y_true", "b"))
    fold = Fold(y, b, sample, drug, cluster)
    # one seed and one number of clusters: every model is scored on the same draws
    return {
        column.removeprefix("p "): regression_metrics(
            fold, wide[column].to_numpy(dtype=np.float64), n_boot=n_boot, seed=seed
        )
        for column in wide.columns
        if column.startswith("p ")
    }


def _sizes(table: pd.DataFrame) -> tuple[int, int, int]:
    return len(table), table["sample_id"].nunique(), table["drug_id"].nunique()


def _row(*values: object) -> dict[str, object]:
    return dict(zip(COLUMNS, values, strict=True))
