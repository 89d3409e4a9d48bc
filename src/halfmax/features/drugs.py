"""Drug structures as numbers: fingerprints and descriptors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from halfmax.data.structures import largest_fragment, parse_smiles
from halfmax.features.blocks import Block

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
            values[row] = make.GetCountFingerprintAsNumPy(largest_fragment(parse_smiles(text)))
    return Block(np.log1p(values), tuple(f"{kind}_{i}" for i in range(n_bits)), _missing(smiles, n_bits))


def descriptors(smiles: Sequence[str | None]) -> Block:
    """Return physico-chemical descriptors, shape ``(n, 17)``; NaN rows where there is no structure."""
    from rdkit.Chem import Descriptors

    functions = [getattr(Descriptors, name) for name in DESCRIPTORS]
    values = np.full((len(smiles), len(functions)), np.nan, dtype=np.float32)
    for row, text in enumerate(smiles):
        if text is not None:
            molecule = largest_fragment(parse_smiles(text))
            values[row] = [function(molecule) for function in functions]
    return Block(values, DESCRIPTORS, _missing(smiles, len(functions)))


def _missing(smiles: Sequence[str | None], width: int) -> np.ndarray | None:
    rows = np.array([text is None for text in smiles], dtype=bool)
    return np.repeat(rows[:, None], width, axis=1) if rows.any() else None
