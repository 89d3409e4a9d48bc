"""A library of compounds, read in shards: SMILES files and tables with a column of SMILES, of any length."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from halfmax.errors import DataError, examples

#: Longer lines are cut; what is left of them is refused as too long for a SMILES.
MAX_LINE = 1 << 16
_IDS = ("compound_id", "drug_id", "id", "name")


@dataclass(frozen=True)
class Compounds:
    """A shard of a library.

    Parameters
    ----------
    number
        Of the shard, from 0.
    lines
        Where each compound stands in the file, from 1.
    ids
        The file's own names; ``line N`` where there is none.
    smiles
        As written; nothing is checked yet.
    """

    number: int
    lines: list[int]
    ids: list[str]
    smiles: list[str]


def read_library(path: Path, size: int) -> Iterator[Compounds]:
    """Yield the compounds of a file, `size` at a time.

    Parameters
    ----------
    path
        ``.smi``, ``.smiles`` or ``.txt``: a SMILES, and after a blank its name, a line; ``.csv`` or ``.tsv``: a header
        with a column ``smiles`` and, where there is one, ``compound_id``, ``drug_id``, ``id`` or ``name``; any of them
        with ``.gz``. Empty lines and lines that start with # are passed over.

    Raises
    ------
    DataError
        If the file is of another kind, has no column ``smiles``, or holds no compound.
    """
    number, held = 0, Compounds(0, [], [], [])
    for line, smiles, name in _entries(path):
        held.lines.append(line)
        held.ids.append(name or f"line {line}")
        held.smiles.append(smiles)
        if len(held.lines) == size:
            yield held
            number += 1
            held = Compounds(number, [], [], [])
    if held.lines:
        yield held
    elif not number:
        raise DataError(f"{path} holds no compound.")


def _entries(path: Path) -> Iterator[tuple[int, str, str]]:
    kind = (path.with_suffix("") if path.suffix == ".gz" else path).suffix.lower()
    if kind not in (".smi", ".smiles", ".txt", ".csv", ".tsv"):
        raise DataError(f"{path}: a library is a .smi, .smiles, .txt, .csv or .tsv file, or one of them with .gz.")
    with cast("BinaryIO", gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")) as handle:
        lines = _lines(handle)
        if kind in (".csv", ".tsv"):
            yield from _columns(path, lines, "," if kind == ".csv" else "\t")
            return
        for number, text in lines:
            smiles, _, name = text.strip().replace("\t", " ").partition(" ")
            if number == 1 and smiles.lower() in ("smiles", "canonical_smiles"):
                continue
            yield number, smiles, name.strip()


def _columns(path: Path, lines: Iterator[tuple[int, str]], delimiter: str) -> Iterator[tuple[int, str, str]]:
    _, first = next(lines, (0, ""))
    header = [name.strip().lower() for name in next(csv.reader([first], delimiter=delimiter), [])]
    if "smiles" not in header:
        raise DataError(f"{path} has no column smiles; its columns are {examples(header, 6) or 'none'}.")
    place = header.index("smiles")
    named = next((header.index(name) for name in _IDS if name in header), None)
    for number, text in lines:
        cells = next(csv.reader([text], delimiter=delimiter), [])
        smiles = cells[place].strip() if place < len(cells) else ""
        yield number, smiles, cells[named].strip() if named is not None and named < len(cells) else ""


def _lines(handle: BinaryIO) -> Iterator[tuple[int, str]]:
    """Yield number and text of the lines that are not empty and no comment; a line is never read beyond its limit."""
    number = 0
    while piece := handle.readline(MAX_LINE):
        number += 1
        whole = piece
        while not piece.endswith(b"\n") and len(piece) == MAX_LINE:
            piece = handle.readline(MAX_LINE)
        text = whole.decode("utf-8", errors="replace").removeprefix("\ufeff")
        if text.strip() and not text.startswith("#"):
            yield number, text
