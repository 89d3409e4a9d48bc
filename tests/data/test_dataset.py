"""A dataset checks itself, is the same after saving, and says what align lost."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from halfmax.data.dataset import ResponseDataset
from halfmax.data.storage import _self_hash, write_json
from halfmax.data.synthetic import make_dataset
from halfmax.errors import DataError, ModelFileError, UnknownNameError

DATASET = make_dataset(12, 4, 9)


def test_saved_and_loaded_datasets_are_equal(tmp_path):
    again = ResponseDataset.load(DATASET.save(tmp_path / "d"))
    assert again.fingerprint() == DATASET.fingerprint()
    assert again.measure == DATASET.measure
    pd.testing.assert_frame_equal(again.omics["expression"], DATASET.omics["expression"], check_names=False)


def test_a_changed_table_is_refused(tmp_path):
    folder = DATASET.save(tmp_path / "d")
    DATASET.response.assign(value=0.0).to_parquet(folder / "response.parquet")
    with pytest.raises(ModelFileError, match=r"response\.parquet"):
        ResponseDataset.load(folder)


def test_align_counts_losses_by_cause():
    expression = DATASET.omics["expression"].drop(index=["S001", "S002"])
    drugs = DATASET.drugs.copy()
    drugs.loc["D00", "smiles"] = None
    aligned, dropped = replace(DATASET, omics={"expression": expression}, drugs=drugs).align(smiles=True)
    assert set(dropped.causes) == {"sample without expression", "drug without structure"}
    assert dropped.n_before - dropped.n_after == sum(n for n, _ in dropped.causes.values())
    assert (len(aligned.samples), len(aligned.drugs)) == (10, 3)
    assert dropped.to_frame()["examples"].iloc[0] == "S001, S002"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.drop(columns="value"), "lacks 'value'"),
        (lambda r: r.assign(value=np.inf), "infinite"),
        (lambda r: pd.concat([r, r]), "more than once"),
        (lambda r: r.assign(sample_id=""), "empty or not text"),
        (lambda r: r.assign(drug_id="nobody"), "not in the drug table|more than once"),
        (lambda r: r.head(0), "no rows"),
    ],
)
def test_bad_responses_are_refused(change, message):
    with pytest.raises(DataError, match=message):
        replace(DATASET, response=change(DATASET.response))


def test_unknown_modalities_get_a_suggestion():
    with pytest.raises(UnknownNameError, match="Did you mean 'expression'"):
        DATASET.modality("expresion")
    with pytest.raises(DataError, match="no response row is left"):
        replace(DATASET, omics={"expression": DATASET.omics["expression"].head(0)}).align()


def test_the_dataset_is_not_written_to():
    before = DATASET.fingerprint()
    DATASET.take(np.arange(5)).align()
    assert DATASET.fingerprint() == before


@pytest.mark.parametrize("broken", [{"name": None}, {"measure": ["x"]}, {"omics": ["nothing"]}, {"files": None}])
def test_a_manifest_that_is_not_whole_is_refused_though_its_own_hash_fits(tmp_path, broken):
    folder = DATASET.save(tmp_path / "d")
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    del manifest["manifest_sha256"]
    for key, value in broken.items():
        manifest.pop(key)
        manifest |= {} if value is None else {key: value}
    (folder / "manifest.json").unlink()
    if "files" in broken:
        write_json(folder / "manifest.json", manifest | {"manifest_sha256": _self_hash(manifest)})
    else:
        write_json(folder / "manifest.json", manifest, hash_siblings=True)
    with pytest.raises(ModelFileError, match=r"not a whole dataset|does not list"):
        ResponseDataset.load(folder)
