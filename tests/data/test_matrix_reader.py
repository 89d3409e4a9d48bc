"""A user's matrices: either way round, in any dress, put right and said, or refused with the place."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from halfmax.data.identifiers import match_genes
from halfmax.data.readers.table import read_omics
from halfmax.errors import DataError, UnknownNameError
from tests.data.small_tables import RNG, SYMBOLS, codes, matrix, text


@pytest.mark.parametrize("sep", [",", "\t", ";"])
@pytest.mark.parametrize("lies", ["rows", "columns"])
@pytest.mark.parametrize("packed", [False, True])
def test_either_way_round_in_any_dress_gives_the_same(tmp_path: Path, sep: str, lies: str, packed: bool) -> None:
    frame = matrix()
    content = (frame if lies == "rows" else frame.T).to_csv(sep=sep).encode()
    path = text(tmp_path, gzip.compress(content) if packed else content, "m.csv.gz" if packed else "m.csv")
    table = read_omics(path)
    pd.testing.assert_frame_equal(table.frame, frame, check_column_type=False, check_index_type=False)
    assert table.orientation == ("samples_by_features" if lies == "rows" else "features_by_samples")
    assert table.unit is not None
    assert table.unit.unit == "log2"


def test_parquet_and_a_workbook_give_the_same(tmp_path: Path) -> None:
    pytest.importorskip("openpyxl")
    frame = matrix()
    frame.to_parquet(tmp_path / "m.parquet")
    frame.astype(float).T.to_excel(tmp_path / "m.xlsx")
    for name in ("m.parquet", "m.xlsx"):
        np.testing.assert_array_equal(read_omics(tmp_path / name).frame, frame)


def test_one_sample_without_a_header_is_named_by_its_file(tmp_path: Path) -> None:
    frame = matrix(1)
    content = frame.T.to_csv(sep="\t", header=False)
    table = read_omics(text(tmp_path, content, "patient7.tsv"))
    assert table.frame.index.tolist() == ["patient7"]
    np.testing.assert_array_equal(table.frame, frame)
    whole = "\n".join(f"{gene}\t{i}" for i, gene in enumerate(SYMBOLS))
    assert read_omics(text(tmp_path, whole, "patient8.txt"), unit="counts").frame.shape == (1, len(SYMBOLS))


def test_numeric_sample_ids_are_not_taken_for_genes(tmp_path: Path) -> None:
    frame = matrix().set_axis([str(i) for i in range(906790, 906796)])
    table = read_omics(text(tmp_path, frame.T.to_csv(), "m.csv"))
    assert table.frame.index.tolist() == frame.index.tolist()
    zeros = matrix().set_axis(["007", "TRUE", "NA", "null", "1e5", "00123"])
    assert read_omics(text(tmp_path, zeros.to_csv(), "z.csv")).frame.index.tolist() == zeros.index.tolist()


def test_a_gene_called_na_stays_text(tmp_path: Path) -> None:
    frame = matrix()
    frame.columns = pd.Index([*SYMBOLS[:-2], "NA", "null"])
    table = read_omics(text(tmp_path, frame.to_csv(), "m.csv"))
    assert table.frame.columns[-2:].tolist() == ["NA", "null"]


def test_duplicate_genes_are_averaged_and_counted_or_refused(tmp_path: Path) -> None:
    frame = matrix()
    doubled = pd.concat([frame, frame.iloc[:, [3]] + 2, frame.iloc[:, [5]]], axis=1)
    path = text(tmp_path, doubled.to_csv(), "m.csv")
    table = read_omics(path)
    np.testing.assert_allclose(table.frame[SYMBOLS[3]], frame[SYMBOLS[3]] + 1, rtol=1e-6)
    np.testing.assert_array_equal(table.frame.drop(columns=SYMBOLS[3]), frame.drop(columns=SYMBOLS[3]))
    finding = next(f for f in table.findings if f.code == "duplicate-genes")
    assert (finding.count, finding.examples) == (2, (SYMBOLS[3], SYMBOLS[5]))
    with pytest.raises(DataError, match=rf"2 duplicate genes .*'{SYMBOLS[3]}', '{SYMBOLS[5]}'.*strict"):
        read_omics(path, strict=True)


def test_duplicate_samples_are_refused(tmp_path: Path) -> None:
    frame = matrix().set_axis(["a", "b", "a", "c", "c", "c"])
    for content in (frame.to_csv(), frame.T.to_csv()):
        with pytest.raises(DataError, match=r"2 sample ids occur more than once: 'a \(2 times\)', 'c \(3 times\)'"):
            read_omics(text(tmp_path, content, "m.csv"))


def test_old_names_and_dates_are_renamed_and_said_or_refused(tmp_path: Path) -> None:
    frame = matrix()
    frame.columns = pd.Index([*SYMBOLS[:-5], "FAM134B", "2-Sep", "1-Mar", "HLA.A", "ENSG00000141510.18"])
    path = text(tmp_path, frame.to_csv(), "m.csv")
    table = read_omics(path)
    assert table.frame.columns[-5:].tolist() == ["RETREG1", "SEPTIN2", "1-Mar", "HLA-A", "TP53"]
    told = {f.code: f.examples for f in table.findings}
    assert told["retired-symbols"] == ("FAM134B → RETREG1",)
    assert told["excel-dates"] == ("2-Sep → SEPTIN2",)
    assert told["excel-dates-unclear"] == ("1-Mar (MARCHF1 or MTARC1)",)
    with pytest.raises(DataError, match=r"retired symbols renamed.*FAM134B"):
        read_omics(path, strict=True)


def test_an_old_and_a_current_name_of_one_gene_are_kept_apart(tmp_path: Path) -> None:
    frame = matrix()
    frame.columns = pd.Index([*SYMBOLS[:-2], "FAM134B", "RETREG1"])
    table = read_omics(text(tmp_path, frame.to_csv(), "m.csv"))
    assert table.frame.columns[-2:].tolist() == ["FAM134B", "RETREG1"]
    np.testing.assert_array_equal(table.frame, frame)
    assert "several-names" in codes(table.findings)


def test_mouse_genes_are_refused(tmp_path: Path) -> None:
    frame = matrix().rename(columns=str.capitalize)
    with pytest.raises(DataError, match="mouse genes"):
        read_omics(text(tmp_path, frame.to_csv(), "m.csv"))
    ids = matrix().set_axis([f"ENSMUSG{i:011d}.3" for i in range(len(SYMBOLS))], axis=1)
    with pytest.raises(DataError, match="mouse genes"):
        read_omics(text(tmp_path, ids.to_csv(), "m.csv"))


def test_a_table_without_genes_is_refused_with_both_sides(tmp_path: Path) -> None:
    frame = matrix().set_axis([f"probe{i}_at" for i in range(len(SYMBOLS))], axis=1)
    path = text(tmp_path, frame.to_csv(), "m.csv")
    with pytest.raises(DataError, match=r"neither its rows \('line-0'.* nor its columns \('probe0_at'"):
        read_omics(path)
    assert read_omics(path, orientation="samples_by_features").frame.shape == frame.shape


def test_missing_values_stay_missing_and_are_counted(tmp_path: Path) -> None:
    frame = matrix()
    frame.iloc[2, 4] = frame.iloc[3, 5] = np.nan
    frame.iloc[4] = np.nan
    table = read_omics(text(tmp_path, frame.to_csv(na_rep="NA"), "m.csv"))
    np.testing.assert_array_equal(table.frame, frame)
    finding = next(f for f in table.findings if f.code == "missing-values")
    assert (finding.count, finding.examples) == (2 + len(SYMBOLS), ("line-2", "line-3", "line-4"))
    assert next(f for f in table.findings if f.code == "empty-samples").examples == ("line-4",)


@pytest.mark.parametrize("cell", ["inf", "-Infinity", "1e400", "1e39"])
def test_infinite_and_too_large_values_are_refused_by_place(tmp_path: Path, cell: str) -> None:
    frame = matrix().astype(object)
    frame.iloc[2, 4] = cell
    with pytest.raises(DataError, match=rf"1 values are infinite or too large: 'line-2 × {SYMBOLS[4]}'"):
        read_omics(text(tmp_path, frame.to_csv(), "m.csv"))


def test_text_among_the_numbers_is_refused_by_place(tmp_path: Path) -> None:
    frame = matrix().astype(object)
    frame.iloc[2, 4] = "low"
    with pytest.raises(DataError, match=rf"1 cells in 1 columns are no numbers: row 4, column {SYMBOLS[4]}: 'low'"):
        read_omics(text(tmp_path, frame.to_csv(), "m.csv"))


def test_decimal_commas_are_read_or_refused(tmp_path: Path) -> None:
    frame = matrix()
    path = text(tmp_path, frame.T.to_csv(sep=";", decimal=","), "m.csv")
    table = read_omics(path)
    np.testing.assert_allclose(table.frame, frame, rtol=1e-6)
    assert "decimal-comma" in codes(table.findings)
    with pytest.raises(DataError, match=r"6 columns have decimal commas.*'line-0'"):
        read_omics(path, strict=True)


def test_describing_columns_and_summary_rows_are_left_out_and_said(tmp_path: Path) -> None:
    frame = np.exp2(matrix()).round().T
    frame.insert(0, "gene_type", "protein_coding")
    frame.insert(1, "Length", 1000)
    frame.loc["__no_feature"] = ["", 0, *[9e6] * 6]
    table = read_omics(text(tmp_path, frame.to_csv(sep="\t", index_label="gene"), "counts.txt"))
    assert table.frame.shape == (6, len(SYMBOLS))
    assert next(f for f in table.findings if f.code == "annotations").examples == ("gene_type", "Length")
    assert next(f for f in table.findings if f.code == "summary-rows").examples == ("__no_feature",)


def test_a_star_file_gives_its_tpm(tmp_path: Path) -> None:
    rows = [f"ENSG{i}.1\t{gene}\tprotein_coding\t{i}\t1\t1\t{i / 2}\t1.0\t1.0" for i, gene in enumerate(SYMBOLS)]
    head = "# gene-model: GENCODE v36\ngene_id\tgene_name\tgene_type\tunstranded\tstranded_first\tstranded_second"
    content = f"{head}\ttpm_unstranded\tfpkm_unstranded\tfpkm_uq_unstranded\nN_unmapped\t\t\t8\t8\t8\t\t\t\n"
    table = read_omics(text(tmp_path, content + "\n".join(rows), "TCGA-X.rna_seq.tsv"), unit="tpm")
    assert table.frame.index.tolist() == ["TCGA-X"]
    np.testing.assert_allclose(table.frame.iloc[0], np.arange(len(SYMBOLS)) / 2)


def test_raw_counts_are_found_said_and_set_against_the_genes_alone(tmp_path: Path) -> None:
    counts = (np.exp2(matrix()) * 30).round()
    plain = read_omics(text(tmp_path, counts.to_csv(), "m.csv"))
    assert plain.unit is not None
    assert plain.unit.unit == "counts"
    logged, done = plain.logged()
    assert "converted to log2(CPM + 1)" in done.message
    more, _ = read_omics(text(tmp_path, counts.assign(age=60, reads=10**8).to_csv(), "n.csv")).logged()
    np.testing.assert_array_equal(more[SYMBOLS], logged)


def test_an_unclear_unit_is_refused_until_it_is_stated(tmp_path: Path) -> None:
    path = text(tmp_path, (np.exp2(matrix()) * 0.7).to_csv(), "fpkm.csv")
    table = read_omics(path)
    with pytest.raises(DataError, match=r"say it with unit=.*Seen: .*linear, but it may be"):
        table.logged()
    logged, done = read_omics(path, unit="fpkm").logged()
    np.testing.assert_allclose(logged, np.log2(table.frame + 1), rtol=1e-5)
    assert "log2(FPKM + 1)" in done.message
    doubted = read_omics(text(tmp_path, matrix().to_csv(), "log.csv"), unit="tpm")
    assert "unit-doubt" in codes(doubted.findings)
    with pytest.raises(UnknownNameError, match="Did you mean 'fpkm'"):
        read_omics(path, unit="fpk")


def test_negative_counts_are_refused(tmp_path: Path) -> None:
    counts = (np.exp2(matrix()) * 30).round()
    counts.iloc[0, 0] = -5
    with pytest.raises(DataError, match=r"1 read counts are negative, e\.g\. -5"):
        read_omics(text(tmp_path, counts.to_csv(), "m.csv"))


def test_order_and_further_columns_give_identical_genes(tmp_path: Path) -> None:
    frame = matrix()
    wanted = [*SYMBOLS[::3], "RETREG1"]
    base = read_omics(text(tmp_path, frame.to_csv(), "a.csv")).frame
    shuffled = frame.assign(tissue="lung", age=61.5, other=1e7).iloc[:, RNG.permutation(len(SYMBOLS) + 3)]
    other = read_omics(text(tmp_path, shuffled.to_csv(), "b.csv")).frame
    taken = [match_genes(f.columns, wanted).take(f.to_numpy()) for f in (base, other)]
    assert taken[0].tobytes() == taken[1].tobytes()


def test_mutations_and_copy_number_are_checked(tmp_path: Path) -> None:
    calls = pd.DataFrame(RNG.random((4, len(SYMBOLS))) < 0.1, [f"s{i}" for i in range(4)], SYMBOLS)
    for name, content in (("b.csv", calls.to_csv()), ("i.csv", calls.astype(int).T.to_csv())):
        np.testing.assert_array_equal(read_omics(text(tmp_path, content, name), "mutation").frame, calls)
    with pytest.raises(DataError, match="run from 0 to 2; give 1 for mutated"):
        read_omics(text(tmp_path, (calls * 2).to_csv(), "m.csv"), "mutation")
    gistic = calls.astype(int) * -2
    table = read_omics(text(tmp_path, gistic.to_csv(), "c.csv"), "copy_number")
    assert "GISTIC" in next(f for f in table.findings if f.code == "copy-number-scale").message
    maf = "Hugo_Symbol\tVariant_Classification\nTP53\tMissense_Mutation\n"
    with pytest.raises(DataError, match="list of mutations"):
        read_omics(text(tmp_path, maf, "x.maf"), "mutation")


def test_other_modalities_keep_their_names_and_lie_as_the_samples_say(tmp_path: Path) -> None:
    frame = pd.DataFrame(RNG.normal(size=(3, 4)), ["a", "b", "c"], ["AMP", "lactate", "TP53", "2-Sep"])
    table = read_omics(text(tmp_path, frame.to_csv(), "m.csv"), "metabolomics")
    assert table.frame.columns.tolist() == ["AMP", "lactate", "TP53", "2-Sep"]
    turned = read_omics(text(tmp_path, frame.T.to_csv(), "t.csv"), "metabolomics", sample_ids=["a", "b"])
    np.testing.assert_array_equal(turned.frame, table.frame)
    with pytest.raises(UnknownNameError, match="Did you mean 'metabolomics'"):
        read_omics(tmp_path / "m.csv", "metabolome")
