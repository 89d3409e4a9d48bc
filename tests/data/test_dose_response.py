"""Dose response: planted curves come back, others agree on the answer, and odd curves get flags instead of nonsense."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import curve_fit

from halfmax.data.dose_response import CurveFits, Limits, fit_curves, plot_curve, shared_auc
from halfmax.data.dose_response.sigmoid import mean_viability, viability
from halfmax.data.findings import Findings
from halfmax.errors import DataError, UnknownNameError

DOSES = 10 / np.sqrt(10) ** np.arange(9)
LN_DOSES = np.log(DOSES)


def planted(n: int = 200, seed: int = 0, *, four: bool = False) -> np.ndarray:
    """Return parameters of curves whose midpoints lie within the doses."""
    rng = np.random.default_rng(seed)
    top, bottom = (rng.uniform(0.9, 1.1, n), rng.uniform(0.0, 0.35, n)) if four else (np.ones(n), np.zeros(n))
    midpoint = rng.uniform(LN_DOSES.min() + 2, LN_DOSES.max() - 2, n)
    return np.stack([midpoint, rng.uniform(np.log(0.6), np.log(3), n), top, bottom], axis=1)


def wells_of(params: np.ndarray, *, doses: np.ndarray = DOSES, noise: float = 0.0, seed: int = 1) -> pd.DataFrame:
    """Return the wells of one sample a curve."""
    x = np.broadcast_to(np.log(doses), (len(params), len(doses)))
    y = viability(params, x) + noise * np.random.default_rng(seed).normal(size=x.shape)
    sample = np.repeat([f"S{i:04d}" for i in range(len(params))], len(doses))
    return pd.DataFrame({"sample_id": sample, "drug_id": "D", "dose": np.exp(x).ravel(), "viability": y.ravel()})


def one(viabilities: list[float], *, doses: np.ndarray | None = None, **options: object) -> CurveFits:
    """Return the fit of one curve with these viabilities at falling doses."""
    doses = DOSES[: len(viabilities)] if doses is None else doses
    wells = pd.DataFrame({"sample_id": "S", "drug_id": "D", "dose": doses, "viability": viabilities})
    return fit_curves(wells, **options)


@pytest.mark.parametrize("model", ["sigmoid", "loglogistic4"])
@pytest.mark.parametrize("robust", [False, True])
def test_planted_curves_come_back(model: str, robust: bool) -> None:
    truth = planted(four=model == "loglogistic4")
    fits = fit_curves(wells_of(truth), model, robust=robust)
    np.testing.assert_allclose(fits.params, truth, atol=2e-3)
    above, below = truth[:, 2] - 0.5, 0.5 - truth[:, 3]
    ic50 = truth[:, 0] + np.log(above / below) / np.exp(truth[:, 1])
    np.testing.assert_allclose(fits.table["ln_ic50"], ic50, atol=2e-3)
    np.testing.assert_allclose(fits.table["r2"], 1, atol=1e-4)
    assert not fits.flags[["not_converged", "outliers", "noisy", "rising"]].any(axis=None)


@pytest.mark.parametrize(("model", "robust"), [("sigmoid", False), ("loglogistic4", False), ("sigmoid", True)])
def test_the_stated_error_is_the_true_one(model: str, robust: bool) -> None:
    truth = planted(1500, four=model == "loglogistic4")
    wells = pd.concat([wells_of(truth, noise=0.03, seed=seed) for seed in (1, 2, 3)])
    table = fit_curves(wells, model, trim=False, robust=robust).table
    above, below = truth[:, 2] - 0.5, 0.5 - truth[:, 3]
    ic50 = truth[:, 0] + np.log(above / below) / np.exp(truth[:, 1])
    z = (table["ln_ic50"] - ic50) / table["sd_ln_ic50"]
    assert abs(z.median()) < 0.1
    assert (0.7 if robust else 0.9) < (z.quantile(0.84) - z.quantile(0.16)) / 2 < 1.15
    assert table["n_wells"].eq(27).all()
    assert table["n_doses"].eq(9).all()


def test_the_fit_is_as_good_as_scipys() -> None:
    wells = wells_of(planted(40, four=True), noise=0.05)
    limits = Limits()
    fits = fit_curves(wells, "loglogistic4", limits=limits)
    lower, upper = limits.arrays(np.full(1, LN_DOSES.min()), np.full(1, LN_DOSES.max()))

    def curve(x: np.ndarray, *p: float) -> np.ndarray:
        return viability(np.array([p]), x[None])[0]

    for row, (_, group) in enumerate(wells.groupby("sample_id")):
        x, y = np.log(group["dose"].to_numpy()), group["viability"].to_numpy()
        theirs, _ = curve_fit(curve, x, y, [x.mean(), 0.0, 1.0, 0.1], bounds=(lower[0], upper[0]))
        best = np.square(y - curve(x, *theirs)).sum()
        assert fits.table["rmse"][row] ** 2 * len(x) <= best * (1 + 1e-4) + 1e-9


def test_areas_are_exact() -> None:
    params = planted(20, four=True)
    low, high = np.full(20, np.log(0.01)), np.full(20, np.log(3.0))
    for row, area in enumerate(mean_viability(params, low, high)):
        integral, _ = quad(lambda x, r=row: viability(params[[r]], np.array([[x]]))[0, 0], low[0], high[0])
        assert area == pytest.approx(integral / (high[0] - low[0]), abs=1e-9)


@pytest.mark.parametrize("model", ["sigmoid", "loglogistic4", "multilevel"])
def test_the_order_of_wells_means_nothing(model: str) -> None:
    wells = wells_of(planted(30), noise=0.05)
    first = fit_curves(wells, model)
    second = fit_curves(wells.sample(frac=1, random_state=4), model)
    np.testing.assert_array_equal(first.params, second.params)
    pd.testing.assert_frame_equal(first.table, second.table)


def test_a_curve_is_the_same_alone_and_in_a_crowd() -> None:
    wells = wells_of(planted(3000, four=True), noise=0.05)
    crowd = fit_curves(wells, "loglogistic4")
    alone = fit_curves(wells[wells["sample_id"] == "S1234"], "loglogistic4")
    np.testing.assert_allclose(alone.params[0], crowd.params[1234], rtol=1e-9)


def test_nobodys_table_is_changed() -> None:
    wells = wells_of(planted(5), noise=0.3)
    before = wells.copy()
    fit_curves(wells, "multilevel")
    pd.testing.assert_frame_equal(wells, before)


def multilevel_screen(n_samples: int = 150, n_drugs: int = 8) -> tuple[pd.DataFrame, np.ndarray]:
    """Return noisy wells drawn from the multilevel model, and the true midpoints in the order of the keys."""
    rng = np.random.default_rng(5)
    line = rng.normal(0.0, 0.6, n_samples)
    slope = rng.normal(np.log(1.1), 0.3, n_samples)
    shift = rng.normal(0.0, 1.5, (n_samples, n_drugs))
    params = np.tile([0.0, 0.0, 1.0, 0.0], (n_samples * n_drugs, 1))
    params[:, 0] = (line[:, None] + shift).ravel() + LN_DOSES.max() - 0.5
    params[:, 1] = np.repeat(slope, n_drugs)
    wells = wells_of(params, noise=0.08)
    wells["sample_id"] = np.repeat([f"S{i:03d}" for i in range(n_samples)], n_drugs * len(DOSES))
    wells["drug_id"] = np.tile(np.repeat([f"D{j}" for j in range(n_drugs)], len(DOSES)), n_samples)
    return wells, params[:, 0]


def test_the_multilevel_fit_finds_the_planted_spread_and_beats_the_plain_fit() -> None:
    wells, truth = multilevel_screen()
    shrunk, plain = fit_curves(wells, "multilevel", trim=False), fit_curves(wells, "sigmoid", trim=False)
    spread = shrunk.spread
    assert spread["noise"] == pytest.approx(0.08, rel=0.05)
    assert spread["curve_midpoint"] == pytest.approx(1.5, rel=0.1)
    assert spread["sample_midpoint"] == pytest.approx(0.6, rel=0.25)
    assert spread["sample_ln_hill"] == pytest.approx(0.3, rel=0.25)
    assert spread["mean_midpoint"] == pytest.approx(-0.5, abs=0.2)
    assert not shrunk.flags["not_converged"].any()
    error = (shrunk.table["ln_ic50"] - truth).to_numpy()
    rivals = (plain.table["ln_ic50"] - truth).to_numpy()
    both = np.isfinite(rivals)
    assert np.sqrt(np.mean(error[both] ** 2)) < 0.7 * np.sqrt(np.mean(rivals[both] ** 2))
    assert 0.85 < np.std(error / shrunk.table["sd_ln_ic50"]) < 1.15
    assert shrunk.table.groupby("sample_id")["hill"].nunique().eq(1).all()


def flags_of(fits: CurveFits) -> set[str]:
    return {name for name in fits.flags.columns if fits.flags[name].iloc[0]}


FLAT = [0.97, 1.02, 0.99, 1.01, 1.0, 0.98, 1.0, 1.03, 0.99]
FALLING = [0.03, 0.05, 0.12, 0.3, 0.55, 0.8, 0.93, 0.97, 1.0]


@pytest.mark.parametrize("model", ["sigmoid", "loglogistic4", "multilevel"])
@pytest.mark.parametrize(
    ("viabilities", "wanted", "has_ic50"),
    [
        (FLAT, {"flat"}, None),
        ([1.0] * 9, {"flat"}, None),
        ([0.2] * 9, {"flat"}, None),
        (FLAT[::-1], {"flat"}, None),
        ([1.0, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.45, 0.4], {"rising", "flat"}, None),
        (FALLING, set(), True),
        ([0.9, 1.0], {"too_few"}, False),
        ([0.4], {"too_few"}, False),
        ([np.nan] * 9, {"no_data"}, False),
        ([0.1, np.nan, np.nan, 1.0, *[np.nan] * 5], {"too_few"}, False),
        ([0.6, 0.66, 0.8, 0.9, 0.95, 1.0, 1.0, 1.0, 1.0], {"extrapolated"}, None),
        ([0.0, 0.0, 0.02, 0.01, 0.03, 0.05, 0.1, 0.2, 0.35], {"below_range"}, None),
    ],
)
def test_odd_curves_get_flags(model: str, viabilities: list[float], wanted: set[str], has_ic50: bool | None) -> None:
    fits = one(viabilities, model=model)
    row = fits.table.iloc[0]
    if model != "loglogistic4" or wanted not in ({"extrapolated"}, {"below_range"}):  # asymptotes may say otherwise
        assert wanted <= flags_of(fits)
    assert set(filter(None, row["flags"].split(";"))) == flags_of(fits)
    if has_ic50 is not None:
        assert np.isfinite(row["ln_ic50"]) == has_ic50
    if {"too_few", "no_data"} & flags_of(fits):
        assert row[["ln_ic50", "auc", "hill", "rmse", "emax", "top"]].isna().all()
    else:
        assert 0 <= row["auc"] <= 1.2
        assert row["auc"] + row["aac"] == pytest.approx(1)
    if has_ic50:
        assert flags_of(fits) - ({"not_converged"} if model == "multilevel" else set()) == set()
    if model == "multilevel" and not {"too_few", "no_data"} & flags_of(fits):
        assert "few-samples" in {finding.code for finding in fits.findings}


def test_an_ic50_that_the_data_do_not_determine_is_missing() -> None:
    for model in ("sigmoid", "loglogistic4"):
        fits = one([1.0] * 9, model=model)
        assert "no_ic50" in flags_of(fits)
        assert fits.table[["ln_ic50", "sd_ln_ic50"]].isna().all(axis=None)
        assert fits.table["auc"][0] == pytest.approx(1, abs=0.01)
        assert flags_of(one(FLAT, model=model)) & {"no_ic50", "extrapolated"}


def test_a_robust_fit_ignores_an_outlier_and_flags_it() -> None:
    truth = one(FALLING).table["ln_ic50"][0]
    wrong = [*FALLING[:7], 0.15, 1.0]
    plain, robust = one(wrong), one(wrong, robust=True)
    assert abs(plain.table["ln_ic50"][0] - truth) > 0.15
    assert abs(robust.table["ln_ic50"][0] - truth) < 0.05
    assert "outliers" in flags_of(robust)
    assert robust.table["n_outliers"][0] == 1


def test_missing_wells_count_for_nothing() -> None:
    holes = [*FALLING[:3], np.nan, *FALLING[4:]]
    left_out = one([*FALLING[:3], *FALLING[4:]], doses=np.delete(DOSES, 3))
    np.testing.assert_array_equal(one(holes).params, left_out.params)
    assert one(holes).table["n_wells"][0] == 8


def test_wide_and_narrow_dose_ranges() -> None:
    params = planted(2)
    wells = pd.concat([wells_of(params[[0]]), wells_of(params, doses=DOSES[2:]).query("sample_id == 'S0001'")])
    own, common = fit_curves(wells), fit_curves(wells, dose_range="drug")
    stated = fit_curves(wells, dose_range=(0.01, 1.0))
    np.testing.assert_allclose(own.table["auc_high"], [10, 1])
    np.testing.assert_allclose(common.table["auc_high"], [1, 1])
    assert own.table["auc"][0] != pytest.approx(common.table["auc"][0], abs=1e-3)
    np.testing.assert_allclose(own.area(0.01, 1.0), stated.table["auc"])
    np.testing.assert_allclose(stated.table["auc"], mean_viability(params, *np.log([[0.01] * 2, [1.0] * 2])), atol=1e-4)
    for wrong in ((1.0, 0.1), (0.0, 1.0), "all"):
        with pytest.raises(DataError, match="dose_range"):
            fit_curves(wells, dose_range=wrong)


def test_two_screens_of_the_same_curves_agree_over_shared_doses() -> None:
    params = planted(40)
    first = fit_curves(wells_of(params))
    second = wells_of(params, doses=100 / 2.0 ** np.arange(12))
    second["drug_id"] = "D-hydrochloride"
    other = fit_curves(second)
    found = shared_auc(first, other, drugs={"D-hydrochloride": "D"})
    assert len(found) == 40
    np.testing.assert_allclose(found["auc_first"], found["auc_second"], atol=1e-3)
    assert (first.table["auc"] - other.table["auc"]).abs().min() > 0.05
    assert found[["low", "high"]].drop_duplicates().to_numpy() == pytest.approx(np.array([[100 / 2**11, 10]]))
    with pytest.raises(DataError, match="share no pair"):
        shared_auc(first, other)
    far = second.assign(dose=second["dose"] * 1e4, drug_id="D")
    assert shared_auc(first, fit_curves(far))[["auc_first", "auc_second"]].isna().all(axis=None)


def test_responses_of_a_dataset() -> None:
    wells = pd.concat([wells_of(planted(3)), wells_of(planted(1)).assign(sample_id="flat", viability=1.0)])
    fits = fit_curves(wells)
    findings = Findings()
    frame = fits.response(findings=findings)
    assert list(frame.columns) == ["sample_id", "drug_id", "value"]
    assert set(frame["sample_id"]) == {"S0000", "S0001", "S0002"}
    assert [f.count for f in findings.all() if f.code == "curves-without-value"] == [1]
    np.testing.assert_allclose(fits.response("pic50")["value"], 6 - frame["value"] / np.log(10))
    assert len(fits.response("auc")) == 4
    assert len(fits.response("auc", without=("flat",))) == 3
    with pytest.raises(UnknownNameError, match="flat"):
        fits.response(without=("flatt",))
    with pytest.raises(UnknownNameError, match="ln_ic50"):
        fits.response("ln_ic5")


def test_curves_by_plate_are_averaged_in_the_response() -> None:
    wells = pd.concat([wells_of(planted(2), noise=0.05, seed=s).assign(plate=f"P{s}") for s in (1, 2)])
    fits = fit_curves(wells, by=("sample_id", "drug_id", "plate"))
    assert len(fits.table) == 4
    findings = Findings()
    frame = fits.response(findings=findings)
    expected = fits.table.groupby("sample_id")["ln_ic50"].mean()
    np.testing.assert_allclose(frame["value"], expected)
    assert findings.all()[-1].code == "duplicate-pairs"
    with pytest.raises(DataError, match="more than one curve"):
        shared_auc(fits, fits)


def test_wrong_questions() -> None:
    wells = wells_of(planted(2))
    with pytest.raises(UnknownNameError, match="sigmoid"):
        fit_curves(wells, "sigmoit")
    with pytest.raises(DataError, match="robust"):
        fit_curves(wells, "multilevel", robust=True)
    with pytest.raises(DataError, match="lacks 'plate'"):
        fit_curves(wells, by=("sample_id", "drug_id", "plate"))
    with pytest.raises(DataError, match="above zero"):
        fit_curves(wells).area(0.0, 1.0)


def test_any_curve_can_be_drawn() -> None:
    wells = pd.concat([wells_of(planted(2)), one([0.9, 1.0]).wells])
    plain, shrunk = fit_curves(wells), fit_curves(wells, "multilevel")
    figure = plot_curve([plain, shrunk], "S0000", "D")
    labels = figure.axes[0].get_legend_handles_labels()[1]
    assert labels[0] == "wells"
    assert [text.split(":")[0] for text in labels[1:]] == ["sigmoid", "multilevel"]
    figure.canvas.draw()
    assert "not fitted (too_few)" in plot_curve(plain, "S", "D").axes[0].get_legend_handles_labels()[1][1]
    assert plot_curve(plain, "S0001", "D", ax=figure.axes[0]) is figure
    with pytest.raises(UnknownNameError, match="S0000"):
        plot_curve(plain, "nobody", "D")


CELLS = st.one_of(st.floats(-0.5, 1.5), st.sampled_from([np.nan, 0.0, 1.0, 1e6, -1e6]))


@settings(max_examples=15)
@given(st.lists(st.lists(CELLS, min_size=1, max_size=9), min_size=1, max_size=4), st.sampled_from(["own", "drug"]))
def test_whatever_the_wells_hold_the_answer_is_sane(curves: list[list[float]], dose_range: str) -> None:
    rows = [(f"S{i}", "D", DOSES[j], y) for i, curve in enumerate(curves) for j, y in enumerate(curve)]
    wells = pd.DataFrame(rows, columns=["sample_id", "drug_id", "dose", "viability"])
    for model in ("sigmoid", "loglogistic4", "multilevel"):
        try:
            fits = fit_curves(wells, model, dose_range=dose_range)
        except DataError:
            assert wells["viability"].abs().median() > 5
            continue
        table = fits.table
        assert len(table) == len(curves)
        assert not np.isinf(table.select_dtypes("number").to_numpy(np.float64)).any()
        auc = table["auc"].dropna()
        assert ((auc >= -1e-9) & (auc <= 1.2 + 1e-9)).all()
        assert table["ln_ic50"].isna().equals(fits.flags[["no_data", "too_few", "no_ic50"]].any(axis=1))
