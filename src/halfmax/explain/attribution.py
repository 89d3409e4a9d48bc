"""Attribution: what each input feature of a model adds to each pair, and the path through a model that gives it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from halfmax.errors import DataError
from halfmax.features.blocks import PairFeatures, rows_of

Array = npt.NDArray[np.float64]
#: Block and name of an input feature.
Feature = tuple[str, str]


@dataclass(frozen=True)
class Attribution:
    """What features add, in the unit that the model was trained on.

    Parameters
    ----------
    features
        The d features.
    values
        Shape ``(n_samples, n_drugs, d)``; over the last axis they sum to the score less its mean over the background.
    variance
        Of the values over the members of an ensemble, same shape; None where there is one member.
    parts
        Path through the model to its share of the values, where there are several: their sum is `values`.
    """

    features: tuple[Feature, ...]
    values: Array
    variance: Array | None = None
    parts: Mapping[str, Array] = field(default_factory=dict)


class Path(Protocol):
    """One way from a sample's features to the score of a pair, with the drugs held fixed."""

    #: Short name of the way, and how it is attributed.
    label: str
    method: str

    def attribute(self, x: PairFeatures, background: PairFeatures) -> Attribution:
        """Return what every feature of every sample of `x` adds with every drug, against the background's rows.

        Both hold the same drugs in the same order.
        """
        ...


class Weighted:
    """Paths side by side, whose scores are added with a weight, one for all drugs or one a drug."""

    def __init__(self, parts: Sequence[tuple[float | Mapping[str, float], Path]], *, shown: bool = True) -> None:
        self.parts = list(parts)
        self.shown = shown
        self.label = " + ".join(dict.fromkeys(path.label for _, path in self.parts))
        self.method = "; ".join(dict.fromkeys(path.method for _, path in self.parts))

    def attribute(self, x: PairFeatures, background: PairFeatures) -> Attribution:
        """Return the weighted sum of what the paths say."""
        found = [(self._weight(w, x), path.label, path.attribute(x, background)) for w, path in self.parts]
        features = tuple(dict.fromkeys(f for _, _, part in found for f in part.features))
        place = {feature: i for i, feature in enumerate(features)}
        shape = (*found[0][2].values.shape[:2], len(features))
        values, variance = np.zeros(shape), np.zeros(shape)
        by_label: dict[str, Array] = {}
        for weight, label, part in found:
            at = np.array([place[f] for f in part.features])
            own = np.zeros(shape)
            own[..., at] = weight * part.values
            values += own
            by_label[label] = by_label.get(label, 0) + own
            if part.variance is not None:
                variance[..., at] += weight**2 * part.variance
        varies = any(part.variance is not None for _, _, part in found)
        shown = by_label if self.shown and len(by_label) > 1 else {}
        return Attribution(features, values, variance if varies else None, shown)

    def _weight(self, weight: float | Mapping[str, float], x: PairFeatures) -> Array:
        if not isinstance(weight, Mapping):
            return np.array(weight, dtype=np.float64)
        return np.array([weight[drug] for drug in x.drug_ids.tolist()], dtype=np.float64)[:, None]


class Averaged:
    """Members of an ensemble, each a path: their mean, and how far they differ."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = list(paths)
        self.label, self.method = self.paths[0].label, self.paths[0].method

    def attribute(self, x: PairFeatures, background: PairFeatures) -> Attribution:
        """Return the mean over members; the variance is between members, with each member's own."""
        found = [path.attribute(x, background) for path in self.paths]
        values = np.stack([part.values for part in found])
        own = [part.variance for part in found if part.variance is not None]
        variance = values.var(axis=0) + (np.mean(own, axis=0) if own else 0)
        parts = {name: np.mean([part.parts[name] for part in found], axis=0) for name in found[0].parts}
        return Attribution(found[0].features, values.mean(axis=0), variance, parts)


def features_of(x: PairFeatures, blocks: Sequence[str]) -> tuple[Feature, ...]:
    """Return the columns of these sample blocks, side by side."""
    return tuple((block, name) for block in blocks for name in x.sample_x[block].names)


def drug_rows(x: PairFeatures, known: npt.NDArray[np.str_]) -> npt.NDArray[np.int64]:
    """Return the rows of the drugs of `x` among those that a model was fitted on.

    Raises
    ------
    DataError
        If it was fitted on none of the responses of some.
    """
    rows = rows_of(x.drug_ids, known)
    if (rows < 0).any():
        names = x.drug_ids[rows < 0].tolist()
        raise DataError(f"{len(names)} drugs have no training response and are not explained, e.g. {names[:3]}.")
    return rows
