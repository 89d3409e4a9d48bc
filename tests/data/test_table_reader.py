"""A user's own tables as matrices, responses, drugs and datasets: put right and said, or refused with the place."""

from __future__ import annotations

import gzip
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from halfmax.data.dataset import Measure, ResponseDataset
from halfmax.data.identifiers import match_genes
from halfmax.data.readers.table import read_dataset, read_drugs, read_omics, read_response, read_samples
from halfmax.errors import DataError, UnknownNameError

SYMBOLS = [
    line.split("\t")[0]
    for line in gzip.decompress(resources.files("halfmax.data").joinpath("genes.tsv.gz").read_bytes())
    .decode()
    .splitlines()
    if "\tprotein_coding\t" in line
][::97]
RNG = np.random.default_rng(11)


def matrix(n_samples: int = 6) -> pd.DataFrame:
    """Return log2(TPM + 1) of a few samples over every 97th protein-coding gene."""
    tpm = RNG.lognormal(2, 2.5, size=(n_samples, len(SYMBOLS))) * (RNG.random((n_samples, len(SYMBOLS))) > 0.2)
    tpm *= 1e6 / tpm.sum(axis=1, keepdims=True)
    samples = [f"line-{i}" for i in range(n_samples)]
    return pd.DataFrame(np.log2(tpm + 1).astype(np.float32), pd.Index(samples, name="sample_id"), SYMBOLS)


def codes(findings: object) -> list[str]:
    return [finding.code for finding in findings]  # type: ignore[attr-defined]


def text(folder: Path, content: str | bytes, name: str) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


class TestMatrix:
    @pytest.mark.parametrize("sep", [",", "\t", ";"])
    @pytest.mark.parametrize("lies", ["rows", "columns"])
    @pytest.mark.parametrize("packed", [False, True])
    def test_either_way_round_in_any_dress_gives_the_same(
        self, tmp_path: Path, sep: str, lies: str, packed: bool
    ) -> None:
        frame = matrix()
        content = (frame if lies == "rows" else frame.T).to_csv(sep=sep).encode()
        path = text(tmp_path, gzip.compress(content) if packed else content, "m.csv.gz" if packed else "m.csv")
        table = read_omics(path)
        pd.testing.assert_frame_equal(table.frame, frame, check_column_type=False, check_index_type=False)
        assert table.orientation == ("samples_by_features" if lies == "rows" else "features_by_samples")
        assert table.unit is not None
        assert table.unit.unit == "log2"

    def test_parquet_and_a_workbook_give_the_same(self, tmp_path: Path) -> None:
        pytest.importorskip("openpyxl")
        frame = matrix()
        frame.to_parquet(tmp_path / "m.parquet")
        frame.astype(float).T.to_excel(tmp_path / "m.xlsx")
        for name in ("m.parquet", "m.xlsx"):
            np.testing.assert_array_equal(read_omics(tmp_path / name).frame, frame)

    def test_one_sample_without_a_header_is_named_by_its_file(self, tmp_path: Path) -> None:
        frame = matrix(1)
        content = frame.T.to_csv(sep="\t", header=False)
        table = read_omics(text(tmp_path, content, "patient7.tsv"))
        assert table.frame.index.tolist() == ["patient7"]
        np.testing.assert_array_equal(table.frame, frame)
        whole = "\n".join(f"{gene}\t{i}" for i, gene in enumerate(SYMBOLS))
        assert read_omics(text(tmp_path, whole, "patient8.txt"), unit="counts").frame.shape == (1, len(SYMBOLS))

    def test_numeric_sample_ids_are_not_taken_for_genes(self, tmp_path: Path) -> None:
        frame = matrix().set_axis([str(i) for i in range(906790, 906796)])
        table = read_omics(text(tmp_path, frame.T.to_csv(), "m.csv"))
        assert table.frame.index.tolist() == frame.index.tolist()
        zeros = matrix().set_axis(["007", "TRUE", "NA", "null", "1e5", "00123"])
        assert read_omics(text(tmp_path, zeros.to_csv(), "z.csv")).frame.index.tolist() == zeros.index.tolist()

    def test_a_gene_called_na_stays_text(self, tmp_path: Path) -> None:
        frame = matrix()
        frame.columns = pd.Index([*SYMBOLS[:-2], "NA", "null"])
        table = read_omics(text(tmp_path, frame.to_csv(), "m.csv"))
        assert table.frame.columns[-2:].tolist() == ["NA", "null"]

    def test_duplicate_genes_are_averaged_and_counted_or_refused(self, tmp_path: Path) -> None:
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

    def test_duplicate_samples_are_refused(self, tmp_path: Path) -> None:
        frame = matrix().set_axis(["a", "b", "a", "c", "c", "c"])
        for content in (frame.to_csv(), frame.T.to_csv()):
            with pytest.raises(DataError, match=r"2 sample ids occur more than once: 'a \(2 times\)', 'c \(3 times\)'"):
                read_omics(text(tmp_path, content, "m.csv"))

    def test_old_names_and_dates_are_renamed_and_said_or_refused(self, tmp_path: Path) -> None:
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

    def test_an_old_and_a_current_name_of_one_gene_are_kept_apart(self, tmp_path: Path) -> None:
        frame = matrix()
        frame.columns = pd.Index([*SYMBOLS[:-2], "FAM134B", "RETREG1"])
        table = read_omics(text(tmp_path, frame.to_csv(), "m.csv"))
        assert table.frame.columns[-2:].tolist() == ["FAM134B", "RETREG1"]
        np.testing.assert_array_equal(table.frame, frame)
        assert "several-names" in codes(table.findings)

    def test_mouse_genes_are_refused(self, tmp_path: Path) -> None:
        frame = matrix().rename(columns=str.capitalize)
        with pytest.raises(DataError, match="mouse genes"):
            read_omics(text(tmp_path, frame.to_csv(), "m.csv"))
        ids = matrix().set_axis([f"ENSMUSG{i:011d}.3" for i in range(len(SYMBOLS))], axis=1)
        with pytest.raises(DataError, match="mouse genes"):
            read_omics(text(tmp_path, ids.to_csv(), "m.csv"))

    def test_a_table_without_genes_is_refused_with_both_sides(self, tmp_path: Path) -> None:
        frame = matrix().set_axis([f"probe{i}_at" for i in range(len(SYMBOLS))], axis=1)
        path = text(tmp_path, frame.to_csv(), "m.csv")
        with pytest.raises(DataError, match=r"neither its rows \('line-0'.* nor its columns \('probe0_at'"):
            read_omics(path)
        assert read_omics(path, orientation="samples_by_features").frame.shape == frame.shape

    def test_missing_values_stay_missing_and_are_counted(self, tmp_path: Path) -> None:
        frame = matrix()
        frame.iloc[2, 4] = frame.iloc[3, 5] = np.nan
        frame.iloc[4] = np.nan
        table = read_omics(text(tmp_path, frame.to_csv(na_rep="NA"), "m.csv"))
        np.testing.assert_array_equal(table.frame, frame)
        finding = next(f for f in table.findings if f.code == "missing-values")
        assert (finding.count, finding.examples) == (2 + len(SYMBOLS), ("line-2", "line-3", "line-4"))
        assert next(f for f in table.findings if f.code == "empty-samples").examples == ("line-4",)

    @pytest.mark.parametrize("cell", ["inf", "-Infinity", "1e400", "1e39"])
    def test_infinite_and_too_large_values_are_refused_by_place(self, tmp_path: Path, cell: str) -> None:
        frame = matrix().astype(object)
        frame.iloc[2, 4] = cell
        with pytest.raises(DataError, match=rf"1 values are infinite or too large: 'line-2 × {SYMBOLS[4]}'"):
            read_omics(text(tmp_path, frame.to_csv(), "m.csv"))

    def test_text_among_the_numbers_is_refused_by_place(self, tmp_path: Path) -> None:
        frame = matrix().astype(object)
        frame.iloc[2, 4] = "low"
        with pytest.raises(DataError, match=rf"1 cells in 1 columns are no numbers: row 4, column {SYMBOLS[4]}: 'low'"):
            read_omics(text(tmp_path, frame.to_csv(), "m.csv"))

    def test_decimal_commas_are_read_or_refused(self, tmp_path: Path) -> None:
        frame = matrix()
        path = text(tmp_path, frame.T.to_csv(sep=";", decimal=","), "m.csv")
        table = read_omics(path)
        np.testing.assert_allclose(table.frame, frame, rtol=1e-6)
        assert "decimal-comma" in codes(table.findings)
        with pytest.raises(DataError, match=r"6 columns have decimal commas.*'line-0'"):
            read_omics(path, strict=True)

    def test_describing_columns_and_summary_rows_are_left_out_and_said(self, tmp_path: Path) -> None:
        frame = np.exp2(matrix()).round().T
        frame.insert(0, "gene_type", "protein_coding")
        frame.insert(1, "Length", 1000)
        frame.loc["__no_feature"] = ["", 0, *[9e6] * 6]
        table = read_omics(text(tmp_path, frame.to_csv(sep="\t", index_label="gene"), "counts.txt"))
        assert table.frame.shape == (6, len(SYMBOLS))
        assert next(f for f in table.findings if f.code == "annotations").examples == ("gene_type", "Length")
        assert next(f for f in table.findings if f.code == "summary-rows").examples == ("__no_feature",)

    def test_a_star_file_gives_its_tpm(self, tmp_path: Path) -> None:
        rows = [f"ENSG{i}.1\t{gene}\tprotein_coding\t{i}\t1\t1\t{i / 2}\t1.0\t1.0" for i, gene in enumerate(SYMBOLS)]
        head = "# gene-model: GENCODE v36\ngene_id\tgene_name\tgene_type\tunstranded\tstranded_first\tstranded_second"
        content = f"{head}\ttpm_unstranded\tfpkm_unstranded\tfpkm_uq_unstranded\nN_unmapped\t\t\t8\t8\t8\t\t\t\n"
        table = read_omics(text(tmp_path, content + "\n".join(rows), "TCGA-X.rna_seq.tsv"), unit="tpm")
        assert table.frame.index.tolist() == ["TCGA-X"]
        np.testing.assert_allclose(table.frame.iloc[0], np.arange(len(SYMBOLS)) / 2)

    def test_raw_counts_are_found_said_and_set_against_the_genes_alone(self, tmp_path: Path) -> None:
        counts = (np.exp2(matrix()) * 30).round()
        plain = read_omics(text(tmp_path, counts.to_csv(), "m.csv"))
        assert plain.unit is not None
        assert plain.unit.unit == "counts"
        logged, done = plain.logged()
        assert "converted to log2(CPM + 1)" in done.message
        more, _ = read_omics(text(tmp_path, counts.assign(age=60, reads=10**8).to_csv(), "n.csv")).logged()
        np.testing.assert_array_equal(more[SYMBOLS], logged)

    def test_an_unclear_unit_is_refused_until_it_is_stated(self, tmp_path: Path) -> None:
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

    def test_negative_counts_are_refused(self, tmp_path: Path) -> None:
        counts = (np.exp2(matrix()) * 30).round()
        counts.iloc[0, 0] = -5
        with pytest.raises(DataError, match=r"1 read counts are negative, e\.g\. -5"):
            read_omics(text(tmp_path, counts.to_csv(), "m.csv"))

    def test_order_and_further_columns_give_identical_genes(self, tmp_path: Path) -> None:
        frame = matrix()
        wanted = [*SYMBOLS[::3], "RETREG1"]
        base = read_omics(text(tmp_path, frame.to_csv(), "a.csv")).frame
        shuffled = frame.assign(tissue="lung", age=61.5, other=1e7).iloc[:, RNG.permutation(len(SYMBOLS) + 3)]
        other = read_omics(text(tmp_path, shuffled.to_csv(), "b.csv")).frame
        taken = [match_genes(f.columns, wanted).take(f.to_numpy()) for f in (base, other)]
        assert taken[0].tobytes() == taken[1].tobytes()

    def test_mutations_and_copy_number_are_checked(self, tmp_path: Path) -> None:
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

    def test_other_modalities_keep_their_names_and_lie_as_the_samples_say(self, tmp_path: Path) -> None:
        frame = pd.DataFrame(RNG.normal(size=(3, 4)), ["a", "b", "c"], ["AMP", "lactate", "TP53", "2-Sep"])
        table = read_omics(text(tmp_path, frame.to_csv(), "m.csv"), "metabolomics")
        assert table.frame.columns.tolist() == ["AMP", "lactate", "TP53", "2-Sep"]
        turned = read_omics(text(tmp_path, frame.T.to_csv(), "t.csv"), "metabolomics", sample_ids=["a", "b"])
        np.testing.assert_array_equal(turned.frame, table.frame)
        with pytest.raises(UnknownNameError, match="Did you mean 'metabolomics'"):
            read_omics(tmp_path / "m.csv", "metabolome")


class TestResponse:
    @pytest.mark.parametrize(
        "header",
        [
            "sample_id,drug_id,ln_ic50",
            "CELL_LINE_NAME,DRUG_NAME,LN_IC50",
            "Cell line name,Compound,lnIC50",
            "cell,drug,Ln IC50",
        ],
    )
    def test_usual_column_names_are_found(self, tmp_path: Path, header: str) -> None:
        table = read_response(text(tmp_path, f"{header}\n00123,5,-1.5\nTRUE,5,2\n", "r.csv"))
        assert table.frame.to_dict("list") == {
            "sample_id": ["00123", "TRUE"],
            "drug_id": ["5", "5"],
            "value": [-1.5, 2.0],
        }
        assert table.measure.name == "ln_ic50"

    def test_columns_may_be_named(self, tmp_path: Path) -> None:
        path = text(tmp_path, "who,what,how much,cell\na,b,-1,x\n", "r.csv")
        table = read_response(path, sample="who", drug="what", value="how much", unit="ln_uM")
        assert table.frame.iloc[0].tolist() == ["a", "b", -1.0]
        with pytest.raises(DataError, match=r"0 columns 'whom' for the sample. Did you mean 'who'"):
            read_response(path, sample="whom")
        with pytest.raises(DataError, match=r"none of its columns 'who', 'what'.* is known as the drug"):
            read_response(path)
        with pytest.raises(DataError, match=r"known as the drug.*Is it 'drug[AB]'\? .*samples × drugs must be made long"):
            read_response(text(tmp_path, "cell,drugA,drugB\nx,1,2\n", "wide.csv"))
        with pytest.raises(DataError, match="cannot be two of"):
            read_response(path, sample="who", drug="who", value="how much", unit="ln_uM")

    @pytest.mark.parametrize(
        ("column", "unit", "value"), [("IC50 (uM)", None, 1.0), ("IC50 (nM)", None, 1000.0), ("IC50", "nM", 1000.0)]
    )
    def test_concentrations_become_ln_micromolar(
        self, tmp_path: Path, column: str, unit: str | None, value: float
    ) -> None:
        path = text(tmp_path, f"cell,drug,{column}\na,x,{value}\nb,x,{value * np.e}\n", "r.csv")
        table = read_response(path, unit=unit)
        np.testing.assert_allclose(table.frame["value"], [0, 1], atol=1e-12)
        pic50 = read_response(path, unit=unit, measure="pic50")
        np.testing.assert_allclose(pic50.frame["value"], [6, 6 - 1 / np.log(10)])
        assert pic50.measure.higher_is_sensitive

    def test_an_unclear_unit_is_refused_until_it_is_stated(self, tmp_path: Path) -> None:
        path = text(tmp_path, "cell,drug,IC50\na,x,0.5\nb,x,8\n", "r.csv")
        with pytest.raises(DataError, match=r"unit of the responses is not clear: .*µM or nM.*unit=, one of ln_uM"):
            read_response(path)
        assert read_response(path, unit="uM").unit.evidence == "stated"
        with pytest.raises(UnknownNameError, match="Did you mean 'uM'"):
            read_response(path, unit="um ")

    def test_a_stated_measure_must_bear_out_a_column_called_value(self, tmp_path: Path) -> None:
        path = text(tmp_path, "sample_id,drug_id,value\na,x,-0.5\nb,x,8\n", "r.csv")
        assert read_response(path, measure="ln_ic50").unit.unit == "ln_uM"
        with pytest.raises(DataError, match="not clear"):
            read_response(path, measure="auc")
        positive = text(tmp_path, "sample_id,drug_id,value\na,x,0.5\nb,x,8\n", "p.csv")
        with pytest.raises(DataError, match="not clear"):
            read_response(positive, measure="ln_ic50")
        own = Measure("viability", "%", higher_is_sensitive=False)
        assert read_response(positive, measure=own).measure is own

    def test_the_wanted_measure_is_taken_of_several(self, tmp_path: Path) -> None:
        path = text(tmp_path, "cell,drug,AUC,LN_IC50\na,x,0.9,-1\nb,x,0.5,2\n", "r.csv")
        table = read_response(path)
        assert table.measure.name == "ln_ic50"
        assert next(f for f in table.findings if f.code == "column-choice").examples == ("AUC",)
        assert read_response(path, measure="auc").frame["value"].tolist() == [0.9, 0.5]
        with pytest.raises(DataError, match="known as the response"):
            read_response(path, measure="aac")

    def test_repeated_pairs_are_averaged_and_counted_or_refused(self, tmp_path: Path) -> None:
        path = text(tmp_path, "cell,drug,ln_ic50\na,x,-1\na,y,5\na,x,2\na,x,\n", "r.csv")
        table = read_response(path)
        assert table.frame.to_numpy().tolist() == [["a", "x", 0.5], ["a", "y", 5.0]]
        finding = next(f for f in table.findings if f.code == "duplicate-pairs")
        assert (finding.count, finding.examples) == (1, ("a × x",))
        with pytest.raises(DataError, match=r"1 pairs occur more than once \(3 rows\).*strict"):
            read_response(path, strict=True)

    @pytest.mark.parametrize(
        ("cell", "message"),
        [
            ("low", r"1 values of 'ln_ic50' are no numbers: 'row 3: low'"),
            (">10", r"'row 3: >10'\. A bound such as >10"),
            ("inf", r"1 values of 'ln_ic50' are infinite or too large, e.g. rows '3'"),
            ("1e400", r"rows '3'"),
        ],
    )
    def test_values_that_cannot_be_are_refused_by_row(self, tmp_path: Path, cell: str, message: str) -> None:
        with pytest.raises(DataError, match=message):
            read_response(text(tmp_path, f"cell,drug,ln_ic50\na,x,-1\nb,x,{cell}\n", "r.csv"))

    def test_missing_values_are_kept_and_counted_and_missing_ids_refused(self, tmp_path: Path) -> None:
        table = read_response(text(tmp_path, "cell,drug,ln_ic50\na,x,-1\nb,x,NA\n", "r.csv"))
        assert np.isnan(table.frame["value"].iloc[1])
        assert next(f for f in table.findings if f.code == "missing-values").examples == ("row 3",)
        with pytest.raises(DataError, match=r"1 rows have no drug id, e.g. rows '3'"):
            read_response(text(tmp_path, "cell,drug,ln_ic50\na,x,-1\nb,,2\n", "r.csv"))
        with pytest.raises(DataError, match="all 2 values of 'ln_ic50' are empty"):
            read_response(text(tmp_path, "cell,drug,ln_ic50\na,x,\nb,x,NA\n", "r.csv"))


class TestEntities:
    def test_samples_get_the_usual_names(self, tmp_path: Path) -> None:
        path = text(
            tmp_path, "ModelID,OncotreeLineage,OncotreeCode,Age\nACH-1,Lung,LUAD,\nACH-2,Skin,MEL,50\n", "s.csv"
        )
        frame = read_samples(path)
        assert frame.index.tolist() == ["ACH-1", "ACH-2"]
        assert frame["tissue"].tolist() == ["Lung", "Skin"]
        assert frame["cancer_type"].tolist() == ["LUAD", "MEL"]
        assert frame["Age"].isna().tolist() == [True, False]
        with pytest.raises(DataError, match="1 sample ids occur more than once: 'a'"):
            read_samples(text(tmp_path, "sample_id,tissue\na,x\na,y\n", "t.csv"))

    def test_drugs_get_canonical_structures_without_salts(self, tmp_path: Path) -> None:
        path = text(
            tmp_path, "drug_name,SMILES,putative_target\naspirin,OC(=O)c1ccccc1OC(C)=O,PTGS2\nsalt,CCO.Cl,\n", "d.csv"
        )
        frame = read_drugs(path)
        assert frame.loc["aspirin", "smiles"] == "CC(=O)Oc1ccccc1C(=O)O"
        assert frame.loc["salt", "smiles"] == "CCO"
        assert frame.loc["aspirin", "targets"] == "PTGS2"

    @pytest.mark.parametrize(
        ("smiles", "message"),
        [
            ("С1CC1", "plain ASCII"),  # a Cyrillic letter
            ("CCO junk", "a blank"),
            ("not_a_smiles", "not a valid SMILES"),
            ("C" * 1001, "1001 characters"),
            ("*", "heavy atoms"),
        ],
    )
    def test_bad_structures_are_refused_with_the_drug(self, tmp_path: Path, smiles: str, message: str) -> None:
        with pytest.raises(DataError, match=f"1 drugs have no valid SMILES: bad: .*{message}"):
            read_drugs(text(tmp_path, f"drug,smiles\ngood,CCO\nbad,{smiles}\n", "d.csv"))

    def test_a_drug_without_structure_has_none_or_is_refused(self, tmp_path: Path) -> None:
        path = text(tmp_path, "drug,smiles\ngood,CCO\nempty,\n", "d.csv")
        assert read_drugs(path)["smiles"].isna().tolist() == [False, True]
        with pytest.raises(DataError, match=r"1 drugs have no SMILES.*'empty'.*strict"):
            read_drugs(path, strict=True)

    def test_a_drug_with_two_structures_is_refused_and_equal_rows_are_merged(self, tmp_path: Path) -> None:
        same = read_drugs(text(tmp_path, "drug,smiles,target\na,CCO,\na,OCC,EGFR\nb,C,\n", "d.csv"))
        assert same["smiles"].tolist() == ["CCO", "C"]
        assert same.loc["a", "targets"] == "EGFR"
        with pytest.raises(DataError, match="1 drugs have more than one structure: 'a'"):
            read_drugs(text(tmp_path, "drug,smiles\na,CCO\na,CCC\n", "e.csv"))

    def test_rows_without_id_are_left_out_or_refused(self, tmp_path: Path) -> None:
        path = text(tmp_path, "sample_id,tissue\na,x\n,total\n", "s.csv")
        assert read_samples(path).index.tolist() == ["a"]
        with pytest.raises(DataError, match=r"1 rows have no sample id.*'row 3'.*strict"):
            read_samples(path, strict=True)


class TestDataset:
    @pytest.fixture
    def files(self, tmp_path: Path) -> dict[str, Path]:
        frame = matrix()
        pairs = [f"{s},{d},{RNG.normal():.4f}" for s in [*frame.index, "LINE 5", "ghost"] for d in ("x", "y")]
        samples = "sample_id,depmap,tissue\n" + "".join(f"{s},A{s},lung\n" for s in frame.index)
        return {
            "response": text(tmp_path, "cell,drug,ln_ic50\n" + "\n".join(pairs), "screen.csv"),
            "expression": text(tmp_path, frame.T.to_csv(), "expression.csv"),
            "samples": text(tmp_path, samples, "samples.csv"),
            "drugs": text(tmp_path, "drug,smiles\nx,CCO\nz,C\n", "drugs.csv"),
        }

    def test_tables_become_a_dataset_that_says_what_is_lacking(self, files: dict[str, Path], tmp_path: Path) -> None:
        dataset = read_dataset(**files)
        assert (dataset.name, dataset.n_pairs, dataset.measure.name) == ("screen", 16, "ln_ic50")
        assert dataset.omics["expression"].shape == (6, len(SYMBOLS))
        assert dataset.omics["expression"].to_numpy().dtype == np.float32
        assert dataset.samples.loc["line-0", "tissue"] == "lung"
        assert dataset.samples.loc["ghost"].isna().all()
        assert dataset.drugs["smiles"].isna().tolist() == [False, False, True]
        told = [f["message"] for f in dataset.notes["findings"] if f["code"] == "unmatched-ids"]  # type: ignore[attr-defined,index]
        assert told == [
            "2 of 8 ids of the responses are not in the sample table. 1 differ in capitals and signs only, "
            "perhaps the same: 'LINE 5 (line-5)'.",
            "1 of 2 ids of the responses are not in the drug table.",
            "2 of 8 ids of the responses are not in the expression. 1 differ in capitals and signs only, "
            "perhaps the same: 'LINE 5 (line-5)'.",
        ]
        aligned, dropped = dataset.align()
        assert aligned.n_pairs == 12
        assert dropped.causes["sample without expression"] == (4, ("LINE 5", "ghost"))
        assert ResponseDataset.load(dataset.save(tmp_path / "saved")).fingerprint() == dataset.fingerprint()

    def test_a_column_of_ids_that_the_responses_use_is_chosen(self, files: dict[str, Path], tmp_path: Path) -> None:
        content = "cell_line,ModelID,tissue\n" + "".join(f"Name {i},line-{i},skin\n" for i in range(6))
        dataset = read_dataset(files["response"], samples=text(tmp_path, content, "models.csv"))
        assert dataset.samples.loc["line-3", "tissue"] == "skin"

    def test_ids_of_another_kind_are_refused_with_both(self, files: dict[str, Path], tmp_path: Path) -> None:
        other = text(tmp_path, matrix().rename(index=lambda s: f"ACH-{s[-1]}").to_csv(), "other.csv")
        with pytest.raises(DataError, match=r"8 of 8 ids .* Responses: 'line-0'.*expression: 'ACH-0'.*columns="):
            read_dataset(files["response"], expression=other)

    def test_an_unclear_expression_unit_is_refused_until_it_is_stated(
        self, files: dict[str, Path], tmp_path: Path
    ) -> None:
        linear = text(tmp_path, (np.exp2(matrix()) * 0.7).to_csv(), "fpkm.csv")
        with pytest.raises(DataError, match=r"fpkm\.csv: the unit of the expression.*expression_unit="):
            read_dataset(files["response"], expression=linear)
        dataset = read_dataset(files["response"], expression=linear, expression_unit="fpkm")
        assert float(np.nanmax(dataset.omics["expression"])) < 25
        assert dataset.notes["expression_unit"] == "fpkm"
