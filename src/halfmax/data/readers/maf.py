"""Somatic mutations from MAF files of the GDC and of Firehose: a gene matrix, the burden of a sample, the variants."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from halfmax.data.barcodes import Aliquots, Chosen, Which, choose_samples, id_kind_of
from halfmax.data.findings import Finding, Findings
from halfmax.data.gene_names import NO_NAMES
from halfmax.data.identifiers import map_genes
from halfmax.data.readers.burden import DistinctVariants
from halfmax.data.readers.effects import EFFECTS, NON_SILENT, Effect, check_effects, effect_of
from halfmax.data.readers.glimpse import Glimpse
from halfmax.data.readers.kinds import FileKind, Part, Reading
from halfmax.data.readers.maf_stream import MafRows
from halfmax.data.readers.mutations import Pairs, codes_of, distinct, gene_matrix
from halfmax.data.readers.places import naming
from halfmax.errors import DataError

VARIANT_COLUMNS = (
    "gene", "chromosome", "start", "end", "reference", "alternative", "classification", "effect", "protein_change",
    "build",
)  # fmt: skip
_NOT_SOMATIC = ("germline", "loh", "wildtype", "post-transcriptional modification")
_BUILD_NAMES = {"hg18": "36 36.1 hg18 ncbi36", "hg19": "37 37.0 hg19 grch37 grch37-lite", "hg38": "38 hg38 grch38"}
_BUILDS = {name: build for build, names in _BUILD_NAMES.items() for name in names.split()}
_NO_GENE = {"", "unknown", *map(str.lower, NO_NAMES)}


def read_maf(
    path: Path | str,
    *,
    effects: Collection[str] = NON_SILENT,
    genes: Sequence[str] | None = None,
    min_samples: int = 1,
    samples: Which = "tumour",
    aliquots: Aliquots = "one",
    variants: bool = False,
    strict: bool = False,
) -> Reading:
    """Read a list of mutations as a matrix of samples and genes.

    The file is streamed: what stays in memory is the names and the matrix. Beyond 262,144 rows a temporary file of 13
    bytes a row helps to count a variant once.

    Parameters
    ----------
    path
        MAF, also packed with gzip, or Parquet with the same columns.
    effects
        Classes that make a gene "mutated" (1); see `halfmax.data.readers.effects`.
    genes
        Genes of the matrix, in their order, 0 where no sample has them; all that are mutated if not given.
    min_samples
        Leave out genes that are mutated in fewer samples; not applied to `genes`.
    samples, aliquots
        See `choose_samples`.
    variants
        Whether to return the variants one by one too; their table grows with the file.
    strict
        Raise DataError where something would be put right otherwise.

    Returns
    -------
    Reading
        ``mutation`` (samples × genes, 0 or 1, float32), ``samples`` with n_variants and n_counted (of these effects),
        and, if asked for, ``variants``.

    Raises
    ------
    DataError
        If the file is no MAF or is damaged, or nothing is left.
    """
    wanted = check_effects(effects)
    path, findings = Path(path), Findings(strict=strict)
    with naming(path), DistinctVariants() as distinct_variants:
        tally, rows = _Tally(wanted, distinct_variants), MafRows(path)
        for batch in rows:
            tally.add(batch)
        _report(tally, rows, findings)
        ids = list(tally.aliquots)
        chosen = choose_samples(ids, findings, samples=samples, aliquots=aliquots)
        symbols, told = _symbols(list(tally.genes))
        findings.extend(told)
        frame = gene_matrix(tally.pairs, symbols, chosen, len(ids), findings, genes=genes, min_samples=min_samples)
        about = chosen.samples.join(tally.burden(chosen), validate="one_to_one")
        id_kind = id_kind_of(ids)
        parts = [Part("mutation", frame, id_kind=id_kind), Part("samples", about, id_kind=id_kind)]
        if variants:
            kept = dict(zip(about["aliquot"], about.index, strict=True))
            tables = [t[t["aliquot"].isin(list(kept))] for t in stream_variants(path)]
            table = pd.concat(tables, ignore_index=True)
            table.insert(0, "sample_id", table.pop("aliquot").map(kept))
            parts.append(Part("variants", table, id_kind=id_kind))
    return Reading("maf", tuple(parts), findings.all())


def stream_variants(path: Path | str) -> Iterator[pd.DataFrame]:
    """Yield the somatic variants of a MAF in tables of some ten thousand: aliquot and `VARIANT_COLUMNS`, as text.

    Genes are under their current symbols; ``effect`` is a class of `halfmax.data.readers.effects` or empty.
    """
    with naming(path):
        for batch in MafRows(Path(path)):
            batch = batch.filter(pc.invert(_not_somatic(batch)))
            alternative = pc.if_else(
                pc.equal(batch["allele_2"], batch["reference"]), batch["allele_1"], batch["allele_2"]
            )
            columns = {c: batch[c] for c in ("aliquot", "chromosome", "start", "end", "reference", "classification",
                                             "protein_change")}  # fmt: skip
            frame = pa.table(columns | {"alternative": alternative}).to_pandas()
            keys, codes = distinct(_gene_keys(batch))
            frame["gene"] = np.array(_symbols(keys)[0], dtype=object)[codes]
            words, at = distinct(batch["classification"])
            frame["effect"] = np.array([effect_of(word) or "" for word in words], dtype=object)[at]
            builds, at = distinct(batch["build"])
            frame["build"] = np.array([_BUILDS.get(b.lower(), b) for b in builds], dtype=object)[at]
            yield frame[["aliquot", *VARIANT_COLUMNS]]


@dataclass
class _Tally:
    """What is counted while the rows go by."""

    effects: tuple[Effect, ...]
    variants: DistinctVariants
    aliquots: dict[str, int] = field(default_factory=dict)
    genes: dict[str, int] = field(default_factory=dict)
    classes: Counter[str] = field(default_factory=Counter)
    builds: Counter[str] = field(default_factory=Counter)
    filters: Counter[str] = field(default_factory=Counter)
    n_not_somatic: int = 0
    n_without_sample: int = 0
    pairs: Pairs = field(default_factory=Pairs)

    def add(self, batch: pa.Table) -> None:
        """Count the rows of a batch."""
        not_somatic, nobody = _not_somatic(batch), pc.equal(batch["aliquot"], "")
        self.n_not_somatic += pc.sum(not_somatic).as_py() or 0
        self.n_without_sample += pc.sum(nobody).as_py() or 0
        batch = batch.filter(pc.invert(pc.or_(not_somatic, nobody)))
        if not batch.num_rows:
            return
        words, classes = distinct(batch["classification"])
        self.classes.update(dict(zip(words, np.bincount(classes, minlength=len(words)).tolist(), strict=True)))
        for counter, column in ((self.builds, "build"), (self.filters, "filter")):
            names, codes = distinct(batch[column])
            counter.update(dict(zip(names, np.bincount(codes, minlength=len(names)).tolist(), strict=True)))
        rank = {effect: place for place, effect in enumerate(EFFECTS)}
        known = [effect_of(word) for word in words]
        effect = np.array([rank[e] if e else len(EFFECTS) for e in known], dtype=np.int8)[classes]
        aliquot = codes_of(batch["aliquot"], self.aliquots)
        gene = codes_of(_gene_keys(batch), self.genes)
        counts = np.isin(effect, [rank[e] for e in self.effects])
        self.pairs.add(aliquot[counts], gene[counts])
        place = pc.binary_join_element_wise(
            *(batch[c] for c in ("aliquot", "chromosome", "start", "end", "reference", "allele_1", "allele_2")), "\t"
        )
        hashes = pd.util.hash_array(place.to_numpy(zero_copy_only=False), categorize=False)
        self.variants.add(hashes, aliquot, effect)

    def burden(self, chosen: Chosen) -> pd.DataFrame:
        """Return n_variants and n_counted of the chosen samples; a variant that stands in several rows counts once."""
        counts = self.variants.count(len(self.aliquots), [EFFECTS.index(effect) for effect in self.effects])
        return pd.DataFrame(
            {name: n[chosen.rows] for name, n in zip(("n_variants", "n_counted"), counts, strict=True)},
            index=chosen.ids,
        )


def _not_somatic(batch: pa.Table) -> pa.ChunkedArray:
    return pc.is_in(pc.utf8_lower(batch["status"]), value_set=pa.array(_NOT_SOMATIC))


def _gene_keys(batch: pa.Table) -> pa.ChunkedArray:
    return pc.binary_join_element_wise(batch["gene"], batch["entrez"], "\t")


def _symbols(keys: Sequence[str]) -> tuple[list[str], tuple[Finding, ...]]:
    """Return the current symbol for ``Hugo_Symbol<tab>Entrez_Gene_Id``, empty for none, and what there is to say.

    A current symbol is taken as it is; where it is not one, the Entrez id says which gene is meant.
    """
    pairs = [key.partition("\t")[::2] for key in keys]
    exact = map_genes(name for name, _ in pairs).how == "exact"
    names = [
        name if is_exact or entrez.removesuffix(".0") in ("", "0") else f"{name}|{entrez.removesuffix('.0')}"
        for (name, entrez), is_exact in zip(pairs, exact, strict=True)
    ]
    genes = map_genes(names)
    none = [name.lower() in _NO_GENE for name, _ in pairs]
    symbols = [
        str(symbol) if symbol is not None else ("" if nothing else name)
        for symbol, nothing, (name, _) in zip(genes.symbols, none, pairs, strict=True)
    ]
    if genes.is_mouse:
        raise DataError(str(genes.findings[0]))
    named = map_genes(name for name, nothing in zip(names, none, strict=True) if not nothing)
    return symbols, named.findings


def _report(tally: _Tally, rows: MafRows, findings: Findings) -> None:
    if rows.n_comments:
        findings.info(
            "comments", f"{rows.n_comments} comment lines before the table are skipped.", count=rows.n_comments
        )
    if not tally.aliquots:
        raise DataError(
            f"none of its {rows.n_rows} rows is a somatic variant of a named sample ({tally.n_not_somatic} are not "
            f"somatic, {tally.n_without_sample} have no Tumor_Sample_Barcode)."
        )
    if tally.n_without_sample:
        findings.mended(
            "rows-without-id",
            f"{tally.n_without_sample} rows have no sample and are left out.",
            (),
            tally.n_without_sample,
        )
    if tally.n_not_somatic:
        message = f"{tally.n_not_somatic} rows are not somatic (Mutation_Status) and are left out."
        findings.info("not-somatic", message, count=tally.n_not_somatic)
    by_effect: Counter[str] = Counter()
    for word, n in tally.classes.items():
        by_effect[effect_of(word) or "unknown"] += n
    counted = ", ".join(f"{n:,} {effect}" for effect, n in by_effect.most_common())
    shown = [f"{word} {n}" for word, n in tally.classes.most_common()]
    findings.info(
        "classification",
        f"{tally.variants.n_rows:,} variants of {len(tally.aliquots):,} samples: {counted}; "
        f"{' and '.join(tally.effects)} make a gene mutated.",
        shown,
        len(shown),
    )
    if strange := {word: n for word, n in tally.classes.items() if effect_of(word) is None}:
        findings.warn(
            "unknown-classification",
            f"{sum(strange.values())} variants have a classification that is not known and do not count.",
            [f"{word!r} {n}" for word, n in strange.items()],
        )
    builds = Counter({_BUILDS.get(b.lower(), b): 0 for b in tally.builds if b})
    for build, n in tally.builds.items():
        if build:
            builds[_BUILDS.get(build.lower(), build)] += n
    told = [f"{build} {n}" for build, n in builds.most_common()]
    if len(builds) > 1:
        findings.mended(
            "mixed-builds",
            f"its variants are on {len(builds)} genome builds; genes are comparable, positions are not.",
            told,
        )
    elif builds:
        findings.info("build", f"positions are on {next(iter(builds))}.")
    not_passed = sum(n for word, n in tally.filters.items() if word.upper() not in ("", "PASS", "."))
    if not_passed:
        findings.info("filter", f"{not_passed} variants are kept although their FILTER is not PASS.", count=not_passed)


def _recognise(seen: Glimpse) -> float:
    if seen.form not in ("text", "parquet"):
        return 0.0
    return 0.95 if seen.has("Hugo_Symbol", "Variant_Classification", "Tumor_Sample_Barcode") else 0.0


MAF = FileKind(
    "maf",
    "Mutations as a MAF file (GDC, Firehose, MC3)",
    "TCGA",
    _recognise,
    read_maf,
    licence="TCGA open tier: GDC/NIH; cite TCGA",
    options=("effects", "genes", "min_samples", "samples", "aliquots", "variants", "strict"),
)
