"""RunConfig: everything that decides a run, checked before anything starts."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from halfmax.errors import DataError, did_you_mean
from halfmax.features.pipeline import DEFAULT_DRUG_BLOCKS
from halfmax.labels import By, Decide
from halfmax.models.base import MODELS
from halfmax.state import parameters_of


class Section(BaseModel):
    """A section: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DataSection(Section):
    """Which responses and which omics: an embedded dataset by name, a dataset folder, or tables of your own."""

    name: str = "gdsc2-demo"
    measure: str = "ln_ic50"
    folder: Path | None = None
    response: Path | None = None
    expression: Path | None = None
    mutation: Path | None = None
    copy_number: Path | None = None
    proteomics: Path | None = None
    metabolomics: Path | None = None
    methylation: Path | None = None
    samples: Path | None = None
    drugs: Path | None = None
    unit: str | None = None
    expression_unit: str | None = None


class SplitSection(Section):
    """Which pairs are held out."""

    protocol: Literal["LPO", "LCO", "LDO", "LTO"] = "LCO"
    n_folds: Annotated[int, Field(ge=2, le=100)] = 5
    folds: Path | None = None
    only: tuple[str, ...] = ()
    valid_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.1


class FeaturesSection(Section):
    """What the models see."""

    modalities: tuple[str, ...] = ("expression",)
    require: tuple[str, ...] | None = None
    categories: tuple[str, ...] = ("tissue",)
    drug_blocks: tuple[str, ...] = DEFAULT_DRUG_BLOCKS
    unknown: Literal["zeros", "column", "error"] = "zeros"
    steps: Mapping[str, tuple[str | tuple[str, dict[str, Any]], ...]] = {}


class TaskSection(Section):
    """Regression, or classification by a threshold learned from training rows."""

    kind: Literal["regression", "classification"] = "regression"
    by: By = "drug"
    quantile: Annotated[float, Field(gt=0, lt=1)] = 0.2
    value: float | None = None
    decide: Decide = "f1"


class RunConfig(Section):
    """A whole run. Every field has the default of the main job.

    Parameters
    ----------
    models
        Names to evaluate, naive first; the order of the report's ladder.
    model
        Hyper-parameters of `predictor`, the model that is saved.
    params
        Hyper-parameters of the other models, by name.
    predictor
        The model that is fitted on all data and saved as ``predictor/``; the last of `models` by default.
    save
        Further models to fit on all data and save, each as ``predictors/NAME/``.
    """

    name: str = "default"
    seed: Annotated[int, Field(ge=0)] = 0
    n_boot: Annotated[int, Field(ge=0, le=10_000)] = 200
    models: tuple[str, ...] = (
        "mean",
        "drug_mean",
        "mean_effects",
        "tissue_drug_mean",
        "lightgbm",
        "kernel_ridge",
        "wide_deep",
    )
    predictor: str | None = None
    save: tuple[str, ...] = ("kernel_ridge",)
    model: Mapping[str, Any] = {}
    params: Mapping[str, Mapping[str, Any]] = {}
    data: DataSection = DataSection()
    split: SplitSection = SplitSection()
    features: FeaturesSection = FeaturesSection()
    task: TaskSection = TaskSection()

    @field_validator("models")
    @classmethod
    def _known_models(cls, models: tuple[str, ...]) -> tuple[str, ...]:
        if not models:
            raise ValueError("name at least one model")
        if len(set(models)) != len(models):
            raise ValueError(f"a model is named twice: {models}")
        unknown = [m for m in models if m not in MODELS.names()]
        if unknown:
            raise ValueError(
                "; ".join(f"unknown model {m!r}.{did_you_mean(m, MODELS)}" for m in unknown)
                + f" Known: {', '.join(MODELS)}"
            )
        return models

    @model_validator(mode="after")
    def _consistent(self) -> RunConfig:
        strangers = [(field, name) for field, name in self._named() if name not in self.models]
        problems = [f"{field} names {name!r}, which is not among models" for field, name in strangers]
        for name in self.models:
            problems += _unknown_params(name, self.params_of(name))
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _named(self) -> list[tuple[str, str]]:
        named = [("params", n) for n in self.params]
        if self.predictor is not None:
            named.append(("predictor", self.predictor))
        if "save" in self.model_fields_set:
            named += [("save", n) for n in self.save]
        return named

    @property
    def main_model(self) -> str:
        """The model that is saved as ``predictor/``."""
        if self.predictor is not None:
            return self.predictor
        return self.models[-1]

    @property
    def saved_models(self) -> tuple[str, ...]:
        """The models that are fitted on all data: the main one, then the others to save."""
        others = (m for m in self.save if m in self.models and m != self.main_model)
        return (self.main_model, *others)

    def params_of(self, name: str) -> dict[str, Any]:
        """Return the hyper-parameters given for a model; the run's seed and task where the model has such."""
        known = parameters_of(MODELS.get(name))
        ours = {key: value for key, value in (("seed", self.seed), ("task", self.task.kind)) if key in known}
        main = dict(self.model) if name == self.main_model else {}
        return ours | dict(self.params.get(name, {})) | main

    def to_toml(self) -> str:
        """Return the configuration as TOML that reproduces it."""
        content = self.model_dump(mode="json", exclude_none=True)
        return to_toml(content | {"save": [name for name in self.save if name in self.models]})


def load_config(path: Path | None, overrides: Sequence[str] = (), **options: object) -> RunConfig:
    """Read a TOML file, apply ``section.key=value`` overrides and options, and check everything at once.

    Raises
    ------
    DataError
        With every problem listed: unknown keys (and the closest known ones), wrong types, impossible values.
    """
    try:
        return RunConfig.model_validate(read_content(path, overrides, **options))
    except ValidationError as error:
        raise DataError("the configuration has problems:\n" + "\n".join(problems_of(error))) from None


def read_content(path: Path | None, overrides: Sequence[str] = (), **options: object) -> dict[str, Any]:
    """Return what a TOML file, ``section.key=value`` overrides and options say together, unchecked; the later win.

    Raises
    ------
    DataError
        If the file cannot be read, is not TOML, or an override is not written as one.
    """
    content: dict[str, Any] = {}
    if path is not None:
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise DataError(f"cannot read the configuration {path}: {error.strerror}.") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise DataError(f"{path} is not valid TOML: {error}.") from None
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator:
            raise DataError(f"--set {override!r}: write it as section.key=value, e.g. --set model.width=256.")
        _put(content, key.strip(), _value(text.strip()))
    for key, value in options.items():
        if value is not None:
            _put(content, key.replace("__", "."), value)
    return content


def problems_of(error: ValidationError, section: type[Section] = RunConfig, prefix: str = "") -> list[str]:
    """Return a line for each problem that pydantic found in a section; `prefix` stands before the keys."""
    return [_explain(each, section, prefix) for each in error.errors()]


def to_toml(content: Mapping[str, Any], prefix: str = "") -> str:
    """Return nested plain data as TOML: scalars and lists first, then sections."""
    lines, sections = [], []
    for key, value in content.items():
        if isinstance(value, Mapping):
            if value:
                name = f"{prefix}{key}"
                sections.append(f"\n[{name}]\n{to_toml(value, name + '.')}")
        elif value is not None:
            lines.append(f"{key} = {_inline(value)}")
    return "\n".join(lines) + ("\n" if lines else "") + "".join(sections)


def _inline(value: object) -> str:
    """Return a value as TOML on one line; tables within lists become inline tables."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(k)} = {_inline(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_inline, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def _put(content: dict[str, Any], key: str, value: object) -> None:
    *sections, last = key.split(".")
    for section in sections:
        content = content.setdefault(section, {})
        if not isinstance(content, dict):
            raise DataError(f"--set {key}: {section!r} is a value, not a section.")
    content[last] = value


def _value(text: str) -> object:
    try:
        return tomllib.loads(f"x = {text}")["x"]
    except tomllib.TOMLDecodeError:
        return text


def _unknown_params(name: str, params: Mapping[str, Any]) -> list[str]:
    known = parameters_of(MODELS.get(name))
    return [
        f"model {name} has no hyper-parameter {key!r}.{did_you_mean(key, known)} It has: {', '.join(known) or 'none'}"
        for key in params
        if key not in known
    ]


def _explain(error: Any, section: Any, prefix: str) -> str:
    where = prefix + ".".join(map(str, error["loc"])) or "run"
    if error["type"] == "extra_forbidden":
        for part in error["loc"][:-1]:
            section = section.model_fields[part].annotation
        known = list(section.model_fields)
        return f"  {where}: unknown key.{did_you_mean(str(error['loc'][-1]), known)} Known: {', '.join(known)}."
    return f"  {where}: {error['msg'].removeprefix('Value error, ')} (found {error['input']!r:.80})"
