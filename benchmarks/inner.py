"""Compare recipes without a look at test folds: inner folds of the training part of fold 0.

    python benchmarks/inner.py kernel_ridge mlp 'mlp:{"components": null}' --protocol LCO

A recipe is a model and, after a colon, hyper-parameters as JSON. The training rows of fold 0 of the fixed folds are
cut into five inner folds; each recipe is fitted and scored on the first --parts of them. Results are
appended to ``results/inner.csv``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from common import PROTOCOLS, RESULTS, configuration, merge_csv, now, set_threads, source


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="+", metavar="MODEL[:JSON]")
    parser.add_argument("--protocol", choices=PROTOCOLS, default="LCO")
    parser.add_argument("--parts", type=int, default=2, help="inner folds scored (default: %(default)s)")
    parser.add_argument("--modalities", nargs="+", default=["expression"])
    parser.add_argument("--data", type=Path, help="a dataset folder in place of the embedded data")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    set_threads(1)

    import pandas as pd
    import torch

    from halfmax.evaluate import ModelSpec, cross_validate
    from halfmax.run import load_data, make_features, prepare
    from halfmax.split import make_splits

    torch.set_num_threads(1)
    config = configuration(args.protocol, ["mean_effects"], only=["0"], data=args.data)
    features = config.features.model_copy(update={"modalities": tuple(args.modalities)})
    config = config.model_copy(update={"features": features})
    prepared = prepare(config, load_data(config))
    dataset = prepared.dataset.take(prepared.splits[0].fit_rows)
    inner = make_splits(dataset, args.protocol, n_folds=5, seed=1)[: args.parts]
    for recipe in args.recipes:
        name, _, settings = recipe.partition(":")
        spec = ModelSpec(recipe, name, json.loads(settings or "{}"))
        found = cross_validate(dataset, inner, [spec], features=lambda: make_features(config), n_boot=0)
        overall = found.metrics.query("group_by == 'all' and fold == 'all'").set_index("metric")["value"]
        row = {"protocol": args.protocol, "parts": args.parts, "modalities": "+".join(args.modalities)}
        row |= {"recipe": recipe}
        row |= {metric: round(overall[metric], 4) for metric in ("rmse", "normalized_r2", "within_drug_pearson")}
        row |= {"cpu_s": round(found.timings["cpu_s"].sum(), 1), "run": now(), "commit": source().get("commit", "")}
        print(json.dumps(row), flush=True)
        merge_csv(args.out / "inner.csv", pd.DataFrame([row]), ("protocol", "parts", "modalities", "recipe"))


if __name__ == "__main__":
    main()
