"""Hold networks against their controls on inner folds of the training part of fold 0, with paired intervals.

    python benchmarks/controls.py hetero_graph hetero_graph_shuffled mlp --protocol LDO

Every recipe after the first is a control, or another network, and is compared with the first on the same pairs:
``difference`` is first − other, its interval that of a paired bootstrap over samples (drugs under LDO). Inner folds are
those of ``inner.py``. Results are merged into ``results/controls.csv``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from common import PROTOCOLS, RESULTS, configuration, merge_csv, now, set_threads, source

METRICS = ("rmse", "normalized_r2", "within_drug_pearson")


def main(argv: list[str] | None = None) -> None:
    """Fit, score and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="+", metavar="MODEL[:JSON]")
    parser.add_argument("--protocol", choices=PROTOCOLS, default="LDO")
    parser.add_argument("--parts", type=int, default=2, help="inner folds scored (default: %(default)s)")
    parser.add_argument("--keep", type=Path, help="a folder for the predictions")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    set_threads(1)

    import pandas as pd
    import torch

    from halfmax.ablation import paired_differences
    from halfmax.evaluate import ModelSpec, cross_validate
    from halfmax.run import load_data, make_features, prepare
    from halfmax.split import make_splits

    torch.set_num_threads(1)
    config = configuration(args.protocol, ["mean_effects"], only=["0"])
    prepared = prepare(config, load_data(config))
    dataset = prepared.dataset.take(prepared.splits[0].fit_rows)
    inner = make_splits(dataset, args.protocol, n_folds=5, seed=1)[: args.parts]
    baseline = cross_validate(dataset, inner, [ModelSpec("mean_effects", "mean_effects", {})], n_boot=0).predictions
    tables = []
    for recipe in args.recipes:
        name, _, settings = recipe.partition(":")
        spec = ModelSpec(recipe, name, json.loads(settings or "{}"))
        found = cross_validate(dataset, inner, [spec], features=lambda: make_features(config), n_boot=0)
        tables.append(found.predictions.assign(model="network", variant=recipe))
        if args.keep:
            args.keep.mkdir(parents=True, exist_ok=True)
            tables[-1].to_parquet(args.keep / f"{args.protocol}_{args.parts}_{len(tables)}_{name}.parquet")
        overall = found.metrics.query("group_by == 'all' and fold == 'all'").set_index("metric")["value"]
        row = {"protocol": args.protocol, "parts": args.parts, "recipe": recipe}
        row |= {metric: round(overall[metric], 4) for metric in METRICS}
        row["cpu_s"] = round(found.timings["cpu_s"].sum(), 1)
        if len(tables) > 1:
            both = [baseline.assign(variant=recipe), tables[-1], tables[0]]
            told = paired_differences(
                pd.concat(both, ignore_index=True), [recipe, args.recipes[0]], protocol=args.protocol
            ).query("fold == 'all'")
            for found_row in told.itertuples():
                if found_row.metric in METRICS:
                    row[f"difference_{found_row.metric}"] = round(found_row.value, 4)
                    row[f"low_{found_row.metric}"] = round(found_row.low, 4)
                    row[f"high_{found_row.metric}"] = round(found_row.high, 4)
        row |= {"against": args.recipes[0], "run": now(), "commit": source().get("commit", "")}
        print(json.dumps(row), flush=True)
        merge_csv(args.out / "controls.csv", pd.DataFrame([row]), ("protocol", "parts", "recipe", "against"))


if __name__ == "__main__":
    main()
