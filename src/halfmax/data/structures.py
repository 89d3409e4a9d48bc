"""One structure of a drug: a SMILES checked, without salts and solvents, and the keys under which it is found."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from halfmax.errors import DataError

if TYPE_CHECKING:
    from rdkit.Chem import Mol

MAX_CHARACTERS = 1000
MAX_HEAVY_ATOMS = 300
#: Counter-ions and solvents are smaller than this, but for rare ones such as pamoate.
_SMALLEST_DRUG = 15
#: Standard InChIKey: skeleton, layers with stereochemistry, protonation.
INCHI_KEY = re.compile(r"[A-Z]{14}-[A-Z]{10}-[A-Z]")


@lru_cache(maxsize=100_000)
def parse_smiles(smiles: str) -> Mol:
    """Return the molecule of a SMILES string.

    Raises
    ------
    DataError
        If it is empty, too long, not plain ASCII, holds blanks, cannot be parsed or has more than 300 heavy atoms.
    """
    from rdkit import Chem
    from rdkit.rdBase import BlockLogs

    shown = smiles if len(smiles) <= 60 else f"{smiles[:57]}…"
    if not smiles.strip():
        raise DataError("the SMILES is empty; leave the field out if the structure is unknown.")
    if len(smiles) > MAX_CHARACTERS:
        raise DataError(f"the SMILES {shown!r} has {len(smiles)} characters; the limit is {MAX_CHARACTERS}.")
    if not smiles.isascii() or any(c.isspace() or not c.isprintable() for c in smiles):
        odd = sorted({c for c in smiles if not c.isascii() or c.isspace() or not c.isprintable()})
        raise DataError(
            f"the SMILES {shown!r} holds {odd[:3]}, which no SMILES has (a look-alike letter, a blank or a second "
            "field); write it in plain ASCII, one structure a field."
        )
    if max(smiles.count("("), smiles.count("[")) > MAX_HEAVY_ATOMS or smiles.count("%") > 200:
        raise DataError(f"the SMILES {shown!r} is nested too deeply to be a drug.")
    with BlockLogs():
        molecule = Chem.MolFromSmiles(smiles)
    if molecule is None:
        raise DataError(f"{shown!r} is not a valid SMILES (RDKit could not parse it).")
    if not 0 < molecule.GetNumHeavyAtoms() <= MAX_HEAVY_ATOMS:
        raise DataError(
            f"the SMILES {shown!r} has {molecule.GetNumHeavyAtoms()} heavy atoms; 1 to {MAX_HEAVY_ATOMS} are accepted."
        )
    return molecule


def check_smiles(smiles: str) -> str:
    """Return the canonical SMILES of the largest fragment (salts and solvents removed); raise DataError if invalid."""
    from rdkit import Chem

    return str(Chem.MolToSmiles(largest_fragment(parse_smiles(smiles))))


@lru_cache(maxsize=100_000)
def inchi_key(smiles: str) -> str:
    """Return the InChIKey of the largest fragment, so that a salt and its base have one key; DataError if invalid."""
    from rdkit import Chem
    from rdkit.rdBase import BlockLogs

    with BlockLogs():
        return str(Chem.MolToInchiKey(largest_fragment(parse_smiles(smiles))))  # type: ignore[no-untyped-call]


def structure_key(smiles: str) -> str:
    """Return the first block of the InChIKey of the largest fragment: the same skeleton gives the same key."""
    return inchi_key(smiles)[:14]


def is_mixture(smiles: str) -> bool:
    """Return whether a SMILES holds two different parts large enough to be drugs; DataError if invalid."""
    from rdkit.Chem import GetMolFrags, MolToSmiles

    fragments = GetMolFrags(parse_smiles(smiles), asMols=True, sanitizeFrags=False)
    return len({MolToSmiles(f) for f in fragments if f.GetNumHeavyAtoms() >= _SMALLEST_DRUG}) > 1


def largest_fragment(molecule: Mol) -> Mol:
    """Return the part with most heavy atoms: what is left when salts and solvents are taken away."""
    from rdkit.Chem import GetMolFrags, SanitizeMol

    fragments = GetMolFrags(molecule, asMols=True, sanitizeFrags=False)
    if len(fragments) == 1:
        return molecule
    largest: Mol = max(fragments, key=lambda m: m.GetNumHeavyAtoms())
    SanitizeMol(largest)
    return largest
