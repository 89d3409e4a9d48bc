"""GDSC's and the Cell Model Passports' files: every layout is recognised, and nothing is merged in silence."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from halfmax.data.readers.kinds import read_any, recognise
from halfmax.errors import DataError
from tests.data.gdsc_files import (
    COMPOUNDS,
    COSMIC,
    FILES,
    MUTATIONS,
    NAMES,
    RAW,
    SIDM,
    cell_lines,
    export,
    genetic_features,
    put,
    rma,
    told,
    wes,
    workbook,
    write_csv,
)
from tests.data.small_tables import SYMBOLS, codes, matrix, text

SHARED = os.environ.get("HALFMAX_SHARED_DATA")


@pytest.mark.parametrize("name", FILES)
def test_each_file_is_recognised_as_one_kind_and_read(tmp_path: Path, name: str) -> None:
    if name.endswith(".xlsx"):
        pytest.importorskip("openpyxl")
    path = put(tmp_path, name)
    assert recognise(path)[0][1].name == FILES[name][0]
    reading = read_any(path)
    assert reading.kind == FILES[name][0]
    for part in reading.parts:
        assert len(part.frame)
        if part.role in ("samples", "drugs"):
            assert part.frame.index.is_unique
            assert all(isinstance(i, str) and i for i in part.frame.index)


# --- cell lines -----------------------------------------------------------------------------------------------------


@pytest.fixture
def details(tmp_path: Path) -> Path:
    pytest.importorskip("openpyxl")
    return put(tmp_path, "Cell_Lines_Details.xlsx")


def test_three_sheets_become_one_table_without_the_totals(details: Path) -> None:
    reading = read_any(details)
    lines = reading.part("samples")
    assert lines.index.tolist() == [*COSMIC, "906803"]
    assert reading.parts[0].id_kind == "cosmic"
    assert lines["name"].tolist() == [*NAMES, "ACN"]
    assert lines["tissue_subtype"].tolist()[:2] == ["myeloma", "ewings_sarcoma"]
    assert lines["cancer_type"].tolist() == ["MM", None, None, "COAD/READ", None]
    assert lines["cancer_type_name"].tolist()[::3] == [
        "Multiple Myeloma",
        "Colon adenocarcinoma and Rectum adenocarcinoma",
    ]
    assert lines["has_expression"].tolist() == [True, True, False, True, pd.NA]
    assert lines.loc["906803", "histology"] == "neuroblastoma"
    assert lines["other_name"].tolist() == [None, None, "ES_5", None, None]
    assert "row 6" in told(reading, "total-row")
    assert "ACN" in told(reading, "tissue-sheet-only")


def test_totals_that_do_not_add_up_are_told(tmp_path: Path) -> None:
    pytest.importorskip("openpyxl")
    sheets = cell_lines()
    first = sheets["Cell line details"]
    first.loc[0, "Gene Expression"] = "N"
    path = tmp_path / "Cell_Lines_Details.xlsx"
    path.write_bytes(workbook(sheets))
    assert "says 3 lines for has_expression, but 2 are marked" in told(read_any(path), "totals-differ")


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("COSMIC identifier", "684052", "1 COSMIC ids occur more than once: '684052'"),
        ("COSMIC identifier", "ES3", "1 COSMIC ids are no numbers: 'ES3'"),
        ("Methylation", "perhaps", "1 cells of has_methylation are neither Y nor N: 'PERHAPS'"),
    ],
)
def test_lines_that_cannot_be_are_refused(tmp_path: Path, column: str, value: str, said: str) -> None:
    frame = cell_lines()["Cell line details"].iloc[:-1].astype(object)
    frame.loc[2, column] = value
    with pytest.raises(DataError, match=said):
        read_any(write_csv(tmp_path, frame))


# --- compounds ------------------------------------------------------------------------------------------------------


def test_compounds_fit_the_drug_ids_of_any_file_of_responses(tmp_path: Path) -> None:
    drugs = read_any(put(tmp_path, "Drug_listWed Aug 2022.csv")).part("drugs")
    assert drugs.index.tolist() == [
        *("Camptothecin", "AZD6482", "Cyclopamine", "AZD6482 (1066)", "AZD6482 (2169)"),
        *("Camptothecin (1003, GDSC1)", "Camptothecin (1003, GDSC2)"),
    ]
    assert drugs.loc["AZD6482", "targets"] == "PIK3CB | PI3Kbeta"
    assert drugs.loc["AZD6482 (1066)", "targets"] == "PIK3CB"
    assert drugs.loc["Camptothecin (1003, GDSC2)", "n_cell_lines"] == "966"
    assert drugs.loc["Cyclopamine", "pubchem"] is None
    export_ids = set(read_any(write_csv(tmp_path, export())).part("response")["drug_id"])
    assert {name for name in export_ids if name.startswith("Camptothecin")} < set(drugs.index)


def test_values_that_end_in_blanks_are_trimmed(tmp_path: Path) -> None:
    path = text(tmp_path, COMPOUNDS.replace("PI3K/MTOR", "PI3K/MTOR "), "screened_compounds.csv")
    assert read_any(path).part("drugs").loc["AZD6482", "pathway"] == "PI3K/MTOR"


# --- expression -----------------------------------------------------------------------------------------------------


def test_expression_lies_samples_by_genes_under_cosmic_ids(tmp_path: Path) -> None:
    reading = read_any(put(tmp_path, "Cell_line_RMA_proc_basalExp.txt"))
    frame, part = reading.part("expression"), reading.parts[0]
    assert (part.unit, part.id_kind) == ("rma", "cosmic")
    assert frame.index.tolist() == COSMIC
    assert list(frame.columns) == SYMBOLS
    assert (frame.dtypes == np.float32).all()
    values = matrix(5).to_numpy() * 0.7 + 2.5
    np.testing.assert_allclose(frame.iloc[1], values[1], rtol=1e-5)
    np.testing.assert_allclose(frame.iloc[0], (values[0] + values[4]) / 2, rtol=1e-5)
    assert COSMIC[0] in told(reading, "repeated-lines")
    assert "row 201" in told(reading, "summary-rows")


def test_columns_without_cosmic_ids_are_refused(tmp_path: Path) -> None:
    frame = rma().rename(columns={f"DATA.{COSMIC[2]}": "DATA.ES5"})
    with pytest.raises(DataError, match=r"1 of 5 columns are not named by COSMIC ids .*'DATA.ES5'"):
        read_any(write_csv(tmp_path, frame))


# --- genetic features -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("new", [False, True])
def test_genetic_features_of_both_layouts(tmp_path: Path, new: bool) -> None:
    reading = read_any(write_csv(tmp_path, genetic_features(new=new)))
    events = reading.part("events")
    expected = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0], [1, 0, np.nan]], dtype=np.float32)
    np.testing.assert_array_equal(events.to_numpy(), expected)
    assert events.index.tolist() == COSMIC
    assert reading.part("features").loc["cnaPANCAN1"].tolist() == ["gain", "MDM2,FRS2"]
    assert reading.part("samples")["name"].tolist() == NAMES
    assert "1 of 12 pairs" in told(reading, "not-listed")


def test_contradictions_between_features_are_told_and_other_values_refused(tmp_path: Path) -> None:
    frame = genetic_features()
    twice = pd.concat([frame, frame.iloc[[0]].assign(is_mutated=1)])
    reading = read_any(write_csv(tmp_path, twice))
    assert reading.part("events").iloc[0, 0] == 1
    assert f"{COSMIC[0]} × TP53_mut" in told(reading, "contradictions")
    with pytest.raises(DataError, match="Refused"):
        read_any(write_csv(tmp_path, twice), strict=True)
    with pytest.raises(DataError, match=r"1 cells of 'is_mutated' are neither 0 nor 1: 'row 3: 2'"):
        read_any(write_csv(tmp_path, frame.assign(is_mutated=[0, 2, *[1] * 9])))


# --- mutations ------------------------------------------------------------------------------------------------------


def test_mutations_become_a_matrix_under_current_symbols(tmp_path: Path) -> None:
    reading = read_any(put(tmp_path, "mutations_all_20230202.csv"))
    frame = reading.part("mutation")
    assert reading.parts[0].id_kind == "sidm"
    assert frame.index.tolist() == SIDM
    assert list(frame.columns) == ["TP53", "KRAS", "KMT2A"]
    np.testing.assert_array_equal(frame.to_numpy(), [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]])
    assert (frame.dtypes == np.float32).all()
    assert "4 of 6 rows" in told(reading, "variants-kept")
    assert "MLL → KMT2A" in told(reading, "retired-symbols")
    assert reading.part("samples")["name"].tolist() == NAMES
    variants = reading.part("variants")
    assert variants["gene"].tolist() == ["TP53", "TP53", "KRAS", "KMT2A"]
    assert variants["protein_change"].tolist() == ["p.R175H", "p.R175H", "p.G12D", "p.Q10*"]
    assert variants["driver"].tolist() == [True, True, True, False]
    np.testing.assert_allclose(variants["allele_fraction"], [0.98, 0.97, 0.51, np.nan], rtol=1e-6)


@pytest.mark.parametrize(
    ("keep", "genes"), [("driver", ["TP53", "KRAS"]), ("all", ["TP53", "KRAS", "RETREG1", "KMT2A", "EGFR"])]
)
def test_what_counts_as_mutated_is_chosen_and_stated(tmp_path: Path, keep: str, genes: list[str]) -> None:
    reading = read_any(put(tmp_path, "mutations_all_20230202.csv"), keep=keep, variants=False)
    assert list(reading.part("mutation").columns) == genes
    assert ("drivers" if keep == "driver" else "all variants") in told(reading, "variants-kept")
    assert [part.role for part in reading.parts] == ["mutation", "samples"]


@pytest.mark.parametrize("form", ["gzip", "parquet"])
def test_mutations_are_the_same_in_every_form_and_in_small_batches(
    tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = read_any(put(tmp_path, "mutations_all_20230202.csv"))
    path = tmp_path / f"m.{form}"
    if form == "gzip":
        path.write_bytes(gzip.compress(MUTATIONS.encode()))
    else:
        pd.read_csv(tmp_path / "mutations_all_20230202.csv", keep_default_na=False, dtype=str).to_parquet(path)
    monkeypatch.setattr("halfmax.data.readers.streams._BATCH_ROWS", 2)
    monkeypatch.setattr("halfmax.data.readers.mutations._FLUSH", 1)
    again = read_any(path)
    pd.testing.assert_frame_equal(again.part("mutation"), whole.part("mutation"))
    assert again.part("variants").astype(str).equals(whole.part("variants").astype(str))


def test_variants_of_the_exomes_have_cosmic_ids(tmp_path: Path) -> None:
    pytest.importorskip("openpyxl")
    path = tmp_path / "WES_variants.xlsx"
    path.write_bytes(workbook({"WES_variants": wes()}))
    reading = read_any(path)
    frame = reading.part("mutation")
    assert frame.index.tolist() == COSMIC[:3]
    np.testing.assert_array_equal(frame[["TP53", "KRAS", "TTN"]].to_numpy(), np.eye(3))
    cancer_type = reading.part("samples")["cancer_type"]
    assert cancer_type.iloc[0] == "MM"
    assert cancer_type.iloc[1:].isna().all()
    with pytest.raises(DataError, match="does not say which variants are drivers"):
        read_any(path, keep="driver")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("gene_symbol", "symbols", "no column for the cell line or the gene"),
        ("Broad\nKRAS", "Broad,more\nKRAS", r"row 3 cannot be read: Expected 19 columns, got 20"),
        (",t,f,missense", ",perhaps,f,missense", "'driver' holds 'perhaps'"),
    ],
)
def test_lists_of_mutations_that_cannot_be_are_refused(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = text(tmp_path, MUTATIONS.replace(old, new), "mutations.csv")
    with pytest.raises(DataError, match=said):
        read_any(path, "cmp-mutations")


def test_an_effect_that_is_not_known_does_not_count_and_is_said(tmp_path: Path) -> None:
    content = MUTATIONS.replace("f,f,nonsense", "f,f,odd_word").replace("t,f,missense", "t,f,ess_splice")
    reading = read_any(text(tmp_path, content, "mutations.csv"))
    assert list(reading.part("mutation").columns) == ["TP53", "KRAS"]
    assert "'odd_word' 1" in told(reading, "unknown-classification")


def test_rows_without_a_line_or_gene_are_counted(tmp_path: Path) -> None:
    path = text(tmp_path, MUTATIONS.replace("SIDM00265,ES3,ENST00000256078", ",,ENST00000256078"), "mutations.csv")
    assert "1 of 6 rows name no cell line" in told(read_any(path), "rows-without-id")
    assert "KRAS" not in read_any(path).part("mutation")


# --- raw wells ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["csv", "gzip", "parquet"])
def test_wells_keep_the_official_columns(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"raw.{form}"
    if form == "parquet":
        put(tmp_path, "GDSC2_public_raw_data_24Jul22.csv")
        pd.read_csv(tmp_path / "GDSC2_public_raw_data_24Jul22.csv").to_parquet(path)
    else:
        path.write_bytes(gzip.compress(RAW.encode()) if form == "gzip" else RAW.encode())
    reading = read_any(path)
    wells = reading.part("wells")
    assert list(wells.columns) == RAW.split("\n")[0].split(",")
    assert len(wells) == 16
    assert wells["COSMIC_ID"].unique().tolist() == COSMIC[:2]
    assert wells["DRUG_ID"].isna().sum() == 8
    assert wells["DRUG_ID"].iloc[4:6].tolist() == ["1054", "1003"]
    assert wells["SCAN_ID"].iloc[0] == "2945"
    assert wells["CONC"].iloc[5:8].tolist() == [0.1, 0.05, 0.025]
    assert wells["INTENSITY"].dtype == np.float64
    assert reading.part("samples")["name"].tolist() == NAMES[:2]
    assert "2 plates, 2 drugs, 2 lines" in told(reading, "wells")


def test_further_readings_of_a_well_are_counted_not_dropped(tmp_path: Path) -> None:
    path = text(tmp_path, RAW + RAW.splitlines()[-1] + "\n", "raw.csv")
    reading = read_any(path)
    assert len(reading.part("wells")) == 17
    assert "1 rows are further rows" in told(reading, "repeated-wells")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("INTENSITY", "SIGNAL", "no column 'INTENSITY'"),
        (",38000\n", ",many\n", "2 cells of 'INTENSITY' are no numbers: 'row 4: many'"),
        (",38000\n", ",1e999\n", "2 values of 'INTENSITY' are infinite"),
        ("L1-D", "X-", "no TAG marks a well with a drug"),
    ],
)
def test_wells_that_cannot_be_are_refused(tmp_path: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_any(text(tmp_path, RAW.replace(old, new), "raw.csv"), "gdsc-raw")


# --- the published files --------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(SHARED is None, reason="HALFMAX_SHARED_DATA names no folder")
def test_published_files() -> None:
    folder = Path(str(SHARED)) / "gdsc"
    lines = read_any(folder / "Cell_Lines_Details.xlsx")
    assert len(lines.part("samples")) == 1029
    assert int(lines.part("samples")["has_expression"].sum()) == 968
    assert codes(lines.findings) == ["total-row", "tissue-sheet-only"]
    compounds = read_any(folder / "screened_compounds_rel_8.2.csv").part("drugs")
    assert compounds.loc[["AZD6482 (1066)", "Erlotinib"], "gdsc_drug_id"].tolist() == ["1066", "1 | 1168"]
    assert compounds["name"].nunique() == 462
    web = read_any(folder / "Drug_list_Aug2022.csv").part("drugs")
    assert web.loc["AZD6482", "targets"] == "PI3Kbeta | PIK3CB"
    raw = read_any(folder / "GDSC_raw_data_example.parquet")
    assert raw.part("wells").shape == (873_525, 18)
    assert len(raw.part("samples")) == 739
    head = read_any(folder / "GDSC_raw_data_example_head200.csv").part("wells")
    columns = [c for c in head if not c.endswith(("DATE_CREATED", "SCAN_DATE"))]
    pd.testing.assert_frame_equal(
        head[columns].astype(str), raw.part("wells").head(200)[columns].astype(str), check_dtype=False
    )
