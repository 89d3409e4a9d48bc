"""Molecules as graphs: spelling and order of atoms mean nothing, structure is learned, a control keeps degrees."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from halfmax.errors import DataError
from halfmax.features.blocks import PairFeatures
from halfmax.models.base import MODELS
from halfmax.models.networks.molecule_graphs import N_ATOM, N_BOND, MoleculeGraphs, molecule_graphs, rewire
from tests.models.planted import features, linear_response, renamed

ERLOTINIB = "COCCOc1cc2c(cc1OCCOC)c(ncn2)Nc3cccc(c3)C#C"
SMILES = [ERLOTINIB, "CC(=O)Oc1ccccc1C(=O)O", "", "CN1C=NC2=C1C(=O)N(C(=O)N2C)C.Cl", "C"]
SMALL = {"width": 16, "drug_width": 16, "rounds": 2, "members": 1, "epochs": 8, "batch_size": 16}
X = features(30, 8, 20)
Y = linear_response(X)


def with_smiles(x: PairFeatures, smiles: list[str]) -> PairFeatures:
    return replace(x, drug_text=dict(x.drug_text) | {"smiles": np.array(smiles)})


def spelled_anew(smiles: str, seed: int) -> str:
    from rdkit import Chem

    molecule = Chem.MolFromSmiles(smiles)
    order = np.random.default_rng(seed).permutation(molecule.GetNumAtoms()).tolist()
    return Chem.MolToSmiles(Chem.RenumberAtoms(molecule, order), canonical=False)


def in_another_order(x: MoleculeGraphs, seed: int) -> MoleculeGraphs:
    """Return the same molecules, atoms permuted within each and bonds anyhow."""
    rng = np.random.default_rng(seed)
    order = np.lexsort((rng.random(len(x.atoms)), x.molecule))
    bonds = np.lexsort((rng.random(len(x.bonds)), x.molecule[x.ends[0]]))
    return replace(x, atoms=x.atoms[order], bonds=x.bonds[bonds], ends=np.argsort(order)[x.ends[:, bonds]])


def test_a_molecule_is_what_chemistry_says():
    graphs = molecule_graphs(SMILES)
    assert graphs.atoms.shape == (29 + 13 + 0 + 14 + 1, N_ATOM)  # the chloride of the salt is left out
    assert graphs.bonds.shape == (2 * (31 + 13 + 0 + 15 + 0), N_BOND)
    assert graphs.n_atoms.tolist() == [29, 13, 0, 14, 1]
    degree = np.bincount(graphs.ends[0], minlength=len(graphs.atoms))
    assert np.array_equal(degree, graphs.atoms[:, 13:20].argmax(axis=1))
    assert (graphs.molecule[graphs.ends[0]] == graphs.molecule[graphs.ends[1]]).all()


def test_taking_molecules_is_as_building_them():
    rows = np.array([3, 0, 2, 3])
    taken, built = molecule_graphs(SMILES).take(rows), molecule_graphs([SMILES[i] for i in rows])
    for name in ("atoms", "bonds", "ends", "n_atoms", "n_bonds"):
        assert np.array_equal(getattr(taken, name), getattr(built, name))


def test_what_is_no_smiles_is_told():
    with pytest.raises(DataError, match="not a valid SMILES"):
        molecule_graphs(["C1CC"])


def test_rewiring_keeps_every_degree_and_nothing_else():
    graphs, rewired = molecule_graphs([ERLOTINIB]), molecule_graphs([ERLOTINIB], rewired=1)
    ends = rewired.ends[:, ::2].T
    assert np.array_equal(np.bincount(ends.ravel()), np.bincount(graphs.ends[:, ::2].ravel()))
    assert len({frozenset(pair) for pair in ends.tolist()}) == len(ends)
    assert (ends[:, 0] != ends[:, 1]).all()
    kept = {frozenset(p) for p in ends.tolist()} & {frozenset(p) for p in graphs.ends.T.tolist()}
    assert len(kept) < 0.5 * len(ends)
    assert np.array_equal(rewired.ends, molecule_graphs([spelled_anew(ERLOTINIB, 0)], rewired=1).ends)
    assert not np.array_equal(rewired.ends, molecule_graphs([ERLOTINIB], rewired=2).ends)
    assert np.array_equal(rewire(np.array([[0, 1]]), np.random.default_rng(0)), [[0, 1]])


@pytest.mark.parametrize("name", ["gin", "gin_shuffled", "gat"])
def test_spelling_and_order_of_atoms_mean_nothing(name):
    import torch

    smiles = [s or "CCO" for s in SMILES[:4]] * 2
    x = with_smiles(X, smiles)
    model = MODELS.get(name)(**SMALL).fit(x, Y)
    unseen = renamed(x, drugs=True)
    again = with_smiles(unseen, [spelled_anew(s.removesuffix(".Cl"), i) for i, s in enumerate(smiles)])
    assert np.array_equal(model.predict(unseen).mean, model.predict(again).mean)
    weights = {k: torch.as_tensor(v) for k, v in model._weights().items()}
    graphs = model._graphs(x)
    vectors = [model._tower(weights, g, None).numpy() for g in (graphs, in_another_order(graphs, 1))]
    np.testing.assert_allclose(*vectors, atol=1e-5)


def test_drugs_without_a_structure_are_one_and_the_same():
    model = MODELS.get("gin")(**SMALL).fit(X, Y)
    smiles = ["", "", *X.drug_text["smiles"][2:].tolist()]
    grid = model.predict(renamed(with_smiles(X, smiles), drugs=True).grid()).mean.reshape(30, 8)
    assert np.array_equal(grid[:, 0], grid[:, 1])
    assert not np.array_equal(grid[:, 0], grid[:, 2])


@pytest.mark.parametrize("name", ["gin", "gat"])
def test_a_potency_that_hangs_on_bonds_is_found_on_unseen_drugs(name):
    # chains of the same atoms: the potency is whether oxygen ends the chain (an alcohol) or stands within it (an ether)
    smiles = [s for n in range(3, 15) for s in ("C" * n + "O", "C" * (n // 2) + "O" + "C" * (n - n // 2))]
    x = with_smiles(features(20, len(smiles), 10, share=1.0), smiles)
    potency = np.where(np.arange(len(smiles)) % 2, 1.0, -1.0)
    y = potency[x.drug_index]
    seen = x.drug_index < 16
    params = SMALL | {"epochs": 60, "learning_rate": 0.01, "identity_dropout": 0.5, "dropout": 0.0}
    model = MODELS.get(name)(**params).fit(x.take_pairs(seen), y[seen])
    new = renamed(x.take_pairs(~seen), drugs=True)
    assert ((model.predict(new).mean - y[~seen]) ** 2).mean() < 0.3


def test_misuse_is_told():
    with pytest.raises(DataError, match="multiple of heads"):
        MODELS.get("gat")(**SMALL | {"drug_width": 15}).fit(X, Y)
    with pytest.raises(DataError, match="structure_dropout"):
        MODELS.get("gin")(**SMALL, structure_dropout=1.0).fit(X, Y)
