"""A file is inspected: kind, unit with the evidence, orientation, genes, what is wrong and what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from halfmax.data.inspect import inspect_file, summary
from halfmax.errors import DataError, UnknownNameError
from tests.data.small_tables import SYMBOLS, codes, matrix, text


def test_a_matrix_of_expression_is_described(tmp_path: Path) -> None:
    frame = matrix(6).rename(columns={SYMBOLS[0]: "not-a-gene"})
    frame.T.to_csv(tmp_path / "e.tsv", sep="\t")
    told = inspect_file(tmp_path / "e.tsv")
    assert (told.kind, told.form, told.problem) == ("table-matrix", "text", None)
    (part,) = told.parts
    assert (part["role"], part["n_rows"], part["unit"]) == ("expression", 6, "log2")
    assert part["genes"]["known"] == len(SYMBOLS) - 1
    assert part["genes"]["unknown_examples"] == ["not-a-gene"]
    evidence = {f.code: f.message for f in told.findings}
    assert evidence["orientation"].startswith("samples are in columns")
    assert "adds up to a million" in evidence["unit"]
    assert "halfmax predict" in told.advice[-1]
    assert json.loads(json.dumps(told.to_dict()))["findings"][0]["code"]


def test_responses_are_described(tmp_path: Path) -> None:
    path = text(tmp_path, "cell_line,drug,IC50 (nM)\nA,x,10\nB,x,20\nB,y,20\n", "r.csv")
    told = inspect_file(path)
    (part,) = told.parts
    assert (part["samples"], part["drugs"], part["n_rows"]) == (2, 2, 3)
    assert (part["measure"], part["unit"]) == ("ln_ic50 [ln µM]", "nM")
    assert "halfmax data build" in told.advice[-1]
    assert ("response", "3 pairs of 2 samples and 2 drugs; ln_ic50 [ln µM]; ids by name, e.g. 'A', 'B'") in summary(
        told
    )


def test_what_is_wrong_is_an_answer_and_says_what_to_do(tmp_path: Path) -> None:
    path = text(tmp_path, "cell_line,drug,IC50\nA,x,10\nB,x,20\n", "r.csv")
    told = inspect_file(path)
    assert told.kind == "table-response"
    assert "unit of the responses is not clear" in str(told.problem)
    assert told.advice == ("Put right what is said under `wrong`, and inspect it again.",)
    assert inspect_file(path, unit="nM").problem is None
    assert dict(summary(told))["wrong"] == told.problem


def test_a_file_of_no_known_kind_lists_the_kinds(tmp_path: Path) -> None:
    told = inspect_file(text(tmp_path, "u,v\nx,y\n", "f.csv"))
    assert (told.kind, told.columns) == ("", ("u", "v"))
    assert "table-matrix" in told.advice[1]
    assert dict(summary(told))["kind"] == "not recognised"


def test_expression_without_a_provable_unit_asks_for_it(tmp_path: Path) -> None:
    (matrix(2) * 300 + 0.25).to_csv(tmp_path / "e.csv")
    told = inspect_file(tmp_path / "e.csv")
    assert told.parts[0]["unit"] == "unknown"
    assert any(text.startswith("State the unit with --unit") for text in told.advice)


def test_values_tell_mutations_and_copy_number(tmp_path: Path) -> None:
    rows = "".join(f"s{i},{','.join('01' * 30)}\n" for i in range(2))
    path = text(tmp_path, f"id,{','.join(SYMBOLS[:60])}\n{rows}", "m.csv")
    assert inspect_file(path).parts[0]["role"] == "mutation"
    assert "modality" in codes(inspect_file(path).findings)
    path = text(tmp_path, f"id,{','.join(SYMBOLS[:60])}\n{rows.replace('1,0', '-1,2')}", "c.csv")
    assert inspect_file(path).parts[0]["role"] == "copy_number"
    assert inspect_file(path, "expression").parts[0]["role"] == "expression"
    with_words = text(tmp_path, f"id,{','.join(SYMBOLS[:60])}\na,{','.join(['True', 'False'] * 30)}\n", "b.csv")
    assert inspect_file(with_words).parts[0]["role"] == "mutation"


def test_a_matrix_that_is_mostly_no_genes_must_be_named(tmp_path: Path) -> None:
    names = [*SYMBOLS[:40], *(f"probe{i}" for i in range(60))]
    path = text(tmp_path, f"id,{','.join(names)}\n" + f"a,{','.join(['1.5'] * 100)}\n", "p.csv")
    assert "only 40 of its 100 features are genes" in str(inspect_file(path).problem)
    assert inspect_file(path, "proteomics").problem is None


def test_what_cannot_be_opened_or_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be opened"):
        inspect_file(tmp_path / "nothing.csv")
    with pytest.raises(UnknownNameError, match="Did you mean"):
        inspect_file(text(tmp_path, "a\n1\n", "f.csv"), "table-matrx")
