"""The screens PRISM, CTRP and CCLE: what is preferred, left out, averaged and counted, and in which scale."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from halfmax.data.readers.kinds import Part, Reading, read_any
from halfmax.errors import DataError
from tests.data.depmap_files import CCLE_DRUG, CTRP, PRISM, put, put_ctrp, sure_kinds
from tests.data.small_tables import codes

SHARED = os.environ.get("HALFMAX_SHARED_DATA")


def response(reading: Reading, measure: str) -> Part:
    (part,) = (p for p in reading.parts if p.measure is not None and p.measure.name == measure)
    return part


def values(reading: Reading, measure: str) -> dict[tuple[str, str], float]:
    frame = response(reading, measure).frame
    return dict(zip(zip(frame["sample_id"], frame["drug_id"], strict=True), frame["value"], strict=True))


def told(reading: Reading, code: str) -> str:
    return next(str(finding) for finding in reading.findings if finding.code == code)


def prism(folder: Path, content: str = PRISM) -> Path:
    return put(folder, "secondary-screen-dose-response-curve-parameters.csv", content)


def test_prism_prefers_the_newest_screen_and_counts_all_it_drops(tmp_path: Path) -> None:
    path = prism(tmp_path)
    assert sure_kinds(path) == ["prism-secondary"]
    reading = read_any(path)
    first = ("ACH-000001", "BRD-K00000001")
    assert values(reading, "ln_ic50") == {first: pytest.approx(np.log(4))}  # two batches, averaged as logarithms
    assert values(reading, "auc") == {
        first: pytest.approx(0.6),
        ("ACH-000002", "BRD-K00000002"): 0.9,
        ("HT29_LARGE_INTESTINE", "BRD-K00000002"): 0.8,
    }
    assert "1 of 6" in told(reading, "failed-str-profiling")
    assert told(reading, "older-screens").startswith("1 rows")
    assert told(reading, "only-older-screens").startswith("2 rows")
    assert told(reading, "no-ic50").startswith("1 values")
    assert "2 of 4 rows" in told(reading, "without-ln_ic50")
    assert "HT29_LARGE_INTESTINE" in told(reading, "other-ids")
    assert response(reading, "ln_ic50").id_kind == "ach"
    drugs = reading.part("drugs")
    assert drugs.loc["BRD-K00000002", ["name", "smiles"]].tolist() == ["drug-b", "CCN"]


def test_another_screen_can_be_preferred(tmp_path: Path) -> None:
    reading = read_any(prism(tmp_path), screen="HTS002")
    assert values(reading, "auc")[("ACH-000001", "BRD-K00000001")] == 0.1


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("broad_id", "compound", "broad_id"),
        (",TRUE,", ",FALSE,", "none of its 6 rows passed"),
        (",TRUE,", ",perhaps,", "perhaps"),
        (",2.0,drug-a", ",two,drug-a", "row 2: two"),
        (",auc,ec50,ic50,", ",a,b,c,", "no column ic50, auc or ec50"),
    ],
)
def test_bad_prism_files_are_refused(tmp_path: Path, old: str, new: str, match: str) -> None:
    with pytest.raises(DataError, match=match):
        read_any(prism(tmp_path, PRISM.replace(old, new)), "prism-secondary")


def test_ctrp_keeps_its_own_scale_and_says_so(tmp_path: Path) -> None:
    folder = put_ctrp(tmp_path)
    assert sure_kinds(folder) == ["ctrp"]
    reading = read_any(folder)
    assert values(reading, "ctrp_auc") == {("A549", "drug-a"): 13.5, ("MCF7", "drug-b"): 6.0}
    measure = response(reading, "ctrp_auc").measure
    assert measure is not None
    assert not measure.higher_is_sensitive
    assert "not 0 to 1" in told(reading, "ctrp-auc")
    assert values(reading, "ln_ec50")[("MCF7", "drug-b")] == pytest.approx(np.log(0.1))
    assert reading.part("samples").loc["A549", "tissue"] == "lung"
    assert reading.part("drugs").loc["drug-a", ["smiles", "broad_id"]].tolist() == ["CCO", "BRD-K00000001"]
    assert {"no-cell-line", "no-compound", "mixtures", "duplicate-pairs"} <= set(codes(reading.findings))


def test_ctrp_mixtures_are_kept_if_asked_for(tmp_path: Path) -> None:
    reading = read_any(put_ctrp(tmp_path), mixtures=True)
    assert values(reading, "ctrp_auc")[("MCF7", "a:b (1:1 mol/mol)")] == 9.0


def test_ctrp_reads_packed_tables(tmp_path: Path) -> None:
    put_ctrp(tmp_path)
    plain = tmp_path / "v20.data.curves_post_qc.txt"
    (tmp_path / f"{plain.name}.gz").write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
    assert len(values(read_any(tmp_path), "ctrp_auc")) == 2


def test_a_ctrp_folder_without_a_table_is_refused(tmp_path: Path) -> None:
    (put_ctrp(tmp_path) / "v20.meta.per_compound.txt").unlink()
    with pytest.raises(DataError, match="per_compound"):
        read_any(tmp_path)


@pytest.mark.parametrize(
    ("name", "old", "new", "match"),
    [
        ("v20.meta.per_experiment.txt", "1\t8\t100", "1\t8\t101", "several lines: '1'"),
        ("v20.meta.per_compound.txt", "11\tdrug-b", "10\tdrug-b", "'10'"),
        ("v20.data.curves_post_qc.txt", "area_under_curve", "area", "area_under_curve"),
        ("v20.data.curves_post_qc.txt", "14.5", "high", "row 2: high"),
        ("v20.meta.per_cell_line.txt", "ccl_name", "line", "ccl_name"),
    ],
)
def test_bad_ctrp_tables_are_refused(tmp_path: Path, name: str, old: str, new: str, match: str) -> None:
    put_ctrp(tmp_path)
    content = CTRP[name].replace(old, new)
    if old == "area_under_curve":
        content = content.replace("apparent_ec50_umol", "ec50")
    put(tmp_path, name, content)
    with pytest.raises(DataError, match=match):
        read_any(tmp_path)


def test_the_ccle_screen_has_responses_and_wells(tmp_path: Path) -> None:
    reading = read_any(put(tmp_path, "drug.csv", CCLE_DRUG))
    assert reading.kind == "ccle-drug"
    pair, other = ("1321N1_CENTRAL_NERVOUS_SYSTEM", "AEW541"), ("A549_LUNG", "AEW541")
    assert values(reading, "ln_ic50") == {pair: pytest.approx(np.log(8)), other: pytest.approx(np.log(2.5))}
    assert values(reading, "act_area") == {pair: 0.71, other: 1.67}
    assert response(reading, "ln_ic50").frame["at_highest_dose"].tolist() == [True, False]
    wells = reading.part("wells")
    assert wells["dose"].tolist() == [0.0025, 0.008, 8, 0.0025, 8]
    np.testing.assert_allclose(wells["viability"], [1.0867, 0.9, 0.57, 1.01, 0.2])
    np.testing.assert_allclose(wells["sd"], [0.0331, 0.0372, 0.0751, 0.01, 0.02])
    assert "1 of 2" in told(reading, "at-highest-dose")


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ('".0025,8"', '".0025,.08,8"', "row 3: 3 doses, 2 of viability"),
        ('".0025,8"', '"0,8"', "1 doses are zero"),
        ('"1,-80"', '"1,low"', "row 3: 'low'"),
        ("A549_LUNG", "", "rows '3'"),
    ],
)
def test_bad_ccle_screens_are_refused(tmp_path: Path, old: str, new: str, match: str) -> None:
    with pytest.raises(DataError, match=match):
        read_any(put(tmp_path, "drug.csv", CCLE_DRUG.replace(old, new)))


@pytest.mark.slow
@pytest.mark.skipif(SHARED is None, reason="HALFMAX_SHARED_DATA is not set")
def test_the_real_ccle_screen() -> None:
    path = Path(SHARED or "") / "ccle" / "CCLE_NP24.2009_Drug_data_2015.02.24.csv"
    reading, raw = read_any(path), pd.read_csv(path)
    frame = response(reading, "ln_ic50").frame
    np.testing.assert_allclose(frame["value"], np.log(raw["IC50 (uM)"]))
    np.testing.assert_allclose(response(reading, "act_area").frame["value"], raw["ActArea"])
    assert frame["at_highest_dose"].sum() == (raw["IC50 (uM)"] == 8).sum() + 2  # two curves end at 2.53 µM
    assert len(reading.part("wells")) == raw["Num Data"].sum()
    assert reading.part("drugs").shape[0] == 24
