"""Known drug–gene associations, and where an explanation ranks them: does the model lean on the right genes?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.resources import files

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.errors import DataError
from halfmax.explain.explanation import Explanation

Array = npt.NDArray[np.float64]
#: Ranks that are counted.
PLACES = (1, 10, 50)
#: The share of core associations on measured genes that the default predictor has to find in its first ten.
BAR = 0.85
DIRECTION = {"sensitive": -1.0, "resistant": 1.0}


def known_biomarkers() -> pd.DataFrame:
    """Return the table of associations.

    Returns
    -------
    Columns drug, feature, level (``expression``, ``mutation``, ``event``: a fusion, amplification or hotspot carried by
    a line), direction (``sensitive`` or ``resistant`` with more of it), role (``core`` counts for the bar, ``check`` is
    reported beside it), screens (where it is expected to show), source and identifier.
    """
    with files("halfmax.explain").joinpath("biomarkers.tsv").open(encoding="utf-8") as handle:
        return pd.read_csv(handle, sep="\t", dtype=str, keep_default_na=False)


def signed_importance(found: Explanation) -> Array:
    """Return how strongly and which way a model leans on each feature for each drug, shape ``(n_drugs, d)``.

    The mean of |φ| over samples, with the sign of the covariance of φ with the feature's value: positive where more of
    it means a higher prediction. For a linear model this is weight × mean ``|x − x̄|``.
    """
    values = found.values.astype(np.float64)
    inputs = np.nan_to_num(found.inputs - found.inputs.mean(axis=0))
    together = np.einsum("nd,nmd->md", inputs, values)
    return np.asarray(np.sign(together) * np.abs(values).mean(axis=0))


def rank_of(importance: Array, place: int, direction: float) -> int:
    """Return the place of a feature among all, from 1, by importance in the expected direction.

    The rule: every feature's score is its signed importance × the expected direction (−1 for sensitive where a lower
    response is sensitive); the rank is 1 + the number of features with a higher score, ties counting against it. A
    feature with the wrong direction or none at all stands behind every one that has the right one.
    """
    score = importance * direction
    return int((score > score[place]).sum() + (score[score == score[place]].size - 1)) + 1


def check_biomarkers(
    importance: Callable[[str], Array | None] | dict[str, Array],
    features: Sequence[str] | npt.NDArray[np.str_],
    *,
    higher_is_sensitive: bool = False,
    level: str = "expression",
    screen: str | None = None,
    known: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Return where known associations stand.

    Parameters
    ----------
    importance
        Drug to signed importance of each feature, shape ``(d,)``; None for a drug that is not known.
    features
        Names of the d features.
    higher_is_sensitive
        Whether the measure rises with sensitivity; the expected direction turns round then.
    level, screen
        Which associations: of this level, and expected in this screen (``gdsc1``, ``gdsc2``; None = any).
    known
        A table of associations in place of the shipped one.

    Returns
    -------
    The associations whose drug and feature are there, with columns rank, n_features, direction_right and top_1, top_10,
    top_50 (rank within it and direction right).

    Raises
    ------
    DataError
        If none can be checked.
    """
    table = known_biomarkers() if known is None else known
    table = table[table["level"] == level]
    if screen is not None:
        table = table[[screen in screens.split(",") for screens in table["screens"]]]
    place = {name: i for i, name in enumerate(map(str, features))}
    ask = importance.get if isinstance(importance, dict) else importance
    sign = -1.0 if higher_is_sensitive else 1.0
    rows = []
    for row in table.to_dict("records"):
        told = ask(row["drug"])
        if told is None or row["feature"] not in place:
            continue
        i, direction = place[row["feature"]], sign * DIRECTION[row["direction"]]
        rank, right = rank_of(told, i, direction), bool(told[i] * direction > 0)
        found = {"rank": rank, "n_features": len(told), "direction_right": right}
        rows.append(row | found | {f"top_{k}": right and rank <= k for k in PLACES})
    if not rows:
        raise DataError(f"none of the {len(table)} known associations of {level} is about a drug and feature here.")
    return pd.DataFrame(rows)


def recovery(checked: pd.DataFrame) -> pd.DataFrame:
    """Return for ``core`` and for all associations: n, shares in the first 1, 10, 50, median rank."""
    out = []
    for role, part in (("core", checked[checked["role"] == "core"]), ("all", checked)):
        if len(part):
            shares = {f"top_{k}": part[f"top_{k}"].mean() for k in PLACES}
            shares |= {"direction_right": part["direction_right"].mean(), "median_rank": part["rank"].median()}
            out.append({"role": role, "n": len(part)} | shares)
    return pd.DataFrame(out)


def spearman(expression: pd.DataFrame, response: pd.DataFrame, drug: str) -> Array:
    """Return each gene's rank correlation with a drug's measured responses, the baseline that needs no model.

    Parameters
    ----------
    expression
        Samples × genes.
    response
        Columns sample_id, drug_id, value.
    """
    own = response[(response["drug_id"] == drug) & response["sample_id"].isin(expression.index)]
    if len(own) < 3:
        return np.zeros(expression.shape[1])
    x = expression.loc[own["sample_id"]].rank().to_numpy(dtype=np.float64)
    y = own["value"].rank().to_numpy(dtype=np.float64)
    x, y = x - x.mean(axis=0), y - y.mean()
    size = np.sqrt((x**2).sum(axis=0) * (y @ y))
    return np.asarray((y @ x) / np.where(size > 0, size, np.inf))


def ridge(expression: pd.DataFrame, response: pd.DataFrame, drug: str, *, penalty: float = 3000.0) -> Array:
    """Return each gene's coefficient in a ridge regression of a drug's own responses on standardised expression."""
    own = response[(response["drug_id"] == drug) & response["sample_id"].isin(expression.index)]
    if len(own) < 3:
        return np.zeros(expression.shape[1])
    x = expression.loc[own["sample_id"]].to_numpy(dtype=np.float64)
    spread = x.std(axis=0)
    x = (x - x.mean(axis=0)) / np.where(spread > 1e-9, spread, np.inf)
    y = own["value"].to_numpy(dtype=np.float64)
    dual = np.linalg.solve(x @ x.T + penalty * np.eye(len(x)), y - y.mean())
    return np.asarray(x.T @ dual)
