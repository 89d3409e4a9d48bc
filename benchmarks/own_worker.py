"""Fit one halfmax model on one fixed fold, alone in a process, and say what it cost.

Counted: everything after the imports, from reading the dataset in the cache to the predictions of the test pairs.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from common import PROTOCOLS, configuration, peak_memory_mb


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--protocol", choices=PROTOCOLS, required=True)
    parser.add_argument("--fold", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, help="a dataset folder in place of the embedded data")
    parser.add_argument("--out", type=Path, required=True, help="folder for predictions.parquet and cost.json")
    args = parser.parse_args(argv)

    import torch

    from halfmax.models.base import MODELS
    from halfmax.predictor import Predictor
    from halfmax.run import load_data, make_features, prepare

    torch.set_num_threads(1)
    MODELS.get(args.model)  # imports what the model needs
    cpu, wall = time.process_time(), time.perf_counter()
    config = configuration(args.protocol, [args.model], only=[args.fold], data=args.data, seed=args.seed)
    prepared = prepare(config, load_data(config))
    dataset, split = prepared.dataset, prepared.splits[0]
    validates = bool(getattr(MODELS.get(args.model), "uses_valid", False)) and len(split.valid) > 0
    train = dataset.take(split.train if validates else split.fit_rows)
    valid = dataset.take(split.valid) if validates else None
    predictor = Predictor.of(args.model, config.params_of(args.model)).fit(train, valid, features=make_features(config))
    test = dataset.take(split.test)
    predicted = predictor.predict_pairs(predictor.features_.transform(test)).mean
    cost = {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}
    args.out.mkdir(parents=True, exist_ok=True)
    table = test.response.rename(columns={"sample_id": "cell", "drug_id": "drug"})[["cell", "drug"]]
    table.assign(predicted=predicted).to_parquet(args.out / "predictions.parquet", index=False)
    cost |= {"peak_rss_mb": peak_memory_mb(), "n_train": train.n_pairs, "n_stop": 0 if valid is None else valid.n_pairs}
    (args.out / "cost.json").write_text(json.dumps(cost), encoding="utf-8")


if __name__ == "__main__":
    main()
