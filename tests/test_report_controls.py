"""The report shows a control beside its model, with what the model has over it."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from halfmax.report import Report
from halfmax.report.page import Page
from tests.test_report import Outline, make_metrics, make_predictions, report  # noqa: F401


def test_a_control_is_shown_beside_its_model_with_the_paired_difference(report: Report):  # noqa: F811
    models = ("mean_effects", "cnn1d_shuffled", "cnn1d")
    predictions = make_predictions(models)
    worse = (predictions["model"] == "cnn1d_shuffled").to_numpy()
    rng = np.random.default_rng(1)
    predictions.loc[worse, "y_pred"] += rng.normal(0, 0.3, int(worse.sum()))
    both = replace(report, predictions=predictions, metrics=make_metrics(predictions), ladder=models)
    (row,) = Page(both).control_rows
    cells = dict(zip(Page(both).metrics, row["cells"], strict=True))
    value, low, high = cells["rmse"]
    assert low < value < high < 0
    sse = {
        m: [
            ((p["y_true"] - p["y_pred"]) ** 2).mean() ** 0.5
            for _, p in predictions[predictions["model"] == m].groupby("fold")
        ]
        for m in models
    }
    assert value == pytest.approx(np.mean(sse["cnn1d"]) - np.mean(sse["cnn1d_shuffled"]), abs=1e-5)
    assert "CNN 1D less CNN 1D shuffled" in Outline(both.html()).words
    bare = replace(both, predictions=pd.DataFrame())
    (row,) = Page(bare).control_rows
    assert not np.isfinite([low for _, low, _ in row["cells"]]).any()
    assert Page(report).control_rows == []
