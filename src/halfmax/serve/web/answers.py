"""What the pages ask of the service: ranked drugs, a drug's lines, why a pair, a gene over all drugs."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from halfmax.errors import DataError, UnknownNameError, did_you_mean
from halfmax.explain.overview import rank_correlations
from halfmax.explain.what_if import what_if
from halfmax.serve.web import figures
from halfmax.serve.web.figures import Figure

if TYPE_CHECKING:
    from halfmax.serve.service import Service
    from halfmax.serve.web.kept import Kept

#: A gene is held against drugs that were measured on at least twenty lines.
_LEAST_FREEDOM = 18
#: Sorts of the ranked table: column, and whether small comes first.
SORTS = {"percentile": True, "difference": True, "prediction": True, "drug": True, "skill": False}


def ranked(service: Service, kept: Kept, sample: str, *, sort: str = "percentile", search: str = "") -> pd.DataFrame:
    """Return every drug for one sample, most sensitive first by default, with skill and what is known of the drug.

    Raises
    ------
    UnknownNameError
        If the sample is not among those kept.
    """
    table = service.predict(kept.samples.omics, samples=kept.samples.about, allow_low_coverage=True).table
    known = table["sample_id"].unique().tolist()
    if sample not in known:
        raise UnknownNameError(f"there is no sample {sample!r} here.{did_you_mean(sample, known)}")
    table = table[table["sample_id"] == sample].copy()
    facts = facts_of_drugs(service)
    table = table.join(facts, on="drug_id").assign(drug=table["drug_id"])
    if search:
        text = table["drug_id"].str.cat(table[["targets", "mechanism", "pathway"]].fillna(""), sep=" ")
        table = table[text.str.contains(search, case=False, regex=False)]
    column = sort if sort in SORTS else "percentile"
    better_low = not service.predictor.measure_.higher_is_sensitive
    up = SORTS[column] if column in ("drug", "skill") else better_low
    ordered: pd.DataFrame = table.sort_values(column, ascending=up, kind="stable", na_position="last")
    return ordered.reset_index(drop=True)


@lru_cache(maxsize=4)
def facts_of_drugs(service: Service) -> pd.DataFrame:
    """Return what is known of each drug: targets, mechanism, pathway, and the skill of held-out predictions."""
    from halfmax.data.drug_facts import facts_of

    drugs = service.predictor.drugs_
    table = facts_of(drugs)[["targets", "mechanism", "pathway"]]
    for column in table:
        table[column] = table[column].mask(table[column] == "").str.replace("|", ", ", regex=False)
    skill = service.predictor.about_.get("skill", {})
    return table.assign(skill=[_skill(skill.get(str(drug))) for drug in drugs.index])


def _skill(found: Any) -> float:
    if isinstance(found, dict):
        found = found.get("pearson", next(iter(found.values()), None))
    return float(found) if isinstance(found, int | float) else float("nan")


def measured(service: Service, drug: str) -> tuple[pd.Series, pd.Series]:
    """Return a drug's measured values by training sample, and samples' tissues; both empty where data are absent."""
    dataset = service.dataset
    if dataset is None:
        return pd.Series(dtype=float), pd.Series(dtype=object)
    rows = dataset.response[dataset.response["drug_id"] == drug].dropna(subset="value")
    tissue = dataset.samples["tissue"] if "tissue" in dataset.samples else pd.Series(dtype=object)
    return rows.groupby("sample_id")["value"].mean(), tissue


def why(service: Service, kept: Kept, sample: str, drug: str, top: int = 15) -> dict[str, Any]:
    """Return what a pair's prediction stands on: table, figure, modalities and what the sum leaves (the gap)."""
    omics = {m: frame.loc[[sample]] for m, frame in kept.samples.omics.items() if sample in frame.index}
    about = None if kept.samples.about is None else kept.samples.about.loc[[sample]]
    found = service.explain(omics, [drug], samples=about, allow_low_coverage=True)
    table = found.genes(sample, drug, top)
    base, prediction = float(found.base[0]), float(found.prediction[0, 0])
    return {
        "table": table,
        "figure": figures.contributions(table, base, prediction, service.measure),
        "modalities": found.modalities(sample, drug),
        "base": base,
        "prediction": prediction,
        "difference": prediction - base,
        "gap": float(found.gap[0, 0]),
        "method": found.method,
        "n_background": int(found.background["samples"]),
        "genes": [str(f) for f in table["feature"] if not str(f).startswith("other ")],
    }


def moved(service: Service, kept: Kept, sample: str, drug: str, gene: str) -> Figure:
    """Return the model's curve for one gene moved within its training range."""
    found = what_if(service.explainer(), kept.samples.omics, sample, drug, gene, samples=kept.samples.about)
    frame = kept.samples.omics["expression"]
    now = float(frame[gene].loc[[sample]].iloc[0]) if gene in frame else float("nan")
    return figures.curve(found.table, now, gene, service.measure)


@lru_cache(maxsize=64)
def gene_over_drugs(service: Service, gene: str) -> pd.DataFrame:
    """Return the Spearman correlation of a gene's expression with the response to every drug, and its q-value.

    Returns
    -------
    Columns drug_id, rho, n, log_q (−log₁₀ of the Benjamini–Hochberg q-value), least q first.

    Raises
    ------
    DataError
        If the training data are not on this machine.
    UnknownNameError
        If the gene is not among the predictor's.
    """
    dataset = service.dataset
    if dataset is None or "expression" not in dataset.omics:
        raise DataError("the training data are not on this machine, so nothing can be said of a gene over all drugs.")
    frame = dataset.omics["expression"]
    if gene not in frame:
        raise UnknownNameError(f"there is no gene {gene!r} in the data.{did_you_mean(gene, map(str, frame.columns))}")
    table = rank_correlations(frame[gene], dataset.response, least=_LEAST_FREEDOM).dropna(subset="p")
    table = table.assign(log_q=-np.log10(np.maximum(table["q"], 1e-300)), n=table["n"].astype(int))
    return table.drop(columns="q").sort_values("log_q", ascending=False, ignore_index=True)


@lru_cache(maxsize=4)
def plane(service: Service) -> tuple[Any, Any, list[str], list[str]]:
    """Return mean and first two axes of the training lines' profiles, and the lines' points, ids and tissues."""
    ids, known = service.training_profiles()
    mean = known.mean(axis=0)
    _, _, axes = np.linalg.svd(known - mean, full_matrices=False)
    tissue = service.dataset.samples["tissue"] if service.dataset is not None else pd.Series(dtype=object)
    names = [str(i) for i in ids]
    return (mean, axes[:2].T), (known - mean) @ axes[:2].T, names, tissue.reindex(names).fillna("unknown").tolist()


def place_among_lines(service: Service, kept: Kept) -> Figure:
    """Return the plane of the training lines with the kept samples in it."""
    (mean, axes), points, ids, tissue = plane(service)
    mine = service.profiles_of(kept.samples.omics)
    names = [str(i) for i in kept.samples.omics["expression"].index]
    return figures.near_lines(points, ids, tissue, (mine - mean) @ axes, names)


def compared(service: Service, kept: Kept, n: int = 40) -> pd.DataFrame:
    """Return samples × drugs: the difference to each drug's mean, for the drugs that differ most between samples."""
    table = service.predict(kept.samples.omics, samples=kept.samples.about, allow_low_coverage=True).table
    grid = table.pivot_table(index="sample_id", columns="drug_id", values="difference")
    spread = grid.max() - grid.min() if len(grid) > 1 else grid.abs().max()
    grid = grid[spread.sort_values(ascending=False).index[:n]]
    return grid.loc[:, grid.mean().sort_values().index]
