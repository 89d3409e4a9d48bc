"""Kinds of files: a first look without reading the whole, and the choice of a reader."""

from __future__ import annotations

import gzip
from pathlib import Path

import pandas as pd
import pytest

from halfmax.data.readers.glimpse import glimpse
from halfmax.data.readers.kinds import KINDS, FileKind, Part, Reading, read_any, recognise
from halfmax.errors import DataError, UnknownNameError

TEXT = "# a comment\nCell Line\tDrug Name\tLN_IC50\nA-1\tX\t0.5\nB-2\tX\t-1.5\n"


@pytest.fixture
def two_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pd.DataFrame({"x": [1]})

    def kind(name: str, sure: float) -> FileKind:
        return FileKind(
            name,
            name,
            "test",
            lambda seen: sure if seen.has("ln ic50") else 0.0,
            lambda path: Reading(name, (Part("samples", frame),)),
        )

    kinds = {"first": kind("first", 0.9), "second": kind("second", 0.6)}
    monkeypatch.setattr(KINDS, "names", lambda: list(kinds))
    monkeypatch.setattr(KINDS, "get", kinds.__getitem__)


@pytest.mark.parametrize("form", ["text", "gzip", "parquet", "workbook"])
def test_a_first_look_shows_the_columns_of_any_form(tmp_path: Path, form: str) -> None:
    frame = pd.DataFrame({"Cell Line": ["A-1"], "Drug\nName": ["X"], "LN_IC50": [0.5]})
    path = tmp_path / "file"
    if form == "parquet":
        frame.to_parquet(path)
    elif form == "workbook":
        frame.to_excel(path.with_suffix(".xlsx"), index=False, sheet_name="data")
        path = path.with_suffix(".xlsx")
    else:
        path.write_bytes(gzip.compress(TEXT.encode()) if form == "gzip" else TEXT.encode())
    seen = glimpse(path)
    assert seen.form == ("text" if form == "gzip" else form)
    assert seen.columns[0] == "Cell Line"
    assert seen.has("cell_line", "DRUG NAME", "LN IC50")
    assert not seen.has("AUC")
    if form == "workbook":
        assert seen.sheets == ("data",)


def test_a_first_look_reads_no_more_than_the_head(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    path.write_text("a,b\n" + "1,2\n" * 500_000, encoding="utf-8")
    assert len(glimpse(path).rows) == 50


def test_a_folder_shows_its_files(tmp_path: Path) -> None:
    (tmp_path / "x.tsv").touch()
    assert glimpse(tmp_path).members == ("x.tsv",)


@pytest.mark.parametrize("content", [b"\x1f\x8bbroken", b"PAR1broken", b"PK\x03\x04broken"])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "f").write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        glimpse(tmp_path / "f")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be opened"):
        glimpse(tmp_path / "nothing")


@pytest.mark.usefixtures("two_kinds")
def test_the_surest_kind_reads_a_file(tmp_path: Path) -> None:
    path = tmp_path / "f.tsv"
    path.write_text(TEXT, encoding="utf-8")
    assert [kind.name for _, kind in recognise(path)] == ["first", "second"]
    assert read_any(path).kind == "first"
    assert read_any(path, "second").kind == "second"


@pytest.mark.usefixtures("two_kinds")
def test_an_unknown_file_is_not_guessed_at(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text("u,v\n1,2\n", encoding="utf-8")
    with pytest.raises(DataError, match="first, second"):
        read_any(path)


def test_an_unknown_kind_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="reader"):
        read_any(tmp_path, "nonsense")


def test_a_part_that_is_not_there_is_named() -> None:
    reading = Reading("kind", (Part("samples", pd.DataFrame()),))
    with pytest.raises(DataError, match="samples"):
        reading.part("response")
