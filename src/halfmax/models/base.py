"""What a model is: fit on arrays, predict a mean (and what it knows of its error), and turn into a State and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt

from halfmax.errors import DataError, examples
from halfmax.features.blocks import FloatArray, PairFeatures, rows_of
from halfmax.registry import Registry
from halfmax.state import JSON, State, Stateful

__all__ = [
    "JSON",
    "MODELS",
    "BaseModel",
    "Model",
    "OnEpoch",
    "Prediction",
    "State",
    "Valid",
    "check_targets",
    "gather",
    "response_matrix",
    "rows_of",
]

#: Called after every epoch with (epoch, log); returning True stops training.
OnEpoch = Callable[[int, Mapping[str, float]], bool]
Valid = tuple[PairFeatures, npt.NDArray[np.floating]]


@dataclass(frozen=True)
class Prediction:
    """What a model says about each pair.

    Parameters
    ----------
    mean
        Shape ``(n_pairs,)``, float32, in the unit of the targets that the model was fitted on.
    variance
        Predictive variance, same shape, or None.
    quantiles
        Level to values, same shape each, or None.
    probability
        Probability of the positive class for a classifier, or None.
    """

    mean: FloatArray
    variance: FloatArray | None = None
    quantiles: Mapping[float, FloatArray] | None = None
    probability: FloatArray | None = None


@runtime_checkable
class Model(Protocol):
    """The interface of every model. `BaseModel` gives all but `fit`, `predict` and `search_space`."""

    def fit(
        self,
        x: PairFeatures,
        y: npt.NDArray[np.floating],
        *,
        valid: Valid | None = None,
        start: State | None = None,
        on_epoch: OnEpoch | None = None,
    ) -> Self:
        """Learn from the pairs of `x` and their targets `y`, shape ``(n_pairs,)``."""
        ...

    def predict(self, x: PairFeatures) -> Prediction:
        """Predict every pair of `x`."""
        ...

    def get_params(self) -> dict[str, JSON]:
        """Return the hyper-parameters: the arguments of ``__init__``."""
        ...

    def get_state(self) -> State:
        """Return what was learned."""
        ...

    def set_state(self, state: State) -> Self:
        """Take over what another instance learned."""
        ...

    @classmethod
    def search_space(cls) -> dict[str, JSON]:
        """Return what is worth searching, each as ``{"low":, "high":, "log":}`` or ``{"choices": [...]}``."""
        ...


class BaseModel(Stateful):
    """What models share: parameters from the signature of ``__init__``, State from attributes ending in ``_``."""

    #: Whether `fit` makes use of `valid`; where it does not, its rows are training rows.
    uses_valid: ClassVar[bool] = False

    @classmethod
    def search_space(cls) -> dict[str, JSON]:
        """Return nothing to search; models with something to tune override this."""
        return {}


def check_targets(x: PairFeatures, y: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Return `y` as float64 after checking shape and finiteness; every ``fit`` calls this first.

    Raises
    ------
    DataError
        If there are no pairs, the lengths differ, or a target is NaN or infinite.
    """
    targets = np.asarray(y, dtype=np.float64)
    if targets.shape != (x.n_pairs,):
        raise DataError(f"y has shape {targets.shape} but there are {x.n_pairs} pairs.")
    if not len(targets):
        raise DataError("there are no pairs to learn from.")
    bad = ~np.isfinite(targets)
    if bad.any():
        raise DataError(f"{int(bad.sum())} targets are NaN or infinite, e.g. rows {examples(np.flatnonzero(bad))}.")
    return targets


def response_matrix(x: PairFeatures, y: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Return the targets as a samples × drugs matrix, NaN where there is no pair; repeated pairs are averaged."""
    shape = (len(x.sample_ids), len(x.drug_ids))
    cell = x.sample_index * shape[1] + x.drug_index
    n = np.bincount(cell, minlength=shape[0] * shape[1])
    total = np.bincount(cell, weights=np.asarray(y, dtype=np.float64), minlength=shape[0] * shape[1])
    with np.errstate(invalid="ignore"):
        return np.where(n > 0, total / np.maximum(n, 1), np.nan).reshape(shape)


def gather(grid: npt.NDArray[np.floating], x: PairFeatures) -> FloatArray:
    """Return the entries of a samples × drugs matrix for the pairs of `x`, as float32."""
    return grid.astype(np.float32, copy=False)[x.sample_index, x.drug_index]


MODELS: Registry[type[Model]] = Registry(
    "model",
    {
        "mean": "halfmax.models.baselines:OverallMean",
        "drug_mean": "halfmax.models.baselines:DrugMean",
        "sample_mean": "halfmax.models.baselines:SampleMean",
        "tissue_mean": "halfmax.models.baselines:TissueMean",
        "tissue_drug_mean": "halfmax.models.baselines:TissueDrugMean",
        "mean_effects": "halfmax.models.baselines:MeanEffects",
        "factorisation": "halfmax.models.baselines:IdentityFactorisation",
        "kernel_ridge": "halfmax.models.kernel:KernelRidge",
        "response_gp": "halfmax.models.kernel:ResponseGP",
        "elastic_net": "halfmax.models.classical:ElasticNet",
        "random_forest": "halfmax.models.classical:RandomForest",
        "xgboost": "halfmax.models.boosting:XGBoost",
        "lightgbm": "halfmax.models.boosting:LightGBM",
        "mlp": "halfmax.models.networks.mlp:TwoTowerMLP",
        "wide_deep": "halfmax.models.networks.wide_deep:WideDeep",
        "single_tower": "halfmax.models.networks.single:SingleTower",
        "multitask": "halfmax.models.networks.multitask:MultiTask",
        "fusion": "halfmax.models.networks.fusion:Fusion",
        "seeds": "halfmax.models.ensemble:Seeds",
        "stack": "halfmax.models.stack:Stack",
        "distilled": "halfmax.models.networks.distilled:Distilled",
        "cnn1d": "halfmax.models.networks.cnn:ChromosomeCNN",
        "cnn1d_shuffled": "halfmax.models.networks.cnn:ShuffledChromosomeCNN",
        "cnn2d": "halfmax.models.networks.cnn:PlaneCNN",
        "cnn2d_shuffled": "halfmax.models.networks.cnn:ShuffledPlaneCNN",
        "transformer": "halfmax.models.networks.transformer:ModuleTransformer",
        "fine_tuned": "halfmax.models.pretrained:FineTuned",
        "gin": "halfmax.models.networks.molecules:GIN",
        "gin_shuffled": "halfmax.models.networks.molecules:RewiredGIN",
        "gat": "halfmax.models.networks.molecules:GAT",
        "hetero_graph": "halfmax.models.networks.hetero:HeteroGraph",
        "hetero_graph_shuffled": "halfmax.models.networks.hetero:ShuffledHeteroGraph",
    },
)
