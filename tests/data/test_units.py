"""Units: proven from the numbers, or asked for."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from halfmax.data.unit_conversion import common_unit, convert_expression
from halfmax.data.units import (
    CONCENTRATION_UNITS,
    EXPRESSION_UNITS,
    RESPONSE_UNITS,
    convert_response,
    detect_expression_unit,
    detect_response_unit,
    to_log,
)
from halfmax.errors import DataError, UnknownNameError

RNG = np.random.default_rng(3)
N_SAMPLES, N_GENES = 12, 600


def abundance(sums: float = 1e6) -> np.ndarray:
    """Return log-normal abundances with zeros, each sample adding up to `sums`."""
    values = RNG.lognormal(2, 2.5, size=(N_SAMPLES, N_GENES)) * (RNG.random((N_SAMPLES, N_GENES)) > 0.2)
    return values / values.sum(axis=1, keepdims=True) * sums


def frame(values: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(values, [f"s{i}" for i in range(len(values))], [f"g{i}" for i in range(values.shape[1])])


def standardised(values: np.ndarray, axis: int) -> np.ndarray:
    return (values - values.mean(axis=axis, keepdims=True)) / values.std(axis=axis, keepdims=True)


TPM = abundance()
COUNTS = np.round(abundance(2e7))
FEW_READS = np.round(abundance(2e5))
MATRICES = {
    "counts": COUNTS,
    "cpm": FEW_READS / FEW_READS.sum(axis=1, keepdims=True) * 1e6,
    "tpm": TPM,
    "log2": np.log2(TPM + 1),
    "ln": np.log(TPM + 1),
    "log10": np.log10(TPM + 1),
    "log2_tpm001": np.log2(TPM + 0.001),
    "rma": RNG.gamma(4, 1, size=(N_SAMPLES, N_GENES)) + 2.3,
    "zscore_gene": standardised(RNG.gamma(4, 1, size=(N_SAMPLES, N_GENES)), 0),
    "zscore_sample": standardised(RNG.gamma(4, 1, size=(N_SAMPLES, N_GENES)), 1),
}


@pytest.mark.parametrize("unit", MATRICES)
def test_a_unit_is_proven_from_the_numbers(unit: str) -> None:
    guess = detect_expression_unit(frame(MATRICES[unit]))
    assert guess.unit == unit
    assert guess.evidence
    if unit != "zscore_gene":
        assert detect_expression_unit(frame(MATRICES[unit][:1])).unit == unit


@pytest.mark.parametrize("unit", MATRICES)
def test_order_and_missing_values_change_no_unit(unit: str) -> None:
    values = MATRICES[unit].copy()
    values[0, 3] = np.nan
    order = RNG.permutation(N_GENES)
    assert detect_expression_unit(frame(values[::-1, order])).unit == unit


@pytest.mark.parametrize(
    ("values", "evidence"),
    [
        (abundance(1e6) * RNG.uniform(0.3, 0.9, size=(N_SAMPLES, 1)), "estimated counts, FPKM, or TPM of some"),
        (abundance(2e7), "estimated counts"),
        (np.round(RNG.normal(0, 100, size=(N_SAMPLES, N_GENES))), "counts are never negative"),
        (RNG.normal(0.7, 3, size=(N_SAMPLES, N_GENES)), "neither samples nor genes have mean 0"),
        ((RNG.random((N_SAMPLES, N_GENES)) > 0.9).astype(float), "all whole"),
        (RNG.random((N_SAMPLES, N_GENES)), "small for a binary logarithm"),
        (np.full((N_SAMPLES, N_GENES), 7.0), "every value is 7"),
        (np.log2(TPM[:, :20] + 1), "too few"),
        (np.full((2, 200), np.nan), "too few"),
    ],
)
def test_what_the_numbers_do_not_prove_is_unknown_and_refused(values: np.ndarray, evidence: str) -> None:
    guess = detect_expression_unit(frame(values))
    assert guess.unit == "unknown"
    assert evidence in guess.evidence
    with pytest.raises(DataError, match=r"say it with unit=, one of counts, cpm, tpm"):
        to_log(frame(values), guess.unit)


@pytest.mark.parametrize("unit", MATRICES)
def test_the_evidence_is_there_as_data(unit: str) -> None:
    values = MATRICES[unit]
    measured = detect_expression_unit(frame(values)).measured
    assert (measured["n_samples"], measured["n_genes"]) == values.shape
    assert measured["highest"] == values.max()
    assert measured["share_zero"] == pytest.approx((values == 0).mean())
    assert measured["highest_sum"] == pytest.approx(values.sum(axis=1).max())
    if unit.startswith("zscore"):
        assert measured[f"misfit_{unit}"] < 1e-9


@pytest.mark.parametrize(("base", "unit"), [(2, "log2"), (np.e, "ln"), (10, "log10")])
def test_logarithms_of_counts_show_their_base(base: float, unit: str) -> None:
    panel = FEW_READS[:, :200]  # no total of a million to go by
    logged = (np.log(panel + 1) / np.log(base)).astype(np.float32)
    guess = detect_expression_unit(frame(logged))
    assert guess.unit == unit
    assert "always whole" in guess.evidence


@pytest.mark.parametrize(
    ("other", "evidence"),
    [("log2", "9 have the range of a logarithm"), ("counts", "3 are whole numbers"), ("zscore_sample", "3 have neg")],
)
def test_samples_on_different_scales_are_told_apart(other: str, evidence: str) -> None:
    joined = TPM.copy()
    few = slice(0, 3)
    joined[few] = MATRICES[other][few]
    if other == "log2":
        joined = np.log2(TPM + 1)
        joined[few] = TPM[few]
    guess = detect_expression_unit(frame(joined))
    assert guess.unit == "unknown"
    assert evidence in guess.evidence
    assert "'s0', 's1', 's2'" in guess.evidence


def test_tables_in_different_units_are_not_joined_unless_the_unit_is_stated() -> None:
    units = {"a.csv": detect_expression_unit(frame(TPM)), "b.csv": "log2"}
    with pytest.raises(DataError, match=r"2 tables in 2 units are not joined, e.g. 'a.csv: tpm', 'b.csv: log2'"):
        common_unit(units)
    assert common_unit(units, stated="tpm") == "tpm"
    assert common_unit({"a": "rma", "b": "rma"}) == "rma"
    with pytest.raises(DataError, match="cannot be told"):
        common_unit({"a": "unknown"})


LENGTHS = pd.Series(RNG.integers(300, 9000, N_GENES).astype(float), frame(TPM).columns)


def test_counts_become_tpm_with_lengths_only() -> None:
    counts = frame(COUNTS)
    with pytest.raises(DataError, match="only with the genes' lengths"):
        convert_expression(counts, "counts")
    rate = COUNTS / LENGTHS.to_numpy()
    expected = rate / rate.sum(axis=1, keepdims=True) * 1e6
    tpm, done = convert_expression(counts, "counts", lengths=LENGTHS[::-1])
    np.testing.assert_allclose(tpm, expected, rtol=1e-5)
    assert "divided by gene lengths" in done.message
    fpkm = rate / COUNTS.sum(axis=1, keepdims=True) * 1e9
    np.testing.assert_allclose(convert_expression(frame(fpkm), "fpkm")[0], expected, rtol=1e-5)
    cpm, _ = convert_expression(counts, "counts", "cpm")
    np.testing.assert_allclose(cpm, COUNTS / COUNTS.sum(axis=1, keepdims=True) * 1e6, rtol=1e-5)
    np.testing.assert_allclose(convert_expression(cpm, "cpm", lengths=LENGTHS)[0], expected, rtol=1e-4)
    with pytest.raises(DataError, match=r"2 of 600 genes have no positive length, e.g. 'g0', 'g7'"):
        convert_expression(counts, "counts", lengths=LENGTHS.drop("g7").replace(LENGTHS["g0"], 0.0))


def test_a_logarithm_is_undone_only_when_it_is_said_of_what() -> None:
    logged = frame(MATRICES["log2"])
    with pytest.raises(DataError, match="which x was logged cannot be seen"):
        convert_expression(logged, "log2")
    np.testing.assert_allclose(convert_expression(logged, "log2", logged="tpm")[0], TPM, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(convert_expression(frame(MATRICES["log2_tpm001"]), "log2_tpm001")[0], TPM, atol=0.1)


@pytest.mark.parametrize(
    ("unit", "to", "message"),
    [
        ("rma", "tpm", "abundances behind them are lost"),
        ("zscore_gene", "cpm", "abundances behind them are lost"),
        ("tpm", "cpm", "no read counts any more"),
        ("unknown", "tpm", "cannot be told"),
    ],
)
def test_what_is_lost_is_not_made_up(unit: str, to: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        convert_expression(frame(TPM), unit, to)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="1 values are negative"):
        convert_expression(frame(np.array([[-1.0, 2.0]])), "counts", "cpm")
    with pytest.raises(DataError, match="1 samples add up to nothing"):
        convert_expression(frame(np.array([[0.0, 0.0]])), "counts", "cpm")


@pytest.mark.parametrize("unit", ["tpm", "log2", "ln", "log10"])
def test_every_unit_of_tpm_comes_to_the_same_logarithm(unit: str) -> None:
    logged, done = to_log(frame(MATRICES[unit]), unit)
    np.testing.assert_allclose(logged, np.log2(TPM + 1), rtol=1e-5, atol=1e-5)
    assert logged.to_numpy().dtype == np.float32
    assert done.message


def test_xena_logarithms_come_to_the_same() -> None:
    logged, _ = to_log(frame(MATRICES["log2_tpm001"]), "log2_tpm001")
    np.testing.assert_allclose(logged, np.log2(TPM + 1), atol=1e-4)


def test_counts_become_counts_per_million_and_it_is_said() -> None:
    counts = frame(MATRICES["counts"])
    logged, done = to_log(counts, "counts")
    per_million = counts.to_numpy() / counts.to_numpy().sum(axis=1, keepdims=True) * 1e6
    np.testing.assert_allclose(logged, np.log2(per_million + 1), rtol=1e-5)
    assert "log2(CPM + 1), not TPM, because there are no gene lengths" in done.message
    total = np.full(N_SAMPLES, 4e7)
    halved, _ = to_log(counts, "counts", total=total)
    np.testing.assert_allclose(halved, np.log2(counts.to_numpy() / 40 + 1), rtol=1e-5)


@pytest.mark.parametrize("unit", ["rma", "zscore_gene", "zscore_sample"])
def test_scaled_values_are_left_as_they_are(unit: str) -> None:
    logged, done = to_log(frame(MATRICES[unit]), unit)
    np.testing.assert_array_equal(logged, MATRICES[unit].astype(np.float32))
    assert "left as they are" in done.message


@pytest.mark.parametrize(
    ("unit", "values", "message"),
    [
        ("counts", [[-1.0, 5.0]], "1 values are negative"),
        ("tpm", [[-1.0, -5.0]], "2 values are negative"),
        ("log2", [[1e6, 5.0]], "too large for a logarithm"),
        ("counts", [[0.0, 0.0]], "1 samples have no reads"),
    ],
)
def test_values_that_contradict_a_stated_unit_are_refused(unit: str, values: list[list[float]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        to_log(frame(np.array(values)), unit)


def test_an_unknown_unit_gets_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match=r"Did you mean 'counts'"):
        to_log(frame(TPM), "count")
    with pytest.raises(UnknownNameError, match="Units: ln_uM"):
        convert_response(np.ones(3), "furlong")
    assert set(MATRICES) | {"fpkm"} == set(EXPRESSION_UNITS)


CONCENTRATIONS = np.array([0.001, 0.05, 1.0, 8.0, np.nan])


@pytest.mark.parametrize(
    ("unit", "values"),
    [
        ("uM", CONCENTRATIONS),
        ("nM", CONCENTRATIONS * 1e3),
        ("M", CONCENTRATIONS / 1e6),
        ("ln_uM", np.log(CONCENTRATIONS)),
        ("log10_uM", np.log10(CONCENTRATIONS)),
        ("log2_uM", np.log2(CONCENTRATIONS)),
        ("ln_nM", np.log(CONCENTRATIONS * 1e3)),
        ("log10_nM", np.log10(CONCENTRATIONS * 1e3)),
        ("log10_M", np.log10(CONCENTRATIONS / 1e6)),
        ("pIC50", -np.log10(CONCENTRATIONS / 1e6)),
    ],
)
def test_every_unit_of_concentration_comes_to_the_same(unit: str, values: np.ndarray) -> None:
    np.testing.assert_allclose(convert_response(values, unit), np.log(CONCENTRATIONS), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(convert_response(CONCENTRATIONS, "uM", unit), values, rtol=1e-12, atol=1e-12)


def test_areas_and_concentrations_do_not_become_each_other() -> None:
    area = np.array([0.2, 0.9])
    np.testing.assert_array_equal(convert_response(area, "auc"), area)
    for unit, to in (("auc", "uM"), ("auc", "aac"), ("uM", "auc")):
        with pytest.raises(DataError, match="cannot become"):
            convert_response(area, unit, to)
    with pytest.raises(UnknownNameError, match="Did you mean 'uM'"):
        convert_response(area, "nM", "um")


@pytest.mark.parametrize(
    ("column", "unit"),
    [
        ("LN_IC50", "ln_uM"),
        ("ln_ic50", "ln_uM"),
        ("lnIC50", "ln_uM"),
        ("IC50 (uM)", "uM"),
        ("IC50 (µM)", "uM"),
        ("ic50_um", "uM"),
        ("ic50 [nM]", "nM"),
        ("EC50 (nM)", "nM"),
        ("pIC50", "pIC50"),
        ("log10_ic50", "log10_uM"),
        ("log10 IC50 (M)", "log10_M"),
        ("ln IC50 (nM)", "ln_nM"),
        ("log10_ic50_nM", "log10_nM"),
        ("AUC", "auc"),
        ("aac", "aac"),
    ],
)
def test_a_column_name_that_says_the_unit_is_believed(column: str, unit: str) -> None:
    assert detect_response_unit(np.array([0.2, 0.5, 0.9]), column).unit == unit


@pytest.mark.parametrize(
    ("column", "values", "evidence"),
    [
        ("IC50", [0.1, 2.0, 8.0], "says no unit"),
        ("IC50", [-2.0, 2.0, 1.0], "logarithm, of which base and unit is not said"),
        ("IC50", [0.3] + [10.0] * 9, "90% of them at the top"),
        ("value", [1.0, 2.0], "says no unit"),
        ("LN_IC50", [1.0, 9000.0], "which no logarithm of µM reaches"),
        ("IC50 (uM)", [1.0, -2.0], "1 concentrations are zero or negative"),
        ("AUC", [3.0, 15.5], "not from 0 to 1"),
        ("log2 IC50 nM", [3.0, 7.5], "says no unit"),
        ("ln IC50 nM", [3.0, 75.0], "which no logarithm of nM reaches"),
        ("auc", [], "there is no value"),
    ],
)
def test_an_unclear_response_is_unknown_with_the_evidence(column: str, values: list[float], evidence: str) -> None:
    guess = detect_response_unit(np.array(values), column)
    assert guess.unit == "unknown"
    assert evidence in guess.evidence


def test_a_stated_unit_that_cannot_be_is_refused() -> None:
    with pytest.raises(DataError, match="1 concentrations are zero or negative"):
        convert_response(np.array([0.0, 1.0]), "uM")
    with pytest.raises(DataError, match="no logarithm of µM reaches"):
        convert_response(np.array([500.0, 1.0]), "ln_uM")
    assert set(RESPONSE_UNITS) == {*CONCENTRATION_UNITS, "auc", "aac"}
