"""Drugs by any name or id: rows of GDSC's screened compounds, PubChem CIDs, structures as salt and base."""

from __future__ import annotations

import pandas as pd
import pytest

from halfmax.data.drug_names import drug_map
from halfmax.data.id_map import IdMap

ERLOTINIB = "COCCOc1cc2ncnc(Nc3cccc(c3)C#C)c2cc1OCCOC"
# Rows of screened_compounds_rel_8.2.csv (Genomics of Drug Sensitivity in Cancer).
COMPOUNDS = pd.DataFrame(
    {
        "DRUG_NAME": ["Erlotinib", "Rapamycin", "Erlotinib", "Nutlin-3a (-)"],
        "SYNONYMS": ["Tarceva, RG-1415, CP-358774, OSI-774", "AY-22989, Sirolimus, WY-090217", None, "Nutlin-3"],
        "PUTATIVE_TARGET": ["EGFR", "MTORC1", "EGFR", "MDM2"],
        "PubCHEM": ["176870", "5384616", None, None],
    },
    index=pd.Index(["1", "3", "1168", "1047"], name="DRUG_ID"),
)
PRISM = pd.DataFrame(
    {
        "broad_id": ["BRD-K70401845-003-09-6", "BRD-K99749624-001-10-4"],
        "smiles": [f"{ERLOTINIB}.Cl", "CCO.Oc1ccccc1"],
    },
    index=pd.Index(["erlotinib", "something"], name="name"),
)


@pytest.fixture(scope="module")
def drugs() -> IdMap:
    return drug_map({"gdsc": COMPOUNDS, "prism": PRISM}, {"gdsc": "gdsc_id", "prism": "name"})


@pytest.mark.parametrize(
    ("text", "by", "how"),
    [
        ("Erlotinib", "name", "exact"),
        ("erlotinib", "name", "exact"),
        ("ERLOTINIB", "name", "key"),
        ("Tarceva", "name", "synonym"),
        ("OSI774", "name", "key"),
        ("1", "gdsc_id", "id"),
        ("1168", "gdsc_id", "id"),
        ("BRD-K70401845", "broad_id", "id"),
        ("BRD-K70401845-001-02-3", "broad_id", "id"),
        ("AAKJLRGGTJKAMG-UHFFFAOYSA-N", "inchi_key", "id"),  # as PubChem CID 176870 has it
    ],
)
def test_a_drug_is_found_by_any_of_its_names(drugs: IdMap, text: str, by: str, how: str) -> None:
    assert drugs.find([text]).frame.loc[0, ["id", "by", "how"]].tolist() == ["Erlotinib", by, how]


def test_numbers_are_of_the_kind_that_is_stated(drugs: IdMap) -> None:
    assert drugs.find(["176870"], "pubchem").ids == {"176870": "Erlotinib"}
    assert not drugs.find(["176870"], "gdsc_id").ids


def test_a_drug_screened_under_two_numbers_is_one(drugs: IdMap) -> None:
    assert len(drugs) == 4
    assert drugs.rows("gdsc").tolist() == ["Erlotinib", "Rapamycin", "Erlotinib", "Nutlin-3a (-)"]


def test_a_salt_and_its_base_are_one_drug() -> None:
    tables = {
        "a": pd.DataFrame({"smiles": [ERLOTINIB]}, index=["Erlotinib"]),
        "b": pd.DataFrame({"smiles": [f"{ERLOTINIB}.Cl"]}, index=["CP-358774"]),
    }
    assert drug_map(tables).rows("b").tolist() == ["Erlotinib"]


def test_a_mixture_is_not_its_larger_part() -> None:
    mixture = f"{ERLOTINIB}.CC(=O)Nc1ccc(O)cc1C(=O)NCCc1ccccc1"
    tables = {
        "a": pd.DataFrame({"smiles": [ERLOTINIB]}, index=["Erlotinib"]),
        "b": pd.DataFrame({"smiles": [mixture]}, index=["erlotinib:other (1:1 mol/mol)"]),
    }
    assert len(drug_map(tables)) == 2


def test_one_name_with_two_structures_is_said() -> None:
    tables = {
        "a": pd.DataFrame({"smiles": [ERLOTINIB]}, index=["Erlotinib"]),
        "b": pd.DataFrame({"smiles": ["Oc1ccccc1"]}, index=["Erlotinib"]),
        "c": pd.DataFrame({"smiles": ["Oc1ccccc1C"]}, index=["erlo-tinib"]),
    }
    drugs = drug_map(tables)
    assert [f.code for f in drugs.findings] == ["same-name-doubtful"]
    assert drugs.rows("b").tolist() == ["Erlotinib"]
    assert drugs.rows("c").tolist() == ["erlo-tinib"]  # likeness is no proof against another structure


def test_a_name_wins_over_the_synonym_of_another_drug() -> None:
    table = pd.DataFrame({"SYNONYMS": [None, "Nutlin-3, X-1", "X-1"]}, index=["Nutlin-3", "Nutlin-3a (-)", "other"])
    drugs = drug_map({"t": table})
    assert drugs.find(["Nutlin-3"]).ids == {"Nutlin-3": "Nutlin-3"}
    assert drugs.find(["X-1"]).ambiguous == {"X-1": ("Nutlin-3a (-)", "other")}


def test_enantiomers_are_not_one_by_their_letters() -> None:
    drugs = drug_map({"t": pd.DataFrame(index=["Nutlin-3a (-)"])})
    assert not drugs.find(["Nutlin-3a", "Nutlin-3a (+)"]).ids
