"""Many explanations at once: what a drug's predictions lean on, and which drugs a gene or gene set speaks for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.errors import DataError, UnknownNameError, did_you_mean
from halfmax.explain.biomarkers import signed_importance
from halfmax.explain.explanation import Explanation
from halfmax.explain.groups import Groups

Array = npt.NDArray[np.float64]
#: Fewest samples from which an interval or a correlation is told.
LEAST = 5


def importance(
    found: Explanation, drug: str, *, top: int | None = 20, n_boot: int = 200, level: float = 0.95, seed: int = 0
) -> pd.DataFrame:
    """Return what a drug's predictions lean on over the samples explained, with intervals over samples.

    Returns
    -------
    Columns modality, feature, importance (mean |φ| [measure.unit]), low and high (bootstrap of samples), direction
    (+1: more of it, higher response), largest first.
    """
    _, j = found.at(found.sample_ids[0], drug)
    size = np.abs(found.values[:, j].astype(np.float64))
    mean = size.mean(axis=0)
    order = np.argsort(-mean, kind="stable")[:top]
    n = len(size)
    if n < LEAST:
        raise DataError(f"{n} samples are too few for an interval; explain at least {LEAST}.")
    draws = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=n_boot) / n
    low, high = np.quantile(draws @ size[:, order], [(1 - level) / 2, (1 + level) / 2], axis=0)
    sign = np.sign(signed_importance(found)[j, order])
    return pd.DataFrame(
        {
            "modality": found.modality[order],
            "feature": found.feature[order],
            "importance": mean[order],
            "low": low,
            "high": high,
            "direction": sign.astype(np.int64),
        }
    )


def swarm(found: Explanation, drug: str, *, top: int = 15) -> pd.DataFrame:
    """Return every sample's attribution of a drug's most important features: feature, sample_id, attribution, input."""
    _, j = found.at(found.sample_ids[0], drug)
    order = np.argsort(-np.abs(found.values[:, j]).mean(axis=0), kind="stable")[:top]
    n = len(found.sample_ids)
    return pd.DataFrame(
        {
            "feature": np.repeat(found.feature[order], n),
            "sample_id": np.tile(found.sample_ids, len(order)),
            "attribution": found.values[:, j, order].T.ravel(),
            "input": found.inputs[:, order].T.ravel(),
        }
    )


def gene_volcano(
    found: Explanation, gene: str, expression: pd.DataFrame, response: pd.DataFrame, tissue: pd.Series | None = None
) -> pd.DataFrame:
    """Return for every drug explained what a gene does in the model, and what the data say of it.

    Parameters
    ----------
    expression
        Measured samples × genes.
    response
        Columns sample_id, drug_id, value.
    tissue
        Tissue of each sample, to adjust for: ranks are centred within it.

    Returns
    -------
    Columns drug_id, effect (signed importance in the model [measure.unit]), rho (tissue-adjusted rank correlation of
    expression and measured response), n, p and q (Benjamini–Hochberg over drugs).
    """
    if gene not in expression.columns or gene not in found.feature:
        known = [name for name in map(str, found.feature) if name in expression.columns]
        raise UnknownNameError(f"{gene!r} is not among the {len(known)} genes here.{did_you_mean(gene, known)}")
    effect = signed_importance(found)[:, found.feature.tolist().index(gene)]
    return _volcano(found, effect, expression[gene], response, tissue)


def pathway_volcano(
    found: Explanation,
    name: str,
    groups: Groups,
    expression: pd.DataFrame,
    response: pd.DataFrame,
    tissue: pd.Series | None = None,
) -> pd.DataFrame:
    """Return for every drug what a gene set does in the model and in the data; columns as in `gene_volcano`.

    The set's level in the data is the mean of its genes' z-scores; its effect is signed by the covariance of what its
    genes add together with their mean input.
    """
    names, shares = groups.weights(found.feature)
    if name not in names:
        raise UnknownNameError(f"there is no set {name!r}.{did_you_mean(name, names)}")
    share = shares[:, names.index(name)]
    added = found.values.astype(np.float64) @ share
    genes = [g for g in dict.fromkeys(found.feature[share > 0].tolist()) if g in expression.columns]
    if not genes:
        raise DataError(f"no gene of {name!r} is in both the model and the data.")
    level = np.nan_to_num(found.inputs[:, share > 0]).mean(axis=1)
    sign = np.sign((level - level.mean()) @ added)
    z = (expression[genes] - expression[genes].mean()) / expression[genes].std().replace(0, np.nan)
    return _volcano(found, sign * np.abs(added).mean(axis=0), z.mean(axis=1), response, tissue)


def _volcano(
    found: Explanation, effect: Array, level: pd.Series, response: pd.DataFrame, tissue: pd.Series | None
) -> pd.DataFrame:
    table = rank_correlations(level, response, tissue, drugs=found.drug_ids.tolist())
    table.insert(1, "effect", effect)
    return table.sort_values("p", ignore_index=True)


def rank_correlations(
    level: pd.Series,
    response: pd.DataFrame,
    tissue: pd.Series | None = None,
    *,
    drugs: Sequence[str] | None = None,
    least: int = LEAST,
) -> pd.DataFrame:
    """Return the rank correlation of a level (index = sample_id) with the measured response to every drug.

    Parameters
    ----------
    response
        Columns sample_id, drug_id, value.
    tissue
        Tissue of each sample, to adjust for: ranks are centred within it.
    drugs
        Which, in this order; all that were measured by default.
    least
        Degrees of freedom below which nothing is said of a drug.

    Returns
    -------
    Columns drug_id, rho, n, p (of Student's t) and q (Benjamini–Hochberg over drugs); NaN where too little is measured.
    """
    from scipy.stats import t as student

    wanted = list(response["drug_id"].unique()) if drugs is None else list(drugs)
    table = response[response["drug_id"].isin(wanted) & response["value"].notna()]
    table = table[table["sample_id"].isin(level.index[level.notna()])]
    groups = pd.Series("", index=level.index) if tissue is None else tissue.reindex(level.index).fillna("").astype(str)
    table = table.assign(
        x=level.reindex(table["sample_id"]).to_numpy(), tissue=groups.reindex(table["sample_id"]).to_numpy()
    )
    ranked = table.assign(x=table.groupby("drug_id")["x"].rank(), y=table.groupby("drug_id")["value"].rank())
    inside = ranked.groupby(["drug_id", "tissue"])[["x", "y"]]
    ranked[["x", "y"]] = ranked[["x", "y"]] - inside.transform("mean")
    sums = ranked.assign(xy=ranked["x"] * ranked["y"], xx=ranked["x"] ** 2, yy=ranked["y"] ** 2)
    by = sums.groupby("drug_id").agg(n=("xy", "size"), xy=("xy", "sum"), xx=("xx", "sum"), yy=("yy", "sum"))
    by["groups"] = ranked.groupby("drug_id")["tissue"].nunique()
    by = by.reindex(wanted)
    size = (by["xx"] * by["yy"]) ** 0.5
    rho = (by["xy"] / size.where(size > 0)).clip(-0.999999, 0.999999)
    free = by["n"] - by["groups"] - 1
    p = 2 * student.sf(np.abs(rho) * np.sqrt(free.clip(lower=1) / (1 - rho**2)), free.clip(lower=1))
    p = np.where((free >= least) & rho.notna(), p, np.nan)
    out = pd.DataFrame({"drug_id": wanted, "rho": rho.to_numpy(), "n": by["n"].to_numpy(), "p": p})
    return out.assign(q=_adjusted(p))


def _adjusted(p: Array) -> Array:
    """Return Benjamini–Hochberg q-values; NaN stays."""
    out = np.full(len(p), np.nan)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known], kind="stable")]
    raw = p[order] * len(order) / np.arange(1, len(order) + 1)
    out[order] = np.minimum(np.minimum.accumulate(raw[::-1])[::-1], 1)
    return out
