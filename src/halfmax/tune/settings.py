"""TuneSettings: how to search, read beside the run's configuration and checked with it in one go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator

from halfmax.config import RunConfig, Section, problems_of, read_content
from halfmax.data.dataset import ResponseDataset
from halfmax.errors import DataError, HalfmaxError, UnknownNameError, did_you_mean
from halfmax.metrics import REGRESSION
from halfmax.models.base import MODELS
from halfmax.run import Prepared, load_data, prepare
from halfmax.split import Split, make_splits
from halfmax.tune.space import Choices, Range, space_of

#: Metric to whether higher is better, by task.
METRICS: Mapping[str, Mapping[str, bool]] = {
    "regression": {name: metric.higher_is_better for name, metric in REGRESSION.items()}
    | {"mae": False, "spearman": True}
    | dict.fromkeys(("within_drug_pearson", "within_drug_spearman", "within_sample_pearson"), True),
    "classification": dict.fromkeys(
        ("roc_auc", "pr_auc", "f1", "accuracy", "balanced_accuracy", "precision", "recall"), True
    ),
}
STORAGES = ("postgresql://", "postgresql+psycopg://", "sqlite:///")


class TuneSettings(Section):
    """How to search; the section ``[tune]``.

    Parameters
    ----------
    models
        Models to tune, each with the same number of trials on the same folds; the run's main model if none is named.
    search
        ``tpe`` (Bergstra et al. 2011), ``gp`` (a Gaussian process), ``random``, or ``grid``.
    trials
        Trials of each model on each outer fold; a grid may be smaller.
    points
        Values that a grid takes of a range.
    inner
        Inner folds of the training part of an outer fold.
    metric
        Mean over the inner folds that is searched for; ``rmse``, or ``roc_auc`` in classification, if not given.
    nested
        Tune on every outer fold and score each once with the best of its own study; otherwise on the first alone, and
        its test part is not looked at.
    prune
        Stop trials that are behind: ``asha`` (Li et al. 2020) or ``hyperband`` (Li et al. 2018).
    workers
        Processes, one thread each.
    storage
        URL of a PostgreSQL (or SQLite) database that keeps the studies; a SQLite file in the folder if not given.
    heartbeat, grace
        Every so often [s] a trial says that it lives; one silent for longer than `grace` [s] is run again.
    space
        Model to parameter to ``{low, high, log}`` or ``{choices}``, in the place of the model's own space.
    """

    models: tuple[str, ...] = ()
    search: Literal["tpe", "gp", "random", "grid"] = "tpe"
    trials: Annotated[int, Field(ge=1, le=100_000)] = 30
    points: Annotated[int, Field(ge=1, le=100)] = 3
    inner: Annotated[int, Field(ge=2, le=50)] = 3
    metric: str | None = None
    nested: bool = False
    prune: Literal["none", "asha", "hyperband"] = "none"
    workers: Annotated[int, Field(ge=1, le=1024)] = 1
    storage: str | None = None
    heartbeat: Annotated[int, Field(ge=1, le=3600)] = 10
    grace: Annotated[int, Field(ge=2, le=86_400)] = 60
    space: Mapping[str, Mapping[str, Any]] = {}

    @field_validator("models")
    @classmethod
    def _once(cls, models: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(models)) < len(models):
            raise ValueError("a model is named twice")
        return models


@dataclass(frozen=True)
class Plan:
    """All that a search needs, checked.

    Parameters
    ----------
    config, settings
        What was asked for; `settings.models` and `settings.metric` are filled in.
    prepared
        Data and outer folds: all of them if nested, else the first.
    inner
        Outer fold to its inner folds, as row numbers of ``prepared.dataset.take(outer.fit_rows)``.
    spaces
        Model to what is searched.
    """

    config: RunConfig
    settings: TuneSettings
    prepared: Prepared
    inner: Mapping[str, Sequence[Split]]
    spaces: Mapping[str, Mapping[str, Range | Choices]]

    @property
    def metric(self) -> str:
        """The metric that is searched for."""
        return str(self.settings.metric)

    @property
    def higher_is_better(self) -> bool:
        """Its direction."""
        return METRICS[self.config.task.kind][self.metric]


def read_plan(
    path: Path | None,
    overrides: Sequence[str] = (),
    *,
    dataset: ResponseDataset | None = None,
    load: Any = load_data,
    **options: object,
) -> Plan:
    """Read configuration and settings, cut all folds, and check everything at once.

    Parameters
    ----------
    path
        TOML of a run, with a section ``[tune]``; None for the defaults.
    overrides, options
        As in `halfmax.config.load_config`; ``tune__trials=30`` sets a key of the section.
    dataset
        The data that the configuration names, to spare loading them.
    load
        Loads them otherwise.

    Raises
    ------
    DataError
        With every problem listed: unknown keys, wrong types, hyper-parameters that do not exist, spaces that make no
        sense, folds that cannot be cut, too few groups.
    """
    return _plan(read_content(path, overrides, **options), dataset, load)


def plan_of(content: Mapping[str, Any], *, dataset: ResponseDataset | None = None, load: Any = load_data) -> Plan:
    """Return the plan of a configuration given as nested plain data; see `read_plan`."""
    return _plan(dict(content), dataset, load)


def _plan(content: dict[str, Any], dataset: ResponseDataset | None, load: Any) -> Plan:
    section = content.pop("tune", {})
    settings, problems = _checked(TuneSettings, section, "tune.")
    known = tuple(name for name in settings.models if name in MODELS.names())
    for name in settings.models:
        if name not in known:
            problems.append(f"  tune.models: unknown model {name!r}.{did_you_mean(name, MODELS)}")
    config, found = _checked(RunConfig, _with_models(content, known), "")
    problems += found
    settings = settings.model_copy(update={"models": known if settings.models else (config.main_model,)})
    spaces, found = _spaces(config, settings, content)
    problems += [f"  {line}." for line in found]
    kind = config.task.kind
    metric = settings.metric or ("rmse" if kind == "regression" else "roc_auc")
    if metric not in METRICS[kind]:
        known_metrics = METRICS[kind]
        problems.append(
            f"  tune.metric: unknown metric {metric!r} of a {kind}.{did_you_mean(metric, known_metrics)} Known: "
            f"{', '.join(known_metrics)}."
        )
    if settings.grace <= settings.heartbeat:
        problems.append(f"  tune.grace: {settings.grace} s is not longer than the heartbeat, {settings.heartbeat} s.")
    if settings.storage is not None and not settings.storage.startswith(STORAGES):
        scheme = settings.storage.partition(":")[0][:20]  # the rest may hold a password
        problems.append(f"  tune.storage: studies are kept at postgresql://… or sqlite:///FILE, not at {scheme!r}.")
    settings = settings.model_copy(update={"metric": metric})
    prepared, inner, found = _folds(config, settings, dataset, load)
    problems += found
    if problems or prepared is None:
        raise DataError(f"the search has {len(problems)} problems:\n" + "\n".join(dict.fromkeys(problems)))
    return Plan(config, settings, prepared, inner, spaces)


def _checked(section: Any, content: Any, prefix: str) -> tuple[Any, list[str]]:
    """Return a section and its problems; what is wrong is left at its default, so that the rest can be checked, too."""
    if not isinstance(content, Mapping):
        return section(), [f"  {prefix.rstrip('.')}: is a section, not {content!r:.80}"]
    content = _copy(content)
    problems: list[str] = []
    while True:
        try:
            return section.model_validate(content), problems
        except ValidationError as error:
            problems += problems_of(error, section, prefix)
            before = _copy(content)
            for each in error.errors():
                _drop(content, each["loc"])
            if content == before:
                return section(), problems


def _copy(content: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copy(value) if isinstance(value, Mapping) else value for key, value in content.items()}


def _drop(content: dict[str, Any], place: tuple[int | str, ...]) -> None:
    """Take out what is at `place`; where a whole run is inconsistent, all that names models and parameters."""
    if not place:
        for key in ("model", "params", "predictor", "save"):
            content.pop(key, None)
        return
    here: Any = content
    for i, part in enumerate(place):
        if i == len(place) - 1 or not isinstance(here.get(part), dict):
            here.pop(part, None)
            return
        here = here[part]


def _with_models(content: dict[str, Any], tuned: Sequence[str]) -> dict[str, Any]:
    """Add the models to tune to those of the run, and leave [model] with the model that it belonged to."""
    models = content.get("models", RunConfig.model_fields["models"].default)
    if not isinstance(models, list | tuple) or not models:
        return content
    new = [m for m in tuned if m not in models]
    return {"predictor": models[-1]} | content | {"models": [*models, *new]} if new else content


def _spaces(
    config: RunConfig, settings: TuneSettings, content: Mapping[str, Any]
) -> tuple[dict[str, dict[str, Range | Choices]], list[str]]:
    spaces, problems = {}, []
    asked = content.get("params", {})
    for name in settings.models:
        given = config.params_of(name)
        if isinstance(asked, Mapping) and isinstance(asked.get(name), Mapping):
            given |= asked[name]  # as it was written, where the configuration has other problems, too
        given = {key: value for key, value in given.items() if key not in ("seed", "task")}
        spaces[name], found = space_of(name, settings.space.get(name), given)
        problems += found
    for name in settings.space:
        if name not in settings.models:
            problems.append(f"tune.space.{name}: {name} is not among the models to tune")
    return spaces, problems


def _folds(
    config: RunConfig, settings: TuneSettings, dataset: ResponseDataset | None, load: Any
) -> tuple[Prepared | None, dict[str, Sequence[Split]], list[str]]:
    """Return data, outer and inner folds, and what stands in the way of them."""
    try:
        prepared = prepare(config, load(config) if dataset is None else dataset)
    except (HalfmaxError, OSError) as error:
        return None, {}, [f"  data and outer folds: {error}"]
    outer = prepared.splits if settings.nested else prepared.splits[:1]
    inner: dict[str, Sequence[Split]] = {}
    problems = []
    for split in outer:
        try:
            inner[split.fold] = inner_folds(prepared, split, config, settings.inner)
        except (DataError, UnknownNameError) as error:
            problems.append(f"  inner folds of fold {split.fold}: {error}")
    kept = Prepared(prepared.dataset, prepared.dropped, list(outer), prepared.notes)
    return kept, inner, problems


def inner_folds(prepared: Prepared, outer: Split, config: RunConfig, n_folds: int) -> list[Split]:
    """Cut the training part of an outer fold into folds of the same protocol, groups kept together."""
    part = prepared.dataset.take(outer.fit_rows)
    return make_splits(
        part, outer.protocol, n_folds=n_folds, seed=config.seed + 1, valid_fraction=config.split.valid_fraction
    )
