"""Domain: how far a new sample lies from the training samples in the genes that matter, and what tissue it is like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.errors import DataError, ModelFileError
from halfmax.features.blocks import FloatArray, rows_of
from halfmax.models.ridge import feature_gains, solve_jointly
from halfmax.state import Stateful

Array = npt.NDArray[np.float64]
#: Percentiles of the training samples' own distances from which a sample lies at the edge, and outside.
EDGE, OUTSIDE = 95.0, 99.0
#: What a sample can be; ``unknown`` where the predictor has no domain, or the sample no profile.
PLACES = ("inside", "edge", "outside", "unknown")
_TEXT = ("names_", "sample_ids_", "tissues_")
_LEAST_TISSUE = 5
_REACH = 20
_TEMPERATURES = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0)
_FIRST_RIDGE = 0.3
_TINY = 1e-12


class Domain(Stateful):
    """The training samples in principal components of genes weighted by their role, and their own distances there.

    A sample is compared by three distances: what its profile holds beside the components, its Mahalanobis distance
    within them, and its mean distance to the nearest training samples. Each is put in units of what training samples
    have when they are left out of the components in turn; the largest counts, as a percentile of the same for the
    training samples. Genes are weighted by the coefficients of a ridge regression of the responses (`feature_gains`).

    Parameters
    ----------
    n_components
        Principal components.
    neighbours
        Nearest training samples that are averaged.
    focus
        How much the genes that responses lean on count for more; 0 = all alike.
    folds
        Parts of the training samples that are left out in turn.
    seed
        Of the dealing into parts.

    Attributes
    ----------
    ``names_``: shape ``(d,)``, columns of the block after the pipeline's steps.
    ``centre_``, ``gain_``, ``role_``: shape ``(d,)``: mean, weight, and share of all coefficients (sums to 1).
    ``components_``: shape ``(k, d)``; ``spread_``: shape ``(k,)``, sd of the training scores.
    ``scores_``: shape ``(n, k)``; ``sample_ids_``: shape ``(n,)``.
    ``middle_``, ``unit_``: shape ``(3,)``, median and scale of the logarithms of left-out distances.
    ``left_out_``: shape ``(n,)``, sorted: the training samples' own largest distances.
    ``tissues_``: shape ``(t,)``; ``tissue_weight_``: shape ``(k, t)``; ``tissue_bias_``: shape ``(t,)``, of the
    discriminant.

    References
    ----------
    Jaworska, Nikolova-Jeliazkova and Aldenberg 2005, ATLA 33:445 (leverage and neighbours as a model's domain);
    Eriksson et al. 2013, Multi- and Megavariate Data Analysis (distance to the model in X).
    """

    def __init__(
        self, n_components: int = 50, neighbours: int = 5, focus: float = 1.0, folds: int = 10, seed: int = 0
    ) -> None:
        self.n_components = n_components
        self.neighbours = neighbours
        self.focus = focus
        self.folds = folds
        self.seed = seed

    def fit(
        self,
        values: FloatArray,
        names: Sequence[str],
        responses: Array,
        *,
        sample_ids: Sequence[str],
        tissues: Sequence[str] | None = None,
    ) -> Self:
        """Learn from training samples, each once.

        Parameters
        ----------
        values
            The profiles that a model is given, shape ``(n, d)``, without missing values.
        responses
            Responses less each drug's mean, shape ``(n, n_drugs)``, NaN where not measured; they weight the genes.
        tissues
            Of each sample; empty or ``unknown`` where it is not known.

        Raises
        ------
        DataError
            If there are fewer than four samples.
        """
        n = len(values)
        if n < 4:
            raise DataError(f"{n} training samples have a profile; a domain needs at least four.")
        self.names_ = np.array(names, dtype=str)
        self.sample_ids_ = np.array(sample_ids, dtype=str)
        self.centre_ = values.mean(axis=0)
        features = values - self.centre_
        self._weigh(features, responses)
        features *= self.gain_
        gram = (features @ features.T).astype(np.float64)
        k = max(1, min(self.n_components, n // 4))
        axes, size = _leading(gram, k)
        self.components_ = np.ascontiguousarray((axes / np.sqrt(size)).T.astype(np.float32) @ features)
        scores = axes * np.sqrt(size)
        self.scores_ = np.ascontiguousarray(scores, dtype=np.float32)
        self.spread_ = np.sqrt(size / n).astype(np.float32)
        left_out = np.log(self._left_out(gram, k) + _TINY)
        self.middle_ = np.median(left_out, axis=0)
        self.unit_ = np.maximum(np.quantile(left_out, 0.95, axis=0) - self.middle_, 1e-3) / 1.645
        self.left_out_ = np.sort(((left_out - self.middle_) / self.unit_).max(axis=1))
        self._learn_tissues(scores, list(tissues) if tissues is not None else [""] * n)
        return self

    def judge(self, values: FloatArray, absent: npt.NDArray[np.bool_] | None = None) -> pd.DataFrame:
        """Return what is known of new samples.

        Parameters
        ----------
        values
            Profiles as the model is given them, shape ``(n, d)``.
        absent
            Samples without a profile, shape ``(n,)``.

        Returns
        -------
        One row a sample: domain_percentile (share of the training samples, in per cent, that lie less far when left
        out), domain (one of `PLACES`), domain_distance (in training sd above the median, on the scale of logarithms),
        tissue_guess and tissue_probability (empty and NaN where training knew fewer than two tissues).
        """
        self._check_fitted()
        features = (values - self.centre_) * self.gain_
        scores = features @ self.components_.T
        distance = self._distance(features, scores)
        percentile = 100 * np.searchsorted(self.left_out_, distance, side="left") / len(self.left_out_)
        place = np.select([percentile > OUTSIDE, percentile > EDGE], ["outside", "edge"], "inside").astype(object)
        guess, probability = self._guess(scores)
        if absent is not None and absent.any():
            percentile, distance = (np.where(absent, np.nan, a) for a in (percentile, distance))
            probability = np.where(absent, np.nan, probability)
            place[absent], guess[absent] = "unknown", ""
        return pd.DataFrame(
            {
                "domain_percentile": percentile,
                "domain": place,
                "domain_distance": distance,
                "tissue_guess": guess,
                "tissue_probability": probability,
            }
        )

    def nearest(self, values: FloatArray, n: int = 5) -> tuple[npt.NDArray[np.str_], FloatArray]:
        """Return ids and distances of the nearest training samples, each of shape ``(n_samples, n)``, nearest first."""
        self._check_fitted()
        scores = ((values - self.centre_) * self.gain_) @ self.components_.T
        far = _squared(scores, self.scores_)
        n = min(n, far.shape[1])
        order = np.argsort(far, axis=1, kind="stable")[:, :n]
        return self.sample_ids_[order], np.sqrt(np.take_along_axis(far, order, axis=1)).astype(np.float32)

    def weights(self, values: FloatArray, sample_ids: npt.NDArray[np.str_]) -> Array:
        """Return how alike each sample is to each of these training samples, from 0 to 1, shape ``(n, n_ids)``.

        The 20th nearest training sample has exp(−2); training samples that are not known have 0.
        """
        self._check_fitted()
        return self._alike(((values - self.centre_) * self.gain_) @ self.components_.T, sample_ids)

    def weights_within(self, sample_ids: npt.NDArray[np.str_]) -> pd.DataFrame:
        """Return how alike these training samples are to each other, as `weights` does."""
        self._check_fitted()
        known = sample_ids[rows_of(sample_ids, self.sample_ids_) >= 0]
        alike = self._alike(self.scores_[rows_of(known, self.sample_ids_)], known)
        return pd.DataFrame(alike, index=known, columns=known)

    def coverage(self, present: npt.NDArray[np.bool_]) -> float:
        """Return the share of the coefficients (0 to 1) that genes which are there carry; `present` of shape (d,)."""
        self._check_fitted()
        return float(self.role_[present].sum())

    def get_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return what was learned, without texts."""
        self._check_fitted()
        return {k: v for k, v in self._learned().items() if k not in _TEXT}

    def texts(self) -> dict[str, list[str]]:
        """Return what was learned and is text."""
        self._check_fitted()
        return {name: getattr(self, name).tolist() for name in _TEXT}

    @classmethod
    def of(cls, arrays: Mapping[str, npt.NDArray[Any]], texts: Mapping[str, Sequence[str]]) -> Self:
        """Return the domain of these parts; raise ModelFileError where they do not fit together."""
        known = {"centre_", "gain_", "role_", "components_", "spread_", "scores_", "middle_", "unit_", "left_out_"}
        known |= {"tissue_weight_", "tissue_bias_"}
        if set(arrays) != known or set(texts) != set(_TEXT):
            raise ModelFileError(f"the domain holds {sorted(arrays)}, not {sorted(known)}.")
        d, n, t = (len(texts[name]) for name in _TEXT)
        k = len(arrays["spread_"])
        shapes = {"centre_": (d,), "gain_": (d,), "role_": (d,), "components_": (k, d), "scores_": (n, k)}
        shapes |= {"left_out_": (n,), "middle_": (3,), "unit_": (3,), "tissue_weight_": (k, t), "tissue_bias_": (t,)}
        if wrong := [name for name, shape in shapes.items() if arrays[name].shape != shape]:
            raise ModelFileError(f"the domain is not that of {d} columns and {n} samples: {wrong}.")
        found = cls(n_components=k)
        for name, array in arrays.items():
            setattr(found, name, array)
        for name in _TEXT:
            setattr(found, name, np.array(texts[name], dtype=str))
        return found

    def _alike(self, scores: FloatArray, sample_ids: npt.NDArray[np.str_]) -> Array:
        far = _squared(scores, self.scores_)
        reach = np.partition(far, min(_REACH, far.shape[1] - 1), axis=1)[:, min(_REACH, far.shape[1] - 1)]
        rows = rows_of(sample_ids, self.sample_ids_)
        alike = np.exp(-2 * far[:, rows] / np.maximum(reach[:, None], _TINY))
        return np.asarray(np.where(rows >= 0, alike, 0.0))

    def _weigh(self, features: FloatArray, responses: Array) -> None:
        known = np.isfinite(responses).any(axis=0)
        plain = features @ features.T
        scale = float(np.trace(plain)) / len(plain) or 1.0
        dual = solve_jointly(plain / scale, responses[:, known], _FIRST_RIDGE)
        coefficients = features.T @ dual
        self.gain_ = feature_gains(coefficients, self.focus)
        role = np.linalg.norm(coefficients, axis=1) * features.std(axis=0)
        self.role_ = (role / max(float(role.sum()), _TINY)).astype(np.float32)

    def _left_out(self, gram: Array, k: int) -> Array:
        """Return the three distances of each training sample when its part is left out, shape (n, 3)."""
        n = len(gram)
        part = np.random.default_rng(self.seed).permutation(n) % min(self.folds, n)
        found = np.empty((n, 3))
        for p in range(part.max() + 1):
            held, rest = np.flatnonzero(part == p), np.flatnonzero(part != p)
            own = gram[np.ix_(rest, rest)]
            mean, total = own.mean(axis=0), own.mean()
            cross = gram[np.ix_(held, rest)]
            across = cross.mean(axis=1, keepdims=True)
            axes, size = _leading(own - mean - mean[:, None] + total, min(k, len(rest) - 1))
            scores = (cross - across - mean + total) @ (axes / np.sqrt(size))
            squares = np.diag(gram)[held] - 2 * across[:, 0] + total
            found[held] = self._three(squares, scores, axes * np.sqrt(size), np.sqrt(size / len(rest)))
        return found

    def _three(self, squares: Array, scores: Array, train: Array, spread: Array) -> Array:
        beside = np.maximum(squares - (scores**2).sum(axis=1), 0)
        within = ((scores / np.maximum(spread, _TINY)) ** 2).sum(axis=1)
        far = np.sort(_squared(scores, train), axis=1)[:, : self.neighbours]
        return np.stack([beside, within, far.mean(axis=1)], axis=1)

    def _distance(self, features: FloatArray, scores: FloatArray) -> Array:
        squares = (features.astype(np.float64) ** 2).sum(axis=1)
        wide, train = scores.astype(np.float64), self.scores_.astype(np.float64)
        three = np.log(self._three(squares, wide, train, self.spread_.astype(np.float64)) + _TINY)
        return np.asarray(((three - self.middle_) / self.unit_).max(axis=1))

    def _learn_tissues(self, scores: Array, tissues: Sequence[str]) -> None:
        """Learn a linear discriminant (Fisher 1936) of the tissues that enough samples are of."""
        label = pd.Series(list(map(str, tissues)))
        count = label[~label.isin(["", "unknown", "nan", "None"])].value_counts()
        self.tissues_ = np.array(sorted(count.index[count >= _LEAST_TISSUE]), dtype=str)
        k = scores.shape[1]
        if len(self.tissues_) < 2:
            self.tissues_ = np.array([], dtype=str)
            self.tissue_weight_, self.tissue_bias_ = np.zeros((k, 0)), np.zeros(0)
            return
        code = pd.Index(self.tissues_).get_indexer(pd.Index(label))
        rows = np.flatnonzero(code >= 0)
        x, code = scores[rows], code[rows]
        left_out = np.empty((len(rows), len(self.tissues_)))
        part = np.random.default_rng(self.seed).permutation(len(rows)) % min(self.folds, len(rows))
        for p in range(part.max() + 1):
            weight, bias = _discriminant(x[part != p], code[part != p], len(self.tissues_))
            left_out[part == p] = x[part == p] @ weight + bias
        # probabilities are those that left-out samples bear out: the temperature with the least log loss
        loss = [-np.log(_softmax(left_out * t)[np.arange(len(rows)), code] + _TINY).mean() for t in _TEMPERATURES]
        best = _TEMPERATURES[int(np.argmin(loss))]
        weight, bias = _discriminant(x, code, len(self.tissues_))
        self.tissue_weight_, self.tissue_bias_ = best * weight, best * bias

    def _guess(self, scores: FloatArray) -> tuple[npt.NDArray[np.object_], Array]:
        if not len(self.tissues_):
            return np.full(len(scores), "", dtype=object), np.full(len(scores), np.nan)
        probability = _softmax(scores.astype(np.float64) @ self.tissue_weight_ + self.tissue_bias_)
        best = probability.argmax(axis=1)
        return self.tissues_[best].astype(object), probability[np.arange(len(best)), best]


def _discriminant(scores: Array, code: npt.NDArray[np.int64], n_classes: int) -> tuple[Array, Array]:
    """Return weights and biases of a linear discriminant whose covariance is shrunk towards its diagonal."""
    k = scores.shape[1]
    hot = np.eye(n_classes)[code]
    count = hot.sum(axis=0)
    means = (hot.T @ scores) / np.maximum(count, 1)[:, None]
    inner = scores - means[code]
    within = inner.T @ inner / max(len(inner) - n_classes, 1)
    within = 0.9 * within + 0.1 * np.diag(np.diag(within)) + (1e-6 * np.trace(within) / k + _TINY) * np.eye(k)
    weight = np.linalg.solve(within, means.T)
    return weight, np.log(np.maximum(count, 0.5) / len(code)) - 0.5 * (means.T * weight).sum(axis=0)


def _softmax(value: Array) -> Array:
    value = np.exp(value - value.max(axis=1, keepdims=True))
    return np.asarray(value / value.sum(axis=1, keepdims=True))


def _leading(gram: Array, k: int) -> tuple[Array, Array]:
    """Return up to `k` leading eigenvectors and eigenvalues, largest first; signs are fixed by the largest entry."""
    from scipy.linalg import eigh

    n = len(gram)
    size, axes = eigh(gram, subset_by_index=[n - k, n - 1])
    size, axes = size[::-1], axes[:, ::-1]
    k = max(1, int((size > 1e-9 * size[0]).sum()))
    size, axes = np.maximum(size[:k], _TINY), axes[:, :k]
    sign = np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(k)])
    return axes * sign, size


def _squared(a: npt.NDArray[np.floating[Any]], b: npt.NDArray[np.floating[Any]]) -> Array:
    """Return squared distances between rows."""
    left, right = (a.astype(np.float64) ** 2).sum(axis=1), (b.astype(np.float64) ** 2).sum(axis=1)
    return np.asarray(np.maximum(left[:, None] + right - 2 * a.astype(np.float64) @ b.astype(np.float64).T, 0))
