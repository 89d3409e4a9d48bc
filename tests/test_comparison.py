"""Models side by side: the same figures as in one process, with costs; peers and plug-ins in the same table."""

import json
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from halfmax.adapters import drevalpy_worker
from halfmax.adapters.alone import in_order
from halfmax.adapters.peers import Peer, write_pairs
from halfmax.cli import app
from halfmax.comparison import compare_models
from halfmax.config import RunConfig
from halfmax.data.synthetic import make_dataset
from halfmax.errors import DataError
from halfmax.split import make_splits

DATASET = make_dataset(40, 4, 12)
CONFIG = RunConfig.model_validate(
    {"models": ["mean_effects", "drug_mean", "kernel_ridge"], "split": {"n_folds": 2}, "n_boot": 30, "save": []}
)

#: A stand-in for drevalpy: what its public interface looks like to the worker, predicting each drug's mean.
PEER = """
import pandas as pd

class DrugResponseDataset:
    def __init__(self, response, cell_line_ids, drug_ids, tissues=None, dataset_name=""):
        self.response, self.cell_line_ids, self.drug_ids = response, cell_line_ids, drug_ids
    def __len__(self):
        return len(self.response)
    def shuffle(self, random_state):
        pass
    def add_rows(self, other):
        pass

def split_early_stopping_data(data, test_mode):
    return data, data
"""
MODEL = """
import os
import pandas as pd

class DrugMean:
    early_stopping = False
    @staticmethod
    def get_hyperparameter_set():
        return [{"shift": 100.0}, {"shift": 0.0}, {"shift": 50.0}]
    def build_model(self, settings):
        self.shift = settings["shift"]
    def load_cell_line_features(self, path, name):
        return pd.read_csv(os.path.join(path, name, "gene_expression.csv"))
    def load_drug_features(self, path, name):
        return None
    def train(self, output, cell_line_input, drug_input, output_earlystopping=None):
        self.mean = pd.Series(output.response).groupby(output.drug_ids).mean()
    def predict(self, cell_line_ids, drug_ids, cell_line_input, drug_input):
        return self.mean.reindex(drug_ids).to_numpy() + self.shift

MODEL_FACTORY = {"DrugMean": DrugMean}
"""


@pytest.fixture
def peer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a Python in whose path a stand-in for drevalpy lies."""
    package = tmp_path / "peer" / "drevalpy"
    (package / "datasets").mkdir(parents=True)
    (package / "models").mkdir()
    (package / "__init__.py").write_text("")
    (package / "datasets" / "__init__.py").write_text("")
    (package / "datasets" / "dataset.py").write_text(PEER)
    (tmp_path / "peer" / "torch.py").write_text("def set_num_threads(n):\n    pass\n")
    (package / "experiment.py").write_text("def seed_everything(seed):\n    pass\n")
    (package / "models" / "__init__.py").write_text(MODEL)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "peer"), prepend=":")
    return Path(sys.executable)


def overall(report, model, metric):
    rows = report.metrics.query("model == @model and metric == @metric and fold == 'all' and group_by == 'all'")
    return rows["value"].iloc[0]


def test_alone_and_together_give_the_same_figures_and_only_alone_tells_memory(tmp_path):
    small = CONFIG.model_copy(update={"models": ("mean_effects", "kernel_ridge")})
    apart = compare_models(small, tmp_path / "a", dataset=DATASET)
    here = compare_models(small, tmp_path / "b", dataset=DATASET, isolate=False)
    pd.testing.assert_frame_equal(apart.report.predictions, here.report.predictions)
    assert here.costs["peak_mb"].isna().all()
    costs = apart.costs.set_index("model")
    assert (costs["peak_mb"] > 20).all()
    assert (costs["process_cpu_s"] >= costs["cpu_s"]).all()
    page = apart.write(tmp_path / "a").read_text(encoding="utf-8")
    assert "Peak memory [MB]" in page
    assert "halfmax compare config.toml" in page
    assert {"costs.csv", "differences.csv", "metrics.csv"} <= {path.name for path in (tmp_path / "a").iterdir()}


def test_a_peer_stands_in_the_same_table_and_is_tuned_on_validation_rows(peer, tmp_path):
    config = CONFIG.model_copy(update={"split": CONFIG.split.model_copy(update={"only": ("1",)})})
    found = compare_models(
        config, tmp_path, dataset=DATASET, isolate=False, peers=[Peer("DrugMean", trials=2)], peer_python=peer
    )
    report = found.report
    assert overall(report, "drevalpy DrugMean", "rmse") == pytest.approx(overall(report, "drug_mean", "rmse"), rel=1e-4)
    assert set(found.differences["model"]) == {"drug_mean", "drevalpy DrugMean"}
    costs = found.costs.set_index("model").loc["drevalpy DrugMean"]
    assert costs["peak_mb"] > 20
    assert costs["n_trials"] == 2
    assert costs["tuning_cpu_s"] > 0
    assert "drevalpy DrugMean" in report.html()


def test_a_failing_peer_says_why(peer, tmp_path):
    with pytest.raises(DataError, match="has no model 'DrugMeen'; it has DrugMean"):
        compare_models(CONFIG, tmp_path, dataset=DATASET, isolate=False, peers=[Peer("DrugMeen")], peer_python=peer)
    with pytest.raises(DataError, match="say where its Python is"):
        compare_models(CONFIG, tmp_path, dataset=DATASET, peers=[Peer("DrugMean")])
    labels = CONFIG.model_copy(update={"task": CONFIG.task.model_copy(update={"kind": "classification"})})
    with pytest.raises(DataError, match="not labels"):
        compare_models(labels, tmp_path, dataset=DATASET, peers=[Peer("DrugMean")], peer_python=peer)


def test_peers_get_no_test_response(tmp_path):
    split = make_splits(DATASET, "LCO", n_folds=2)[0]
    write_pairs(DATASET, split.fit_rows, split.test, tmp_path / "pairs.parquet")
    pairs = pd.read_parquet(tmp_path / "pairs.parquet")
    assert (pairs.loc[pairs["test"], "y"] == 0).all()
    assert pairs.loc[~pairs["test"], "y"].tolist() == DATASET.response["value"].iloc[split.fit_rows].tolist()


def test_predictions_are_put_in_order_and_gaps_are_told():
    split = make_splits(DATASET, "LCO", n_folds=2)[0]
    test = DATASET.response.iloc[split.test].assign(y_pred=lambda t: np.arange(len(t)) / 7)
    assert in_order(test.sample(frac=1, random_state=1), DATASET, split, "m") == pytest.approx(np.arange(len(test)) / 7)
    with pytest.raises(DataError, match="m left 1 of"):
        in_order(test[1:], DATASET, split, "m")
    with pytest.raises(DataError, match="more than once"):
        in_order(pd.concat([test, test[:1]]), DATASET, split, "m")


def test_a_peers_name_holds_what_was_changed():
    assert Peer.read('EnsembleMF:{"max_epochs": 60}').label == "drevalpy EnsembleMF (max_epochs=60)"
    assert replace(Peer("RandomForest"), genes=500).label == "drevalpy RandomForest (genes=500)"
    for wrong in ("A:{", "A:[1]"):
        with pytest.raises(DataError, match="settings of A are not"):
            Peer.read(wrong)


def test_the_workers_file_imports_nothing_of_halfmax():
    assert "import halfmax" not in Path(drevalpy_worker.__file__).read_text(encoding="utf-8")
    assert "from halfmax" not in Path(drevalpy_worker.__file__).read_text(encoding="utf-8")


def test_the_command_writes_a_report_that_repeats_itself(tmp_path):
    DATASET.save(tmp_path / "data")
    words = [
        "compare",
        "--data",
        str(tmp_path / "data"),
        "--models",
        "mean_effects,drug_mean,kernel_ridge",
        "--here",
        "-q",
    ]
    done = CliRunner().invoke(
        app, [*words, "--set", "split.n_folds=2", "--set", "n_boot=0", "--out", str(tmp_path / "c")]
    )
    assert done.exit_code == 0, done.output
    assert tomllib.loads((tmp_path / "c" / "config.toml").read_text())["models"][-1] == "kernel_ridge"
    assert set(pd.read_csv(tmp_path / "c" / "costs.csv")["model"]) == {"mean_effects", "drug_mean", "kernel_ridge"}
    assert json.loads((tmp_path / "c" / "environment.json").read_text())["halfmax"]


@pytest.mark.slow
def test_every_model_gets_the_same_number_of_trials(tmp_path):
    pytest.importorskip("halfmax.tune")
    pytest.importorskip("optuna")
    config = CONFIG.model_copy(update={"models": ("mean_effects", "kernel_ridge", "elastic_net")})
    found = compare_models(config, tmp_path, dataset=DATASET, trials=2, inner=2)
    assert found.costs.set_index("model")["n_trials"].to_dict() == {
        "mean_effects": 0,
        "kernel_ridge": 2,
        "elastic_net": 2,
    }
    assert (found.costs["tuning_cpu_s"].iloc[1:] > 0).all()
