"""Fine-tuning an encoder: adapters learn, the encoder does not, and what is saved needs the same encoder."""

from __future__ import annotations

import numpy as np
import pytest

from halfmax.errors import DataError, ModelFileError
from halfmax.models.pretrained import FineTuned
from tests.models.planted import features, linear_response, relabelled, renamed, restored

X = features(40, 8, 20)
Y = linear_response(X)
Y = (Y - Y.mean()) / Y.std()
SMALL = {"width": 16, "drug_width": 8, "epochs": 6, "batch_size": 16, "members": 2, "text": "smiles"}
FREE = {"dropout": 0.0, "input_dropout": 0.0, "drug_dropout": 0.0, "identity_dropout": 0.0, "weight_decay": 0.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pytest.importorskip("transformers")
    from tests.features.tiny_encoders import ATOMS, save_tiny_bert

    return str(save_tiny_bert(tmp_path_factory.mktemp("encoders") / "chemical", entries=ATOMS, pattern="."))


@pytest.fixture(scope="module")
def fitted(folder):
    return FineTuned(folder, **SMALL).fit(X, Y)


def test_thirty_two_pairs_are_learned_by_heart_through_the_encoder(folder):
    rows = np.arange(32)
    model = FineTuned(
        folder, **SMALL | FREE | {"members": 1, "epochs": 300, "learning_rate": 0.01, "drug_gain": 1.0, "width": 32}
    )
    x, y = X.take_pairs(rows), Y[rows]
    assert np.abs(model.fit(x, y).predict(x).mean - y).max() < 0.05


def test_adapters_learn_and_the_encoder_stays(folder, fitted):
    from halfmax.features.encoders import load_encoder

    names = [name for name in fitted._names() if name.startswith("adapter")]
    assert len(names) == 8  # two layers, query and value, two matrices each
    assert all(np.abs(getattr(fitted, name)).max() > 0 for name in names)
    again = load_encoder(folder).embed(["CCN"], keep=False)
    load_encoder.__globals__["_load"].cache_clear()
    assert np.array_equal(load_encoder(folder).embed(["CCN"], keep=False), again)


def test_rank_zero_leaves_the_encoder_frozen(folder):
    model = FineTuned(folder, **SMALL, rank=0).fit(X, Y)
    assert not any(name.startswith("adapter") for name in model._names())
    assert np.isfinite(model.predict(renamed(X, drugs=True)).mean).all()


def test_unseen_drugs_are_told_apart_by_their_text_alone(fitted):
    new = renamed(X, drugs=True)
    grid = fitted.predict(new.grid()).mean.reshape(40, 8)
    texts = X.drug_text["smiles"].tolist()
    for i in range(8):
        for j in range(i):
            same = np.allclose(grid[:, i], grid[:, j], atol=1e-5)
            assert same == (texts[i] == texts[j])


def test_order_state_and_seed(folder, fitted):
    other, _, order = relabelled(X, Y)
    expected = fitted.predict(X).mean
    np.testing.assert_allclose(fitted.predict(other).mean, expected[order], atol=1e-5)
    assert np.array_equal(restored(fitted).predict(X).mean, expected)
    assert np.array_equal(FineTuned(folder, **SMALL).fit(X, Y).predict(X).mean, expected)
    assert not np.array_equal(FineTuned(folder, **SMALL, seed=1).fit(X, Y).predict(X).mean, expected)


def test_another_encoder_under_the_same_name_is_refused(fitted, tmp_path):
    from tests.features.tiny_encoders import ATOMS, save_tiny_bert

    other = restored(fitted)
    other.encoder = str(save_tiny_bert(tmp_path / "other", entries=ATOMS, pattern=".", seed=1))
    with pytest.raises(ModelFileError, match="not the one that was fine-tuned"):
        other.predict(renamed(X, drugs=True))


def test_misuse_is_told(folder):
    with pytest.raises(DataError, match="encoder is not given"):
        FineTuned().fit(X, Y)
    with pytest.raises(DataError, match="text is 'name'"):
        FineTuned(folder, text="name").fit(X, Y)
    with pytest.raises(DataError, match="rank"):
        FineTuned(folder, rank=-1).fit(X, Y)
