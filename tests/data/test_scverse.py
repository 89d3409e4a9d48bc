"""MuData in and out: nothing of a dataset is lost, in memory, in a file, and when a part of the samples is taken."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from halfmax.data.dataset import MEASURES, ResponseDataset
from halfmax.data.synthetic import make_dataset
from halfmax.errors import DataError

anndata = pytest.importorskip("anndata")
mudata = pytest.importorskip("mudata")

from halfmax.data.scverse import KEY, from_mudata, read_mudata, to_mudata, write_mudata  # noqa: E402


@pytest.fixture
def dataset() -> ResponseDataset:
    """Return a dataset with everything that could get lost."""
    made = make_dataset(n_samples=12, n_drugs=4, n_genes=9)
    samples = made.samples.assign(
        note=[None, "", "NA", *["x/y"] * 9],
        age=np.r_[np.nan, np.arange(11.0)],
        number=np.arange(12),
        male=np.arange(12) % 2 == 0,
    )
    samples["a/b %2F"] = pd.Categorical(["u", None] * 6, categories=["u", "v"])
    samples["empty"] = pd.Series([None] * 12, index=samples.index, dtype=object)
    drugs = made.drugs.assign(smiles=["CCO", None, "C", "CC"])
    response = made.response.assign(source=["first", *[None] * (made.n_pairs - 1)])
    response.loc[3, "value"] = np.nan
    some = made.omics["expression"].iloc[[5, 2, 7]]
    omics = {**made.omics, "mutation": (some > 0).astype(np.int8)}
    features = {
        "finger/print": pd.DataFrame(np.eye(4, dtype=np.float32), made.drugs.index, [f"f{i}" for i in range(4)])
    }
    return replace(
        made,
        samples=samples,
        drugs=drugs,
        response=response,
        omics=omics,
        drug_features=features,
        notes={"a": {"b": [1, None]}},
    )


def assert_same(one: ResponseDataset, other: ResponseDataset) -> None:
    assert one.fingerprint() == other.fingerprint()
    assert (one.name, one.measure, one.notes) == (other.name, other.measure, other.notes)
    assert list(one.omics) == list(other.omics)
    frames = [(one.response, other.response), (one.samples, other.samples), (one.drugs, other.drugs)]
    frames += [(one.omics[name], other.omics[name]) for name in one.omics]
    frames += [(one.drug_features[name], other.drug_features[name]) for name in one.drug_features]
    for first, second in frames:
        pd.testing.assert_frame_equal(first, second, check_index_type=False, check_column_type=False)


def test_a_round_trip_loses_nothing(dataset: ResponseDataset, tmp_path: Path) -> None:
    assert_same(from_mudata(to_mudata(dataset)), dataset)
    assert_same(read_mudata(write_mudata(dataset, tmp_path / "a.h5mu")), dataset)
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5mu"]


def test_others_find_samples_modalities_and_responses(dataset: ResponseDataset, tmp_path: Path) -> None:
    with mudata.set_options(pull_on_update=False):
        data = mudata.read_h5mu(write_mudata(dataset, tmp_path / "a.h5mu"))
    expression = dataset.omics["expression"]
    np.testing.assert_array_equal(data.mod["expression"].X, expression)
    assert list(data.mod["mutation"].var["feature"]) == list(dataset.omics["mutation"].columns)
    assert data.var_names.is_unique
    assert list(data.mod["mutation"].obs_names) == list(dataset.omics["mutation"].index)
    assert data.obs["number"].tolist() == dataset.samples.loc[data.obs_names, "number"].tolist()
    grid = pd.DataFrame(data.obsm["response"], data.obs_names, data.uns[KEY]["drug_ids"])
    for row in dataset.response.itertuples():
        np.testing.assert_equal(grid.loc[row.sample_id, row.drug_id], row.value)


def test_the_dataset_is_not_written_to(dataset: ResponseDataset) -> None:
    before = dataset.fingerprint()
    data = to_mudata(dataset)
    data.mod["expression"].X[:] = 0
    data.obsm["response"][:] = 0
    assert dataset.fingerprint() == before


def test_a_part_of_the_samples_is_the_dataset_of_these(dataset: ResponseDataset) -> None:
    data = to_mudata(dataset)
    kept = list(data.obs_names[[8, 2, 4]])
    with mudata.set_options(pull_on_update=False):
        part = from_mudata(data[kept].copy())
    assert set(part.samples.index) == set(kept)
    expected = dataset.response[dataset.response["sample_id"].isin(kept)].reset_index(drop=True)
    pd.testing.assert_frame_equal(part.response, expected)
    pd.testing.assert_frame_equal(
        part.omics["expression"].loc[kept], dataset.omics["expression"].loc[kept], check_index_type=False,
        check_column_type=False)  # fmt: skip


def test_samples_without_any_modality_stay(dataset: ResponseDataset) -> None:
    few = replace(dataset, omics={"mutation": dataset.omics["mutation"]})
    assert_same(from_mudata(to_mudata(few)), few)


def test_what_cannot_be_kept_is_refused(dataset: ResponseDataset) -> None:
    with pytest.raises(DataError, match="at least one modality"):
        to_mudata(replace(dataset, omics={}))
    mixed = dataset.samples.assign(odd=[1, "a"] * 6)
    with pytest.raises(DataError, match=r"'odd' of samples.*neither text nor numbers"):
        to_mudata(replace(dataset, samples=mixed))
    with pytest.raises(DataError, match="datetime"):
        to_mudata(replace(dataset, samples=dataset.samples.assign(day=pd.Timestamp("2020-01-01"))))


def test_foreign_and_damaged_files_are_refused(dataset: ResponseDataset, tmp_path: Path) -> None:
    data = to_mudata(dataset)
    data.uns[KEY]["format_version"] = 2
    with pytest.raises(DataError, match="version 2"):
        from_mudata(data)
    damaged = to_mudata(dataset)
    del damaged.uns[KEY]["samples"]
    with pytest.raises(DataError, match="damaged"):
        from_mudata(damaged)
    del damaged.uns[KEY]
    with pytest.raises(DataError, match="no responses of halfmax"):
        from_mudata(damaged)
    (tmp_path / "x.h5mu").write_bytes(b"\x89HDF\r\n\x1a\nbroken")
    with pytest.raises(DataError, match=r"x\.h5mu.*damaged"):
        read_mudata(tmp_path / "x.h5mu")


def test_the_measure_is_kept(dataset: ResponseDataset) -> None:
    assert from_mudata(to_mudata(replace(dataset, measure=MEASURES["aac"]))).measure == MEASURES["aac"]
