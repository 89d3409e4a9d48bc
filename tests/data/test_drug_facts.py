"""The shipped facts of drugs: what textbooks say is there, symbols are current, names and structures find it."""

from __future__ import annotations

import pandas as pd
import pytest

from halfmax.data.drug_facts import descriptions, drug_facts, entries, facts_of
from halfmax.data.gene_names import resolve
from halfmax.data.structures import INCHI_KEY

# From the drugs' FDA labels, section 12.1 (mechanism of action).
LABELS = {
    "Trametinib": ("MAP2K1|MAP2K2", "MEK inhibitor"),
    "Erlotinib": ("EGFR", "EGFR family inhibitor"),
    "Venetoclax": ("BCL2", "BCL2/BCL-XL inhibitor"),
    "Olaparib": ("PARP1|PARP2", "PARP inhibitor"),
    "Topotecan": ("TOP1", "topoisomerase I poison"),
    "Vinorelbine": ("TUBB|TUBA1A", "microtubule destabiliser"),
    "Ruxolitinib": ("JAK1|JAK2", "JAK inhibitor"),
    "Methotrexate": ("DHFR", "antimetabolite"),
}


@pytest.mark.parametrize("drug", LABELS)
def test_what_labels_say(drug: str) -> None:
    row = drug_facts().loc[drug]
    assert (row["targets"], row["mechanism"]) == LABELS[drug]


def test_every_target_is_a_current_symbol() -> None:
    assert [s for s in entries("targets") if resolve(s) != ((s,), "exact")] == []


def test_every_row_has_a_source_and_says_something() -> None:
    table = drug_facts()
    assert table.index.is_unique
    assert (table["source"] != "").all()
    assert (table[["targets", "mechanism", "pathway"]] != "").any(axis=1).all()
    keys = table["inchi_key"][table["inchi_key"] != ""]
    assert keys.map(lambda key: INCHI_KEY.fullmatch(key) is not None).all()
    assert set(table["process"]) == {"", "essential", "other"}


def test_vague_words_name_no_gene() -> None:
    """GDSC says IR for the insulin receptor, CBP for CREBBP and BET for bromodomains; HGNC's aliases say otherwise."""
    table = drug_facts()
    assert table.loc["BMS-536924", "targets"] == "IGF1R|INSR"
    assert table.loc["SGC-CBP30", "targets"] == "EP300|CREBBP"
    assert not {"OPN1LW", "DNER", "PRRT2"} & set(entries("targets"))


def test_a_drug_is_found_by_name_alias_and_structure() -> None:
    erlotinib = "COCCOc1cc2c(cc1OCCOC)ncnc2Nc1cccc(c1)C#C"
    drugs = pd.DataFrame(
        {
            "name": ["x", "ERLOTINIB", "y", "z", None],
            "smiles": [None, None, f"{erlotinib}.Cl", "CCO", "not a structure"],
        },
        index=["Venotoclax", "7", "8", "9", "10"],
    )
    assert facts_of(drugs)["targets"].tolist() == ["BCL2", "EGFR", "EGFR", "", ""]
    assert facts_of(drugs).index.tolist() == drugs.index.tolist()


def test_a_table_without_names_or_structures_is_looked_up_by_id() -> None:
    assert facts_of(pd.DataFrame(index=["Olaparib", "nobody"]))["mechanism"].tolist() == ["PARP inhibitor", ""]


def test_a_description_says_what_is_known_without_the_name() -> None:
    drugs = pd.DataFrame(index=["Erlotinib", "no such drug"])
    assert descriptions(drugs) == ["EGFR family inhibitor; targets EGFR; acts on EGFR.", ""]
