"""Steps learn from the rows they are handed, and names decide, not order."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA as SkPCA
from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler

from halfmax.data.synthetic import make_dataset
from halfmax.errors import DataError, NotFittedError
from halfmax.features.blocks import Block, rows_of
from halfmax.features.omics import STEPS
from halfmax.features.pipeline import FeaturePipeline, drug_text

DATASET = make_dataset(30, 4, 12)
RNG = np.random.default_rng(0)
X = RNG.normal(3, 2, size=(25, 6)).astype(np.float32)
BLOCK = Block(X, tuple("abcdef"))


@pytest.mark.parametrize(
    ("step", "reference"), [("standard", StandardScaler()), ("minmax", MinMaxScaler()), ("robust", RobustScaler())]
)
def test_scalers_equal_scikit_learn(step, reference):
    found = STEPS.get(step)().fit(BLOCK).transform(BLOCK).values
    assert found == pytest.approx(reference.fit_transform(X), abs=1e-5)


def test_pca_equals_scikit_learn_up_to_sign():
    found = STEPS.get("pca")(n_components=3).fit(BLOCK).transform(BLOCK).values
    assert np.abs(found) == pytest.approx(np.abs(SkPCA(3).fit_transform(X)), abs=1e-4)


def test_a_constant_gene_becomes_zero():
    values = X.copy()
    values[:, 2] = 7
    out = STEPS.get("standard")().fit(Block(values, BLOCK.names)).transform(Block(X, BLOCK.names)).values
    assert (out[:, 2] == 0).all()


def test_imputation_fills_with_training_means_and_remembers():
    values = X.copy()
    values[3, 1] = np.nan
    step = STEPS.get("impute")().fit(BLOCK)
    out = step.transform(Block(values, BLOCK.names))
    assert out.values[3, 1] == pytest.approx(X[:, 1].mean(), abs=1e-5)
    assert out.mask.sum() == 1
    assert np.isnan(values[3, 1])


def test_sample_zscore_ignores_missing_and_undoes_offset_and_gain():
    step = STEPS.get("sample_zscore")()
    assert step.transform(BLOCK).values == pytest.approx(step.transform(Block(X * 3 + 5, BLOCK.names)).values, abs=1e-4)
    values = X.copy()
    values[0, 0] = np.nan
    assert np.nanmean(step.transform(Block(values, BLOCK.names)).values[0]) == pytest.approx(0, abs=1e-6)


def test_selection_is_by_name():
    step = STEPS.get("top_variance")(n=2).fit(BLOCK)
    order = [5, 3, 1, 0, 2, 4]
    moved = Block(X[:, order], tuple(BLOCK.names[i] for i in order))
    assert np.array_equal(step.transform(BLOCK).values, step.transform(moved).values)
    with pytest.raises(DataError, match="none of the 2 listed genes"):
        STEPS.get("genes")(genes=["x", "y"]).fit(BLOCK)


def test_fit_sees_only_training_rows():
    train = DATASET.take(np.arange(DATASET.n_pairs) < DATASET.n_pairs // 2)
    poisoned = {"expression": DATASET.omics["expression"].copy()}
    outside = ~poisoned["expression"].index.isin(train.samples.index)
    poisoned["expression"].loc[outside] = 1e9
    half = replace(DATASET, omics=poisoned).take(np.arange(DATASET.n_pairs) < DATASET.n_pairs // 2)
    one, two = FeaturePipeline().fit(train), FeaturePipeline().fit(half)
    assert np.array_equal(one.transform(train).sample("expression"), two.transform(train).sample("expression"))


def test_gene_order_means_nothing():
    pipeline = FeaturePipeline().fit(DATASET)
    expression = DATASET.omics["expression"]
    moved = replace(DATASET, omics={"expression": expression[expression.columns[::-1]]})
    a, b = pipeline.transform(DATASET), pipeline.transform(moved)
    assert np.array_equal(a.sample("expression"), b.sample("expression"))


def test_unknown_tissue_is_a_row_of_zeros_and_missing_modality_is_masked():
    pipeline = FeaturePipeline().fit(DATASET)
    samples = DATASET.samples.assign(tissue="moon")
    x = pipeline.transform(replace(DATASET, samples=samples, omics={}))
    assert not x.sample("tissue").any()
    assert x.sample_x["expression"].mask.all()


def test_state_round_trip():
    steps = {"expression": ("rank", "impute", ("top_variance", {"n": 5}), ("pca", {"n_components": 3}))}
    pipeline = FeaturePipeline(steps=steps).fit(DATASET)
    again = FeaturePipeline.from_state(pipeline.get_state())
    a, b = pipeline.transform(DATASET), again.transform(DATASET)
    for name in a.sample_x:
        assert np.array_equal(a.sample(name), b.sample(name))
    for name in a.drug_x:
        assert np.array_equal(a.drug(name), b.drug(name))


def test_misuse_is_told():
    with pytest.raises(NotFittedError):
        FeaturePipeline().transform(DATASET)
    with pytest.raises(DataError, match="no training sample has expression"):
        FeaturePipeline().fit(
            replace(DATASET, omics={"expression": pd.DataFrame(index=[], columns=["A"], dtype=float)})
        )
    with pytest.raises(DataError, match="not among the blocks"):
        FeaturePipeline(steps={"protein": ("impute",)}).fit(DATASET)


def test_rows_of_finds_places():
    assert rows_of(np.array(["b", "z"]), np.array(["c", "b"])).tolist() == [1, -1]
    assert rows_of(np.array(["b"]), np.array([], dtype=str)).tolist() == [-1]


def test_drugs_carry_their_structure_and_what_is_known_of_them() -> None:
    drugs = pd.DataFrame({"smiles": ["CCO", None]}, index=["Erlotinib", "no such drug"])
    text = drug_text(drugs)
    assert text["smiles"].tolist() == ["CCO", ""]
    assert text["description"].tolist() == ["EGFR family inhibitor; targets EGFR; acts on EGFR.", ""]
