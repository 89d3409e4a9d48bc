"""A predictor's answers carry interval, domain, tissue and drug support; calibration learns from left-out rows only."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from halfmax.data.dataset import ResponseDataset
from halfmax.data.storage import write_json
from halfmax.data.synthetic import make_dataset
from halfmax.errors import DataError, ModelFileError
from halfmax.predictor import Predictor
from halfmax.uncertainty.answers import ANSWERS, interval_findings, withhold
from halfmax.uncertainty.calibrate import out_of_fold

TRAIN = make_dataset(120, 6, 50)
NEW = make_dataset(60, 6, 50, seed=9)
COLUMNS = ["low", "high", "domain_percentile", "domain", "tissue_guess", "drug_support", "weighted_coverage"]


@pytest.fixture(scope="module")
def calibrated() -> Predictor:
    return Predictor.of("kernel_ridge").fit(TRAIN, calibrate=4)


def ranked(predictor: Predictor, expression: pd.DataFrame | None = None, **options: object) -> pd.DataFrame:
    table = NEW.omics["expression"] if expression is None else expression
    return predictor.predict_samples({"expression": table}, **options)[0]


def test_new_samples_get_every_column_and_intervals_that_hold(calibrated: Predictor) -> None:
    table = ranked(calibrated)
    assert set(COLUMNS) <= set(table.columns)
    assert (table["low"] < table["prediction"]).all()
    assert (table["prediction"] < table["high"]).all()
    assert (table["drug_support"] == "seen").all()
    assert table["weighted_coverage"].to_numpy() == pytest.approx(1, abs=1e-5)
    truth = NEW.response.merge(table, on=["sample_id", "drug_id"])
    held = truth["value"].between(truth["low"], truth["high"])
    assert 0.84 <= held.mean() <= 0.97
    assert (table.drop_duplicates("sample_id")["domain"] != "outside").mean() >= 0.9


def test_a_higher_level_is_wider_and_predict_has_the_same_ends(calibrated: Predictor) -> None:
    wide, usual = ranked(calibrated, level=0.99), ranked(calibrated)
    assert (wide["high"] - wide["low"] > usual["high"] - usual["low"]).all()
    keys = ["sample_id", "drug_id"]
    both = calibrated.predict(NEW).merge(usual, on=keys, suffixes=("", "_ranked"))
    np.testing.assert_allclose(both["low"], both["low_ranked"], atol=1e-5)


def test_without_a_cross_validation_there_is_no_interval_and_it_says_so() -> None:
    plain = Predictor.of("kernel_ridge").fit(TRAIN)
    table = ranked(plain)
    assert table[["low", "high"]].isna().all(axis=None)
    (said,) = interval_findings(plain.intervals_, plain.measure_.label, 0.9)
    assert said.code == "no-intervals"
    assert said.level == "warning"


def test_unseen_drugs_have_the_intervals_of_left_out_drugs(calibrated: Predictor) -> None:
    test = make_dataset(20, 7, 50)
    table = calibrated.predict(test)
    new = table["drug_id"] == "D06"
    assert table.loc[new, "low"].isna().all()
    assert table.loc[~new, "low"].notna().all()
    many = make_dataset(40, 24, 50)
    again = Predictor.of("kernel_ridge").fit(many)
    again.calibrate(out_of_fold(again._left_out(), many, 4, protocol="LDO"), "drug")
    held = again.predict(make_dataset(20, 25, 50)).query("drug_id == 'D24'")
    assert held[["low", "high"]].notna().all(axis=None)


def structured(n: int, seed: int) -> pd.DataFrame:
    """Profiles of five factors, so that the order of the genes means something."""
    rng = np.random.default_rng(seed)
    loadings = np.random.default_rng(7).normal(size=(5, 50))
    values = rng.normal(size=(n, 5)) @ loadings + 0.3 * rng.normal(size=(n, 50))
    names = [f"G{i}" for i in range(50)]
    return pd.DataFrame(values.astype(np.float32), [f"S{i:03d}" for i in range(n)], names)


def test_scrambled_samples_are_outside_and_withheld() -> None:
    predictor = Predictor.of("kernel_ridge").fit(replace(TRAIN, omics={"expression": structured(120, 0)}), calibrate=4)
    lines = structured(20, 1)
    mixed = np.random.default_rng(0).permuted(lines.to_numpy(), axis=1)
    strange = pd.DataFrame(mixed, [f"X{i}" for i in range(20)], lines.columns)
    both = pd.concat([lines, strange])
    told, shown = ranked(predictor, both, allow_outside=False), ranked(predictor, both)
    outside = told["domain"] == "outside"
    assert outside[told["sample_id"].str.startswith("X")].mean() >= 0.95
    assert outside[told["sample_id"].str.startswith("S")].mean() <= 0.1
    names = [c for c in ANSWERS if c in told]
    assert told.loc[outside, names].isna().all(axis=None)
    assert (told.loc[outside, "rank"] == 0).all()
    assert shown[names].notna().all(axis=None)
    assert len(told) == len(shown)
    _, (said,) = withhold(shown)
    assert said.code == "outside-domain"
    assert "--allow-outside" in said.message


def test_nothing_is_withheld_where_all_are_inside(calibrated: Predictor) -> None:
    table = ranked(calibrated).query("domain != 'outside'")
    same, said = withhold(table)
    assert same is table
    assert said == ()


def test_missing_genes_lower_the_weighted_coverage(calibrated: Predictor) -> None:
    table = NEW.omics["expression"].drop(columns=["G0", "G1", "G2"])  # genes that drugs answer to
    found = ranked(calibrated, table)["weighted_coverage"].iloc[0]
    assert found < 0.94 - 0.03


def test_saved_and_loaded_the_answers_are_the_same(calibrated: Predictor, tmp_path) -> None:
    again = Predictor.load(calibrated.save(tmp_path / "p"))
    pd.testing.assert_frame_equal(ranked(again), ranked(calibrated), check_exact=True)


def test_a_folder_of_an_earlier_version_loads_without_intervals_and_domain(calibrated: Predictor, tmp_path) -> None:
    from safetensors.numpy import load_file, save_file

    folder = calibrated.save(tmp_path / "p")
    arrays = {
        k: v for k, v in load_file(folder / "arrays.safetensors").items() if not k.startswith(("interval", "dom"))
    }
    save_file(arrays, folder / "arrays.safetensors")
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    for key in ("intervals", "domain", "files", "manifest_sha256"):
        del manifest[key]
    for name in ("card.md", "card.json"):
        (folder / name).unlink()
    write_json(folder / "manifest.json", manifest, hash_siblings=True)
    old = Predictor.load(folder)
    assert old.intervals_ == {}
    table = ranked(old)
    assert (table["domain"] == "unknown").all()
    assert table[["low", "high", "domain_percentile"]].isna().all(axis=None)
    np.testing.assert_array_equal(table["prediction"], ranked(calibrated)["prediction"])


def test_parts_that_do_not_fit_are_refused(calibrated: Predictor, tmp_path) -> None:
    folder = calibrated.save(tmp_path / "p")
    other = shutil.copytree(folder, tmp_path / "q")
    manifest = json.loads((other / "manifest.json").read_text(encoding="utf-8"))
    manifest["intervals"]["sample"]["drug_ids"].pop()
    for key in ("files", "manifest_sha256"):
        del manifest[key]
    write_json(other / "manifest.json", manifest, hash_siblings=True)
    with pytest.raises(ModelFileError, match="intervals for a new sample"):
        Predictor.load(other)


def test_left_out_samples_cannot_reach_the_fit_that_predicts_them() -> None:
    seen: list[tuple[set[str], set[str]]] = []

    def predict(train: ResponseDataset, test: ResponseDataset) -> np.ndarray:
        seen.append((set(train.samples.index), set(test.samples.index)))
        return np.zeros(test.n_pairs)

    table = out_of_fold(predict, TRAIN, 4)
    assert len(table) == TRAIN.n_pairs
    assert not table.duplicated(["sample_id", "drug_id"]).any()
    assert all(not train & test for train, test in seen)


def test_too_few_samples_to_calibrate_are_refused() -> None:
    with pytest.raises(DataError, match="12 samples were left out"):
        Predictor.of("mean_effects").fit(make_dataset(12, 3, 20), calibrate=3)
