"""One name for one cell line or drug: tables spell them differently, and every match says how it was made."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import pandas as pd

from halfmax.errors import examples


class Known(NamedTuple):
    """A name that a table uses for something that others call differently, and why the two are one."""

    other_name: str
    why: str


class Owner(NamedTuple):
    """Which of several names that look alike a table's entry belongs to; `name` is None where nobody can say."""

    name: str | None
    why: str


_WITHOUT = "COSMIC lists the line without the prefix NCI-, and no other line with this number"
_WITH = "COSMIC lists the line with the prefix NCI-, and no other line with this number"

#: Names of cell lines to the other name they go by.
CELL_LINE_ALIASES: Mapping[str, Known] = {
    **{
        f"NCI-H{number}": Known(f"H{number}", _WITHOUT)
        for number in (290, 513, 2369, 2373, 2461, 2591, 2595, 2722, 2731, 2795, 2803, 2804, 2810, 2818, 2869, 3118)
    },
    **{f"SNU-{number}": Known(f"NCI-SNU-{number}", _WITH) for number in (1, 5, 16)},
}

#: Names of drugs to the other name they go by.
DRUG_ALIASES: Mapping[str, Known] = {
    "Bleomycin (10 uM)": Known("Bleomycin", "the same drug with its highest concentration in the name"),
    "Bleomycin (50 uM)": Known("Bleomycin", "the same drug with its highest concentration in the name"),
    "Nutlin-3a (-)": Known("Nutlin-3", "the active enantiomer; the structure given has no stereochemistry"),
    "Venotoclax": Known("Venetoclax", "misspelt"),
}


def normalise_name(name: str) -> str:
    """Return the key under which spellings of a name meet: upper case, letters and digits only.

    Two different lines can share a key (T-T, an oesophageal carcinoma, and TT, a thyroid one), so equal keys suggest
    a match and do not prove it. A name without letters or digits is its own key.
    """
    text = unicodedata.normalize("NFKC", name).upper()
    return "".join(c for c in text if c.isalnum()) or name.strip()


def match_names(
    names: Iterable[str],
    entries: Iterable[str],
    *,
    aliases: Mapping[str, Known] | None = None,
    owners: Mapping[str, Owner] | None = None,
) -> pd.DataFrame:
    """Match each name to the entry of another table that means the same; nothing is merged on a guess.

    Tried in this order: the same spelling; the same key, if only one name and one entry have it; a known alias.
    A table whose entries are all bare keys has lost its spellings, so that the first step says nothing there.

    Parameters
    ----------
    names
        The names to find, without repeats.
    entries
        The names that the other table uses.
    aliases
        Name to the other name it goes by, e.g. ``CELL_LINE_ALIASES``.
    owners
        Key of an entry that several names share, to the name it belongs to.

    Returns
    -------
    DataFrame
        One row a name, in the order given: ``name``, ``entry`` (None where nothing fits), ``how`` (``exact``,
        ``key``, ``alias``, ``owner``, ``ambiguous``, ``none``) and ``why`` (for the last four).
    """
    names, entries = list(names), list(entries)
    by_key = _by_key(entries)
    bare = all(entry == key for key, group in by_key.items() for entry in group)
    table = _Table(frozenset() if bare else frozenset(entries), by_key, _by_key(names), aliases or {}, owners or {})
    return pd.DataFrame([(n, *table.match(n)) for n in names], columns=["name", "entry", "how", "why"], dtype=object)


class _Table(NamedTuple):
    spellings: frozenset[str]
    by_key: Mapping[str, list[str]]
    names_by_key: Mapping[str, list[str]]
    aliases: Mapping[str, Known]
    owners: Mapping[str, Owner]

    def match(self, name: str) -> tuple[str | None, str, str]:
        """Return the entry for `name`, how it was found and why."""
        if name in self.spellings:
            return name, "exact", ""
        key = normalise_name(name)
        found, rivals = self.by_key.get(key, []), [n for n in self.names_by_key[key] if n != name]
        if found and rivals and key in self.owners:
            owner, why = self.owners[key]
            if owner == name:
                return found[0], "owner", why
            return None, "ambiguous" if owner is None else "none", why
        if len(found) > 1 or (found and rivals):
            return None, "ambiguous", f"{examples(sorted({*found, *rivals}))} look alike; nothing says which is meant"
        if found:
            return found[0], "key", ""
        if name in self.aliases:
            other, why = self.aliases[name]
            found = self.by_key.get(normalise_name(other), [])
            if len(found) == 1:
                return found[0], "alias", f"{other}: {why}"
        return None, "none", "the table has no such name"


def _by_key(names: Iterable[str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(normalise_name(name), []).append(name)
    return groups
