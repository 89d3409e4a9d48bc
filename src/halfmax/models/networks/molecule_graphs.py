"""MoleculeGraphs: molecules as atoms and bonds, many in one set of arrays; with bonds rewired as a control."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from halfmax.data.structures import check_smiles, parse_smiles
from halfmax.features.blocks import FloatArray, IndexArray

if TYPE_CHECKING:
    from rdkit.Chem import Atom, Bond

ELEMENTS = ("B", "C", "N", "O", "F", "Si", "P", "S", "Cl", "Se", "Br", "I")
HYBRIDISATIONS = ("SP", "SP2", "SP3")
BONDS = ("SINGLE", "DOUBLE", "TRIPLE", "AROMATIC")
_MOST_DEGREE, _MOST_HYDROGENS, _MOST_CHARGE = 6, 4, 2
#: Entries of an atom: element, degree, charge, hydrogens, hybridisation (one of each, one-hot), aromatic, in a ring.
N_ATOM = len(ELEMENTS) + 1 + _MOST_DEGREE + 1 + 2 * _MOST_CHARGE + 1 + _MOST_HYDROGENS + 1 + len(HYBRIDISATIONS) + 1 + 2
#: Entries of a bond: type (one-hot), conjugated, in a ring.
N_BOND = len(BONDS) + 1 + 2
#: Swaps tried for each bond of a rewired molecule.
_SWAPS = 10


@dataclass(frozen=True)
class MoleculeGraphs:
    """Molecules side by side; one without a structure has no atoms.

    Parameters
    ----------
    atoms
        Shape ``(n_atoms, N_ATOM)``.
    bonds
        Shape ``(n_bonds, N_BOND)``; each bond stands twice, once a direction.
    ends
        Shape ``(2, n_bonds)``: from which atom, to which; rows of `atoms`.
    n_atoms, n_bonds
        Counts of each molecule, shape ``(n,)``.
    """

    atoms: FloatArray
    bonds: FloatArray
    ends: IndexArray
    n_atoms: IndexArray
    n_bonds: IndexArray

    def __len__(self) -> int:
        """Return the number of molecules."""
        return len(self.n_atoms)

    @property
    def molecule(self) -> IndexArray:
        """The molecule of each atom, shape ``(n_atoms,)``."""
        return np.repeat(np.arange(len(self)), self.n_atoms)

    def take(self, rows: IndexArray) -> MoleculeGraphs:
        """Return these molecules."""
        atoms, first = _ranges(self.n_atoms, rows)
        bonds, _ = _ranges(self.n_bonds, rows)
        moved = np.repeat(_starts(self.n_atoms[rows]) - first, self.n_bonds[rows])
        return MoleculeGraphs(
            self.atoms[atoms], self.bonds[bonds], self.ends[:, bonds] + moved, self.n_atoms[rows], self.n_bonds[rows]
        )


def molecule_graphs(smiles: Sequence[str], *, rewired: int | None = None) -> MoleculeGraphs:
    """Return the molecules of SMILES, salts and solvents left out; an empty text gives a molecule without atoms.

    Atoms stand in the order of the canonical SMILES, so that two spellings of a molecule give the same arrays.

    Parameters
    ----------
    rewired
        A seed: bonds are exchanged at random within each molecule, every atom keeping its number of bonds. The draw
        depends on the seed and the molecule alone.

    Raises
    ------
    DataError
        If a SMILES is not one.
    """
    parts = [_molecule(check_smiles(str(text)), rewired) if text else _NOTHING for text in smiles]
    n_atoms = np.array([len(atoms) for atoms, _, _ in parts], dtype=np.int64)
    n_bonds = np.array([len(bonds) for _, bonds, _ in parts], dtype=np.int64)
    ends = np.concatenate([ends for _, _, ends in (*parts, _NOTHING)], axis=1)
    return MoleculeGraphs(
        np.concatenate([atoms for atoms, _, _ in (*parts, _NOTHING)]),
        np.concatenate([bonds for _, bonds, _ in (*parts, _NOTHING)]),
        ends + np.repeat(_starts(n_atoms), n_bonds),
        n_atoms,
        n_bonds,
    )


_Arrays = tuple[FloatArray, FloatArray, IndexArray]
_NOTHING: _Arrays = (
    np.zeros((0, N_ATOM), dtype=np.float32),
    np.zeros((0, N_BOND), dtype=np.float32),
    np.zeros((2, 0), dtype=np.int64),
)


@lru_cache(maxsize=20_000)
def _molecule(canonical: str, rewired: int | None) -> _Arrays:
    molecule = parse_smiles(canonical)
    atoms = np.array([_atom(atom) for atom in molecule.GetAtoms()], dtype=np.float32)
    bonds = np.array([_bond(bond) for bond in molecule.GetBonds()], dtype=np.float32).reshape(-1, N_BOND)
    pairs = [(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in molecule.GetBonds()]
    ends = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    if rewired is not None:
        ends = rewire(ends, np.random.default_rng([rewired, zlib.crc32(canonical.encode())]))
    arrays = atoms, np.repeat(bonds, 2, axis=0), np.stack([ends, ends[:, ::-1]], axis=1).reshape(-1, 2).T
    for array in arrays:
        array.setflags(write=False)
    return arrays


def rewire(ends: IndexArray, rng: np.random.Generator) -> IndexArray:
    """Exchange the ends of pairs of bonds at random, shape (n, 2); degrees are kept, no bond is doubled or a loop.

    Maslov and Sneppen 2002.
    """
    out = ends.copy()
    known = {frozenset(pair) for pair in out.tolist()}
    for i, j in rng.integers(0, max(len(out), 1), (_SWAPS * len(out), 2)).tolist():
        (a, b), (c, d) = out[i].tolist(), out[j].tolist()
        if rng.random() < 0.5:
            c, d = d, c
        new = frozenset((a, d)), frozenset((c, b))
        if len({a, b, c, d}) == 4 and not known & set(new):
            known -= {frozenset((a, b)), frozenset((c, d))}
            known |= set(new)
            out[i], out[j] = (a, d), (c, b)
    return out


def _atom(atom: Atom) -> list[float]:
    charge = min(max(atom.GetFormalCharge(), -_MOST_CHARGE), _MOST_CHARGE) + _MOST_CHARGE
    return [
        *_one_of(atom.GetSymbol(), ELEMENTS),
        *_one_of(min(atom.GetDegree(), _MOST_DEGREE), range(_MOST_DEGREE)),
        *_one_of(charge, range(2 * _MOST_CHARGE)),
        *_one_of(min(atom.GetTotalNumHs(), _MOST_HYDROGENS), range(_MOST_HYDROGENS)),
        *_one_of(str(atom.GetHybridization()), HYBRIDISATIONS),
        float(atom.GetIsAromatic()),
        float(atom.IsInRing()),
    ]


def _bond(bond: Bond) -> list[float]:
    return [*_one_of(str(bond.GetBondType()), BONDS), float(bond.GetIsConjugated()), float(bond.IsInRing())]


def _one_of(value: object, known: Sequence[object]) -> list[float]:
    """Return a one-hot list with a last place for everything else."""
    found = [float(value == k) for k in known]
    return [*found, 1.0 - sum(found)]


def _starts(counts: IndexArray) -> IndexArray:
    return np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64)[: len(counts)]


def _ranges(counts: IndexArray, rows: IndexArray) -> tuple[IndexArray, IndexArray]:
    """Return the entries of these rows one after the other, and where each row's entries started."""
    first = _starts(counts)[rows]
    n = counts[rows]
    return np.repeat(first - _starts(n), n) + np.arange(n.sum()), first
