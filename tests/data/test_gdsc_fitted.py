"""GDSC's fitted dose responses in every layout: ids, units, and drugs that were screened more than once."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from halfmax.data.readers.kinds import read_any
from halfmax.errors import DataError, UnknownNameError
from tests.data.gdsc_files import COSMIC, NAMES, SIDM, export, fitted, told, workbook, write_csv


@pytest.mark.parametrize("form", ["csv", "gzip", "parquet", "xlsx"])
def test_responses_are_the_same_in_every_form(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"f.{form}"
    if form == "parquet":
        fitted().to_parquet(path, index=False)
    elif form == "xlsx":
        pytest.importorskip("openpyxl")
        path.write_bytes(workbook({"Sheet 1": fitted()}))
    else:
        content = fitted().to_csv(index=False).encode()
        path.write_bytes(gzip.compress(content) if form == "gzip" else content)
    reading = read_any(path)
    ln_ic50, auc = (part for part in reading.parts if part.role == "response")
    expected = fitted()
    assert ln_ic50.measure is not None
    assert auc.measure is not None
    assert (ln_ic50.measure.name, auc.measure.name) == ("ln_ic50", "auc")
    assert ln_ic50.id_kind == "cosmic"
    assert ln_ic50.frame["sample_id"].tolist() == expected["COSMIC_ID"].astype(str).tolist()
    np.testing.assert_array_equal(ln_ic50.frame["value"], expected["LN_IC50"])
    np.testing.assert_array_equal(auc.frame["value"], expected["AUC"])
    for name, official in (("rmse", "RMSE"), ("min_conc", "MIN_CONC"), ("max_conc", "MAX_CONC"), ("auc", "AUC")):
        np.testing.assert_array_equal(ln_ic50.frame[name], expected[official])
    assert ln_ic50.frame["gdsc_drug_id"].tolist() == expected["DRUG_ID"].astype(str).tolist()
    assert reading.part("samples").loc[COSMIC[1]].tolist() == [SIDM[1], NAMES[1], None]
    assert reading.part("drugs").loc["Palbociclib"].tolist() == ["Palbociclib", "1054", "CDK4, CDK6", "Cell cycle"]


def test_a_drug_with_two_numbers_stays_two_drugs_and_is_told(tmp_path: Path) -> None:
    path = write_csv(tmp_path, fitted())
    reading = read_any(path)
    drugs = ["Camptothecin", "Ulixertinib (1908)", "Ulixertinib (2047)", "Palbociclib"]
    assert reading.part("response")["drug_id"].unique().tolist() == drugs
    assert reading.part("drugs").index.tolist() == drugs
    assert "kept apart" in told(reading, "rescreens")
    assert "Ulixertinib (1908)" in told(reading, "rescreens")


def test_rescreens_can_be_averaged_or_the_latest_taken(tmp_path: Path) -> None:
    path = write_csv(tmp_path, fitted())
    both = fitted()[fitted()["DRUG_NAME"] == "Ulixertinib"]
    average = read_any(path, rescreens="average")
    rows = average.part("response").set_index("drug_id").loc["Ulixertinib"]
    np.testing.assert_allclose(rows["value"], both.groupby("COSMIC_ID", sort=False)["LN_IC50"].mean())
    assert set(rows["gdsc_drug_id"]) == {"1908 | 2047"}
    assert "4 pairs" in told(average, "duplicate-pairs")
    latest = read_any(path, rescreens="latest")
    rows = latest.part("response").set_index("drug_id").loc["Ulixertinib"]
    np.testing.assert_array_equal(rows["value"], both.loc[both["DRUG_ID"] == 2047, "LN_IC50"])
    assert "Ulixertinib (1908)" in told(latest, "rescreens")
    with pytest.raises(UnknownNameError, match="separate, average or latest"):
        read_any(path, rescreens="newest")


def test_a_curve_that_is_listed_twice_is_averaged_and_counted_or_refused(tmp_path: Path) -> None:
    frame = pd.concat([fitted(), fitted().iloc[[0]].assign(LN_IC50=1.0)])
    path = write_csv(tmp_path, frame)
    reading = read_any(path)
    first = reading.part("response").iloc[0]
    assert first["value"] == pytest.approx((fitted()["LN_IC50"].iloc[0] + 1) / 2)
    assert "1 pairs have several rows of ln_ic50 (2 rows)" in told(reading, "duplicate-pairs")
    with pytest.raises(DataError, match="Refused"):
        read_any(path, strict=True)


def test_two_screens_in_one_file_stay_apart_and_one_can_be_read(tmp_path: Path) -> None:
    path = write_csv(tmp_path, export(), "PANCANCER_IC.csv")
    reading = read_any(path)
    drugs = set(reading.part("response")["drug_id"])
    assert drugs == {"Camptothecin (1003, GDSC1)", "Camptothecin (1003, GDSC2)", "Ulixertinib", "Palbociclib"}
    one = read_any(path, screen="gdsc1")
    assert one.part("response")["drug_id"].tolist() == ["Camptothecin"] * 4
    assert set(one.part("response")["screen"]) == {"GDSC1"}
    assert "12 rows of other screens" in told(one, "other-screens")
    with pytest.raises(UnknownNameError, match=r"GDSC2, GDSC1"):
        read_any(path, screen="GDSC3")


def test_exports_hold_logarithms_under_the_name_ic50(tmp_path: Path) -> None:
    reading = read_any(write_csv(tmp_path, export()))
    assert "values are negative" in told(reading, "unit")
    assert reading.part("response")["value"].min() < 0
    positive = export().assign(IC50=lambda f: f["IC50"].abs() + 0.1)
    doubted = read_any(write_csv(tmp_path, positive))
    assert "unit='uM'" in told(doubted, "unit-doubt")
    converted = read_any(write_csv(tmp_path, positive), unit="uM")
    np.testing.assert_allclose(converted.part("response")["value"], np.log(doubted.part("response")["value"]))
    with pytest.raises(DataError, match="no logarithm of µM reaches"):
        read_any(write_csv(tmp_path, export().assign(IC50=5000.0)))


def test_the_sample_id_is_the_best_that_no_row_lacks(tmp_path: Path) -> None:
    frame = fitted().astype({"COSMIC_ID": "Int64"})
    frame.loc[frame["CELL_LINE_NAME"] == "ES7", "COSMIC_ID"] = pd.NA
    reading = read_any(write_csv(tmp_path, frame))
    assert reading.parts[0].id_kind == "sidm"
    assert reading.part("response")["sample_id"].unique().tolist() == SIDM
    assert "4 rows have no cosmic id" in told(reading, "incomplete-ids")
    assert reading.part("samples")["cosmic_id"].tolist() == [*COSMIC[:3], None]
    named = read_any(write_csv(tmp_path, frame), sample_id="name")
    assert named.part("response")["sample_id"].unique().tolist() == NAMES
    cosmic = read_any(write_csv(tmp_path, frame), sample_id="cosmic")
    assert len(cosmic.part("response")) == 12
    assert "4 rows name no cell line" in told(cosmic, "rows-without-id")
    with pytest.raises(UnknownNameError, match="cosmic"):
        read_any(write_csv(tmp_path, frame), sample_id="cosmics")


def test_one_id_with_two_names_is_told(tmp_path: Path) -> None:
    frame = fitted()
    frame.loc[5, "CELL_LINE_NAME"] = "ES-3"
    assert "684052: ES3, ES-3" in told(read_any(write_csv(tmp_path, frame)), "several-name")


def test_the_layout_of_2016_is_read_without_names_of_drugs(tmp_path: Path) -> None:
    frame = fitted()[["COSMIC_ID", "DRUG_ID", "LN_IC50", "RMSE"]].assign(MAX_CONC_MICROMOLAR=0.1)
    reading = read_any(write_csv(tmp_path, frame), "gdsc-fitted")
    assert reading.part("response")["drug_id"].unique().tolist() == ["1003", "1908", "2047", "1054"]
    assert set(reading.part("response")["max_conc"]) == {0.1}
    assert "numbers are the drug ids" in told(reading, "numbers-for-names")


def test_doses_that_an_ic50_lies_above_are_counted(tmp_path: Path) -> None:
    frame = fitted()
    n = int((frame["LN_IC50"] > np.log(frame["MAX_CONC"])).sum())
    assert told(read_any(write_csv(tmp_path, frame)), "extrapolated").startswith(f"{n} of 16 IC50")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: f.assign(LN_IC50=f["LN_IC50"].astype(str) + "x"), "16 values of 'LN_IC50' are no numbers"),
        (lambda f: f.assign(RMSE="inf"), "16 values of rmse are infinite"),
        (lambda f: f.assign(AUC=f["AUC"] * 100), "AUC runs up to"),
        (lambda f: f.assign(LN_IC50=np.nan, AUC=np.nan), "has a value"),
        (lambda f: f.drop(columns=["LN_IC50", "AUC"]), "no column 'LN_IC50'"),
        (lambda f: f.drop(columns=["DRUG_ID", "DRUG_NAME"]), "no column 'DRUG_NAME'"),
        (lambda f: f.drop(columns=["COSMIC_ID", "SANGER_MODEL_ID", "CELL_LINE_NAME"]), "no column names the cell"),
    ],
)
def test_responses_that_cannot_be_are_refused(
    tmp_path: Path, change: Callable[[pd.DataFrame], pd.DataFrame], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        read_any(write_csv(tmp_path, change(fitted())), "gdsc-fitted")
