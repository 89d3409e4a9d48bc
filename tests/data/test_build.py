"""A dataset from any mix of files: joined on one set of ids, nothing mixed or lost in silence."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from halfmax.data.build import build_dataset
from halfmax.data.dataset import MEASURES, Measure, ResponseDataset
from halfmax.data.readers.kinds import KINDS, FileKind, Part, Reading, recognise
from halfmax.errors import DataError, UnknownNameError
from tests.data.small_tables import SYMBOLS, matrix, text
from tests.data.test_sample_map import MODEL

SHARED = os.environ.get("HALFMAX_SHARED_DATA")
RESPONSES = """line,cosmic,compound,PubChem CID,ln_ic50
HL-60,905938,Erlotinib,176870,1.5
HL-60,905938,Rapamycin,5384616,-2.0
OVCAR-3,905933,Erlotinib,176870,0.5
OVCAR-3,905933,Tarceva,176870,1.5
T-T,1299064,Rapamycin,5384616,
"""
DRUGS = """drug_name,synonyms,smiles,targets
Erlotinib,"Tarceva, OSI-774",COCCOc1cc2ncnc(Nc3cccc(c3)C#C)c2cc1OCCOC,EGFR
"""


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    names = {"ModelID": "depmap_id", "CellLineName": "cell_line", "StrippedCellLineName": "synonyms"}
    lines = MODEL.reset_index().rename(columns=names).assign(tissue=["Myeloid", "Ovary", *["Other"] * 6])
    lines.to_csv(tmp_path / "lines.csv", index=False)
    expression = matrix(4)
    expression.index = pd.Index(["SIDM00829", "SIDM00105", "SIDM00484", "SIDM99999"])
    expression.to_csv(tmp_path / "expression.csv")
    return [
        text(tmp_path, RESPONSES, "responses.csv"),
        text(tmp_path, DRUGS, "drugs.csv"),
        tmp_path / "lines.csv",
        tmp_path / "expression.csv",
    ]


def test_each_file_is_recognised_as_a_users_own(files: list[Path]) -> None:
    assert [recognise(path)[0][1].name for path in files] == [
        "table-response", "table-drugs", "table-samples", "table-matrix"
    ]  # fmt: skip


def test_files_that_name_lines_and_drugs_differently_are_joined(files: list[Path]) -> None:
    dataset = build_dataset(files)
    assert dataset.measure == MEASURES["ln_ic50"]
    rows = dataset.response.set_index(["sample_id", "drug_id"])["value"]
    assert rows.to_dict() == pytest.approx(
        {
            ("HL-60", "Erlotinib"): 1.5,
            ("HL-60", "Rapamycin"): -2.0,
            ("NIH:OVCAR-3", "Erlotinib"): 1.0,  # Erlotinib and Tarceva are one drug
            ("T.T", "Rapamycin"): np.nan,
        },
        nan_ok=True,
    )
    about = dataset.samples.loc["NIH:OVCAR-3"]
    assert (about["cosmic_id"], about["depmap_id"], about["sanger_id"], about["rrid"]) == (
        "905933", "ACH-000001", "SIDM00105", "CVCL_0465"
    )  # fmt: skip
    assert about["tissue"] == "Ovary"
    assert dataset.drugs.loc["Erlotinib", ["targets", "pubchem_cid"]].tolist() == ["EGFR", "176870"]
    assert dataset.drugs["smiles"].notna().tolist() == [True, False]
    assert dataset.omics["expression"].index.tolist() == ["HL-60", "NIH:OVCAR-3"]
    assert list(dataset.omics["expression"].columns) == SYMBOLS


def test_the_notes_say_what_was_recognised_matched_and_lost(files: list[Path], tmp_path: Path) -> None:
    dataset = build_dataset(files)
    notes = json.loads(json.dumps(dataset.notes))
    assert notes["files"]["responses.csv"]["kind"] == "table-response"
    assert len(notes["files"]["responses.csv"]["sha256"]) == 64
    mapping = notes["mapping"]
    assert mapping["samples"]["expression.csv"]["matched_by"] == {"sidm, id": 3}
    assert mapping["samples"]["expression.csv"]["unmatched"] == [["SIDM99999", "no table has this Sanger model id"]]
    assert mapping["genes"]["expression"]["genes"] == len(SYMBOLS)
    lost = {(row["file"], row["cause"]): row["n_rows"] for row in notes["lost"]}
    assert lost == {
        ("expression.csv", "no other table has the sample id"): 1,
        ("expression.csv", "sample has no response"): 1,
    }
    assert notes["incomplete"] == {"no measured value": 1, "sample without expression": 1}
    assert notes["expression_unit"] == "log2"
    assert {"repeated-pairs", "drugs-merged"} <= {finding["code"] for finding in notes["findings"]}
    assert mapping["drugs"]["responses.csv"]["merged"] == [["Erlotinib", ["Erlotinib", "Tarceva"]]]
    again = ResponseDataset.load(dataset.save(tmp_path / "saved"))
    assert again.fingerprint() == dataset.fingerprint()
    assert again.notes == notes


def test_the_order_of_other_files_and_of_rows_changes_no_answer(files: list[Path], tmp_path: Path) -> None:
    first = build_dataset(files)
    head, *lines = RESPONSES.splitlines()
    text(tmp_path, "\n".join([head, *lines[::-1]]), "responses.csv")
    second = build_dataset([files[0], files[3], files[2], files[1]])
    rows = ["sample_id", "drug_id"]
    pd.testing.assert_frame_equal(
        first.response.sort_values(rows, ignore_index=True), second.response.sort_values(rows, ignore_index=True)
    )
    pd.testing.assert_frame_equal(first.omics["expression"], second.omics["expression"].loc[["HL-60", "NIH:OVCAR-3"]])


def test_ids_of_a_kind_can_become_the_ids(files: list[Path]) -> None:
    dataset = build_dataset(files, sample_ids="ach", drug_ids="pubchem")
    assert dataset.samples.index.tolist() == ["ACH-000002", "ACH-000001", "ACH-000561"]
    assert dataset.drugs.index.tolist() == ["176870", "5384616"]


def test_an_ambiguous_line_is_refused_stated_or_dropped(files: list[Path], tmp_path: Path) -> None:
    bare = text(tmp_path, "cell_line,drug,ic50_um\nHL60,x,1\nTT,x,2\n", "bare.csv")
    with pytest.raises(DataError, match=r"bare.csv: 1 sample ids .* TT \(T.T or TT\)"):
        build_dataset([bare, files[2]])
    stated = build_dataset([bare, files[2]], same={"TT": "TT_THYROID"})
    assert stated.samples["depmap_id"].tolist() == ["ACH-000002", "ACH-001321"]
    dropped = build_dataset([bare, files[2]], drop_ambiguous=True)
    assert dropped.samples.index.tolist() == ["HL-60"]
    assert dropped.notes["lost"] == [
        {"file": "bare.csv", "cause": "sample id is ambiguous", "n_rows": 1, "n_ids": 1, "examples": ["TT"]}
    ]
    assert dropped.notes["mapping"]["samples"]["bare.csv"]["ambiguous"][0][0] == "TT"


def test_without_a_table_of_samples_the_responses_name_them(tmp_path: Path) -> None:
    responses = text(tmp_path, "cell_line,drug,auc\nA-1,x,0.5\nB-2,x,0.7\n", "responses.csv")
    mutations = text(tmp_path, "id," + ",".join(SYMBOLS[:60]) + "\nA1," + ",".join("01" * 30) + "\n", "mut.csv")
    dataset = build_dataset([responses, mutations])
    assert dataset.measure.name == "auc"
    assert dataset.omics["mutation"].index.tolist() == ["A-1"]
    assert dataset.notes["mapping"]["samples"]["mut.csv"]["not_by_id_or_spelling"] == [["A1", "A-1", "name", "key", ""]]
    assert dataset.notes["mapping"]["samples"]["responses.csv"]["new"] == ["A-1", "B-2"]


def test_a_matrix_of_no_genes_is_read_as_what_is_stated(tmp_path: Path) -> None:
    responses = text(tmp_path, "cell_line,drug,auc\nA,x,0.5\nB,x,0.7\n", "responses.csv")
    metabolites = text(tmp_path, "id,lactate,glucose,UTP,m1,m2,m3\nA,1,2,3,4,5,6\nB,1.5,2,3,4,5,6\n", "metabolites.csv")
    dataset = build_dataset([responses, metabolites], kinds={"metabolites.csv": "metabolomics"})
    assert dataset.omics["metabolomics"].shape == (2, 6)
    assert dataset.notes["mapping"]["genes"]["metabolomics"] == {"features": 6, "genes": None}
    with pytest.raises(DataError, match="metabolomics"):
        build_dataset([responses, metabolites])


def test_expression_of_unknown_unit_is_refused_until_it_is_stated(tmp_path: Path) -> None:
    responses = text(tmp_path, "cell_line,drug,auc\nline-0,x,0.5\nline-1,x,0.7\n", "responses.csv")
    (matrix(2) * 300 + 0.25).to_csv(tmp_path / "e.csv")
    with pytest.raises(DataError, match=r"unit of its expression is unknown.*expression_unit="):
        build_dataset([responses, tmp_path / "e.csv"])
    dataset = build_dataset([responses, tmp_path / "e.csv"], expression_unit="fpkm")
    assert dataset.omics["expression"].to_numpy().max() < 15


MINE = Measure("mine", "", higher_is_sensitive=True)


def fake(name: str, *parts: Part, options: tuple[str, ...] = ()) -> FileKind:
    return FileKind(
        name,
        name,
        "test",
        lambda seen: 0.9 if seen.path.stem == name else 0.0,
        lambda path, **given: Reading(name, parts),
        "terms",
        options,
    )


def response(values: dict[tuple[str, str], float], measure: Measure = MEASURES["auc"], **more: list[str]) -> Part:
    frame = pd.DataFrame([(s, d, v) for (s, d), v in values.items()], columns=["sample_id", "drug_id", "value"])
    return Part("response", frame.assign(**more), measure)


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> object:
    """Return a function that makes files of made-up kinds."""
    made: dict[str, FileKind] = {}
    monkeypatch.setattr(KINDS, "names", lambda: sorted(made))
    monkeypatch.setattr(KINDS, "get", made.__getitem__)

    def make(*kinds: FileKind) -> list[Path]:
        made.update({kind.name: kind for kind in kinds})
        return [text(tmp_path, "a,b\n1,2\n", f"{kind.name}.csv") for kind in kinds]

    return make


def test_a_providers_parts_are_joined_by_the_ids_that_its_responses_carry(fakes) -> None:  # type: ignore[no-untyped-def]
    screen = response({("HL-60", "d"): 0.5, ("other", "d"): 0.6}, sanger_model_id=["SIDM00829", "SIDM00001"])
    genes = pd.DataFrame(np.ones((1, 2), np.float32), index=["ACH-000002"], columns=["TP53", "EGFR"])
    paths = fakes(
        fake("screen", screen),
        fake("matrix", Part("expression", genes, unit="log2", id_kind="ach")),
        fake("lines", Part("samples", MODEL, id_kind="ach")),
    )
    dataset = build_dataset(paths)
    assert dataset.omics["expression"].index.tolist() == ["HL-60"]
    assert dataset.notes["licences"] == ["terms"]
    assert set(dataset.samples["sanger_id"]) == {"SIDM00829", "SIDM00001"}


def test_facts_of_tables_that_differ_in_type_can_be_saved(fakes, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    paths = fakes(
        fake("r", response({("A", "d"): 0.1, ("B", "d"): 0.2, ("C", "d"): 0.3})),
        fake("s", Part("samples", pd.DataFrame({"age": [50.0], "tissue": ["lung"]}, index=["A"]))),
        fake(
            "t", Part("samples", pd.DataFrame({"age": ["adult", None], "tissue": ["skin", "skin"]}, index=["B", "A"]))
        ),
    )
    dataset = build_dataset(paths)
    assert dataset.samples["age"].tolist()[:2] == ["50.0", "adult"]
    assert dataset.samples["tissue"].tolist()[:2] == ["lung", "skin"]
    assert ResponseDataset.load(dataset.save(tmp_path / "d")).fingerprint() == dataset.fingerprint()


def test_what_is_known_of_a_pair_is_kept(fakes, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    values = {("A", "d (1)"): 1.0, ("A", "d (2)"): 2.0, ("B", "d (1)"): 3.0}
    screen = response(values, max_conc=[10.0, 30.0, 10.0], at_top=[True, False, True], note=["x", "y", None])
    drugs = pd.DataFrame({"name": ["d", "d"], "gdsc_drug_id": ["1", "2"]}, index=["d (1)", "d (2)"])
    paths = fakes(fake("one", screen, Part("drugs", drugs)), fake("two", response({("C", "d"): 4.0})))
    dataset = build_dataset(paths)
    rows = dataset.response.set_index("sample_id")
    assert rows["drug_id"].unique().tolist() == ["d"]  # one drug under two numbers
    assert rows["value"].tolist() == [1.5, 3.0, 4.0]
    assert rows.loc["A", ["max_conc", "at_top", "note"]].tolist() == [20.0, True, "x"]
    assert rows.loc["C", ["max_conc", "at_top", "note"]].isna().all()
    assert dataset.drugs.loc["d", "gdsc_id"] == "1|2"
    assert dataset.notes["mapping"]["drugs"]["one.csv"]["merged"] == [["d", ["d (1)", "d (2)"]]]
    again = ResponseDataset.load(dataset.save(tmp_path / "d"))
    assert again.fingerprint() == dataset.fingerprint()


def test_options_reach_the_reader_that_has_them(fakes) -> None:  # type: ignore[no-untyped-def]
    seen: dict[str, object] = {}
    kind = fake("one", response({("A", "d"): 1.0}), options=("screen", "unit"))

    def read(path: Path, **options: object) -> Reading:
        seen.update(options)
        return kind.read(path)

    paths = fakes(replace(kind, read=read))
    build_dataset(paths, options={"one.csv": {"screen": "GDSC2"}}, unit="nM", expression_unit="log2")
    assert seen == {"screen": "GDSC2", "unit": "log2"}
    with pytest.raises(UnknownNameError, match="Did you mean 'screen'"):
        build_dataset(paths, options={"one.csv": {"scren": "GDSC2"}})


def test_measures_are_never_mixed(fakes) -> None:  # type: ignore[no-untyped-def]
    paths = fakes(
        fake("one", response({("A", "d"): 0.5})),
        fake("two", response({("A", "d"): 3.0}, MEASURES["ln_ic50"]), response({("B", "d"): 0.1})),
    )
    dataset = build_dataset(paths)
    assert dataset.response["value"].tolist() == [0.5, 0.1]
    assert dataset.notes["lost"][0]["cause"] == "another measure than auc: ln_ic50"
    assert build_dataset(paths, measure="ln_ic50").n_pairs == 1
    with pytest.raises(DataError, match=r"They hold: .*auc"):
        build_dataset(paths, measure="aac")
    clash = fakes(fake("three", response({("A", "d"): 1.0}, Measure("auc", "own scale", higher_is_sensitive=False))))
    with pytest.raises(DataError, match="cannot be mixed"):
        build_dataset([paths[0], *clash])


def test_pairs_of_two_screens_are_averaged_with_their_agreement_told(fakes) -> None:  # type: ignore[no-untyped-def]
    values = {(f"s{i}", "d"): i / 10 for i in range(5)}
    paths = fakes(fake("one", response(values)), fake("two", response({k: 2 * v for k, v in values.items()})))
    dataset = build_dataset(paths)
    assert dataset.response["value"].tolist() == pytest.approx([0.0, 0.15, 0.3, 0.45, 0.6])
    told = next(f for f in dataset.notes["findings"] if f["code"] == "repeated-pairs")
    assert "5 of them stand in several files" in told["message"]
    assert "r = 1.000 over 5" in told["message"]


def test_files_of_one_modality_are_put_under_each_other(fakes) -> None:  # type: ignore[no-untyped-def]
    def block(ids: list[str], genes: list[str], value: float) -> pd.DataFrame:
        return pd.DataFrame(np.full((len(ids), len(genes)), value, np.float32), index=ids, columns=genes)

    paths = fakes(
        fake("r", response({("A", "d"): 0.1, ("B", "d"): 0.2})),
        fake("x", Part("expression", block(["A"], ["TP53", "EGFR"], 1), unit="log2")),
        fake("y", Part("expression", block(["A", "B"], ["EGFR", "KRAS"], 2), unit="log2")),
        fake("z", Part("expression", block(["B"], ["EGFR"], 3), unit="rma")),
    )
    dataset = build_dataset(paths[:3])
    assert dataset.omics["expression"].to_dict("index") == {"A": {"EGFR": 1.0}, "B": {"EGFR": 2.0}}
    assert [row["n_rows"] for row in dataset.notes["lost"]] == [2, 1]
    with pytest.raises(DataError, match="rma, and that of an earlier file log2; they cannot be mixed"):
        build_dataset([paths[0], paths[1], paths[3]])


def test_a_build_without_responses_or_shared_samples_is_refused(files: list[Path], fakes) -> None:  # type: ignore[no-untyped-def]
    genes = pd.DataFrame([[1.0]], index=["nobody"], columns=["TP53"])
    paths = fakes(
        fake("r", response({("A", "d"): 0.1})),
        fake("e", Part("expression", genes, unit="log2")),
        fake("w", Part("wells", genes)),
    )
    with pytest.raises(DataError, match=r"none of the 2 files holds responses.*wells must be fitted"):
        build_dataset(paths[1:])
    with pytest.raises(DataError, match=r"none of its 1 samples \('nobody'\) has a response \('A'\)"):
        build_dataset(paths[:2])
    with pytest.raises(DataError, match="given twice"):
        build_dataset([paths[0], paths[0]])
    with pytest.raises(DataError, match="kinds or options are stated for files that are not given"):
        build_dataset([paths[0]], kinds={"nothing.csv": "r"})
    with pytest.raises(DataError, match="no file"):
        build_dataset([])


@pytest.mark.slow
@pytest.mark.skipif(SHARED is None, reason="needs the official tables")
def test_official_files_of_two_consortia_become_one_dataset() -> None:
    folder = Path(str(SHARED))
    names = [
        "ccle/CCLE_NP24.2009_Drug_data_2015.02.24.csv",
        "ccle/DepMap_Model_24Q2.csv",
        "gdsc/Cell_Lines_Details.xlsx",
        "ccle/CCLE_U133_RMA_log2_500x1000.parquet",
        "gdsc/GDSC_mutation_genomewide_mofgcn.parquet",
        "omics/CCLE_RPPA_20181003.csv",
    ]
    dataset = build_dataset(
        [folder / name for name in names], kinds={"CCLE_RPPA_20181003.csv": "proteomics"}, measure="ln_ic50"
    )
    assert dataset.n_pairs == 11670
    assert len(dataset.samples) == 504
    assert dataset.samples["depmap_id"].isna().sum() == 7  # DepMap has left these out since, COLO-677 among them
    assert dataset.omics["mutation"].shape[0] > 350  # GDSC's matrix goes by COSMIC ids
    assert dataset.omics["proteomics"].shape == (461, 214)
    assert dataset.omics["expression"].shape[0] > 260
