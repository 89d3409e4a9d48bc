"""Fit one drevalpy model on one fold, inside drevalpy's own environment and through its public interface only.

Counted: everything after the imports, from reading the feature files to the predictions of the test pairs. Early
stopping follows drevalpy's own recipe: a tenth of the training groups is set aside, a quarter of that stops the
training and the rest is trained on. The peer's Python runs this file, so it imports nothing of halfmax.
"""

from __future__ import annotations

import argparse
import inspect
import json
import resource
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd


def main(argv: list[str] | None = None) -> None:
    """Fit a model and write predictions.parquet and cost.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="write the model's own hyper-parameter sets and do no more")
    parser.add_argument("--data", type=Path, help="folder in drevalpy's layout")
    parser.add_argument("--dataset", default="GDSC2")
    parser.add_argument("--pairs", type=Path, help="table with columns cell, drug, y, test (and tissue)")
    parser.add_argument("--protocol", choices=("LCO", "LPO", "LDO", "LTO"), default="LCO")
    parser.add_argument("--model", required=True)
    parser.add_argument("--set", default="{}", help="hyper-parameters over the model's first set, as JSON")
    parser.add_argument("--out", type=Path, required=True, help="folder for predictions.parquet and cost.json")
    args = parser.parse_args(argv)

    import numpy as np
    import pandas as pd
    import torch
    from drevalpy.datasets.dataset import DrugResponseDataset  # type: ignore[import-not-found,unused-ignore]
    from drevalpy.experiment import seed_everything  # type: ignore[import-not-found,unused-ignore]
    from drevalpy.models import MODEL_FACTORY  # type: ignore[import-not-found,unused-ignore]

    if args.model not in MODEL_FACTORY:
        raise SystemExit(f"drevalpy has no model {args.model!r}; it has {', '.join(sorted(MODEL_FACTORY))}.")
    args.out.mkdir(parents=True, exist_ok=True)
    if args.list:
        pd.DataFrame().to_parquet(args.out / "predictions.parquet")
        sets = MODEL_FACTORY[args.model].get_hyperparameter_set()
        (args.out / "cost.json").write_text(json.dumps({"sets": sets}, default=str), encoding="utf-8")
        return
    torch.set_num_threads(1)
    seed_everything(42)
    cpu, wall = time.process_time(), time.perf_counter()

    def responses(rows: pd.DataFrame) -> DrugResponseDataset:
        return DrugResponseDataset(
            response=rows["y"].to_numpy(dtype=float),
            cell_line_ids=rows["cell"].to_numpy(dtype=str),
            drug_ids=rows["drug"].to_numpy(dtype=str),
            tissues=rows["tissue"].to_numpy(dtype=str) if "tissue" in rows else None,
            dataset_name=args.dataset,
        )

    pairs = pd.read_parquet(args.pairs)
    test = pairs[pairs["test"]]
    model = MODEL_FACTORY[args.model]()
    settings = dict(MODEL_FACTORY[args.model].get_hyperparameter_set()[0]) | json.loads(args.set)
    model.build_model(settings)
    cells = model.load_cell_line_features(str(args.data), args.dataset)
    drugs = model.load_drug_features(str(args.data), args.dataset)
    train, stop = training_sets(pairs[~pairs["test"]], args.protocol, responses, stops=model.early_stopping)
    arguments = {"output": train, "cell_line_input": cells, "drug_input": drugs, "output_earlystopping": stop}
    with tempfile.TemporaryDirectory() as checkpoints:
        if "model_checkpoint_dir" in inspect.signature(model.train).parameters:
            arguments["model_checkpoint_dir"] = checkpoints
        begun, before = time.perf_counter(), time.process_time()
        model.train(**arguments)
        fitted = time.perf_counter()
        wanted = responses(test)
        predicted = model.predict(
            cell_line_ids=wanted.cell_line_ids, drug_ids=wanted.drug_ids, cell_line_input=cells, drug_input=drugs
        )
    timing = {"fit_s": fitted - begun, "predict_s": time.perf_counter() - fitted, "cpu_s": time.process_time() - before}
    cost: dict[str, object] = {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}
    table = test[["cell", "drug"]].assign(predicted=np.asarray(predicted, dtype=float).ravel())
    table.to_parquet(args.out / "predictions.parquet", index=False)
    n_stop = 0 if stop is None else len(stop)
    cost |= {"peak_rss_mb": peak_memory_mb(), "n_train": len(train), "n_stop": n_stop}
    cost |= {"timing": timing | {"n_train": len(train) + n_stop, "n_test": len(test)}}
    (args.out / "cost.json").write_text(json.dumps(cost | {"settings": settings}, default=str), encoding="utf-8")


def training_sets(
    train: pd.DataFrame, protocol: str, responses: Callable[[pd.DataFrame], Any], *, stops: bool
) -> tuple[Any, Any]:
    """Return training and early-stopping responses as drevalpy's experiments cut them."""
    import numpy as np
    from drevalpy.datasets.dataset import split_early_stopping_data  # type: ignore[import-not-found,unused-ignore]

    held_out, stop = None, None
    if stops:
        rng = np.random.default_rng(42)
        column = {"LCO": "cell", "LDO": "drug", "LTO": "tissue"}.get(protocol)
        groups = np.arange(len(train)) if column is None else train[column].to_numpy()
        distinct = np.unique(groups)
        aside = np.isin(groups, rng.permutation(distinct)[: round(len(distinct) / 10)])
        held_out, stop = split_early_stopping_data(responses(train[aside]), test_mode=protocol)
        train = train[~aside]
    output = responses(train)
    if held_out is not None:
        output.add_rows(held_out)
    output.shuffle(random_state=42)
    return output, stop


def peak_memory_mb() -> float:
    """Return the most memory that this process has held [MB]."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(row for row in status.read_text(encoding="ascii").splitlines() if row.startswith("VmHWM"))
        return round(int(line.split()[1]) / 1024)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == "__main__":
    main()
