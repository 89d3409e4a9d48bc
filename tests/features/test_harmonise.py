"""Harmonisation: planted platforms are undone, one sample stays itself, what a method needs it demands."""

from __future__ import annotations

import numpy as np
import pytest

from halfmax.errors import DataError, ModelFileError, NotFittedError, UnknownNameError
from halfmax.features.harmonise.base import HARMONISERS
from halfmax.features.harmonise.celligner import contrastive_components, mutual_neighbours
from halfmax.features.harmonise.choose import choose, harmonise
from halfmax.features.harmonise.reference import ScaleReference
from tests.features.platforms import GENES, N_GENES, N_NEW, WORLD, block, frame, nearest_kind

ONE_SAMPLE = ("rank", "zscore")
COHORT = ("cohort", "cohort_quantile", "combat", "celligner")


@pytest.mark.parametrize("name", HARMONISERS.names())
def test_learning_from_training_samples_is_learning_from_their_scale(name: str) -> None:
    left = HARMONISERS.get(name)().fit(block(WORLD.train)).transform(block(WORLD.new))
    np.testing.assert_array_equal(left.values, WORLD.step(name).transform(block(WORLD.new)).values)
    assert left.names == GENES
    assert left.values.dtype == np.float32


@pytest.mark.parametrize("name", HARMONISERS.names())
def test_saved_state_gives_the_same_bits(name: str) -> None:
    step = WORLD.step(name)
    again = HARMONISERS.get(name)(**step.get_params()).set_state(step.get_state())
    left, right = (s.transform(block(WORLD.new)).values for s in (step, again))
    np.testing.assert_array_equal(left, right)
    with pytest.raises(NotFittedError):
        HARMONISERS.get(name)().transform(block(WORLD.new))


@pytest.mark.parametrize("name", HARMONISERS.names())
def test_order_of_genes_and_foreign_genes_mean_nothing(name: str) -> None:
    order = np.random.default_rng(1).permutation(N_GENES)
    more = np.hstack([WORLD.new[:, order], np.full((N_NEW, 1), 9.0)])
    given = block(more, (*(GENES[i] for i in order), "FOREIGN"))
    before = given.values.copy()
    result = WORLD.step(name).transform(given)
    np.testing.assert_array_equal(result.values, WORLD.step(name).transform(block(WORLD.new)).values)
    np.testing.assert_array_equal(given.values, before)


@pytest.mark.parametrize("name", HARMONISERS.names())
def test_a_method_is_transductive_exactly_if_company_changes_a_sample(name: str) -> None:
    step = WORLD.step(name)
    assert step.transductive == (name in COHORT)
    some = max(step.least, 30)
    whole, part = step.transform(block(WORLD.new)).values[:some], step.transform(block(WORLD.new[:some])).values
    assert np.array_equal(whole, part) != step.transductive


@pytest.mark.parametrize("name", HARMONISERS.names())
def test_fewer_samples_than_needed_are_refused(name: str) -> None:
    step = WORLD.step(name)
    assert step.needs == ("one sample" if name in ONE_SAMPLE else f"a cohort of at least {step.least} samples")
    assert np.isfinite(step.transform(block(WORLD.new[: step.least])).values).all()
    if step.least > 1:
        with pytest.raises(DataError, match=f"needs a cohort of at least {step.least} samples, and {step.least - 1}"):
            step.transform(block(WORLD.new[: step.least - 1]))
        mostly_empty = WORLD.new[: step.least].copy()
        mostly_empty[0] = np.nan
        with pytest.raises(DataError, match=f"only {step.least - 1} have any value"):
            step.transform(block(mostly_empty))


@pytest.mark.parametrize("name", HARMONISERS.names())
def test_missing_values_stay_missing_and_move_others_little(name: str) -> None:
    holes = np.random.default_rng(2).random(WORLD.new.shape) < 0.05
    holes[:, :10] = True  # genes that no new sample has
    given = np.where(holes, np.nan, WORLD.new)
    result, whole = (WORLD.step(name).transform(block(v)).values for v in (given, WORLD.new))
    np.testing.assert_array_equal(np.isnan(result), holes)
    assert np.corrcoef(result[~holes], whole[~holes])[0, 1] > 0.97


@pytest.mark.parametrize("name", HARMONISERS.names())
def test_genes_unknown_or_constant_in_training_make_no_numbers_up(name: str) -> None:
    train = WORLD.train.copy()
    train[:, 0], train[:, 1] = np.nan, 5.0
    step = HARMONISERS.get(name)().fit(block(train))
    values = step.transform(block(WORLD.new)).values
    assert np.isnan(values[:, 0]).all()
    assert np.isfinite(values[:, 1:]).all()
    assert (values[:, 1] == 5.0).all()


def test_rank_undoes_whatever_is_monotone_over_a_sample() -> None:
    step = WORLD.step("rank")
    plain = step.transform(block(WORLD.truth)).values
    for changed in (np.exp2(WORLD.truth), WORLD.truth * 3 - 100, WORLD.truth**3):
        same = np.isclose(step.transform(block(changed)).values, plain, atol=1e-3)
        assert same.mean() > 0.999  # float32 makes a few ties
    assert np.abs(plain - WORLD.truth).mean() < 0.15


def test_a_gene_that_training_hardly_sees_cannot_outweigh_the_others() -> None:
    train = WORLD.train.copy()
    train[:, 7] = 2 + 0.01 * (train[:, 7] - train[:, 7].mean())  # the new platform measures it well
    reference = ScaleReference().fit(block(train))
    result, findings = harmonise(frame(WORLD.truth), reference, "rank")
    (found,) = (f for f in findings if f.code == "limited")
    assert found.examples[0] == "G7"
    assert found.count >= N_NEW - 5
    far = np.abs(result.to_numpy() - reference.mean_) / reference.sd_
    assert far.max() == pytest.approx(5, abs=1e-2)
    free = HARMONISERS.get("rank")(limit=None).fit_reference(reference).transform(block(WORLD.truth)).values
    assert (np.abs(free - reference.mean_) / reference.sd_).max() > 50


def test_a_panel_is_ranked_against_its_own_genes() -> None:
    high = np.argsort(-WORLD.reference.mean_)[:60]  # the 60 highest genes: the whole genome's range would be wrong
    panel = np.full(WORLD.truth.shape, np.nan, dtype=np.float32)
    panel[:, high] = np.exp2(WORLD.truth[:, high])
    result = WORLD.step("rank").transform(block(panel)).values[:, high]
    assert np.abs(result - WORLD.truth[:, high]).mean() < 0.25
    assert abs(result.mean() - WORLD.truth[:, high].mean()) < 0.1


@pytest.mark.parametrize(("name", "error"), [("cohort", 0.25), ("cohort_quantile", 0.35), ("combat", 0.4)])
def test_a_platforms_gain_and_offset_of_each_gene_are_undone(name: str, error: float) -> None:
    result = WORLD.step(name).transform(block(WORLD.new)).values
    assert np.abs(WORLD.new - WORLD.truth).mean() > 2
    assert np.abs(result - WORLD.truth).mean() < error


def test_cohort_gives_training_mean_and_sd_and_a_constant_gene_the_mean() -> None:
    given = WORLD.new.copy()
    given[:, 3] = 4.0
    values = WORLD.step("cohort").transform(block(given)).values
    np.testing.assert_allclose(values.mean(axis=0), WORLD.reference.mean_, atol=1e-3)
    np.testing.assert_allclose(np.delete(values.std(axis=0), 3), np.delete(WORLD.reference.sd_, 3), rtol=1e-3)
    np.testing.assert_array_equal(values[:, 3], WORLD.reference.mean_[3])


def test_cohort_quantile_survives_heavy_tails_that_the_mean_does_not() -> None:
    heavy = np.sinh(WORLD.truth / 4)
    heavy[np.arange(N_GENES) % N_NEW, np.arange(N_GENES)] += 30_000  # one outlier a gene, as in published z-scores
    by = {name: WORLD.step(name).transform(block(heavy)).values for name in ("cohort", "cohort_quantile")}
    error = {name: np.median(np.abs(v - WORLD.truth)) for name, v in by.items()}
    assert error["cohort_quantile"] < 0.3 < error["cohort"]


def test_gene_zscores_get_training_mean_and_sd() -> None:
    z = (WORLD.truth - WORLD.truth.mean(axis=0)) / WORLD.truth.std(axis=0)
    values = WORLD.step("zscore").transform(block(z[:1])).values
    np.testing.assert_allclose(values, z[:1] * WORLD.reference.sd_ + WORLD.reference.mean_, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("n_genes", [60, 500])
def test_the_planted_contrast_is_found(n_genes: int) -> None:
    rng = np.random.default_rng(4)
    shared, own = np.linalg.qr(rng.normal(size=(n_genes, 2)))[0].T
    left = rng.normal(size=(90, 1)) * 9 * shared + rng.normal(size=(90, 1)) * 6 * own + rng.normal(size=(90, n_genes))
    right = rng.normal(size=(150, 1)) * 9 * shared + rng.normal(size=(150, n_genes))
    left, right = left - left.mean(axis=0), right - right.mean(axis=0)
    found = contrastive_components(left, right, 2)
    np.testing.assert_allclose(found.T @ found, np.eye(2), atol=1e-6)
    assert abs(found[:, 0] @ own) > 0.9
    assert abs(found[:, 0] @ shared) < 0.5
    exact = np.linalg.eigh(left.T @ left / 89 - right.T @ right / 149)[1][:, -2:]
    np.testing.assert_allclose(found @ found.T, exact @ exact.T, atol=1e-4)


def test_mutual_neighbours_are_those_of_the_definition() -> None:
    rng = np.random.default_rng(5)
    left, right = rng.normal(size=(30, 5)), rng.normal(size=(40, 5))
    left, right = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (left, right))
    cosine = left @ right.T
    wanted = {
        (i, j)
        for i in range(30)
        for j in range(40)
        if (cosine[i] > cosine[i, j]).sum() < 3 and (cosine[:, j] > cosine[i, j]).sum() < 4
    }
    assert set(zip(*(x.tolist() for x in mutual_neighbours(left, right, 3, 4)), strict=True)) == wanted
    assert wanted


def test_celligner_takes_out_what_only_tumours_vary_in() -> None:
    rng = np.random.default_rng(6)
    foreign = np.outer(rng.gamma(1, 1, N_NEW), rng.normal(0, 8, N_GENES))  # cells that no cell line holds
    given = (WORLD.new + foreign * WORLD.gain).astype(np.float32)
    by = {name: WORLD.step(name).transform(block(given)).values for name in ("cohort", "celligner")}
    error = {name: np.abs(values - WORLD.truth).mean() for name, values in by.items()}
    assert error["celligner"] < 0.6 * error["cohort"]
    assert nearest_kind(by["celligner"]) > 0.95


def test_celligner_needs_profiles_and_partners() -> None:
    with pytest.raises(DataError, match="keep_profiles=True"):
        HARMONISERS.get("celligner")().fit_reference(ScaleReference().fit(block(WORLD.train)))
    with pytest.raises(DataError, match="more genes than the 5 that vary in both"):
        HARMONISERS.get("celligner")().fit(block(WORLD.train[:, :5], GENES[:5])).transform(block(WORLD.new))


AUTO = {
    "none": (WORLD.truth, None),
    "rank": (np.exp2(WORLD.truth), "fpkm"),
    "cohort": (WORLD.truth[:50] + np.random.default_rng(7).normal(0, 1, N_GENES), None),
    "zscore": ((WORLD.truth - WORLD.truth.mean(axis=0)) / WORLD.truth.std(axis=0), None),
}


@pytest.mark.parametrize("method", AUTO)
def test_auto_takes_what_suits_and_says_why(method: str) -> None:
    values, unit = AUTO[method]
    result, findings = harmonise(frame(values), WORLD.reference, unit=unit)
    first = findings[0]
    assert first.code == ("not-harmonised" if method == "none" else "harmonised")
    assert first.examples == (() if method == "none" else (method,))
    if method != "zscore":
        assert "gene means lie" in first.message
        assert np.abs(result.to_numpy() - WORLD.truth[: len(values)]).mean() < 0.3
    assert ("transductive" in {f.code for f in findings}) == (method == "cohort")


def test_auto_never_calls_few_samples_or_foreign_ones_a_cohort() -> None:
    mild, strange = AUTO["cohort"][0], WORLD.new + np.random.default_rng(7).normal(0, 9, N_GENES)
    for n, method in ((1, "rank"), (9, "rank"), (10, "cohort")):
        assert choose(block(mild[:n]), WORLD.reference).method == method
    chosen = choose(block(strange), WORLD.reference)
    assert (chosen.method, chosen.distance.n_samples) == ("rank", N_NEW)
    assert "unlike the training samples in kind" in chosen.reason
    assert choose(block(np.asarray(mild, dtype=np.float32)), WORLD.reference, "tpm").method == "cohort_quantile"
    z = np.random.default_rng(8).normal(size=(400, N_GENES))
    z[0] = 1e4  # as in published z-scores
    assert choose(block(z), WORLD.reference, "zscore_gene").method == "cohort_quantile"
    assert choose(block(z[1:]), WORLD.reference, "zscore_gene").method == "zscore"


def test_a_cohort_of_one_kind_is_warned_about() -> None:
    alike = WORLD.new[WORLD.kind_new == 3]
    alike = np.vstack([alike, alike + np.float32(0.01)])
    _, findings = harmonise(frame(alike), WORLD.reference, "cohort")
    assert "narrow-cohort" in {f.code for f in findings}
    _, findings = harmonise(frame(WORLD.truth + 2), WORLD.reference, "cohort")
    assert "narrow-cohort" not in {f.code for f in findings}


@pytest.mark.parametrize(
    ("change", "options", "error", "message"),
    [
        (lambda f: f.iloc[:0], {}, DataError, "0 rows"),
        (lambda f: f.rename(columns={"G1": "G0"}), {}, DataError, "1 genes occur more than once"),
        (lambda f: f.replace(f.iloc[0, 0], np.inf), {}, DataError, "1 values are infinite"),
        (lambda f: f.add_prefix("X"), {"method": "rank"}, DataError, "no new sample has a value"),
        (lambda f: f.add_prefix("X"), {}, DataError, "no new sample has a value"),
        (lambda f: f, {"method": "rank", "unit": "zscore_gene"}, DataError, "order of a sample's genes says nothing"),
        (lambda f: f, {"method": "combat", "unit": "tpm"}, DataError, "convert them with to_log first"),
        (lambda f: f, {"method": "combta"}, UnknownNameError, "Did you mean 'combat'"),
        (lambda f: f, {"unit": "furlong"}, UnknownNameError, "no expression unit"),
    ],
)
def test_what_cannot_be_harmonised_is_refused(change, options: dict, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        harmonise(change(frame(WORLD.new)), WORLD.reference, **options)


def test_missing_genes_are_counted() -> None:
    result, findings = harmonise(frame(WORLD.new[:, 30:], GENES[30:]), WORLD.reference, "rank")
    (found,) = (f for f in findings if f.code == "missing-genes")
    assert (found.count, found.examples[0]) == (30, "G0")
    assert list(result.columns) == list(GENES)


def test_a_scale_that_does_not_fit_together_is_refused() -> None:
    arrays = WORLD.reference.get_arrays()
    with pytest.raises(ModelFileError, match="not that of 299 genes"):
        ScaleReference.of(GENES[:-1], arrays)
    with pytest.raises(ModelFileError, match="the training scale holds"):
        ScaleReference.of(GENES, {k: v for k, v in arrays.items() if k != "sd_"})
    with pytest.raises(DataError, match="1 training samples have values"):
        ScaleReference().fit(block(WORLD.train[:1]))
