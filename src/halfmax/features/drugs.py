"""Drug structures: check a SMILES, and turn it into fingerprints and descriptors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from halfmax.errors import DataError
from halfmax.features.blocks import Block

if TYPE_CHECKING:
    from rdkit.Chem import Mol

MAX_CHARACTERS = 1000
MAX_HEAVY_ATOMS = 300

#: Physico-chemical descriptors by their names in RDKit.
DESCRIPTORS = (
    "MolWt",
    "MolLogP",
    "TPSA",
    "NumHDonors",
    "NumHAcceptors",
    "NumRotatableBonds",
    "RingCount",
    "NumAromaticRings",
    "FractionCSP3",
    "HeavyAtomCount",
    "NHOHCount",
    "NumHeteroatoms",
    "MolMR",
    "LabuteASA",
    "BalabanJ",
    "BertzCT",
    "qed",
)


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

    return str(Chem.MolToSmiles(_largest_fragment(parse_smiles(smiles))))


def structure_key(smiles: str) -> str:
    """Return the first block of the InChIKey of the largest fragment: the same skeleton gives the same key."""
    from rdkit import Chem
    from rdkit.rdBase import BlockLogs

    with BlockLogs():
        return str(Chem.MolToInchiKey(_largest_fragment(parse_smiles(smiles))))[:14]  # type: ignore[no-untyped-call]


def fingerprints(smiles: Sequence[str | None], *, radius: int = 2, n_bits: int = 1024, kind: str = "morgan") -> Block:
    """Return hashed count fingerprints, log1p-scaled, shape ``(n, n_bits)``; masked rows where there is no structure.

    Parameters
    ----------
    kind
        ``morgan`` (Rogers and Hahn 2010, circular) or ``atom_pair`` (Carhart et al. 1985).
    """
    from rdkit.Chem import rdFingerprintGenerator as generators

    make = (
        generators.GetMorganGenerator(radius=radius, fpSize=n_bits)
        if kind == "morgan"
        else generators.GetAtomPairGenerator(fpSize=n_bits)
    )
    values = np.zeros((len(smiles), n_bits), dtype=np.float32)
    for row, text in enumerate(smiles):
        if text is not None:
            values[row] = make.GetCountFingerprintAsNumPy(_largest_fragment(parse_smiles(text)))
    return Block(np.log1p(values), tuple(f"{kind}_{i}" for i in range(n_bits)), _missing(smiles, n_bits))


def descriptors(smiles: Sequence[str | None]) -> Block:
    """Return physico-chemical descriptors, shape ``(n, 17)``; NaN rows where there is no structure."""
    from rdkit.Chem import Descriptors

    functions = [getattr(Descriptors, name) for name in DESCRIPTORS]
    values = np.full((len(smiles), len(functions)), np.nan, dtype=np.float32)
    for row, text in enumerate(smiles):
        if text is not None:
            molecule = _largest_fragment(parse_smiles(text))
            values[row] = [function(molecule) for function in functions]
    return Block(values, DESCRIPTORS, _missing(smiles, len(functions)))


def _largest_fragment(molecule: Mol) -> Mol:
    from rdkit.Chem import GetMolFrags, SanitizeMol

    fragments = GetMolFrags(molecule, asMols=True, sanitizeFrags=False)
    if len(fragments) == 1:
        return molecule
    largest: Mol = max(fragments, key=lambda m: m.GetNumHeavyAtoms())
    SanitizeMol(largest)
    return largest


def _missing(smiles: Sequence[str | None], width: int) -> np.ndarray | None:
    rows = np.array([text is None for text in smiles], dtype=bool)
    return np.repeat(rows[:, None], width, axis=1) if rows.any() else None
