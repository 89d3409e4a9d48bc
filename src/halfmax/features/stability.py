"""Which features the steps of each fold chose, and how much the folds' choices overlap."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pandas as pd

from halfmax.features.pipeline import FeaturePipeline

SELECTED_COLUMNS = ("fold", "block", "step", "feature", "n_offered")
STABILITY_COLUMNS = ("block", "step", "n_folds", "n_offered", "n_selected", "n_in_all", "jaccard", "least", "chance")


def selected_features(pipelines: Mapping[str, FeaturePipeline]) -> pd.DataFrame:
    """Return what the selecting steps of fitted pipelines kept, one row a feature.

    Parameters
    ----------
    pipelines
        Fold to fitted pipeline.

    Returns
    -------
    Columns fold, block, step (its place among the block's steps and its name), feature, n_offered (features that the
    step chose from). A list of genes that was given is no choice and does not count.
    """
    tables = []
    for fold, pipeline in pipelines.items():
        for block, step, names, n_offered in pipeline.selections():
            part = pd.DataFrame({"feature": np.asarray(names, dtype=object)})
            tables.append(part.assign(fold=fold, block=block, step=step, n_offered=n_offered))
    if not tables:
        return pd.DataFrame(columns=list(SELECTED_COLUMNS))
    return pd.concat(tables, ignore_index=True)[list(SELECTED_COLUMNS)]


def jaccard_stability(selected: pd.DataFrame) -> pd.DataFrame:
    """Return how alike the folds' choices are, one row a step.

    The Jaccard index of two sets is the number of features in both over the number in either: 1 = the same choice, 0 =
    nothing in common.

    Parameters
    ----------
    selected
        As `selected_features` returns it.

    Returns
    -------
    Columns block, step, n_folds, n_offered and n_selected (means over folds), n_in_all (features that all folds
    chose), jaccard (mean over pairs of folds; NaN for one fold), least (of any pair) and chance (what random choices of
    these sizes would have on average).

    References
    ----------
    Kalousis, Prados and Hilario (2007), Knowledge and Information Systems 12.
    """
    rows = []
    for (block, step), part in selected.groupby(["block", "step"], sort=False):
        sets = {str(fold): frozenset(names) for fold, names in part.groupby("fold", sort=False)["feature"]}
        offered = float(part.groupby("fold", sort=False)["n_offered"].first().mean())
        found, by_chance = [], []
        for one, other in combinations(sets.values(), 2):
            found.append(len(one & other) / len(one | other))
            shared = len(one) * len(other) / max(offered, 1)
            by_chance.append(shared / (len(one) + len(other) - shared))
        rows.append((
            block, step, len(sets), offered, float(np.mean([len(names) for names in sets.values()])),
            len(frozenset.intersection(*sets.values())),
            *((float(np.mean(found)), min(found), float(np.mean(by_chance))) if found else (float("nan"),) * 3),
        ))  # fmt: skip
    return pd.DataFrame(rows, columns=list(STABILITY_COLUMNS))
