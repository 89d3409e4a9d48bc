"""What a model gains over its control: the same network with its input's order shuffled, on the same pairs."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from halfmax.ablation import paired_differences
from halfmax.report.numbers import BASELINE

#: What the name of a control adds to that of its model.
SUFFIX = "_shuffled"
_N_BOOT = 200

Interval = tuple[float, float, float]


def controlled(models: Sequence[str]) -> list[str]:
    """Return the models whose control is among them, too."""
    return [model for model in models if f"{model}{SUFFIX}" in models]


def control_differences(predictions: pd.DataFrame, model: str, *, by_drug: bool = False) -> dict[str, Interval]:
    """Return metric to (model − control, low, high): mean over folds, 95 % paired cluster bootstrap.

    Empty where the predictions lack the baseline, or the two were not scored on the same pairs.

    Parameters
    ----------
    predictions
        sample_id, drug_id, fold, model, y_true, y_pred, as in `Report.predictions`.
    by_drug
        Whether the bootstrap draws drugs, as under LDO, in place of samples.
    """
    control = f"{model}{SUFFIX}"
    if predictions.empty:
        return {}
    parts = {name: predictions[(predictions["model"] == name).to_numpy()] for name in (BASELINE, control, model)}
    keys = [set(zip(part["fold"], part["sample_id"], part["drug_id"], strict=True)) for part in parts.values()]
    if not keys[0] or any(k != keys[0] for k in keys) or len({len(part) for part in parts.values()}) > 1:
        return {}
    variants = [
        *(parts[BASELINE].assign(variant=name) for name in (control, model)),
        *(parts[name].assign(variant=name, model=model) for name in (control, model)),
    ]
    protocol = "LDO" if by_drug else "LCO"
    told = paired_differences(pd.concat(variants), (control, model), protocol=protocol, n_boot=_N_BOOT)
    whole = told[(told["fold"] == "all").to_numpy()]
    rows = whole[["metric", "value", "low", "high"]].to_dict("records")
    return {str(row["metric"]): (float(row["value"]), float(row["low"]), float(row["high"])) for row in rows}
