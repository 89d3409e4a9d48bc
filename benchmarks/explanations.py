"""How far explanations can be believed: closure, speed, biomarkers, stability, faithfulness, and two controls.

    python benchmarks/explanations.py recovery closure speed --models kernel_ridge wide_deep

Predictors are fitted on the training part of fold 0 of the fixed folds (LCO); no response of its test part is seen.
Each step merges its raw figures into ``results/explanations_STEP.csv``. What stability, curves, randomised and null ask
is written at each step below.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common import RESULTS, configuration, machine, merge_csv, now, set_threads

#: The context network serves samples with responses only; one epoch of it changes no explanation.
PARAMS: dict[str, dict[str, Any]] = {"wide_deep": {"context_epochs": 1, "folds": 2}}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("steps", nargs="+", choices=sorted(STEPS))
    parser.add_argument("--models", nargs="+", default=["kernel_ridge"])
    parser.add_argument("--samples", type=int, default=50, help="samples explained for closure (default: %(default)s)")
    parser.add_argument("--keep", type=Path, help="folder of fitted predictors, to fit each once")
    parser.add_argument("--whole", action="store_true", help="fit wide_deep whole, not only what serves new samples")
    parser.add_argument("--every-drug", action="store_true", help="also drugs that are not in the fixed folds")
    parser.add_argument("--no-baselines", dest="baselines", action="store_false", help="recovery of the models only")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    set_threads(1)

    import pandas as pd
    import torch

    from halfmax.data.storage import write_json

    torch.set_num_threads(1)
    data = Data(every_drug=args.every_drug)
    for step in args.steps:
        rows = [{"run": now(), "step": step, **row} for row in STEPS[step](data, args)]
        for row in rows if step != "recovery" else ():
            print(row, flush=True)
        keys = [c for c in ("model", "by", "role", "drug", "feature", "what", "kind", "order", "k") if c in rows[0]]
        merge_csv(args.out / f"explanations_{step}.csv", pd.DataFrame(rows), keys)
        write_json(args.out / "explanations_environment.json", {"run": now(), **machine()})


class Data:
    """The training part of fold 0; with `every_drug` also what these samples were measured with beyond the folds."""

    def __init__(self, *, every_drug: bool = False) -> None:
        import numpy as np

        from halfmax.run import load_data, make_features, prepare

        self.config = configuration("LCO", ["mean_effects"], only=["0"])
        prepared = prepare(self.config, load_data(self.config))
        self.train = prepared.dataset.take(prepared.splits[0].fit_rows)
        if every_drug:
            whole = load_data(self.config)
            known = whole.response["sample_id"].isin(self.train.samples.index) & whole.response["value"].notna()
            self.train = whole.take(np.flatnonzero(known.to_numpy()))
        self.features = lambda: make_features(self.config)

    def fit(self, model: str, args: argparse.Namespace, *, part: int | None = None, **params: Any) -> Any:
        """Return a fitted predictor; `part` leaves out one of five parts of the samples."""
        from halfmax.predictor import Predictor
        from halfmax.split import make_splits

        name = "-".join([model, *(f"{k}{v}" for k, v in params.items()), *([] if part is None else [f"part{part}"])])
        if model == "wide_deep" and not args.whole:
            return assembled(self.fit("kernel_ridge", args, part=part), self.fit("mlp", args, part=part, **params))
        if args.keep is not None and (args.keep / name).is_dir():
            return Predictor.load(args.keep / name)
        data = self.train
        if part is not None:
            data = data.take(make_splits(data, "LCO", n_folds=5, seed=1)[part].fit_rows)
        predictor = Predictor.of(model, PARAMS.get(model, {}) | params).fit(data, features=self.features())
        if args.keep is not None:
            predictor.save(args.keep / name)
        return predictor


def assembled(ridge: Any, network: Any) -> Any:
    """Return what `wide_deep` is for new samples, from its two parts: half per-drug ridge, half profile network.

    Its response kernel and its context network serve measured samples only, take most of the time of a fit, and change
    no explanation.
    """
    import numpy as np

    from halfmax.models.networks.wide_deep import WideDeep
    from halfmax.predictor import Predictor

    model = WideDeep()
    model.models_ = model._members()
    wide = model.models_[0]
    for name in ("drug_ids_", "centre_", "weight_", "share_"):
        setattr(wide, name, getattr(ridge.model, name))
    wide.mean_ = wide.drug_effect_ = ridge.model.drug_effect_
    wide.sample_ids_, wide.seen_ = np.array([], dtype=str), np.zeros((0, len(wide.drug_ids_)), dtype=np.float32)
    model.models_[1] = network.model
    model.label_share_, model.history_ = 0.0, []
    out = Predictor(model, "wide_deep")
    vars(out).update({k: v for k, v in vars(ridge).items() if k not in ("model", "model_name")})
    return out


def recovery(data: Data, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Known associations: each one's rank by the model, by each drug's ridge and by Spearman on the same samples."""
    from halfmax.explain import Explainer
    from halfmax.explain.recovery import check_predictor

    for i, model in enumerate(args.models):
        predictor = data.fit(model, args)
        compared = data.train if i == 0 and args.baselines else None
        found = check_predictor(Explainer(predictor), compared, screen="gdsc2")
        for row in found.associations.to_dict("records"):
            yield {**row, "by": model if row["by"] == "model" else row["by"]}
        print(found.shares.to_string(), found.verdict, sep="\n", flush=True)


def closure(data: Data, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The largest gap between the sum of attributions and the predicted difference, over all drugs [ln µM]."""
    import numpy as np

    from halfmax.explain import Explainer

    frame = data.train.omics["expression"].loc[data.train.samples.index[: args.samples]]
    for model in args.models:
        explainer = Explainer(data.fit(model, args))
        gaps = [explainer.explain(frame.iloc[i : i + 5]).gap for i in range(0, len(frame), 5)]
        gap = np.concatenate(gaps)
        yield {
            "model": model,
            "what": "gap",
            "n_pairs": gap.size,
            "largest": gap.max(),
            "median": float(np.median(gap)),
        }


def speed(data: Data, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """CPU time of one sample with all drugs, after the first one [s], beside the prediction alone."""
    from halfmax.explain import Explainer

    frame = data.train.omics["expression"].loc[data.train.samples.index[:4]]
    for model in args.models:
        explainer = Explainer(data.fit(model, args))
        explainer.explain(frame.iloc[:1])
        for what, ask in (("explain", explainer.explain), ("predict", _ranked(explainer.predictor))):
            start, wall = time.process_time(), time.perf_counter()
            for i in (1, 2, 3):
                ask(frame.iloc[i : i + 1])
            cpu, took = (time.process_time() - start) / 3, (time.perf_counter() - wall) / 3
            yield {
                "model": model,
                "what": what,
                "n_drugs": len(explainer.predictor.drugs_),
                "cpu_s": cpu,
                "wall_s": took,
            }


def stability(data: Data, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Share of each drug's 50 first features that two fits have in common: other seeds, other folds of the samples."""
    from halfmax.explain import Explainer
    from halfmax.explain.faithful import top_overlap
    from halfmax.explain.recovery import importance_of
    from halfmax.models.base import MODELS
    from halfmax.state import parameters_of

    drugs = list(data.train.drugs.index[::10])
    for model in args.models:
        pairs = [("folds", ({"part": 0}, {"part": 1}))]
        if "seed" in parameters_of(MODELS.get(model)):
            pairs.append(("seeds", ({"seed": 0}, {"seed": 1})))
        for what, sides in pairs:
            one, other = (importance_of(Explainer(data.fit(model, args, **side)), drugs)[0] for side in sides)
            yield {"model": model, "what": what, "n_drugs": len(drugs), "top_50": top_overlap(one, other)}


def curves(data: Data, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Deletion and insertion of 5, 20 and 50 features, by attribution, at random and by how unusual they are."""
    from halfmax.explain import Explainer
    from halfmax.explain.faithful import curves as measured

    drugs = list(data.train.drugs.index[5::60])
    for model in args.models:
        explainer = Explainer(data.fit(model, args))
        frame = data.train.omics["expression"].loc[data.train.samples.index[:4]].rename(index=lambda i: f"new {i}")
        predictor = explainer.predictor
        x = predictor.features_.transform(predictor.pairs_of({"expression": frame}, predictor.drugs_.iloc[:1], None))
        table = measured(explainer, x, explainer.explain_encoded(x, drugs))
        for row in table.to_dict("records"):
            yield {"model": model, **row, "n_pairs": len(drugs) * len(frame)}


def randomised(data: Data, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Rank correlation of |attribution| with that of the same model with shuffled weights: near 0 if weights matter."""
    from halfmax.explain import Explainer, faithful

    frame = data.train.omics["expression"].loc[data.train.samples.index[:3]]
    drugs = list(data.train.drugs.index[::25])
    for model in args.models:
        predictor = data.fit(model, args)
        true, false = (Explainer(p).explain(frame, drugs).values for p in (predictor, faithful.randomised(predictor)))
        yield {"model": model, "what": "rank correlation", "value": faithful.rank_correlation(true, false)}


def null(data: Data, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Share of known associations found when each drug's responses are dealt anew: what chance finds."""
    from halfmax.explain import Explainer
    from halfmax.explain.faithful import permuted
    from halfmax.explain.recovery import check_predictor
    from halfmax.predictor import Predictor

    shuffled = permuted(data.train)
    for model in args.models:
        predictor = Predictor.of(model, PARAMS.get(model, {})).fit(shuffled, features=data.features())
        for row in check_predictor(Explainer(predictor), screen="gdsc2").shares.to_dict("records"):
            yield {"model": model, **row}


def _ranked(predictor: Any) -> Any:
    return lambda frame: predictor.predict_samples({"expression": frame})


STEPS = {
    "recovery": recovery,
    "closure": closure,
    "speed": speed,
    "stability": stability,
    "curves": curves,
    "randomised": randomised,
    "null": null,
}

if __name__ == "__main__":
    main()
