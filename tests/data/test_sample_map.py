"""Samples by any id: rows of DepMap's Model.csv (24Q2) and GDSC's Cell_Lines_Details.xlsx, and what must stay apart."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halfmax.data.cell_lines import normalise_name
from halfmax.data.id_map import IdMap
from halfmax.data.linking import Entry, link
from halfmax.data.sample_map import SAMPLE_SCHEME, sample_map
from halfmax.errors import DataError, UnknownNameError

SHARED = os.environ.get("HALFMAX_SHARED_DATA")  # read now: the tests hide a person's settings
# Rows of DepMap Public 24Q2 Model.csv (CC BY 4.0), a few columns.
MODEL = pd.DataFrame(
    [
        (
            "ACH-000002",
            "HL-60",
            "HL60",
            "CVCL_0002",
            "HL60_HAEMATOPOIETIC_AND_LYMPHOID_TISSUE",
            "SIDM00829",
            "905938.0",
        ),
        ("ACH-000001", "NIH:OVCAR-3", "NIHOVCAR3", "CVCL_0465", "NIHOVCAR3_OVARY", "SIDM00105", "905933.0"),
        (
            "ACH-000815",
            "KM-H2",
            "KMH2",
            "CVCL_1330",
            "KMH2_HAEMATOPOIETIC_AND_LYMPHOID_TISSUE",
            "SIDM01018",
            "909976.0",
        ),
        ("ACH-002397", "KMH-2", "KMHDASH2", "CVCL_S641", "KMH2_THYROID", "SIDM00619", "2054094.0"),
        ("ACH-000561", "T.T", "TDOTT", "CVCL_3174", "TT_OESOPHAGUS", "SIDM00322", "1299064.0"),
        ("ACH-001321", "TT", "TT", "CVCL_1774", "TT_THYROID", "SIDM00484", None),
        ("ACH-001024", "CHL-1", "CHL1", "CVCL_1122", "CHL1_SKIN", "SIDM01228", "910853.0"),
        ("ACH-001041", "CHL-1-DM", "CHL1DM", "CVCL_1122", "CHL1DM_SKIN", "SIDM00911", None),
    ],
    columns=["ModelID", "CellLineName", "StrippedCellLineName", "RRID", "CCLEName", "SangerModelID", "COSMICID"],
).set_index("ModelID")
# Rows of Cell_Lines_Details.xlsx (Genomics of Drug Sensitivity in Cancer).
DETAILS = pd.DataFrame(
    {"COSMIC identifier": ["905938", "905933", "909976", "1298167", "1299064", "930299"]},
    index=pd.Index(["HL-60", "OVCAR-3", "KM-H2", "KMH-2", "T-T", "TT"], name="Sample Name"),
)


@pytest.fixture(scope="module")
def lines() -> IdMap:
    return sample_map({"gdsc": DETAILS, "depmap": MODEL})


def only(lines: IdMap, text: str, kind: str | None = None) -> tuple[object, str, str]:
    row = lines.find([text], kind).frame.iloc[0]
    return row["id"], row["by"], row["how"]


@pytest.mark.parametrize(
    ("text", "by", "how"),
    [
        ("HL-60", "name", "exact"),
        ("hl 60", "name", "key"),
        ("905938", "cosmic", "id"),
        ("905938.0", "cosmic", "id"),
        ("ACH-000002", "ach", "id"),
        ("ach-000002", "ach", "id"),
        ("SIDM00829", "sidm", "id"),
        ("CVCL_0002", "rrid", "id"),
        ("RRID:CVCL_0002", "rrid", "id"),
        ("HL60_HAEMATOPOIETIC_AND_LYMPHOID_TISSUE", "ccle_name", "id"),
        ("HL60_SKIN", "name", "key"),
    ],
)
def test_a_line_is_found_by_any_of_its_ids(lines: IdMap, text: str, by: str, how: str) -> None:
    assert only(lines, text) == ("HL-60", by, how)


def test_tables_are_linked_by_id_where_names_differ(lines: IdMap) -> None:
    assert len(lines) == 9  # eight of DepMap, and GDSC's KMH-2 that has another COSMIC id
    assert only(lines, "NIH:OVCAR-3")[0] == only(lines, "OVCAR-3")[0] == "OVCAR-3"
    assert only(lines, "T.T") == ("T-T", "name", "exact")
    assert only(lines, "ACH-000561")[0] == "T-T"
    assert only(lines, "ACH-001321")[0] == "TT"
    assert only(lines, "TT_OESOPHAGUS")[0] == "T-T"


def test_one_name_with_two_cosmic_ids_is_two_lines_and_is_said(lines: IdMap) -> None:
    found = lines.find(["KMH-2"])
    assert found.ambiguous == {"KMH-2": ("KMH-2 (1298167)", "KMH-2 (ACH-002397)")}
    assert "KMH-2 (depmap)" in next(f for f in lines.findings if f.code == "ids-disagree").examples


def test_look_alikes_are_never_one_in_silence(lines: IdMap) -> None:
    spelt = lines.find(["T-T", "TT", "KM-H2"])
    assert spelt.ids == {"T-T": "T-T", "TT": "TT", "KM-H2": "KM-H2"}
    bare = lines.find(["HL60", "TT", "KMH2"])  # a table that has lost its spellings
    assert bare.ids == {"HL60": "HL-60"}
    assert bare.ambiguous["TT"] == ("T-T", "TT")
    with pytest.raises(DataError, match=r"2 sample ids may mean several samples: TT \(T-T or TT\).*--same 'TT=T-T'"):
        bare.require("file.csv")


def test_two_names_of_one_table_never_share_a_line_by_their_letters() -> None:
    only_tt = sample_map({"a": DETAILS.loc[["TT"]]})
    spelt = only_tt.find(["TT", "T-T"])
    assert spelt.ids == {"TT": "TT"}
    assert "the same table has as 'TT'" in spelt.unmatched["T-T"]
    alike = only_tt.find(["t-t", "T.T"])
    assert not alike.ids
    assert set(alike.ambiguous) == {"t-t", "T.T"}


def test_a_derived_line_is_not_its_parent() -> None:
    table = pd.DataFrame({"CCLEName": ["A549_LUNG", "A549CRAFKD_LUNG"]}, index=pd.Index(["A549", "A549_CRAF_KD"]))
    lines = sample_map({"t": table}, {"t": "name"})
    assert lines.find(["A549_LUNG", "A549_CRAF_KD", "A549_MEK_KD"]).ids == {
        "A549_LUNG": "A549", "A549_CRAF_KD": "A549_CRAF_KD"
    }  # fmt: skip
    # An id of the column is known whatever it looks like, and none is cut to a shorter name.
    odd = sample_map({"t": pd.DataFrame({"CCLE_ID": ["A549H3_Lung"]}, index=pd.Index(["A549-H3"]))}, {"t": "name"})
    assert odd.find(["A549H3_Lung", "A549H3_Brain"], "ccle_name").ids == {"A549H3_Lung": "A549-H3"}


def test_a_shared_cellosaurus_id_is_ambiguous(lines: IdMap) -> None:
    assert lines.find(["CVCL_1122"]).ambiguous == {"CVCL_1122": ("CHL-1", "CHL-1-DM")}


def test_a_person_can_state_what_is_meant(lines: IdMap) -> None:
    found = lines.find(["TT", "HL60"], same={"TT": "ACH-001321"})
    assert found.ids == {"TT": "TT", "HL60": "HL-60"}
    with pytest.raises(DataError, match="stated to be 'nothing'"):
        lines.find(["TT"], same={"TT": "nothing"})


def test_what_is_not_there_is_told_with_what_is_close(lines: IdMap) -> None:
    found = lines.find(["OVCAR-4", "SIDM99999"])
    assert "Did you mean 'OVCAR-3'" in found.unmatched["OVCAR-4"]
    assert found.unmatched["SIDM99999"] == "no table has this Sanger model id"


def test_a_name_as_r_writes_it_is_found() -> None:
    lines = sample_map({"t": pd.DataFrame(index=pd.Index(["5637", "22Rv1", "Hs 895.T"], name="name"))}, {"t": "name"})
    assert lines.find(["X5637_URINARY_TRACT", "X22Rv1", "Hs.895.T"]).ids == {
        "X5637_URINARY_TRACT": "5637", "X22Rv1": "22Rv1", "Hs.895.T": "Hs 895.T"
    }  # fmt: skip


def test_tumour_samples_stand_for_their_patient_and_normal_ones_do_not() -> None:
    patients = sample_map({"t": pd.DataFrame(index=pd.Index(["TCGA-OR-A5J1"], name="patient"))})
    found = patients.find(["TCGA-OR-A5J1-01A-11R-A29S-07", "TCGA-OR-A5J1-11A"])
    assert found.ids == {"TCGA-OR-A5J1-01A-11R-A29S-07": "TCGA-OR-A5J1"}
    samples = sample_map({"t": pd.DataFrame(index=pd.Index(["TCGA-OR-A5J1-01", "TCGA-OR-A5J1-11"], name="sample"))})
    assert samples.find(["TCGA-OR-A5J1-11A-33R"]).ids == {"TCGA-OR-A5J1-11A-33R": "TCGA-OR-A5J1-11"}


def test_the_id_can_be_of_any_kind() -> None:
    by_id = sample_map({"depmap": MODEL}, label_by="cosmic")
    assert by_id.find(["HL-60", "TT_THYROID"]).ids == {"HL-60": "905938", "TT_THYROID": "TT"}
    with pytest.raises(UnknownNameError, match="Did you mean 'cosmic'"):
        sample_map({"depmap": MODEL}, label_by="cosmik")


def test_the_report_counts_the_ways(lines: IdMap) -> None:
    notes = lines.find(["HL-60", "hl 60", "KMH-2", "T-T", "x"]).to_notes()
    assert (notes["given"], notes["matched"]) == (5, 2)
    assert notes["matched_by"] == {"name, exact": 2}
    assert [given for given, _ in notes["unmatched"]] == ["hl 60", "x"]  # HL-60 stands in the same table
    assert notes["ambiguous"][0][:2] == ["KMH-2", ["KMH-2 (1298167)", "KMH-2 (ACH-002397)"]]


def test_a_row_that_shows_two_earlier_rows_to_be_one_joins_them() -> None:
    rows = [
        Entry("a", "one", ids={"cosmic": ("1",)}),
        Entry("b", "two", ids={"ach": ("ACH-1",)}),
        Entry("c", "three", ids={"cosmic": ("1",), "ach": ("ACH-1",)}),
    ]
    links = link(rows, exclusive=SAMPLE_SCHEME.exclusive)
    assert links.entity_of == (0, 0, 0)
    assert links.entities[0].names == ("one", "two", "three")
    assert [f.code for f in links.findings] == ["joined-by-ids"]


def test_the_surer_id_decides() -> None:
    rows = [
        Entry("a", "x", ids={"ach": ("ACH-1",), "cosmic": ("1",)}),
        Entry("b", "y", ids={"ach": ("ACH-1",), "cosmic": ("2",)}),
        Entry("c", "z", ids={"ach": ("ACH-2",), "cosmic": ("1",)}),
    ]
    links = link(rows, exclusive=("ach", "cosmic"))
    assert links.entity_of == (0, 0, 1)
    assert {f.code for f in links.findings} == {"less-sure-ids-differ", "ids-disagree"}


NAMES = st.text("TMK2H-. ", min_size=1, max_size=6).filter(lambda t: t.strip() == t and normalise_name(t).isalnum())


@given(st.lists(NAMES, min_size=1, max_size=6, unique=True), st.lists(NAMES, min_size=1, max_size=6, unique=True))
@settings(max_examples=200)
def test_no_answer_merges_names_that_merely_look_alike(known: list[str], asked: list[str]) -> None:
    lines = sample_map({"t": pd.DataFrame(index=pd.Index(known, name="name"))}, {"t": "name"})
    assert len(lines) == len(known)
    found = lines.find(asked, "name").ids
    assert len(set(found.values())) == len(found)
    for given_name, label in found.items():
        assert normalise_name(given_name) == normalise_name(label)
        others = [name for name in known if normalise_name(name) == normalise_name(label)]
        assert given_name == label or len(others) == 1


@pytest.mark.slow
@pytest.mark.skipif(SHARED is None, reason="needs the official tables")
def test_the_official_tables_agree_on_the_lines() -> None:
    folder = Path(str(SHARED))
    model = pd.read_csv(folder / "ccle/DepMap_Model_24Q2.csv", dtype=str).set_index("ModelID")
    crosswalk = pd.read_csv(folder / "ccle/cell_line_crosswalk.csv", dtype=str).set_index("ModelID")
    rppa = pd.read_csv(folder / "omics/CCLE_RPPA_20181003.csv", usecols=[0]).iloc[:, 0]
    lines = sample_map({"depmap": model}, label_by="ach")
    assert len(lines) == len(model) == 1959
    assert set(lines.find(rppa).unmatched) == {"HCC1588_LUNG", "NCIH1339_LUNG", "COLO699_LUNG"}
    for column in ("SangerModelID", "COSMICID", "CCLEName", "CellLineName"):
        asked = crosswalk[column].dropna()
        asked = asked[~asked.duplicated(keep=False)]
        found = asked.map(lines.find(asked, "cosmic" if column == "COSMICID" else None).ids)
        assert (found == asked.index).mean() > 0.999
