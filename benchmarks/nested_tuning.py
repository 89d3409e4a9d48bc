"""Nested, tuned comparison on unseen cell lines: a network and boosted and bagged trees with equal budgets.

    python benchmarks/nested_tuning.py --keep runs/nested-tuning

Three outer and two inner folds of GDSC2 of its own (seed 11; not the fixed folds), fifteen trials of each model on each
outer fold, by TPE. The models are small, so that it takes minutes of CPU: this compares tuned small models, and says
what tuning gives and by how much inner scores flatter; it is no comparison of the models at their best. A run that was
cut off goes on by the same command with the same --keep.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import RESULTS, add_run, machine, now, peak_memory_mb, set_threads

if TYPE_CHECKING:
    import pandas as pd

MODELS = ("mlp", "random_forest", "xgboost")
#: What is given, and what is searched in the place of the models' own spaces, so that a fit takes seconds.
GIVEN: dict[str, dict[str, Any]] = {
    "mlp": {"epochs": 20, "members": 1, "components": 256, "drug_width": 128, "layers": 1, "refit": False},
    "random_forest": {"n_trees": 8, "max_leaves": 1000, "n_threads": 1},
    "xgboost": {"n_threads": 1},
}
SPACE: dict[str, dict[str, Any]] = {
    "mlp": {
        "width": {"choices": [64, 128, 256]},
        "learning_rate": {"low": 3e-4, "high": 1e-2, "log": True},
        "weight_decay": {"low": 0.01, "high": 1.0, "log": True},
        "dropout": {"low": 0.0, "high": 0.8},
        "input_dropout": {"low": 0.0, "high": 0.6},
        "batch_size": {"choices": [32, 64, 128]},
        "activation": {"choices": ["relu", "silu", "tanh", "gelu"]},
    },
    "random_forest": {
        "min_leaf": {"low": 1, "high": 50, "log": True},
        "feature_share": {"low": 0.05, "high": 0.5},
        "row_share": {"low": 0.02, "high": 0.15},
    },
    "xgboost": {
        "n_trees": {"low": 30, "high": 120, "log": True},
        "learning_rate": {"low": 0.03, "high": 0.3, "log": True},
        "depth": {"low": 3, "high": 7},
        "l2": {"low": 0.1, "high": 100.0, "log": True},
    },
}


def content(args: argparse.Namespace) -> dict[str, Any]:
    """Return the run and the search as a configuration."""
    return {
        "name": "nested-tuning",
        "seed": 11,
        "models": ["mean_effects", *args.models],
        "params": {model: GIVEN[model] for model in args.models},
        "split": {"protocol": "LCO", "n_folds": args.outer},
        "tune": {
            "models": args.models,
            "search": args.search,
            "trials": args.trials,
            "inner": args.inner,
            "nested": True,
            "space": {model: SPACE[model] for model in args.models},
        },
    }


def paired(predictions: pd.DataFrame, n_boot: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Return differences of RMSE between models, mean over outer folds, with a paired bootstrap over cell lines."""
    import numpy as np
    import pandas as pd

    errors = predictions.assign(sse=(predictions["y_true"] - predictions["y_pred"]) ** 2)
    by_line = errors.groupby(["fold", "sample_id", "model"], sort=True)["sse"].agg(["sum", "size"]).unstack("model")
    rng = np.random.default_rng(seed)
    sse, n = by_line["sum"], by_line["size"].iloc[:, 0]
    draws, values = [], []
    for fold in sse.index.unique("fold"):
        total, size = sse.loc[fold].to_numpy(), n.loc[fold].to_numpy()
        picked = rng.multinomial(len(size), np.full(len(size), 1 / len(size)), n_boot)
        draws.append(np.sqrt(picked @ total / (picked @ size)[:, None]))
        values.append(np.sqrt(total.sum(axis=0) / size.sum()))
    value, drawn = np.mean(values, axis=0), np.mean(draws, axis=0)
    rows = []
    names = list(sse.columns)
    for i, one in enumerate(names):
        for j, other in enumerate(names):
            if one < other:
                low, high = np.quantile(drawn[:, i] - drawn[:, j], [0.025, 0.975])
                rows.append({"model": one, "less": other, "rmse": value[i] - value[j], "low": low, "high": high})
    return pd.DataFrame(rows)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--search", default="tpe")
    parser.add_argument("--trials", type=int, default=15)
    parser.add_argument("--outer", type=int, default=3)
    parser.add_argument("--inner", type=int, default=2)
    parser.add_argument("--keep", type=Path, default=Path("runs/nested-tuning"), help="studies (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    set_threads(1)

    import torch

    from halfmax.data.storage import atomic_file
    from halfmax.terminal import run_progress
    from halfmax.tune.search import tune
    from halfmax.tune.settings import plan_of

    torch.set_num_threads(1)
    plan = plan_of(content(args))
    with run_progress("nested tuning") as show:
        found = tune(plan, args.keep, on_progress=show)
    page = found.write(args.keep)
    differences = paired(found.predictions)
    for name, table in (
        ("trials", found.trials),
        ("studies", found.studies),
        ("importance", found.importance),
        ("differences", differences),
    ):
        with atomic_file(args.out / f"nested_tuning_{name}.csv") as path:
            table.to_csv(path, index=False, float_format="%.6g")
    means = found.studies.groupby("model", sort=False)[
        ["n_trials", "cpu_s", "inner_default", "inner_best", "outer_default", "outer_best", "optimism"]
    ].mean()
    hours = found.studies["cpu_s"].sum() / 3600
    about = {
        "outer": args.outer,
        "inner": args.inner,
        "trials": args.trials,
        "search": args.search,
        "n_pairs": plan.prepared.dataset.n_pairs,
        "cpu_hours_of_trials": round(hours, 4),
        "peak_memory_mb": peak_memory_mb(),
        "given": GIVEN,
        "space": SPACE,
        **machine(),
    }
    add_run(args.out / "nested_tuning.json", now(), about)
    shutil.copy(page, args.out / "nested_tuning.html")
    print(means.round(4).to_string())
    print(differences.round(4).to_string(index=False))
    print(f"CPU hours of all trials: {hours:.3f}")


if __name__ == "__main__":
    main()
