"""Biomarker recovery of a predictor beside ridge and Spearman, and what lines that carry an event are predicted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.data.dataset import ResponseDataset
from halfmax.explain.biomarkers import (
    BAR,
    DIRECTION,
    check_biomarkers,
    known_biomarkers,
    recovery,
    ridge,
    signed_importance,
    spearman,
)
from halfmax.explain.explainer import Explainer

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Recovery:
    """What was found.

    Parameters
    ----------
    associations
        The table of `check_biomarkers` under a column ``by``: ``model``, and ``ridge`` and ``spearman`` given data.
    shares
        `recovery` of each.
    """

    associations: pd.DataFrame
    shares: pd.DataFrame

    @property
    def verdict(self) -> str:
        """Whether the bar is reached, in words."""
        core = self.shares.query("by == 'model' and role == 'core'")
        if core.empty:
            return "No core association is about a drug and gene of this predictor."
        share, n = float(core["top_10"].iloc[0]), int(core["n"].iloc[0])
        word = "reaches" if share >= BAR else "misses"
        return (
            f"{share:.1%} of {n} core associations stand in the model's first ten in the right direction: it {word} "
            f"the bar of {BAR:.0%}."
        )


def importance_of(explainer: Explainer, drugs: list[str]) -> tuple[dict[str, Array], npt.NDArray[np.str_]]:
    """Return each drug's signed importance over the background's samples, and the names of the expression features.

    Raises
    ------
    UnknownNameError
        If a drug is not known.
    """
    found = explainer.explain_encoded(explainer.lines.grid(), drugs)
    genes = np.flatnonzero(found.modality == "expression")
    told = signed_importance(found)[:, genes]
    return {str(drug): told[j] for j, drug in enumerate(found.drug_ids)}, found.feature[genes]


def check_predictor(
    explainer: Explainer, dataset: ResponseDataset | None = None, *, screen: str | None = None
) -> Recovery:
    """Return where known associations of expression rank in the model, and by ridge and Spearman on `dataset`.

    Parameters
    ----------
    screen
        ``gdsc1`` or ``gdsc2``; read off the name of the predictor's data by default.
    """
    predictor = explainer.predictor
    name = str(predictor.about_.get("data", {}).get("name", ""))
    screen = screen or next((s for s in ("gdsc1", "gdsc2") if s in name.lower()), None)
    named = {str(i).lower(): str(i) for i in predictor.drugs_.index}
    known = known_biomarkers()
    known = known[known["level"] == "expression"]
    drugs = sorted({named[d.lower()] for d in known["drug"] if d.lower() in named})
    model, genes = importance_of(explainer, drugs)
    sign = predictor.measure_.higher_is_sensitive
    tables = {"model": check_biomarkers(model, genes, higher_is_sensitive=sign, screen=screen)}
    if dataset is not None:
        expression = dataset.omics["expression"]
        expression = expression.loc[expression.index.isin(dataset.samples.index)]
        expression = expression.loc[np.isfinite(expression.to_numpy()).all(axis=1)]
        for by, rule in (("ridge", ridge), ("spearman", spearman)):
            own = {drug: rule(expression, dataset.response, drug) for drug in drugs}
            columns = list(map(str, expression.columns))
            tables[by] = check_biomarkers(own, columns, higher_is_sensitive=sign, screen=screen)
    shares = [recovery(table).assign(by=by) for by, table in tables.items()]
    every = [table.assign(by=by) for by, table in tables.items()]
    return Recovery(_by_first(pd.concat(every, ignore_index=True)), _by_first(pd.concat(shares, ignore_index=True)))


def event_lines(
    dataset: ResponseDataset, predictions: pd.DataFrame, *, screen: str | None = None, least: int = 3
) -> pd.DataFrame:
    """Return what lines that carry an event are predicted, against the others: the check of drugs known by lines.

    Parameters
    ----------
    dataset
        With the modalities ``events`` or ``mutation``, whose columns say which lines carry what.
    predictions
        Columns sample_id, drug_id, prediction; of samples that the model had not seen, for a fair answer.

    Returns
    -------
    Columns drug, feature, direction, role, n_lines, n_others, difference (mean of the carriers less that of the others
    [measure.unit]), auc (probability that a carrier is predicted lower), direction_right.
    """
    from scipy.stats import rankdata

    known = known_biomarkers()
    known = known[known["level"].isin(["event", "mutation"])]
    if screen is not None:
        known = known[[screen in screens.split(",") for screens in known["screens"]]]
    sign = -1.0 if dataset.measure.higher_is_sensitive else 1.0
    rows = []
    for row in known.to_dict("records"):
        table = dataset.omics.get("events" if row["level"] == "event" else "mutation")
        own = predictions[predictions["drug_id"] == row["drug"]]
        if table is None or row["feature"] not in table.columns:
            continue
        carries = table[row["feature"]].reindex(own["sample_id"]).to_numpy(dtype=np.float64)
        value = own["prediction"].to_numpy(dtype=np.float64)[np.isfinite(carries)]
        has = carries[np.isfinite(carries)] > 0
        if has.sum() < least or (~has).sum() < least:
            continue
        rank = rankdata(-value)
        auc = (rank[has].mean() - (has.sum() + 1) / 2) / (~has).sum()
        difference = float(value[has].mean() - value[~has].mean())
        right = difference * sign * DIRECTION[row["direction"]] > 0
        told = {k: row[k] for k in ("drug", "feature", "direction", "role")}
        told |= {"n_lines": int(has.sum()), "n_others": int((~has).sum())}
        rows.append(told | {"difference": difference, "auc": float(auc), "direction_right": bool(right)})
    return pd.DataFrame(rows)


def _by_first(table: pd.DataFrame) -> pd.DataFrame:
    return table[["by", *(c for c in table.columns if c != "by")]]
