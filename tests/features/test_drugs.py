"""Structures and facts as numbers; how far a drug lies from those of training."""

import numpy as np
import pandas as pd
import pytest

from halfmax.features.applicability import drug_support
from halfmax.features.drugs import DRUG_BLOCKS, FACT_BLOCKS, descriptors, drug_table_block, fingerprints, tanimoto
from halfmax.features.pipeline import DEFAULT_DRUG_BLOCKS


def test_missing_structures_are_masked():
    block = fingerprints(["CCO", None])
    assert block.mask.all(axis=1).tolist() == [False, True]
    assert not block.values[1].any()
    assert np.isnan(descriptors(["CCO", None]).values[1]).all()


def test_facts_have_the_same_columns_whichever_drugs_are_encoded():
    one = drug_table_block("targets", pd.DataFrame(index=["Erlotinib"]))
    two = drug_table_block("targets", pd.DataFrame(index=["nobody", "Trametinib"]))
    assert one.names == two.names
    named = [name for name, value in zip(one.names, one.values[0], strict=True) if value]
    assert named == ["targets=EGFR", "families=EGFR"]


@pytest.mark.parametrize("name", FACT_BLOCKS)
def test_an_unknown_drug_is_missing_throughout(name):
    block = drug_table_block(name, pd.DataFrame(index=["nobody", "Trametinib"]))
    assert block.mask.all(axis=1).tolist() == [True, False]
    assert np.isnan(block.values[0]).all()
    assert block.values[1].sum() >= 1


def test_the_pipelines_default_is_every_drug_block():
    assert DEFAULT_DRUG_BLOCKS == DRUG_BLOCKS


def test_tanimoto_is_the_shared_part():
    a = np.array([[1.0, 1, 0, 0], [0, 0, 0, 0]])
    assert tanimoto(a, np.array([[1.0, 0, 1, 0]])).ravel() == pytest.approx([1 / 3, 0])


def test_support_says_what_a_model_has_to_go_by():
    erlotinib, gefitinib = "COCCOc1cc2c(cc1OCCOC)ncnc2Nc1cccc(c1)C#C", "COc1cc2ncnc(Nc3ccc(F)c(Cl)c3)c2cc1OCCCN1CCOCC1"
    train = pd.DataFrame({"smiles": [gefitinib, "CC(=O)O"]}, index=["Gefitinib", "Trametinib"])
    asked = pd.DataFrame(
        {"smiles": [gefitinib, gefitinib.replace("Cl", "Br"), None, "C", None]},
        index=["Gefitinib", "like gefitinib", "Selumetinib", "methane", "nobody"],
    )
    found = drug_support(asked, train)
    assert found["support"].tolist() == ["seen", "structure", "target", "none", "none"]
    assert found.loc["like gefitinib", "nearest"] == "Gefitinib"
    assert found["similarity"].isna().tolist() == [False, False, True, False, True]
    assert drug_support(pd.DataFrame({"smiles": [erlotinib]}, index=["e"]), train.iloc[:0])["support"].item() == "none"
