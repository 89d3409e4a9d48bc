"""Answers: a table of predictions with intervals, the sample's place in the domain and what is known of the drug."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.data.findings import Finding, Findings
from halfmax.features.applicability import drug_support
from halfmax.features.blocks import PairFeatures, rows_of
from halfmax.features.pipeline import FeaturePipeline
from halfmax.panel import New
from halfmax.uncertainty.conformal import Intervals
from halfmax.uncertainty.domain import OUTSIDE, Domain

Array = npt.NDArray[np.float64]
#: Columns that are emptied where a sample is outside the domain and the caller does not allow it.
ANSWERS = ("prediction", "sd", "low", "high", "difference", "percentile")
#: Share of new pairs that the intervals are to hold.
LEVEL = 0.9


def with_intervals(
    table: pd.DataFrame,
    x: PairFeatures,
    intervals: Mapping[New, Intervals],
    known_drugs: npt.NDArray[np.str_],
    domain: Domain | None,
    level: float = LEVEL,
) -> pd.DataFrame:
    """Return the table with low and high after the prediction; NaN where no cross-validation tells the error.

    Parameters
    ----------
    table
        One row a pair of `x`, with prediction.
    intervals
        What was learned, by what was new: pairs of a drug of training have those of new samples, other drugs those of
        new drugs.
    known_drugs
        Drugs of training.
    domain
        Gives the samples whose errors count for a new one.
    """
    value = table["prediction"].to_numpy(dtype=np.float64)
    low, high = np.full(len(value), np.nan), np.full(len(value), np.nan)
    seen = (rows_of(x.drug_ids, known_drugs) >= 0)[x.drug_index]
    parts: tuple[tuple[New, npt.NDArray[np.bool_]], ...] = (("sample", seen), ("drug", ~seen))
    for new, rows in parts:
        if new in intervals and rows.any():
            found = intervals[new]
            widen = local_width(found, x, domain)[x.sample_index[rows]]
            drugs = x.drug_ids[x.drug_index[rows]]
            low[rows], high[rows] = found.low_high(drugs, value[rows], widen, level=level)
    out = table.copy()
    place = list(out.columns).index("prediction") + 1
    out.insert(place, "low", low)
    out.insert(place + 1, "high", high)
    return out


def local_width(found: Intervals, x: PairFeatures, domain: Domain | None) -> Array:
    """Return the factor by which each sample's intervals are wider than on average."""
    if domain is None or found.new != "sample" or not len(found.sample_ids):
        return np.ones(len(x.sample_ids))
    return found.local(domain.weights(x.sample("expression"), found.sample_ids))


def with_domain(table: pd.DataFrame, x: PairFeatures, domain: Domain | None) -> pd.DataFrame:
    """Return the table with the columns of `Domain.judge`, but the distance.

    Parameters
    ----------
    table
        Column sample_id, of `x`.
    """
    if domain is None:
        about = pd.DataFrame(
            {
                "domain_percentile": np.nan,
                "domain": "unknown",
                "tissue_guess": "",
                "tissue_probability": np.nan,
            },
            index=range(len(x.sample_ids)),
        )
    else:
        block = x.sample_x["expression"]
        about = domain.judge(block.values, block.absent).drop(columns="domain_distance")
    about = about.set_axis(pd.Index(x.sample_ids, dtype=object)).loc[table["sample_id"].to_numpy(dtype=object)]
    out = table.copy()
    for name in about:
        out[name] = about[name].to_numpy()
    return out


def weighted_coverage(domain: Domain | None, features: FeaturePipeline, matched: Mapping[str, pd.DataFrame]) -> float:
    """Return the share of the genes' roles that a table covers; NaN where genes have none of their own.

    Parameters
    ----------
    matched
        Modality to samples × training features, NaN where the table has no such gene.
    """
    if domain is None or features.input_names("expression") != tuple(domain.names_.tolist()):
        return float("nan")
    return domain.coverage(np.isfinite(matched["expression"].to_numpy()).any(axis=0))


def support_of(drugs: pd.DataFrame, train: pd.DataFrame) -> pd.Series:
    """Return drug_support of each drug (see `halfmax.features.applicability`); known drugs are looked up, not drawn."""
    new = drugs[~drugs.index.isin(train.index)]
    found = pd.Series("seen", index=drugs.index, dtype=object)
    if len(new):
        found[new.index] = drug_support(new, train)["support"]
    return found


def withhold(table: pd.DataFrame) -> tuple[pd.DataFrame, tuple[Finding, ...]]:
    """Return the table without answers for samples outside the domain, and what was withheld.

    The rows stay, with ``domain`` and ``domain_percentile``; their `ANSWERS` are empty and their rank is 0.
    """
    findings = Findings()
    outside = (table["domain"] == "outside").to_numpy()
    if not outside.any():
        return table, findings.all()
    ids = list(dict.fromkeys(table.loc[outside, "sample_id"]))
    findings.warn(
        "outside-domain",
        f"{len(ids)} of {table['sample_id'].nunique()} samples lie outside the training samples (farther than "
        f"{OUTSIDE:g} % of them): their predictions are withheld. Check the unit and the species, put the "
        "expression on the training scale (harmonise), or allow them (--allow-outside, allow_outside=True).",
        ids,
        len(ids),
    )
    out = table.copy()
    for name in (c for c in out.columns if c in ANSWERS or c.startswith("q0.")):
        out.loc[outside, name] = np.nan
    if "rank" in out:
        out.loc[outside, "rank"] = 0
    return out, findings.all()


def interval_findings(intervals: Mapping[New, Intervals], label: str, level: float) -> tuple[Finding, ...]:
    """Return what low and high are, or why they are empty.

    Parameters
    ----------
    label
        Name and unit of the predicted measure.
    """
    findings = Findings()
    if found := intervals.get("sample"):
        findings.info(
            "intervals",
            f"low to high, {label}, are to hold {level:.0%} of the values of samples like those of training, by the "
            f"errors on {found.n_groups} samples that a cross-validation left out.",
            count=found.n_groups,
        )
    else:
        findings.warn(
            "no-intervals",
            "this predictor has no intervals for new samples, so low and high are empty: no cross-validation that "
            "leaves samples out told its errors. Predictor.calibrate adds them; halfmax run --protocol LCO saves them.",
        )
    return findings.all()
