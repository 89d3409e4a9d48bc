"""Wells: raw layouts of GDSC and CCLE are read, plates normalised, and what cannot be used is counted or refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from halfmax.data.dose_response import (
    Limits,
    check_wells,
    fit_curves,
    normalise_plates,
    wells_from_ccle,
    wells_from_gdsc,
)
from halfmax.data.dose_response.wells import as_text
from halfmax.data.findings import Findings
from halfmax.errors import DataError

GDSC_HEADER = [
    *("RESEARCH_PROJECT", "BARCODE", "SCAN_ID", "DATE_CREATED", "SCAN_DATE", "CELL_ID", "MASTER_CELL_ID", "COSMIC_ID"),
    *("CELL_LINE_NAME", "SEEDING_DENSITY", "DRUGSET_ID", "ASSAY", "DURATION", "POSITION", "TAG", "DRUG_ID", "CONC"),
    "INTENSITY",
]
#: Three curves of CCLE_NP24.2009_Drug_data_2015.02.24.csv (Broad Institute), with the published IC50 and ActArea.
CCLE_HEADER = [
    *("CCLE Cell Line Name", "Primary Cell Line Name", "Compound", "Target", "Doses (uM)", "Activity Data (median)"),
    *("Activity SD", "Num Data", "FitType", "EC50 (uM)", "IC50 (uM)", "Amax", "ActArea"),
]
_DOSES = ".0025,.0080,.025,.080,.25,.80,2.53,8"
CCLE_ROWS = [
    ("22RV1_PROSTATE", "22Rv1", "AEW541", "IGF1R", _DOSES, ".94,12.5,-14,4.16,-25,-32,-52,-71",
     "1.95,13.3,6.98,21.8,16.0,18.8,4.84,7.93", "8", "Sigmoid", "8.165163646", "2.329924107", "-71.58934021", "1.6723"),
    ("42MGBA_CENTRAL_NERVOUS_SYSTEM", "42-MG-BA", "AEW541", "IGF1R", _DOSES, "8.91,8.39,-3.5,12.4,-.55,-6.2,-48,-63",
     "13.7,7.70,11.1,6.43,24.0,9.57,9.57,10.4", "8", "Sigmoid", "1.514508486", "2.68212986", "-63.49137115", "1.1852"),
    ("1321N1_CENTRAL_NERVOUS_SYSTEM", "1321N1", "AEW541", "IGF1R", _DOSES, "8.67,11.0,2.16,.27,-10,-13,-26,-43",
     "3.31,3.72,5.36,4.67,13.1,.18,2.42,7.51", "8", "Sigmoid", "8.717773588", "8", "-42.55801392", "0.7124"),
]  # fmt: skip


def gdsc_plate(barcode: int = 3230, *, signal: float = 40_000, noise: float = 0.0, seed: int = 0) -> pd.DataFrame:
    """Return a plate in the official raw layout: one drug at seven doses, its IC50 at 1 µM, and the controls."""
    rng = np.random.default_rng(seed)
    rows = [(f"L1-D{i + 1}-S", 1003.0, 10 / 10 ** (i / 2), 1 / (1 + 10 / 10 ** (i / 2))) for i in range(7)]
    rows += [("PC-1", 1862.0, 4.0, 0.1)] * 4 + [(f"PC-{i}", 1862.0, 4.0 / 4 ** (i - 1), 0.1 * 3**i) for i in (2, 3)]
    rows += (
        [("NC-1", 4000.0, np.nan, 1.0)] * 20 + [("NC-0", np.nan, np.nan, 1.1)] * 4 + [("B", np.nan, np.nan, 0.0)] * 8
    )
    rows += [("UN-USED", np.nan, np.nan, 0.7)] * 5 + [("L1-D1-C", 1003.0, 10.0, 0.2)]
    tags, drugs, doses, alive = map(list, zip(*rows, strict=True))
    values = 800 + (signal - 800) * np.array(alive) * (1 + noise * rng.normal(size=len(alive)))
    content: dict[str, object] = dict.fromkeys(GDSC_HEADER, "")
    content |= {"BARCODE": barcode, "COSMIC_ID": 753608.0, "CELL_LINE_NAME": "PC-14", "TAG": tags, "DRUG_ID": drugs}
    content |= {"POSITION": np.arange(1, len(tags) + 1) * 3, "CONC": doses, "INTENSITY": values, "DRUGSET_ID": 159.0}
    return pd.DataFrame(content, columns=GDSC_HEADER)


def codes(findings: Findings | tuple) -> dict[str, int]:
    return {f.code: f.count for f in (findings.all() if isinstance(findings, Findings) else findings)}


def test_the_gdsc_raw_layout() -> None:
    findings = Findings()
    wells = wells_from_gdsc(gdsc_plate(), findings)
    assert wells["role"].value_counts().to_dict() == {"drug": 7, "positive": 6, "negative": 20, "blank": 8}
    assert set(wells["sample_id"]) == {"753608"}
    assert wells.loc[wells["role"] == "drug", "drug_id"].eq("1003").all()
    assert wells.loc[wells["role"] == "negative", "drug_id"].isna().all()
    assert wells["plate"].eq("3230").all()
    assert codes(findings) == {"unused-wells": 5, "combined-wells": 1, "other-controls": 4}
    assert wells["row"].between(1, 16).all()
    assert wells["column"].between(1, 24).all()


def test_gdsc_wells_become_the_planted_curve() -> None:
    plates = normalise_plates(wells_from_gdsc(gdsc_plate()))
    table = fit_curves(plates.wells).table.set_index("drug_id")
    assert table.loc["1003", "ln_ic50"] == pytest.approx(0, abs=1e-3)
    assert table.loc["1003", ["min_dose", "max_dose"]].tolist() == pytest.approx([0.01, 10])
    assert table.loc["1862", "n_wells"] == 6


def test_gdsc_as_text_and_by_name() -> None:
    numbers = wells_from_gdsc(gdsc_plate(), sample="CELL_LINE_NAME")
    text = gdsc_plate().astype("string").fillna("").astype(object)
    text.columns = [column.lower() for column in text]
    pd.testing.assert_frame_equal(
        wells_from_gdsc(text, sample="CELL_LINE_NAME").drop(
            columns=["sample_name", "project", "drug_set"], errors="ignore"
        ),
        numbers.drop(columns=["sample_name", "project", "drug_set"], errors="ignore"),
    )
    assert set(numbers["sample_id"]) == {"PC-14"}


def test_gdsc1_plates_use_their_own_negative_controls() -> None:
    plate = gdsc_plate()
    findings = Findings()
    wells = wells_from_gdsc(plate[plate["TAG"] != "NC-1"], findings)
    assert (wells["role"] == "negative").sum() == 4
    assert "other-negative-controls" in codes(findings)


def test_gdsc_rows_that_share_a_well() -> None:
    plate = gdsc_plate()
    second = plate.iloc[[0]].assign(TAG="L2-D1-S", DRUG_ID=1060.0)
    findings = Findings()
    wells = wells_from_gdsc(pd.concat([plate, plate.iloc[[3]], second]), findings)
    assert (wells["role"] == "drug").sum() == 6
    assert {k: v for k, v in codes(findings).items() if k in ("repeated-rows", "shared-wells")} == {
        "repeated-rows": 1,
        "shared-wells": 2,
    }
    with pytest.raises(DataError, match="strict"):
        wells_from_gdsc(pd.concat([plate, second]), Findings(strict=True))


def test_gdsc_files_that_are_none() -> None:
    with pytest.raises(DataError, match="TAG"):
        wells_from_gdsc(gdsc_plate().drop(columns="TAG"))
    with pytest.raises(DataError, match="no well holds one drug"):
        wells_from_gdsc(gdsc_plate().assign(TAG="X"))
    with pytest.raises(DataError, match="values of 'INTENSITY' are no numbers"):
        wells_from_gdsc(gdsc_plate().astype(object).assign(INTENSITY="n.d."))


def test_the_ccle_drug_file() -> None:
    wells = wells_from_ccle(pd.DataFrame(CCLE_ROWS, columns=CCLE_HEADER))
    assert len(wells) == 24
    assert wells["viability"].iloc[:3].tolist() == pytest.approx([1.0094, 1.125, 0.86])
    fits = fit_curves(wells, "loglogistic4", limits=Limits(top=(0.8, 1.0)))
    table = fits.table.set_index("sample_id")
    for name, *_, ic50, _, area in CCLE_ROWS[:2]:
        assert table.loc[name, "ln_ic50"] == pytest.approx(np.log(float(ic50)), abs=0.35)
        assert 8 * table.loc[name, "aac"] == pytest.approx(float(area), abs=0.35)
    capped = table.loc[CCLE_ROWS[2][0]]
    assert np.isnan(capped["ln_ic50"]) or capped["ln_ic50"] > np.log(8)


def test_ccle_lists_that_do_not_fit() -> None:
    frame = pd.DataFrame(CCLE_ROWS, columns=CCLE_HEADER)
    frame.loc[1, "Doses (uM)"] = "1,2"
    findings = Findings()
    assert set(wells_from_ccle(frame, findings)["sample_id"]) == {CCLE_ROWS[0][0], CCLE_ROWS[2][0]}
    assert codes(findings) == {"lists-differ": 1}
    frame.loc[0, "Activity Data (median)"] = "a,b,c,d,e,f,g,h"
    with pytest.raises(DataError, match="no numbers"):
        wells_from_ccle(frame)
    with pytest.raises(DataError, match="Compound"):
        wells_from_ccle(frame.drop(columns="Compound"))


def screen(n_plates: int = 3, *, noise: float = 0.05) -> pd.DataFrame:
    plates = [gdsc_plate(i, signal=20_000 * (i + 1), noise=noise, seed=i) for i in range(n_plates)]
    return wells_from_gdsc(pd.concat(plates))


def test_plates_of_any_brightness_give_the_same_viability() -> None:
    wells = normalise_plates(screen(noise=0.0)).wells
    spread = wells[wells["role"] == "drug"].groupby("dose")["viability"].agg(["min", "max"])
    np.testing.assert_allclose(spread["min"], spread["max"], atol=1e-9)
    np.testing.assert_allclose(spread["min"], 1 / (1 + spread.index), atol=1e-9)


def test_quality_of_a_plate() -> None:
    wells = screen(1)
    quality = normalise_plates(wells).quality.iloc[0]
    negative, blank = (wells.loc[wells["role"] == r, "intensity"] for r in ("negative", "blank"))
    positive = wells.loc[(wells["role"] == "positive") & (wells["dose"] == 4), "intensity"]
    assert quality["n_positive"] == 4
    assert quality["cv_negative"] == pytest.approx(negative.std() / negative.mean())
    for name, zero in (("blank", blank), ("positive", positive)):
        expected = 1 - 3 * (negative.std() + zero.std()) / (negative.mean() - zero.mean())
        assert quality[f"z_prime_{name}"] == pytest.approx(expected)
    assert quality["passed"]


def test_bad_plates_are_told_of_and_dropped_on_request() -> None:
    wells = screen()
    dim = (wells["plate"] == "1") & (wells["role"] == "negative")
    wells.loc[dim, "intensity"] *= np.random.default_rng(0).lognormal(0, 0.8, int(dim.sum()))
    plates = normalise_plates(wells)
    assert plates.quality["passed"].to_dict() == {"0": True, "1": False, "2": True}
    assert "CV of negative controls above 0.3" in plates.quality.loc["1", "reason"]
    assert codes(plates.findings)["failed-plates"] == 1
    assert len(plates.wells) == len(wells)
    assert set(normalise_plates(wells, drop_failed=True).wells["plate"]) == {"0", "2"}
    with pytest.raises(DataError, match="strict"):
        normalise_plates(wells, drop_failed=True, strict=True)


def test_plates_without_controls() -> None:
    wells = screen()
    without = wells[~((wells["plate"] == "1") & (wells["role"] == "negative"))]
    plates = normalise_plates(without)
    assert plates.wells.groupby("plate")["viability"].count().to_dict()["1"] == 0
    assert plates.quality.loc["1", "reason"] == "no negative controls"
    assert codes(plates.findings)["plates-without-controls"] == 1
    with pytest.raises(DataError, match="none of the 3 plates"):
        normalise_plates(wells[wells["role"] != "negative"])
    with pytest.raises(DataError, match="no blank wells"):
        normalise_plates(wells[wells["role"] != "blank"])
    unblanked = normalise_plates(wells[wells["role"] != "blank"], zero="none")
    assert unblanked.wells["viability"].notna().all()
    positive = normalise_plates(wells, zero="positive").wells
    assert positive.loc[
        (positive["role"] == "positive") & (positive["dose"] == 4), "viability"
    ].mean() == pytest.approx(0)
    swapped = wells.assign(role=wells["role"].replace({"negative": "blank", "blank": "negative"}))
    with pytest.raises(DataError, match="controls not above zero"):
        normalise_plates(swapped)


def test_a_median_polish_takes_out_edge_and_row_trends() -> None:
    rng = np.random.default_rng(2)
    row, column = (a.ravel() for a in np.meshgrid(np.arange(1, 17), np.arange(1, 25), indexing="ij"))
    role = np.where(rng.random(len(row)) < 0.6, "negative", np.where(rng.random(len(row)) < 0.2, "blank", "drug"))
    trend = np.where((column == 1) | (column == 24), 0.7, 1.0) * (1 + 0.02 * row)
    alive = np.where(role == "blank", 0.0, np.where(role == "drug", 0.5, 1.0))
    wells = pd.DataFrame({"sample_id": "S", "drug_id": "D", "dose": 1.0, "plate": "P", "role": role})
    wells = wells.assign(row=row, column=column, intensity=30_000 * alive * trend * rng.lognormal(0, 0.02, len(row)))
    plain, polished = normalise_plates(wells), normalise_plates(wells, polish=True)
    assert plain.quality["edge_ratio"].iloc[0] < 0.95
    assert abs(polished.quality["edge_ratio"].iloc[0] - 1) < 0.03
    assert polished.quality["cv_negative"].iloc[0] < 0.6 * plain.quality["cv_negative"].iloc[0]
    drug = role == "drug"
    assert polished.wells["viability"][drug].std() < 0.6 * plain.wells["viability"][drug].std()
    assert "median-polish" in codes(polished.findings)
    with pytest.raises(DataError, match="row and column"):
        normalise_plates(wells.drop(columns="row"), polish=True)


def plain_wells(**columns: object) -> pd.DataFrame:
    content: dict[str, object] = {
        "sample_id": "S",
        "drug_id": "D",
        "dose": [1.0, 2.0, 4.0],
        "viability": [1.0, 0.8, 0.3],
    }
    return pd.DataFrame(content | columns)


def test_wells_that_cannot_be_used_are_counted() -> None:
    findings = Findings()
    wells = check_wells(plain_wells(dose=[0.0, 2.0, np.inf], drug_id=["D", "D", "D"]), findings)
    assert len(wells) == 1
    assert codes(findings) == {"infinite": 1, "wells-without-dose": 2}
    findings = Findings()
    assert len(check_wells(plain_wells(sample_id=["S", None, " "]), findings)) == 1
    assert codes(findings) == {"wells-without-id": 2}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"viability": [100.0, 80.0, 30.0]}, "divide percentages by 100"),
        ({"viability": ["1", "0,8", "0.3"]}, "'0,8'"),
        ({"role": ["drug", "DMSO", "what"]}, "'what'"),
        ({"dose": [0.0, -1.0, np.nan]}, "none of the 3 wells"),
    ],
)
def test_wells_that_are_refused(columns: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_wells(plain_wells(**columns))


def test_tables_that_are_no_wells() -> None:
    with pytest.raises(DataError, match="lacks 'dose'"):
        check_wells(plain_wells().drop(columns="dose"))
    with pytest.raises(DataError, match="no rows"):
        check_wells(plain_wells().iloc[:0])
    with pytest.raises(DataError, match="normalise_plates"):
        fit_curves(plain_wells().rename(columns={"viability": "intensity"}).assign(plate="P", role="drug"))


def test_ids_stay_text() -> None:
    assert as_text(pd.Series([753608.0, np.nan, 1.0])).tolist() == ["753608", None, "1"]
    assert as_text(pd.Series(["00123", " TRUE ", "", None])).tolist() == ["00123", "TRUE", None, None]
    assert as_text(pd.Series(["753608.0", "", "1.0"])).tolist() == ["753608", None, "1"]
    assert as_text(pd.Series(["1.0", "1.5"])).tolist() == ["1.0", "1.5"]
    assert as_text(pd.Series([1.5, 2.0])).tolist() == ["1.5", "2.0"]
    assert as_text(pd.Series([None, None], dtype=object)).tolist() == [None, None]
