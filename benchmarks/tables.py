"""Write the tables of figures in the documents from the raw results, so that no number is copied by hand.

    python benchmarks/tables.py            writes them
    python benchmarks/tables.py --check    says which differ, and fails if any does

A table stands in a document between ``<!-- table: NAME ARGUMENT -->`` and ``<!-- end -->``.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from common import RESULTS

if TYPE_CHECKING:
    import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
MARK = re.compile(r"(<!-- table: (?P<what>[^>]*?) -->\n).*?(<!-- end -->)", re.DOTALL)
NAMES = {
    "wide_deep": "wide and deep (`wide_deep`, the default)",
    "mlp": "two-tower network (`mlp`)",
    "response_gp": "response Gaussian process (`response_gp`)",
    "kernel_ridge": "kernel ridge (`kernel_ridge`)",
    "factorisation": "identity factorisation (`factorisation`)",
}


#: What a model is, for the comparison of families.
FAMILIES = {
    **dict.fromkeys(("mean", "drug_mean", "sample_mean", "tissue_mean", "tissue_drug_mean", "mean_effects"), "naive"),
    "factorisation": "identities",
    **dict.fromkeys(("random_forest", "xgboost", "lightgbm", "trees_per_drug"), "trees"),
    "elastic_net": "linear",
    **dict.fromkeys(("kernel_ridge", "response_gp"), "kernel"),
    **dict.fromkeys(("mlp", "wide_deep", "single_tower", "multitask", "fusion"), "perceptron"),
    **dict.fromkeys(("cnn1d", "cnn2d", "cnn1d_shuffled", "cnn2d_shuffled"), "convolution"),
    "transformer": "transformer",
    **dict.fromkeys(("gin", "gat", "hetero_graph", "gin_shuffled", "hetero_graph_shuffled"), "graph"),
    **dict.fromkeys(("seeds", "stack", "distilled"), "ensemble"),
}
SHORT = (*NAMES, "elastic_net", "xgboost", "random_forest", "tissue_drug_mean", "mean_effects")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a document differs")
    args = parser.parse_args(argv)
    stale = []
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        text = path.read_text(encoding="utf-8")
        made = MARK.sub(lambda m: f"{m[1]}\n{table(m['what'])}\n\n{m[3]}", text)
        if made != text:
            stale.append(str(path.relative_to(ROOT)))
            if not args.check:
                path.write_text(made, encoding="utf-8")
    print("\n".join(f"{'differs' if args.check else 'written'}: {name}" for name in stale) or "all tables are current")
    return int(args.check and bool(stale))


def table(what: str) -> str:
    """Return the table of this name as Markdown."""
    name, *arguments = what.split()
    return TABLES[name](*arguments)


def anchors(protocol: str, which: str = "all") -> str:
    """Every model on the fixed folds of a protocol, best first; or one a family where `which` is ``short``."""
    import pandas as pd

    metrics = pd.read_csv(RESULTS / f"anchors_{protocol}_metrics.csv", dtype={"fold": str})
    metrics = metrics[metrics["group_by"] == "all"].set_index(["model", "fold", "metric"]).sort_index()
    costs = pd.read_csv(RESULTS / f"anchors_{protocol}_timings.csv").groupby("model")["cpu_s"].sum()
    found = metrics.xs(("all", "normalized_r2"), level=("fold", "metric"))["value"].sort_values(ascending=False)
    rows = []
    for model in found.index:
        if which == "short" and model not in SHORT:
            continue
        fold, overall = metrics.loc[(model, "0")], metrics.loc[(model, "all")]
        rows.append(
            (
                NAMES.get(model, f"`{model}`"),
                _interval(overall.loc["normalized_r2"]),
                f"{overall.loc['rmse', 'value']:.3f}",
                _interval(overall.loc["within_drug_pearson"]),
                f"{fold.loc['normalized_r2', 'value']:.3f}, {fold.loc['rmse', 'value']:.3f}",
                f"{costs[model]:.1f}",
            )
        )
    head = (
        "model",
        "normalised R²",
        "RMSE [ln µM]",
        "within-drug r",
        "fold 0: normalised R², RMSE",
        "CPU s, five folds",
    )
    return markdown(head, rows)


def inner(protocol: str, parts: str = "2") -> str:
    """Every recipe on the inner folds of a protocol, best first; the last run of each."""
    import pandas as pd

    found = pd.read_csv(RESULTS / "inner.csv")
    found = found[(found["protocol"] == protocol) & (found["parts"] == int(parts))]
    found = found.drop_duplicates(["recipe", "modalities"], keep="last").sort_values("normalized_r2", ascending=False)
    return markdown(
        ("recipe", "reads", "normalised R²", "within-drug r", "CPU s"),
        [
            (f"`{r.recipe}`", r.modalities, f"{r.normalized_r2:.3f}", f"{r.within_drug_pearson:.3f}", f"{r.cpu_s:.0f}")
            for r in found.itertuples()
        ],
    )


def modalities() -> str:
    """What each further modality adds to expression."""
    import pandas as pd

    found = pd.read_csv(RESULTS / "multiomics_differences.csv", dtype={"fold": str})
    found = found[(found["fold"] == "all") & (found["model"] == "kernel_ridge")]
    pairs = dict.fromkeys(zip(found["screen"], found["modality"], strict=True))
    found = found.set_index(["screen", "modality", "variant", "metric"]).sort_index()
    rows = []
    for screen, modality in pairs:
        alone, both = (found.loc[(screen, modality, v)] for v in (modality, f"expression+{modality}"))
        lines = str(int(alone["n_samples"].iloc[0]))
        shown = (alone.loc["normalized_r2"], both.loc["normalized_r2"], both.loc["within_drug_pearson"])
        rows.append((screen, modality, lines, *(_interval(row, sign=True) for row in shown)))
    return markdown(("screen", "modality", "lines", "alone", "with expression", "with expression, within a drug"), rows)


def drug_blocks() -> str:
    """What each block of drug features is worth for unseen drugs."""
    import pandas as pd

    found = pd.read_csv(RESULTS / "drug_blocks.csv").sort_values("normalized_r2", ascending=False)
    rows = [
        (f"`{r.model}`", r.blocks, f"{r.normalized_r2:.3f}", f"{r.within_drug_pearson:.3f}") for r in found.itertuples()
    ]
    return markdown(("model", "drug blocks", "normalised R²", "within-drug r"), rows)


def comparison(protocol: str) -> str:
    """Every model that was scored on all folds of a protocol, by family, with its time: best first."""
    import pandas as pd

    metrics = _overall(protocol)
    times = pd.read_csv(RESULTS / f"anchors_{protocol}_timings.csv", dtype={"fold": str})
    times = times.sort_values("run", kind="stable").drop_duplicates(["model", "fold"], keep="last")
    times = times.groupby("model")[["fit_s", "predict_s", "cpu_s"]].mean()
    order = metrics.xs("normalized_r2", level="metric")["value"].sort_values(ascending=False).index
    rows = []
    for model in order:
        own, spent = metrics.loc[model], times.loc[model]
        rows.append(
            (
                f"`{model}`",
                FAMILIES.get(model, "–"),
                _interval(own.loc["normalized_r2"]),
                f"{own.loc['rmse', 'value']:.3f}",
                _interval(own.loc["within_drug_pearson"]),
                f"{spent['fit_s'] + spent['predict_s']:.1f}",
                f"{spent['cpu_s']:.1f}",
            )
        )
    head = ("model", "family", "normalised R²", "RMSE [ln µM]", "within-drug r", "wall s a fold", "CPU s a fold")
    return markdown(head, rows)


def ranks(*protocols: str) -> str:
    """Mean rank over protocols of the models that were scored on all of them."""
    import pandas as pd

    scores = {p: _overall(p).xs("normalized_r2", level="metric")["value"] for p in protocols}
    placed = pd.DataFrame(scores).dropna().rank(ascending=False)
    placed["mean"] = placed.mean(axis=1)
    rows = [
        (f"`{model}`", FAMILIES.get(str(model), "–"), *(f"{row[p]:.0f}" for p in protocols), f"{row['mean']:.1f}")
        for model, row in placed.sort_values("mean").iterrows()
    ]
    return markdown(("model", "family", *protocols, "mean rank"), rows)


def peers() -> str:
    """Every model of the peer on the fold that it was run on, beside halfmax's of the same runs."""
    import pandas as pd

    found = pd.read_csv(RESULTS / "compare_drevalpy.csv", dtype={"fold": str})
    found = found.sort_values(["protocol", "fold", "normalized_r2"], ascending=[True, True, False])
    rows = [
        (
            *(r.protocol, r.fold, r.system, r.model, f"{r.normalized_r2:.3f}", f"{r.within_drug_pearson:.3f}"),
            *(f"{r.wall_s:.0f}", f"{r.cpu_s:.0f}", f"{r.peak_rss_mb:.0f}"),
        )
        for r in found.itertuples()
    ]
    head = ("protocol", "fold", "system", "model", "normalised R²", "within-drug r", "wall s", "CPU s", "peak MB")
    return markdown(head, [tuple(cell.replace("-", "−") for cell in row) for row in rows])


def _overall(protocol: str) -> pd.DataFrame:
    import pandas as pd

    found = pd.read_csv(RESULTS / f"anchors_{protocol}_metrics.csv", dtype={"fold": str})
    found = found[(found["group_by"] == "all") & (found["fold"] == "all")]
    return found.set_index(["model", "metric"]).sort_index()


def intervals() -> str:
    """What the 90 % intervals held on outer folds."""
    import pandas as pd

    found = pd.read_csv(RESULTS / "trust_intervals.csv", keep_default_na=False, na_values=["nan"])
    found = found[found["group_by"] == "all"].assign(value=lambda t: pd.to_numeric(t["value"], errors="coerce"))
    wide = found.pivot_table(index=["protocol", "model", "folds"], columns="metric", values="value", dropna=False)
    shown = ("coverage", "drugs_at_least_85", "least_tissue", "mean_width", "width_by_drug_spread")
    head = ("left out", "model", "outer folds", "held", "drugs ≥ 85 %", "least tissue", "width", "÷ drug's own")
    rows = []
    for (protocol, model, folds), row in wide.dropna(subset="coverage").iterrows():
        cells = ["" if pd.isna(row[m]) else f"{row[m]:.1%}" if m in shown[:3] else f"{row[m]:.2f}" for m in shown]
        rows.append([protocol, f"`{model}`", folds, *cells])
    return markdown(head, rows)


def domain() -> str:
    """How the domain check judges samples of every kind."""
    import pandas as pd

    found = pd.read_csv(RESULTS / "trust_domain.csv", keep_default_na=False)
    head = ("samples", "harmonised", "n", "genes", "inside", "edge", "outside")
    rows = [
        [r["case"], r["harmonised"], f"{r['n_samples']}", f"{r['n_genes']}"]
        + [f"{float(r[place]):.1%}" for place in ("inside", "edge", "outside")]
        for r in found.to_dict("records")
    ]
    return markdown(head, rows)


TABLES: dict[str, Callable[..., str]] = {
    "anchors": anchors,
    "comparison": comparison,
    "ranks": ranks,
    "peers": peers,
    "inner": inner,
    "modalities": modalities,
    "drug_blocks": drug_blocks,
    "intervals": intervals,
    "domain": domain,
}


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def _interval(row: pd.Series, *, sign: bool = False) -> str:
    form = "{:+.3f}" if sign else "{:.3f}"
    value, low, high = (form.format(round(row[name], 3) + 0.0) for name in ("value", "low", "high"))
    return (value if low == high else f"{value} ({low} to {high})").replace("-", "−")


if __name__ == "__main__":
    sys.exit(main())
