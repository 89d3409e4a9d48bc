"""Workbooks: the fast reader gives what the exact one gives, and what it cannot be trusted with goes to the other."""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halfmax.data import workbook
from halfmax.data.containers import Columns
from halfmax.data.tables import MAX_BYTES, MAX_CELLS, read_table
from halfmax.data.workbook import first_rows, read_workbook
from halfmax.errors import DataError, HalfmaxError

openpyxl = pytest.importorskip("openpyxl")
SHEET = "xl/worksheets/sheet1.xml"


def saved(rows: list[list[object]], **sheets: list[list[object]]) -> bytes:
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    for name, more in sheets.items():
        sheet = book.create_sheet(name)
        for row in more:
            sheet.append(row)
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def changed(content: bytes, change: Callable[[bytes], bytes], name: str = SHEET) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.namelist():
            new.writestr(entry, change(old.read(entry)) if entry == name else old.read(entry))
    return file.getvalue()


def read(content: bytes, sheet: str | None = None, max_bytes: int = MAX_BYTES) -> Columns:
    return read_workbook(content, sheet, max_bytes, MAX_CELLS)


@pytest.fixture(params=["calamine", "openpyxl"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "openpyxl":
        monkeypatch.setitem(sys.modules, "python_calamine", None)
    else:
        pytest.importorskip("python_calamine")
        monkeypatch.setattr(workbook, "_openpyxl_rows", None)
    return str(request.param)


def texts(columns: Columns) -> list[list[str]]:
    return [[str(cell) if cell is not None else "" for cell in column.to_pylist()] for column in columns.data.columns]


@pytest.mark.usefixtures("engine")
def test_numbers_stay_numbers_and_the_rest_is_text() -> None:
    rows = [
        ["whole", "real", "mixed", "flag", "date", "time", "long", "blank", "text"],
        [683665, 0.1, "00123", True, datetime(2023, 3, 1), time(3, 4, 5), timedelta(hours=30), None, "α\nβ"],
        [None, 7, 1.5, False, date(2020, 1, 2), None, None, None, " x "],
        [-3, 1e-7, 7.0, None, datetime(2023, 3, 1, 4, 5, 6), None, None, None, ""],
    ]
    found = read(saved(rows))
    assert found.columns[:2] == ("whole", "real")
    assert found.first_row == 2
    assert [column.type for column in found.data.columns[:3]] == [pa.int64(), pa.float64(), pa.string()]
    assert found.data.column(0).to_pylist() == [683665, None, -3]
    assert found.data.column(1).to_pylist() == [0.1, 7.0, 1e-7]
    assert texts(found)[2:] == [
        ["00123", "1.5", "7"],
        ["TRUE", "FALSE", ""],
        ["2023-03-01 00:00:00", "2020-01-02 00:00:00", "2023-03-01 04:05:06"],
        ["03:04:05", "", ""],
        ["1 day, 6:00:00", "", ""],
        ["", "", ""],
        ["α\nβ", " x ", ""],
    ]


@pytest.mark.usefixtures("engine")
def test_a_table_may_begin_below_and_to_the_right() -> None:
    found = read(saved([[], [None, None], [None, "a", "b"], [None, 1, "x"], [], [None, 2, "y"]]))
    assert found.columns == ("", "a", "b")
    assert found.first_row == 4
    assert texts(found) == [["", "", ""], ["1", "", "2"], ["x", "", "y"]]


@pytest.mark.usefixtures("engine")
def test_a_sheet_may_have_no_header() -> None:
    content = saved([[], ["Labels:"], ["ACC", "Adrenocortical carcinoma"], [1, None]])
    with pytest.raises(DataError, match="row 3 has values beyond the 1 columns"):
        read(content)
    found = read_workbook(content, None, MAX_BYTES, MAX_CELLS, header=False)
    assert found.columns == ("", "")
    assert found.first_row == 2
    assert texts(found) == [["Labels:", "ACC", "1"], ["", "Adrenocortical carcinoma", ""]]


@pytest.mark.usefixtures("engine")
def test_sheets_are_chosen_by_name() -> None:
    content = saved([["a"], [1]], second=[["b"], ["x"]], third=[["c"]])
    assert read(content, "second").columns == ("b",)
    with pytest.raises(DataError, match=r"no sheet 'other'; it has 'Sheet', 'second', 'third'"):
        read(content, "other")
    with pytest.raises(DataError, match="no rows below"):
        read(content, "third")


@pytest.mark.usefixtures("engine")
def test_values_beyond_the_header_are_refused_by_row() -> None:
    with pytest.raises(DataError, match=r"row 3 has values beyond the 2 columns"):
        read(saved([["a", "b"], [1, 2], [3, 4, 5]]))


@pytest.mark.usefixtures("engine")
def test_a_column_that_turns_to_text_late_is_text_from_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbook, "_ROWS_AT_ONCE", 3)
    rows: list[list[object]] = [[i, i / 2, None, i] for i in range(8)]
    rows[7] = ["late", 0.25, 5, None]
    found = read(saved([["a", "b", "c", "d"], *rows]))
    assert texts(found)[0] == ["0", "1", "2", "3", "4", "5", "6", "late"]
    assert found.data.column(1).to_pylist()[6:] == [3.0, 0.25]
    assert found.data.column(2).to_pylist() == [None] * 7 + [5]
    assert found.data.column(3).type == pa.int64()


@pytest.mark.usefixtures("engine")
def test_a_first_look_reads_no_more_than_the_head(tmp_path: Path) -> None:
    rows = [["a", "b"], *[[f"row {i}", i] for i in range(9_000)]]
    content = changed(saved(rows, second=[["x"]]), lambda part: part.replace(b"</sheetData>", b"<damaged"))
    (tmp_path / "b.xlsx").write_bytes(content)
    sheets, seen = first_rows(tmp_path / "b.xlsx", 3, MAX_BYTES)
    assert sheets == ("Sheet", "second")
    assert seen == (("a", "b"), ("row 0", "0"), ("row 1", "1"))
    with pytest.raises(DataError, match="damaged"):
        read_table(tmp_path / "b.xlsx")


def test_too_many_bytes_or_cells_are_refused() -> None:
    content = saved([["a", "b"], *[["x" * 100, i] for i in range(500)]])
    with pytest.raises(DataError, match="at most 0 MB"):
        read(content, max_bytes=2000)
    with pytest.raises(DataError, match="more than 300 cells"):
        read_workbook(content, None, MAX_BYTES, 300)


SMALL = [["a", "b"], [1, "x"], [1.5, "y"]]
FAR = b'<row r="1048576"><c r="XFD1048576"><v>1</v></c></row></sheetData>'


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (b"</sheetData>", FAR, "empty rows"),
        (b"</sheetData>", FAR.replace(b'r="XFD1048576"', b"r = 'xfd1048576'"), "empty rows"),
        (b"</sheetData>", b'<row r="99999999"><c><v>1</v></c></row></sheetData>', "empty rows"),
        (b"</sheetData>", b'<row r="9"><c r="ZZZZZ9"><v>1</v></c></row></sheetData>', "damaged"),
        (b"</sheetData>", b'<row r="700000">' + b"<c><v>1</v></c>" * 50_000 + b"</row></sheetData>", "empty rows"),
        (b"</sheetData>", b"</sheetDat", "damaged"),
    ],
)
def test_cells_far_from_the_table_fill_no_memory(old: bytes, new: bytes, said: str) -> None:
    content = changed(saved(SMALL), lambda part: part.replace(old, new))
    with pytest.raises(DataError, match=said):
        read(content)


def test_a_size_written_too_small_cuts_nothing() -> None:
    for size in (b'ref="A1"', b'ref="A1:XFD1048576"'):
        found = read(changed(saved(SMALL), lambda part, size=size: part.replace(b'ref="A1:B3"', size)))
        assert texts(found) == [["1.0", "1.5"], ["x", "y"]]


def test_errors_in_cells_stay_visible() -> None:
    book = openpyxl.Workbook()
    for row in [["a", "b"], [1, "x"], ["#DIV/0!", "y"]]:
        book.active.append(row)
    book.active["A3"].data_type = "e"
    file = io.BytesIO()
    book.save(file)
    assert texts(read(file.getvalue()))[0] == ["1", "#DIV/0!"]


def test_an_archive_that_lies_about_its_length_is_refused(tmp_path: Path) -> None:
    content = bytearray(saved([["a", "b"], *[["x" * 50, i] for i in range(200)]]))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        size = archive.getinfo(SHEET).file_size
    for place in range(len(content) - 4):
        if content[place : place + 4] == size.to_bytes(4, "little"):
            content[place : place + 4] = (size // 2).to_bytes(4, "little")
    (tmp_path / "b.xlsx").write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        read_table(tmp_path / "b.xlsx")


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.lists(
            st.none()
            | st.booleans()
            | st.integers(-(2**40), 2**40)
            | st.floats(allow_nan=False, allow_infinity=False, min_value=-1e12, max_value=1e12).map(
                lambda x: x + 0.0
            )  # no -0.0
            | st.text("ab 1.-µ", max_size=4)
            | st.datetimes(datetime(1950, 1, 1), datetime(2050, 1, 1)).map(lambda d: d.replace(microsecond=0)),
            min_size=3,
            max_size=3,
        ),
        min_size=1,
        max_size=6,
    )
)
def test_both_readers_give_the_same(rows: list[list[object]]) -> None:
    pytest.importorskip("python_calamine")
    content = saved([["a", "b", "c"], *rows, [1, "end", 0.5]])
    fast = read(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "python_calamine", None)
        exact = read(content)
    assert fast.data.schema == exact.data.schema
    stripped = [[[c.strip() for c in column] for column in texts(found)] for found in (fast, exact)]  # as tables do
    assert stripped[0] == stripped[1]


def test_mutated_sheets_give_a_table_or_an_error_of_our_own() -> None:
    content = saved(SMALL)
    rng = np.random.default_rng(3)
    parts = [SHEET, "xl/workbook.xml", "xl/styles.xml", "[Content_Types].xml"]
    pieces = [b'"', b"<", b"&#0;", b"99999999", b"", b't="s"', b"<v>", b"</c>", b"\xff"]
    for _ in range(60):
        part = parts[int(rng.integers(len(parts)))]

        def mutate(old: bytes) -> bytes:
            start = int(rng.integers(len(old)))
            return old[:start] + pieces[int(rng.integers(len(pieces)))] + old[start + int(rng.integers(20)) :]

        try:
            read(changed(content, mutate, part))
        except HalfmaxError:
            continue
