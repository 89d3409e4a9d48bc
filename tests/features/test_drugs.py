"""Structures are checked before they are encoded."""

import numpy as np
import pytest

from halfmax.errors import DataError
from halfmax.features.drugs import check_smiles, descriptors, fingerprints, parse_smiles, structure_key


@pytest.mark.parametrize(
    ("smiles", "why"),
    [
        ("", "empty"),
        ("C" * 1001, "1001 characters"),
        ("C\u041e", "look-alike"),
        ("CCO junk", "blank"),
        ("C\nC", "blank"),
        ("[" * 301, "nested"),
        ("C" * 400, "400 heavy atoms"),
        ("not-a-smiles", "not a valid"),
    ],
)
def test_bad_structures_are_refused(smiles, why):
    with pytest.raises(DataError, match=why):
        parse_smiles(smiles)


def test_salts_are_removed_and_skeletons_compared():
    assert check_smiles("CCO.[Na+].[Cl-]") == "CCO"
    assert structure_key("C[C@H](N)C(=O)O") == structure_key("C[C@@H](N)C(=O)O.Cl")


def test_missing_structures_are_masked():
    block = fingerprints(["CCO", None])
    assert block.mask.all(axis=1).tolist() == [False, True]
    assert not block.values[1].any()
    assert np.isnan(descriptors(["CCO", None]).values[1]).all()
