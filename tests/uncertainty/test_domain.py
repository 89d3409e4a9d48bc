"""The domain passes samples like those of training, flags what is not, and knows tissues, neighbours and coverage."""

from __future__ import annotations

import numpy as np
import pytest

from halfmax.errors import DataError, ModelFileError
from halfmax.uncertainty.domain import Domain

N_GENES, N_TISSUES = 200, 4
_RNG = np.random.default_rng(5)
LOADINGS = _RNG.normal(size=(12, N_GENES))
CENTRES = 2.5 * _RNG.normal(size=(N_TISSUES, 12))


def profiles(n: int, seed: int) -> tuple[np.ndarray, list[str]]:
    """Profiles of four tissues from twelve factors and noise."""
    rng = np.random.default_rng(seed)
    tissue = np.arange(n) % N_TISSUES
    factors = CENTRES[tissue] + rng.normal(size=(n, 12))
    values = factors @ LOADINGS + rng.normal(size=(n, N_GENES))
    return values.astype(np.float32), [f"tissue{t}" for t in tissue]


def fitted(n: int = 300) -> Domain:
    values, tissues = profiles(n, 0)
    responses = values[:, :5] + np.random.default_rng(1).normal(size=(n, 5))
    responses[::7, 2] = np.nan
    names, ids = [f"G{i}" for i in range(N_GENES)], [f"S{i}" for i in range(n)]
    return Domain(n_components=20).fit(
        values, names, responses - np.nanmean(responses, axis=0), sample_ids=ids, tissues=tissues
    )


DOMAIN = fitted()


def outside(values: np.ndarray) -> float:
    return float((DOMAIN.judge(values.astype(np.float32))["domain"] == "outside").mean())


def test_new_samples_of_the_same_kind_pass() -> None:
    found = DOMAIN.judge(profiles(400, 9)[0])
    assert (found["domain"] != "outside").mean() >= 0.95
    assert found["domain_percentile"].mean() == pytest.approx(50, abs=8)


@pytest.mark.parametrize(
    "change",
    [
        lambda x: np.random.default_rng(2).permuted(x, axis=1),
        lambda x: x + np.random.default_rng(2).normal(size=x.shape[1]) * x.std(axis=0),
        lambda x: 3 * x,
        lambda x: np.exp2(x),
        lambda x: x[:, ::-1],
    ],
    ids=["scrambled", "another platform", "another scale", "no logarithm", "genes in reverse"],
)
def test_samples_of_another_kind_are_flagged(change) -> None:
    assert outside(change(profiles(200, 9)[0])) >= 0.95


def test_left_out_distances_are_those_of_new_samples() -> None:
    """Training samples are compared as new ones: half of the new samples lie beyond the training median."""
    new = DOMAIN.judge(profiles(400, 9)[0])["domain_distance"]
    assert new.median() == pytest.approx(np.median(DOMAIN.left_out_), abs=0.35)


def test_tissues_are_guessed_with_probabilities_that_hold() -> None:
    values, tissues = profiles(400, 9)
    found = DOMAIN.judge(values)
    right = found["tissue_guess"].to_numpy() == np.array(tissues)
    assert right.mean() > 0.95
    assert found["tissue_probability"].mean() == pytest.approx(right.mean(), abs=0.05)


def test_a_training_sample_is_nearest_to_itself_and_a_far_one_weighs_nothing() -> None:
    values, _ = profiles(300, 0)
    ids, far = DOMAIN.nearest(values[:10], 3)
    assert ids[:, 0].tolist() == [f"S{i}" for i in range(10)]
    assert (np.diff(far, axis=1) >= 0).all()
    weights = DOMAIN.weights(values[:10], np.array(["S0", "S5", "stranger"]))
    assert weights[0, 0] == pytest.approx(1, abs=1e-3)
    assert (weights[:, 2] == 0).all()
    assert DOMAIN.weights_within(np.array(["S0", "S5", "stranger"])).shape == (2, 2)


def test_genes_that_carry_the_responses_count_for_more_in_coverage() -> None:
    carries = np.zeros(N_GENES, dtype=bool)
    carries[:5] = True
    assert DOMAIN.coverage(carries) > 3 * 5 / N_GENES
    assert DOMAIN.coverage(np.ones(N_GENES, dtype=bool)) == pytest.approx(1, abs=1e-5)


def test_a_sample_without_a_profile_is_unknown() -> None:
    values, _ = profiles(4, 9)
    found = DOMAIN.judge(values, np.array([False, True, False, False]))
    assert found["domain"].tolist()[1] == "unknown"
    assert np.isnan(found["domain_percentile"][1])
    assert found["tissue_guess"][1] == ""


def test_parts_are_put_together_again_bit_for_bit() -> None:
    again = Domain.of(DOMAIN.get_arrays(), DOMAIN.texts())
    values, _ = profiles(50, 9)
    assert again.judge(values).equals(DOMAIN.judge(values))
    arrays = DOMAIN.get_arrays()
    arrays["spread_"] = arrays["spread_"][:-1]
    with pytest.raises(ModelFileError, match="components_"):
        Domain.of(arrays, DOMAIN.texts())
    del arrays["middle_"]
    with pytest.raises(ModelFileError, match="the domain holds"):
        Domain.of(arrays, DOMAIN.texts())


def test_few_samples_one_tissue_and_no_variance() -> None:
    values, _ = profiles(30, 0)
    names, ids = [f"G{i}" for i in range(N_GENES)], [f"S{i}" for i in range(30)]
    one = Domain().fit(values, names, values[:, :3], sample_ids=ids, tissues=["lung"] * 30)
    assert one.judge(values)["tissue_guess"].tolist() == [""] * 30
    flat = Domain().fit(np.ones((30, 4), np.float32), names[:4], values[:, :3], sample_ids=ids)
    assert np.isfinite(flat.judge(np.ones((2, 4), np.float32))["domain_percentile"]).all()
    with pytest.raises(DataError, match="at least four"):
        Domain().fit(values[:3], names, values[:3, :3], sample_ids=ids[:3])
