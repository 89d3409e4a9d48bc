"""What is known of a drug beyond its structure: targets, mechanism, pathway, process and stage, with the source.

The table is ``drug_targets.tsv.gz``; ``tools/build_drug_targets.py`` says what it is made from and makes it.
"""

from __future__ import annotations

import gzip
import io
from functools import lru_cache
from importlib import resources

import pandas as pd

from halfmax.data.cell_lines import DRUG_ALIASES, normalise_name
from halfmax.data.structures import inchi_key, is_mixture
from halfmax.errors import DataError

_SKELETON = 14


@lru_cache(maxsize=1)
def drug_facts() -> pd.DataFrame:
    """Return the table, index = drug, all text.

    Columns: inchi_key; targets (HGNC symbols), families, mechanism, pathway (entries between bars); process,
    ``essential`` where a mechanism hits what every dividing cell needs, else ``other``; stage, ``named`` for a drug
    with a name in words, else ``coded``; source. InChIKeys are those of the structure without salts; what is not known
    is empty.
    """
    content = gzip.decompress(resources.files("halfmax.data").joinpath("drug_targets.tsv.gz").read_bytes())
    table: pd.DataFrame = pd.read_csv(io.BytesIO(content), sep="\t", dtype=str, keep_default_na=False)
    return table.set_index("drug")


def facts_of(drugs: pd.DataFrame) -> pd.DataFrame:
    """Return the facts of each drug of a dataset, one row a drug; empty text where the table knows none.

    Parameters
    ----------
    drugs
        Index = drug id; a column ``name`` is looked up after the id, and ``smiles`` last: a structure is found whatever
        its salt, stereochemistry or name. A column ``skeleton`` (of `skeleton`) spares reading the structures again.
    """
    table = drug_facts()
    by_name = {normalise_name(name): row for row, name in reversed(list(enumerate(table.index)))}
    by_structure = {key[:_SKELETON]: row for row, key in reversed(list(enumerate(table["inchi_key"]))) if key}
    names = drugs["name"] if "name" in drugs else pd.Series(drugs.index, index=drugs.index)
    skeletons = list(drugs["skeleton"]) if "skeleton" in drugs else [None] * len(drugs)
    structures = drugs["smiles"] if "smiles" in drugs else pd.Series(None, index=drugs.index, dtype=object)
    rows = []
    for drug, name, smiles, known in zip(drugs.index, names, structures, skeletons, strict=True):
        keys = [normalise_name(_known_as(n)) for n in (drug, name) if isinstance(n, str)]
        row = next((by_name[key] for key in keys if key in by_name), -1)
        rows.append(by_structure.get(skeleton(smiles) if known is None else known, -1) if row < 0 else row)
    padded = pd.concat([table, pd.DataFrame("", index=["-"], columns=table.columns)])
    return padded.iloc[rows].set_axis(drugs.index)


def descriptions(drugs: pd.DataFrame) -> list[str]:
    """Return a sentence a drug on its mechanism, targets and pathway, without its name; empty where nothing is known.

    A name in the text would let an encoder of words tell drugs apart by their names.
    """
    said = []
    for row in facts_of(drugs).itertuples():
        parts = ((row.mechanism, "{}"), (row.targets, "targets {}"), (row.pathway, "acts on {}"))
        said.append("; ".join(form.format(str(text).replace("|", ", ")) for text, form in parts if text))
    return [f"{text[0].upper()}{text[1:]}." if text else "" for text in said]


def entries(column: str) -> tuple[str, ...]:
    """Return all entries of a column of the table, each once, sorted."""
    return tuple(sorted({entry for text in drug_facts()[column] for entry in text.split("|") if entry}))


def _known_as(name: str) -> str:
    return DRUG_ALIASES[name].other_name if name in DRUG_ALIASES else name


def skeleton(smiles: object) -> str:
    """Return the first block of the InChIKey; empty without a structure, for a mixture and for an invalid one."""
    if not isinstance(smiles, str) or not smiles:
        return ""
    try:
        return "" if is_mixture(smiles) else inchi_key(smiles)[:_SKELETON]
    except DataError:
        return ""  # the block that encodes structures says what is wrong with it
