"""Score halfmax's models on fixed folds of GDSC2 and hold the figures against the project's bars.

The steps are those of ``halfmax run`` up to its report: the same data, features, folds, models and metrics; nothing is
fitted on all data and nothing is saved but figures.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from common import PROTOCOLS, RESULTS, add_run, configuration, machine, merge_csv, now, peak_memory_mb, set_threads

if TYPE_CHECKING:
    import pandas as pd

    from halfmax.data.dataset import ResponseDataset

MODELS = {
    "LCO": (
        *("drug_mean", "mean_effects", "tissue_drug_mean", "random_forest", "lightgbm", "xgboost", "elastic_net"),
        *("kernel_ridge", "mlp"),
    ),
    "LPO": ("drug_mean", "mean_effects", "factorisation", "response_gp", "mlp"),
    "LDO": ("mean_effects", "lightgbm", "kernel_ridge", "mlp"),
    "LTO": (
        # response_gp gives samples without training responses to kernel_ridge: there is nothing else to score here
        *("mean", "drug_mean", "mean_effects", "tissue_drug_mean", "random_forest", "lightgbm", "kernel_ridge", "mlp"),
    ),
}
#: What every other model of a run is held against, where it is among them: the model that a run saves by default.
DEFAULT = "wide_deep"
#: Row of the timings that holds what the models of a run share: encoding, the baseline, metrics and their intervals.
SHARED = "(features, baseline and metrics)"


class Bar(NamedTuple):
    """A figure that the project has promised."""

    what: str
    protocol: str
    metric: str
    limit: float
    at_most: bool
    models: tuple[str, ...] = ()

    def met(self, value: float) -> bool:
        return value <= self.limit if self.at_most else value >= self.limit


ACCURACY = (
    Bar("a model, fold 0", "LCO", "rmse", 1.19, True),
    Bar("a model, fold 0", "LCO", "normalized_r2", 0.335, False),
    Bar("the network alone, fold 0", "LCO", "normalized_r2", 0.32, False, ("mlp",)),
    Bar("a model, fold 0", "LPO", "rmse", 0.84, True),
    Bar("a model, fold 0", "LPO", "normalized_r2", 0.50, False),
)
COST = (
    Bar("kernel model, five folds, all steps", "LCO", "cpu_s", 60, True, ("kernel_ridge",)),
    Bar("the network, five folds", "LCO", "cpu_s", 600, True, ("mlp",)),
    Bar("mean effects, slowest fit", "LCO", "fit_s", 0.1, True, ("mean_effects",)),
)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--protocol", nargs="+", choices=PROTOCOLS, default=list(PROTOCOLS))
    parser.add_argument("--folds-only", nargs="+", default=[], metavar="FOLD", help="all five by default")
    parser.add_argument("--models", nargs="+", help="the protocol's own list by default")
    parser.add_argument("--threads", type=int, default=1, help="of the numerical libraries (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, help="a dataset folder in place of the embedded data")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--n-boot", type=int, default=200, help="draws for the intervals of single figures")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="store predictions here, a file a protocol and fold"
    )
    parser.add_argument("--kept", type=Path, metavar="FOLDER", help="run nothing; differences of stored predictions")
    parser.add_argument("--show", action="store_true", help="run nothing; print the bars for the stored results")
    args = parser.parse_args(argv)
    set_threads(args.threads)
    for protocol in args.protocol:
        if args.kept:
            tell_differences(protocol, *kept(protocol, args), run=now(), args=args)
        elif not args.show:
            measure(protocol, args)
        show(protocol, args.out)


def measure(protocol: str, args: argparse.Namespace) -> None:
    """Cross-validate on the fixed folds and write metrics, timings and circumstances."""
    from halfmax.evaluate import ModelSpec, cross_validate
    from halfmax.run import load_data, make_features, prepare

    run, circumstances = now(), machine()
    config = configuration(
        protocol, args.models or MODELS[protocol], only=args.folds_only, data=args.data, seed=args.seed
    )
    cpu = time.process_time()
    prepared = prepare(config, load_data(config))
    preparation = time.process_time() - cpu
    cpu = time.process_time()
    results = cross_validate(
        prepared.dataset,
        prepared.splits,
        [ModelSpec(name, name, config.params_of(name)) for name in config.models],
        features=lambda: make_features(config),
        n_boot=args.n_boot,
        seed=config.seed,
        on_progress=_say,
    )
    total = time.process_time() - cpu
    keep = results.metrics["group_by"] == "all"
    if args.folds_only:  # a mean over some folds would pass for the mean over all
        keep &= results.metrics["fold"] != "all"
    metrics = results.metrics[keep].assign(run=run)
    timings = results.timings.assign(run=run)
    if args.keep:
        args.keep.mkdir(parents=True, exist_ok=True)
        for fold, part in results.predictions.groupby("fold"):
            part.to_parquet(args.keep / f"{protocol}_{fold}.parquet", index=False)
    elif {DEFAULT, "mean_effects"} < set(config.models):
        tell_differences(protocol, results.predictions, prepared.dataset, run, args)
    shared = {"model": SHARED, "fold": "all", "cpu_s": total - float(timings["cpu_s"].sum()), "run": run}
    timings.loc[len(timings)] = shared
    merge_csv(args.out / f"anchors_{protocol}_metrics.csv", metrics, ("model", "fold", "metric"))
    merge_csv(args.out / f"anchors_{protocol}_timings.csv", timings, ("model", "fold", "run"))
    add_run(
        args.out / f"anchors_{protocol}_environment.json",
        run,
        circumstances
        | {
            "models": {name: config.params_of(name) for name in config.models},
            "seed": args.seed,
            "folds": [split.fold for split in prepared.splits],
            "data": {"pairs": prepared.dataset.n_pairs, "fingerprint": prepared.dataset.fingerprint()},
            "cpu_s_reading_and_folds": round(preparation, 2),
            "cpu_s_cross_validation": round(total, 2),
            "peak_memory_mb": peak_memory_mb(),
        },
    )


def kept(protocol: str, args: argparse.Namespace) -> tuple[pd.DataFrame, ResponseDataset]:
    """Return predictions of all folds, as stored by runs of one fold each, and the dataset."""
    import pandas as pd

    from halfmax.run import load_data, prepare

    paths = sorted(args.kept.glob(f"{protocol}_*.parquet"))
    config = configuration(protocol, ["mean_effects"], data=args.data)
    dataset = prepare(config, load_data(config)).dataset
    return pd.concat([pd.read_parquet(path) for path in paths], ignore_index=True), dataset


def tell_differences(
    protocol: str, predictions: pd.DataFrame, dataset: ResponseDataset, run: str, args: argparse.Namespace
) -> None:
    """Write how far each model is from the default one, with paired intervals over lines (drugs under LDO).

    Under LTO the lines of a tissue are alike, so the intervals are drawn over tissues, too.
    """
    import pandas as pd

    from halfmax.compare import paired_differences

    tissue = dataset.samples["tissue"].fillna("unknown").to_dict()
    ways: dict[str, dict[str, str] | None] = {"drugs" if protocol == "LDO" else "lines": None}
    if protocol == "LTO":
        ways["tissues"] = tissue
    # the naive baseline is itself a model to compare with
    naive = predictions[predictions["model"] == "mean_effects"].assign(model="mean effects")
    both = pd.concat([predictions, naive], ignore_index=True)
    for drawn, clusters in ways.items():
        found = paired_differences(both, DEFAULT, protocol=protocol, clusters=clusters, n_boot=500, seed=args.seed)
        found["model"] = found["model"].replace("mean effects", "mean_effects")
        if args.folds_only:
            found = found[found["fold"] != "all"]
        keys = ("model", "reference", "fold", "metric", "drawn")
        merge_csv(args.out / f"anchors_{protocol}_differences.csv", found.assign(drawn=drawn, run=run), keys)


def show(protocol: str, folder: Path) -> None:
    """Print the stored figures of a protocol, and its bars."""
    import pandas as pd

    path = folder / f"anchors_{protocol}_metrics.csv"
    if not path.exists():
        print(f"{protocol}: nothing measured yet")
        return
    metrics = pd.read_csv(path, dtype={"fold": str})
    timings = latest(pd.read_csv(folder / f"anchors_{protocol}_timings.csv", dtype={"fold": str}))
    print(f"\n{protocol}")
    for fold in ("0", "all"):
        part = metrics[
            (metrics["fold"] == fold) & metrics["metric"].isin(["rmse", "normalized_r2", "within_drug_pearson"])
        ]
        if len(part):
            print(f"fold {fold}" if fold != "all" else "mean of the folds")
            print(part.pivot(index="model", columns="metric", values="value").sort_values("rmse").round(4).to_string())
    print("CPU seconds, fit and predict, and folds counted")
    print(timings.groupby("model")["cpu_s"].agg(["sum", "size"]).round(2).to_string())
    for bar, value, model in bars(protocol, metrics, timings):
        sign = "≤" if bar.at_most else "≥"
        verdict = "met" if bar.met(value) else "NOT MET"
        print(f"{verdict:8} {bar.what}: {bar.metric} {value:.4g} {sign} {bar.limit:g}  ({model})")


def latest(timings: pd.DataFrame) -> pd.DataFrame:
    """Return, of each model and fold, the row of the last run; what runs shared stays, a row for each run."""
    shared = timings["model"] == SHARED
    own = timings[~shared].sort_values("run", kind="stable").drop_duplicates(["model", "fold"], keep="last")
    return timings.loc[own.index.union(timings.index[shared])]


def bars(protocol: str, metrics: pd.DataFrame, timings: pd.DataFrame) -> Iterator[tuple[Bar, float, str]]:
    """Yield every bar of a protocol that was measured: the bar, the value and the model that gave it."""
    first = metrics[metrics["fold"] == "0"]
    for bar in (b for b in ACCURACY if b.protocol == protocol):
        found = first[(first["metric"] == bar.metric) & (first["model"].isin(bar.models) | (not bar.models))]
        if len(found):
            best = found.loc[found["value"].idxmin() if bar.at_most else found["value"].idxmax()]
            yield bar, float(best["value"]), str(best["model"])
    for bar in (b for b in COST if b.protocol == protocol):
        found = timings[timings["model"].isin(bar.models)]
        if found.empty:
            continue
        value = float(found[bar.metric].max() if bar.metric == "fit_s" else found[bar.metric].sum())
        if bar.models == ("kernel_ridge",):  # the bar counts the features too
            same_run = (timings["model"] == SHARED) & timings["run"].isin(found["run"])
            value += float(timings.loc[same_run, "cpu_s"].sum())
        yield bar, value, bar.models[0]


def _say(progress: Any) -> None:
    if progress.epoch is None and progress.model:
        step = f"{progress.done + 1}/{progress.total}"
        print(f"{step}  fold {progress.fold}  {progress.model}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
