"""Delimited text as columns of text, with every row checked: nothing is shifted, cut or taken for something else."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.csv

from halfmax.data.containers import Columns
from halfmax.data.findings import Findings
from halfmax.errors import DataError, examples

#: Each with its rank where several would do; between comma and semicolon the one that makes more cells is taken.
DELIMITERS = {"\t": 3, ",": 2, ";": 2, "|": 1, " ": 0}
_NAMES = {"\t": "tab", ",": "comma", ";": "semicolon", "|": "bar", " ": "blank"}
_SNIFFED_LINES = 25
_BLOCK = 1 << 24
_DECIMAL_FRACTION = re.compile(r"[+-]?\d*\.\d+(?:[eE][+-]?\d+)?")


def parse_delimited(content: bytes, findings: Findings, *, delimiter: str | None, header: bool | None) -> Columns:
    """Return the columns of a delimited text.

    Raises
    ------
    DataError
        If it is not UTF-8, holds NUL bytes or an open quote, or if a row has too many or too few cells.
    """
    content = _plain_lines(content)
    start, row = _skip_preamble(content, findings)
    body = content[start:] if start else content
    if not body.strip():
        raise DataError("there is no table in it: it is empty, or holds comments and blank lines alone.")
    quoted = b'"' in body
    if delimiter is None:
        delimiter = _sniff(body)
    many_lines = quoted and _has_cells_of_many_lines(body, delimiter, row)
    records = list(itertools.islice(_records(body, delimiter), 3))
    names, first = [_one_line(cell) for cell in records[0][1]], row + (records[1][0] if len(records) > 1 else 1)
    if header is None:
        header = not _looks_like_values(names)
    if not header:
        width = len(names)
        names, first, skip = ["" for _ in range(width)], row, 0
        findings.info("no-header", "the first row holds values, so the columns have no names.")
    else:
        skip = len(body.split(b"\n", 1)[0]) + 1 if not many_lines else _end_of_first_record(body, delimiter)
        if len(records) == 1:
            raise DataError(f"it has a header ({examples(names)}) and no rows below it.")
        # R writes row names under a header that lacks one; without quotes, decimal commas would look the same.
        if len(records[1][1]) == len(names) + 1 and (delimiter != "," or quoted):
            findings.info(
                "row-names", "the header has one name fewer than the rows have cells: they start with a name."
            )
            names = ["", *names]
    data = _parse(body, skip, delimiter, len(names), many_lines=many_lines)
    if data is None:
        _refuse_ragged(body, delimiter, len(names), row, header=header)
        raise DataError("its rows differ in their number of cells.")
    return Columns(tuple(names), data, first)


def _plain_lines(content: bytes) -> bytes:
    """Return UTF-8 bytes with Unix line ends and no byte order mark; refuse every other encoding by its place."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError("it is UTF-16 text (a spreadsheet's 'Unicode Text'); save it as 'CSV UTF-8'.")
    content = content.removeprefix(b"\xef\xbb\xbf")
    if (place := content.find(b"\0")) >= 0:
        raise DataError(f"there is a NUL byte in {_place(content, place)}; it is not a text file, or a damaged one.")
    try:
        content.decode()
    except UnicodeDecodeError as error:
        shown = content[max(error.start - 15, 0) : error.start].decode("ascii", "replace").rpartition("\n")[2]
        raise DataError(
            f"it is not UTF-8: {_place(content, error.start)} holds 0x{content[error.start]:02X} after {shown!r}; "
            "save it as UTF-8."
        ) from None
    return content.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in content else content


def _place(content: bytes, position: int) -> str:
    row = content.count(b"\n", 0, position) + 1
    byte = position - content.rfind(b"\n", 0, position)
    return f"row {row}, byte {byte}"


def _skip_preamble(content: bytes, findings: Findings) -> tuple[int, int]:
    """Return where the table begins, in bytes and in rows: after blank lines, comments, or the two lines of a GCT."""
    position, row, comments = 0, 1, 0
    gct = re.match(rb"\s*#1\.[23]\n[^\n]*\n", content)
    if gct:
        findings.info("gct", "it is a GCT file; its two lines of version and size are skipped.")
        return gct.end(), 3
    while position < len(content):
        end = content.find(b"\n", position)
        line = content[position : end if end >= 0 else len(content)]
        following = content[end + 1 : content.find(b"\n", end + 1)] if end >= 0 else b""
        is_comment = line.startswith(b"#") and not _same_cells(line, following)
        if line.strip() and not is_comment:
            break
        comments += is_comment
        position, row = (end + 1, row + 1) if end >= 0 else (len(content), row)
    if comments:
        findings.info("comments", f"{comments} comment lines before the table are skipped.", count=comments)
    return position, row


def _same_cells(line: bytes, following: bytes) -> bool:
    """Whether a line that begins with # is a header: it has as many cells as the line below, and more than one."""
    return any(line.count(d) == following.count(d) > 0 for d in (b"\t", b",", b";"))


def _sniff(body: bytes) -> str:
    """Return the delimiter that cuts the first lines into equal numbers of cells."""
    head = b"\n".join(itertools.islice(_lines(body), _SNIFFED_LINES)).decode()
    fits: list[tuple[bool, int, int, str]] = []
    loose: list[tuple[float, int, str]] = []
    for delimiter, order in DELIMITERS.items():
        if delimiter not in head:
            continue
        try:
            first, *rest = [len(cells) for _, cells in _read(io.StringIO(head, newline=""), delimiter)]
        except DataError:  # one cell a row is longer than any cell: another mark cuts them
            continue
        common, times = Counter(rest or [first]).most_common(1)[0]
        if common < 2:
            continue
        if times == len(rest or [first]) and first in (common, common - 1):
            fits.append((first == common, order, common, delimiter))
        elif delimiter != " ":
            loose.append((times / max(len(rest), 1), order, delimiter))
    if fits:
        return max(fits)[-1]
    return max(loose)[-1] if loose else "\t"


def _lines(body: bytes) -> Iterator[bytes]:
    position = 0
    while position < len(body):
        end = body.find(b"\n", position)
        end = len(body) if end < 0 else end
        if end > position:
            yield body[position:end]
        position = end + 1


def _records(body: bytes, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (row counted from 0, cells) of every row that is not blank."""
    return _read(io.TextIOWrapper(io.BytesIO(body), encoding="utf-8", newline=""), delimiter)


def _read(text: io.TextIOBase, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(text, delimiter=delimiter)
    start = 0
    try:
        for cells in reader:
            if cells:
                yield start, cells
            start = reader.line_num
    except csv.Error as error:
        raise DataError(f"row {start + 1} cannot be read: {error}.") from None


def _has_cells_of_many_lines(body: bytes, delimiter: str, row: int) -> bool:
    """Whether a quoted cell runs over several lines; raise DataError if a quote is never closed."""
    if all(line.count(b'"') % 2 == 0 for line in _lines(body)):
        return False
    reader = csv.reader(
        io.TextIOWrapper(io.BytesIO(body), encoding="utf-8", newline=""), delimiter=delimiter, strict=True
    )
    start = 0
    try:
        for _ in reader:
            start = reader.line_num
    except csv.Error as error:
        raise DataError(
            f'row {row + start} has a quote (") that is not closed as it should be ({error}); close it, or write '
            'a quote inside a quoted cell twice ("").'
        ) from None
    return True


def _end_of_first_record(body: bytes, delimiter: str) -> int:
    n_lines = next(itertools.islice(_records(body, delimiter), 1, 2), (body.count(b"\n") + 1, []))[0]
    position = 0
    for _ in range(n_lines):
        position = body.find(b"\n", position) + 1
    return position


def _one_line(cell: str) -> str:
    return " ".join(cell.lstrip("\ufeff").split()) if "\n" in cell else cell.strip()


def _looks_like_values(names: list[str]) -> bool:
    """Whether a first row holds measurements: most cells after the first are numbers with a fraction."""
    rest = names[1:]
    return bool(rest) and sum(_DECIMAL_FRACTION.fullmatch(name) is not None for name in rest) > len(rest) / 2


def _parse(body: bytes, skip: int, delimiter: str, width: int, *, many_lines: bool) -> pa.Table | None:
    """Return the columns as text, or None if a row has another number of cells."""
    names = [str(i) for i in range(width)]
    longest = int(np.diff(np.flatnonzero(np.frombuffer(body, np.uint8) == 10), prepend=-1).max(initial=len(body) // 8))
    for block in (max(_BLOCK, 4 * longest), max(len(body), 1)):
        try:
            return pyarrow.csv.read_csv(
                pa.BufferReader(pa.py_buffer(body).slice(skip)),
                read_options=pyarrow.csv.ReadOptions(column_names=names, use_threads=False, block_size=block),
                parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=many_lines),
                convert_options=pyarrow.csv.ConvertOptions(
                    column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
                ),
            )
        except pa.ArrowInvalid as error:
            if "straddl" not in str(error):
                return None
    return None


def _refuse_ragged(body: bytes, delimiter: str, width: int, row: int, *, header: bool) -> None:
    wrong = [
        (row + start, len(cells))
        for number, (start, cells) in enumerate(_records(body, delimiter))
        if len(cells) != width and not (header and number == 0)
    ]
    if not wrong:
        return
    shown = ", ".join(f"row {number} has {cells}" for number, cells in wrong[:3])
    hint = ""
    if delimiter == ",":
        hint = " If its commas are decimal commas, put a tab or semicolon between the cells."
        if all(cells == width + 1 for _, cells in wrong):
            hint += " If the rows begin with a name of their own, give that column a name too."
    raise DataError(
        f"{len(wrong)} rows have too many or too few cells: {width} are expected (the cells are separated by a "
        f"{_NAMES.get(delimiter, repr(delimiter))}), {shown}{', …' if len(wrong) > 3 else ''}.{hint}"
    )
