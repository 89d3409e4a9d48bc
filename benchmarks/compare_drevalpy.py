"""Compare halfmax with drevalpy 1.6.0: the same data, folds, metrics and machine, one thread each, in one run.

drevalpy lives in its own environment: --peer-python names its Python, or --make-env makes one (about 2 GB). Every model
of either system is fitted in a process of its own. Metrics of both are computed here from the predictions, by the same
code and against the same mean-effects baseline. The peer is given halfmax's embedded data in its own folder layout:
expression (all genes, or the most variable over the training samples), fingerprints of 256 bits and names.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import PROTOCOLS, RESULTS, add_run, configuration, machine, merge_csv, now, set_threads

if TYPE_CHECKING:
    import pandas as pd

    from halfmax.data.dataset import ResponseDataset
    from halfmax.metrics import Fold
    from halfmax.split import Split

OURS = {
    "LCO": ("mean_effects", "kernel_ridge", "mlp"),
    "LPO": ("mean_effects", "response_gp", "mlp"),
    "LDO": ("mean_effects", "kernel_ridge", "mlp"),
    "LTO": ("mean_effects", "kernel_ridge", "mlp"),
}
#: What the peer's models are held against, pair by pair: the model that a run of halfmax saves by default.
DEFAULT = "wide_deep"
#: One member, cut short: what a patient person waits for. drevalpy's own default is 20 members of up to 300 epochs.
PEERS = ("NaiveMeanEffectsPredictor", 'EnsembleMF:{"n_ensemble": 1, "max_epochs": 60, "patience": 10}')
VERSIONS = """
import json, platform
from importlib.metadata import version
names = ("drevalpy", "torch", "numpy", "scikit-learn")
print(json.dumps({"python": platform.python_version(), **{name: version(name) for name in names}}))
"""


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--peer-python", type=Path, help="Python of an environment with drevalpy 1.6.0")
    where.add_argument("--make-env", type=Path, metavar="FOLDER", help="make that environment here, then compare")
    parser.add_argument("--protocol", nargs="+", choices=PROTOCOLS, default=["LCO"])
    parser.add_argument("--fold", default="0")
    parser.add_argument("--ours", nargs="*", help="halfmax models; the protocol's own list by default")
    parser.add_argument("--peers", nargs="*", default=list(PEERS), metavar="MODEL[:JSON]", help="default: %(default)s")
    parser.add_argument("--genes", type=int, default=0, help="most variable genes for the peer; 0, the default, is all")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="store the predictions of every model here")
    parser.add_argument(
        "--kept", type=Path, metavar="FOLDER", help="halfmax's predictions, as anchors.py --keep stores them"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, help="a dataset folder in place of the embedded data")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    set_threads(1)
    from halfmax.adapters.peers import make_environment

    python = args.peer_python.absolute() if args.peer_python else make_environment(args.make_env.absolute())
    peer = json.loads(subprocess.run([python, "-c", VERSIONS], check=True, capture_output=True, text=True).stdout)
    run, circumstances = now(), machine()
    for protocol in args.protocol:
        compare(protocol, python, run, args)
    details = {"protocols": args.protocol, "fold": args.fold, "peers": args.peers, "peer_genes": args.genes or "all"}
    add_run(args.out / "compare_drevalpy_environment.json", run, circumstances | {"peer": peer} | details)


def compare(protocol: str, python: Path, run: str, args: argparse.Namespace) -> None:
    """Fit and score every model of both systems on one fold; write each result as it comes."""
    import pandas as pd

    from halfmax.adapters.peers import write_data, write_pairs
    from halfmax.adapters.process import run_job
    from halfmax.run import load_data, prepare

    ours = OURS[protocol] if args.ours is None else tuple(args.ours)
    config = configuration(protocol, ["mean_effects"], only=[args.fold], data=args.data, seed=args.seed)
    prepared = prepare(config, load_data(config))
    dataset, split = prepared.dataset, prepared.splits[0]
    fold = make_fold(dataset, split)
    with tempfile.TemporaryDirectory(prefix="halfmax-peer-") as place:
        folder = Path(place)
        write_data(dataset, split, folder / "data", args.genes)
        write_pairs(dataset, split.fit_rows, split.test, folder / "pairs.parquet")
        jobs = [("halfmax", model, own_command(model, protocol, folder, args)) for model in ours]
        jobs += [("drevalpy", model, peer_command(python, model, protocol, folder)) for model in args.peers]
        told: list[pd.DataFrame] = []
        for system, model, command in jobs:
            out = folder / "result"
            found, cost = run_job(command, out, model, cwd=folder if system == "drevalpy" else None)
            row = {"system": system, "model": label(system, model, args.genes), "protocol": protocol, "fold": args.fold}
            predicted = matched(found, dataset, split)
            row |= score(predicted, fold)
            told.append(
                predicted.assign(fold=args.fold, model=row["model"] if system == "halfmax" else f"peer {model}")
            )
            row |= {key: round(cost[key], 2) for key in ("cpu_s", "wall_s", "peak_rss_mb")}
            print(json.dumps(row), flush=True)
            table = pd.DataFrame([row | {"run": run}])
            merge_csv(args.out / "compare_drevalpy.csv", table, ("system", "model", "protocol", "fold"))
    if args.keep is not None:
        args.keep.mkdir(parents=True, exist_ok=True)
        pd.concat(told, ignore_index=True).to_parquet(args.keep / f"{protocol}_{args.fold}_{now()}.parquet")
    if args.kept is not None:
        told.append(pd.read_parquet(args.kept / f"{protocol}_{args.fold}.parquet"))
    tell_differences(pd.concat(told, ignore_index=True), protocol, dataset, run, args)


def tell_differences(
    predictions: pd.DataFrame, protocol: str, dataset: ResponseDataset, run: str, args: argparse.Namespace
) -> None:
    """Write how far each of the peer's models is from halfmax's default one, with paired intervals.

    Under LTO the intervals are drawn over lines and over tissues; otherwise over lines, or drugs under LDO.
    """
    from halfmax.compare import BASELINE, paired_differences

    models = [m for m in predictions["model"].unique() if m.startswith("peer ")]
    if not models or not {DEFAULT, BASELINE} <= set(predictions["model"]):
        return
    tissue = dataset.samples["tissue"].fillna("unknown").to_dict()
    ways = {"drugs" if protocol == "LDO" else "lines": None} | ({"tissues": tissue} if protocol == "LTO" else {})
    for drawn, clusters in ways.items():
        found = paired_differences(predictions, DEFAULT, models, protocol=protocol, clusters=clusters, n_boot=500)
        found = found[found["fold"] != "all"].assign(protocol=protocol, drawn=drawn, run=run)
        found["model"] = [label("drevalpy", m.removeprefix("peer "), args.genes) for m in found["model"]]
        keys = ("model", "reference", "protocol", "fold", "metric", "drawn")
        merge_csv(args.out / "compare_drevalpy_differences.csv", found, keys)


def make_fold(dataset: ResponseDataset, split: Split) -> Fold:
    """Return the test pairs with the baseline that both systems are held against: mean effects of the training rows."""
    import numpy as np
    import pandas as pd

    from halfmax.metrics import Fold
    from halfmax.predictor import Predictor

    baseline = Predictor.of("mean_effects").fit(dataset.take(split.fit_rows))
    test = dataset.take(split.test)
    expected = baseline.predict_pairs(baseline.features_.transform(test)).mean.astype(np.float64)
    sample, drug = (pd.factorize(test.response[c])[0].astype(np.int64) for c in ("sample_id", "drug_id"))
    cluster = drug if split.protocol == "LDO" else sample
    return Fold(test.response["value"].to_numpy(dtype=np.float64), expected, sample, drug, cluster)


def matched(found: pd.DataFrame, dataset: ResponseDataset, split: Split) -> pd.DataFrame:
    """Return predictions of the test pairs: sample_id, drug_id, y_true, y_pred, in the dataset's order."""
    test = dataset.take(split.test).response
    names = {"cell": "sample_id", "drug": "drug_id", "predicted": "y_pred"}
    predicted = found.rename(columns=names).astype({"sample_id": str, "drug_id": str})
    joined = test.merge(predicted, on=["sample_id", "drug_id"], how="left", validate="one_to_one")
    return joined.rename(columns={"value": "y_true"})[["sample_id", "drug_id", "y_true", "y_pred"]]


def score(predicted: pd.DataFrame, fold: Fold) -> dict[str, float]:
    """Return the metrics of predictions that `matched` has put in order."""
    import numpy as np

    from halfmax.metrics import regression_metrics

    found = regression_metrics(fold, predicted["y_pred"].to_numpy(dtype=np.float64), n_boot=0)
    return {name: round(found[name][0], 5) for name in ("rmse", "normalized_r2", "within_drug_pearson")}


def own_command(model: str, protocol: str, folder: Path, args: argparse.Namespace) -> list[Any]:
    data = None if args.data is None else args.data.absolute()
    config = configuration(protocol, [model], only=[args.fold], data=data, seed=args.seed)
    path = folder / f"{model}.toml"
    path.write_text(config.to_toml(), encoding="utf-8")
    return [sys.executable, "-m", "halfmax.adapters.alone", "--config", path, "--fold", args.fold, "--model", model]


def peer_command(python: Path, model: str, protocol: str, folder: Path) -> list[Any]:
    from halfmax.adapters.peers import peer_command as command

    name, _, settings = model.partition(":")
    return command(python, name, json.loads(settings or "{}"), protocol, folder / "data", folder / "pairs.parquet")


def label(system: str, model: str, genes: int) -> str:
    """Return the model's name with what was changed in it, so that no figure passes for another's."""
    name, _, settings = model.partition(":")
    if system == "halfmax" or name == "NaiveMeanEffectsPredictor":
        return name
    changed = [f"{key}={value}" for key, value in json.loads(settings or "{}").items()]
    changed.append(f"genes={genes or 'all'}")
    return f"{name} ({', '.join(changed)})"


if __name__ == "__main__":
    main()
