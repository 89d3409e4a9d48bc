"""What a handful of measured values adds: a new drug on a few lines, a new line with a few drugs, by any model.

    python benchmarks/few.py --protocol LDO            # fixed folds
    python benchmarks/few.py --protocol LCO --inner    # inner folds of the training part of fold 0: for choices

In every fold the model is fitted on the training part and predicts what was left out; a panel is learned from the
errors of five inner folds of the training part alone; then values are taken from what was left out, at random or as the
panel proposes, and all other pairs are scored. For LCO values are also taken from GDSC1, with the training lines' GDSC1
values as the bridge. Intervals draw drugs (LDO) or lines (LCO) again within each fold. Results: ``results/few.csv``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from common import RESULTS, add_run, configuration, machine, merge_csv, now, set_threads

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from halfmax.data.dataset import ResponseDataset
    from halfmax.features.pipeline import FeaturePipeline
    from halfmax.panel import Panel
    from halfmax.split import Split

SIZES = {"LDO": (0, 5, 8, 10, 20, 50), "LCO": (0, 5, 10, 20)}
N_BOOT = 500


def main(argv: list[str] | None = None) -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--protocol", choices=("LDO", "LCO"), required=True)
    parser.add_argument("--model", default="kernel_ridge")
    parser.add_argument("--inner", action="store_true", help="inner folds of the training part of fold 0")
    parser.add_argument("--seeds", type=int, default=5, help="random panels a drug or line (default: %(default)s)")
    parser.add_argument("--only", nargs="+", default=[], metavar="FOLD", help="predict these folds, and score nothing")
    parser.add_argument("--keep", type=Path, help="folder of the predictions: written, or read where they are there")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    set_threads(1)

    import pandas as pd
    import torch

    from halfmax.run import load_data, make_features, prepare
    from halfmax.split import make_splits

    torch.set_num_threads(1)
    run, protocol = now(), args.protocol
    config = configuration(protocol, ["mean_effects"], only=["0"] if args.inner else [])
    prepared = prepare(config, load_data(config))
    dataset, splits = prepared.dataset, prepared.splits
    if args.inner:
        dataset = dataset.take(splits[0].fit_rows)
        splits = make_splits(dataset, protocol, n_folds=5, seed=1)
    found: dict[tuple[str, int, str], list[tuple[float, np.ndarray]]] = {}
    for split in splits:
        if args.only and split.fold not in args.only:
            continue
        folds = "inner" if args.inner else "fixed"
        kept = args.keep and args.keep / f"{protocol}_{args.model}_{folds}_{split.fold}.parquet"
        if kept and kept.exists():
            table = pd.read_parquet(kept)
        else:
            table = out_of_sample(dataset, split, args.model, lambda: make_features(config))
            if kept:
                args.keep.mkdir(parents=True, exist_ok=True)
                table.to_parquet(kept)
        print(f"fold {split.fold}", flush=True)
        if args.only:
            continue
        errors, test = (table[table["test"] == is_test].reset_index(drop=True) for is_test in (False, True))
        for key, value in score_fold(dataset, protocol, errors, test, args.seeds).items():
            found.setdefault(key, []).append(value)
    if args.only:
        return
    rows = summary(found)
    rows = rows.assign(protocol=protocol, folds="inner" if args.inner else "fixed", model=args.model, run=run)
    keys = ("protocol", "folds", "model", "arm", "n", "metric")
    print(rows[rows["metric"] != "n_pairs"].pivot(index=["arm", "n"], columns="metric", values="value").round(4))
    merge_csv(args.out / "few.csv", rows[[*keys, "value", "low", "high", "by_fold", "run"]], keys)
    add_run(
        args.out / "few_environment.json", run, machine() | {"arguments": {k: str(v) for k, v in vars(args).items()}}
    )


def out_of_sample(
    dataset: ResponseDataset, split: Split, model: str, features: Callable[[], FeaturePipeline]
) -> pd.DataFrame:
    """Return predictions of the test pairs, and of the training pairs by models of five inner folds."""
    import pandas as pd

    from halfmax.split import make_splits

    fitted, tables = split.fit_rows, []
    for part in make_splits(dataset.take(fitted), split.protocol, n_folds=5, seed=2):
        rows = fitted[part.fit_rows], fitted[part.test]
        tables.append(predicted(dataset, *rows, model, features()).assign(test=False))
    tables.append(predicted(dataset, fitted, split.test, model, features()).assign(test=True))
    return pd.concat(tables, ignore_index=True)


def predicted(
    dataset: ResponseDataset, train: np.ndarray, test: np.ndarray, model: str, features: FeaturePipeline
) -> pd.DataFrame:
    """Return sample_id, drug_id, y_true, y_pred of the test rows."""
    from halfmax.predictor import Predictor

    held_out = dataset.take(test)
    fitted = Predictor.of(model).fit(dataset.take(train), features=features)
    table = fitted.predict(held_out)[["sample_id", "drug_id", "prediction"]]
    return table.assign(y_true=held_out.response["value"].to_numpy()).rename(columns={"prediction": "y_pred"})


def score_fold(
    dataset: ResponseDataset, protocol: str, errors: pd.DataFrame, test: pd.DataFrame, seeds: int
) -> dict[tuple[str, int, str], tuple[float, np.ndarray]]:
    """Return value and bootstrap replicates of every arm, number of measured values and metric."""
    import numpy as np

    from halfmax.data.readers.embedded import load_response
    from halfmax.panel import learn_panel

    sizes, found = SIZES[protocol], {}

    def note(arm: str, n: int, scored: list[dict[str, tuple[float, np.ndarray]]]) -> None:
        for metric in scored[0]:
            values = [s[metric] for s in scored]
            found[arm, n, metric] = (float(np.mean([v for v, _ in values])), np.mean([d for _, d in values], axis=0))

    if protocol == "LDO":
        panel = learn_panel(errors, "drug", like=dataset.omics["expression"])
        plans = {"designed": proposed(panel, 80), "medoids of 5": medoids(panel, 5)}
    else:
        panel = learn_panel(errors, "sample")
        plans = {"designed": proposed(panel, 60)}
    for arm, order in plans.items():
        wanted = (5,) if arm.startswith("medoids") else sizes
        ranked = rank_of(test, panel.columns, order=order)
        # a new line is scored on the same pairs whatever was measured, so that the sizes can be compared
        note_pairs = [(n, n if protocol == "LDO" else max(sizes)) for n in wanted]
        for n, held in note_pairs:
            note(arm, n, [score(panel, test, ranked < n, ranked >= held, protocol)])
    for n in sizes:
        held = n if protocol == "LDO" else max(sizes)
        ranks = [rank_of(test, panel.columns, seed=seed) for seed in range(seeds)]
        note("random", n, [score(panel, test, r < n, r >= held, protocol) for r in ranks])
    if protocol == "LCO":
        other = load_response("gdsc1-demo")
        bridge = other[other["sample_id"].isin(errors["sample_id"]) & other["drug_id"].isin(errors["drug_id"])]
        both = test.merge(other, on=["sample_id", "drug_id"], how="left")
        counted = bridge.groupby("drug_id").size()
        both.loc[~both["drug_id"].isin(counted[counted >= 10].index), "value"] = np.nan
        ranks = [
            rank_of(both, panel.columns, seed=seed, only=both["value"].notna().to_numpy()) for seed in range(seeds)
        ]
        for n in sizes:
            scored = [score(panel, both, r < n, r >= max(sizes), protocol, bridge=bridge) for r in ranks]
            note("random, from GDSC1", n, scored)
    return found


def proposed(panel: Panel, n: int) -> list[str]:
    """Return the panel's own proposals, best first."""
    return list(panel.design(n)[panel.columns[1]])


def medoids(panel: Panel, n: int) -> list[str]:
    """Return the medoids of the rows in the distance of their errors, then other rows for drugs that lack one."""
    import numpy as np

    from halfmax.panel import LEAST_COVERAGE

    allowed = np.flatnonzero(panel.prior.coverage >= LEAST_COVERAGE * panel.prior.coverage.max())
    factors = panel.prior.factors[allowed]
    power = (factors**2).sum(axis=1)
    distance = power[:, None] + power - 2 * factors @ factors.T
    rng = np.random.default_rng(0)
    chosen, least = np.empty(0, dtype=np.int64), np.inf
    for _ in range(10):
        centre = rng.choice(len(allowed), n, replace=False)
        for _ in range(50):
            label = distance[:, centre].argmin(axis=1)
            members = [np.flatnonzero(label == k) for k in range(n)]
            moved = np.array([m[distance[np.ix_(m, m)].sum(axis=0).argmin()] for m in members])
            if np.array_equal(moved, centre):
                break
            centre = moved
        cost = float(distance[:, centre].min(axis=1).sum())
        if cost < least:
            chosen, least = centre, cost
    rest = np.setdiff1d(np.arange(len(allowed)), chosen)
    return list(panel.ids[allowed[np.concatenate([chosen, rng.permutation(rest)])]])


def rank_of(
    test: pd.DataFrame,
    columns: tuple[str, str],
    *,
    order: list[str] | None = None,
    seed: int = 0,
    only: np.ndarray | None = None,
) -> np.ndarray:
    """Return the place of each test pair in the queue of its drug (or line): as ordered, or at random."""
    import numpy as np
    import pandas as pd

    new, row = columns
    if order is None:
        key = np.random.default_rng(seed).random(len(test))
    else:
        key = test[row].map({name: k for k, name in enumerate(order)}).fillna(len(order)).to_numpy(dtype=float)
    if only is not None:
        key = np.where(only, key, np.inf)
    place = pd.Series(key).groupby(test[new].to_numpy()).rank(method="first").to_numpy() - 1
    return place if only is None else np.where(only, place, np.inf)


def score(
    panel: Panel,
    test: pd.DataFrame,
    taken: np.ndarray,
    scored: np.ndarray,
    protocol: str,
    *,
    bridge: pd.DataFrame | None = None,
) -> dict[str, tuple[float, np.ndarray]]:
    """Condition on the pairs taken and score the others, with bootstrap replicates over drugs or lines."""
    import numpy as np

    table = test[["sample_id", "drug_id"]].assign(prediction=test["y_pred"])
    if taken.any():
        source = "y_true" if bridge is None else "value"
        values = test.loc[taken, ["sample_id", "drug_id"]].assign(value=test.loc[taken, source])
        table = panel.condition(table, values, bridge=bridge)[0]
    part = test[["sample_id", "drug_id", "y_true"]].assign(p=table["prediction"].to_numpy())[scored]
    new = panel.columns[0]
    grid = {name: part.pivot(index="drug_id", columns="sample_id", values=name) for name in ("y_true", "p")}
    y, p = (grid[name].to_numpy() for name in ("y_true", "p"))
    centre = dict(zip(panel.ids, panel.prior.centre, strict=True))
    base = grid["y_true"].index.map(centre).to_numpy(dtype=float)[:, None] if protocol == "LCO" else np.zeros((1, 1))
    axis = 0 if new == "sample_id" else 1  # sums of each cluster
    n_clusters = y.shape[1 - axis]
    draws = np.random.default_rng(0).multinomial(n_clusters, np.full(n_clusters, 1 / n_clusters), N_BOOT)
    weights = np.vstack([np.ones(n_clusters), draws]).T
    known = np.isfinite(y)

    def sums(values: np.ndarray) -> np.ndarray:
        return np.where(known, values, 0).sum(axis=axis) @ weights

    n, sse = sums(np.ones_like(y)), sums((y - p) ** 2)
    total = sums((y - base) ** 2) if protocol == "LCO" else sums(y**2) - sums(y) ** 2 / n
    out = {"rmse": np.sqrt(sse / n), "r2" if protocol == "LDO" else "r2_to_drug_mean": 1 - sse / total}
    by_drug = weights if axis == 0 else np.ones((y.shape[1], 1))
    parts = [np.where(known, v, 0) @ by_drug for v in (np.ones_like(y), y, p, y * y, p * p, y * p)]
    count, sy, sp, syy, spp, syp = parts
    with np.errstate(invalid="ignore", divide="ignore"):
        r = (count * syp - sy * sp) / np.sqrt((count * syy - sy**2) * (count * spp - sp**2))
    r[(count < 10) | ~np.isfinite(r)] = np.nan
    out["within_drug_pearson"] = np.nanmean(r, axis=0) if axis == 0 else _weighted_mean(r[:, 0], weights)
    found = {name: (float(v[0]), v[1:]) for name, v in out.items()}
    return found | {"n_pairs": (float(n[0]), n[1:])}


def _weighted_mean(r: np.ndarray, weights: np.ndarray) -> np.ndarray:
    import numpy as np

    known = np.isfinite(r)
    return np.asarray(r[known] @ weights[known] / weights[known].sum(axis=0))


def summary(found: dict[tuple[str, int, str], list[tuple[float, np.ndarray]]]) -> pd.DataFrame:
    """Return the mean over folds with its interval, and the gain of a designed pilot of 5 over a random one of 8."""
    import numpy as np
    import pandas as pd

    rows = []
    for (arm, n, metric), folds in found.items():
        rows.append((arm, n, metric, folds))
    for metric in ("rmse", "r2", "within_drug_pearson"):
        if ("random", 8, metric) in found:
            pairs = zip(found["designed", 5, metric], found["random", 8, metric], strict=True)
            rows.append(("designed 5 less random 8", 5, metric, [(a - b, da - db) for (a, da), (b, db) in pairs]))
    table = []
    for arm, n, metric, folds in rows:
        draws = np.mean([d for _, d in folds], axis=0)
        low, high = np.quantile(draws, [0.025, 0.975])
        by_fold = " ".join(f"{v:.4f}" for v, _ in folds)
        table.append((arm, n, metric, float(np.mean([v for v, _ in folds])), float(low), float(high), by_fold))
    return pd.DataFrame(table, columns=["arm", "n", "metric", "value", "low", "high", "by_fold"])


if __name__ == "__main__":
    main()
