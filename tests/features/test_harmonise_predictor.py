"""A predictor carries the training scale, harmonises the same after saving, and reads folders without it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from halfmax.data.synthetic import make_dataset
from halfmax.errors import DataError
from halfmax.predictor import Predictor

DATASET = make_dataset(80, 6, 60)


@pytest.fixture(scope="module")
def fitted() -> Predictor:
    return Predictor.of("kernel_ridge").fit(DATASET, keep_profiles=True)


@pytest.fixture(scope="module")
def cohort() -> pd.DataFrame:
    table = make_dataset(40, 6, 60, seed=9).omics["expression"]
    rng = np.random.default_rng(8)
    return table * rng.uniform(0.5, 2, table.shape[1]) + rng.normal(0, 3, table.shape[1])


@pytest.mark.parametrize("method", ["auto", "rank", "cohort", "combat", "celligner"])
def test_a_saved_predictor_harmonises_with_the_same_bits(method, fitted, cohort, tmp_path) -> None:
    again = Predictor.load(fitted.save(tmp_path / "p"))
    left, _ = fitted.predict_samples({"expression": cohort}, harmonise=method)
    right, _ = again.predict_samples({"expression": cohort}, harmonise=method)
    pd.testing.assert_frame_equal(left, right, check_exact=True)
    assert set(left["transductive"]) == {method in ("cohort", "combat", "celligner")}
    if method != "auto":
        assert set(left["harmonised"]) == {method}
    plain, _ = fitted.predict_samples({"expression": cohort})
    assert "harmonised" not in plain
    assert not np.allclose(plain["prediction"], left["prediction"])


def test_harmonising_helps_on_a_planted_platform(fitted, cohort) -> None:
    truth, _ = fitted.predict_samples({"expression": make_dataset(40, 6, 60, seed=9).omics["expression"]})
    key = ["sample_id", "drug_id"]
    truth = truth.set_index(key)["difference"]

    def agreement(method: str) -> float:
        table, _ = fitted.predict_samples({"expression": cohort}, harmonise=method)
        return float(np.corrcoef(truth, table.set_index(key)["difference"].reindex(truth.index))[0, 1])

    assert agreement("cohort") > 0.9
    assert agreement("none") < agreement("cohort") - 0.2


def test_the_default_predictor_keeps_no_profiles_and_no_responses_reach_the_scale() -> None:
    response = DATASET.response.assign(value=DATASET.response["value"].to_numpy()[::-1])
    one, other = (Predictor.of("mean").fit(d) for d in (DATASET, replace(DATASET, response=response)))
    left, right = one.expression_scale_.get_arrays(), other.expression_scale_.get_arrays()
    assert set(left) == {"n_", "mean_", "sd_", "quantiles_"}
    for name in left:
        np.testing.assert_array_equal(left[name], right[name])
    with pytest.raises(DataError, match="keep_profiles=True"):
        one.harmonise(DATASET.omics["expression"], "celligner")


def test_a_folder_of_before_harmonising_still_loads(fitted, cohort, tmp_path) -> None:
    from safetensors.numpy import load_file, save_file

    from halfmax.data.storage import write_json

    folder = fitted.save(tmp_path / "old")
    arrays = {k: v for k, v in load_file(folder / "arrays.safetensors").items() if not k.startswith("scale/")}
    save_file(arrays, folder / "arrays.safetensors")
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    (folder / "manifest.json").unlink()
    kept = {k: v for k, v in manifest.items() if k not in ("files", "manifest_sha256")}
    write_json(folder / "manifest.json", kept, hash_siblings=True)
    old = Predictor.load(folder)
    left, right = (p.predict_samples({"expression": cohort})[0] for p in (fitted, old))
    pd.testing.assert_frame_equal(left, right, check_exact=True)
    with pytest.raises(DataError, match="knows no training scale"):
        old.predict_samples({"expression": cohort}, harmonise="rank")
