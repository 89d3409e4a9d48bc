"""What a sequence encoder makes of variants: how far a window of the genome moves when its allele is exchanged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.data.findings import Finding, Findings
from halfmax.data.readers.fasta import Reference
from halfmax.errors import DataError, examples
from halfmax.features.encoders import Encoder, load_encoder

#: More than this share of alleles that differ from the reference means another build of the genome.
_MOST_STRANGE = 0.1
_COLUMNS = ("sample_id", "gene", "chromosome", "start", "reference", "alternative")


@dataclass(frozen=True)
class VariantEffects:
    """Effects of variants.

    Parameters
    ----------
    table
        Samples × genes, float32: the length of the mean change of a gene's windows, 0 where a gene has no variant.
    vectors
        The mean change itself, one row a (sample, gene) with a variant, columns sample_id, gene and the encoder's.
    findings
        What was left out, with counts.
    """

    table: pd.DataFrame
    vectors: pd.DataFrame
    findings: tuple[Finding, ...]


def variant_effects(
    variants: pd.DataFrame,
    encoder: str,
    fasta: Path | str | None,
    *,
    samples: Sequence[str] | None = None,
    flank: int = 128,
    kmer: int = 0,
) -> VariantEffects:
    """Return the change of a sequence encoder's vectors by variants, pooled a gene.

    For each variant the window around it is encoded twice, with the reference's allele and with the other; the
    difference is averaged over the variants of a sample in a gene.

    Parameters
    ----------
    variants
        One row a variant and gene, as `read_maf` and `read_vcf` return with ``variants=True``: sample_id, gene,
        chromosome, start [1-based], reference, alternative (``-`` or empty = nothing).
    encoder
        Folder or hub's name of a DNABERT-like encoder.
    fasta
        The reference genome of the build that the positions are on.
    samples
        Rows of the table, all of which were sequenced; by default those that have variants.
    flank
        Bases on either side of the variant.
    kmer
        Length of the overlapping words in which DNABERT (Ji et al. 2021) reads; 0 for encoders that cut the sequence
        themselves (DNABERT-2, Zhou et al. 2023).

    Raises
    ------
    DataError
        If there is no FASTA (then this is not applicable), columns are missing, or alleles are not those of the genome.
    """
    if fasta is None:
        raise DataError(
            "not applicable: a sequence encoder reads windows of the reference genome around variants, and no FASTA "
            "file is given. Give fasta= the genome of the build that the positions are on, e.g. GRCh38.fa; a table of "
            "mutated genes alone holds no sequence."
        )
    if missing := [column for column in _COLUMNS if column not in variants]:
        raise DataError(f"the variants lack {len(missing)} columns: {examples(missing)}; read them with variants=True.")
    if flank < 1 or kmer < 0:
        raise DataError(f"flank is {flank} and kmer {kmer}; flank is at least 1, kmer at least 0.")
    findings, genome = Findings(), Reference(fasta)
    kept = _placed(variants, genome, findings)
    network = load_encoder(encoder)
    if len(kept):
        before, after = _windows(kept, genome, flank)
        change = _encoded(network, after, kmer) - _encoded(network, before, kmer)
    else:
        change = np.zeros((0, network.width), dtype=np.float32)
    columns = [f"{network.sha256[:12]}:{i}" for i in range(network.width)]
    frame = pd.DataFrame(change, columns=columns)
    keys = [kept[name].astype(str).to_numpy() for name in ("sample_id", "gene")]
    pooled = frame.groupby([pd.Series(key, name=n) for key, n in zip(keys, ("sample_id", "gene"), strict=True)]).mean()
    size = pd.Series(np.linalg.norm(pooled.to_numpy(), axis=1), index=pooled.index, dtype=np.float32)
    table = size.unstack().fillna(0.0) if len(size) else pd.DataFrame()
    rows = list(samples) if samples is not None else sorted(set(variants["sample_id"].astype(str)))
    if strangers := sorted(set(table.index) - set(rows)):
        findings.warn("other-samples", f"{len(strangers)} samples with variants are not asked for.", strangers)
    table = table.reindex(pd.Index(rows, name="sample_id"), fill_value=0.0).astype(np.float32)
    return VariantEffects(table, pooled.reset_index(), findings.all())


def _placed(variants: pd.DataFrame, genome: Reference, findings: Findings) -> pd.DataFrame:
    """Return variants spelled in bases, on chromosomes that the genome has, where it has the reference's allele."""
    table = variants.loc[variants["gene"].astype(str).str.len() > 0, list(_COLUMNS)].reset_index(drop=True)
    for column in ("reference", "alternative"):
        table[column] = table[column].astype("string").fillna("").str.upper().replace({"-": "", ".": ""})
    table["start"] = pd.to_numeric(table["start"], errors="coerce")
    spelled = table["reference"].str.fullmatch("[ACGTN]*") & table["alternative"].str.fullmatch("[ACGTN]*")
    chromosomes = {name: genome.name_of(str(name)) for name in table["chromosome"].unique()}
    there = table["chromosome"].map(chromosomes).notna() & table["start"].notna()
    for name, good in (("no-sequence", spelled), ("no-place", there)):
        if lost := int((~good).sum()):
            what = "alleles that are not spelled in bases" if name == "no-sequence" else "places that the FASTA lacks"
            shown = table.loc[~good, "chromosome"].astype(str) + ":" + table.loc[~good, "start"].astype(str)
            findings.warn(
                name, f"{lost} of {len(table)} variants have {what} and are left out.", shown.head(3).tolist(), lost
            )
    table = table[(spelled & there).to_numpy(dtype=bool)].reset_index(drop=True)
    table["start"] = table["start"].astype(np.int64)
    # an insertion in a MAF names the base before it and has no reference
    at = zip(table["chromosome"].astype(str), table["start"], table["reference"], strict=True)
    same = np.array([genome.stretch(c, s, s + len(r) - 1) == r for c, s, r in at], dtype=bool)
    if (~same).any():
        lost = int((~same).sum())
        shown = table.loc[~same, "chromosome"].astype(str) + ":" + table.loc[~same, "start"].astype(str)
        if lost > _MOST_STRANGE * len(table):
            raise DataError(
                f"the reference allele of {lost} of {len(table)} variants is not what {genome.path.name} has there, "
                f"e.g. {examples(shown)}; the positions are on another build of the genome."
            )
        findings.warn(
            "other-allele",
            f"{lost} variants differ from the FASTA's allele and are left out.",
            shown.head(3).tolist(),
            lost,
        )
    return table[same].reset_index(drop=True)


def _windows(table: pd.DataFrame, genome: Reference, flank: int) -> tuple[list[str], list[str]]:
    """Return each variant's window with the reference's allele and with the other."""
    before, after = [], []
    rows = zip(table["chromosome"].astype(str), table["start"], table["reference"], table["alternative"], strict=True)
    for chromosome, start, reference, alternative in rows:
        # without a reference allele the new bases stand after the base that is named
        first = start + 1 if not reference else start
        left = genome.stretch(chromosome, first - flank, first - 1)
        right = genome.stretch(chromosome, first + len(reference), first + len(reference) + flank - 1)
        before.append(left + reference + right)
        after.append(left + alternative + right)
    return before, after


def _encoded(network: Encoder, windows: Sequence[str], kmer: int) -> npt.NDArray[np.float32]:
    distinct = {window: i for i, window in enumerate(dict.fromkeys(windows))}
    vectors = network.embed([words(window, kmer) for window in distinct], keep=False)
    return np.asarray(vectors[[distinct[window] for window in windows]])


def words(sequence: str, kmer: int) -> str:
    """Return overlapping words of `kmer` bases with blanks between; the sequence itself for 0."""
    if kmer == 0:
        return sequence
    return " ".join(sequence[i : i + kmer] for i in range(max(len(sequence) - kmer + 1, 1)))
