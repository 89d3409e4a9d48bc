"""What every network keeps: pairs learned by heart, planted truth found, order without meaning, bits given back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from halfmax.models.base import MODELS
from tests.models.planted import features, linear_response, relabelled, renamed, restored

#: Small settings of each network, and what frees it of all regularisation.
NETWORKS = {
    "mlp": (
        {"width": 32, "drug_width": 16, "members": 2, "epochs": 30, "batch_size": 16},
        {"dropout": 0.0, "input_dropout": 0.0, "drug_dropout": 0.0, "identity_dropout": 0.0, "weight_decay": 0.0},
    ),
    "single_tower": (
        {"width": 32, "epochs": 30, "batch_size": 16, "drugs": 4},
        {"dropout": 0.0, "input_dropout": 0.0, "drug_dropout": 0.0, "identity_dropout": 0.0, "weight_decay": 0.0},
    ),
    "multitask": (
        {"width": 32, "members": 2, "epochs": 30, "batch_size": 16},
        {"dropout": 0.0, "input_dropout": 0.0, "weight_decay": 0.0},
    ),
    "fusion": (
        {"width": 32, "drug_width": 16, "members": 2, "epochs": 30, "batch_size": 16},
        {"dropout": 0.0, "input_dropout": 0.0, "drug_dropout": 0.0, "identity_dropout": 0.0, "weight_decay": 0.0},
    ),
    "transformer": (
        {"modules": 4, "components": 4, "token_width": 16, "heads": 2, "slots": 4, "width": 32, "skip": 8}
        | {"drug_width": 16, "members": 2, "epochs": 30, "batch_size": 16},
        {"dropout": 0.0, "input_dropout": 0.0, "token_dropout": 0.0, "drug_dropout": 0.0, "identity_dropout": 0.0}
        | {"weight_decay": 0.0},
    ),
    # the closed form learns nothing by heart; its networks are the one above
    "wide_deep": ({"width": 32, "epochs": 30, "context_epochs": 5, "batch_size": 16, "factors": 6}, None),
}
MAPS = {"patch": 4, "channels": 8, "components": 16, "pool": 1}
NETWORKS |= {
    name: (NETWORKS["mlp"][0] | MAPS, NETWORKS["mlp"][1] | {"map_dropout": 0.0})
    for name in ("cnn1d", "cnn1d_shuffled", "cnn2d", "cnn2d_shuffled")
}
NETWORKS |= dict.fromkeys(("gin", "gin_shuffled", "gat"), (NETWORKS["mlp"][0] | {"rounds": 2}, NETWORKS["mlp"][1]))
NETWORKS |= dict.fromkeys(
    ("hetero_graph", "hetero_graph_shuffled"),
    (NETWORKS["mlp"][0] | {"node_width": 8}, NETWORKS["mlp"][1] | {"graph_dropout": 0.0}),
)
#: Networks whose tests are quick; the others, controls among them, are tested with what is slow.
QUICK = ("mlp", "wide_deep", "multitask")
EVERY = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in NETWORKS]
FREE = [p for name, p in zip(NETWORKS, EVERY, strict=True) if NETWORKS[name][1] is not None]
X = features(60, 8, 40)
Y = linear_response(X)
Y = (Y - Y.mean()) / Y.std()


def network(name: str, **params):
    return MODELS.get(name)(**(NETWORKS[name][0] | params))


@pytest.fixture(scope="module", params=EVERY)
def fitted(request):
    return request.param, network(request.param).fit(X, Y)


@pytest.mark.parametrize("name", FREE)
def test_thirty_two_pairs_are_learned_by_heart(name):
    rows = np.arange(32)
    x, y = X.take_pairs(rows), Y[rows]
    model = network(name, **NETWORKS[name][1], epochs=300, learning_rate=0.01, refit=False)
    assert np.abs(model.fit(x, y).predict(x).mean - y).max() < 0.05


@pytest.mark.parametrize("name", EVERY)
def test_planted_effects_are_found_on_unseen_samples(name):
    x = features(260, 6, 20)
    y = linear_response(x)
    train, test = x.sample_index < 200, x.sample_index >= 200
    model = network(name, epochs=60, learning_rate=0.005).fit(x.take_pairs(train), y[train])
    predicted = model.predict(x.take_pairs(test)).mean
    drug_mean = np.array([y[train & (x.drug_index == d)].mean() for d in range(6)])[x.drug_index[test]]
    assert ((predicted - y[test]) ** 2).mean() < 0.5 * ((drug_mean - y[test]) ** 2).mean()


def test_order_of_rows_means_nothing(fitted):
    _, model = fitted
    other, _, order = relabelled(X, Y)
    np.testing.assert_allclose(model.predict(other).mean, model.predict(X).mean[order], atol=1e-5)


def test_state_gives_the_same_bits_back(fitted):
    _, model = fitted
    assert np.array_equal(restored(model).predict(X).mean, model.predict(X).mean)


def test_the_seed_decides(fitted):
    name, model = fitted
    assert np.array_equal(network(name).fit(X, Y).predict(X).mean, model.predict(X).mean)
    assert not np.array_equal(network(name, seed=1).fit(X, Y).predict(X).mean, model.predict(X).mean)


def test_the_learning_curve_is_kept(fitted):
    name, model = fitted
    losses = [r["train_loss"] for r in model.history_ if r["member"] in ("all", "profile")]
    assert len(losses) == NETWORKS[name][0]["epochs"]
    assert losses[-1] < losses[0]


def test_what_is_new_is_predicted(fitted):
    _, model = fitted
    assert np.isfinite(model.predict(renamed(X, samples=True, drugs=True)).mean).all()
    bare = replace(X, drug_text={k: np.full_like(v, "") for k, v in X.drug_text.items()})
    assert np.isfinite(model.predict(renamed(bare, drugs=True)).mean).all()


@pytest.mark.parametrize("name", EVERY)
def test_labels_give_probabilities(name):
    label = (Y > 0).astype(float)
    found = network(name, learning_rate=0.01, task="classification").fit(X, label).predict(X)
    assert ((found.probability >= 0) & (found.probability <= 1)).all()
    assert found.probability[label > 0.5].mean() > found.probability[label < 0.5].mean() + 0.2


@pytest.mark.gpu
@pytest.mark.parametrize("name", EVERY)
def test_a_gpu_gives_what_the_processor_gives(name):
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    one, other = (network(name, device=device).fit(X, Y).predict(X).mean for device in ("cpu", "cuda"))
    assert np.corrcoef(one, other)[0, 1] > 0.99
