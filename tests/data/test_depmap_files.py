"""DepMap's own files: models, matrices in both layouts, the scale of copy number, mutations in a stream."""

from __future__ import annotations

import gzip
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from halfmax.data.readers import depmap_mutations, variants
from halfmax.data.readers.depmap_matrix import copy_number_scale, read_depmap_copy_number, read_depmap_expression
from halfmax.data.readers.kinds import Reading, read_any
from halfmax.errors import DataError, UnknownNameError
from tests.data.depmap_files import (
    ACHS,
    FILES,
    GENES,
    MODEL,
    MUTATIONS,
    copy_number,
    damaging,
    expression,
    put,
    sure_kinds,
)
from tests.data.small_tables import SYMBOLS, codes, matrix

HEADER = MUTATIONS.splitlines()[0] + "\n"
SHARED = os.environ.get("HALFMAX_SHARED_DATA")


def file_of(kind: str, folder: Path) -> Path:
    name, make = FILES[kind]
    return put(folder, name, make())


def told(reading: Reading, code: str) -> str:
    return next(str(finding) for finding in reading.findings if finding.code == code)


@pytest.mark.parametrize("kind", [kind for kind in FILES if kind.startswith("depmap")])
def test_each_file_is_recognised_and_read(tmp_path: Path, kind: str) -> None:
    path = file_of(kind, tmp_path)
    assert sure_kinds(path) == [kind]
    reading = read_any(path)
    assert reading.kind == kind
    assert reading.parts[0].id_kind == "ach"
    assert set(reading.parts[0].frame.index[:2]) == set(ACHS[:2]) or kind == "depmap-copy-number"


def test_files_of_the_same_layout_and_another_meaning_are_not_taken_for_expression(tmp_path: Path) -> None:
    path = put(tmp_path, "CRISPRGeneEffect.csv", expression())
    assert not sure_kinds(path)


@pytest.mark.parametrize("form", ["csv", "gzip", "parquet"])
def test_expression_is_the_same_in_every_form(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"OmicsExpression.{form}"
    if form == "parquet":
        expression().astype(np.float32).to_parquet(path)
    else:
        text = expression().to_csv().encode()
        path.write_bytes(gzip.compress(text) if form == "gzip" else text)
    reading = read_any(path)
    frame = reading.part("expression")
    np.testing.assert_allclose(frame.to_numpy(), matrix().round(4).to_numpy(), rtol=1e-6)
    assert list(frame.columns) == SYMBOLS
    assert list(frame.index) == ACHS
    assert frame.to_numpy().dtype == np.float32
    assert reading.parts[0].unit == "log2"


def new_layout(first: str) -> pd.DataFrame:
    """Return the layout since 25Q2: eight sequencings of six models, two of them not the default."""
    frame = expression().iloc[[0, 1, 2, 3, 4, 5, 0, 1]].to_numpy().copy()
    frame[6:] += 1
    about = {
        first: [f"PR-{i}" for i in range(8)],
        "ModelID": [*ACHS, *ACHS[:2]],
        "is_default_entry" if first == "ProfileID" else "IsDefaultEntryForModel": ["Yes"] * 6 + ["No"] * 2,
        "ModelConditionID": [f"MC-{i}" for i in range(8)],
    }
    return pd.DataFrame(about).join(pd.DataFrame(frame, columns=GENES))


@pytest.mark.parametrize("first", ["SequencingID", "ProfileID"])
def test_default_entries_are_kept_and_the_others_counted(tmp_path: Path, first: str) -> None:
    path = put(tmp_path, "OmicsExpressionTPMLogp1HumanProteinCodingGenes.csv", new_layout(first))
    reading = read_any(path)
    np.testing.assert_allclose(reading.part("expression").to_numpy(), matrix().round(4).to_numpy(), rtol=1e-6)
    assert "2 of 8 rows" in told(reading, "default-entries")
    samples = reading.part("samples")
    assert list(samples["model_condition"]) == [f"MC-{i}" for i in range(6)]
    assert samples.index.tolist() == ACHS


def test_two_rows_of_a_model_are_refused(tmp_path: Path) -> None:
    frame = new_layout("SequencingID").drop(columns=["IsDefaultEntryForModel", "ModelConditionID"])
    with pytest.raises(DataError, match=r"2 sample ids .*ACH-000001"):
        read_any(put(tmp_path, "OmicsExpression.csv", frame))


def test_another_word_than_yes_or_no_is_refused(tmp_path: Path) -> None:
    frame = new_layout("SequencingID").replace({"Yes": "perhaps"})
    with pytest.raises(DataError, match="perhaps"):
        read_any(put(tmp_path, "OmicsExpression.csv", frame))


def conditions() -> pd.DataFrame:
    frame = copy_number("relative").iloc[:3]
    about = pd.DataFrame({"ModelConditionID": ["MC-1", "MC-2", "MC-3"], "IsDefaultEntryForMC": ["Yes"] * 3})
    return about.join(frame.reset_index(drop=True))


def test_conditions_get_their_models_from_a_table_and_are_averaged(tmp_path: Path) -> None:
    path = put(tmp_path, "OmicsCNGeneMC_WES.csv", conditions().set_index("ModelConditionID"))
    alone = read_any(path)
    assert alone.parts[0].id_kind == "model_condition"
    assert "models=" in told(alone, "profile-ids")
    table = put(
        tmp_path, "ModelCondition.csv", "ModelConditionID,ModelID\nMC-1,ACH-000001\nMC-2,ACH-000001\nMC-3,ACH-000002\n"
    )
    reading = read_any(path, models=table)
    frame = reading.part("copy_number")
    values = copy_number("relative").to_numpy()[:3]
    assert list(frame.index) == ["ACH-000001", "ACH-000002"]
    np.testing.assert_allclose(frame.to_numpy(), [values[:2].mean(axis=0), values[2]], rtol=1e-6)
    assert "1 models" in told(reading, "several-conditions")


def test_a_model_of_two_ids_is_refused(tmp_path: Path) -> None:
    path = put(tmp_path, "OmicsCNGeneMC_WES.csv", conditions().set_index("ModelConditionID"))
    table = put(tmp_path, "ModelCondition.csv", "ModelConditionID,ModelID\nMC-1,ACH-000001\nMC-1,ACH-000002\n")
    with pytest.raises(DataError, match="MC-1"):
        read_any(path, models=table)


@pytest.mark.parametrize("scale", ["relative", "log2_relative1"])
def test_the_scale_of_copy_number_shows_in_lost_copies(tmp_path: Path, scale: str) -> None:
    reading = read_any(put(tmp_path, "OmicsCNGene.csv", copy_number(scale)))
    assert reading.parts[0].unit == scale
    assert "0.585" in told(reading, "copy-number-scale")


@pytest.mark.parametrize(
    ("values", "unit"),
    [
        (np.r_[np.zeros(200), np.linspace(-2, 2, 50)], "log2_ratio"),
        (np.r_[np.full(200, 2.0), np.linspace(0, 6, 50)], "copies"),
        (np.r_[np.full(200, 1.0), np.linspace(0.9, 40, 50)], "relative"),
        (np.full(200, 1.0), "unknown"),
        (np.full(10, 1.0), "unknown"),
        (np.full(200, 1e4), "unknown"),
    ],
)
def test_scales_of_copy_number(values: np.ndarray, unit: str) -> None:
    assert copy_number_scale(values).unit == unit


def test_a_stated_scale_is_kept_and_doubted(tmp_path: Path) -> None:
    path = put(tmp_path, "OmicsCNGene.csv", copy_number("relative"))
    reading = read_depmap_copy_number(path, scale="log2_relative1")
    assert reading.parts[0].unit == "log2_relative1"
    assert "scale-doubt" in codes(reading.findings)
    with pytest.raises(UnknownNameError, match="log2_ratio"):
        read_depmap_copy_number(path, scale="log2_ratios")


def test_damaging_matrices_are_0_and_1(tmp_path: Path) -> None:
    reading = read_any(file_of("depmap-mutation-matrix", tmp_path))
    np.testing.assert_array_equal(reading.part("mutation").to_numpy(), (damaging() > 0).to_numpy())
    assert f"{int((damaging() == 2).to_numpy().sum())} values" in told(reading, "both-alleles")
    wrong = damaging()
    wrong.iloc[2, 3] = 7
    with pytest.raises(DataError, match=f"{ACHS[2]} × {SYMBOLS[3]}: 7"):
        read_any(put(tmp_path, "hotspot.csv", wrong))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda cells: ["ACH-000001", *cells[1:]], "ACH-000001.*more than once|1 sample ids"),
        (lambda cells: [cells[0], "much", *cells[2:]], "row 4, column .*'much'"),
        (lambda cells: [cells[0], "1e400", *cells[2:]], f"ACH-000003 × {re.escape(GENES[0])}"),
        (lambda cells: [*cells, "1"], "row 4 has"),
        (lambda cells: [*cells[:-1]], "row 4 has"),
        (lambda cells: [cells[0] + "\0", *cells[1:]], "NUL byte in row 4"),
        (lambda cells: ["", *cells[1:]], "1 rows name no cell line"),
    ],
)
def test_a_bad_matrix_is_refused_with_the_place(
    tmp_path: Path, change: Callable[[list[str]], list[str]], match: str
) -> None:
    lines = expression().to_csv().splitlines()
    lines[3] = ",".join(change(lines[3].split(",")))
    with pytest.raises(DataError, match=match):
        read_any(put(tmp_path, "OmicsExpression.csv", "\n".join(lines)), strict=True)


def test_duplicate_genes_are_averaged_or_refused(tmp_path: Path) -> None:
    frame = expression()
    frame.columns = [*GENES[:-1], GENES[0]]
    path = put(tmp_path, "OmicsExpression.csv", frame)
    reading = read_any(path)
    expected = frame.iloc[:, [0, -1]].mean(axis=1)
    np.testing.assert_allclose(reading.part("expression")[SYMBOLS[0]], expected, rtol=1e-6)
    assert "duplicate-genes" in codes(reading.findings)
    with pytest.raises(DataError, match="1 duplicate genes"):
        read_any(path, strict=True)


def test_too_large_a_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="1,000 cells"):
        read_depmap_expression(put(tmp_path, "OmicsExpression.csv", expression()), max_cells=1000)


def test_models_have_their_ids_and_usual_names(tmp_path: Path) -> None:
    samples = read_any(put(tmp_path, "Model.csv", MODEL)).part("samples")
    assert samples.loc["ACH-000001", "cosmic"] == "905933"
    assert samples.loc["ACH-000001", ["sidm", "rrid", "tissue", "cancer_type", "ccle_name"]].tolist() == [
        "SIDM00105",
        "CVCL_0465",
        "Ovary/Fallopian Tube",
        "HGSOC",
        "NIHOVCAR3_OVARY",
    ]
    assert samples.loc["ACH-000003"].isna()[["tissue", "cosmic"]].all()
    with pytest.raises(DataError, match="ACH-000001"):
        read_any(put(tmp_path, "Model.csv", MODEL.replace("ACH-000002", "ACH-000001")))


def test_older_releases_are_read_too(tmp_path: Path) -> None:
    info = "DepMap_ID,cell_line_name,stripped_cell_line_name,CCLE_Name,COSMICID,lineage\n"
    info += "ACH-000009,A 1,A1,A1_LUNG,1,lung\n"
    samples = read_any(put(tmp_path, "sample_info.csv", info)).part("samples")
    assert samples.loc["ACH-000009", ["name", "ccle_name", "cosmic", "tissue"]].tolist() == [
        "A 1",
        "A1_LUNG",
        "1",
        "lung",
    ]
    old = (
        "Hugo_Symbol,Entrez_Gene_Id,Variant_Classification,Protein_Change,isDeleterious,isCOSMIChotspot,DepMap_ID\n"
        "KRAS,3845,Missense_Mutation,p.G12D,False,True,ACH-000009\n"
    )
    reading = read_any(put(tmp_path, "CCLE_mutations.csv", old))
    assert reading.part("mutation_hotspot").loc["ACH-000009", "KRAS"] == 1
    assert reading.part("mutation_damaging").loc["ACH-000009", "KRAS"] == 0
    assert reading.part("variants").loc[0, "consequence"] == "Missense_Mutation"


def test_mutations_are_matrices_and_variants(tmp_path: Path) -> None:
    reading = read_any(put(tmp_path, "OmicsSomaticMutations.csv", MUTATIONS))
    listed, hit, hot = (reading.part(role) for role in ("mutation", "mutation_damaging", "mutation_hotspot"))
    assert listed.loc["ACH-000001", ["NRAS", "TP53"]].tolist() == [1, 1]
    assert hit.loc["ACH-000001", ["NRAS", "TP53"]].tolist() == [0, 1]
    assert hot.loc[["ACH-000001", "ACH-000002"], "TP53"].tolist() == [0, 1]
    assert listed.loc["ACH-000002", "RETREG1"] == 1  # listed as FAM134B
    assert list(listed.index) == ["ACH-000001", "ACH-000002"]
    table = reading.part("variants")
    assert table["gene"].tolist() == ["NRAS", "TP53", "TP53", "RETREG1"]
    assert table["protein_change"].tolist()[:2] == ["p.Q61R", "p.R196*"]
    assert "1 of 6" in told(reading, "default-entries")
    assert "1 of 6" in told(reading, "variants-without-model")


def test_the_order_and_number_of_columns_of_mutations_mean_nothing(tmp_path: Path) -> None:
    path = put(tmp_path, "OmicsSomaticMutations.csv", MUTATIONS)
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    other = tmp_path / "other.csv"
    frame[sorted(frame.columns, reverse=True)].drop(columns=["AF", "Chrom"]).to_csv(other, index=False)
    pd.testing.assert_frame_equal(read_any(path).part("mutation_hotspot"), read_any(other).part("mutation_hotspot"))


def test_a_profile_id_is_not_taken_for_the_model(tmp_path: Path) -> None:
    text = MUTATIONS.replace("Chrom,", "DepMap_ID,").replace("chr", "PR-")
    reading = read_any(put(tmp_path, "OmicsSomaticMutations.csv", text))
    assert list(reading.part("mutation").index) == ["ACH-000001", "ACH-000002"]


def test_batches_give_the_same_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(
        {
            "ModelID": rng.choice([f"ACH-{i:06d}" for i in range(90)], 5000),
            "HugoSymbol": rng.choice(SYMBOLS, 5000),
            "LikelyLoF": rng.choice(["True", "False"], 5000),
            "Hotspot": rng.choice(["True", "False"], 5000, p=[0.02, 0.98]),
        }
    )
    path = tmp_path / "OmicsSomaticMutations.csv"
    rows.to_csv(path, index=False)
    monkeypatch.setattr("halfmax.data.readers.streams._BLOCK", 1 << 12)
    reading = read_any(path)
    hit = rows[rows["LikelyLoF"] == "True"]
    expected = pd.crosstab(hit["ModelID"], hit["HugoSymbol"]).clip(upper=1)
    found = reading.part("mutation_damaging").loc[expected.index, expected.columns]
    np.testing.assert_array_equal(found, expected)
    assert reading.part("mutation_damaging").to_numpy().sum() == expected.to_numpy().sum()
    assert len(reading.part("variants")) == 5000


def test_variants_are_written_or_let_go_where_they_are_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path, "OmicsSomaticMutations.csv", MUTATIONS)
    kept = read_any(path).part("variants")
    monkeypatch.setattr(variants, "MOST_IN_MEMORY", 3)
    reading = read_any(path)
    assert "variants" not in [part.role for part in reading.parts]
    assert "variants=" in told(reading, "variants-not-kept")
    out = tmp_path / "variants.parquet"
    read_any(path, variants=out)
    pd.testing.assert_frame_equal(pd.read_parquet(out), kept)


def test_no_half_file_of_variants_is_left(tmp_path: Path) -> None:
    path = put(tmp_path, "OmicsSomaticMutations.csv", MUTATIONS + "chr1,1\n")
    with pytest.raises(DataError, match=r"row 8 .*12 columns"):
        read_any(path, variants=tmp_path / "variants.parquet")
    assert [p.name for p in tmp_path.iterdir()] == ["OmicsSomaticMutations.csv"]


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (MUTATIONS.replace("HugoSymbol", "Symbol"), "HugoSymbol"),
        (MUTATIONS.replace("ModelID", "Model"), "ModelID"),
        (MUTATIONS.replace("False,True", "False,maybe"), "maybe"),
        (HEADER, "no rows"),
        (HEADER + "chr1,1,,NRAS,False,True,4893,,Yes,,,\n", "names both a model and a gene"),
        (MUTATIONS.replace("p.Q61R", "p.Q\0R"), "NUL"),
        (MUTATIONS.replace("HugoSymbol", "AF"), "more than once"),
    ],
)
def test_bad_mutations_are_refused(tmp_path: Path, content: str, match: str) -> None:
    with pytest.raises(DataError, match=match):
        depmap_mutations.read_depmap_mutations(put(tmp_path, "m.csv", content))


@pytest.mark.slow
@pytest.mark.skipif(SHARED is None, reason="HALFMAX_SHARED_DATA is not set")
def test_real_files() -> None:
    folder = Path(SHARED or "")
    samples = read_any(folder / "ccle" / "DepMap_Model_24Q2.csv").part("samples")
    assert samples.shape[0] == 1959
    assert samples.loc["ACH-000001", ["cosmic", "sidm", "rrid"]].tolist() == ["905933", "SIDM00105", "CVCL_0465"]
    cn = read_any(folder / "ccle" / "CCLE_DepMap_cn_ratio_580x706.parquet")
    assert cn.part("copy_number").shape == (580, 706)
    assert cn.parts[0].unit == "log2_relative1"
    portal = read_any(folder / "formats" / "DepMap_OmicsSomaticMutations_sample_portal.csv")
    assert portal.part("mutation").loc["ACH-000706", "NRAS"] == 1
    zscores = read_any(folder / "ccle" / "CCLE_DepMap_expr_zscore_580x706.parquet")
    assert zscores.parts[0].unit == "zscore_gene"
