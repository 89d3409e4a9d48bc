"""What proteomics, metabolomics and methylation add to expression, on GDSC2 and CCLE responses.

For each screen and modality the same cell lines, folds and bootstrap draws serve three variants: expression, the
modality alone, both. The folds are made here (leave cell lines out) and are not the fixed ones of the anchors.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import RESULTS, add_run, machine, merge_csv, now, peak_memory_mb, set_threads

if TYPE_CHECKING:
    import pandas as pd

    from halfmax.data.dataset import ResponseDataset

FILES = {
    "proteomics": "omics/CCLE_RPPA_20181003.csv",
    "metabolomics": "omics/CCLE_metabolomics_20190502.csv",
    "methylation": "omics/CCLE_RRBS_methylation_561x808.parquet",
}
CCLE_RESPONSE = "ccle/CCLE_NP24.2009_Drug_data_2015.02.24.csv"
CCLE_EXPRESSION = "ccle/CCLE_DepMap_expr_zscore_580x706.parquet"
LINES = "ccle/cell_line_crosswalk.csv"
SCREENS = ("GDSC2", "CCLE")
BASELINES = ("drug_mean", "tissue_drug_mean")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--shared", type=Path, default=os.environ.get("HALFMAX_SHARED_DATA"), help="folder of the files"
    )
    parser.add_argument("--screens", nargs="+", choices=SCREENS, default=list(SCREENS))
    parser.add_argument("--modalities", nargs="+", choices=tuple(FILES), default=list(FILES))
    parser.add_argument("--models", nargs="+", default=["kernel_ridge"])
    parser.add_argument("--n-folds", type=int, default=5)
    parser.add_argument("--n-boot", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    args = parser.parse_args(argv)
    if args.shared is None:
        parser.error("give --shared FOLDER or set HALFMAX_SHARED_DATA")
    set_threads(args.threads)
    lines = read_lines(args.shared)
    for screen in args.screens:
        dataset = (gdsc2 if screen == "GDSC2" else ccle)(args.shared, lines)
        for modality in args.modalities:
            measure(screen, with_modality(dataset, args.shared, modality, lines), modality, args)


def measure(screen: str, dataset: ResponseDataset, modality: str, args: argparse.Namespace) -> None:
    """Compare the variants of one screen and modality, and write what was found."""
    from halfmax.ablation import ablate
    from halfmax.evaluate import BASELINE, ModelSpec
    from halfmax.models.base import MODELS
    from halfmax.state import parameters_of

    run, circumstances = now(), machine()
    cpu = time.process_time()
    variants = {"expression": ["expression"], modality: [modality], f"expression+{modality}": ["expression", modality]}
    seeded = [n for n in args.models if "seed" in parameters_of(MODELS.get(n))]
    specs = [ModelSpec(n, n, {"seed": args.seed} if n in seeded else {}) for n in (*BASELINES, *args.models)]
    found = ablate(dataset, variants, specs, n_folds=args.n_folds, n_boot=args.n_boot, seed=args.seed)
    cost = time.process_time() - cpu
    place = {"screen": screen, "modality": modality, "run": run}
    repeated = found.metrics["model"].isin([BASELINE, *BASELINES]) & (found.metrics["variant"] != "expression")
    metrics = found.metrics[(found.metrics["group_by"] == "all") & ~repeated].assign(**place)
    differences = found.differences[~found.differences["model"].isin(BASELINES)].assign(**place)
    keys = ["screen", "modality", "variant", "model", "fold", "metric"]
    merge_csv(args.out / "multiomics_metrics.csv", front(metrics, keys), keys)
    merge_csv(args.out / "multiomics_differences.csv", front(differences, keys), keys)
    add_run(
        args.out / "multiomics_environment.json",
        f"{run} {screen} {modality}",
        circumstances
        | {
            "models": {spec.label: dict(spec.params) for spec in specs},
            "folds": {"protocol": "LCO", "n_folds": args.n_folds, "seed": args.seed, "n_boot": args.n_boot},
            "features": {name: dataset.omics[name].shape[1] for name in ("expression", modality)},
            "dropped": found.dropped.to_frame().to_dict("records"),
            "pairs": found.dropped.n_after,
            "lines": dataset.notes["lines"],
            "cpu_s": round(cost, 1),
            "peak_memory_mb": peak_memory_mb(),
        },
    )
    show(screen, modality, found.metrics, found.differences, cost)


def show(screen: str, modality: str, metrics: pd.DataFrame, differences: pd.DataFrame, cost: float) -> None:
    """Print the figures over folds."""
    chosen = metrics.query("fold == 'all' and group_by == 'all' and metric in ('rmse', 'normalized_r2')")
    print(f"\n{screen}, {modality}: {cost:.0f} s CPU")
    print(chosen.pivot_table(index=["variant", "model"], columns="metric", values="value").round(4).to_string())
    own = differences.query("fold == 'all' and metric in ('normalized_r2', 'within_drug_pearson')")
    own = own[~own["model"].isin(BASELINES)]
    shown = own[["variant", "reference", "model", "metric", "value", "low", "high", "n_pairs", "n_samples", "n_drugs"]]
    print(shown.round(4).to_string(index=False), flush=True)


def front(table: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    return table[[*keys, *(c for c in table.columns if c not in keys)]]


def read_lines(shared: Path) -> pd.DataFrame:
    """Return the table of cell lines, by their DepMap id."""
    import pandas as pd

    return pd.read_csv(shared / LINES, dtype=str).set_index("ModelID")


def by_ccle_name(lines: pd.DataFrame) -> pd.Series:
    """Return the DepMap id of each CCLE name that names one line."""
    import pandas as pd

    named = lines[lines["CCLEName"].notna() & ~lines["CCLEName"].duplicated(keep=False)]
    return pd.Series(named.index, index=named["CCLEName"])


def gdsc2(shared: Path, lines: pd.DataFrame) -> ResponseDataset:
    """Return the embedded GDSC2 responses and expression."""
    from halfmax import load_dataset

    return load_dataset("gdsc2-demo")


def ccle(shared: Path, lines: pd.DataFrame) -> ResponseDataset:
    """Return the CCLE responses as activity area / 8 (0 = no effect), with DepMap expression of cancer genes.

    The activity area sums a curve's effect over eight doses; IC50 stands at the highest dose for most pairs.
    """
    import numpy as np
    import pandas as pd

    from halfmax.data.dataset import MEASURES, ResponseDataset

    table = pd.read_csv(shared / CCLE_RESPONSE)
    sample = table["CCLE Cell Line Name"].map(by_ccle_name(lines))
    long = pd.DataFrame({"sample_id": sample, "drug_id": table["Compound"], "value": table["ActArea"] / 8})
    known = long["sample_id"].notna() & np.isfinite(long["value"])
    print(f"CCLE: {int((~known).sum())} of {len(long)} curves without a known line or an area", file=sys.stderr)
    long = long[known].groupby(["sample_id", "drug_id"], as_index=False, sort=True)["value"].mean()
    ids = pd.Index(long["sample_id"].unique(), name="sample_id", dtype=object)
    samples = pd.DataFrame({"tissue": lines["OncotreeLineage"].reindex(ids)}, index=ids)
    drugs = pd.DataFrame(index=pd.Index(sorted(long["drug_id"].unique()), name="drug_id", dtype=object))
    expression = pd.read_parquet(shared / CCLE_EXPRESSION)
    return ResponseDataset("CCLE", MEASURES["aac"], long, samples, drugs, {"expression": expression})


def with_modality(dataset: ResponseDataset, shared: Path, modality: str, lines: pd.DataFrame) -> ResponseDataset:
    """Return the dataset with one more modality, its lines named as the responses name them."""
    from dataclasses import replace

    import pandas as pd

    path = shared / FILES[modality]
    table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, index_col=0)
    if "DepMap_ID" in table:
        table = table[table["DepMap_ID"].notna()].set_index("DepMap_ID")
    ids = pd.Index(table.index.astype(str))
    if not ids.str.startswith("ACH-").all():
        ids = pd.Index(ids.map(by_ccle_name(lines)))
    if "cosmic_id" in dataset.samples:
        cosmic = dataset.samples["cosmic_id"].replace("", None).dropna().astype(str)
        by_cosmic = pd.Series(cosmic.index, index=cosmic)[lambda t: ~t.index.duplicated(keep=False)]
        ids = pd.Index(ids.map(lines["COSMICID"].dropna().str.removesuffix(".0").map(by_cosmic)))
    table = table.set_axis(ids.astype(object), axis=0)
    named = table[table.index.notna()]
    named = named[~named.index.duplicated()].astype("float32")
    shared_lines = int(dataset.samples.index.isin(named.index).sum())
    notes: dict[str, Any] = {"in_file": len(table), "named": len(named), "with_responses": shared_lines}
    omics = {"expression": dataset.omics["expression"], modality: named}
    return replace(dataset, omics=omics, notes={"lines": notes})


if __name__ == "__main__":
    main()
