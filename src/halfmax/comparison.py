"""Comparison: any models on the same folds with the same tuning budget, each alone in a process, in one report."""

from __future__ import annotations

import json
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd

from halfmax.adapters.alone import alone
from halfmax.adapters.peers import Peer, peer_runner
from halfmax.compare import BASELINE, paired_differences
from halfmax.config import RunConfig
from halfmax.data.dataset import ResponseDataset
from halfmax.data.storage import atomic_file
from halfmax.errors import DataError
from halfmax.evaluate import ModelSpec, Progress, Results, cross_validate
from halfmax.models.base import MODELS
from halfmax.report import Report
from halfmax.resume import Fitted, opened
from halfmax.run import load_data, make_features, make_threshold, prepare, report_of
from halfmax.split import Split

#: Columns of costs.csv: means over folds of time [s], the most memory [MB] of any, and sums of CPU [s].
COST_COLUMNS = (
    "model",
    "n_folds",
    "fit_s",
    "predict_s",
    "cpu_s",
    "process_cpu_s",
    "tuning_cpu_s",
    "n_trials",
    "peak_mb",
)


@dataclass(frozen=True)
class Comparison:
    """What a comparison found.

    Parameters
    ----------
    report
        All models in one report; ``report.metrics`` and ``report.predictions`` hold every figure.
    differences
        Each model less the reference, as `halfmax.compare.paired_differences` returns; empty in classification.
    costs
        One row a model: n_folds; fit_s, predict_s [s], means over folds; cpu_s [s] of fitting and predicting,
        process_cpu_s [s] with reading and encoding, tuning_cpu_s [s], all sums over folds; n_trials of each fold;
        peak_mb [MB], the most memory of its processes. NaN where a model did not run in a process of its own.
    """

    report: Report
    differences: pd.DataFrame
    costs: pd.DataFrame

    def write(self, folder: Path) -> Path:
        """Write the report's files, differences.csv and costs.csv to `folder` and return the path of the page."""
        for name in ("differences", "costs"):
            with atomic_file(folder / f"{name}.csv") as path:
                getattr(self, name).to_csv(path, index=False, float_format="%.6g")
        return self.report.write(folder)


def compare_models(
    config: RunConfig,
    folder: Path,
    *,
    dataset: ResponseDataset | None = None,
    peers: Sequence[Peer] = (),
    peer_python: Path | None = None,
    trials: int = 0,
    inner: int = 3,
    isolate: bool = True,
    reference: str | None = None,
    fresh: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> Comparison:
    """Fit every model of the configuration, and those of drevalpy, on the same folds.

    A comparison that was cut off goes on when the same call is given again.

    Parameters
    ----------
    folder
        Where unfinished work and studies are kept; the result is written by `Comparison.write`.
    dataset
        The data that the configuration names, or any in their place.
    peers, peer_python
        Models of drevalpy and the Python of the environment that they run in.
    trials
        Random settings tried of every model that has a search space, on each outer fold, over the same `inner` folds of
        its training part; 0 takes the settings of the configuration. A peer tries as many of its own sets.
    isolate
        Run each model and fold in a process of its own, so that its memory can be told; a model that is registered in
        this process alone needs False.
    reference
        The model that differences are told to; the configuration's main one by default.

    Raises
    ------
    DataError
        If there are peers but no Python for them, labels are to be predicted by peers, or a process fails.
    """
    _check(config, peers, peer_python)
    loaded = load_data(config) if dataset is None else dataset
    prepared = prepare(config, loaded)
    started, clock = time.strftime("%Y-%m-%dT%H:%M:%S%z"), time.perf_counter()
    about: dict[str, Any] = {"config": config.model_dump(mode="json"), "data": prepared.dataset.fingerprint()}
    about |= {"peers": [peer.label for peer in peers], "trials": trials, "inner": inner}
    best: dict[tuple[str, str], dict[str, Any]] = {}
    tuning: dict[str, float] = {}
    if trials:
        best, tuning = _tuned(config, loaded, folder / "tuning", trials, inner, on_progress)
    with (
        _readable(config, dataset if isolate or trials else None) as own,
        opened(folder / "unfinished", about, fresh=fresh) as resume,
    ):
        specs = [_spec(own, name, best, isolate=isolate) for name in config.models]
        for peer in peers:
            specs.append(ModelSpec(peer.label, BASELINE, runner=peer_runner(_python(peer_python), peer)))
        results = cross_validate(
            prepared.dataset,
            prepared.splits,
            specs,
            features=lambda: make_features(config),
            threshold=make_threshold(config),
            decide=config.task.decide,
            n_boot=config.n_boot,
            seed=config.seed,
            on_progress=on_progress,
            resume=resume,
        )
    command = "halfmax compare config.toml" + (f" --trials {trials} --inner {inner}" if trials else "")
    report = report_of(config, prepared, results, started, time.perf_counter() - clock, command=command)
    chosen = reference or config.main_model
    return Comparison(report, _differences(config, results, chosen), _costs(results, tuning, trials))


def _check(config: RunConfig, peers: Sequence[Peer], python: Path | None) -> None:
    labels = [peer.label for peer in peers]
    if len(set(labels)) < len(labels):
        raise DataError(f"a model of drevalpy is named twice: {labels}.")
    if peers and python is None:
        raise DataError(f"{len(peers)} models run in drevalpy's environment; say where its Python is, or make one.")
    if peers and python is not None and not python.exists():
        raise DataError(f"there is no Python at {python}.")
    if peers and config.task.kind != "regression":
        raise DataError("drevalpy's models predict responses, not labels: leave out the peers, or task.kind.")


def _python(python: Path | None) -> Path:
    if python is None:
        raise DataError("say where the Python of drevalpy's environment is.")
    return python.absolute()


@contextmanager
def _readable(config: RunConfig, dataset: ResponseDataset | None) -> Iterator[RunConfig]:
    """Yield a configuration whose data another process can read: `dataset` is written to a folder meanwhile."""
    if dataset is None:
        yield config
        return
    with tempfile.TemporaryDirectory(prefix="halfmax-compare-") as place:
        data = type(config.data)(folder=dataset.save(Path(place) / "data"))
        yield config.model_copy(update={"data": data})


def _spec(
    config: RunConfig, name: str, best: Mapping[tuple[str, str], Mapping[str, Any]], *, isolate: bool
) -> ModelSpec:
    """Return a model with the settings that were found for each fold."""
    folds = {fold: params for (model, fold), params in best.items() if model == name}
    if not isolate and not folds:
        return ModelSpec(name, name, config.params_of(name))

    def fit(dataset: ResponseDataset, split: Split) -> Fitted:
        return alone(_with_params(config, name, folds.get(split.fold, {})), name)(dataset, split)

    return ModelSpec(name, name, config.params_of(name), runner=fit)


def _with_params(config: RunConfig, name: str, params: Mapping[str, Any]) -> RunConfig:
    """Return a configuration of one model with these hyper-parameters."""
    given = {**config.params_of(name), **params}
    changed = {"models": (name,), "predictor": None, "save": (), "model": {}, "params": {name: given}}
    return config.model_copy(update=changed)


def _tuned(
    config: RunConfig,
    dataset: ResponseDataset,
    folder: Path,
    trials: int,
    inner: int,
    on_progress: Callable[[Progress], None] | None,
) -> tuple[dict[tuple[str, str], dict[str, Any]], dict[str, float]]:
    """Return the best settings of each model and fold by an equal random search, and its CPU seconds."""
    models = [name for name in config.models if MODELS.get(name).search_space()]
    if not models:
        raise DataError(f"none of {', '.join(config.models)} has anything to tune; leave out the trials.")
    try:
        settings, search = import_module("halfmax.tune.settings"), import_module("halfmax.tune.search")
    except ModuleNotFoundError as error:
        raise DataError(f"tuning needs {error.name}: pip install 'halfmax[tune]', or leave out the trials.") from None
    wanted = {"models": models, "search": "random", "trials": trials, "inner": inner, "nested": True}
    plan = settings.plan_of(tomllib.loads(config.to_toml()) | {"tune": wanted}, dataset=dataset)
    found = search.tune(plan, folder, on_progress=on_progress)
    found.write(folder)
    rows = found.studies.to_dict("records")
    best = {(row["model"], str(row["fold"])): json.loads(row["params"]) for row in rows}
    return best, {str(k): float(v) for k, v in found.studies.groupby("model")["cpu_s"].sum().items()}


def _differences(config: RunConfig, results: Results, reference: str) -> pd.DataFrame:
    known = set(results.predictions["model"])
    if config.task.kind != "regression" or BASELINE not in known or reference in (BASELINE,) or len(known) < 3:
        return pd.DataFrame()
    protocol = config.split.protocol
    return paired_differences(results.predictions, reference, protocol=protocol, n_boot=config.n_boot, seed=config.seed)


def _costs(results: Results, tuning: Mapping[str, float], trials: int) -> pd.DataFrame:
    told = ("process_cpu_s", "peak_mb", "tuning_cpu_s", "n_trials")
    table = results.timings.reindex(columns=list(dict.fromkeys([*results.timings.columns, *told])))
    found = table.groupby("model", sort=False, as_index=False).agg(
        n_folds=("fold", "size"),
        fit_s=("fit_s", "mean"),
        predict_s=("predict_s", "mean"),
        cpu_s=("cpu_s", "sum"),
        process_cpu_s=("process_cpu_s", lambda v: v.sum(min_count=1)),
        tuning_cpu_s=("tuning_cpu_s", "sum"),
        n_trials=("n_trials", "max"),
        peak_mb=("peak_mb", "max"),
    )
    found["tuning_cpu_s"] += found["model"].map(tuning).fillna(0.0)
    ours = found["model"].isin(list(tuning)) * trials
    found["n_trials"] = found["n_trials"].fillna(ours).astype(int)
    return found[list(COST_COLUMNS)]
