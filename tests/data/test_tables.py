"""Files as text: what is accepted, what is refused with its row, and what would be silently wrong elsewhere."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from halfmax.data.tables import Table, escape_formula, read_frame, read_table
from halfmax.errors import DataError


def write(folder: Path, content: str | bytes, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def codes(table: Table) -> list[str]:
    return [finding.code for finding in table.findings]


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        ("a,b,c\n1,2,3\n", ("a", "b", "c")),
        ("a\tb\tc\n1\t2\t3\n", ("a", "b", "c")),
        ("a;b;c\n1;2;3\n", ("a", "b", "c")),
        ("a b c\n1 2 3\n", ("a", "b", "c")),
        ("a|b|c\n1|2|3\n", ("a", "b", "c")),
        ("a\tb, of c\nx, y\t2\n", ("a", "b, of c")),
        ("gene;s1\nTP53;1,5\nEGFR;2,5\n", ("gene", "s1")),
        ("\ts1\ts2\nTP53|7157\t1\t2\nEGFR|1956\t3\t4\n", ("", "s1", "s2")),
        ("only\nTP53\nEGFR\n", ("only",)),
        ("a,b,c\r\n1,2,3\r\n", ("a", "b", "c")),
        ("a,b,c\r1,2,3\r", ("a", "b", "c")),
        ("\ufeffa,b,c\n1,2,3", ("a", "b", "c")),
        ('"a","b","c"\n"1","2","3"\n', ("a", "b", "c")),
        ('a,"b\nof b",c\n1,2,3\n', ("a", "b of b", "c")),
        (" a , b,c \n1,2,3\n", ("a", "b", "c")),
        ("# made by x\n# in 2020\na,b,c\n1,2,3\n", ("a", "b", "c")),
        ("#a\tb\n1\t2\n", ("#a", "b")),
        ("\n\na,b\n1,2\n", ("a", "b")),
        ("#1.2\n2\t1\nName\tDescription\ts1\nTP53\tx\t1\n", ("Name", "Description", "s1")),
    ],
)
def test_delimiters_line_ends_and_headers_are_found(tmp_path: Path, content: str, columns: tuple[str, ...]) -> None:
    table = read_table(write(tmp_path, content))
    assert table.columns == columns
    assert not any(cell == "" for cell in table.frame.iloc[0])


def test_ids_and_names_stay_text(tmp_path: Path) -> None:
    ids = ["00123", "TRUE", "NA", "null", "1e5", "nan", "1-Mar", "0x10", "+5", "2020-01-01", "None"]
    frame = read_table(write(tmp_path, "id,v\n" + "".join(f"{name},1\n" for name in ids))).frame
    assert frame["id"].tolist() == ids
    header = read_table(write(tmp_path, "id," + ",".join(ids) + "\nx" + ",1" * len(ids) + "\n"))
    assert header.columns[1:] == tuple(ids)


def test_repeated_columns_stay_repeated(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "id,TP53,TP53\na,1,2\n"))
    assert table.columns == ("id", "TP53", "TP53")
    assert table.numbers([1, 2]).values.tolist() == [[1.0, 2.0]]
    with pytest.raises(DataError, match=r"1 column names occur more than once: 'TP53'"):
        read_frame(tmp_path / "table.csv")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n3,4,5\n6,7\n", r"1 rows have too many or too few cells: 2 are expected .*row 3 has 3"),
        ("a,b\n1,2\n3\n", r"row 3 has 1"),
        ("# x\na,b\n1,2\n3,4,5\n", r"row 4 has 3"),
        ("id,v,w\n" + "x,1,2\n" * 5000 + "y,1\n", r"row 5002 has 2"),
        ('id,"a\nb"\n1,2\n1,2,3\n', r"row 4 has 3"),
        ("gene,s1,s2\nTP53,1,5,2,5\nEGFR,1,7,2,9\n", r"decimal commas, put a tab or semicolon"),
        ('a,b\n1,2\n3,"4\n5,6\n', r"row 3 has a quote"),
        ('a,b\n1,2\n"3"x"y,4\n', r"row 3 has a quote"),
        (b"a,b\n1,2\n\xb5M,4\n", r"not UTF-8: row 3, byte 1 holds 0xB5"),
        (b"a,b\n1,2\nxy\xff,4\n", r"row 3, byte 3 holds 0xFF after 'xy'"),
        (b"a,b\n1,2\n1,\x002\n", r"NUL byte in row 3, byte 3"),
        ("a,b\n1,2\n".encode("utf-16"), r"UTF-16"),
        ("a,b\n", r"has a header \('a', 'b'\) and no rows"),
        ("", r"is empty"),
        ("\n \n\n", r"no table in it"),
        ("# only\n# comments\n", r"no table in it"),
        ("a,b\n,\n,\n", r"all of its 2 rows are empty"),
        ("a,b\n1," + "x" * 200_000 + "\n", r"row 2 cannot be read"),
        (b"\x89HDF\r\n\x1a\n", r"HDF5"),
        (b"\xd0\xcf\x11\xe0aaaa", r"old Excel workbook"),
        (b"PAR1 but no more", r"damaged Parquet"),
        (b"PK\x03\x04 but no more", r"damaged workbook"),
        (b"\x1f\x8b but no more", r"damaged gzip"),
    ],
)
def test_refused_with_the_row_and_the_reason(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(DataError, match=message) as caught:
        read_table(path)
    assert str(caught.value).startswith(str(path))


def test_a_header_one_name_short_is_row_names_only_if_every_row_agrees(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "s1\ts2\nTP53\t1\t2\nEGFR\t3\t4\n"))
    assert table.columns == ("", "s1", "s2")
    assert table.frame.iloc[:, 0].tolist() == ["TP53", "EGFR"]
    assert "row-names" in codes(table)
    with pytest.raises(DataError, match=r"row 3 has 2"):
        read_table(write(tmp_path, "s1\ts2\nTP53\t1\t2\nEGFR\t3\n"))


def test_decimal_commas_between_commas_are_not_taken_for_row_names(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"2 rows .*row 2 has 4.*decimal commas, put a tab.*begin with a name"):
        read_table(write(tmp_path, "cell,drug,ic50\na,x,0,5\nb,x,1,5\n"))
    quoted = read_table(write(tmp_path, '"s1","s2"\n"TP53",1,2\n"EGFR",3,4\n'))
    assert quoted.columns == ("", "s1", "s2")


def test_a_delimiter_at_the_end_of_every_row_shifts_nothing(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "id,v,\na,1,\nb,2,\n"))
    assert table.columns == ("id", "v")
    assert table.numbers([1]).values[:, 0].tolist() == [1, 2]
    with pytest.raises(DataError, match="the last cell is always empty"):
        read_table(write(tmp_path, "id\tv\na\t1\t\nb\t2\t\n"))


def test_a_first_row_of_values_is_no_header(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "TP53\t1.5\t2.25\nEGFR\t3.5\t4.0\n"))
    assert len(table) == 2
    assert table.columns == ("", "", "")
    assert "no-header" in codes(table)
    assert len(read_table(tmp_path / "table.csv", header=True)) == 1


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.csv: it cannot be opened"):
        read_table(tmp_path / "nowhere.csv")
    with pytest.raises(DataError, match=r"it is no file|cannot be opened"):
        read_table(tmp_path)


def test_gzip_is_read_and_a_bomb_stops_at_the_cap(tmp_path: Path) -> None:
    packed = write(tmp_path, gzip.compress(b"a,b\n1,2\n"), "table.csv.gz")
    assert len(read_table(packed)) == 1
    assert len(read_table(packed.rename(tmp_path / "named_wrong.csv"))) == 1
    bomb = write(tmp_path, gzip.compress(b"0" * 50_000_000), "bomb.csv.gz")
    assert bomb.stat().st_size < 60_000
    with pytest.raises(DataError, match=r"unpack to more than 10 MB"):
        read_table(bomb, max_bytes=10_000_000)
    cut = write(tmp_path, gzip.compress(b"a,b\n1,2\n" * 1000)[:-20], "cut.csv.gz")
    with pytest.raises(DataError, match="damaged gzip"):
        read_table(cut)


def test_size_caps_are_stated(tmp_path: Path) -> None:
    path = write(tmp_path, "a,b\n" + "1,2\n" * 100)
    with pytest.raises(DataError, match=r"at most 0 MB are read"):
        read_table(path, max_bytes=100)
    with pytest.raises(DataError, match=r"100 rows × 2 columns; at most 150 cells"):
        read_table(path, max_cells=150)
    frame = pd.DataFrame(np.zeros((100, 2)), columns=["a", "b"])
    frame.to_parquet(tmp_path / "t.parquet")
    with pytest.raises(DataError, match="at most 150 cells"):
        read_table(tmp_path / "t.parquet", max_cells=150)


def test_decimal_commas_are_read_and_said_and_refused_if_strict(tmp_path: Path) -> None:
    path = write(tmp_path, "gene;s1;s2\nTP53;1,5;2\nEGFR;-0,25;1,5e3\n")
    table = read_table(path)
    assert table.numbers([1, 2]).values.tolist() == [[1.5, 2.0], [-0.25, 1500.0]]
    finding = next(f for f in table.findings if f.code == "decimal-comma")
    assert (finding.count, finding.examples) == (2, ("s1", "s2"))
    assert table.frame["s1"].tolist() == ["1,5", "-0,25"]
    with pytest.raises(DataError, match=r"2 columns have decimal commas.*'s1', 's2'"):
        read_table(path, strict=True)


def test_a_comma_that_may_separate_thousands_is_not_guessed(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "gene;s1\nTP53;1,234\nEGFR;12,345\n"))
    assert "comma-unclear" in codes(table)
    assert table.numbers([1]).n_bad.tolist() == [2]
    proven = read_table(write(tmp_path, "gene;s1\nTP53;1,234\nEGFR;0,5\n"))
    assert proven.numbers([1]).values[:, 0].tolist() == [1.234, 0.5]


def test_text_columns_of_comma_lists_are_left_alone(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, 'drug,doses\nA,".1,.2,.3"\nB,"1,2,3"\n'), strict=True)
    assert table.frame["doses"].tolist() == [".1,.2,.3", "1,2,3"]


def test_numbers_count_what_is_missing_infinite_or_no_number(tmp_path: Path) -> None:
    cells = ["1", " 2.5 ", "+3", "-.5", "1e3", "", "NA", "nan", "inf", "-Infinity", "1e400", "x", ">10", "0x1", "1_0"]
    numbers = read_table(write(tmp_path, "id,v\n" + "".join(f"r,{cell}\n" for cell in cells))).numbers([1])
    values = numbers.values[:, 0]
    assert values[:5].tolist() == [1, 2.5, 3, -0.5, 1000]
    assert np.isinf(values[8:11]).all()
    assert numbers.n_missing.tolist() == [3]
    assert numbers.n_bad.tolist() == [4]
    assert [text for *_, text in numbers.bad] == ["x", ">10", "0x1", "1_0"]


def test_many_number_columns_at_once_equal_one_by_one(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(40, 30)).astype(np.float32)
    frame = pd.DataFrame(values, columns=[f"g{i}" for i in range(30)])
    frame.to_csv(tmp_path / "t.csv", index_label="id")
    numbers = read_table(tmp_path / "t.csv").numbers(range(1, 31), np.float32)
    assert np.array_equal(numbers.values, values)
    frame.iloc[3, 4] = np.nan
    frame.to_csv(tmp_path / "t.csv", index_label="id")
    numbers = read_table(tmp_path / "t.csv").numbers(range(1, 31), np.float32)
    assert np.array_equal(numbers.values, frame.to_numpy(), equal_nan=True)
    assert numbers.n_missing.sum() == 1


def test_empty_rows_at_the_end_are_left_out_and_counted(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "a,b\n1,2\n,\n , \n3,4\n"))
    assert table.frame["a"].tolist() == ["1", "3"]
    assert next(f for f in table.findings if f.code == "empty-rows").examples == ("3", "4")


def test_parquet_keeps_types_and_puts_the_index_first(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": [1.5, np.nan], "n": [1, 2], "t": ["007", None]}, index=pd.Index(["a", "b"], name="id"))
    frame.to_parquet(tmp_path / "t.parquet")
    table = read_table(tmp_path / "t.parquet")
    assert table.columns == ("id", "x", "n", "t")
    assert table.frame["t"].tolist() == ["007", ""]
    assert np.array_equal(table.numbers([1, 2]).values, [[1.5, 1], [np.nan, 2]], equal_nan=True)
    unnamed = pd.DataFrame({"x": [1.0, 2.0]}, index=["a", "b"])
    unnamed.to_parquet(tmp_path / "u.parquet")
    assert read_table(tmp_path / "u.parquet").columns == ("", "x")


def test_a_small_parquet_of_much_text_stops_at_the_cap(tmp_path: Path) -> None:
    pd.DataFrame({"id": ["x" * 10_000] * 20_000}).to_parquet(tmp_path / "t.parquet")
    assert (tmp_path / "t.parquet").stat().st_size < 100_000
    with pytest.raises(DataError, match=r"text unpacks to 200 MB; at most 100 MB"):
        read_table(tmp_path / "t.parquet", max_bytes=100_000_000)


def test_parquet_with_damaged_words_about_its_index_is_read_without(tmp_path: Path) -> None:
    pd.DataFrame({"x": [1.0]}, index=pd.Index(["a"], name="id")).to_parquet(tmp_path / "t.parquet")
    content = (tmp_path / "t.parquet").read_bytes().replace(b'{"index_columns"', b'"{index_columns"')
    assert read_table(write(tmp_path, content, "u.parquet")).columns == ("x", "id")


def test_parquet_of_lists_is_refused_by_column(tmp_path: Path) -> None:
    pd.DataFrame({"id": ["a"], "x": [[1, 2]]}).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"column 'x' holds list"):
        read_table(tmp_path / "t.parquet")


def test_workbooks_are_read_and_a_zip_is_not_taken_for_one(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    sheet = book.active
    for row in [["gene", "s\n1", None], ["TP53", 1.5, None], [pd.Timestamp("2023-03-01").to_pydatetime(), 7.0, None]]:
        sheet.append(row)
    book.create_sheet("second").append(["a"])
    book.save(tmp_path / "b.xlsx")
    table = read_table(tmp_path / "b.xlsx")
    assert table.columns == ("gene", "s 1")
    assert table.frame["gene"].tolist() == ["TP53", "2023-03-01 00:00:00"]
    assert table.frame["s 1"].tolist() == ["1.5", "7"]
    with pytest.raises(DataError, match="no rows below"):
        read_table(tmp_path / "b.xlsx", sheet="second")
    with pytest.raises(DataError, match=r"no sheet 'third'; it has 'Sheet', 'second'"):
        read_table(tmp_path / "b.xlsx", sheet="third")
    with zipfile.ZipFile(tmp_path / "z.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.csv", "a,b\n" * 100_000)
    with pytest.raises(DataError, match=r"zip archive \(of 'data.csv'\)"):
        read_table(tmp_path / "z.zip")
    with pytest.raises(DataError, match=r"unpacks to 0 MB|at most"):
        read_table(tmp_path / "z.zip", max_bytes=2000)


def test_formulas_are_escaped_in_exports() -> None:
    frame = pd.DataFrame(
        {"drug": ["=cmd|' /C calc'!A0", "+1+1", "@x", "-2.5", "plain", None], "value": [-1.0, 2, 3, 4, 5, 6]},
        index=pd.Index(["=a", "b", "c", "d", "e", "-f"], name="id"),
    ).rename(columns={"value": "=value"})
    escaped = escape_formula(frame)
    assert escaped["drug"].tolist()[:5] == ["'=cmd|' /C calc'!A0", "'+1+1", "'@x", "-2.5", "plain"]
    assert escaped["drug"].isna().tolist() == [False] * 5 + [True]
    assert escaped["'=value"].tolist() == frame["=value"].tolist()
    assert escaped.index.tolist() == ["'=a", "b", "c", "d", "e", "'-f"]
    assert escaped.index.name == "id"
    assert frame["drug"].iloc[0].startswith("=")


def test_read_frame_reads_the_named_columns_as_numbers(tmp_path: Path) -> None:
    path = write(tmp_path, "cell,fold,y\n5637,0,1.5\n0042,1,\n")
    frame = read_frame(path, numbers=("y", "absent"))
    assert frame["cell"].tolist() == ["5637", "0042"]
    assert frame["fold"].tolist() == ["0", "1"]
    assert frame["y"].dtype == np.float64
    assert np.isnan(frame["y"].iloc[1])
    with pytest.raises(DataError, match=r"1 cells of 'y' are no numbers: 'row 2: x'"):
        read_frame(write(tmp_path, "cell,fold,y\na,0,x\n"), numbers=("y",))
