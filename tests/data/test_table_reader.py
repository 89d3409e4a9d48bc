"""A user's own tables as responses, samples, drugs and datasets: put right and said, or refused with the place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from halfmax.data.dataset import Measure, ResponseDataset
from halfmax.data.readers.table import read_dataset, read_drugs, read_response, read_samples
from halfmax.data.tables import read_table
from halfmax.errors import DataError, UnknownNameError
from tests.data.small_tables import RNG, SYMBOLS, matrix, text


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
        with pytest.raises(DataError, match=r"known as the drug.*Is it 'drug[AB]'.*must be made long"):
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


def test_names_with_bars_do_not_hide_the_comma_of_a_wide_table(tmp_path):
    path = tmp_path / "wide.csv"
    names = [f"GENE{i}|{i}" for i in range(30_000)]
    path.write_text("id," + ",".join(names) + "\ns1," + ",".join(["1.2345"] * 30_000) + "\n", encoding="utf-8")
    assert len(read_table(path).columns) == 30_001
