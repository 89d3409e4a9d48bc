"""A predictor finds planted truth, is the same after saving, and refuses what it cannot use."""

import json
import pickle
import shutil

import numpy as np
import pandas as pd
import pytest

from halfmax.data.synthetic import make_dataset
from halfmax.errors import DataError, ModelFileError, UnknownNameError
from halfmax.predictor import Predictor

DATASET = make_dataset(80, 6, 50)
NAMES = ["kernel_ridge", "mean_effects", "factorisation", "lightgbm"]


@pytest.fixture(scope="module")
def fitted() -> Predictor:
    return Predictor.of("kernel_ridge").fit(DATASET)


@pytest.fixture
def saved(fitted, tmp_path):
    return fitted.save(tmp_path / "predictor")


def expression(n=3, seed=9):
    return make_dataset(n, 6, 50, seed=seed).omics["expression"]


@pytest.mark.parametrize("name", NAMES)
def test_save_and_load_give_the_same_bits(name, tmp_path):
    predictor = Predictor.of(name).fit(DATASET)
    again = Predictor.load(predictor.save(tmp_path / name))
    left, right = predictor.predict(DATASET), again.predict(DATASET)
    pd.testing.assert_frame_equal(left, right, check_exact=True)


def test_gene_order_and_extra_columns_mean_nothing(fitted):
    table = expression()
    plain, _ = fitted.predict_samples({"expression": table})
    rng = np.random.default_rng(0)
    shuffled = table.iloc[:, rng.permutation(table.shape[1])].assign(EXTRA=1.0, OTHER=-3.0)
    other, _ = fitted.predict_samples({"expression": shuffled})
    pd.testing.assert_frame_equal(plain, other, check_exact=True)


def test_ranking_is_by_difference_to_the_drugs_mean(fitted):
    table, _ = fitted.predict_samples({"expression": expression(1)})
    assert table["rank"].tolist() == list(range(1, 7))
    assert table["difference"].is_monotonic_increasing
    assert table["difference"].to_numpy() == pytest.approx((table["prediction"] - table["drug_mean"]).to_numpy())
    assert table["percentile"].between(0, 100).all()


def test_one_sample_alone_and_in_company_gets_the_same_answer(fitted):
    both, _ = fitted.predict_samples({"expression": expression(3)})
    alone, _ = fitted.predict_samples({"expression": expression(3).iloc[[1]]})
    mine = both[both["sample_id"] == "S001"].reset_index(drop=True)
    assert alone["prediction"].to_numpy() == pytest.approx(mine["prediction"].to_numpy(), abs=1e-5)


def test_too_few_genes_no_sample_and_unknown_drugs_are_refused(fitted):
    with pytest.raises(DataError, match="20 of the model's 50 genes"):
        fitted.predict_samples({"expression": expression().iloc[:, :20]})
    with pytest.raises(DataError, match="no sample"):
        fitted.predict_samples({"expression": expression().iloc[:0]})
    with pytest.raises(UnknownNameError, match="D0x"):
        fitted.predict_samples({"expression": expression()}, drugs=["D0x"])


def damage(folder, kind):
    arrays = folder / "arrays.safetensors"
    if kind == "truncated":
        arrays.write_bytes(arrays.read_bytes()[:-100])
    elif kind == "flipped bit":
        content = bytearray(arrays.read_bytes())
        content[-5] ^= 1
        arrays.write_bytes(content)
    elif kind == "pickle":
        arrays.write_bytes(pickle.dumps({"a": 1}))
    elif kind == "missing":
        arrays.unlink()
    elif kind == "extra":
        (folder / "extra.txt").write_text("x")
    elif kind == "edited manifest":
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["scale"] = [0, 99]
        (folder / "manifest.json").write_text(json.dumps(manifest))
    elif kind == "not JSON":
        (folder / "manifest.json").write_text("{")
    elif kind == "link":
        arrays.rename(folder.parent / "elsewhere")
        arrays.symlink_to(folder.parent / "elsewhere")


@pytest.mark.parametrize(
    "kind", ["truncated", "flipped bit", "pickle", "missing", "extra", "edited manifest", "not JSON", "link"]
)
def test_damaged_folders_are_refused_by_name(saved, kind):
    damage(saved, kind)
    with pytest.raises(ModelFileError, match=r"arrays|extra|manifest|link"):
        Predictor.load(saved)


def test_nan_weights_newer_formats_and_foreign_folders_are_refused(fitted, saved, tmp_path):
    from halfmax.data.storage import write_json

    manifest = json.loads((saved / "manifest.json").read_text())
    for key in ("files", "manifest_sha256"):
        manifest.pop(key)
    (saved / "manifest.json").unlink()
    write_json(saved / "manifest.json", manifest | {"format_version": 99}, hash_siblings=True)
    with pytest.raises(ModelFileError, match="version 99"):
        Predictor.load(saved)
    with pytest.raises(ModelFileError, match="not a halfmax-predictor"):
        Predictor.load(tmp_path)
    DATASET.save(tmp_path / "dataset")
    with pytest.raises(ModelFileError, match="does not describe"):
        Predictor.load(tmp_path / "dataset")
    broken = Predictor.of("kernel_ridge").fit(DATASET)
    broken.reference_ = broken.reference_ | {"mean": np.full(6, np.nan)}
    with pytest.raises(ModelFileError, match="NaN"):
        Predictor.load(broken.save(tmp_path / "nan"))


def test_a_folder_of_another_predictor_does_not_fit(saved, tmp_path):
    other = Predictor.of("mean_effects").fit(DATASET).save(tmp_path / "other")
    shutil.copy(other / "arrays.safetensors", saved / "arrays.safetensors")
    with pytest.raises(ModelFileError, match="damaged or was replaced"):
        Predictor.load(saved)


def test_saving_over_a_predictor_replaces_it_whole(fitted, saved):
    Predictor.of("mean_effects").fit(DATASET).save(saved)
    assert Predictor.load(saved).model_name == "mean_effects"
    assert [p.name for p in saved.parent.iterdir()] == ["predictor"]
