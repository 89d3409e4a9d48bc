"""Measure what harmonisation does on real profiles: CCLE and TCGA put on the scale of the GDSC arrays.

Labels of response play no part. A profile is compared with the embedded dataset's cell lines as a model sees them: each
sample standardised over its genes, then each gene by the cell lines' mean and standard deviation; likeness is the
correlation. Files are read from the folder in HALFMAX_SHARED_DATA or --shared; they are no part of the project.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from common import RESULTS, add_run, machine, merge_csv, now, set_threads

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

METHODS = ("none", "none_limited", "rank", "zscore", "cohort", "cohort_quantile", "combat", "celligner", "auto")
#: `none_limited` is a control: nothing but values cut at this many sd, as `rank` cuts them too.
LIMIT = 5.0
#: Cohort to the embedded dataset's tissues that count as its own.
TISSUES = {
    "STAD": ("stomach",),
    "DLBC": ("lymphoma",),
    "UVM": ("skin",),
    "UCS": ("endometrium", "uterus", "ovary"),
    "CHOL": ("biliary_tract", "liver"),
    "BRCA": ("breast",),
    "GBMLGG": ("nervous_system",),
    "LUAD": ("lung_NSCLC",),
    "LUSC": ("lung_NSCLC",),
    "HNSC": ("aero_dig_tract",),
    "BLCA": ("bladder",),
    "KIRC": ("kidney",),
    "KIRP": ("kidney",),
    "COADREAD": ("large_intestine",),
    "LIHC": ("liver",),
    "SKCM": ("skin",),
    "PAAD": ("pancreas",),
}
NO_CELL_LINES = {"ACC"}  # kept in the cohort, for it is part of what is seen, and not scored
KEYS = ("dataset", "method", "group", "metric")


@dataclass(frozen=True)
class Case:
    """New samples, and for each the cell line that it is, or the tissues that are its own."""

    name: str
    frame: pd.DataFrame
    unit: str | None
    lines: Sequence[str] | None = None
    cohorts: Sequence[str] | None = None


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=os.environ.get("HALFMAX_SHARED_DATA"))
    parser.add_argument("--only", nargs="+", default=[], help="names of cases (default: all)")
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    if args.shared is None:
        parser.error("say where the real data are: --shared or HALFMAX_SHARED_DATA")
    set_threads(args.threads)

    import pandas as pd

    import halfmax

    train = halfmax.load_dataset("gdsc2-demo")
    rows, run, known = [], now(), []
    for case in cases(Path(args.shared), train.samples):
        known.append(case.name)
        if not args.only or case.name in args.only:
            rows += measure(case, train.omics["expression"], train.samples["tissue"], args.methods)
    if unknown := set(args.only) - set(known):
        parser.error(f"there is no case {', '.join(sorted(unknown))}; the cases are: {'; '.join(known)}")
    args.out.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(rows).assign(run=run)
    merge_csv(args.out / "harmonise.csv", table, KEYS)
    add_run(args.out / "harmonise_environment.json", run, machine())


def measure(case: Case, lines: pd.DataFrame, tissue: pd.Series, methods: Sequence[str]) -> Iterator[dict[str, object]]:
    """Yield one row a method, group and metric."""
    import numpy as np

    from halfmax.errors import DataError
    from halfmax.features.blocks import Block
    from halfmax.features.harmonise.choose import harmonise
    from halfmax.features.harmonise.reference import ScaleReference

    genes = [g for g in lines.columns if g in set(case.frame.columns)]
    lines = lines.loc[lines[genes].notna().all(axis=1), genes]
    if case.lines is not None:  # those of which the embedded dataset has the profile
        kept = np.isin(case.lines, lines.index)
        case = replace(case, frame=case.frame[kept], lines=list(np.asarray(case.lines)[kept]))
    new = case.frame[genes]
    reference = ScaleReference(profiles=True).fit(Block(lines.to_numpy("float32"), tuple(genes)))
    for method in methods:
        start = time.process_time()
        try:
            given, findings = harmonise(new, reference, method.removesuffix("_limited"), unit=case.unit)
        except DataError as error:
            print(f"{case.name} {method}: {error}", flush=True)
            continue
        seconds = time.process_time() - start
        limit = LIMIT if method == "none_limited" else np.inf
        likeness = alike(given.to_numpy(dtype=float), lines.to_numpy(dtype=float), limit)
        found = scores(case, likeness, lines.index, tissue.reindex(lines.index).to_numpy())
        chosen = next((f.examples[0] for f in findings if f.code == "harmonised"), "none")
        print(f"{case.name} {method} ({chosen}): {found[0]}", flush=True)
        base = {"dataset": case.name, "method": method, "chosen": chosen, "n_samples": len(new), "n_genes": len(genes)}
        yield from (base | row | {"cpu_s": round(seconds, 2)} for row in found)


def alike(new: np.ndarray, lines: np.ndarray, limit: float) -> np.ndarray:
    """Return the correlation of each new sample with each line, as a model sees them, values within ±`limit` sd."""
    import numpy as np

    def by_sample(values: np.ndarray) -> np.ndarray:
        spread = np.nanstd(values, axis=1, keepdims=True)
        return (values - np.nanmean(values, axis=1, keepdims=True)) / np.where(spread > 0, spread, 1)

    left, right = by_sample(new), by_sample(lines)
    mean, sd = right.mean(axis=0), np.maximum(right.std(axis=0), 1e-8)
    left, right = (np.nan_to_num(np.clip((x - mean) / sd, -limit, limit)) for x in (left, right))
    left, right = (x - x.mean(axis=1, keepdims=True) for x in (left, right))
    left, right = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in (left, right))
    return left @ right.T


def scores(case: Case, likeness: np.ndarray, ids: pd.Index, tissue: np.ndarray) -> list[dict[str, object]]:
    """Return the metrics of one method on one case."""
    import numpy as np

    nearest = np.argsort(-likeness, axis=1, kind="stable")
    if case.lines is not None:
        own = ids.get_indexer(list(case.lines))
        rows = np.arange(len(own))
        matched = likeness[rows, own]
        unmatched = (likeness.sum(axis=1) - matched) / (likeness.shape[1] - 1)
        place = (likeness > matched[:, None]).sum(axis=1)
        values = {
            "matched_correlation": matched.mean(),
            "unmatched_correlation": unmatched.mean(),
            "nearest_is_same": (place == 0).mean(),
            "same_within_ten": (place < 10).mean(),
        }
        return [{"group": "all", "metric": k, "value": float(v), "n": len(own)} for k, v in values.items()]
    assert case.cohorts is not None
    cohort = np.asarray(case.cohorts)
    own_tissue = np.stack([np.isin(tissue, TISSUES.get(c, ())) for c in cohort])
    first = np.take_along_axis(own_tissue, nearest[:, :1], axis=1)[:, 0]
    ten = np.take_along_axis(own_tissue, nearest[:, :10], axis=1).mean(axis=1)
    found = []
    scored = ~np.isin(cohort, list(NO_CELL_LINES))
    per_cohort = {c: cohort == c for c in sorted(set(cohort[scored]))}
    for metric, value in (
        ("nearest_of_tissue", first),
        ("ten_nearest_of_tissue", ten),
        ("chance", own_tissue.mean(axis=1)),
    ):
        each = {c: float(value[rows].mean()) for c, rows in per_cohort.items()}
        each = {"mean of cohorts": float(np.mean(list(each.values())))} | each
        found += [{"group": c, "metric": metric, "value": v} for c, v in each.items()]
    counts = {c: int(rows.sum()) for c, rows in per_cohort.items()} | {"mean of cohorts": int(scored.sum())}
    hub = float(np.bincount(nearest[:, 0]).max() / len(nearest))
    found = [row | {"n": counts[str(row["group"])]} for row in found]
    return [*found, {"group": "all", "metric": "share_of_commonest_line", "value": hub, "n": len(nearest)}]


def cases(shared: Path, samples: pd.DataFrame) -> Iterator[Case]:
    """Yield the new samples: the same arrays, CCLE by two platforms, then tumours together and one cohort by itself."""
    import numpy as np
    import pandas as pd

    native = pd.read_parquet(shared / "gdsc" / "GDSC_RMA_log2_native_584x3326.parquet")
    native = native[native.index.isin(samples.index)]
    yield Case("GDSC arrays, native RMA", native, "rma", lines=list(native.index))
    cross = pd.read_csv(shared / "ccle" / "cell_line_crosswalk.csv", dtype=str)
    by_cosmic = {str(c): i for i, c in samples["cosmic_id"].dropna().items()}
    cross["line"] = cross["COSMICID"].str.replace(r"\.0$", "", regex=True).map(by_cosmic)
    cross = cross.dropna(subset=["line"])
    for name, file, key, unit in (
        ("CCLE U133", "CCLE_U133_RMA_log2_500x1000.parquet", "CCLEName", "rma"),
        ("CCLE RNA-seq z", "CCLE_DepMap_expr_zscore_580x706.parquet", "ModelID", "zscore_gene"),
    ):
        frame = pd.read_parquet(shared / "ccle" / file)
        frame.columns = [str(c) for c in frame.columns]
        line = cross.drop_duplicates(key).set_index(key)["line"]
        frame = frame[frame.index.isin(line.index)]
        yield Case(name, frame, unit, lines=list(line.reindex(frame.index)))
        if unit == "rma":
            for n in (10, 30):
                few = np.sort(np.random.default_rng(0).permutation(len(frame))[:n])
                yield Case(f"{name}, {n} lines", frame.iloc[few], unit, lines=list(line.reindex(frame.index[few])))
    tumours = pd.read_parquet(shared / "tcga" / "tcga_expr_log2rsem_6cohorts.parquet")
    cohort = tumours["cohort"]
    tumours = tumours.drop(columns=["cohort", "sample"])
    tumours.columns = [c.split("|")[0] for c in tumours.columns]
    tumours = tumours.loc[:, ~tumours.columns.duplicated() & (tumours.columns != "?")]
    yield Case("TCGA log2 RSEM, 6 cohorts", tumours, "log2", cohorts=list(cohort))
    for name in ("STAD", "UVM"):
        yield Case(
            f"TCGA log2 RSEM, {name} alone", tumours[cohort == name], "log2", cohorts=[name] * (cohort == name).sum()
        )
    yield from zscored(shared)


def zscored(shared: Path) -> Iterator[Case]:
    """Yield the 13 cohorts of z-scores within a cohort: as one table, and as each is on its own."""
    import pandas as pd

    frame = pd.read_parquet(shared / "tcga" / "tcga_expr_zscore_13cohorts.parquet")
    frame = frame.loc[:, frame.notna().all()]
    about = pd.read_csv(shared / "tcga" / "tcga_meta_survival_13cohorts.csv").drop_duplicates("patient")
    cohort = about.set_index("patient")["cohort"].reindex(frame.index)
    yield Case("TCGA z within cohort, 13 cohorts", frame, "zscore_gene", cohorts=list(cohort))


if __name__ == "__main__":
    main()
