"""The main job: from a RunConfig to a folder with a report, tables, predictors and the configuration to repeat it."""

from __future__ import annotations

import logging
import os
import platform
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from halfmax.cluster import Cluster
from halfmax.config import RunConfig
from halfmax.data.dataset import Dropped, ResponseDataset
from halfmax.data.readers import embedded
from halfmax.data.readers.embedded import OnDownload
from halfmax.data.readers.table import read_dataset
from halfmax.data.storage import atomic_file
from halfmax.data.tables import read_frame
from halfmax.distribute import cross_validate_on
from halfmax.errors import DataError, examples
from halfmax.evaluate import ModelSpec, Progress, Results, assay_agreement, cross_validate
from halfmax.features.pipeline import FeaturePipeline
from halfmax.labels import Labels, Threshold
from halfmax.models.base import MODELS
from halfmax.panel import NEW_OF_PROTOCOL, Panel, learn_panel
from halfmax.predictor import Predictor
from halfmax.report import Report
from halfmax.resume import Resume, opened
from halfmax.split import Split, check_split, make_splits, row_groups, sample_groups, splits_from_table
from halfmax.uncertainty.conformal import covered

log = logging.getLogger(__name__)
PACKAGES = ("numpy", "pandas", "scipy", "scikit-learn", "torch", "rdkit", "lightgbm", "xgboost-cpu", "pyarrow")


@dataclass(frozen=True)
class Prepared:
    """Data and folds, ready to be cross-validated."""

    dataset: ResponseDataset
    dropped: Dropped
    splits: list[Split]
    notes: tuple[str, ...]


def load_data(config: RunConfig, *, on_download: OnDownload | None = None) -> ResponseDataset:
    """Return the dataset that the configuration names: embedded, a folder, or tables."""
    data = config.data
    if data.folder is not None:
        return ResponseDataset.load(data.folder)
    if data.response is not None:
        tables = data.model_dump(include={"response", "expression", "mutation", "copy_number", "samples", "drugs"})
        tables |= data.model_dump(include={"proteomics", "metabolomics", "methylation"})
        tables |= data.model_dump(include={"measure", "unit", "expression_unit"})
        return read_dataset(**tables, name=data.response.stem)
    return embedded.load(data.name, data.measure, progress=on_download)


def prepare(config: RunConfig, dataset: ResponseDataset) -> Prepared:
    """Keep complete cases, cut the folds and check that nothing crosses them."""
    needs_structure = config.split.protocol == "LDO"
    modalities, require = config.features.modalities, config.features.require
    require = modalities[:1] if require is None else require
    dataset, dropped = dataset.align(require, any_of=() if require else modalities, smiles=needs_structure)
    options: dict[str, Any] = {"seed": config.seed, "valid_fraction": config.split.valid_fraction}
    if config.split.folds is None:
        splits = make_splits(dataset, config.split.protocol, n_folds=config.split.n_folds, **options)
    else:
        table = read_frame(config.split.folds, numbers=("y",))
        before = dataset.n_pairs
        dataset, splits = splits_from_table(dataset, config.split.protocol, table, **options)
        causes = dict(dropped.causes)
        if dataset.n_pairs < before:
            causes["pair not in the folds file"] = (before - dataset.n_pairs, ())
        dropped = Dropped(dropped.n_before, dataset.n_pairs, causes)
    if config.split.only:
        known = [s.fold for s in splits]
        if unknown := sorted(set(config.split.only) - set(known)):
            raise DataError(f"split.only names folds {examples(unknown)}; there are {', '.join(known)}.")
        splits = [s for s in splits if s.fold in config.split.only]
    notes = [*_masked(dataset, modalities)]
    groups = row_groups(dataset, config.split.protocol)
    for split in splits:
        notes += check_split(dataset, split, allow_aliases=config.split.folds is not None, groups=groups)
    return Prepared(dataset, dropped, splits, tuple(notes))


def run(
    config: RunConfig,
    folder: Path,
    *,
    dataset: ResponseDataset | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    fresh: bool = False,
    cluster: Cluster | None = None,
) -> tuple[Report, Results]:
    """Do everything the configuration says and write it to `folder`.

    Parameters
    ----------
    dataset
        The data that the configuration names, to spare loading them again.
    fresh
        Forget what an unfinished run left in `folder`; otherwise the same run goes on where it was cut off.
    cluster
        Where models are fitted on folds: this process, with its threads, unless one is given (`halfmax.connect`).

    Raises
    ------
    DataError
        If the data cannot be used, or an unfinished run of another configuration, data or version is in `folder`.
    """
    prepared = prepare(config, dataset if dataset is not None else load_data(config))
    about = {"config": config.model_dump(mode="json"), "data": prepared.dataset.fingerprint()}
    with opened(folder / "unfinished", about, fresh=fresh) as resume:
        return _run(config, folder, prepared, on_progress, resume, cluster)


def _run(
    config: RunConfig,
    folder: Path,
    prepared: Prepared,
    on_progress: Callable[[Progress], None] | None,
    resume: Resume,
    cluster: Cluster | None,
) -> tuple[Report, Results]:
    validate = cross_validate if cluster is None else partial(cross_validate_on, cluster)
    started, clock = time.strftime("%Y-%m-%dT%H:%M:%S%z"), time.perf_counter()
    results = validate(
        prepared.dataset,
        prepared.splits,
        [ModelSpec(name, name, config.params_of(name)) for name in config.models],
        features=lambda: make_features(config),
        threshold=make_threshold(config),
        decide=config.task.decide,
        n_boot=config.n_boot,
        seed=config.seed,
        on_progress=on_progress,
        resume=resume,
    )
    for name in config.saved_models:
        if on_progress is not None:
            on_progress(Progress("all", name, 1, 1))
        where = folder / "predictor" if name == config.main_model else folder / "predictors" / name
        with resume.training("all", name):
            fit_final(config, prepared, name, results).save(where)
    report = report_of(config, prepared, results, started, time.perf_counter() - clock)
    report.write(folder)
    with atomic_file(folder / "config.toml") as path:
        path.write_text(config.to_toml(), encoding="utf-8")
    return report, results


def report_of(
    config: RunConfig,
    prepared: Prepared,
    results: Results,
    started: str,
    seconds: float,
    *,
    command: str = "halfmax run --config config.toml",
) -> Report:
    """Return the report of a cross-validation that began at `started` and took so many `seconds`.

    Parameters
    ----------
    command
        What repeats it in the folder of the report.
    """
    return Report(
        name=config.name,
        config=config.model_dump(mode="json", exclude_none=True),
        dataset=_describe(prepared.dataset),
        dropped=prepared.dropped.to_frame(),
        metrics=results.metrics,
        predictions=results.predictions,
        curves=results.curves,
        timings=results.timings,
        environment=_environment(started, seconds),
        ladder=config.models,
        agreement=_agreement(config, prepared.dataset),
        selected=results.selected,
        samples=prepared.dataset.samples,
        drugs=prepared.dataset.drugs,
        notes=(*prepared.notes, *_undefined(results.metrics)),
        command=command,
    )


def fit_final(config: RunConfig, prepared: Prepared, name: str, results: Results) -> Predictor:
    """Fit a model on all rows (a tenth of the groups held out for early stopping where it validates)."""
    dataset, valid = prepared.dataset, None
    threshold = make_threshold(config)
    if threshold is not None:
        dataset = Labels.learn(threshold, dataset).apply(dataset)
    if getattr(MODELS.get(name), "uses_valid", False) and config.split.valid_fraction > 0:
        n_groups = len(np.unique(row_groups(dataset, config.split.protocol)))
        n_parts = min(max(2, round(1 / config.split.valid_fraction)), n_groups)
        part = make_splits(dataset, config.split.protocol, n_folds=n_parts, seed=config.seed, valid_fraction=0)[0]
        dataset, valid = dataset.take(part.train), dataset.take(part.test)
    predictor = Predictor.of(name, config.params_of(name))
    predictor.fit(dataset, valid, features=make_features(config))
    predictor.about_["data"]["fingerprint"] = dataset.fingerprint()
    panel = _panel(config, prepared, name, results)
    predictor.panels_ = {} if panel is None else {panel.new: panel}
    _calibrate(config, predictor, name, results)
    if threshold is not None:
        chosen = results.timings.loc[results.timings["model"] == name, "cutoff"].astype(float)
        predictor.about_["labels"] = {"threshold": asdict(threshold), "cutoff": round(float(chosen.mean()), 6)}
    predictor.about_ |= {
        "split": {"protocol": config.split.protocol, "n_folds": len(prepared.splits)},
        "metrics": _scores(results.metrics, name, "all").dropna().set_index("metric")["value"].round(6).to_dict(),
        "skill": _scores(results.metrics, name, "drug")
        .query("metric == 'pearson'")
        .dropna()
        .set_index("group")["value"]
        .round(4)
        .to_dict(),
        "tissue_skill": _scores(results.metrics, name, "tissue")
        .query("metric == 'within_drug_pearson'")
        .dropna()
        .set_index("group")["value"]
        .round(4)
        .to_dict(),
        "ladder": {
            model: _scores(results.metrics, model, "all").dropna().set_index("metric")["value"].round(4).to_dict()
            for model in config.models
        },
    }
    return predictor


def _calibrate(config: RunConfig, predictor: Predictor, name: str, results: Results) -> None:
    """Give the predictor intervals from the errors of its own recipe in the cross-validation, where they can tell."""
    new = NEW_OF_PROTOCOL.get(config.split.protocol)
    if new is None or config.task.kind != "regression":
        return
    predictions = results.predictions[results.predictions["model"] == name]
    try:
        predictor.calibrate(predictions, new)
    except DataError as error:
        log.info("%s has no intervals: %s", name, error)
        return
    predictor.about_["intervals"] = {new: covered(predictions, new)}


def _panel(config: RunConfig, prepared: Prepared, name: str, results: Results) -> Panel | None:
    """Return what the model's errors on left-out samples or drugs say of new ones; None where they cannot tell."""
    new = NEW_OF_PROTOCOL.get(config.split.protocol)
    if new is None or config.task.kind != "regression":
        return None
    predictions = results.predictions[results.predictions["model"] == name]
    like = prepared.dataset.omics.get("expression") if new == "drug" else None
    try:
        return learn_panel(predictions, new, like=like)
    except DataError as error:
        log.info("%s will not take measured values: %s", name, error)
        return None


def _undefined(metrics: pd.DataFrame) -> list[str]:
    """Say which metrics have no value, and why."""
    overall = metrics[(metrics["fold"] == "all") & (metrics["group_by"] == "all") & metrics["value"].isna()]
    names = sorted(set(overall["metric"]))
    if not names:
        return []
    return [
        f"{', '.join(names)}: not defined on these test pairs, because measured values do not vary or too few pairs of "
        "a drug or sample were tested; left empty."
    ]


def _scores(metrics: pd.DataFrame, model: str, group_by: str) -> pd.DataFrame:
    """Return a model's figures over all folds: group, metric, value."""
    chosen = (metrics["model"] == model) & (metrics["fold"] == "all") & (metrics["group_by"] == group_by)
    return metrics.loc[chosen, ["group", "metric", "value"]]


def make_features(config: RunConfig, modalities: Sequence[str] | None = None) -> FeaturePipeline:
    """Return the unfitted pipeline of a configuration, of other modalities where they are given."""
    section = config.features
    used = section.modalities if modalities is None else modalities
    unused = {name for name in section.steps if name not in (*used, *section.drug_blocks)}
    steps = section.steps if modalities is None else {k: v for k, v in section.steps.items() if k not in unused}
    return FeaturePipeline(used, section.categories, section.drug_blocks, steps or None, section.unknown)


def _masked(dataset: ResponseDataset, modalities: Sequence[str]) -> Iterator[str]:
    """Yield a sentence for each modality that some samples lack."""
    for name in modalities:
        lacking = dataset.samples.index.difference(dataset.profiled(name))
        if len(lacking):
            n = len(dataset.samples)
            yield f"{len(lacking)} of {n} samples have no {name} (masked, not filled in), e.g. {examples(lacking)}."


def make_threshold(config: RunConfig) -> Threshold | None:
    """Return the threshold of a classification task, or None."""
    task = config.task
    return None if task.kind == "regression" else Threshold(task.by, task.quantile, task.value)


def _describe(dataset: ResponseDataset) -> dict[str, Any]:
    return {
        "name": dataset.name,
        "measure": asdict(dataset.measure),
        "n_samples": len(dataset.samples),
        "n_sample_groups": int(sample_groups(dataset).nunique()),
        "n_drugs": len(dataset.drugs),
        "n_pairs": dataset.n_pairs,
        "modalities": {k: v.shape[1] for k, v in dataset.omics.items()},
        "fingerprint": dataset.fingerprint(),
        "notes": dict(dataset.notes),
    }


def _agreement(config: RunConfig, dataset: ResponseDataset) -> pd.DataFrame:
    """Agreement of repeated measurements within the embedded screen, and with the other one."""
    other = {"gdsc2-demo": "gdsc1-demo", "gdsc1-demo": "gdsc2-demo"}.get(dataset.name)
    rows = []
    if other is not None and config.task.kind == "regression":
        name, measure = dataset.name, dataset.measure.name
        rows = [
            assay_agreement(*embedded.load_replicates(name, measure), "measured twice"),
            assay_agreement(dataset.response, embedded.load_response(other, measure), f"also in {other}"),
        ]
    columns = ["comparison", "n_pairs", "n_drugs", "pearson", "within_drug_pearson", "rmse"]
    return pd.DataFrame(rows, columns=columns)


def _environment(started: str, seconds: float) -> dict[str, Any]:
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "halfmax": version("halfmax"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "packages": versions,
        "started": started,
        "seconds": round(seconds, 1),
        "peak_memory_mb": round(peak / (1024 if platform.system() == "Linux" else 2**20)),
    }
