"""Structures are checked, and found again in any form of salt."""

import pytest

from halfmax.data.structures import check_smiles, inchi_key, parse_smiles, structure_key
from halfmax.errors import DataError


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


def test_a_salt_and_its_base_have_one_key_but_for_protons():
    # Aspirin as ChEBI:15365 and PubChem CID 2244 give it.
    aspirin = "CC(=O)Oc1ccccc1C(=O)O"
    assert inchi_key(aspirin) == "BSYNRYMUTXBXSQ-UHFFFAOYSA-N"
    assert inchi_key("[Na+].CC(=O)Oc1ccccc1C(=O)[O-]")[:25] == inchi_key(aspirin)[:25]
