"""Cross-validation on a cluster: a task is one model on one fold, and the results are those of one process."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from halfmax.cluster import Cluster
from halfmax.cluster.folders import pack_folder, unpack_folder
from halfmax.data.dataset import ResponseDataset
from halfmax.evaluate import FoldRun, ModelSpec, Progress, Results, cross_validate
from halfmax.features.pipeline import FeaturePipeline
from halfmax.labels import Decide, Threshold
from halfmax.resume import Fitted, Resume
from halfmax.split import Split
from halfmax.state import State, parameters_of

_PARTS = ("train", "valid", "test")


def cross_validate_on(
    cluster: Cluster,
    dataset: ResponseDataset,
    splits: Sequence[Split],
    models: Sequence[ModelSpec],
    *,
    features: Callable[[], FeaturePipeline] = FeaturePipeline,
    threshold: Threshold | None = None,
    decide: Decide = "f1",
    n_boot: int = 200,
    seed: int = 0,
    on_progress: Callable[[Progress], None] | None = None,
    resume: Resume | None = None,
) -> Results:
    """Return what `halfmax.cross_validate` does, with every (fold, model) fitted on a worker of `cluster`.

    Every task is fitted with one thread, so that the bits are the same on every cluster. What is finished is kept in
    `resume` (a temporary folder by default); a worker that is killed is replaced and its task goes on from its last
    checkpoint where it runs on this machine, and from the start elsewhere.
    """
    with tempfile.TemporaryDirectory(prefix="halfmax-") as folder:
        kept = resume or Resume(Path(folder))
        _fit_all(cluster, dataset, splits, models, features(), threshold, decide, kept, on_progress)
        return cross_validate(
            dataset,
            splits,
            models,
            features=features,
            threshold=threshold,
            decide=decide,
            n_boot=n_boot,
            seed=seed,
            resume=kept,
        )


class FoldJob:
    """Fits one model on one fold; the fold is encoded once for all its models that reach the worker in a row.

    Parameters
    ----------
    shared
        The saved dataset, the rows of each fold, the unfitted pipeline, the threshold, and where checkpoints are kept.
    """

    def __init__(self, shared: State) -> None:
        about = cast("dict[str, Any]", shared.meta)
        with tempfile.TemporaryDirectory(prefix="halfmax-") as folder:
            self.dataset = ResponseDataset.load(unpack_folder(shared.arrays, "dataset", Path(folder) / "dataset"))
        self.splits = [
            Split(about["protocol"], fold, *(np.array(shared.arrays[f"{i}/{part}"], dtype=np.int64) for part in _PARTS))
            for i, fold in enumerate(about["folds"])
        ]
        self.pipeline: dict[str, Any] = about["pipeline"]
        self.threshold = None if about["threshold"] is None else Threshold(**about["threshold"])
        self.decide: Decide = about["decide"]
        self.resume = None if about["resume"] is None else Resume(Path(about["resume"]))
        self._fold: tuple[int, FoldRun] | None = None

    def run(self, task: State) -> State:
        """Return the test predictions, timings and learning curve of the model that `task` names."""
        about = cast("dict[str, Any]", task.meta)
        place, split = int(about["fold"]), self.splits[int(about["fold"])]
        if self._fold is None or self._fold[0] != place:
            self._fold = None  # the old one's memory first
            made = FoldRun(
                self.dataset, split, lambda: FeaturePipeline(**self.pipeline), self.threshold, None, self.decide
            )
            self._fold = (place, made)
        spec = ModelSpec(about["label"], about["name"], about["params"])
        training = nullcontext() if self.resume is None else self.resume.training(split.fold, spec.label)
        with training:
            predicted, timing, curve = self._fold[1].fit_predict(spec, lambda epoch, log: False)
        rows = curve.astype(object).where(curve.notna(), None)
        return State(
            {"predicted": predicted},
            {"timing": cast("Any", timing), "curve": {str(name): rows[name].tolist() for name in rows}},
        )


def _fit_all(
    cluster: Cluster,
    dataset: ResponseDataset,
    splits: Sequence[Split],
    models: Sequence[ModelSpec],
    pipeline: FeaturePipeline,
    threshold: Threshold | None,
    decide: Decide,
    resume: Resume,
    on_progress: Callable[[Progress], None] | None,
) -> None:
    """Fit what `resume` does not hold yet, and keep it there."""
    wanted = [(i, spec) for i, split in enumerate(splits) for spec in models]
    todo = [(i, spec) for i, spec in wanted if not resume.holds(splits[i].fold, spec.label)]
    if not todo:
        return
    tasks = (
        State(meta={"fold": i, "label": spec.label, "name": spec.name, "params": dict(spec.params)}) for i, spec in todo
    )
    shared = _shared(dataset, splits, pipeline, threshold, decide, resume if cluster.local else None)
    done = len(wanted) - len(todo)
    _tell(on_progress, splits, todo[0], done, len(wanted))
    for number, found in cluster.map("fold", tasks, shared):
        i, spec = todo[number]
        fitted = _fitted(found)
        resume.unit(splits[i].fold, spec.label, lambda fitted=fitted: fitted)  # type: ignore[misc]
        done += 1
        _tell(on_progress, splits, todo[number], done, len(wanted))


def _shared(
    dataset: ResponseDataset,
    splits: Sequence[Split],
    pipeline: FeaturePipeline,
    threshold: Threshold | None,
    decide: Decide,
    resume: Resume | None,
) -> State:
    with tempfile.TemporaryDirectory(prefix="halfmax-") as folder:
        arrays: dict[str, Any] = dict(pack_folder(dataset.save(Path(folder) / "dataset"), "dataset"))
    arrays |= {f"{i}/{part}": getattr(split, part) for i, split in enumerate(splits) for part in _PARTS}
    return State(
        arrays,
        {
            "protocol": splits[0].protocol,
            "folds": [split.fold for split in splits],
            "pipeline": {name: getattr(pipeline, name) for name in parameters_of(FeaturePipeline)},
            "decide": decide,
            "threshold": None if threshold is None else asdict(threshold),
            "resume": None if resume is None else str(resume.folder.absolute()),
        },
    )


def _fitted(found: State) -> Fitted:
    about = cast("dict[str, Any]", found.meta)
    return np.array(found.arrays["predicted"], dtype=np.float64), about["timing"], pd.DataFrame(about["curve"])


def _tell(
    on_progress: Callable[[Progress], None] | None,
    splits: Sequence[Split],
    unit: tuple[int, ModelSpec],
    done: int,
    total: int,
) -> None:
    if on_progress is not None:
        on_progress(Progress(splits[unit[0]].fold, unit[1].label, done, total))
