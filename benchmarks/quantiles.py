"""Measure the quantiles of tree models, on pairs and a model a drug: pinball loss, coverage and width.

One inner fold of the training part of fold 0 that leaves cell lines out; by default every fourth drug, to be quick.
The yardstick is what knows no profile: each drug's own training quantiles.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import RESULTS, configuration, merge_csv, now, set_threads, source

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float64]
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
RECIPES = (
    "random_forest",
    'lightgbm:{"n_trees": 200}',
    'xgboost:{"n_trees": 150}',
    'trees_per_drug:{"family": "random_forest"}',
    'trees_per_drug:{"family": "lightgbm"}',
    'trees_per_drug:{"family": "xgboost"}',
)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", metavar="MODEL[:JSON]", default=list(RECIPES))
    parser.add_argument("--every", type=int, default=4, help="use every n-th drug (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    set_threads(1)

    import time

    import numpy as np
    import pandas as pd

    from halfmax.predictor import Predictor, encode
    from halfmax.run import load_data, make_features, prepare
    from halfmax.split import make_splits

    config = configuration("LCO", ["mean_effects"], only=["0"])
    prepared = prepare(config, load_data(config))
    dataset = prepared.dataset.take(prepared.splits[0].fit_rows)
    chosen = sorted(dataset.drugs.index)[:: args.every]
    dataset = dataset.take(dataset.response["drug_id"].isin(chosen).to_numpy())
    split = make_splits(dataset, "LCO", n_folds=5, seed=1)[0]
    train, test = dataset.take(split.fit_rows), dataset.take(split.test)
    encoded = encode(make_features(config), train)
    asked, truth = encoded.features.transform(test), test.response["value"].to_numpy(dtype=np.float64)
    own = train.response.groupby("drug_id")["value"].quantile(list(LEVELS)).unstack()
    naive = {q: test.response["drug_id"].map(own[q]).to_numpy(dtype=np.float64) for q in LEVELS}
    rows = [{"recipe": "drug quantiles"} | figures(truth, naive) | {"cpu_s": 0.0}]
    for recipe in args.recipes:
        name, _, settings = recipe.partition(":")
        cpu = time.process_time()
        predictor = Predictor.of(name, json.loads(settings or "{}") | {"quantiles": LEVELS, "n_threads": 1})
        found = predictor.fit(train, encoded=encoded).predict_pairs(asked)
        cpu = time.process_time() - cpu
        told = {q: v.astype(np.float64) for q, v in (found.quantiles or {}).items()}
        rows.append({"recipe": recipe} | figures(truth, told) | {"cpu_s": round(cpu, 1)})
        print(json.dumps(rows[-1]), flush=True)
    size = {"drugs": len(chosen), "n": len(truth), "run": now(), "commit": source().get("commit", "")}
    table = pd.DataFrame(rows).assign(**size)
    merge_csv(args.out / "quantiles.csv", table, ("recipe", "drugs"))
    print(table.drop(columns=["run", "commit"]).to_string(index=False))


def figures(truth: Array, told: dict[float, Array]) -> dict[str, Any]:
    """Return the mean pinball loss, and coverage and mean width of the 90 % and 50 % intervals."""
    import numpy as np

    from halfmax.metrics import pinball_loss

    losses = [pinball_loss(truth, values, level) for level, values in told.items()]
    out: dict[str, Any] = {"pinball": round(float(np.mean(losses)), 4)}
    for name, low, high in (("90", 0.05, 0.95), ("50", 0.25, 0.75)):
        inside = (truth >= told[low]) & (truth <= told[high])
        out |= {f"coverage_{name}": round(float(inside.mean()), 4)}
        out |= {f"width_{name}": round(float((told[high] - told[low]).mean()), 3)}
    return out


if __name__ == "__main__":
    main()
