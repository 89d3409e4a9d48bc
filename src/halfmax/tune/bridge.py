"""PairRegressor: any model as a scikit-learn regressor over a frame of ids, and folds that keep groups together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import BaseEstimator, RegressorMixin

from halfmax.data.dataset import ResponseDataset
from halfmax.errors import DataError, NotFittedError, UnknownNameError, did_you_mean, examples
from halfmax.features.pipeline import FeaturePipeline
from halfmax.models.base import MODELS
from halfmax.predictor import Predictor
from halfmax.split import make_splits
from halfmax.state import parameters_of

_IDS = ["sample_id", "drug_id"]
_OWN = ("data", "model", "features", "protocol", "valid_fraction")


def pairs_of(dataset: ResponseDataset) -> tuple[pd.DataFrame, npt.NDArray[np.float64]]:
    """Return the ids of a dataset's pairs and their values: the X and y of scikit-learn."""
    response = dataset.response
    return response[_IDS].reset_index(drop=True), response["value"].to_numpy(dtype=np.float64)


class PairRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """A model and its features as a scikit-learn regressor.

    X is a frame with the columns sample_id and drug_id; what is known of them stands in `data`, which is held by
    reference: a clone shares it. Features are fitted anew by every `fit`, on the pairs that it is given. The model's
    hyper-parameters are parameters of the regressor, under their own names, so that ``GridSearchCV`` can set them.

    Parameters
    ----------
    data
        Samples, drugs and profiles; its responses are not looked at.
    model
        A registered name.
    features
        Makes an unfitted pipeline; the default one otherwise.
    protocol, valid_fraction
        For models that validate: the share of the groups of `protocol` that `fit` holds out for early stopping.
    params
        Hyper-parameters of the model.

    Raises
    ------
    DataError
        If a hyper-parameter is not the model's, or X lacks an id's column or names what `data` does not hold.
    """

    def __init__(
        self,
        data: ResponseDataset,
        model: str = "kernel_ridge",
        *,
        features: Callable[[], FeaturePipeline] = FeaturePipeline,
        protocol: str = "LCO",
        valid_fraction: float = 0.1,
        **params: Any,
    ) -> None:
        self.data = data
        self.model = model
        self.features = features
        self.protocol = protocol
        self.valid_fraction = valid_fraction
        self.params = params

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return its own parameters and the model's, the latter with their defaults where they were not given."""
        known = {name: p.default for name, p in parameters_of(MODELS.get(self.model)).items()}
        return {name: getattr(self, name) for name in _OWN} | known | self.params

    def set_params(self, **params: Any) -> Self:
        """Set its own parameters and the model's."""
        for name in [name for name in _OWN if name in params]:
            setattr(self, name, params.pop(name))
        self.params = self.params | params
        self._check()
        return self

    def __sklearn_clone__(self) -> PairRegressor:
        """Return an unfitted copy that shares the data."""
        return type(self)(**{name: getattr(self, name) for name in _OWN}, **self.params)

    def fit(self, X: pd.DataFrame, y: npt.ArrayLike) -> Self:
        """Learn features and model from pairs and their values, shape ``(n_pairs,)`` [the measure's unit]."""
        self._check()
        values = np.asarray(y, dtype=np.float64)
        if values.shape != (len(X),):
            raise DataError(f"y has shape {values.shape} but there are {len(X)} pairs.")
        part, valid = _part(self.data, X, values), None
        if getattr(MODELS.get(self.model), "uses_valid", False) and self.valid_fraction > 0:
            n_folds = max(2, round(1 / self.valid_fraction))
            split = make_splits(part, self.protocol, n_folds=n_folds, valid_fraction=0)[0]
            part, valid = part.take(split.train), part.take(split.test)
        self.predictor_ = Predictor.of(self.model, self.params).fit(part, valid, features=self.features())
        self.n_features_in_ = len(_IDS)
        self.feature_names_in_ = np.array(_IDS, dtype=object)
        return self

    def predict(self, X: pd.DataFrame) -> npt.NDArray[np.float64]:
        """Return the prediction of every pair, shape ``(n_pairs,)`` [the measure's unit]."""
        if not hasattr(self, "predictor_"):
            raise NotFittedError("PairRegressor has not been fitted; call fit first.")
        part = _part(self.data, X, np.zeros(len(X)))
        encoded = self.predictor_.features_.transform(part)
        return self.predictor_.predict_pairs(encoded).mean.astype(np.float64)

    def _check(self) -> None:
        known = parameters_of(MODELS.get(self.model))
        if unknown := [name for name in self.params if name not in known]:
            raise DataError(
                f"model {self.model} has no hyper-parameter {unknown[0]!r}.{did_you_mean(unknown[0], known)} It has: "
                f"{', '.join(known) or 'none'}."
            )


class PairFolds:
    """Folds for scikit-learn's ``cv=``: the groups of a protocol stay together, as in `halfmax.split.make_splits`.

    Parameters
    ----------
    data
        Samples, drugs and profiles, which decide what is one group.
    protocol, n_folds, seed
        See `make_splits`.
    """

    def __init__(self, data: ResponseDataset, protocol: str = "LCO", n_folds: int = 5, seed: int = 0) -> None:
        self.data = data
        self.protocol = protocol
        self.n_folds = n_folds
        self.seed = seed

    def get_n_splits(self, X: object = None, y: object = None, groups: object = None) -> int:
        """Return the number of folds."""
        return self.n_folds

    def split(
        self,
        X: pd.DataFrame,
        y: object = None,
        groups: object = None,
    ) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
        """Yield row numbers of training and test pairs of `X`."""
        part = _part(self.data, X, np.zeros(len(X)))
        for split in make_splits(part, self.protocol, n_folds=self.n_folds, seed=self.seed, valid_fraction=0):
            yield split.train, split.test


def _part(data: ResponseDataset, X: pd.DataFrame, values: npt.NDArray[np.float64]) -> ResponseDataset:
    """Return the pairs of X with `values`, in their order, and only the samples and drugs that they name."""
    if not set(_IDS) <= set(getattr(X, "columns", ())):
        found = list(X.columns) if hasattr(X, "columns") else type(X).__name__
        raise DataError(f"X is a frame with the columns sample_id and drug_id; found {found!r:.80}.")
    for column, table in (("sample_id", data.samples), ("drug_id", data.drugs)):
        strange = X.loc[~X[column].isin(table.index), column].unique()
        if len(strange):
            raise UnknownNameError(
                f"{len(strange)} values of {column} are not in {data.name}, e.g. {examples(strange)}."
            )
    response = X[_IDS].reset_index(drop=True).assign(value=values)
    return replace(data, response=response).take(np.arange(len(response)))
