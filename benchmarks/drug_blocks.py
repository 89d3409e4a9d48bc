"""What each drug block adds for unseen drugs, on inner folds of the training part of fold 0 (no look at test folds).

    python benchmarks/drug_blocks.py --model kernel_ridge

Drugs are left out as under LDO, in five inner folds. Results go to ``results/drug_blocks.csv``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from common import RESULTS, configuration, merge_csv, now, set_threads, source

STRUCTURE = ("fingerprint", "atom_pair", "descriptors")
WHOLE = (*STRUCTURE, "targets", "mechanism", "pathway", "process", "stage")
VARIANTS = {
    "all": WHOLE,
    "structure": STRUCTURE,
    "without process": tuple(b for b in WHOLE if b != "process"),
    "without stage": tuple(b for b in WHOLE if b != "stage"),
    "without process and stage": tuple(b for b in WHOLE if b not in ("process", "stage")),
    "facts": tuple(b for b in WHOLE if b not in STRUCTURE),
}


def main(argv: list[str] | None = None) -> None:
    """Fit and score the model once a variant and inner fold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="kernel_ridge")
    parser.add_argument("--parts", type=int, default=5)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    set_threads(1)

    import pandas as pd

    from halfmax.evaluate import ModelSpec, cross_validate
    from halfmax.run import load_data, make_features, prepare
    from halfmax.split import make_splits

    config = configuration("LDO", ["mean_effects"], only=["0"])
    prepared = prepare(config, load_data(config))
    dataset = prepared.dataset.take(prepared.splits[0].fit_rows)
    inner = make_splits(dataset, "LDO", n_folds=5, seed=1)[: args.parts]
    for variant in args.variants:
        section = config.features.model_copy(update={"drug_blocks": VARIANTS[variant]})
        chosen = config.model_copy(update={"features": section})
        spec = ModelSpec(args.model, args.model, {})
        found = cross_validate(dataset, inner, [spec], features=lambda c=chosen: make_features(c), n_boot=0)
        overall = found.metrics.query("group_by == 'all' and fold == 'all'").set_index("metric")["value"]
        row = {"model": args.model, "blocks": variant, "parts": args.parts}
        row |= {metric: round(overall[metric], 4) for metric in ("rmse", "normalized_r2", "within_drug_pearson")}
        row |= {"cpu_s": round(found.timings["cpu_s"].sum(), 1), "run": now(), "commit": source().get("commit", "")}
        print(json.dumps(row), flush=True)
        merge_csv(args.out / "drug_blocks.csv", pd.DataFrame([row]), ("model", "blocks", "parts"))


if __name__ == "__main__":
    main()
