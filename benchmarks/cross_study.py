"""Learn from one GDSC screen and score unseen lines in the other, on the drugs that both tested.

    python benchmarks/cross_study.py --direction 1to2 kernel_ridge 'kernel_ridge:{"borrow": 1.0}' --inner

A recipe is a model and, after a colon, hyper-parameters as JSON. Lines are those of the fixed folds that leave cell
lines out. With --inner the training lines of fold 0 are cut into five folds of their own, and the recipes are chosen
there; without it the fixed folds are scored. Responses of a held-out line are in training in neither screen.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from common import RESULTS, configuration, folds_of, merge_csv, now, set_threads, source

SCREENS = {"1": "gdsc1-demo", "2": "gdsc2-demo"}
#: What inner folds chose for each direction, beside the model as it comes and what every model is held against.
RECIPES = {
    "1to2": ("drug_mean", "mean_effects", "kernel_ridge", 'kernel_ridge:{"borrow": 1.0, "general": 2.0}'),
    "2to1": ("drug_mean", "mean_effects", "kernel_ridge", 'kernel_ridge:{"borrow": 0.25, "general": 0.75}'),
}
#: Mean within-drug correlation that the project has promised.
BARS = {"1to2": 0.43, "2to1": 0.37}
KEYS = ("direction", "folds", "recipe", "metric")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", metavar="MODEL[:JSON]", help="the chosen ones by default")
    parser.add_argument("--direction", nargs="+", choices=tuple(BARS), default=list(BARS))
    parser.add_argument("--inner", action="store_true", help="folds within the training part of fold 0")
    parser.add_argument("--folds-only", nargs="+", default=[], metavar="FOLD", help="all five by default")
    parser.add_argument("--n-boot", type=int, default=200)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--show", action="store_true", help="run nothing; print what is stored, and the bars")
    args = parser.parse_args(argv)
    set_threads(1)
    if not args.show:
        for direction in args.direction:
            measure(direction, args)
    show(args.out)


def measure(direction: str, args: argparse.Namespace) -> None:
    """Fit and score the recipes of one direction; write the metrics and how far the screens agree."""
    import numpy as np
    import pandas as pd

    from halfmax.between_screens import cross_study, read_folds
    from halfmax.data.readers import embedded
    from halfmax.evaluate import ModelSpec
    from halfmax.run import make_features

    recipes = args.recipes or RECIPES[direction]
    train, test = (embedded.load(SCREENS[name]) for name in direction.split("to"))
    folds = read_folds(folds_of("LCO"), [train, test])
    if args.inner:
        # whoever is in fold 0 is in no inner fold, and its responses are taken away
        kept = [sample for sample, fold in folds.items() if fold != "0"]
        train, test = (d.take(d.response["sample_id"].isin(kept).to_numpy()) for d in (train, test))
        dealt = np.random.default_rng(1).permutation(len(kept)) % 5
        folds = dict(zip(kept, map(str, dealt), strict=True))
    specs = [ModelSpec(r, r.partition(":")[0], json.loads(r.partition(":")[2] or "{}")) for r in recipes]
    config = configuration("LCO", ["mean_effects"])
    cpu = time.process_time()
    found = cross_study(
        train,
        test,
        specs,
        folds=folds,
        only=args.folds_only,
        features=lambda: make_features(config),
        n_boot=args.n_boot,
        on_progress=_say,
    )
    metrics = found.results.metrics
    scored = sorted(found.results.predictions["fold"].unique())
    place = {"direction": direction, "folds": ("inner " if args.inner else "") + " ".join(scored)}
    run = {"run": now(), "commit": source().get("commit", "")}
    table = metrics.query("group_by == 'all' and fold == 'all'")[["model", "metric", "value", "low", "high", "n"]]
    table = table[table["metric"].isin(["rmse", "normalized_r2", "within_drug_pearson", "within_drug_spearman"])]
    drugs = metrics.query("group_by == 'drug' and metric == 'pearson' and fold != 'all' and n >= 10")
    median = drugs.groupby(["model", "fold"])["value"].median().groupby("model").mean().reset_index()
    table = pd.concat([table, median.assign(metric="within_drug_pearson_median")], ignore_index=True)
    table = table.rename(columns={"model": "recipe"}).assign(**place, **run)
    front = list(dict.fromkeys([*KEYS, *table.columns]))
    merge_csv(args.out / "cross_study.csv", table[front], KEYS)
    agreement = found.agreement.assign(**place, run=run["run"])
    merge_csv(args.out / "cross_study_agreement.csv", agreement, ("direction", "folds"))
    cost = found.results.timings.groupby("model")["cpu_s"].sum().round(1).to_dict()
    print(direction, f"{time.process_time() - cpu:.0f} CPU s in all; fit and predict", cost, file=sys.stderr)


def show(folder: Path) -> None:
    """Print the stored figures, and the bars for the fixed folds."""
    import pandas as pd

    table = pd.read_csv(folder / "cross_study.csv")
    wide = table.pivot_table(index=["direction", "folds", "recipe"], columns="metric", values="value", sort=False)
    print(wide.round(4).to_string())
    own = table.query("metric == 'within_drug_pearson' and folds == '0 1 2 3 4'")
    for direction, rows in own.groupby("direction"):
        best, bar = rows.loc[rows["value"].idxmax()], BARS[str(direction)]
        verdict = "met" if best["value"] >= bar else "NOT MET"
        print(f"{verdict:8} {direction}: within-drug r {best['value']:.4f} ≥ {bar:g}  ({best['recipe']})")


def _say(progress: Any) -> None:
    if progress.epoch is None and progress.model:
        print(f"{progress.done + 1}/{progress.total}  {progress.model}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
