"""Ensembles: weights from out of fold, nothing of a held-out part seen, one state for all, one network taught."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from halfmax.data.synthetic import make_dataset
from halfmax.errors import DataError, ModelFileError, NotFittedError, UnknownNameError
from halfmax.features.blocks import Block
from halfmax.models.base import MODELS, BaseModel, Prediction, State, check_targets
from halfmax.models.ensemble import Seeds
from halfmax.models.kernel import KernelRidge
from halfmax.models.members import make, only
from halfmax.models.networks.distilled import Distilled
from halfmax.models.networks.mlp import TwoTowerMLP
from halfmax.models.stack import DEFAULTS, Stack, _Normal
from halfmax.predictor import Predictor
from tests.models.planted import features, linear_response, relabelled, renamed, restored

NETWORK = {"width": 32, "drug_width": 16, "members": 1, "epochs": 10, "batch_size": 16}
TREES = {"n_trees": 20, "min_leaf": 5, "n_threads": 1}
PARTS = ["kernel_ridge", ["mlp", NETWORK], ["lightgbm", TREES]]
X = features(share=0.85)
Y = linear_response(X)
Y = (Y - Y.mean()) / Y.std()

SEEDS = Seeds("mlp", NETWORK, n=2).fit(X, Y)
STACK = Stack(PARTS).fit(X, Y)
TAUGHT = Distilled("stack", {"models": ["kernel_ridge", "tissue_drug_mean"]}, NETWORK).fit(X, Y)
FITTED = [SEEDS, STACK, TAUGHT]
IDS = ["seeds", "stack", "distilled"]


class Spy(BaseModel):
    """Remember what it was shown and asked, and predict the drugs' identity."""

    calls: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []  # noqa: RUF012

    def fit(self, x, y, *, valid=None, start=None, on_epoch=None):
        self.mean_ = float(check_targets(x, y).mean())
        self.seen = x
        return self

    def predict(self, x):
        Spy.calls.append((self.seen.sample_ids, self.seen.drug_ids, x))
        return Prediction(np.full(x.n_pairs, self.mean_, dtype=np.float32))


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> type[Spy]:
    monkeypatch.setattr(MODELS, "_loaded", {**MODELS._loaded, "spy": Spy})
    monkeypatch.setattr(MODELS, "_paths", {**MODELS._paths, "spy": "nowhere:Spy"})
    monkeypatch.setattr(Spy, "calls", [])
    return Spy


@pytest.mark.parametrize("model", FITTED, ids=IDS)
def test_the_state_gives_the_same_bits_back(model):
    assert np.array_equal(restored(model).predict(X).mean, model.predict(X).mean)


@pytest.mark.parametrize("model", FITTED, ids=IDS)
def test_permuted_rows_permute_predictions(model):
    shuffled, _, order = relabelled(X, Y)
    assert model.predict(shuffled).mean == pytest.approx(model.predict(X).mean[order], abs=1e-5)


@pytest.mark.parametrize("model", FITTED, ids=IDS)
def test_unseen_samples_and_drugs_have_finite_answers(model):
    found = model.predict(renamed(X, samples=True, drugs=True))
    assert np.isfinite(found.mean).all()
    assert found.variance is None or (found.variance >= 0).all()


@pytest.mark.parametrize("model", FITTED, ids=IDS)
def test_the_learning_curves_of_members_are_kept(model):
    labels = {record["member"] for record in model.history_}
    assert len(model.history_) == 10 * (2 if model is SEEDS else 1)
    assert labels == {SEEDS: {"mlp 0", "mlp 1"}, STACK: {"mlp 2"}, TAUGHT: {"student"}}[model]


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("seeds", {"model": "xgboost", "params": {"n_trees": 5, "n_threads": 1}, "n": 2}),
        ("stack", {"models": PARTS}),
        ("distilled", {"teacher": "kernel_ridge", "student": NETWORK}),
        ("seeds", {"model": "stack", "params": {"models": [["lightgbm", TREES]]}, "n": 2}),
    ],
)
def test_a_saved_folder_gives_the_same_bits_back(name, params, tmp_path):
    dataset = make_dataset(30, 5, 12)
    predictor = Predictor.of(name, params).fit(dataset)
    before = predictor.predict(dataset)
    after = Predictor.load(predictor.save(tmp_path / "saved")).predict(dataset)
    assert before.equals(after)


def test_seeds_are_the_mean_and_the_variance_of_their_members():
    members = [TwoTowerMLP(**NETWORK, seed=seed).fit(X, Y).predict(X).mean for seed in (0, 1)]
    found = SEEDS.predict(X)
    assert found.mean == pytest.approx(np.mean(members, axis=0), abs=1e-6)
    assert found.variance == pytest.approx(np.var(members, axis=0), abs=1e-6)


def test_seeds_add_the_members_own_variance():
    one = Seeds("mlp", NETWORK | {"members": 2}, n=1).fit(X, Y)
    assert np.array_equal(one.predict(X).variance, one.models_[0].predict(X).variance)


def test_seeds_join_validation_rows_to_a_model_that_does_not_validate():
    first = X.sample_index < 40
    valid = (X.take_pairs(~first), Y[~first])
    trees = {"n_trees": 5, "n_threads": 1}
    found = Seeds("xgboost", trees, n=1).fit(X.take_pairs(first), Y[first], valid=valid).predict(X).mean
    alone = Seeds("xgboost", trees, n=1).fit(X.take_pairs(first), Y[first]).predict(X).mean
    assert np.abs(found - alone).max() > 1e-3


@pytest.mark.parametrize("groups", list(DEFAULTS))
def test_nothing_of_a_part_left_out_is_shown_to_a_model(groups, spy):
    Stack(["spy"], groups=groups, n_folds=4).fit(X, Y)
    assert len(spy.calls) == 4
    for samples, drugs, asked in spy.calls:
        if groups == "sample":
            assert not np.isin(asked.sample_ids, samples).any()
        if groups == "drug":
            assert not np.isin(asked.drug_ids, drugs).any()
    assert sum(asked.n_pairs for _, _, asked in spy.calls) == X.n_pairs


def test_responses_of_a_part_left_out_do_not_reach_its_predictions():
    model = Stack(["kernel_ridge"])
    before = model._out_of_fold(X, Y)
    part = model.part_
    changed = model._out_of_fold(X, np.where(part == 0, Y + 100, Y))
    for old, new in zip(before, changed, strict=True):
        assert np.array_equal(old[part == 0], new[part == 0])
        assert not np.allclose(old[part != 0], new[part != 0])


def test_the_order_of_pairs_means_nothing_to_the_parts():
    order = np.random.default_rng(0).permutation(X.n_pairs)
    for groups in DEFAULTS:
        model = Stack(groups=groups)
        assert np.array_equal(model._parts(X)[order], model._parts(X.take_pairs(order)))


def test_the_model_that_knows_is_given_the_weight_and_the_one_that_does_not_none():
    found = Stack(["kernel_ridge", "tissue_drug_mean"]).fit(X, Y)
    assert found.common_[0] > 0.9
    assert found.common_[1] < 0.1
    noise = np.random.default_rng(0).normal(size=len(Y))
    assert Stack(["kernel_ridge"], ridge=0.0).fit(X, noise).common_[0] < 0.5


def test_unlike_models_together_are_better_than_either():
    rng = np.random.default_rng(3)
    x = features(200, 6, 10, share=1.0, seed=4)
    gene = x.sample("expression")
    grid = gene[:, :1] * rng.normal(size=6) + 1.5 * (gene[:, 1:2] * gene[:, 2:3] > 0)
    y = grid[x.sample_index, x.drug_index] + rng.normal(0, 0.1, x.n_pairs)
    train, test = x.sample_index < 150, x.sample_index >= 150
    parts = [["kernel_ridge", {"focus": 0.0}], ["lightgbm", TREES | {"n_trees": 200}]]

    def error(model) -> float:
        return float(
            ((model.fit(x.take_pairs(train), y[train]).predict(x.take_pairs(test)).mean - y[test]) ** 2).mean()
        )

    assert error(Stack(parts)) < 0.98 * min(error(make(part, seed=0)) for part in parts)


def test_weights_are_those_of_least_squares_and_never_negative():
    rng = np.random.default_rng(1)
    f = rng.normal(size=(600, 3))
    r = f @ np.array([0.7, 0.0, 0.4]) + 0.1 * rng.normal(size=600)
    drug, part = rng.integers(0, 4, 600), rng.integers(0, 3, 600)
    normal = _Normal.of(f, r, drug, part, 4)
    assert normal.common(0.0) == pytest.approx(np.linalg.lstsq(f, r)[0], abs=0.01)
    assert normal.common(1e6) == pytest.approx(np.full(3, 1 / 3), abs=1e-4)
    weight = normal.by_drug(normal.common(0.0), 10.0)
    assert normal.error(weight) == pytest.approx(((r - (f * weight[drug]).sum(axis=1)) ** 2).sum())
    against = _Normal.of(f, f @ np.array([1.0, -2.0, 0.0]), drug, part, 4)
    assert (against.common(0.0) >= 0).all()
    assert (against.by_drug(against.common(0.0), 1.0) >= 0).all()


def test_a_drug_has_weights_of_its_own_where_they_help_and_not_where_they_do_not():
    rng = np.random.default_rng(2)
    f, part = rng.normal(size=(4000, 2)), rng.integers(0, 3, 4000)
    drug = rng.integers(0, 8, 4000)
    own = np.where((drug % 2 == 0)[:, None], [1.0, 0.0], [0.0, 1.0])
    x = replace(X, sample_index=np.zeros(4000, dtype=np.int64), drug_index=drug)
    for weight, wanted in ((own, True), (np.full((4000, 2), 0.5), False)):
        model = Stack(["kernel_ridge", "mlp"])
        model.part_ = part
        model._weigh(np.zeros(4000), f, (f * weight).sum(axis=1) + rng.normal(size=4000), x)
        assert (model.prior_ is not None) is wanted
        assert model.weight_[0] == pytest.approx(weight[drug == 0][0], abs=0.15)


def test_the_variance_is_the_error_out_of_fold():
    x = features(240, 6)
    y = linear_response(x, noise=0.5)
    train = x.sample_index < 160
    found = Stack(["kernel_ridge"]).fit(x.take_pairs(train), y[train]).predict(x.take_pairs(~train))
    assert ((found.mean - y[~train]) ** 2).mean() / found.variance.mean() == pytest.approx(1, abs=0.3)


def test_labels_give_probabilities():
    label = (Y > 0).astype(float)
    for model in (
        Stack([["mlp", NETWORK], ["lightgbm", TREES]], task="classification"),
        Distilled("stack", {"models": [["lightgbm", TREES]]}, NETWORK | {"epochs": 40}, task="classification"),
        Seeds("lightgbm", TREES, n=2, task="classification"),
    ):
        found = model.fit(X, label).predict(X).probability
        assert ((found >= 0) & (found <= 1)).all()
        assert found[label > 0.5].mean() > found[label < 0.5].mean() + 0.1


def test_the_student_is_one_network_that_says_what_its_teacher_says():
    x = features(90, 6, 30, share=0.5)
    y = linear_response(x)
    y = (y - y.mean()) / y.std()
    new = renamed(features(90, 6, 30, share=1.0, seed=9), samples=True)
    teacher = KernelRidge().fit(x, y).predict(new).mean
    free = NETWORK | {"epochs": 60, "learning_rate": 0.01, "dropout": 0.1, "input_dropout": 0.0, "batch_size": 64}
    student = Distilled("kernel_ridge", None, free, trust=0.0).fit(x, y)
    alone = TwoTowerMLP(**free, refit=False).fit(x, y).predict(new).mean
    (network,) = student.models_
    assert isinstance(network, TwoTowerMLP)
    assert len(network.enter0_) == 1
    assert not [k for k in student.get_state().arrays if not k.startswith("0.")]
    assert ((student.predict(new).mean - teacher) ** 2).mean() < 0.8 * ((alone - teacher) ** 2).mean()


def test_thirty_two_pairs_are_learned_by_heart_from_a_teacher_that_knows_them():
    x, y = X.take_pairs(np.arange(32)), Y[:32]
    free = dict.fromkeys(("dropout", "input_dropout", "drug_dropout", "identity_dropout", "weight_decay"), 0.0)
    student = NETWORK | free | {"epochs": 300, "learning_rate": 0.01}
    found = Distilled("drug_mean", None, student, trust=1.0, made_up=0.0).fit(x, y).predict(x).mean
    assert np.abs(found - y).max() < 0.05


def test_made_up_samples_keep_the_variance_of_the_profiles_and_the_masks():
    x = features(400, 3, 5)
    absent = np.arange(400) < 100
    values = x.sample("expression").copy()
    values[absent] = 0
    block = Block(values, x.sample_x["expression"].names, np.repeat(absent[:, None], 5, axis=1))
    x = replace(x, sample_x={**x.sample_x, "expression": block})
    made = Distilled(made_up=5.0)._made_up(x, np.random.default_rng(0))
    gone = made.sample_x["expression"].absent
    assert gone.mean() == pytest.approx(0.25, abs=0.05)
    assert not made.sample("expression")[gone].any()
    assert made.sample("expression")[~gone].var() == pytest.approx(values[~absent].var(), rel=0.1)
    assert set(np.unique(made.sample("tissue"))) == {0.0, 1.0}


def test_only_keeps_the_pairs_and_nothing_else():
    chosen = (X.sample_index % 3 == 0) & (X.drug_index > 2)
    part = only(X, chosen)
    assert set(part.sample_ids) == set(X.sample_ids[X.sample_index[chosen]])
    assert np.array_equal(part.drug_ids[part.drug_index], X.drug_ids[X.drug_index[chosen]])
    assert np.array_equal(part.drug_text["smiles"][part.drug_index], X.drug_text["smiles"][X.drug_index[chosen]])
    assert np.array_equal(part.sample("expression")[part.sample_index], X.sample("expression")[X.sample_index[chosen]])


def test_one_sample_alone_can_be_stacked():
    one = X.take_pairs(X.sample_index == 0)
    assert np.isfinite(Stack(["kernel_ridge", "drug_mean"]).fit(one, Y[: one.n_pairs]).predict(X).mean).all()


def test_misuse_is_told():
    with pytest.raises(NotFittedError):
        Stack().predict(X)
    with pytest.raises(DataError, match="no seed to vary"):
        Seeds("kernel_ridge").fit(X, Y)
    with pytest.raises(DataError, match="groups"):
        Stack(groups="tissue").fit(X, Y)
    with pytest.raises(DataError, match="at least one model"):
        Stack([]).fit(X, Y)
    with pytest.raises(UnknownNameError, match="kernel_ridge"):
        Stack(["kernel_rigde"]).fit(X, Y)
    with pytest.raises(DataError, match="no parameter 'size'"):
        Stack([["mlp", {"size": 3}]]).fit(X, Y)
    with pytest.raises(DataError, match="names no model"):
        Stack([["mlp"]]).fit(X, Y)
    with pytest.raises(DataError, match="student"):
        Distilled("drug_mean", None, {"size": 3}).fit(X, Y)
    with pytest.raises(DataError, match="trust"):
        Distilled("drug_mean", trust=2.0).fit(X, Y)
    state = STACK.get_state()
    with pytest.raises(ModelFileError, match="models"):
        Stack(["kernel_ridge"]).set_state(state)
    with pytest.raises(ModelFileError, match="does not list"):
        Stack(["kernel_ridge"]).set_state(State(state.arrays))
