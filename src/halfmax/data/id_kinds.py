"""Kinds of ids of one sort of thing, told by their look or their column, and what a table's rows are called by them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import pandas as pd

from halfmax.data.cell_lines import Known
from halfmax.data.linking import Entry
from halfmax.data.tables import plain_name
from halfmax.errors import UnknownNameError, did_you_mean

_MOST_OF = 0.8
_NOTHING = frozenset({"", "nan", "NaN", "NA", "N/A", "none", "None", "null", "<NA>", "NS", "unknown"})


@dataclass(frozen=True)
class IdKind:
    """A kind of id.

    Parameters
    ----------
    name
        Short fixed name, such as ``cosmic``.
    title
        What a person calls it.
    plain
        Returns the plain form of an id, or None where a text cannot be one.
    telling
        What an id looks like, where no name looks so; None where numbers are all it is.
    columns
        Names of columns that hold it, in small letters and digits.
    name_in
        Returns the name that an id is made of, or None where it is of none.
    wider
        Returns the id of what this one is a part of, such as the patient of a tumour sample, or None.
    """

    name: str
    title: str
    plain: Callable[[str], str | None]
    telling: re.Pattern[str] | None = None
    columns: tuple[str, ...] = ()
    name_in: Callable[[str], str | None] | None = None
    wider: Callable[[str], str | None] | None = None


def _mostly(fits: Callable[[str], object], texts: list[str]) -> bool:
    return bool(texts) and sum(fits(text) is not None for text in texts) >= _MOST_OF * len(texts)


@dataclass(frozen=True)
class Scheme:
    """How one sort of thing is named.

    Parameters
    ----------
    what
        ``sample`` or ``drug``.
    kinds
        The kinds of ids, the surest first.
    exclusive, against
        Kinds of which each has one; kinds that speak against a link by likeness, and by how many letters. See `link`.
    names, aliases
        Names of columns with the name, and with other names.
    known
        Names to the other name that a thing goes by.
    """

    what: str
    kinds: tuple[IdKind, ...]
    exclusive: tuple[str, ...]
    against: Mapping[str, int | None]
    names: tuple[str, ...]
    aliases: tuple[str, ...]
    known: Mapping[str, Known]

    def kind(self, name: str) -> IdKind:
        """Return a kind of id; raise UnknownNameError with those there are."""
        for kind in self.kinds:
            if kind.name == name:
                return kind
        known = ["name", *(kind.name for kind in self.kinds)]
        raise UnknownNameError(
            f"there is no kind of {self.what} id {name!r}.{did_you_mean(name, known)} Kinds: {', '.join(known)}."
        )

    @property
    def id_columns(self) -> frozenset[str]:
        """Names of columns that hold an id, in small letters and digits."""
        return frozenset(name for kind in self.kinds for name in (plain_name(kind.name), *kind.columns))

    def guess(self, texts: Iterable[str], column: str = "") -> str:
        """Return the kind of id that most of these are by their look, or by the name of their column; else ``name``."""
        found = [text for text in dict.fromkeys(texts) if text not in _NOTHING]
        for kind in self.kinds:
            if kind.telling is not None and _mostly(kind.telling.fullmatch, found):
                return kind.name
        for kind in self.kinds:
            if column and plain_name(column) in (plain_name(kind.name), *kind.columns) and _mostly(kind.plain, found):
                return kind.name
        return "name"


def entries_of(frame: pd.DataFrame, table: str, id_kind: str, scheme: Scheme, part: int = 0) -> list[Entry]:
    """Return what each row of a table calls its sample or drug.

    Parameters
    ----------
    frame
        Index = the table's id; columns of further ids and names are found by their look and by their usual names.
    table, part
        Name of the table, and what tells it from another of that name.
    id_kind
        What the index is: a kind of the scheme, or ``name``.
    """
    columns: dict[str, list[list[str]]] = defaultdict(list)
    index = [str(text).strip() for text in frame.index]
    if id_kind == "name" and "name" in frame.columns:  # the index may tell apart what has one name
        columns["name"].append(["" if pd.isna(v) else str(v).strip() for v in frame["name"]])
    columns[id_kind].append(index)
    for at, column in enumerate(map(str, frame.columns)):
        texts = ["" if pd.isna(v) else str(v).strip() for v in frame.iloc[:, at]]
        plain, kind = plain_name(column), scheme.guess(texts, column)
        if kind != "name":
            columns[kind].append(texts)
        elif plain in scheme.names or plain in scheme.aliases:
            columns["name" if plain in scheme.names else "alias"].append(texts)
    return [
        _entry(table, part, {k: [v[row] for v in found] for k, found in columns.items()}, scheme)
        for row in range(len(frame))
    ]


def _entry(table: str, part: int, cells: Mapping[str, list[str]], scheme: Scheme) -> Entry:
    names = [text for text in cells.get("name", ()) if text not in _NOTHING]
    others = [part.strip() for text in cells.get("alias", ()) for part in re.split(r",\s+|[;|]", text)]
    aliases = dict.fromkeys(text for text in (*names[1:], *others) if text not in _NOTHING)
    ids: dict[str, tuple[str, ...]] = {}
    for kind in scheme.kinds:
        parts = [p for text in cells.get(kind.name, ()) for p in re.split(r"[,;|]\s*", text) if p not in _NOTHING]
        if plain := tuple(dict.fromkeys(p for p in map(kind.plain, parts) if p)):
            ids[kind.name] = plain
    if not names and not ids:  # a text that is no id of its kind
        names = [cells[key][0] for key in cells if cells[key][0]][:1]
    name = names[0] if names else ""
    return Entry(table, name, tuple(a for a in aliases if a != name), ids, part)
