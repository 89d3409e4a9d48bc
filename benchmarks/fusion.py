"""What fusing modalities adds to expression, against the network on expression alone, on inner folds.

    python benchmarks/fusion.py genome proteins proteins-aligned

A comparison gives every variant the same lines, inner folds of the training part of fold 0, and bootstrap draws; the
first variant is the reference. Results go to ``results/fusion.csv``.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from common import RESULTS, configuration, merge_csv, now, set_threads, source
from multiomics import read_lines, with_modality

if TYPE_CHECKING:
    from halfmax.data.dataset import ResponseDataset
    from halfmax.evaluate import ModelSpec

EXPRESSION = ("expression",)
GENOME = (*EXPRESSION, "mutation", "copy_number")
PROTEINS = (*EXPRESSION, "proteomics")
EVENTS = (*GENOME, "events")
#: Comparison to variants, each a model and its modalities; and the modality that every line must have.
COMPARISONS: dict[str, tuple[dict[str, tuple[str, tuple[str, ...]]], str]] = {
    "genome": ({"mlp": ("mlp", EXPRESSION), "fusion": ("fusion", GENOME)}, "expression"),
    "genome-early": ({"mlp": ("mlp", EXPRESSION), "early": ("mlp", GENOME)}, "expression"),
    "events": ({"mlp": ("mlp", EXPRESSION), "fusion": ("fusion", EVENTS)}, "expression"),
    "proteins": ({"mlp": ("mlp", EXPRESSION), "fusion": ("fusion", PROTEINS)}, "expression"),
    "proteins-aligned": ({"mlp": ("mlp", EXPRESSION), "fusion": ("fusion", PROTEINS)}, "proteomics"),
}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("comparisons", nargs="+", choices=tuple(COMPARISONS))
    parser.add_argument(
        "--shared", type=Path, default=os.environ.get("HALFMAX_SHARED_DATA"), help="folder of the files"
    )
    parser.add_argument("--parts", type=int, default=2, help="inner folds scored (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--n-boot", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    set_threads(1)
    for name in args.comparisons:
        compare(name, args)


def compare(name: str, args: argparse.Namespace) -> None:
    """Score the variants of one comparison and write differences to the first."""
    import pandas as pd
    import torch

    from halfmax.ablation import paired_differences
    from halfmax.evaluate import BASELINE, ModelSpec

    torch.set_num_threads(1)
    variants, required = COMPARISONS[name]
    dataset, needed = training_part(args.shared, proteins="proteins" in name), "proteomics"
    dataset, _ = dataset.align([required] if required != needed else ["expression", needed])
    predictions, scores = [], []
    for variant, (model, modalities) in variants.items():
        specs = [ModelSpec(BASELINE, BASELINE), ModelSpec("network", model, {"seed": args.seed})]
        found, cpu = scored(dataset, specs, modalities, args.parts)
        predictions.append(found.predictions.assign(variant=variant))
        overall = found.metrics.query("group_by == 'all' and fold == 'all' and model == 'network'")
        values = overall.set_index("metric")["value"]
        row = {"comparison": name, "variant": variant, "model": model, "modalities": "+".join(modalities)}
        row |= {"lines": len(dataset.samples), "parts": args.parts, "seed": args.seed, "cpu_s": round(cpu, 1)}
        row |= {metric: round(values[metric], 4) for metric in ("rmse", "normalized_r2", "within_drug_pearson")}
        scores.append(row | {"run": now(), "commit": source().get("commit", "")})
        print(scores[-1], flush=True)
    table = pd.concat(predictions, ignore_index=True)
    differences = paired_differences(table, list(variants), n_boot=args.n_boot, seed=args.seed)
    chosen = differences.query("fold == 'all' and metric in ('normalized_r2', 'within_drug_pearson')")
    print(chosen[["variant", "metric", "value", "low", "high"]].round(4).to_string(index=False), flush=True)
    wide = chosen.pivot(index="variant", columns="metric", values=["value", "low", "high"])
    wide.columns = [f"{metric}_{'gain' if part == 'value' else part}" for part, metric in wide.columns]
    rows = pd.DataFrame(scores).merge(wide.round(4).reset_index(), on="variant", how="left")
    merge_csv(args.out / "fusion.csv", rows, ("comparison", "variant", "parts", "seed"))


def training_part(shared: Path | None, *, proteins: bool) -> ResponseDataset:
    """Return the training rows of fold 0 of the fixed folds, with proteins where they are asked for."""
    from halfmax.run import load_data, prepare

    config = configuration("LCO", ["mean_effects"], only=["0"])
    prepared = prepare(config, load_data(config))
    dataset = prepared.dataset.take(prepared.splits[0].fit_rows)
    if not proteins:
        return dataset
    if shared is None:
        raise SystemExit("give --shared FOLDER or set HALFMAX_SHARED_DATA")
    return with_modality(dataset, shared, "proteomics", read_lines(shared))


def scored(dataset: ResponseDataset, specs: list[ModelSpec], modalities: tuple[str, ...], parts: int):  # type: ignore[no-untyped-def]
    """Return the results on inner folds, and the CPU seconds of all models."""
    from halfmax.evaluate import cross_validate
    from halfmax.features.pipeline import FeaturePipeline
    from halfmax.split import make_splits

    inner = make_splits(dataset, "LCO", n_folds=5, seed=1)[:parts]
    cpu = time.process_time()
    found = cross_validate(dataset, inner, specs, features=lambda: FeaturePipeline(modalities), n_boot=0)
    return found, time.process_time() - cpu


if __name__ == "__main__":
    main()
