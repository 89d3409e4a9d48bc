"""Fusion: with one modality it is the MLP; a planted signal in another is found; what is missing harms nobody."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from halfmax.errors import DataError
from halfmax.features.blocks import Block, PairFeatures
from halfmax.models.networks.fusion import Fusion, _thinned
from halfmax.models.networks.mlp import TwoTowerMLP
from tests.models.planted import features, linear_response, relabelled, restored

SMALL = {"width": 32, "drug_width": 16, "members": 2, "epochs": 30, "batch_size": 16}
FREE = {"dropout": 0.0, "input_dropout": 0.0, "drug_dropout": 0.0, "identity_dropout": 0.0, "weight_decay": 0.0}
LEARNS = {"width": 64, "drug_width": 16, "members": 2, "epochs": 60, "learning_rate": 0.005, "dropout": 0.2}
LEARNS |= {"input_dropout": 0.0, "refit": False}


def scaled(y: np.ndarray) -> np.ndarray:
    return (y - y.mean()) / y.std()


def two(n: int = 60, *, absent: float = 0.0, seed: int = 0) -> PairFeatures:
    """Return expression and a mutation block; a share of samples has no mutations."""
    x = features(n, share=0.9, seed=seed)
    rng = np.random.default_rng(seed + 10)
    values = (rng.random((n, 12)) < 0.3).astype(np.float32)
    gone = rng.random(n) < absent
    values[gone] = 0
    mask = np.repeat(gone[:, None], 12, axis=1) if absent else None
    block = Block(values, tuple(f"M{k}" for k in range(12)), mask)
    return replace(x, sample_x={**x.sample_x, "mutation": block}, modalities=("expression", "mutation"))


def mutated_response(x: PairFeatures, *, noise: float = 0.1) -> np.ndarray:
    """Return drug means, and for each drug the effect of one mutation; expression says nothing."""
    rng = np.random.default_rng(5)
    values = x.sample("mutation")
    grid = rng.normal(0, 1, len(x.drug_ids)) - 2 * values[:, np.arange(len(x.drug_ids)) % values.shape[1]]
    return grid[x.sample_index, x.drug_index] + rng.normal(0, noise, x.n_pairs)


def cut(x: PairFeatures, y: np.ndarray, n_train: int):
    is_train = x.sample_index < n_train
    return (x.take_pairs(is_train), y[is_train]), (x.take_pairs(~is_train), y[~is_train])


def centred_error(model: TwoTowerMLP, train: tuple, test: tuple) -> float:
    """Return the squared error on unseen samples, as a share of that of the drugs' means."""
    (x, y), (other, truth) = train, test
    mean = np.array([y[x.drug_index == d].mean() for d in range(len(x.drug_ids))])[other.drug_index]
    found = model.fit(x, y).predict(other).mean
    return float(((found - truth) ** 2).mean() / ((mean - truth) ** 2).mean())


X = two(absent=0.3)
Y = scaled(mutated_response(X))


def test_with_one_modality_it_is_the_mlp_bit_for_bit():
    x = features()
    y = scaled(linear_response(x))
    fused, plain = (kind(**SMALL, layers=2).fit(x, y).predict(x) for kind in (Fusion, TwoTowerMLP))
    assert np.array_equal(fused.mean, plain.mean)
    assert np.array_equal(fused.variance, plain.variance)


def test_thirty_two_pairs_are_learned_by_heart():
    model = Fusion(**(SMALL | FREE | {"epochs": 300, "learning_rate": 0.01}), modality_dropout=0.0, refit=False)
    x, y = X.take_pairs(np.arange(32)), Y[:32]
    assert np.abs(model.fit(x, y).predict(x).mean - y).max() < 0.05


def test_a_signal_planted_in_another_modality_is_found():
    x = two(240)
    train, test = cut(x, scaled(mutated_response(x)), 200)
    assert centred_error(Fusion(**LEARNS), train, test) < 0.4
    blind = tuple((replace(part, modalities=("expression",)), y) for part, y in (train, test))
    assert centred_error(Fusion(**LEARNS), *blind) > 0.9


def test_a_sample_that_lacks_a_modality_changes_nothing_for_others():
    model = Fusion(**SMALL).fit(X, Y)
    before = model.predict(X).mean
    gone = 3
    block = X.sample_x["mutation"]
    assert not block.absent[gone]
    mask, values = block.mask.copy(), block.values.copy()
    mask[gone], values[gone] = True, 0
    changed = replace(X, sample_x={**X.sample_x, "mutation": Block(values, block.names, mask)})
    after = model.predict(changed).mean
    own = X.sample_index == gone
    assert np.array_equal(before[~own], after[~own])
    assert np.abs(before[own] - after[own]).max() > 1e-3


def test_what_stands_in_the_place_of_an_absent_modality_is_never_read():
    block = X.sample_x["mutation"]
    values = np.where(block.absent[:, None], 7.0, block.values).astype(np.float32)
    other = replace(X, sample_x={**X.sample_x, "mutation": Block(values, block.names, block.mask)})
    model, again = Fusion(**SMALL).fit(X, Y), Fusion(**SMALL, focus=2.0).fit(other, Y)
    assert np.array_equal(model.predict(X).mean, model.predict(other).mean)
    assert np.array_equal(model.predict(X).mean, again.predict(other).mean)


def test_each_tower_can_stand_alone():
    x = two(240)
    train, test = cut(x, scaled(mutated_response(x)), 200)
    model = Fusion(**LEARNS, modality_dropout=0.4).fit(*train)
    block = test[0].sample_x["expression"]
    without = Block(np.zeros_like(block.values), block.names, np.ones(block.values.shape, dtype=bool))
    alone = replace(test[0], sample_x={**test[0].sample_x, "expression": without})
    mean = np.array([train[1][train[0].drug_index == d].mean() for d in range(8)])[alone.drug_index]
    error = ((model.predict(alone).mean - test[1]) ** 2).mean()
    assert error < 0.4 * ((mean - test[1]) ** 2).mean()


def test_the_order_of_modalities_means_nothing():
    turned = replace(X, modalities=X.modalities[::-1], sample_x=dict(reversed(X.sample_x.items())))
    model = Fusion(**SMALL).fit(X, Y)
    assert np.array_equal(model.predict(X).mean, Fusion(**SMALL).fit(turned, Y).predict(turned).mean)
    assert np.array_equal(model.predict(X).mean, model.predict(turned).mean)


def test_a_sample_of_which_nothing_is_known_is_predicted_at_the_drugs_mean():
    x = two(120)
    y = scaled(mutated_response(x))
    model = Fusion(**LEARNS).fit(x, y)
    dark = {
        name: Block(np.zeros_like(b.values), b.names, np.ones(b.values.shape, bool))
        for name, b in ((name, x.sample_x[name]) for name in x.modalities)
    }
    unknown = replace(x, sample_x={**x.sample_x, **dark}).grid()
    found = model.predict(unknown).mean.reshape(len(x.sample_ids), -1)
    assert np.array_equal(found, np.repeat(found[:1], len(found), axis=0))
    mean = np.array([y[x.drug_index == d].mean() for d in range(8)])
    assert found[0] == pytest.approx(mean, abs=0.1)


def test_training_samples_without_any_modality_are_borne():
    masks = {name: X.sample_x[name].values.copy() for name in X.modalities}
    dark = {}
    for name, values in masks.items():
        mask = np.zeros(values.shape, dtype=bool)
        mask[:5], values[:5] = True, 0
        dark[name] = Block(values, X.sample_x[name].names, mask)
    x = replace(X, sample_x={**X.sample_x, **dark})
    train, valid = cut(x, Y, 45)
    assert np.isfinite(Fusion(**SMALL).fit(*train, valid=valid).predict(x).mean).all()


def test_dropping_modalities_leaves_at_least_one_of_those_present():
    import torch

    present = torch.tensor([[True, True, True], [True, False, False], [False, False, False]]).repeat(2000, 1)[None]
    kept = _thinned(present, 0.5, torch.Generator().manual_seed(0))
    assert not (kept & ~present).any()
    assert torch.equal(kept.any(dim=-1), present.any(dim=-1))
    assert float(kept[0, ::3].float().mean()) == pytest.approx(0.5 + 0.125 / 3, abs=0.02)


def test_permuted_rows_permute_predictions_and_the_state_gives_the_same_bits():
    model = Fusion(**SMALL).fit(X, Y)
    shuffled, _, order = relabelled(X, Y)
    shuffled = replace(shuffled, modalities=X.modalities)
    assert model.predict(shuffled).mean == pytest.approx(model.predict(X).mean[order], abs=1e-5)
    assert np.array_equal(restored(model).predict(X).mean, model.predict(X).mean)


def test_gene_order_means_nothing():
    train, test = cut(X, Y, 45)
    order = np.random.default_rng(4).permutation(12)
    block = X.sample_x["mutation"]
    turned = Block(block.values[:, order], tuple(np.array(block.names)[order]), block.mask[:, order])
    found = [
        Fusion(**SMALL).fit(x, train[1]).predict(replace(test[0], sample_x=x.sample_x)).mean
        for x in (train[0], replace(train[0], sample_x={**X.sample_x, "mutation": turned}))
    ]
    assert found[0] == pytest.approx(found[1], abs=1e-3)


def test_training_can_go_on_and_labels_give_probabilities():
    model = Fusion(**SMALL).fit(X, Y)
    further = Fusion(**SMALL).fit(X, Y, start=model.get_state())
    assert further.history_[0]["train_loss"] < model.history_[0]["train_loss"]
    label = (Y > 0).astype(float)
    found = Fusion(**SMALL, learning_rate=0.01, task="classification").fit(X, label).predict(X)
    assert found.probability[label > 0.5].mean() > found.probability[label < 0.5].mean() + 0.2


def test_misuse_is_told():
    with pytest.raises(DataError, match="modality_dropout"):
        Fusion(modality_dropout=1.0).fit(X, Y)
    with pytest.raises(DataError, match="no modality"):
        Fusion(**SMALL).fit(replace(X, modalities=()), Y)
    block = X.sample_x["mutation"]
    dark = Block(np.zeros_like(block.values), block.names, np.ones(block.values.shape, dtype=bool))
    with pytest.raises(DataError, match="no training sample has mutation"):
        Fusion(**SMALL).fit(replace(X, sample_x={**X.sample_x, "mutation": dark}), Y)
