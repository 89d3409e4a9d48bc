"""How far a drug lies from the drugs of training: the nearest by structure, and those that share a target."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.data.drug_facts import facts_of
from halfmax.features.drugs import drug_table_block, tanimoto

#: Tanimoto similarity of Morgan count fingerprints from which a structure counts as related.
RELATED = 0.5
#: What can be said of a drug, the best first.
SUPPORT = ("seen", "structure", "target", "mechanism", "none")


def drug_support(drugs: pd.DataFrame, train: pd.DataFrame) -> pd.DataFrame:
    """Return what a model fitted on the drugs `train` has to go by for each of `drugs`.

    Parameters
    ----------
    drugs, train
        Tables of drugs, index = drug id, with ``smiles`` where the structure is known.

    Returns
    -------
    DataFrame
        Index = drug id; ``nearest`` (training drug most alike by structure, empty without a structure), ``similarity``
        (Tanimoto similarity to it, 0 to 1; NaN without a structure), ``shared_target`` and ``shared_mechanism``
        (numbers of training drugs), and ``support``, the best of `SUPPORT` that holds: the drug was in training, a
        related structure was (similarity at least `RELATED`), one with a target of its own, one with its mechanism, or
        none of these.
    """
    new, old = drug_table_block("fingerprint", drugs).values, drug_table_block("fingerprint", train).values
    like = tanimoto(new, old) if len(train) else np.zeros((len(drugs), 0))
    best = like.argmax(axis=1) if len(train) else np.zeros(len(drugs), dtype=np.int64)
    known = new.any(axis=1) & bool(len(train))
    similarity = np.where(known, like.max(axis=1, initial=0.0), np.nan)
    facts, old_facts = facts_of(drugs), facts_of(train)
    shared = {column: _sharing(facts[column], old_facts[column]) for column in ("targets", "mechanism")}
    holds = [
        np.asarray(drugs.index.isin(train.index)),
        np.nan_to_num(similarity) >= RELATED,
        shared["targets"] > 0,
        shared["mechanism"] > 0,
    ]
    names = train.index.to_numpy(dtype=object)
    nearest = np.where(known, names[best] if len(train) else "", "")
    return pd.DataFrame(
        {
            "nearest": nearest,
            "similarity": similarity,
            "shared_target": shared["targets"],
            "shared_mechanism": shared["mechanism"],
            "support": np.select(holds, SUPPORT[:-1], SUPPORT[-1]),
        },
        index=drugs.index,
    )


def _sharing(texts: pd.Series, others: pd.Series) -> npt.NDArray[np.int64]:
    """Return for each entry list how many of the others have an entry in common with it."""
    sets = [set(text.split("|")) - {""} for text in others]
    return np.array([sum(not own.isdisjoint(s) for s in sets) for own in (set(t.split("|")) - {""} for t in texts)])
