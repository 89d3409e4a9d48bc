"""Kernels over several blocks: inner products of features, positive definite, averaged over what a sample has."""

from dataclasses import replace

import numpy as np
import pytest

from halfmax.features.blocks import Block
from halfmax.models.kernel import KernelRidge
from halfmax.models.profile import Profile
from halfmax.models.ridge import choose_weights
from tests.models.planted import features, linear_response, relabelled, restored


def with_proteins(x, *, absent=None, noise=0.1, follow=True, seed=0):
    """Return the tables with a block that repeats the first five genes, or only noise, masked where absent."""
    rng = np.random.default_rng(seed)
    genes = x.sample("expression")[:, :5]
    values = (genes if follow else 0) + noise * rng.normal(size=genes.shape)
    mask = None
    if absent is not None:
        values[absent] = 0
        mask = np.repeat(absent[:, None], 5, axis=1)
    block = Block(values.astype(np.float32), tuple(f"P{i}" for i in range(5)), mask)
    return replace(x, sample_x=dict(x.sample_x) | {"proteomics": block}, modalities=("expression", "proteomics"))


X = features()
Y = linear_response(X)
ABSENT = np.arange(60) % 3 == 0


def kernel_of(profile, weights):
    profile = replace(profile, weights=weights)
    values = profile.centred(*profile.scale())
    values = profile.balanced(values, profile.power(values))
    return values @ values.T


def test_the_kernel_is_the_average_over_blocks_that_both_samples_have():
    x = with_proteins(X, absent=ABSENT)
    gram = kernel_of(Profile.of(x, None), (0.7, 0.3))
    genes, proteins = x.sample("expression"), x.sample("proteomics")
    genes = genes - genes.mean(axis=0)
    proteins = np.where(ABSENT[:, None], 0, proteins - proteins[~ABSENT].mean(axis=0))
    one = genes @ genes.T / (genes**2).sum(axis=1).mean()
    two = proteins @ proteins.T / (proteins[~ABSENT] ** 2).sum(axis=1).mean()
    carried = np.where(ABSENT, 0.7, 1.0)
    assert gram == pytest.approx((0.7 * one + 0.3 * two) / np.sqrt(np.outer(carried, carried)), abs=1e-4)
    assert np.linalg.eigvalsh(gram.astype(float)).min() > -1e-4


def test_learned_scale_is_that_of_the_samples_that_have_the_block():
    x = with_proteins(X, absent=ABSENT)
    only = Block(x.sample("proteomics")[~ABSENT], x.sample_x["proteomics"].names)
    centre, gain = Profile.of(x, {"proteomics": 1.0}).scale()
    rest = Profile(only.values, (5,), (1.0,)).scale()
    assert np.array_equal(centre, rest[0])
    assert np.array_equal(gain, rest[1])


def test_weights_find_the_block_that_matters():
    x = with_proteins(X, follow=True)
    noise = with_proteins(X, follow=False, noise=1.0)
    assert KernelRidge().fit(x, Y).block_weight_[1] > 0.4
    assert KernelRidge().fit(noise, Y).block_weight_[1] < 0.1
    assert KernelRidge(blocks={"expression": 1.0}).fit(noise, Y).block_weight_.tolist() == [1.0]


def test_weights_of_kernels_sum_to_one_and_follow_the_responses():
    rng = np.random.default_rng(0)
    useful, useless = rng.normal(size=(80, 6)), rng.normal(size=(80, 6))
    residual = useful @ rng.normal(size=(6, 4)) + 0.1 * rng.normal(size=(80, 4))
    grams = [(z @ z.T / 6).astype(np.float32) for z in (useless, useful)]
    weights = choose_weights(lambda w: sum(a * g for a, g in zip(w, grams, strict=True)), 2, residual)
    assert weights.sum() == pytest.approx(1)
    assert weights[1] > 0.9


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
@pytest.mark.parametrize("variance", [False, True])
def test_samples_without_a_block_are_learned_from_and_answered(kernel, variance):
    x = with_proteins(X, absent=ABSENT)
    model = KernelRidge(kernel, return_variance=variance).fit(x, Y)
    told = model.predict(x)
    error = np.sqrt(np.mean((told.mean - Y) ** 2))
    assert error < 0.8 * Y.std()
    assert np.array_equal(restored(model).predict(x).mean, told.mean)
    moved, y, order = relabelled(x, Y)
    np.testing.assert_allclose(KernelRidge(kernel).fit(moved, y).predict(moved).mean,
                               KernelRidge(kernel).fit(x, Y).predict(x).mean[order], atol=2e-2)  # fmt: skip


def test_values_under_the_mask_mean_nothing():
    x = with_proteins(X, absent=ABSENT)
    block = x.sample_x["proteomics"]
    other = replace(block, values=np.where(ABSENT[:, None], np.float32(77), block.values))
    spoiled = replace(x, sample_x=dict(x.sample_x) | {"proteomics": other})
    for model in (KernelRidge(), KernelRidge("rbf")):
        one = model.fit(x, Y).predict(x).mean
        assert np.array_equal(one, KernelRidge(model.kernel).fit(spoiled, Y).predict(spoiled).mean)


def test_a_sample_without_any_block_gets_each_drugs_mean():
    x = with_proteins(X)
    model = KernelRidge().fit(x, Y)
    bare = replace(x, sample_x={k: replace(b, mask=np.ones(b.values.shape, bool)) for k, b in x.sample_x.items()})
    grid = model.predict(bare.grid()).mean.reshape(60, 8)
    assert grid == pytest.approx(np.broadcast_to(model.drug_effect_, (60, 8)), abs=1e-5)
