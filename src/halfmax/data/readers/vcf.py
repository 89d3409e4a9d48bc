"""Mutations from VCF files whose variants are annotated with genes, one or several samples, as a gene matrix."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.data.barcodes import Kind, Which, choose_samples, id_kind_of
from halfmax.data.findings import Finding, Findings
from halfmax.data.gene_names import NO_NAMES
from halfmax.data.identifiers import map_genes
from halfmax.data.readers.effects import EFFECTS, NON_SILENT, check_effects, gravest
from halfmax.data.readers.glimpse import Glimpse
from halfmax.data.readers.kinds import FileKind, Part, Reading
from halfmax.data.readers.mutations import Pairs, codes_of, distinct, gene_matrix
from halfmax.data.readers.places import naming
from halfmax.data.readers.vcf_stream import Batch, Header, VcfRecords
from halfmax.errors import DataError, examples

#: More protein-changing variants a sample than all but hypermutated tumours have; an inherited genome has some 10,000.
_TOO_MANY = 5000


def read_vcf(
    path: Path | str,
    *,
    sample: str | None = None,
    effects: Collection[str] = NON_SILENT,
    genes: Sequence[str] | None = None,
    min_samples: int = 1,
    samples: Which = "tumour",
    variants: bool = False,
    strict: bool = False,
) -> Reading:
    """Read somatic variants as a matrix of samples and genes.

    Variants with FILTER ``PASS`` (or ``.``, not filtered) count. Of several transcripts the one that VEP picked is
    taken, or else the gravest consequence for each gene.

    Parameters
    ----------
    path
        VCF, also packed with gzip or bgzip, annotated by Ensembl VEP (CSQ), SnpEff (ANN), bcftools csq (BCSQ), or with
        an INFO field GENE and, best, CONSEQUENCE.
    sample
        Name of the sample, where the file holds one.
    effects
        Classes that make a gene "mutated" (1); see `halfmax.data.readers.effects`.
    genes, min_samples
        See `read_maf`.
    samples
        See `choose_samples`; the matched normal is known by the header or its name.
    variants
        Whether to return the variants one by one too.
    strict
        Raise DataError where something would be put right otherwise.

    Returns
    -------
    Reading
        ``mutation`` (samples × genes, 0 or 1, float32), ``samples`` with n_variants and n_counted, and, if asked for,
        ``variants``.

    Raises
    ------
    DataError
        If it is no VCF, has no annotation of genes, or no variant passes.
    """
    wanted = check_effects(effects)
    path, findings = Path(path), Findings(strict=strict)
    with naming(path):
        records = VcfRecords(path)
        header = records.header()
        names = _names(header, path, sample, findings)
        tally = _Tally(wanted, len(names), no_effects=not header.parts and not header.effect_field, keep=variants)
        for batch in records.batches(header):
            tally.add(batch)
        _report(records, header, tally, findings)
        kinds: list[Kind] = ["normal" if name in header.normals else "unknown" for name in header.samples]
        chosen = choose_samples(names, findings, samples=samples, kinds=kinds or ["unknown"])
        symbols, told = _symbols(list(tally.genes))
        findings.extend(told)
        frame = gene_matrix(tally.pairs, symbols, chosen, len(names), findings, genes=genes, min_samples=min_samples)
        about = chosen.samples.assign(n_variants=tally.n_variants[chosen.rows], n_counted=tally.n_counted[chosen.rows])
        if many := [str(i) for i, n in about["n_counted"].items() if n > _TOO_MANY]:
            findings.warn(
                "perhaps-inherited",
                f"{len(many)} samples have more than {_TOO_MANY} protein-changing variants; inherited variants must be "
                "taken out first, by a matched normal or by population frequency.",
                many,
            )
        id_kind = id_kind_of(names)
        parts = [Part("mutation", frame, id_kind=id_kind), Part("samples", about, id_kind=id_kind)]
        if variants:
            kept = dict(zip(chosen.rows.tolist(), chosen.ids, strict=True))
            parts.append(Part("variants", tally.table(kept, symbols), id_kind=id_kind))
    return Reading("vcf", tuple(parts), findings.all())


def _names(header: Header, path: Path, given: str | None, findings: Findings) -> list[str]:
    """Return the samples' names; one that is called TUMOR, or has no column, is named by its file."""
    tumours = [name for name in header.samples if name not in header.normals]
    if given is not None and len(tumours) > 1:
        raise DataError(f"it holds {len(tumours)} samples ({examples(tumours)}); sample= names one alone.")
    if len(tumours) > 1 or (given is None and tumours and tumours[0].upper() not in ("TUMOR", "TUMOUR", "SAMPLE")):
        return list(header.samples)
    name = given or path.name.split(".")[0]
    if given is None:
        findings.info("sample-name", f"the sample is called {name!r} after the file; sample= states another name.")
    return [s if s in header.normals else name for s in header.samples] or [name]


@dataclass
class _Tally:
    """What is counted while the records go by."""

    effects: tuple[str, ...]
    n_samples: int
    no_effects: bool
    keep: bool
    genes: dict[str, int] = field(default_factory=dict)
    pairs: Pairs = field(default_factory=Pairs)
    words: Counter[str] = field(default_factory=Counter)
    n_variants: npt.NDArray[np.int64] = field(init=False)
    n_counted: npt.NDArray[np.int64] = field(init=False)
    kept: list[pd.DataFrame] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.n_variants = np.zeros(self.n_samples, dtype=np.int64)
        self.n_counted = np.zeros(self.n_samples, dtype=np.int64)

    def add(self, batch: Batch) -> None:
        """Count the alleles of a batch."""
        self.n_variants += batch.carried.sum(axis=1)
        gene = codes_of(batch.genes, self.genes)
        words, codes = distinct(batch.consequences)
        self.words.update(dict(zip(words, np.bincount(codes, minlength=len(words)).tolist(), strict=True)))
        rank = {effect: place for place, effect in enumerate(EFFECTS)}
        ranks = [rank[e] if (e := gravest(word)) else len(EFFECTS) for word in words]
        effect = np.array(ranks, dtype=np.int64)[codes] if words else codes
        named = (
            np.array([bool(name) for name in self.genes], dtype=bool)[gene] if len(gene) else np.zeros(0, dtype=bool)
        )
        counts = named if self.no_effects else np.isin(effect, [rank[e] for e in EFFECTS if e in self.effects])
        changes = np.zeros(batch.carried.shape[1], dtype=bool)
        changes[batch.allele_of[counts]] = True
        self.n_counted += (batch.carried & changes).sum(axis=1)
        sample, entry = np.nonzero(batch.carried[:, batch.allele_of[counts]])
        self.pairs.add(sample.astype(np.int32), gene[counts][entry])
        if self.keep:
            self._keep(batch, gene, codes, effect, words)

    def _keep(
        self,
        batch: Batch,
        gene: npt.NDArray[np.int32],
        codes: npt.NDArray[np.int64],
        effect: npt.NDArray[np.int64],
        words: list[str],
    ) -> None:
        """Keep one row for each sample, allele and gene, with its gravest consequence."""
        sample, entry = np.nonzero(batch.carried[:, batch.allele_of])
        if not len(entry):
            return
        frame = batch.table.to_pandas().iloc[batch.allele_of[entry]].reset_index(drop=True)
        frame.insert(0, "sample", sample)
        frame.insert(1, "gene", gene[entry])
        frame["classification"] = np.array(words, dtype=object)[codes[entry]]
        frame["effect"] = np.array([*EFFECTS, ""], dtype=object)[effect[entry]]
        place = ["sample", "gene", "chromosome", "start", "reference", "alternative"]
        frame = frame.assign(rank=effect[entry]).sort_values("rank", kind="stable").drop_duplicates(place)
        self.kept.append(frame.sort_index().drop(columns="rank"))

    def table(self, samples: dict[int, str], symbols: list[str]) -> pd.DataFrame:
        """Return the variants that were kept, of these samples."""
        columns = ["sample", "gene", "chromosome", "start", "reference", "alternative", "classification", "effect"]
        frame = pd.concat(self.kept, ignore_index=True) if self.kept else pd.DataFrame(columns=columns)
        frame = frame[frame["sample"].isin(list(samples))].reset_index(drop=True)
        frame["gene"] = np.array([*symbols, ""], dtype=object)[frame["gene"].to_numpy(dtype=np.int64)]
        frame.insert(0, "sample_id", frame.pop("sample").map(samples))
        return frame


def _symbols(names: list[str]) -> tuple[list[str], tuple[Finding, ...]]:
    """Return the current symbol of each gene, empty for none, and what there is to say."""
    genes = map_genes(names)
    if genes.is_mouse:
        raise DataError(str(genes.findings[0]))
    symbols = [
        str(symbol) if symbol is not None else ("" if name.upper() in NO_NAMES else name)
        for name, symbol in zip(names, genes.symbols, strict=True)
    ]
    return symbols, map_genes(name for name in names if name.upper() not in NO_NAMES).findings


def _report(records: VcfRecords, header: Header, tally: _Tally, findings: Findings) -> None:
    if not records.n_records:
        raise DataError("it has no record at all below its header.")
    if records.n_filtered:
        worst = sorted(records.filters.items(), key=lambda item: -item[1])
        findings.info(
            "filtered",
            f"{records.n_filtered} of {records.n_records} records did not pass the caller's filters and are left out.",
            [f"{word} {n}" for word, n in worst],
            records.n_filtered,
        )
    if records.n_unfiltered:
        findings.warn(
            "unfiltered", f"{records.n_unfiltered} records have no FILTER (.), and count.", (), records.n_unfiltered
        )
    if records.n_without_genotype:
        message = (
            f"{records.n_without_genotype} records have no genotype (GT); every tumour sample counts as a carrier."
        )
        findings.info("no-genotype", message, count=records.n_without_genotype)
    if not any(tally.genes):
        raise DataError(
            f"none of the {records.n_records - records.n_filtered} records that passed has a gene in "
            f"INFO/{header.annotation}; annotate it with gene symbols (`vep --symbol`)."
        )
    if records.n_without_gene:
        findings.info(
            "no-annotation",
            f"{records.n_without_gene} records have no INFO/{header.annotation}.",
            (),
            records.n_without_gene,
        )
    choice = "the picked transcript" if records.picked else "the gravest consequence over the transcripts"
    counted = Counter[str]()
    for word, n in tally.words.items():
        counted[gravest(word) or "unknown"] += n
    findings.info(
        "consequences",
        f"genes and consequences are from INFO/{header.annotation}, {choice}: "
        f"{', '.join(f'{n:,} {effect}' for effect, n in counted.most_common())}; "
        f"{' and '.join(tally.effects)} make a gene mutated.",
        [f"{word} {n}" for word, n in tally.words.most_common()],
    )
    if tally.no_effects:
        findings.warn(
            "no-consequence", "no consequence is stated, so every variant in a gene, silent ones too, makes it mutated."
        )
    elif strange := {word: n for word, n in tally.words.items() if word and gravest(word) is None}:
        findings.warn(
            "unknown-classification",
            f"{sum(strange.values())} consequences are not known and do not count.",
            [f"{word!r} {n}" for word, n in strange.items()],
        )
    if header.reference:
        findings.info("build", f"positions are on {header.reference}.")


def _recognise(seen: Glimpse) -> float:
    if seen.form != "text" or not seen.lines:
        return 0.0
    return (
        0.95
        if seen.lines[0].startswith("##fileformat=VCF")
        else 0.6
        if seen.lines[0].startswith("#CHROM\tPOS")
        else 0.0
    )


VCF = FileKind(
    "vcf",
    "Somatic variants as an annotated VCF",
    "any",
    _recognise,
    read_vcf,
    options=("sample", "effects", "genes", "min_samples", "samples", "variants", "strict"),
)
