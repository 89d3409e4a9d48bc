#!/usr/bin/env python3
"""Build src/halfmax/data/drug_targets.tsv.gz: the targets, mechanism and pathway of the drugs of GDSC and CTRP.

    python tools/build_drug_targets.py GDSC_LIST GDSC_COMPOUNDS CTRP_COMPOUNDS DATASET_FOLDER...

Read are plain facts, what a drug is meant to bind, and no measurement:
    GDSC_LIST       the list of drugs of cancerrxgene.org (``Drug_list_Aug2022.csv``);
    GDSC_COMPOUNDS  the compounds of its release 8.2 (``screened_compounds_rel_8.2.csv``);
    CTRP_COMPOUNDS  names, targets, activity and SMILES of the compounds of CTRP v2;
    DATASET_FOLDER  saved datasets whose drugs have SMILES, for the InChIKeys: gdsc2-demo, gdsc1-demo.
What stands in ``tools/drug_facts`` is the project's own: what the words of these lists mean (``target_words.tsv``),
which targets belong together and how a drug that hits them is called (``families.tsv``), which mechanisms hit a process
that every dividing cell needs (``essential_processes.tsv``), and facts that the lists lack or word too loosely, each
with its source (``corrections.tsv``).

``checked`` in ``corrections.tsv`` says how far a row was held against its source: ``list``, the list named was at hand
and says so; ``not at hand``, label, paper or textbook could not be looked into, and the row is plausible only; ``not at
hand, gene inferred``, the same, and what the source names is an activity (a DNA polymerase, a topoisomerase II) whose
genes were chosen here. Nothing is computed from this column; hold the rows against their sources before you rely on
them.
"""

from __future__ import annotations

import csv
import gzip
import re
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from halfmax.data.cell_lines import normalise_name
from halfmax.data.gene_names import resolve
from halfmax.data.structures import inchi_key, is_mixture
from halfmax.errors import DataError

ROOT = Path(__file__).resolve().parents[1]
FACTS = ROOT / "tools/drug_facts"
TARGET = ROOT / "src/halfmax/data/drug_targets.tsv.gz"
COLUMNS = ("drug", "inchi_key", "targets", "families", "mechanism", "pathway", "process", "stage", "source")
#: GDSC's pathways that say nothing.
NO_PATHWAY = frozenset({"", "nan", "Unclassified"})


@dataclass
class Facts:
    """What one source says of one drug, in its own words."""

    names: dict[str, None] = field(default_factory=dict)
    words: dict[str, None] = field(default_factory=dict)
    pathways: dict[str, None] = field(default_factory=dict)
    smiles: str = ""


def read_facts(name: str) -> list[dict[str, str]]:
    """Return the rows of one of the project's own tables."""
    with (FACTS / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE, restval=""))


def split(text: str) -> list[str]:
    """Return the entries between bars."""
    return [part for part in (text or "").split("|") if part]


def read_list(path: Path, name: str, synonyms: str, targets: str, pathway: str) -> dict[str, Facts]:
    """Return a table of drugs by the key of their name; a drug that stands in several rows has all their words."""
    table = pd.read_csv(path, skipinitialspace=True, dtype=str, keep_default_na=False)
    found: dict[str, Facts] = defaultdict(Facts)
    for row in table.to_dict("records"):
        facts = found[normalise_name(row[name])]
        facts.names |= dict.fromkeys([row[name].strip()])
        facts.names |= dict.fromkeys(n.strip() for n in row.get(synonyms, "").split(",") if n.strip())
        facts.words |= dict.fromkeys(w.strip() for w in re.split("[,;]", row[targets]) if w.strip())
        facts.pathways |= dict.fromkeys([clean_pathway(row.get(pathway, ""))])
        facts.smiles = facts.smiles or row.get("cpd_smiles", "")
    return found


def clean_pathway(text: str) -> str:
    """Return a pathway as the newer list writes it."""
    text = text.strip().removesuffix(" signaling")
    return "" if text in NO_PATHWAY else text


def stage(names: Iterable[str]) -> str:
    """Return ``named`` for a drug that has a name in words, as clinical and natural compounds have, else ``coded``."""
    words = [n for n in names if not re.search(r"\d|[A-Z]{3}|[Ii]nhibitor", n)]
    return "named" if any(re.search("[A-Za-z][a-z]{5}", n) for n in words) else "coded"


class Words:
    """From the words of the lists to HGNC symbols, families and mechanisms."""

    def __init__(self) -> None:
        self.known = {row["word"]: row for row in read_facts("target_words.tsv")}
        self.family: dict[str, tuple[str, str]] = {}
        for row in read_facts("families.tsv"):
            for symbol in split(row["targets"]):
                if resolve(symbol)[0] != (symbol,):
                    raise SystemExit(f"families.tsv: {symbol} is not a current symbol but {resolve(symbol)}")
                self.family[symbol] = (row["family"], row["mechanism"])
        self.essential = frozenset(row["mechanism"] for row in read_facts("essential_processes.tsv"))
        self.strange: dict[str, str] = {}

    def symbols(self, word: str, drug: str) -> list[str]:
        """Return the genes that a word names; a word that is no gene and not in ``target_words.tsv`` is noted."""
        if word in self.known:
            return split(self.known[word]["targets"])
        symbols, how = resolve(word)
        if len(symbols) != 1 or how in ("unknown", "ambiguous", "excel-date"):
            self.strange[word] = drug
            return []
        return list(symbols)

    def mechanism(self, word: str) -> list[str]:
        """Return the mechanism that a word itself names."""
        return split(self.known[word]["mechanism"]) if word in self.known else []

    def families(self, symbols: list[str]) -> list[str]:
        """Return the families of targets, a gene of none being its own."""
        return list(dict.fromkeys(self.family.get(s, (s, ""))[0] for s in symbols))

    def mechanisms(self, symbols: list[str]) -> list[str]:
        """Return how a drug is called that hits these targets."""
        named = [self.family[s][1] if s in self.family else f"{s} ligand" for s in symbols]
        return list(dict.fromkeys(filter(None, named)))

    def process(self, mechanisms: Iterable[str]) -> str:
        """Return ``essential`` if a mechanism hits what every dividing cell needs, else ``other``; empty for none."""
        known = set(mechanisms)
        return ("essential" if known & self.essential else "other") if known else ""


def inchi_keys(folders: list[Path], ctrp: dict[str, Facts]) -> dict[str, str]:
    """Return the InChIKey of the desalted structure by the key of a drug's name; mixtures have none."""
    smiles = {key: facts.smiles for key, facts in ctrp.items() if facts.smiles}
    for folder in reversed(folders):
        drugs = pd.read_parquet(folder / "drugs.parquet")
        smiles |= {normalise_name(i): s for i, s in drugs["smiles"].dropna().items()}
    keys = {}
    for name, text in smiles.items():
        try:
            keys[name] = "" if is_mixture(text) else inchi_key(text)
        except DataError as error:
            sys.stderr.write(f"{name}: {error}\n")
    return keys


def one_row(
    key: str, sources: dict[str, dict[str, Facts]], corrections: dict[str, dict[str, str]], words: Words
) -> dict[str, str]:
    """Return what is known of one drug: GDSC's word, CTRP's where GDSC has none; a correction beats both."""
    said = {name: facts[key] for name, facts in sources.items() if key in facts}
    name = next(iter(next(iter(said.values())).names)) if said else corrections[key]["drug"]
    told, used = {}, []
    for source, facts in said.items():
        if facts.words and (source != "CTRP" or not told):
            told |= facts.words
        if facts.words or any(facts.pathways):
            used.append(source)
    symbols = list(dict.fromkeys(s for word in told for s in words.symbols(word, name)))
    mechanism = list(dict.fromkeys(m for word in told for m in words.mechanism(word)))
    of_words = {s for word in told if words.mechanism(word) for s in words.symbols(word, name)}
    mechanism += words.mechanisms([s for s in symbols if s not in of_words])
    pathways = list(dict.fromkeys(p for facts in said.values() for p in facts.pathways if p))
    if better := corrections.get(key):
        symbols, mechanism = split(better["targets"]), split(better["mechanism"])
        pathways, used = split(better["pathway"]) or pathways, [better["source"]]
        if wrong := [s for s in symbols if resolve(s)[0] != (s,)]:
            raise SystemExit(f"corrections.tsv: {wrong} of {name} are not current symbols")
    return {
        "drug": name,
        "targets": "|".join(symbols),
        "families": "|".join(words.families(symbols)),
        "mechanism": "|".join(dict.fromkeys(mechanism)),
        "pathway": "|".join(pathways),
        "process": words.process(mechanism),
        "stage": stage(n for facts in said.values() for n in facts.names) if said else "",
        "source": "; ".join(used),
    }


def main(gdsc_list: Path, compounds: Path, ctrp: Path, *folders: Path) -> None:
    """Write the table, the same bytes for the same input, and say what was not understood."""
    sources = {
        "GDSC drug list 2022-08": read_list(gdsc_list, "Name", "Synonyms", "Targets", "Target pathway"),
        "GDSC release 8.2": read_list(compounds, "DRUG_NAME", "SYNONYMS", "TARGET", "TARGET_PATHWAY"),
        "CTRP": read_list(ctrp, "cpd_name", "", "gene_symbol_of_protein_target", ""),
    }
    words, corrections = Words(), {normalise_name(r["drug"]): r for r in read_facts("corrections.tsv")}
    keys = inchi_keys(list(folders), sources["CTRP"])
    found = dict.fromkeys(key for facts in sources.values() for key in facts)
    rows = {key: one_row(key, sources, corrections, words) for key in (*found, *(set(corrections) - set(found)))}
    table = pd.DataFrame([row | {"inchi_key": keys.get(key, "")} for key, row in rows.items()], columns=COLUMNS)
    table = table[(table[["targets", "mechanism", "pathway"]] != "").any(axis=1)]
    table = table.sort_values("drug", key=lambda names: names.map(normalise_name), ignore_index=True)
    text = table.to_csv(sep="\t", index=False, lineterminator="\n")
    TARGET.write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))
    filled = {column: int((table[column] != "").sum()) for column in table}
    sys.stdout.write(f"{TARGET.name}: {TARGET.stat().st_size / 1e3:.0f} kB, {len(table)} drugs, filled: {filled}\n")
    sys.stdout.write(f"not understood: {words.strange}\n")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
