"""Attributions close, mean nothing where a gene means nothing, and agree with Shapley values computed elsewhere."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from halfmax.background import Background
from halfmax.data.synthetic import make_dataset
from halfmax.errors import DataError
from halfmax.explain import Explainer
from halfmax.features.pipeline import FeaturePipeline
from halfmax.predictor import Predictor

DATA = make_dataset(80, 6, 30)
NEW = make_dataset(5, 6, 30, seed=7).omics["expression"].set_axis([f"N{i}" for i in range(5)])
SMALL = {"width": 32, "epochs": 5, "batch_size": 32}
#: Recipe to the largest gap [ln µM] that it may show.
RECIPES = {
    "kernel_ridge": ("kernel_ridge", {}, 1e-4),
    "kernel_ridge rbf": ("kernel_ridge", {"kernel": "rbf"}, 1e-4),
    "response_gp": ("response_gp", {}, 1e-4),
    "elastic_net": ("elastic_net", {}, 1e-4),
    "lightgbm": ("lightgbm", {"n_trees": 20}, 1e-4),
    "xgboost": ("xgboost", {"n_trees": 20}, 1e-4),
    "mlp": ("mlp", SMALL, 1e-4),
    "mlp with kinks": ("mlp", SMALL | {"activation": "relu"}, 1e-4),
    "mlp of two layers": ("mlp", SMALL | {"layers": 2}, 1e-4),
    "wide_deep": ("wide_deep", SMALL | {"context_epochs": 2}, 1e-4),
    "multitask": ("multitask", SMALL, 1e-4),
    "fusion": ("fusion", SMALL, 1e-4),
    "cnn1d": ("cnn1d", SMALL | {"patch": 4, "channels": 8, "components": 8}, 1e-4),
    "single_tower": ("single_tower", SMALL, 1e-4),
    "distilled": ("distilled", {"teacher": "kernel_ridge", "student": SMALL}, 1e-4),
    "seeds": ("seeds", {"model": "mlp", "params": SMALL, "n": 2}, 1e-4),
    "stack": ("stack", {"models": ["kernel_ridge", ["mlp", SMALL]]}, 1e-4),
}
#: Those whose features are genes.
ON_GENES = [name for name in RECIPES if name not in ("lightgbm", "xgboost")]


def fitted(name: str) -> Predictor:
    model, params, _ = RECIPES[name]
    return Predictor.of(model, params).fit(DATA)


@pytest.fixture(scope="module", params=RECIPES)
def explained(request):
    explainer = Explainer(fitted(request.param))
    return request.param, explainer, explainer.explain(NEW)


def test_sums_close_to_the_prediction_against_the_background(explained):
    name, explainer, found = explained
    assert found.values.shape[:2] == (5, 6)
    assert found.gap.max() <= RECIPES[name][2]
    table, _ = explainer.predictor.predict_samples({"expression": NEW})
    said = table.pivot(index="sample_id", columns="drug_id", values="prediction").loc[NEW.index, found.drug_ids]
    np.testing.assert_allclose(found.prediction, said, atol=1e-5)
    np.testing.assert_allclose(sum(found.parts.values()) if found.parts else found.values, found.values, atol=1e-12)


def test_a_sample_of_the_mean_profile_differs_from_nothing_in_a_linear_model():
    explainer = Explainer(fitted("kernel_ridge"))
    lines = explainer.lines
    block = lines.sample_x["expression"]
    mean = replace(block, values=block.values.mean(axis=0, keepdims=True))
    tissue = lines.sample_x["tissue"].take(np.array([0]))
    x = replace(lines, sample_ids=np.array(["mean"]), sample_x={"expression": mean, "tissue": tissue})
    assert np.abs(explainer.explain_encoded(x).values).max() < 1e-5


@pytest.mark.parametrize("name", ["kernel_ridge", "response_gp", "wide_deep"])
def test_the_planted_gene_comes_first(name):
    found = Explainer(fitted(name)).explain(NEW)
    for j, drug in enumerate(found.drug_ids):
        size = np.abs(found.values[:, j]).mean(axis=0)
        assert found.feature[size.argmax()] == f"G{int(drug[1:])}"
    j = 3
    planted = found.values[:, j, found.feature.tolist().index("G3")]
    gene = found.inputs[:, found.feature.tolist().index("G3")]
    assert np.corrcoef(planted, gene)[0, 1] < -0.99


def test_linear_values_are_those_of_shap():
    shap = pytest.importorskip("shap")
    explainer = Explainer(fitted("kernel_ridge"))
    found = explainer.explain(NEW)
    model, scale = explainer.predictor.model, explainer.predictor.scale_[1]
    lines = explainer.lines.sample("expression").astype(np.float64)
    for j in range(6):
        reference = shap.LinearExplainer((model.weight_[:, j].astype(np.float64) * scale, 0.0), lines)
        np.testing.assert_allclose(found.values[:, j], reference.shap_values(found.inputs), atol=1e-6)


def test_network_values_agree_with_sampled_shapley_values():
    shap = pytest.importorskip("shap")
    explainer = Explainer(fitted("mlp"))
    found = explainer.explain(NEW, ["D02"])
    lines = explainer.with_drugs(explainer.lines, np.array(["D02"]))

    def predict(values):
        block = replace(lines.sample_x["expression"], values=values.astype(np.float32), mask=None)
        ids = np.array([f"new {i}" for i in range(len(values))])
        return explainer.predict(replace(lines, sample_ids=ids, sample_x={"expression": block}))[:, 0]

    masker = shap.maskers.Independent(lines.sample("expression").astype(np.float64), max_samples=100)
    sampled = shap.PermutationExplainer(predict, masker, seed=0)(found.inputs, max_evals=61 * 10, silent=True)
    assert np.corrcoef(sampled.values.ravel(), found.values[:, 0].ravel())[0, 1] > 0.98


def test_the_closed_form_is_what_quadrature_finds():
    from halfmax.explain.towers import GradientPath, OneLayerPath

    explainer = Explainer(fitted("mlp"))
    path = explainer.path
    assert isinstance(path, OneLayerPath)
    x = replace(explainer.lines, sample_ids=explainer.lines.sample_ids)
    exact = path.attribute(x, explainer.lines)
    numeric = GradientPath(path.model).attribute(x, explainer.lines)
    np.testing.assert_allclose(exact.values, numeric.values, atol=2e-6)


def test_wide_and_deep_is_explained_by_its_ridge_and_its_network():
    found = Explainer(fitted("wide_deep")).explain(NEW)
    ridge, network = (Explainer(fitted(name)).explain(NEW) for name in ("kernel_ridge", "mlp"))
    np.testing.assert_allclose(found.parts["linear"], 0.5 * ridge.values, atol=1e-6)
    np.testing.assert_allclose(found.parts["network"], 0.5 * network.values, atol=1e-6)
    np.testing.assert_allclose(found.spread, 0.5 * network.spread, atol=1e-6)


@pytest.mark.parametrize("name", ON_GENES)
def test_copied_genes_share_alike_and_constant_ones_get_nothing(name):
    copied = DATA.omics["expression"].assign(COPY=DATA.omics["expression"]["G3"], FLAT=5.0)
    raw = {"expression": ("impute",)}  # a z-score within the sample would make even a constant gene vary
    model, params, _ = RECIPES[name]
    data = replace(DATA, omics={"expression": copied})
    predictor = Predictor.of(model, params).fit(data, features=FeaturePipeline(steps=raw))
    found = Explainer(predictor).explain(NEW.assign(COPY=NEW["G3"], FLAT=5.0), ["D01", "D03"])
    place = {gene: i for i, gene in enumerate(found.feature.tolist())}
    assert np.abs(found.values[..., place["FLAT"]]).max() < 1e-6
    if name in ("kernel_ridge", "kernel_ridge rbf", "response_gp"):  # networks on rotated axes; lasso picks one of two
        np.testing.assert_allclose(found.values[..., place["COPY"]], found.values[..., place["G3"]], atol=1e-5)


def test_a_training_sample_is_explained_by_its_profile_and_said_to_be():
    explainer = Explainer(fitted("wide_deep"))
    found = explainer.explain(DATA.omics["expression"].iloc[:2])
    assert found.gap.max() <= 1e-4
    assert "seen-samples" in [finding.code for finding in found.findings]
    assert "seen-samples" not in [finding.code for finding in explainer.explain(NEW).findings]


def test_missing_genes_are_marked_as_filled_in():
    found = Explainer(fitted("kernel_ridge")).explain(NEW.drop(columns=["G4", "G9"]))
    assert found.feature[found.imputed[0]].tolist() == ["G4", "G9"]
    assert found.gap.max() <= 1e-4


def test_members_of_an_ensemble_say_how_far_they_differ():
    found = Explainer(fitted("mlp")).explain(NEW)
    assert found.spread is not None
    assert found.spread.max() > 0
    assert Explainer(fitted("kernel_ridge")).explain(NEW).spread is None


def test_what_cannot_be_explained_is_said():
    with pytest.raises(DataError, match="cannot be explained"):
        Explainer(Predictor.of("mean_effects").fit(DATA)).explain(NEW)
    with pytest.raises(DataError, match="no background"):
        Explainer(Predictor.of("kernel_ridge").fit(DATA, background=0)).explain(NEW)
    with pytest.raises(DataError, match="at least 5"):
        Explainer(fitted("kernel_ridge"), tissue="brain").explain(NEW)


def test_a_background_of_one_tissue_changes_the_question():
    predictor = fitted("kernel_ridge")
    every, lung = Explainer(predictor), Explainer(predictor, tissue="Lung")
    assert set(lung.background.tissue) == {"lung"}
    one, other = every.explain(NEW), lung.explain(NEW)
    assert other.gap.max() <= 1e-4
    assert np.abs(one.base - other.base).max() > 1e-3
    np.testing.assert_allclose(one.values.sum(-1) + one.base, other.values.sum(-1) + other.base, atol=2e-4)


def test_the_background_is_dealt_over_tissues_and_does_not_depend_on_order():
    one = Background.of(DATA, ("expression",), 24)
    assert pd.Series(one.tissue).value_counts().to_dict() == {"lung": 8, "blood": 8, "skin": 8}
    order = np.random.default_rng(0).permutation(80)
    shuffled = replace(
        DATA,
        samples=DATA.samples.iloc[order],
        omics={"expression": DATA.omics["expression"].iloc[np.random.default_rng(1).permutation(80)]},
    )
    assert Background.of(shuffled, ("expression",), 24).sha256 == one.sha256


def test_a_saved_predictor_keeps_its_background_and_an_old_folder_says_that_it_has_none(tmp_path):
    values = DATA.omics["expression"].to_numpy(copy=True)
    values[0, 3] = np.nan
    holed = replace(
        DATA, omics={"expression": pd.DataFrame(values, DATA.samples.index, DATA.omics["expression"].columns)}
    )
    for name, data in (("whole", DATA), ("holed", holed)):
        made = Predictor.of("kernel_ridge").fit(data, background=80)
        read = Predictor.load(made.save(tmp_path / name))
        assert read.background_.sha256 == made.background_.sha256
        assert np.array_equal(Explainer(read).explain(NEW).values, Explainer(made).explain(NEW).values)
    old = Predictor.of("kernel_ridge").fit(DATA, background=0)
    read = Predictor.load(old.save(tmp_path / "old"))
    assert read.background_ is None
    assert len(read.predict_samples({"expression": NEW})[0]) == 30
    with pytest.raises(DataError, match="no background"):
        Explainer(read).explain(NEW)
