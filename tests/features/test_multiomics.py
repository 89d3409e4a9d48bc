"""Samples without a modality are masked and not filled in, from the dataset to every model."""

from dataclasses import replace

import numpy as np
import pytest

from halfmax.errors import DataError
from halfmax.features.pipeline import FeaturePipeline
from halfmax.predictor import Predictor
from tests.features.tables import multiomics

DATASET = multiomics()
BOTH = ("expression", "proteomics")
LACKING = ~DATASET.samples.index.isin(DATASET.omics["proteomics"].index)


def pipeline(**options):
    return FeaturePipeline(BOTH, drug_blocks=(), **options)


@pytest.mark.parametrize(
    "steps",
    [
        ["impute", "standard"],
        ["impute", "minmax"],
        ["knn_impute", ("pca", {"n_components": 2})],
        ["impute", ("burden", {}), ("rfe", {"n": 2})],
    ],
)
def test_an_absent_modality_is_zeros_under_a_mask(steps):
    x = pipeline(steps={"proteomics": steps}).fit(DATASET).transform(DATASET)
    block = x.sample_x["proteomics"]
    assert np.array_equal(block.absent, LACKING)
    assert not block.values[LACKING].any()
    assert not x.sample_x["expression"].absent.any()
    assert x.modalities == BOTH


def test_present_rows_do_not_depend_on_absent_ones():
    x = pipeline().fit(DATASET).transform(DATASET)
    rows = DATASET.response["sample_id"].isin(DATASET.omics["proteomics"].index).to_numpy()
    some = DATASET.take(rows)
    alone = FeaturePipeline(("proteomics",), drug_blocks=()).fit(some).transform(some)
    assert np.array_equal(x.sample("proteomics")[~LACKING], alone.sample("proteomics"))


def test_partly_missing_is_not_absent():
    proteins = DATASET.omics["proteomics"].copy()
    proteins.iloc[0, :4] = np.nan
    x = pipeline().fit(DATASET).transform(replace(DATASET, omics=dict(DATASET.omics) | {"proteomics": proteins}))
    row = DATASET.samples.index.get_loc(proteins.index[0])
    assert x.sample_x["proteomics"].mask[row].sum() == 4
    assert not x.sample_x["proteomics"].absent[row]


@pytest.mark.parametrize("name", ["kernel_ridge", "response_gp", "elastic_net", "random_forest", "lightgbm", "mlp"])
def test_models_learn_from_and_answer_for_samples_that_lack_a_modality(name, tmp_path):
    params = {"mlp": {"epochs": 2, "width": 16, "members": 1, "device": "cpu"}}.get(name, {})
    params |= {"random_forest": {"n_trees": 5}, "lightgbm": {"rounds": 5}}.get(name, {})
    known = Predictor.of(name).model.get_params()
    predictor = Predictor.of(name, {k: v for k, v in params.items() if k in known})
    predictor.fit(DATASET, features=pipeline())
    table = predictor.predict(DATASET)
    assert np.isfinite(table["prediction"]).all()
    again = Predictor.load(predictor.save(tmp_path / name)).predict(DATASET)
    assert np.array_equal(table["prediction"], again["prediction"])
    bare = replace(DATASET, omics={"expression": DATASET.omics["expression"]})
    assert np.isfinite(predictor.predict(bare)["prediction"]).all()


@pytest.mark.parametrize(
    ("unknown", "n_columns", "row", "masked"), [("zeros", 2, [0, 0], True), ("column", 3, [0, 0, 1], False)]
)
def test_categories_that_training_did_not_have(unknown, n_columns, row, masked):
    rows = DATASET.response["sample_id"].map(DATASET.samples["tissue"]).isin(["lung", "skin"]).to_numpy()
    fitted = FeaturePipeline(drug_blocks=(), unknown=unknown).fit(DATASET.take(rows))
    fitted = FeaturePipeline.from_state(fitted.get_state())
    block = fitted.transform(DATASET).sample_x["tissue"]
    strange = (DATASET.samples["tissue"] == "blood").to_numpy()
    assert block.values.shape[1] == len(block.names) == n_columns
    assert (block.values[strange] == row).all()
    assert (block.values.sum(axis=1)[~strange] == 1).all()
    assert block.absent[strange].all() == masked
    assert not block.absent[~strange].any()


def test_unknown_categories_can_be_refused():
    rows = DATASET.response["sample_id"].map(DATASET.samples["tissue"]).isin(["lung", "skin"]).to_numpy()
    fitted = FeaturePipeline(drug_blocks=(), unknown="error").fit(DATASET.take(rows))
    with pytest.raises(DataError, match="tissue of 13 samples was not seen in training: 'blood'"):
        fitted.transform(DATASET)
    with pytest.raises(DataError, match="zeros, column, error"):
        FeaturePipeline(unknown="ignore").fit(DATASET)


def test_align_keeps_what_is_required():
    n = int((~LACKING).sum())
    whole, dropped = DATASET.align(BOTH)
    assert len(whole.samples) == n
    assert list(dropped.causes) == ["sample without proteomics"]
    everyone, nothing = DATASET.align((), any_of=BOTH)
    assert len(everyone.samples) == len(DATASET.samples)
    assert not nothing.causes
    expression = DATASET.omics["expression"].iloc[:20].copy()
    expression.iloc[:3] = np.nan  # rows without any value are no profiles
    some, lost = replace(DATASET, omics=dict(DATASET.omics) | {"expression": expression}).align((), any_of=BOTH)
    ids = set(expression.index[3:]) | set(DATASET.omics["proteomics"].index)
    assert set(some.samples.index) == ids
    assert set(lost.causes) == {"sample without any of expression, proteomics"}


def test_a_step_that_refuses_names_itself_and_its_block():
    with pytest.raises(DataError) as caught:
        pipeline(steps={"proteomics": ["impute", ("variance", {"threshold": 1e9})]}).fit(DATASET)
    assert "in step variance of proteomics, on 26 training rows" in caught.value.__notes__[0]


def test_drug_blocks_can_be_selected_by_response():
    steps = {"descriptors": ["impute", "standard", ("rfe", {"n": 3, "n_targets": 1})]}
    fitted = FeaturePipeline(drug_blocks=("descriptors",), steps=steps).fit(DATASET)
    assert len(fitted.transform(DATASET).drug_x["descriptors"].names) == 3
