"""A run with two modalities and a selection: what was masked and how stable the choice was stand in the report."""

import pandas as pd
import pytest

from halfmax.config import load_config
from halfmax.run import prepare, run
from tests.features.tables import multiomics

DATASET = multiomics()


def config(tmp_path, **options):
    return load_config(
        None,
        ['features.steps.expression = ["impute", "standard", ["rfe", { n = 5 }]]'],
        models=["mean_effects", "kernel_ridge"],
        split__n_folds=2,
        n_boot=0,
        features__modalities=["expression", "proteomics"],
        features__drug_blocks=["fingerprint"],
        **options,
    )


def test_masks_and_stability_are_reported(tmp_path):
    report, results = run(config(tmp_path), tmp_path / "out", dataset=DATASET)
    assert any("14 of 40 samples have no proteomics (masked, not filled in)" in note for note in report.notes)
    written = pd.read_csv(tmp_path / "out" / "stability.csv")
    assert written["step"].tolist() == ["3. rfe"]
    assert written["n_selected"].tolist() == [5]
    assert len(pd.read_csv(tmp_path / "out" / "selected.csv")) == len(results.selected) == 10
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "expression: 3. rfe" in page
    assert 'href="#selected"' in page


@pytest.mark.parametrize(("require", "n"), [(None, 40), (["proteomics"], 26), ([], 40)])
def test_required_modalities_decide_who_takes_part(tmp_path, require, n):
    prepared = prepare(config(tmp_path, features__require=require), DATASET)
    assert len(prepared.dataset.samples) == n
