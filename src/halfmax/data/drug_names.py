"""Drugs by any name or id: synonyms, GDSC numbers, Broad ids, PubChem CIDs and InChIKeys of desalted structures."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial

import pandas as pd

from halfmax.data.cell_lines import DRUG_ALIASES
from halfmax.data.id_kinds import IdKind, Scheme, entries_of
from halfmax.data.id_map import IdMap
from halfmax.data.structures import INCHI_KEY, inchi_key, is_mixture
from halfmax.errors import DataError

_BROAD = re.compile(r"(?:BRD:)?(BRD-[A-Z]\d{8})(?:-\d+)*", re.IGNORECASE)
_NUMBER = re.compile(r"(?:CID[:\s]*|GDSC[:\s]*|DRUG_?)?(\d{1,10})(?:\.0+)?", re.IGNORECASE)
_WITHOUT_PROTONS, _SKELETON = 25, 14


def _plain(pattern: re.Pattern[str], text: str) -> str | None:
    found = pattern.fullmatch(text)
    return found[1].upper() if found else None


def _key(text: str) -> str | None:
    """Return an InChIKey without its last letter, which counts the protons that a salt has more or less."""
    return text.upper()[:_WITHOUT_PROTONS] if INCHI_KEY.fullmatch(text.upper()) else None


#: How drugs are named; what decides first stands first.
DRUG_SCHEME = Scheme(
    what="drug",
    kinds=(
        IdKind("inchi_key", "structure (InChIKey)", _key, INCHI_KEY, ("inchikey", "inchikeys")),
        IdKind("broad_id", "Broad id", partial(_plain, _BROAD), _BROAD, ("broadid", "broadcpdid", "brdid")),
        IdKind("gdsc_id", "GDSC drug id", partial(_plain, _NUMBER), None, ("gdscid", "gdscdrugid", "drugid")),
        IdKind("pubchem", "PubChem CID", partial(_plain, _NUMBER), None,
               ("pubchem", "pubchemcid", "pubchemid", "cid")),
    ),
    exclusive=(),
    against={"inchi_key": _SKELETON},
    names=("name", "drugname", "compoundname", "compound", "cpdname", "drug"),
    aliases=("synonyms", "synonym", "aliases", "alternativenames", "othernames", "brandnames"),
    known=DRUG_ALIASES,
)  # fmt: skip


def drug_map(
    tables: Mapping[str, pd.DataFrame], id_kinds: Mapping[str, str] | None = None, *, label_by: str = "name"
) -> IdMap:
    """Return what drugs are called in all these tables.

    A drug that was screened under two numbers, and a salt and its base, are one drug by their name or structure.

    Parameters
    ----------
    tables
        Name of a table to its frame, index = drug; columns of synonyms, GDSC ids, Broad ids, PubChem CIDs, InChIKeys
        and ``smiles`` are found by their look and their names. What stands first gives a drug its name.
    id_kinds
        Name of a table to what its index is, where the look does not tell: numbers may be GDSC's or PubChem's.
    label_by
        What becomes the id here: ``name``, ``inchi_key``, ``broad_id``, ``gdsc_id`` or ``pubchem``.
    """
    kinds = id_kinds or {}
    entries = []
    for table, frame in tables.items():
        kind = kinds.get(table) or DRUG_SCHEME.guess(map(str, frame.index), str(frame.index.name))
        entries += entries_of(with_structure_keys(frame), table, kind, DRUG_SCHEME)
    return IdMap(DRUG_SCHEME, entries, label_by)


def with_structure_keys(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table of drugs with the InChIKeys of its ``smiles``, where it has those.

    Invalid structures and mixtures of drugs get none.
    """
    if "smiles" not in frame or "inchi_key" in frame:
        return frame
    keys: dict[str, str | None] = {}
    for smiles in frame["smiles"].dropna().unique():
        try:
            keys[smiles] = None if is_mixture(smiles) else inchi_key(smiles)
        except DataError:
            keys[smiles] = None
    return frame.assign(inchi_key=frame["smiles"].map(keys, na_action="ignore"))
