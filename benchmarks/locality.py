"""What the order of its input is worth to a network: each beside its control with that shuffled, on inner folds.

    python benchmarks/locality.py cnn1d cnn2d 'cnn1d:{"components": 0}'
    python benchmarks/locality.py gin hetero_graph --protocol LDO

The order is that of genes, of the bonds of a molecule, or which drug has which targets.

The training rows of fold 0 of the fixed folds are cut into inner folds as by ``inner.py``; each recipe and its control
with the same hyper-parameters are fitted and scored on the first --parts of them. The interval of a difference is that
of the paired cluster bootstrap over samples (drugs under LDO). Results go to ``results/locality.csv``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from common import PROTOCOLS, RESULTS, configuration, merge_csv, now, set_threads, source

METRICS = ("normalized_r2", "within_drug_pearson", "rmse")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="+", metavar="MODEL[:JSON]", help="a model with a control MODEL_shuffled")
    parser.add_argument("--protocol", choices=PROTOCOLS, default="LCO")
    parser.add_argument("--parts", type=int, default=2, help="inner folds scored (default: %(default)s)")
    parser.add_argument("--modalities", nargs="+", default=["expression"])
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    set_threads(1)

    import pandas as pd
    import torch

    from halfmax.ablation import paired_differences
    from halfmax.evaluate import BASELINE, ModelSpec, cross_validate
    from halfmax.run import load_data, make_features, prepare
    from halfmax.split import make_splits

    torch.set_num_threads(1)
    config = configuration(args.protocol, [BASELINE], only=["0"])
    features = config.features.model_copy(update={"modalities": tuple(args.modalities)})
    config = config.model_copy(update={"features": features})
    prepared = prepare(config, load_data(config))
    dataset = prepared.dataset.take(prepared.splits[0].fit_rows)
    inner = make_splits(dataset, args.protocol, n_folds=5, seed=1)[: args.parts]
    for recipe in args.recipes:
        name, _, settings = recipe.partition(":")
        params = json.loads(settings or "{}")
        names = (BASELINE, f"{name}_shuffled", name)
        specs = [ModelSpec(n, n, {} if n == BASELINE else params) for n in names]
        found = cross_validate(dataset, inner, specs, features=lambda: make_features(config), n_boot=0)
        told = found.predictions
        shared = [told[told["model"] == BASELINE].assign(variant=n) for n in names[1:]]
        own = [told[told["model"] == n].assign(variant=n, model=name) for n in names[1:]]
        differences = paired_differences(pd.concat([*shared, *own]), names[1:], protocol=args.protocol)
        between = differences.query("fold == 'all'").set_index("metric")
        overall = found.metrics.query("group_by == 'all' and fold == 'all'").set_index(["model", "metric"])["value"]
        cpu = found.timings.groupby("model")["cpu_s"].sum()
        rows = [
            {
                "protocol": args.protocol,
                "recipe": recipe,
                "modalities": "+".join(args.modalities),
                "parts": args.parts,
                "metric": metric,
            }
            | {"ordered": overall[name, metric], "shuffled": overall[names[1], metric]}
            | between.loc[metric, ["value", "low", "high", "n_pairs", "n_samples"]].to_dict()
            | {"cpu_s": cpu[name], "shuffled_cpu_s": cpu[names[1]]}
            | {"run": now(), "commit": source().get("commit", "")}
            for metric in METRICS
        ]
        keys = ("protocol", "recipe", "modalities", "parts", "metric")
        print(json.dumps(rows[0], default=float), flush=True)
        merge_csv(args.out / "locality.csv", pd.DataFrame(rows), keys)


if __name__ == "__main__":
    main()
