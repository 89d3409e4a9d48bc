"""Measure what intervals and the domain check are worth: coverage on left-out lines and drugs, flags on strange samples.

    python benchmarks/trust.py intervals --model kernel_ridge --protocol LCO            # inner folds of fold 0's training part
    python benchmarks/trust.py intervals --model kernel_ridge --protocol LCO --fixed    # the fixed folds: a look
    python benchmarks/trust.py domain --shared FOLDER

Intervals: for each outer fold a predictor is fitted on the training rows and calibrated by a five-fold cross-validation
among them, as ``halfmax run`` does, and scored on the outer fold's test rows. Domain: fitted on the training lines of
fold 0 with each case's genes, then asked about the lines of its test part and about samples that no model should judge.
"""  # noqa: E501

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import RESULTS, add_run, configuration, machine, merge_csv, now, set_threads

if TYPE_CHECKING:
    import pandas as pd

    from halfmax.data.dataset import ResponseDataset

#: Lines that a tissue, or test pairs that a drug, needs to be counted by itself.
LEAST_LINES = 30
INTERVAL_KEYS = ("model", "protocol", "folds", "group_by", "group", "metric")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("intervals", "domain"))
    parser.add_argument("--model", default="kernel_ridge")
    parser.add_argument("--params", type=json.loads, default={}, help="hyper-parameters as JSON")
    parser.add_argument("--protocol", choices=("LCO", "LDO"), default="LCO")
    parser.add_argument("--fixed", action="store_true", help="the fixed folds in place of inner folds")
    parser.add_argument(
        "--parts", type=int, default=5, help="outer folds; 0 scores what is kept (default: %(default)s)"
    )
    parser.add_argument("--keep", type=Path, help="store the outer folds' tables here, and score all that are there")
    parser.add_argument("--only", nargs="+", default=[], help="names of outer folds, or beginnings of domain cases")
    parser.add_argument("--shared", type=Path, default=os.environ.get("HALFMAX_SHARED_DATA"))
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    set_threads(1)
    run, cpu = now(), time.process_time()
    if args.what == "intervals":
        table = covered(args).assign(model=args.model, protocol=args.protocol, run=run)
        merge_csv(args.out / "trust_intervals.csv", table, INTERVAL_KEYS)
    else:
        if args.shared is None:
            parser.error("say where the real data are: --shared or HALFMAX_SHARED_DATA")
        import pandas as pd

        for row in flags(args.shared, args.only):
            merge_csv(args.out / "trust_domain.csv", pd.DataFrame([row]).assign(run=run), ("case", "harmonised"))
    told = {name: vars(args)[name] for name in ("what", "model", "params", "protocol", "fixed", "parts", "only")}
    about = machine() | {"cpu_s": round(time.process_time() - cpu, 1), "arguments": told}
    add_run(args.out / "trust_environment.json", run, about)


def covered(args: argparse.Namespace) -> pd.DataFrame:
    """Return group_by, group, metric, value and n of the intervals on the outer folds' test rows."""
    import pandas as pd

    from halfmax.evaluate import ModelSpec, cross_validate
    from halfmax.panel import NEW_OF_PROTOCOL
    from halfmax.predictor import Predictor
    from halfmax.run import load_data, make_features, prepare
    from halfmax.split import make_splits

    config = configuration(args.protocol, ["mean_effects"], only=[] if args.fixed else ["0"])
    prepared = prepare(config, load_data(config))
    dataset, outer = prepared.dataset, prepared.splits
    if not args.fixed:
        dataset = dataset.take(outer[0].fit_rows)
        outer = make_splits(dataset, args.protocol, n_folds=5, seed=1)
    parts = []
    for split in outer[: args.parts]:
        if args.only and split.fold not in args.only:
            continue
        train, test = dataset.take(split.fit_rows), dataset.take(split.test)
        inner = make_splits(train, args.protocol, n_folds=5, seed=2)
        spec = ModelSpec(args.model, args.model, args.params)
        found = cross_validate(train, inner, [spec], features=lambda: make_features(config), n_boot=0)
        predictor = Predictor.of(args.model, args.params).fit(train, features=make_features(config))
        predictor.calibrate(found.predictions, NEW_OF_PROTOCOL[args.protocol])
        table = predictor.predict(test).assign(y=test.response["value"].to_numpy(), fold=split.fold)
        table["tissue"] = table["sample_id"].map(test.samples["tissue"]).fillna("unknown")
        table["spread"] = table["drug_id"].map(train.response.groupby("drug_id")["value"].std())
        parts.append(table)
        if args.keep:
            args.keep.mkdir(parents=True, exist_ok=True)
            table.to_parquet(args.keep / f"{kept_name(args)}_{split.fold}.parquet", index=False)
        print(json.dumps(summary(table) | {"fold": split.fold}), flush=True)
    if args.keep:
        parts = [pd.read_parquet(path) for path in sorted(args.keep.glob(f"{kept_name(args)}_*.parquet"))]
    kind = "fixed" if args.fixed else "inner of fold 0"
    return scored(pd.concat(parts, ignore_index=True)).assign(folds=f"{kind}, {len(parts)} of 5")


def kept_name(args: argparse.Namespace) -> str:
    """Return what the tables of a model's outer folds are called."""
    return f"{args.model}_{args.protocol}_{'fixed' if args.fixed else 'inner'}"


def summary(table: pd.DataFrame) -> dict[str, float]:
    """Return coverage overall, and the shares of drugs and tissues for which it is at least 85 %."""
    inside = (table["y"] >= table["low"]) & (table["y"] <= table["high"])
    drug = inside.groupby(table["drug_id"]).mean()
    lines = table.groupby("tissue")["sample_id"].nunique()
    tissue = inside.groupby(table["tissue"]).mean()[lines >= LEAST_LINES]
    sample = inside.groupby(table["sample_id"]).mean()
    width = table["high"] - table["low"]
    spread = table["spread"].fillna(table.groupby("drug_id")["y"].transform("std"))  # an unseen drug's is its own
    return {
        "coverage": round(float(inside.mean()), 4),
        "coverage_mean_of_drugs": round(float(drug.mean()), 4),
        "drugs_at_least_85": round(float((drug >= 0.85).mean()), 4),
        "least_drug": round(float(drug.min()), 4),
        "tissues_counted": len(tissue),
        "least_tissue": round(float(tissue.min()), 4) if len(tissue) else float("nan"),
        "tenth_of_samples": round(float(sample.quantile(0.1)), 4),
        "below_low": round(float((table["y"] < table["low"]).mean()), 4),
        "above_high": round(float((table["y"] > table["high"]).mean()), 4),
        "mean_width": round(float(width.mean()), 4),
        # 90 % of a normal distribution of the drug's own training sd: what is known without a profile
        "width_by_drug_spread": round(float((width / (3.29 * spread)).mean()), 4),
    }


def scored(table: pd.DataFrame) -> pd.DataFrame:
    """Return the summary over all folds, and coverage and width by drug and by tissue."""
    import pandas as pd

    rows: list[dict[str, Any]] = [
        {"group_by": "all", "group": "", "metric": metric, "value": value, "n": len(table)}
        for metric, value in summary(table).items()
    ]
    table = table.assign(inside=(table["y"] >= table["low"]) & (table["y"] <= table["high"]))
    table["width"] = table["high"] - table["low"]
    for by in ("drug_id", "tissue"):
        found = table.groupby(by).agg(coverage=("inside", "mean"), width=("width", "mean"), n=("sample_id", "nunique"))
        for metric in ("coverage", "width"):
            rows += [
                {"group_by": by.removesuffix("_id"), "group": g, "metric": metric, "value": v, "n": n}
                for g, v, n in zip(found.index, found[metric], found["n"], strict=True)
            ]
    return pd.DataFrame(rows)


def flags(shared: Path, only: list[str]) -> Iterator[dict[str, Any]]:
    """Yield one row a case: how many samples are inside, at the edge and outside, and how many genes there are."""
    import numpy as np
    import pandas as pd
    from harmonise import cases

    from halfmax.features.harmonise.choose import harmonise
    from halfmax.run import load_data, prepare

    config = configuration("LCO", ["mean_effects"], only=["0"])
    prepared = prepare(config, load_data(config))
    split = prepared.splits[0]
    train, test = prepared.dataset.take(split.fit_rows), prepared.dataset.take(split.test)
    lines = test.omics["expression"].loc[test.samples.index]
    begins = tuple(only) or ("",)
    judge = Judge(train, list(lines.columns)) if "left-out lines".startswith(begins) else None
    rng = np.random.default_rng(0)
    mixed = pd.DataFrame(rng.permuted(lines.to_numpy(), axis=1), lines.index, lines.columns)
    if judge is not None:
        yield judge.row("left-out lines", lines, tissue=test.samples["tissue"])
        yield judge.row("left-out lines, genes scrambled", mixed)
        yield judge.row("left-out lines, a fifth of the genes scrambled", some_scrambled(lines, 0.2))
        yield judge.row("left-out lines, made-up orthologues", strange_species(lines))
        yield judge.row("left-out lines, antilogarithm (as counts)", np.exp2(lines * 2.02 + 4.71))
        half = (lines.to_numpy() + lines.to_numpy()[rng.permutation(len(lines))]) / 2
        yield judge.row("mixtures of two left-out lines", pd.DataFrame(half, lines.index, lines.columns))
    for case in cases(shared, prepared.dataset.samples):
        if (", " in case.name and "lines" in case.name) or not case.name.startswith(begins):
            continue
        frame = case.frame
        if case.lines is not None:  # a line of training would be near to itself
            keep = [i for i, line in enumerate(case.lines) if line not in set(train.samples.index)]
            frame = frame.iloc[keep]
        genes = [g for g in lines.columns if g in set(frame.columns)]
        own = Judge(train, genes)
        yield own.row(case.name, frame[genes])
        yield own.row(f"{case.name}, its left-out lines by the embedded arrays", lines[genes])
        if case.unit == "log2":
            yield own.row(f"{case.name}, antilogarithm (as counts)", np.exp2(frame[genes]) - 1)
        for method in ("auto", "rank", "cohort", "celligner") if len(frame) < 1000 else ("auto", "cohort"):
            try:
                given, findings = harmonise(frame[genes], own.reference, method, unit=case.unit)
            except ValueError:
                continue
            chosen = next((f.examples[0] for f in findings if f.code == "harmonised"), "none")
            yield own.row(case.name, given, f"{method} ({chosen})")


class Judge:
    """A domain fitted on training lines with some of the genes."""

    def __init__(self, train: ResponseDataset, genes: list[str]) -> None:
        from dataclasses import replace

        from halfmax.features.harmonise.reference import ScaleReference
        from halfmax.features.pipeline import FeaturePipeline, omics_block
        from halfmax.uncertainty.calibrate import learn_domain

        part = replace(train, omics={"expression": train.omics["expression"][genes]})
        self.features = FeaturePipeline(drug_blocks=()).fit(part)
        self.domain = learn_domain(self.features.transform(part), part.response["value"].to_numpy())
        self.reference = ScaleReference(profiles=True).fit(omics_block(part, "expression"))
        self.train = part

    def row(self, case: str, frame: pd.DataFrame, harmonised: str = "none", tissue: Any = None) -> dict[str, Any]:
        import numpy as np

        from halfmax.features.blocks import Block

        steps = self.features.blocks_["expression"]
        block = steps.transform(Block(frame.to_numpy(dtype=np.float32), tuple(map(str, frame.columns))))
        found = self.domain.judge(block.values)
        share = found["domain"].value_counts(normalize=True)
        out = {"case": case, "harmonised": harmonised, "n_samples": len(frame), "n_genes": frame.shape[1]}
        out |= {place: round(float(share.get(place, 0.0)), 4) for place in ("inside", "edge", "outside")}
        out |= {f"distance_{q}": round(float(found["domain_distance"].quantile(q / 100)), 2) for q in (5, 50, 95)}
        if tissue is not None:
            known = np.isin(tissue, self.domain.tissues_)
            right = (found["tissue_guess"].to_numpy() == tissue.to_numpy())[known]
            out |= {"tissue_right": round(float(right.mean()), 4), "n_tissue": int(known.sum())}
            out["tissue_probability"] = round(float(found["tissue_probability"][known].mean()), 4)
        print(json.dumps(out), flush=True)
        return out


def some_scrambled(lines: pd.DataFrame, share: float) -> pd.DataFrame:
    """Return profiles in which a share of the genes has changed places, the same in each."""
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(1)
    values = lines.to_numpy().copy()
    some = np.sort(rng.permutation(values.shape[1])[: int(share * values.shape[1])])
    values[:, some] = values[:, rng.permutation(some)]
    return pd.DataFrame(values, lines.index, lines.columns)


def strange_species(lines: pd.DataFrame) -> pd.DataFrame:
    """Return profiles as another species' orthologues might give them: each gene at a level of its own, a tenth wrong.

    The levels are drawn with the sd that gene means have between the array platforms of one species, so that a real
    species, which differs by more, is flagged the sooner. There are no such profiles among the data.
    """
    import numpy as np

    rng = np.random.default_rng(2)
    return some_scrambled(lines, 0.1) + 0.6 * lines.std().to_numpy() * rng.normal(size=lines.shape[1])


if __name__ == "__main__":
    main()
