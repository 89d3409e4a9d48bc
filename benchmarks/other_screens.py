"""Score models that were tuned on GDSC2 ln IC50 on another screen and another measure, as they come.

Leave cell lines out. GDSC2 AUC has the pairs of the fixed folds; GDSC1 ln IC50 has folds of its own (seed 0). No bar is
held here: the question is whether what was chosen on one table carries over to the next without a choice.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from common import RESULTS, configuration, folds_of, merge_csv, now, set_threads, source

TABLES = {"gdsc1-ln_ic50": ("gdsc1-demo", "ln_ic50"), "gdsc2-auc": ("gdsc2-demo", "auc")}
MODELS = ("drug_mean", "mean_effects", "kernel_ridge", "mlp")
METRICS = ("rmse", "r2", "normalized_r2", "within_drug_pearson", "within_drug_spearman")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", nargs="+", choices=tuple(TABLES), default=list(TABLES))
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--folds-only", nargs="+", default=["0", "1", "2"], metavar="FOLD", help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    set_threads(1)

    from halfmax.config import RunConfig
    from halfmax.evaluate import ModelSpec, cross_validate
    from halfmax.run import load_data, make_features, prepare

    for name in args.table:
        dataset, measure = TABLES[name]
        content = configuration("LCO", args.models, only=args.folds_only).model_dump(exclude={"save"})
        content["data"] = {"name": dataset, "measure": measure}
        content["split"]["folds"] = folds_of("LCO") if dataset == "gdsc2-demo" else None
        config = RunConfig.model_validate(content | {"save": ()})
        prepared = prepare(config, load_data(config))
        specs = [ModelSpec(m, m, config.params_of(m)) for m in args.models]
        found = cross_validate(
            prepared.dataset,
            prepared.splits,
            specs,
            features=lambda config=config: make_features(config),  # type: ignore[misc]
            n_boot=100,
            on_progress=_say,
        )
        table = found.metrics.query("group_by == 'all' and fold == 'all'")
        table = table[table["metric"].isin(METRICS)][["model", "metric", "value", "low", "high", "n"]]
        place = {"table": name, "folds": " ".join(args.folds_only), "run": now(), "commit": source().get("commit", "")}
        merge_csv(args.out / "other_screens.csv", table.assign(**place), ("table", "folds", "model", "metric"))
        print(name, table.pivot(index="model", columns="metric", values="value").round(4).to_string(), sep="\n")


def _say(progress: Any) -> None:
    if progress.epoch is None and progress.model:
        print(f"{progress.done + 1}/{progress.total}  {progress.model}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
