"""Whether explanations are worth belief: deletion and insertion, randomised weights, shuffled labels, agreement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.data.dataset import ResponseDataset
from halfmax.errors import DataError
from halfmax.explain.explainer import Explainer
from halfmax.explain.explanation import Explanation
from halfmax.explain.what_if import as_rows
from halfmax.features.blocks import PairFeatures
from halfmax.models.base import Model, State
from halfmax.predictor import Predictor

Array = npt.NDArray[np.float64]
#: Numbers of features taken away or put in.
STEPS = (5, 20, 50)


def curves(
    explainer: Explainer,
    x: PairFeatures,
    found: Explanation,
    *,
    steps: Sequence[int] = STEPS,
    lines: int = 16,
    seed: int = 0,
) -> pd.DataFrame:
    """Return how much of a predicted difference goes as features are deleted, and comes as they are inserted.

    Features are taken in the order of the attribution (those that push the way of the difference first), at random, or
    by ``|x − x̄|`` (the most unusual first, whichever way it pushes). Deleting puts a background sample's values in
    their place, inserting puts them into one; the mean over `lines` background samples is compared.

    Returns
    -------
    Columns order, kind (``deletion`` or ``insertion``), k and moved [measure.unit]: the mean over pairs of the change
    of the prediction in the direction of the difference. Larger is better.
    """
    if tuple(found.sample_ids) != tuple(x.sample_ids):
        raise DataError("the explanation is of other samples than the features.")
    blocks = tuple(dict.fromkeys(found.modality.tolist()))
    if set(found.feature.tolist()) != {name for b in blocks for name in x.sample_x[b].names}:
        raise DataError("features of this model are made inside it; they cannot be deleted one by one.")
    values = np.hstack([x.sample_x[name].values for name in blocks])
    every = np.hstack([explainer.lines.sample_x[name].values for name in blocks])
    held = every[: min(lines, len(every))]
    rng = np.random.default_rng(seed)
    unusual = np.abs(values - every.mean(axis=0))
    moved: dict[tuple[str, str, int], list[float]] = {}
    for j, drug in enumerate(found.drug_ids):
        one = explainer.with_drugs(x, np.array([drug]))
        for i in range(len(values)):
            side = np.sign(found.difference[i, j]) or 1.0
            orders = {
                "attribution": np.argsort(-found.values[i, j] * side, kind="stable"),
                "random": rng.permutation(values.shape[1]),
                "unusual": np.argsort(-unusual[i], kind="stable"),
            }
            batch = [values[[i]], held]
            keys = [(order, kind, k) for order in orders for kind in ("deletion", "insertion") for k in steps]
            for order, kind, k in keys:
                base, other = (np.repeat(values[[i]], len(held), axis=0), held)
                made = (base if kind == "deletion" else other).copy()
                made[:, orders[order][:k]] = (other if kind == "deletion" else base)[:, orders[order][:k]]
                batch.append(made)
            rows = np.full(sum(map(len, batch)), i)
            predicted = explainer.predict(as_rows(one, rows, _split(np.vstack(batch), x, blocks)))[:, 0]
            whole, empty = predicted[0], predicted[1 : 1 + len(held)].mean()
            after = predicted[1 + len(held) :].reshape(len(keys), -1).mean(axis=1)
            for key, at in zip(keys, after, strict=True):
                change = whole - at if key[1] == "deletion" else at - empty
                moved.setdefault(key, []).append(float(change * side))
    rows_ = [(*key, float(np.mean(change))) for key, change in moved.items()]
    return pd.DataFrame(rows_, columns=["order", "kind", "k", "moved"])


def randomised(predictor: Predictor, *, seed: int = 0) -> Predictor:
    """Return a predictor whose model has the entries of every learned matrix shuffled: what it explains is nothing.

    References
    ----------
    Adebayo et al. 2018, Sanity checks for saliency maps.
    """
    rng = np.random.default_rng(seed)
    model: Model = predictor.model
    state = model.get_state()
    arrays = {
        name: rng.permuted(array.ravel()).reshape(array.shape) if array.ndim >= 2 and array.dtype.kind == "f" else array
        for name, array in state.arrays.items()
    }
    out = Predictor(type(model)(**model.get_params()), predictor.model_name)
    vars(out).update({k: v for k, v in vars(predictor).items() if k != "model"})
    out.model = out.model.set_state(State(arrays, state.meta, state.files))
    return out


def permuted(dataset: ResponseDataset, *, seed: int = 0) -> ResponseDataset:
    """Return the data with each drug's values dealt anew among its samples: what is explained then is chance."""
    rng = np.random.default_rng(seed)
    order = np.lexsort((rng.random(dataset.n_pairs), dataset.response["drug_id"].to_numpy(dtype=str)))
    place = np.lexsort((np.arange(dataset.n_pairs), dataset.response["drug_id"].to_numpy(dtype=str)))
    value = dataset.response["value"].to_numpy().copy()
    value[place] = dataset.response["value"].to_numpy()[order]
    return replace(dataset, response=dataset.response.assign(value=value))


def top_overlap(one: Mapping[str, Array], other: Mapping[str, Array], k: int = 50) -> float:
    """Return the mean over drugs of the share of the k most important features that two explanations have in common.

    Parameters
    ----------
    one, other
        Drug to importance of the same features, shape ``(d,)``; of either sign.
    """
    drugs = [drug for drug in one if drug in other]
    if not drugs:
        raise DataError("the two explanations have no drug in common.")
    shares = []
    for drug in drugs:
        a, b = (set(np.argsort(-np.abs(side[drug]), kind="stable")[:k].tolist()) for side in (one, other))
        shares.append(len(a & b) / min(k, len(one[drug])))
    return float(np.mean(shares))


def rank_correlation(one: Array, other: Array) -> float:
    """Return the Spearman correlation of |attribution| between two explanations of the same features."""
    from scipy.stats import spearmanr

    return float(spearmanr(np.abs(one).ravel(), np.abs(other).ravel()).statistic)


def _split(
    values: npt.NDArray[np.float32], x: PairFeatures, blocks: Sequence[str]
) -> dict[str, npt.NDArray[np.float32]]:
    ends = np.cumsum([len(x.sample_x[name].names) for name in blocks])
    return dict(zip(blocks, np.split(values, ends[:-1], axis=1), strict=True))
