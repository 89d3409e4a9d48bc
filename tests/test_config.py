"""A configuration is checked whole before anything runs, and repeats itself."""

import pytest

from halfmax.config import RunConfig, load_config
from halfmax.errors import DataError


def test_a_written_configuration_reads_back_the_same(tmp_path):
    config = load_config(
        None,
        ["seed=3", "data.name=gdsc1-demo", 'features.steps.expression=["rank", "impute", ["standard", {clip = 5.0}]]'],
    )
    path = tmp_path / "config.toml"
    path.write_text(config.to_toml())
    assert load_config(path) == config


def test_every_problem_is_in_one_message():
    with pytest.raises(DataError) as error:
        load_config(None, ["seed=-1", "split.protocl=LCO", "split.n_folds=one"])
    for part in ("seed", "Did you mean 'protocol'", "n_folds"):
        assert part in str(error.value)


def test_unknown_models_and_hyper_parameters_get_a_suggestion():
    with pytest.raises(DataError, match="Did you mean 'kernel_ridge'"):
        load_config(None, models=["kernel_rigde"])
    with pytest.raises(DataError, match="no hyper-parameter 'widht'"):
        load_config(None, ["model.widht=3"])


def test_the_saved_model_is_the_last_unless_named():
    assert RunConfig().main_model == "wide_deep"
    assert load_config(None, models=["mean_effects", "kernel_ridge"]).main_model == "kernel_ridge"
    assert load_config(None, ["predictor=lightgbm"]).saved_models == ("lightgbm", "kernel_ridge")


def test_a_run_without_the_saved_model_can_be_read_again(tmp_path):
    config = load_config(None, models=["mean_effects", "mlp"])
    (tmp_path / "config.toml").write_text(config.to_toml())
    assert load_config(tmp_path / "config.toml").saved_models == config.saved_models == ("mlp",)
