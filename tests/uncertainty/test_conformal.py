"""Intervals hold what they promise on new samples and drugs, by drug, and agree with an independent implementation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from halfmax.errors import DataError, ModelFileError
from halfmax.uncertainty.conformal import Intervals, covered, learn_intervals

DRUGS = [f"D{j:02d}" for j in range(12)]
#: Spread of the errors of each drug; the last is thirty times the first.
SPREAD = np.geomspace(0.1, 3.0, len(DRUGS))


def errors(n: int, *, seed: int = 0, skew: bool = False) -> pd.DataFrame:
    """Predictions of n samples in every drug whose errors have a known spread by drug."""
    rng = np.random.default_rng(seed)
    noise = rng.exponential(size=(n, len(DRUGS))) - 1 if skew else rng.normal(size=(n, len(DRUGS)))
    predicted = rng.normal(size=(n, len(DRUGS)))
    return pd.DataFrame(
        {
            "sample_id": np.repeat([f"S{seed}-{i:04d}" for i in range(n)], len(DRUGS)),
            "drug_id": np.tile(DRUGS, n),
            "y_true": (predicted + noise * SPREAD).ravel(),
            "y_pred": predicted.ravel(),
            "fold": np.repeat([str(i % 5) for i in range(n)], len(DRUGS)),
        }
    )


def inside(found: Intervals, test: pd.DataFrame, level: float = 0.9) -> pd.Series:
    low, high = found.low_high(test["drug_id"].to_numpy(dtype=str), test["y_pred"].to_numpy(), level=level)
    return (test["y_true"] >= low) & (test["y_true"] <= high)


@pytest.mark.parametrize("skew", [False, True])
@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95])
def test_new_samples_are_covered_overall_and_in_every_drug(level: float, skew: bool) -> None:
    held = inside(learn_intervals(errors(600, skew=skew), "sample"), test := errors(3000, seed=1, skew=skew), level)
    assert held.mean() == pytest.approx(level, abs=0.02)
    by_drug = held.groupby(test["drug_id"]).mean()
    assert (by_drug - level).abs().max() < 0.05


def test_a_drugs_width_follows_its_own_errors() -> None:
    found = learn_intervals(errors(600), "sample")
    low, high = found.low_high(np.array(DRUGS), np.zeros(len(DRUGS)))
    assert (high - low) == pytest.approx(2 * 1.645 * SPREAD, rel=0.12)


def test_a_drug_with_few_samples_leans_on_the_others_and_an_unknown_one_on_all() -> None:
    many = errors(400)
    few = many[(many["drug_id"] != "D05") | many["sample_id"].isin(many["sample_id"].unique()[:4])]
    held = inside(learn_intervals(few, "sample"), test := errors(3000, seed=1))
    assert held[test["drug_id"] == "D05"].mean() > 0.8
    low, high = learn_intervals(many, "sample").low_high(np.array(["new"]), np.zeros(1))
    assert np.isfinite([low, high]).all()
    assert (low < 0).all()
    assert (high > 0).all()


def test_few_samples_make_wider_intervals_on_average() -> None:
    """The finite-sample correction: 24 samples still hold 90 % on average over many draws."""
    test = errors(400, seed=10_000)
    held = [inside(learn_intervals(errors(24, seed=s), "sample"), test).mean() for s in range(40)]
    assert np.mean(held) >= 0.895


def test_left_out_drugs_count_one_each_however_often_they_were_measured() -> None:
    rng = np.random.default_rng(0)

    def drugs(n: int, name: str) -> pd.DataFrame:
        # half of the drugs have one sample and errors around 0, half have fifty and errors around 3
        size = np.where(np.arange(n) % 2 == 0, 1, 50)
        drug = np.repeat([f"{name}{j}" for j in range(n)], size)
        error = np.repeat(np.where(size == 1, 0.0, 3.0), size) + rng.normal(size=size.sum())
        return pd.DataFrame({"sample_id": "S", "drug_id": drug, "y_true": error, "y_pred": 0.0}).assign(
            sample_id=[f"S{i}" for i in range(size.sum())]
        )

    held = inside(learn_intervals(drugs(400, "A"), "drug"), test := drugs(2000, "B"))
    assert held.groupby(test["drug_id"]).mean().mean() == pytest.approx(0.9, abs=0.02)


def test_samples_like_those_with_large_errors_get_wider_intervals() -> None:
    table = errors(400)
    bad = table["sample_id"].isin(sorted(table["sample_id"].unique())[:200])
    table.loc[bad, "y_true"] = table["y_pred"] + 3 * (table["y_true"] - table["y_pred"])
    ids = sorted(table["sample_id"].unique())
    alike = np.kron(np.eye(2), np.ones((200, 200)))
    found = learn_intervals(table, "sample", pd.DataFrame(alike, index=ids, columns=ids))
    factor = found.local(np.kron(np.eye(2), np.ones((1, 200))))
    assert factor[0] / factor[1] == pytest.approx(3, rel=0.25)
    assert found.local(np.zeros((1, 400))) == pytest.approx([1.0])
    plain = learn_intervals(table, "sample")
    test = errors(1000, seed=1)
    value, drug = test["y_pred"].to_numpy(), test["drug_id"].to_numpy(dtype=str)
    low, high = found.low_high(drug, value, factor[1])
    narrow = ((test["y_true"] >= low) & (test["y_true"] <= high)).mean()
    assert narrow == pytest.approx(0.9, abs=0.05)
    assert inside(plain, test).mean() > 0.97  # what one width for all would have held of them


def test_the_order_of_the_pairs_means_nothing() -> None:
    table = errors(50)
    one, other = learn_intervals(table, "sample"), learn_intervals(table.sample(frac=1, random_state=0), "sample")
    for name, array in one.arrays().items():
        np.testing.assert_allclose(array, other.arrays()[name], rtol=1e-9, atol=1e-12)


def test_what_a_cross_validation_says_of_its_own_intervals() -> None:
    found = covered(errors(500), "sample")
    assert found["coverage"] == pytest.approx(0.9, abs=0.02)
    assert found["drugs_at_least_85"] == 1.0
    assert covered(errors(21), "sample") == {}


def test_too_few_samples_nan_and_impossible_levels_are_refused() -> None:
    with pytest.raises(DataError, match="12 samples were left out"):
        learn_intervals(errors(12), "sample")
    broken = errors(30)
    broken.loc[3, "y_pred"] = np.nan
    with pytest.raises(DataError, match="1 of 360 predictions"):
        learn_intervals(broken, "sample")
    with pytest.raises(DataError, match="level of an interval is 1"):
        learn_intervals(errors(30), "sample").low_high(np.array(["D00"]), np.zeros(1), level=1)


def test_parts_that_do_not_fit_together_are_refused() -> None:
    found = learn_intervals(errors(30), "sample")
    arrays = {k: v for k, v in found.arrays().items() if k != "scale"}
    with pytest.raises(ModelFileError, match="scale"):
        Intervals.of("sample", found.drug_ids.tolist(), found.sample_ids.tolist(), arrays)


def test_it_agrees_with_crepes_on_each_drugs_own_quantiles() -> None:
    """Mondrian conformal regressor of the package crepes, one category a drug, as an independent check."""
    crepes = pytest.importorskip("crepes")
    train, test = errors(1000), errors(300, seed=1)
    code = {d: j for j, d in enumerate(DRUGS)}
    theirs = crepes.ConformalRegressor()
    theirs.fit(residuals=(train["y_true"] - train["y_pred"]).to_numpy(), bins=train["drug_id"].map(code).to_numpy())
    ends = theirs.predict_int(
        y_hat=test["y_pred"].to_numpy(), bins=test["drug_id"].map(code).to_numpy(), confidence=0.9
    )
    low, high = learn_intervals(train, "sample").low_high(
        test["drug_id"].to_numpy(dtype=str), test["y_pred"].to_numpy(), level=0.9
    )
    np.testing.assert_allclose((high - low) / (ends[:, 1] - ends[:, 0]), 1, atol=0.12)
