"""Fit every family of models on the fixed folds and write the comparison page from the raw rows.

What has rows for all five folds in ``results/anchors_*_metrics.csv`` is not fitted again; what is fitted is logged as a
look in ``looks.csv``. One model of one protocol at a time, so that a cut-off run loses no more than that:

    python benchmarks/comparison.py                     everything that lacks
    python benchmarks/comparison.py --protocol LDO --models gin transformer
    python benchmarks/comparison.py --show              what lacks; fits nothing, writes the page
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

import anchors
import tables
from common import HERE, RESULTS

if TYPE_CHECKING:
    import pandas as pd

#: Naive models, forests and boosted trees, linear and kernel models, then four families of networks.
NAIVE = ("drug_mean", "mean_effects", "tissue_drug_mean")
OTHERS = ("random_forest", "xgboost", "lightgbm", "elastic_net", "kernel_ridge")
DEEP = ("mlp", "wide_deep", "multitask", "cnn1d", "transformer", "gin", "hetero_graph")
MODELS = {
    "LCO": (*NAIVE, *OTHERS, *DEEP),
    "LPO": (*NAIVE, "factorisation", *OTHERS, "response_gp", *DEEP),
    # a network with an output for each drug has none for a new one
    "LDO": (*NAIVE, *OTHERS, *(name for name in DEEP if name != "multitask")),
}
LOOK = ("rmse", "normalized_r2", "within_drug_pearson")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--protocol", nargs="+", choices=tuple(MODELS), default=list(MODELS))
    parser.add_argument("--models", nargs="+", help="all of the comparison by default")
    parser.add_argument("--data", type=Path, help="a dataset folder in place of the embedded data")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--looks", type=Path, default=HERE / "looks.csv", help="where looks are logged")
    parser.add_argument("--show", action="store_true", help="fit nothing")
    args = parser.parse_args(argv)
    for protocol in args.protocol:
        lacking = missing(protocol, args.models or MODELS[protocol], args.out)
        print(f"{protocol}: {len(lacking)} models lack: {' '.join(lacking) or 'none'}", flush=True)
        for model in () if args.show else lacking:
            given = ["--protocol", protocol, "--models", model, "--out", str(args.out)]
            anchors.main(given + (["--data", str(args.data)] if args.data else []))
            log_look(model, protocol, args.out, args.looks)
    if args.out == RESULTS:
        tables.main([])


def missing(protocol: str, models: tuple[str, ...] | list[str], folder: Path) -> list[str]:
    """Return the models without rows for the mean of all folds."""
    path = folder / f"anchors_{protocol}_metrics.csv"
    return [name for name in models if not path.exists() or name not in set(overall(path).index)]


def overall(path: Path) -> pd.DataFrame:
    """Return each model's means over all folds: one column a metric."""
    import pandas as pd

    found = pd.read_csv(path, dtype={"fold": str})
    found = found[(found["fold"] == "all") & (found["group_by"] == "all")]
    return found.pivot(index="model", columns="metric", values="value")


def log_look(model: str, protocol: str, folder: Path, looks: Path) -> None:
    """Append what was seen of the fixed folds' test parts."""
    seen = overall(folder / f"anchors_{protocol}_metrics.csv").loc[model]
    figures = ",".join(f"{seen[name]:.4f}" for name in LOOK)
    with looks.open("a", encoding="utf-8") as file:
        file.write(f"{time.strftime('%Y-%m-%d')},{model} (defaults),{protocol},0-4,comparison,{figures}\n")


if __name__ == "__main__":
    main()
