"""From a fitted model to the path through it that can be attributed."""

from __future__ import annotations

from halfmax.errors import DataError
from halfmax.explain.attribution import Averaged, Path, Weighted
from halfmax.models.base import Model


def path_of(model: Model) -> Path:
    """Return the path from a new sample's features to its scores with the drugs of training.

    Raises
    ------
    DataError
        If there is none for this kind of model.
    """
    if getattr(model, "task", "regression") != "regression":
        raise DataError("explanations are of regressions; this model gives probabilities of a class.")
    found = _linear(model) or _nested(model) or _network(model) or _trees(model)
    if found is None:
        raise DataError(
            f"{type(model).__name__} cannot be explained: explained are kernel ridge, the response Gaussian process, "
            "elastic net, tree models, networks with two towers, and what is made of them."
        )
    return found


def _linear(model: Model) -> Path | None:
    from halfmax.explain.linear import GaussianKernelPath, LinearPath
    from halfmax.models.classical import ElasticNet
    from halfmax.models.kernel import KernelRidge, ResponseGP

    if isinstance(model, KernelRidge) and model.kernel == "rbf":
        return GaussianKernelPath(model)
    return LinearPath(model) if isinstance(model, KernelRidge | ResponseGP | ElasticNet) else None


def _nested(model: Model) -> Path | None:
    from halfmax.models.ensemble import Seeds
    from halfmax.models.networks.distilled import Distilled
    from halfmax.models.networks.wide_deep import WideDeep
    from halfmax.models.stack import Stack

    if isinstance(model, WideDeep):
        wide, profile, _ = model._parts()
        return Weighted([(1 - model.share, path_of(wide)), (model.share, path_of(profile))])
    if isinstance(model, Seeds):
        return Averaged([path_of(member) for member in model.models_])
    if isinstance(model, Distilled):
        return path_of(model.models_[0])
    if isinstance(model, Stack):
        weights = [dict(zip(model.drug_ids_.tolist(), column.tolist(), strict=True)) for column in model.weight_.T]
        members = model.models_[1:]  # the first is the drug's mean, the same for every sample
        return Weighted([(w, path_of(m)) for w, m in zip(weights, members, strict=True)])
    return None


def _network(model: Model) -> Path | None:
    from halfmax.models.networks.towers import TwoTower

    if not isinstance(model, TwoTower):
        return None
    from halfmax.explain.towers import GradientPath, OneLayerPath

    return OneLayerPath(model) if OneLayerPath.fits(model) else GradientPath(model)


def _trees(model: Model) -> Path | None:
    from halfmax.models.boosting import PairTrees

    if not isinstance(model, PairTrees):
        return None
    from halfmax.explain.trees import TreePath

    return TreePath(model)
