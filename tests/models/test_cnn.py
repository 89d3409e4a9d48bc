"""CNNs over genes: places decide, columns do not, held-out samples are not seen, and the control has no order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from halfmax.errors import DataError
from halfmax.features.blocks import Block
from halfmax.models.base import MODELS
from halfmax.models.networks.cnn import ChromosomeCNN, PlaneCNN, ShuffledChromosomeCNN, ShuffledPlaneCNN, neighbours
from tests.models.planted import features, linear_response

NETWORKS = (ChromosomeCNN, ShuffledChromosomeCNN, PlaneCNN, ShuffledPlaneCNN)
SMALL = {
    **{"patch": 4, "channels": 4, "components": 8, "width": 32, "drug_width": 16},
    **{"epochs": 6, "batch_size": 16, "members": 2},
}
#: In the order of the chromosomes: 1p, 1q, 7p, 7q, 17p, 17q, X.
PLACED = ("AGRN", "MTOR", "MCL1", "EGFR", "MET", "BRAF", "TP53", "BRCA1", "AR")
X = features(40, 5, 9)
X = replace(X, sample_x={**X.sample_x, "expression": replace(X.sample_x["expression"], names=PLACED[::-1])})
Y = linear_response(X)


def columns(x, order):
    """Return the same table with its genes in another order."""
    block = x.sample_x["expression"]
    moved = Block(block.values[:, order], tuple(block.names[i] for i in order))
    return replace(x, sample_x={**x.sample_x, "expression": moved})


def genes_of(model, x):
    """Return the names of the genes at each place, in the order of the map."""
    names = sorted(x.sample_x["expression"].names)
    return [names[i] for i in model.place_.ravel() if i >= 0]


def same(one, other):
    a, b = one.get_state().arrays, other.get_state().arrays
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_order_of_genes_in_the_table_means_nothing(kind):
    order = np.random.default_rng(0).permutation(len(PLACED))
    model = kind(**SMALL).fit(X, Y)
    assert same(kind(**SMALL).fit(columns(X, order), Y), model)
    assert np.array_equal(model.predict(columns(X, order)).mean, model.predict(X).mean)


@pytest.mark.parametrize("kind", NETWORKS)
def test_profiles_without_training_responses_are_not_seen(kind):
    train = X.sample_index < 30
    other = X.sample_x["expression"].values.copy()
    other[30:] = np.random.default_rng(1).normal(5, 9, other[30:].shape)
    changed = replace(X, sample_x={**X.sample_x, "expression": replace(X.sample_x["expression"], values=other)})
    assert same(*(kind(**SMALL).fit(x.take_pairs(train), Y[train]) for x in (X, changed)))


def test_genes_stand_in_the_order_of_the_chromosomes_and_the_control_shuffles_them():
    model = ChromosomeCNN(**SMALL).fit(X, Y)
    assert genes_of(model, X) == list(PLACED)
    assert model.place_.shape == (1, 3, 4)
    orders = [genes_of(ShuffledChromosomeCNN(**SMALL, seed=seed).fit(X, Y), X) for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert all(sorted(order) == sorted(PLACED) != order for order in orders)


def test_the_plane_holds_correlated_genes_together_and_its_control_does_not():
    rng = np.random.default_rng(0)
    x = features(60, 4, 64)
    module = np.arange(64) % 4
    values = rng.normal(size=(60, 4))[:, module] + 0.3 * rng.normal(size=(60, 64))
    block = replace(x.sample_x["expression"], values=values.astype(np.float32))
    x = replace(x, sample_x={**x.sample_x, "expression": block})
    of_name = {name: m for name, m in zip(block.names, module, strict=True)}
    shares = []
    for kind in (PlaneCNN, ShuffledPlaneCNN):
        model = kind(**SMALL | {"focus": 0.0, "pool": 1}).fit(x, linear_response(x))
        names = sorted(block.names)
        patches = [[of_name[names[i]] for i in patch] for patch in model.place_.reshape(16, 4)]
        shares.append(np.mean([max(np.bincount(patch)) / 4 for patch in patches]))
        assert sorted(model.place_.ravel()) == list(range(64))
    assert shares[0] > 0.9 > 0.7 > shares[1]


def test_a_response_that_hangs_on_neighbours_is_found_by_order_alone():
    # |sum| over patches of four: a filter that sees a patch whole learns it, one that sees strangers cannot
    x = features(400, 3, 64, share=1.0)
    names = tuple(f"NOWHERE{i:02d}" for i in range(64))  # genes without a place stand by name
    x = replace(x, sample_x={**x.sample_x, "expression": replace(x.sample_x["expression"], names=names)})
    sums = x.sample("expression").reshape(400, 16, 4).sum(axis=2)
    score = np.abs(sums).sum(axis=1)
    score = (score - score.mean()) / score.std()
    y = np.outer(score, [1.0, -1.0, 0.5])[x.sample_index, x.drug_index]
    train = x.sample_index < 300
    params = SMALL | {"focus": 0.0, "components": 0, "convolutions": 0, "pool": 16, "channels": 8, "members": 1}
    free = {"dropout": 0.0, "input_dropout": 0.0, "map_dropout": 0.0, "epochs": 40, "learning_rate": 0.01}
    errors = []
    for kind in (ChromosomeCNN, ShuffledChromosomeCNN):
        model = kind(**params | free).fit(x.take_pairs(train), y[train])
        errors.append(((model.predict(x.take_pairs(~train)).mean - y[~train]) ** 2).mean() / y[~train].var())
    assert errors[0] < 0.2 < 0.5 < errors[1]


@pytest.mark.parametrize("plane", [False, True])
def test_patches_and_neighbours_are_what_torch_calls_a_convolution(plane):
    import torch

    rows, side, c = (5 if plane else 1), 6, 3
    maps = torch.randn(2, 4, rows, side, c, generator=torch.Generator().manual_seed(0))
    height = 3 if plane else 1
    weight = torch.randn(2, height * 3 * c, 7, generator=torch.Generator().manual_seed(1))
    found = torch.einsum("mnijk,mko->mnijo", neighbours(maps), weight)
    for m in range(2):
        kernel = weight[m].view(height, 3, c, 7).permute(3, 2, 0, 1)
        told = torch.nn.functional.conv2d(maps[m].permute(0, 3, 1, 2), kernel, padding=(height // 2, 1))
        torch.testing.assert_close(found[m], told.permute(0, 2, 3, 1), atol=1e-5, rtol=1e-5)


def with_copy_number(absent: np.ndarray, filler: float):
    names = ("EGFR", "MET", "ERBB2")
    values = np.random.default_rng(3).normal(size=(40, 3)).astype(np.float32)
    values[absent] = filler
    mask = np.zeros((40, 3), dtype=bool)
    mask[absent] = True
    blocks = {**X.sample_x, "copy_number": Block(values, names, mask)}
    return replace(X, sample_x=blocks, modalities=("expression", "copy_number"))


@pytest.mark.parametrize("kind", [ChromosomeCNN, PlaneCNN])
def test_modalities_share_the_places_and_what_a_sample_lacks_is_nothing(kind):
    absent = np.arange(40) % 4 == 0
    x = with_copy_number(absent, 0.0)
    model = kind(**SMALL, focus=0.0).fit(x, Y)
    seen = model.place_.reshape(-1, 2)  # columns: 9 of expression by name, then 3 of copy number by name
    names = sorted(PLACED)
    both = {names[e]: c - 9 for e, c in seen if e >= 0 and c >= 0}
    assert both == {"EGFR": 0, "MET": 2}
    assert (seen[:, 0] < 0).sum() >= 1  # ERBB2 has copy number alone
    again = kind(**SMALL, focus=0.0).fit(with_copy_number(absent, 7.0), Y)
    assert same(model, again)
    assert np.array_equal(model.predict(x).mean, again.predict(with_copy_number(absent, -3.0)).mean)


def test_without_components_and_convolutions_the_patches_are_left():
    model = ChromosomeCNN(**SMALL | {"components": 0, "convolutions": 0, "pool": 1}).fit(X, Y)
    assert model.sample_basis_.shape == (9, 0)
    assert model.enter_.shape == (2, 3 * 4, 32)
    assert np.isfinite(model.predict(X).mean).all()


@pytest.mark.parametrize(
    ("kind", "params", "told"),
    [
        (PlaneCNN, {"patch": 8}, "square number"),
        (PlaneCNN, {"pool": 2}, "square number"),
        (ChromosomeCNN, {"channels": 0}, "channels"),
        (ChromosomeCNN, {"components": -1}, "components"),
        (ChromosomeCNN, {"map_dropout": 1.0}, "map_dropout"),
    ],
)
def test_misuse_is_told(kind, params, told):
    with pytest.raises(DataError, match=told):
        kind(**params).fit(X, Y)


def test_no_modality_is_told():
    with pytest.raises(DataError, match="no modality"):
        ChromosomeCNN(**SMALL).fit(replace(X, modalities=()), Y)


@pytest.mark.parametrize("name", ["cnn1d", "cnn2d"])
def test_a_control_has_the_parameters_of_its_network(name):
    model, control = MODELS.get(name)(), MODELS.get(f"{name}_shuffled")()
    assert model.get_params() == control.get_params()
    assert isinstance(control, type(model))
    assert set(model.search_space()) <= set(model.get_params())
