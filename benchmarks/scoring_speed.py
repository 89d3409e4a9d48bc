"""Measure how many pairs a second a saved predictor scores, beside this machine's own matrix-product rate.

Each predictor is fitted on all pairs of the fixed folds, saved and loaded again. Scored are a grid of 900 samples × 228
drugs, its encoding counted, and two million pairs drawn at random from that grid. `predict` is the arrays alone, from
encoded tables to predictions; `table` is the public call from a dataset to a table with ranks against training samples.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import RESULTS, configuration, machine, now, set_threads

if TYPE_CHECKING:
    from halfmax.data.dataset import ResponseDataset
    from halfmax.predictor import Predictor

MODELS = ("kernel_ridge", "mlp")
N_SAMPLES, N_DRUGS, N_RANDOM = 900, 228, 2_000_000
BAR = 1_000_000


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--predictor", nargs="+", type=Path, default=[], help="saved predictors, in place of fitting")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5, help="the median counts (default: %(default)s)")
    parser.add_argument("--data", type=Path, help="a dataset folder in place of the embedded data")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    set_threads(args.threads)

    import torch

    from halfmax.data.storage import write_json
    from halfmax.predictor import Predictor
    from halfmax.run import load_data, prepare

    torch.set_num_threads(args.threads)
    config = configuration("LCO", args.models, data=args.data)
    dataset = prepare(config, load_data(config)).dataset
    report: dict[str, Any] = {"run": now(), "machine": machine(), "matrix_product_gflops": matrix_rate(args.repeats)}
    report |= {"bar_pairs_per_s": BAR, "repeats": args.repeats, "models": {}}
    with tempfile.TemporaryDirectory() as folder:
        saved = args.predictor or [fit(name, config, dataset, Path(folder) / name) for name in args.models]
        for path in saved:
            predictor = Predictor.load(path)
            found = rates(predictor, dataset, args.repeats)
            report["models"][predictor.model_name] = found
            met = "met" if min(found["grid_pairs_per_s"], found["random_pairs_per_s"]) >= BAR else "NOT MET"
            print(f"{predictor.model_name}: {met}  {found}", flush=True)
    print(f"matrix product: {report['matrix_product_gflops']} GFLOP/s")
    args.out.mkdir(parents=True, exist_ok=True)
    write_json(args.out / "scoring_speed.json", report)


def fit(name: str, config: Any, dataset: ResponseDataset, folder: Path) -> Path:
    """Fit a model on all pairs and save it."""
    from halfmax.predictor import Predictor
    from halfmax.run import make_features

    params = config.params_of(name) | ({"epochs": 2} if name == "mlp" else {})  # speed does not depend on the weights
    return Predictor.of(name, params).fit(dataset, features=make_features(config)).save(folder)


def rates(predictor: Predictor, dataset: ResponseDataset, repeats: int) -> dict[str, float]:
    """Return pairs a second of one loaded predictor."""
    import numpy as np

    grid = grid_of(dataset)
    x = predictor.features_.transform(grid)
    rng = np.random.default_rng(0)
    pairs = rng.integers(0, x.n_pairs, N_RANDOM)
    many = replace(x, sample_index=x.sample_index[pairs], drug_index=x.drug_index[pairs])
    return {
        "grid_pairs": x.n_pairs,
        "grid_pairs_per_s": per_second(x.n_pairs, lambda: predictor.predict_pairs(x), repeats),
        "random_pairs": many.n_pairs,
        "random_pairs_per_s": per_second(many.n_pairs, lambda: predictor.predict_pairs(many), repeats),
        "grid_table_pairs_per_s": per_second(x.n_pairs, lambda: predictor.predict(grid), 1),
    }


def grid_of(dataset: ResponseDataset) -> ResponseDataset:
    """Return N_SAMPLES × N_DRUGS unmeasured pairs; beyond the dataset's samples, profiles repeat under new names."""
    import numpy as np
    import pandas as pd

    source = dataset.samples.index[np.arange(N_SAMPLES) % len(dataset.samples)]
    names = [f"sample {i}" for i in range(N_SAMPLES)]
    samples = dataset.samples.loc[source].set_axis(pd.Index(names, name=dataset.samples.index.name))
    drugs = dataset.drugs.iloc[:N_DRUGS]
    complete = {k: v for k, v in dataset.omics.items() if source.isin(v.index).all()}
    frames = {k: v.loc[source].set_axis(names) for k, v in complete.items()}
    response = {
        "sample_id": np.repeat(np.array(names, dtype=object), len(drugs)),
        "drug_id": np.tile(drugs.index.to_numpy(dtype=object), N_SAMPLES),
        "value": np.nan,
    }
    return replace(dataset, response=pd.DataFrame(response), samples=samples, drugs=drugs, omics=frames)


def per_second(n: int, work: Callable[[], object], repeats: int) -> float:
    """Return `n` over the median time of `work`, run once beforehand."""
    import statistics

    if repeats > 1:
        work()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return round(n / statistics.median(seconds))


def matrix_rate(repeats: int) -> float:
    """Return the rate of a float32 product of two 2048 × 2048 matrices [GFLOP/s]."""
    import numpy as np

    size = 2048
    a = np.random.default_rng(0).normal(size=(size, size)).astype(np.float32)
    return round(per_second(2 * size**3, lambda: a @ a, repeats) / 1e9, 1)


if __name__ == "__main__":
    main()
