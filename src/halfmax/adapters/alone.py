"""Fit one model on one fold, alone in a process, and say what it cost.

Counted as the process's cost: everything after the imports, from reading the data to the predictions of the test pairs.
Fitting and predicting are counted apart, as in every run.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from halfmax.adapters.process import peak_memory_mb, run_job
from halfmax.config import RunConfig, load_config
from halfmax.data.dataset import ResponseDataset
from halfmax.data.storage import atomic_file, write_json
from halfmax.errors import DataError
from halfmax.evaluate import ModelSpec, cross_validate
from halfmax.models.base import MODELS
from halfmax.resume import Fitted
from halfmax.split import Split

PAIR = ["sample_id", "drug_id"]


def alone(config: RunConfig, label: str) -> Callable[[ResponseDataset, Split], Fitted]:
    """Return what fits the model `label` of a configuration in a process of its own; see `ModelSpec.runner`.

    The process reads the data that the configuration names and cuts the same folds, so a model that is registered in
    this process alone cannot run there: give it an entry point.

    Parameters
    ----------
    config
        Names its data by an embedded dataset or files.
    """

    def fit(dataset: ResponseDataset, split: Split) -> Fitted:
        with tempfile.TemporaryDirectory(prefix="halfmax-alone-") as place:
            folder = Path(place)
            path = folder / "config.toml"
            path.write_text(config.to_toml(), encoding="utf-8")
            command = [sys.executable, "-m", "halfmax.adapters.alone", "--config", path, "--model", label]
            told, cost = run_job([*command, "--fold", split.fold], folder / "out", f"{label}, fold {split.fold}")
            curve = pd.DataFrame(cost["curve"])
        return in_order(told, dataset, split, label), timing_of(cost), curve

    return fit


def in_order(
    told: pd.DataFrame, dataset: ResponseDataset, split: Split, label: str
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return predictions, columns sample_id, drug_id, y_pred, in the order of the split's test pairs.

    Raises
    ------
    DataError
        If a test pair has none, or more than one.
    """
    test = dataset.response[PAIR].iloc[split.test].astype(str)
    told = told.astype({name: str for name in PAIR})
    twice = told.duplicated(PAIR)
    if twice.any():
        raise DataError(f"{label} predicted {int(twice.sum())} pairs of fold {split.fold} more than once.")
    joined = test.merge(told, on=PAIR, how="left", validate="many_to_one")["y_pred"].to_numpy(dtype=np.float64)
    if np.isnan(joined).any():
        raise DataError(
            f"{label} left {int(np.isnan(joined).sum())} of {len(joined)} pairs of fold {split.fold} without a number."
        )
    return joined


def timing_of(cost: dict[str, Any]) -> dict[str, float]:
    """Return a job's cost as a row of timings: peak_mb [MB] and process_cpu_s [s] beside the usual columns."""
    found = {name: float(value) for name, value in cost["timing"].items()}
    return found | {"peak_mb": float(cost["peak_rss_mb"]), "process_cpu_s": float(cost["cpu_s"])}


def main(argv: list[str] | None = None) -> None:
    """Do the job that `alone` gives."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True, help="TOML of the run")
    parser.add_argument("--model", required=True)
    parser.add_argument("--fold", required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder for predictions.parquet and cost.json")
    args = parser.parse_args(argv)

    from halfmax.run import load_data, make_features, make_threshold, prepare

    config = load_config(args.config)
    MODELS.get(args.model)  # imports what the model needs
    cpu, wall = time.process_time(), time.perf_counter()
    prepared = prepare(config, load_data(config))
    split = next(each for each in prepared.splits if each.fold == args.fold)
    found = cross_validate(
        prepared.dataset,
        [split],
        [ModelSpec(args.model, args.model, config.params_of(args.model))],
        features=lambda: make_features(config),
        threshold=make_threshold(config),
        decide=config.task.decide,
        n_boot=0,
        seed=config.seed,
    )
    cost: dict[str, Any] = {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}
    timing = found.timings.drop(columns=["model", "fold"]).iloc[0].to_dict()
    curve = found.curves.drop(columns=["model", "fold"]).astype(object)
    cost |= {
        "peak_rss_mb": peak_memory_mb(),
        "timing": timing,
        "curve": curve.where(curve.notna(), None).to_dict("list"),
    }
    with atomic_file(args.out / "predictions.parquet") as path:
        found.predictions[[*PAIR, "y_pred"]].to_parquet(path, index=False)
    write_json(args.out / "cost.json", json.loads(json.dumps(cost, default=float)))


if __name__ == "__main__":
    main()
