"""Search: every model's study on every outer fold, in this process or several, and the outer folds scored once."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from halfmax.errors import DataError, HalfmaxError, examples
from halfmax.evaluate import FoldRun, ModelSpec, Progress
from halfmax.models.base import JSON
from halfmax.models.checkpoint import digest, versions
from halfmax.resume import Resume
from halfmax.split import Split
from halfmax.tune.objective import InnerFolds, Objective, epochs_of, fold_run, score_of
from halfmax.tune.result import Outer, Tuning, tables
from halfmax.tune.settings import Plan
from halfmax.tune.space import defaults_in, grid_of, plain
from halfmax.tune.study import alive, open_study, pruner_of, sampler_of, storage_of, work

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

    import optuna

log = logging.getLogger(__name__)
OnProgress = Callable[[Progress], None]
#: How often a killed worker is replaced, for each worker.
_REPLACED = 5
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def tune(plan: Plan, folder: Path, *, fresh: bool = False, on_progress: OnProgress | None = None) -> Tuning:
    """Search for the best hyper-parameters of every model of the plan.

    The same call goes on where an earlier one was cut off: trials that are finished are kept, those that were
    interrupted run again, and more trials than before are added to those that there are. Several processes, here or on
    other machines, may work on the same studies.

    Parameters
    ----------
    plan
        From `halfmax.tune.settings.read_plan`.
    folder
        Where studies are kept, unless the plan names a database, and outer folds' predictions.
    fresh
        Forget the studies of these names.

    Raises
    ------
    DataError
        If a study belongs to another search, or none of a model's trials finished.
    """
    with storage_of(plan.settings, folder) as storage:
        if fresh:
            shutil.rmtree(folder / "outer", ignore_errors=True)
        for model, fold in _every(plan):
            _open(plan, storage, model, fold, fresh=fresh)
    if plan.settings.workers > 1:
        _in_processes(plan, folder)
    search(plan, folder, on_progress)
    with storage_of(plan.settings, folder) as storage:
        studies = {(model, fold): _open(plan, storage, model, fold) for model, fold in _every(plan)}
        best = {key: _best(study) for key, study in studies.items()}
        outer = _score_outer(plan, folder, best, on_progress) if plan.settings.nested else {}
        return tables(plan, studies, outer)


def search(plan: Plan, folder: Path, on_progress: OnProgress | None = None, *, score_defaults: bool = True) -> None:
    """Run the trials that are left, one after another, until every study has its budget.

    Parameters
    ----------
    score_defaults
        Score the default parameters on the inner folds, too, where no trial has them; they count in no budget.
    """
    n_studies = len(plan.settings.models) * len(plan.prepared.splits)
    with storage_of(plan.settings, folder) as storage, alive(folder) as worker:
        folds: dict[str, InnerFolds] = {}
        for k, (model, fold) in enumerate(_every(plan)):
            if fold not in folds:
                folds = {fold: InnerFolds(plan, fold)}
            study, budget = _open(plan, storage, model, fold), budget_of(plan, model)
            show = None if on_progress is None else _shower(on_progress, model, fold, k, n_studies, budget)
            work(
                study,
                storage,
                Objective(model, folds[fold], study, budget, worker, show),
                budget=budget,
                folder=folder,
                grace=plan.settings.grace,
            )
            if score_defaults:
                _score_defaults(plan, study, folds[fold], model)


def _score_defaults(plan: Plan, study: optuna.Study, folds: InnerFolds, model: str) -> None:
    default = defaults_in(model, plan.spaces[model])
    if "default" in study.user_attrs or any(trial.params == default for trial in study.get_trials(deepcopy=False)):
        return
    spec = ModelSpec(model, model, plan.config.params_of(model))
    try:
        value = sum(folds.score(spec, i, lambda epoch, log: False) for i in range(len(folds))) / len(folds)
    except HalfmaxError as error:
        log.warning("%s: the default parameters could not be scored: %s", study.study_name, error)
        return
    study.set_user_attr("default", value)


def budget_of(plan: Plan, model: str) -> int:
    """Return the trials of a model on a fold: what was asked for, or the whole grid where that is smaller."""
    if plan.settings.search != "grid":
        return plan.settings.trials
    return min(plan.settings.trials, len(grid_of(plan.spaces[model], plan.settings.points, plan.config.seed)))


def _every(plan: Plan) -> Iterator[tuple[str, str]]:
    """Yield model and outer fold of every study; all models of a fold come one after another."""
    for split in plan.prepared.splits:
        for model in plan.settings.models:
            yield model, split.fold


def _open(plan: Plan, storage: Any, model: str, fold: str, *, fresh: bool = False) -> optuna.Study:
    settings, config, space = plan.settings, plan.config, plan.spaces[model]
    grid = grid_of(space, settings.points, config.seed) if settings.search == "grid" else []
    epochs = epochs_of(model, plan)
    return open_study(
        storage,
        f"{config.name}/{model}/{config.split.protocol}/{fold}",
        _about(plan, model, fold),
        maximise=plan.higher_is_better,
        sampler=sampler_of(
            settings.search,
            space,
            seed=config.seed,
            defaults=None if grid else defaults_in(model, space),
            combinations=grid,
        ),
        pruner=pruner_of(settings.prune, (epochs or 1) * settings.inner),
        fresh=fresh,
    )


def _about(plan: Plan, model: str, fold: str) -> dict[str, JSON]:
    """Return what decides the value of a trial, and which trials there are."""
    settings, config = plan.settings, plan.config
    outer = next(split for split in plan.prepared.splits if split.fold == fold)
    return {
        "model": model,
        "given": config.params_of(model),
        "space": plain(plan.spaces[model]),
        "metric": plan.metric,
        **settings.model_dump(mode="json", include={"search", "points", "inner", "prune"}),
        **config.model_dump(mode="json", include={"seed", "features", "task"}),
        "data": plan.prepared.dataset.fingerprint(),
        "folds": digest(outer, list(plan.inner[fold])),
        "versions": {**versions()},
    }


def _best(study: optuna.Study) -> optuna.trial.FrozenTrial:
    try:
        return study.best_trial
    except ValueError:
        reasons = [t.user_attrs.get("reason", t.state.name.lower()) for t in study.get_trials(deepcopy=False)]
        raise DataError(
            f"none of the {len(reasons)} trials of {study.study_name} was finished, e.g. {examples(reasons)}."
        ) from None


def _score_outer(
    plan: Plan,
    folder: Path,
    best: Mapping[tuple[str, str], optuna.trial.FrozenTrial],
    on_progress: OnProgress | None,
) -> dict[tuple[str, str], Outer]:
    """Fit the best and the default parameters on each outer fold's training part, and score them on its test part."""
    scored = {}
    kept = Resume(folder / "outer")
    for k, split in enumerate(plan.prepared.splits):
        run = fold_run(plan, plan.prepared.dataset, split)
        for j, model in enumerate(plan.settings.models):
            if on_progress is not None:
                n = len(plan.settings.models)
                on_progress(Progress(split.fold, f"{model} · outer fold", k * n + j, n * len(plan.prepared.splits)))
            given = plan.config.params_of(model)
            found = [
                _outer(plan, kept, run, split, model, given | extra) for extra in (best[model, split.fold].params, {})
            ]
            (tuned, predicted), (default, _) = found
            table = run.table(predicted).assign(fold=split.fold, model=model)
            scored[model, split.fold] = Outer(tuned, default, table)
    return scored


def _outer(
    plan: Plan, kept: Resume, run: FoldRun, split: Split, model: str, params: Mapping[str, Any]
) -> tuple[float, Any]:
    about = digest(plan.prepared.dataset.fingerprint(), split, plan.config.features.model_dump(mode="json"), params)
    spec = ModelSpec(model, model, params)
    predicted, _, _ = kept.unit(split.fold, f"{model} {about}", lambda: run.fit_predict(spec, lambda epoch, log: False))
    return score_of(run, predicted, plan), predicted


def _shower(on_progress: OnProgress, model: str, fold: str, k: int, n_studies: int, budget: int) -> Any:
    def show(slot: int, inner: str, epoch: int | None, values: Mapping[str, float]) -> None:
        name = f"{model} · trial {slot + 1} of {budget}"
        on_progress(Progress(f"{fold}.{inner}", name, k * budget + slot, n_studies * budget, epoch, values))

    return show


def _in_processes(plan: Plan, folder: Path) -> None:
    """Let processes work on the studies until none has anything left to do; one that is killed is replaced."""
    from multiprocessing import connection, get_context

    context = get_context("spawn")
    running: dict[BaseProcess, Any] = {}
    replaced = 0
    told: list[str] = []

    def start() -> None:
        here, there = context.Pipe(duplex=False)
        process = context.Process(target=_worker, args=(plan, folder, there))
        process.start()
        there.close()
        running[process] = here

    with _one_thread():
        for _ in range(plan.settings.workers):
            start()
        while running:
            connection.wait([process.sentinel for process in running])
            for process in [p for p in running if not p.is_alive()]:
                here = running.pop(process)
                process.join()
                if process.exitcode:
                    message = _last_words(here)
                    told += [message] if message else []
                    if not message and replaced < _REPLACED * plan.settings.workers:
                        replaced += 1
                        log.warning("a worker ended with status %s and is replaced", process.exitcode)
                        start()
                here.close()
    if told:
        raise DataError(f"{len(told)} of {plan.settings.workers} workers stopped: {told[0]}")


def _last_words(here: Any) -> str:
    try:
        return str(here.recv()) if here.poll() else ""
    except EOFError:
        return ""


def _worker(plan: Plan, folder: Path, there: Any) -> None:
    """Work in a process of its own; what is wrong with the data or the studies is told to the one that started it."""
    try:
        search(plan, folder, score_defaults=False)
    except HalfmaxError as error:
        there.send(str(error))
        raise SystemExit(1) from None


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let processes that are started in the block use one thread each."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
