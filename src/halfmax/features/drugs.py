"""Drugs as numbers: fingerprints and descriptors of structures, and what is known of targets and mechanism."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.data.drug_facts import entries, facts_of
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

#: Blocks of facts, and the columns of `halfmax.data.drug_facts` that each holds.
FACT_BLOCKS: Mapping[str, tuple[str, ...]] = {
    "targets": ("targets", "families"),
    "mechanism": ("mechanism",),
    "pathway": ("pathway",),
    "process": ("process",),
    "stage": ("stage",),
}
#: What a drug may be encoded as without a table of one's own.
DRUG_BLOCKS = ("fingerprint", "atom_pair", "descriptors", *FACT_BLOCKS)


def drug_table_block(name: str, drugs: pd.DataFrame) -> Block:
    """Return one of `DRUG_BLOCKS` for a table of drugs with ``smiles`` (index = id), one row a drug."""
    if name in FACT_BLOCKS:
        return facts(drugs, FACT_BLOCKS[name])
    column = drugs["smiles"] if "smiles" in drugs else pd.Series(None, index=drugs.index, dtype=object)
    smiles = [text if isinstance(text, str) and text else None for text in column]
    if name == "descriptors":
        return descriptors(smiles)
    return fingerprints(smiles) if name == "fingerprint" else fingerprints(smiles, n_bits=2048, kind=name)


def facts(drugs: pd.DataFrame, columns: Sequence[str]) -> Block:
    """Return what is known of drugs as zeros and ones, a column an entry; NaN rows where these columns say nothing.

    The columns are all entries of the shipped table, so that they are the same whichever drugs are encoded.
    """
    known = facts_of(drugs)
    parts, names = [], []
    for column in columns:
        levels = entries(column)
        place = {level: j for j, level in enumerate(levels)}
        values = np.zeros((len(known), len(levels)), dtype=np.float32)
        for row, text in enumerate(known[column]):
            values[row, [place[entry] for entry in text.split("|") if entry]] = 1
        parts.append(values)
        names += [f"{column}={level}" for level in levels]
    values = np.hstack(parts)
    values[~values.any(axis=1)] = np.nan
    nothing = np.isnan(values)
    return Block(values, tuple(names), nothing if nothing.any() else None)


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


def tanimoto(a: npt.NDArray[np.floating], b: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Tanimoto similarity of counts, shape (n, m): what two rows share over what either has; 0 against an empty row."""
    product = a @ b.T
    total = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - product
    return np.asarray(product / np.maximum(total, 1e-12), dtype=np.float64)


def _missing(smiles: Sequence[str | None], width: int) -> np.ndarray | None:
    rows = np.array([text is None for text in smiles], dtype=bool)
    return np.repeat(rows[:, None], width, axis=1) if rows.any() else None
