"""What is asked of a search is checked before it starts, and everything that is wrong is said at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from halfmax.data.synthetic import make_dataset
from halfmax.errors import DataError
from halfmax.models.base import MODELS
from halfmax.models.kernel import KernelRidge
from halfmax.tune.settings import TuneSettings, plan_of, read_plan
from halfmax.tune.space import Choices, Range, defaults_in, grid_of, space_of

DATASET = make_dataset(n_samples=30, n_drugs=4, n_genes=12)


@pytest.mark.parametrize("name", [name for name in MODELS if MODELS.get(name).search_space()])
def test_every_model_s_own_space_can_be_searched(name: str) -> None:
    space, problems = space_of(name)
    assert problems == []
    assert set(space) == set(MODELS.get(name).search_space())
    assert all(part.grid(3) for part in space.values())


def test_values_of_a_grid_lie_in_the_range_and_keep_their_type() -> None:
    assert Range(1, 100, log=True, whole=True).grid(3) == [1, 10, 100]
    assert Range(1, 2, whole=True).grid(5) == [1, 2]
    assert Range(0.1, 10.0, log=True).grid(3) == pytest.approx([0.1, 1.0, 10.0])
    assert Range(0.3, 0.7).grid(1) == [0.3]
    assert Choices(("a", True, 1, None)).grid(9) == ["a", True, 1, None]
    assert Choices((1, 2)).holds(2)
    assert not Choices((1, 2)).holds(True)


def test_a_grid_has_every_combination_once_and_its_order_depends_on_the_seed_alone() -> None:
    space = {"a": Choices((1, 2)), "b": Range(0.0, 1.0)}
    grid = grid_of(space, 3, 0)
    assert {(c["a"], c["b"]) for c in grid} == {(a, b) for a in (1, 2) for b in (0.0, 0.5, 1.0)}
    assert grid == grid_of(space, 3, 0)
    assert grid != grid_of(space, 3, 1)


def test_what_the_configuration_gives_is_not_searched() -> None:
    space, problems = space_of("mlp", fixed={"width": 64})
    assert problems == []
    assert "width" not in space
    assert "layers" in space


def test_defaults_are_tried_only_where_the_space_holds_them() -> None:
    assert defaults_in("kernel_ridge", {"focus": Range(0.0, 3.0)}) == {"focus": KernelRidge().focus}
    assert defaults_in("kernel_ridge", {"focus": Range(2.9, 3.0)}) is None
    assert defaults_in("kernel_ridge", {"ridge": Range(0.1, 10.0)}) is None  # found by the model itself


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"low": 1}, "write it as"),
        ([1, 2], "write it as"),
        ({"choices": []}, "at least one value"),
        ({"choices": "abc"}, "at least one value"),
        ({"choices": [64, 64]}, "given twice"),
        ({"choices": [64, "many"]}, "'many' is not of the parameter's type, int"),
        ({"choices": [{"a": 1}]}, "a choice is a number"),
        ({"low": 9, "high": 3}, "low is above high"),
        ({"low": 0, "high": 3, "log": True}, "begins above 0"),
        ({"low": 0.5, "high": 3}, "not of the parameter's type, int"),
        ({"low": "a", "high": 3}, "low and high are numbers"),
        ({"low": 1, "high": float("inf")}, "infinite"),
    ],
)
def test_a_space_that_makes_no_sense_is_explained(entry: Any, told: str) -> None:
    space, problems = space_of("mlp", {"width": entry})
    assert space == {}
    assert len(problems) == 1
    assert problems[0].startswith("tune.space.mlp.width: ")
    assert told in problems[0]


def test_every_misuse_is_told_in_one_message(tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(
        """
        seed = "many"
        [split]
        n_fold = 3
        [params.mlp]
        width = "wide"
        depth = 3
        [tune]
        models = ["mlp", "xgbost", "mean_effects"]
        trials = 0
        serach = "tpe"
        inner = 40
        metric = "rmsee"
        prune = "all"
        storage = "mysql://me:secret@there/db"
        heartbeat = 60
        [tune.space.mlp]
        widht = {choices = [1]}
        layers = {low = 3, high = 1}
        [tune.space.lightgbm]
        n_trees = {low = 1, high = 2}
        """
    )
    with pytest.raises(DataError) as caught:
        read_plan(path, dataset=DATASET)
    said = str(caught.value)
    for told in (
        "seed: Input should be a valid integer",
        "split.n_fold: unknown key. Did you mean 'n_folds'",
        "model mlp has no hyper-parameter 'depth'",
        "mlp: width is 'wide', which its type does not allow",
        "unknown model 'xgbost'. Did you mean 'xgboost'?",
        "tune.trials: Input should be greater than or equal to 1 (found 0)",
        "tune.serach: unknown key. Did you mean 'search'?",
        "tune.metric: unknown metric 'rmsee' of a regression. Did you mean 'rmse'?",
        "tune.prune: Input should be 'none', 'asha' or 'hyperband'",
        "tune.storage: studies are kept at postgresql",
        "tune.grace: 60 s is not longer than the heartbeat, 60 s",
        "tune.space.mlp.widht: mlp has no hyper-parameter 'widht'. Did you mean 'width'?",
        "tune.space.mlp.layers: low is above high",
        "mean_effects has nothing to search",
        "tune.space.lightgbm: lightgbm is not among the models to tune",
        "inner folds of fold 0: LCO has 24 groups, fewer than 40 folds; use n_folds=24",
    ):
        assert told in said, told
    assert "secret" not in said


def test_every_setting_is_described_with_its_default(root: Path) -> None:
    text = (root / "docs" / "tuning.md").read_text(encoding="utf-8")
    for name, value in TuneSettings().model_dump(mode="json").items():
        shown = "none" if value is None else f"`{json.dumps(value)}`"
        assert f"| `{name}` | {shown} |" in text, name


def test_a_wrong_type_of_a_hyper_parameter_is_found_before_the_first_trial() -> None:
    with pytest.raises(DataError, match="mlp: width is 'wide', which its type does not allow"):
        plan_of({"tune": {"models": ["mlp"]}, "params": {"mlp": {"width": "wide"}}}, dataset=DATASET)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"split": {"n_folds": 99}}, "data and outer folds: LCO has 30 groups, fewer than 99 folds"),
        ({"features": {"modalities": ["proteomics"]}}, "data and outer folds: .*proteomics"),
        ({"tune": 3}, "tune: is a section, not 3"),
        ({"tune": {"models": "mlp"}}, "tune.models"),
        ({"tune": {"models": ["mlp", "mlp"]}}, "a model is named twice"),
    ],
)
def test_impossible_splits_and_sections_are_told(content: dict[str, Any], told: str) -> None:
    with pytest.raises(DataError, match=told):
        plan_of(content, dataset=DATASET)


def test_one_model_is_tuned_on_one_fold_unless_more_is_asked_for() -> None:
    plan = plan_of({"models": ["mean_effects", "kernel_ridge"]}, dataset=DATASET)
    assert plan.settings.models == ("kernel_ridge",)
    assert [split.fold for split in plan.prepared.splits] == ["0"]
    assert plan.metric == "rmse"
    assert not plan.higher_is_better
    nested = plan_of({"tune": {"models": ["random_forest"], "nested": True}}, dataset=DATASET)
    assert len(nested.prepared.splits) == 5
    assert nested.config.main_model == "wide_deep"


def test_inner_folds_lie_in_the_training_part_and_keep_groups_together() -> None:
    plan = plan_of({"tune": {"models": ["kernel_ridge"], "nested": True}, "split": {"n_folds": 3}}, dataset=DATASET)
    for outer in plan.prepared.splits:
        part = plan.prepared.dataset.take(outer.fit_rows)
        held_out = set(plan.prepared.dataset.response["sample_id"].iloc[outer.test])
        assert not held_out & set(part.response["sample_id"])
        for inner in plan.inner[outer.fold]:
            samples = part.response["sample_id"].to_numpy()
            assert not set(samples[inner.test]) & set(samples[inner.fit_rows])
            assert len(inner.test) + len(inner.fit_rows) == part.n_pairs
