"""What the model says of a changed profile, and whether two genes matter together: model behaviour, no prognosis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.data.findings import Finding, Findings
from halfmax.errors import DataError, UnknownNameError, did_you_mean
from halfmax.explain.explainer import Explainer
from halfmax.features.blocks import PairFeatures
from halfmax.new_samples import match_samples

#: Stands with every answer.
LABEL = "model behaviour: what the model says of a profile changed by hand, not what a change would do to the cells"


@dataclass(frozen=True)
class WhatIf:
    """A curve of predictions over one feature's values.

    Parameters
    ----------
    table
        Columns value (in the unit of the profile), prediction, difference (to the profile as it is) [measure.unit].
    low, high
        The training range, within which values are kept.
    label
        What this is and is not.
    """

    sample_id: str
    drug_id: str
    feature: str
    table: pd.DataFrame
    low: float
    high: float
    findings: tuple[Finding, ...]
    label: str = LABEL


def what_if(
    explainer: Explainer,
    omics: Mapping[str, pd.DataFrame] | pd.DataFrame,
    sample: str,
    drug: str,
    feature: str,
    values: Sequence[float] | None = None,
    *,
    modality: str = "expression",
    samples: pd.DataFrame | None = None,
    points: int = 11,
) -> WhatIf:
    """Ask for the prediction as one feature of a raw profile is changed; everything else stays, scaling is inside.

    Parameters
    ----------
    values
        Values in the profile's unit; evenly over the training range by default. Those outside are moved to its edge,
        which is counted.

    Raises
    ------
    UnknownNameError
        If the sample or feature is not there.
    """
    tables = {"expression": omics} if isinstance(omics, pd.DataFrame) else omics
    matched, _ = match_samples(explainer.predictor.features_, tables, None)
    frame = matched.get(modality)
    for kind, name, known in (
        ("modality", modality, list(matched)),
        ("sample", sample, [] if frame is None else list(map(str, frame.index))),
        ("feature", feature, [] if frame is None else list(map(str, frame.columns))),
    ):
        if name not in known:
            raise UnknownNameError(f"there is no {kind} {name!r} in the profiles.{did_you_mean(name, known)}")
    low, high = training_range(explainer, modality, feature)
    asked = np.linspace(low, high, points) if values is None else np.asarray(values, dtype=np.float64)
    findings = Findings()
    outside = (asked < low) | (asked > high)
    if outside.any():
        findings.warn(
            "outside-training-range",
            f"{int(outside.sum())} values lie outside the training range {low:.3g} to {high:.3g}; moved to its edge.",
            [f"{v:.3g}" for v in asked[outside]],
        )
    kept = np.clip(asked, low, high)
    ids = ["as it is", *(f"changed {i}" for i in range(len(kept)))]
    rows = {}
    for name, table in matched.items():
        own = table.loc[[sample]] if sample in table.index else table.iloc[:0]
        rows[name] = own.loc[[sample] * len(ids)].set_axis(ids) if len(own) else own
    changed = rows[modality].copy()
    changed[feature] = np.concatenate([changed[feature].to_numpy()[:1], kept.astype(np.float32)])
    rows[modality] = changed
    about = None
    if samples is not None and sample in samples.index:
        about = samples.loc[[sample] * len(ids)].set_axis(ids)
    drugs = explainer.predictor.find_drugs([drug])
    x = explainer.predictor.features_.transform(explainer.predictor.pairs_of(rows, drugs, about))
    prediction = explainer.predict(x)[:, 0]
    table = pd.DataFrame({"value": kept, "prediction": prediction[1:], "difference": prediction[1:] - prediction[0]})
    return WhatIf(sample, str(drugs.index[0]), feature, table, low, high, findings.all())


def training_range(explainer: Explainer, modality: str, feature: str) -> tuple[float, float]:
    """Return the least and the largest value of a feature in training, as far as the predictor knows it."""
    predictor = explainer.predictor
    place = predictor.features_.input_names(modality).index(feature)
    own = explainer.background.omics[modality][:, place]
    known = own[np.isfinite(own)]
    if modality == "expression" and predictor.expression_scale_ is not None:
        known = np.concatenate([known, predictor.expression_scale_.quantiles_[:, place]])
    if not known.size:
        raise DataError(f"no training sample has a value of {feature!r} ({modality}).")
    return float(known.min()), float(known.max())


def interaction(
    explainer: Explainer, x: PairFeatures, drug: str, first: str, second: str, *, modality: str = "expression"
) -> npt.NDArray[np.float64]:
    """Return how much two features do together beyond the sum of what each does, shape ``(n_samples,)``.

    f(x) − f(x, first from b) − f(x, second from b) + f(x, both from b), the mean over background samples b
    [measure.unit]: 0 in every model that adds features up.

    References
    ----------
    Fujimoto, Kojadinovic and Marichal 2006, Axiomatic characterizations of probabilistic and cardinal-probabilistic
    interaction indices (the difference of which this is the interventional form at the full set).
    """
    names = x.sample_x[modality].names
    for name in (first, second):
        if name not in names:
            raise UnknownNameError(f"there is no feature {name!r} in {modality}.{did_you_mean(name, names)}")
    chosen = explainer.predictor.find_drugs([drug]).index.to_numpy(dtype=str)
    one = explainer.with_drugs(x, chosen)
    places = [names.index(first), names.index(second)]
    whole = explainer.predict(as_rows(one, np.arange(len(x.sample_ids)), {}))[:, 0]
    lines, n = explainer.lines, len(x.sample_ids)
    from_line = lines.sample_x[modality].values
    total = whole.copy()
    rows = np.repeat(np.arange(n), len(lines.sample_ids))
    for sign, changed in ((-1, places[:1]), (-1, places[1:]), (1, places)):
        values = x.sample_x[modality].values[rows].copy()
        values[:, changed] = np.tile(from_line, (n, 1))[:, changed]
        found = explainer.predict(as_rows(one, rows, {modality: values}))[:, 0]
        total += sign * found.reshape(n, -1).mean(axis=1)
    return total


def as_rows(
    x: PairFeatures, rows: npt.NDArray[np.int64], values: Mapping[str, npt.NDArray[np.float32]]
) -> PairFeatures:
    """Return these samples of `x`, as often as they are named, under new ids, with other values of some blocks."""
    blocks = {name: block.take(rows) for name, block in x.sample_x.items()}
    blocks |= {name: replace(blocks[name], values=changed) for name, changed in values.items()}
    ids = np.array([f"\x1fchanged {i}" for i in range(len(rows))])
    return replace(x, sample_ids=ids, sample_x=blocks).grid()
