"""What is known between drugs, genes and groups of genes, and where a sample stands out: the edges of a graph."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from halfmax.data.drug_facts import drug_facts
from halfmax.features.blocks import Block, FloatArray, IndexArray, PairFeatures

log = logging.getLogger(__name__)
#: Drug blocks whose columns become edges, and not inputs of the drug tower, which would know them anyway.
EDGE_BLOCKS = ("targets", "mechanism", "pathway")
_GENE = "targets="


@dataclass(frozen=True)
class Knowledge:
    """Genes, groups, and which gene is in which group.

    Parameters
    ----------
    genes
        Symbols: targets of drugs, and genes with mutations in the data where there are any.
    groups
        Families, mechanisms and pathways of the drug blocks, named ``column=entry``, and gene sets, named ``set=name``.
    member
        Shape ``(n_genes, n_groups)``, zeros and ones.
    """

    genes: tuple[str, ...]
    groups: tuple[str, ...]
    member: FloatArray

    @property
    def n_nodes(self) -> int:
        """Number of genes and groups."""
        return len(self.genes) + len(self.groups)


def knowledge_of(
    x: PairFeatures, sets: Mapping[str, Sequence[str]] | None = None, *, min_mutated: int = 10
) -> Knowledge:
    """Return the genes and groups of these features that have an edge: others would keep the state that they drew.

    A gene is in a pathway if a drug of the shipped table that hits it acts on that pathway, and in the gene sets that
    hold it.

    Parameters
    ----------
    sets
        Gene sets, such as those of a GMT file.
    min_mutated
        Genes that are mutated in fewer samples are left out.
    """
    columns = sorted({name for block in EDGE_BLOCKS if block in x.drug_x for name in x.drug_x[block].names})
    genes = {name.removeprefix(_GENE) for name in columns if name.startswith(_GENE)}
    if not genes:
        log.warning("no drug block says which genes a drug hits, so that the graph has no drug-gene edges; use targets")
    if "mutation" in x.modalities:
        block = x.sample_x["mutation"]
        often = (block.values > 0.5).sum(axis=0) >= min_mutated
        genes |= {name for name, kept in zip(block.names, often, strict=True) if kept}
    groups = {name for name in columns if not name.startswith(_GENE)}
    found = tuple(sorted(genes))
    names = (*sorted(groups), *(f"set={name}" for name in sorted(sets or {})))
    member = np.zeros((len(found), len(names)), dtype=np.float32)
    row = {gene: i for i, gene in enumerate(found)}
    column = {name: j for j, name in enumerate(names)}
    facts = drug_facts()
    pairs = [
        (gene, f"pathway={pathway}")
        for hit, acted in zip(facts["targets"], facts["pathway"], strict=True)
        for gene in hit.split("|")
        for pathway in acted.split("|")
    ]
    pairs += [(gene, f"set={name}") for name, listed in (sets or {}).items() for gene in listed]
    for gene, group in pairs:
        if gene in row and group in column:
            member[row[gene], column[group]] = 1
    return _without_loners(x, Knowledge(found, names, member))


def _without_loners(x: PairFeatures, known: Knowledge) -> Knowledge:
    n = len(known.genes)
    hit = np.asarray(drug_edges(x, known).any(axis=0))
    profiled = {name for modality in x.modalities for name in x.sample_x[modality].names}
    kept = np.flatnonzero([hit[i] or gene in profiled for i, gene in enumerate(known.genes)])
    groups = np.flatnonzero(hit[n:] | (known.member[kept].sum(axis=0) > 0))
    return Knowledge(
        tuple(known.genes[i] for i in kept), tuple(known.groups[j] for j in groups), known.member[np.ix_(kept, groups)]
    )


def drug_edges(x: PairFeatures, known: Knowledge) -> FloatArray:
    """Return which genes and groups each drug is known to act on, zeros and ones, shape ``(n_drugs, n_nodes)``."""
    place = {f"{_GENE}{gene}": i for i, gene in enumerate(known.genes)}
    place |= {group: len(known.genes) + j for j, group in enumerate(known.groups)}
    out = np.zeros((len(x.drug_ids), known.n_nodes), dtype=np.float32)
    for block in (x.drug_x[name] for name in EDGE_BLOCKS if name in x.drug_x):
        columns = [j for j, name in enumerate(block.names) if name in place]
        out[:, [place[block.names[j]] for j in columns]] = block.values[:, columns] > 0
    return out


def gene_values(block: Block | None, genes: Sequence[str], n: int) -> FloatArray:
    """Return a block's columns of these genes, NaN for a gene that it lacks and a sample that lacks it."""
    out = np.full((n, len(genes)), np.nan, dtype=np.float32)
    if block is not None:
        place = {name: j for j, name in enumerate(block.names)}
        there = [i for i, gene in enumerate(genes) if gene in place]
        out[:, there] = np.where(block.absent[:, None], np.nan, block.values[:, [place[genes[i]] for i in there]])
    return out


def shuffled_rows(ids: npt.NDArray[np.str_], seen: npt.NDArray[np.str_], seed: int) -> IndexArray:
    """Return for each id the row of `seen` whose edges it is given: a permutation for `seen`, a draw for others.

    Another process and another company of ids give the same rows.
    """
    order = np.random.default_rng(seed).permutation(len(seen))
    given = dict(zip(sorted(seen.tolist()), order.tolist(), strict=True))
    other = (zlib.crc32(f"{seed} {i}".encode()) % max(len(seen), 1) for i in ids.tolist())
    return np.array([given.get(i, o) for i, o in zip(ids.tolist(), other, strict=True)], dtype=np.int64)
