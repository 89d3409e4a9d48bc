"""CCLE's and ProCan's matrices and annotations: either way round, ids, units, what is averaged and left out."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from halfmax.data.readers.kinds import Reading, read_any
from halfmax.errors import DataError
from tests.data.depmap_files import CCLE, FILES, METABOLITES, METHYLATION, PROCAN, PROTEINS, RPPA, put, sure_kinds
from tests.data.small_tables import SYMBOLS, codes, matrix

SHARED = os.environ.get("HALFMAX_SHARED_DATA")
KINDS = [kind for kind in FILES if kind.startswith(("ccle", "procan")) and kind != "ccle-drug"]


def reading_of(kind: str, folder: Path, content: str | None = None) -> Reading:
    name, make = FILES[kind]
    return read_any(put(folder, name, make() if content is None else content))


@pytest.mark.parametrize("kind", KINDS)
def test_each_file_is_recognised_and_read(tmp_path: Path, kind: str) -> None:
    name, make = FILES[kind]
    path = put(tmp_path, name, make())
    assert sure_kinds(path) == [kind]
    assert read_any(path).kind == kind


def test_expression_by_genes_is_turned_and_named(tmp_path: Path) -> None:
    reading = reading_of("ccle-expression", tmp_path)
    frame = reading.part("expression")
    assert list(frame.index) == CCLE
    assert list(frame.columns) == SYMBOLS
    np.testing.assert_allclose(frame.to_numpy(), matrix().round(4).to_numpy(), rtol=1e-6)
    assert (reading.parts[0].unit, reading.parts[0].id_kind) == ("log2", "ccle_name")


def test_expression_by_lines_is_the_same(tmp_path: Path) -> None:
    frame = matrix().round(4).set_axis(pd.Index(CCLE, name="ccle_name"), axis=0)
    path = tmp_path / "CCLE_U133_RMA.parquet"
    frame.to_parquet(path)
    turned = reading_of("ccle-expression", tmp_path).part("expression")
    pd.testing.assert_frame_equal(read_any(path).part("expression"), turned)


def test_missing_antibodies_and_doubtful_ones_are_told(tmp_path: Path) -> None:
    reading = reading_of("ccle-rppa", tmp_path)
    frame = reading.part("proteomics")
    np.testing.assert_allclose(frame.loc["A549_LUNG"].to_numpy(), [-0.1, 0.06, 0.3, np.nan, 1], rtol=1e-6)
    assert {"missing-values", "antibodies-in-doubt"} <= set(codes(reading.findings))


def test_a_line_without_ach_id_keeps_its_ccle_name(tmp_path: Path) -> None:
    reading = reading_of("ccle-metabolomics", tmp_path)
    assert list(reading.part("metabolomics").index) == ["ACH-000681", "OC315_OVARY"]
    assert reading.part("samples").loc["ACH-000681", "ccle_name"] == "A549_LUNG"
    assert "other-ids" in codes(reading.findings)
    assert reading.parts[0].unit == "log10"


def test_annotations_have_the_ids_of_both_kinds(tmp_path: Path) -> None:
    samples = reading_of("ccle-annotations", tmp_path).part("samples")
    assert samples.loc["ACH-000698", ["ccle_name", "tissue", "cancer_type"]].tolist() == ["DMS53_LUNG", "lung", "SCLC"]
    assert "WS1_SKIN" in samples.index


def test_methylation_is_a_fraction(tmp_path: Path) -> None:
    frame = reading_of("ccle-methylation", tmp_path).part("methylation")
    np.testing.assert_array_equal(frame.to_numpy(), np.array([[0.25, np.nan], [0.5, 1.0]], dtype=np.float32))
    assert list(frame.columns) == ["SGIP1_1_66998824_66999824", "SKI_1_2159133_2160133"]
    with pytest.raises(DataError, match="25"):
        reading_of("ccle-methylation", tmp_path, METHYLATION.replace("\t0.25\t", "\t25\t"))


def test_ten_plexes_of_a_line_are_averaged(tmp_path: Path) -> None:
    reading = reading_of("ccle-proteomics", tmp_path)
    frame = reading.part("proteomics")
    assert list(frame.index) == ["A549_LUNG", "MCF7_BREAST"]
    assert list(frame.columns) == ["P55011", "P37108"]
    assert frame.loc["A549_LUNG"].tolist() == [3.0, 1.0]  # the mean of 2 and 4; the one value there is
    assert {"several-plexes", "peptide-counts"} <= set(codes(reading.findings))


def test_procan_is_named_by_sanger_ids_and_accessions(tmp_path: Path) -> None:
    reading = reading_of("procan-proteomics", tmp_path)
    frame = reading.part("proteomics")
    assert list(frame.index) == ["SIDM00018", "SIDM00023"]
    assert list(frame.columns) == ["P37108", "Q96JP5"]
    assert reading.part("samples")["name"].tolist() == ["K052", "TE-12"]
    assert reading.parts[0].id_kind == "sidm"
    with pytest.raises(DataError, match="1 samples are not named"):
        reading_of("procan-proteomics", tmp_path, PROCAN.replace("SIDM00023;", ""))


@pytest.mark.parametrize(
    ("kind", "content", "match"),
    [
        ("ccle-rppa", RPPA.replace("MCF7_BREAST", "A549_LUNG"), "A549_LUNG"),
        ("ccle-rppa", RPPA.replace("1,2,3,4,5", "1,2,x,4,5"), "row 3, column Akt_pS473"),
        ("ccle-metabolomics", METABOLITES.replace("6.0,", "inf,"), "OC315_OVARY × 2-aminoadipate"),
        ("ccle-proteomics", PROTEINS.replace("1.0,NA,", "1.0,NA,3,"), "row 3 has 12"),
    ],
)
def test_bad_files_are_refused_with_the_place(tmp_path: Path, kind: str, content: str, match: str) -> None:
    with pytest.raises(DataError, match=match):
        reading_of(kind, tmp_path, content)


@pytest.mark.slow
@pytest.mark.skipif(SHARED is None, reason="HALFMAX_SHARED_DATA is not set")
def test_real_files() -> None:
    folder = Path(SHARED or "")
    expected = {
        "ccle/CCLE_U133_RMA_log2_500x1000.parquet": ("ccle-expression", "expression", (500, 1000), "rma"),
        "omics/CCLE_RPPA_20181003.csv": ("ccle-rppa", "proteomics", (899, 214), "log2_centred"),
        "omics/CCLE_metabolomics_20190502.csv": ("ccle-metabolomics", "metabolomics", (928, 225), "log10"),
        "omics/CCLE_RRBS_methylation_561x808.parquet": ("ccle-methylation", "methylation", (561, 808), "fraction"),
        "ccle/CCLE_Cell_lines_annotations_20181226.txt": ("ccle-annotations", "samples", (1461, 32), None),
    }
    for name, (kind, role, shape, unit) in expected.items():
        reading = read_any(folder / name)
        assert (reading.kind, reading.part(role).shape, reading.parts[0].unit) == (kind, shape, unit), name
    rppa = pd.read_csv(folder / "omics" / "CCLE_RPPA_20181003.csv", index_col=0)
    frame = read_any(folder / "omics" / "CCLE_RPPA_20181003.csv").part("proteomics")
    np.testing.assert_allclose(frame.to_numpy(), rppa.to_numpy(), rtol=1e-6)
