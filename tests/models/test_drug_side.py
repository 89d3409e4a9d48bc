"""Unseen drugs: leave-one-out equals refits, a planted mechanism decides, and nothing known means the mean."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from halfmax.errors import ModelFileError
from halfmax.features.blocks import Block
from halfmax.models.drug_side import PROFILE_WEIGHTS, DrugTable, choose_drug_ridge, leave_one_out_errors
from halfmax.models.kernel import KernelRidge, ResponseGP
from tests.models.planted import features, restored


def with_mechanism(n=80, m=40, kinds=4, seed=0, blocks=("mechanism",)):
    """Return features whose drugs belong to kinds, and responses that only the kind decides, on noise of the sample."""
    rng = np.random.default_rng(seed)
    x = features(n=n, m=m, seed=seed)
    kind = np.arange(m) % kinds
    hot = Block(np.eye(kinds, dtype=np.float32)[kind], tuple(f"kind{k}" for k in range(kinds)))
    x = replace(x, drug_x={**x.drug_x, **dict.fromkeys(blocks, hot)})
    grid = rng.normal(0, 3, kinds)[kind] + rng.normal(size=n)[:, None] + rng.normal(size=(n, kinds))[:, kind]
    return x, grid, grid + rng.normal(0, 0.1, (n, m))


@pytest.mark.parametrize("mean", [True, False])
def test_leave_one_out_equals_refits(mean):
    rng = np.random.default_rng(0)
    z = rng.normal(size=(15, 6))
    gram, y, ridge = z @ z.T, rng.normal(size=(15, 2)) + 3, 0.7
    expected = []
    for i in range(15):
        rest = np.delete(np.arange(15), i)
        inverse = np.linalg.inv(gram[np.ix_(rest, rest)] + ridge * np.eye(14))
        middle = (inverse @ y[rest]).sum(axis=0) / inverse.sum() if mean else np.zeros(2)
        expected.append(y[i] - middle - gram[i, rest] @ inverse @ (y[rest] - middle))
    np.testing.assert_allclose(leave_one_out_errors(gram, y, ridge, mean=mean), expected, rtol=1e-8)


def test_the_ridge_follows_how_much_the_kernel_explains():
    rng = np.random.default_rng(1)
    gram = np.kron(np.eye(6), np.ones((5, 5)))
    signal, noise = np.repeat(rng.normal(size=6), 5)[:, None], rng.normal(size=(30, 1))
    assert choose_drug_ridge(gram, signal + 0.05 * noise, mean=True)[0] < choose_drug_ridge(gram, noise, mean=True)[0]


@pytest.mark.parametrize("model", [KernelRidge(), ResponseGP()], ids=["ridge", "gp"])
def test_an_unseen_drug_takes_the_potency_and_the_profile_of_its_mechanism(model):
    x, truth, y = with_mechanism()
    old = x.drug_index < 32
    fitted = model.fit(x.take_pairs(old), y[x.sample_index, x.drug_index][old])
    found = fitted.predict(x.grid()).mean.reshape(truth.shape)[:, 32:]
    plain = replace(x, drug_x={"fingerprint": x.drug_x["fingerprint"]})
    without = type(model)().fit(plain.take_pairs(old), y[x.sample_index, x.drug_index][old])
    blind = without.predict(plain.grid()).mean.reshape(truth.shape)[:, 32:]
    error, blind_error = ((found - truth[:, 32:]) ** 2).mean(), ((blind - truth[:, 32:]) ** 2).mean()
    assert error < 0.3 * blind_error
    again = restored(fitted).predict(x.grid()).mean.reshape(truth.shape)[:, 32:]
    np.testing.assert_array_equal(again, found)


def test_a_drug_of_which_nothing_is_known_gets_the_mean_potency_and_each_samples_general_sensitivity():
    x, _, y = with_mechanism(blocks=("mechanism", "targets"))
    old = x.drug_index < 39
    nothing = {
        name: Block(
            np.where(np.arange(40)[:, None] < 39, b.values, 0),
            b.names,
            np.repeat(np.arange(40) == 39, len(b.names)).reshape(40, -1),
        )
        for name, b in x.drug_x.items()
    }
    x = replace(x, drug_x=nothing)
    model = KernelRidge().fit(x.take_pairs(old), y[x.sample_index, x.drug_index][old])
    found = model.predict(x.grid()).mean.reshape(80, 40)[:, 39]
    np.testing.assert_allclose(found, model.potency_mean_ + model.known_general_, rtol=1e-4, atol=1e-4)


def test_an_absent_block_says_nothing_about_likeness():
    x, _, _ = with_mechanism()
    hidden = np.zeros((40, 4), dtype=bool)
    hidden[3] = True
    block = x.drug_x["mechanism"]
    x = replace(x, drug_x={"mechanism": Block(np.where(hidden, 0, block.values), block.names, hidden)})
    table = DrugTable.of(x)
    like = table.kernel(table, PROFILE_WEIGHTS)
    assert not like[3].any()
    assert like[0, 4] == pytest.approx(1)


def test_a_model_saved_before_says_so():
    x, _, y = with_mechanism()
    model = KernelRidge().fit(x, y[x.sample_index, x.drug_index])
    del model.potency_dual_
    strange = replace(x, drug_ids=np.char.add("new ", x.drug_ids))
    with pytest.raises(ModelFileError, match="fit it again"):
        model.predict(strange)
