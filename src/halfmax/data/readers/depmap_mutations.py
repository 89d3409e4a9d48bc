"""DepMap's list of somatic mutations, read in a stream: which genes of which models are mutated, damaged, at a hotspot.

Columns are found by name, never by place: releases differ in them and in their order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from halfmax.data.findings import Finding, Findings
from halfmax.data.identifiers import map_genes
from halfmax.data.readers.glimpse import Glimpse
from halfmax.data.readers.kinds import FileKind, Part, Reading
from halfmax.data.readers.line_ids import ACH
from halfmax.data.readers.mutations import codes_of, empty_cells, flag_cells
from halfmax.data.readers.streams import columns_of, text_batches
from halfmax.data.readers.variants import VariantTable
from halfmax.data.tables import plain_name
from halfmax.errors import DataError, examples

#: What is read of a variant, and the names that releases give to it; of several, the first that is there.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "gene": ("HugoSymbol", "Hugo_Symbol", "HgncSymbol", "gene"),
    "entrez": ("EntrezGeneID", "Entrez_Gene_Id"),
    "damaging": ("LikelyLoF", "isDeleterious", "CCLEDeleterious"),
    "hotspot": ("Hotspot", "isCOSMIChotspot"),
    "default": ("IsDefaultEntryForModel", "is_default_entry", "IsDefaultEntryForMC"),
    "consequence": ("MolecularConsequence", "VariantInfo", "Variant_Classification"),
    "protein_change": ("ProteinChange", "Protein_Change"),
    "allele_fraction": ("AF",),
}
_IDS = ("ModelID", "DepMap_ID", "Tumor_Sample_Barcode")
_ANY, _DAMAGING, _HOTSPOT = 1, 2, 4
_ROLES = {"mutation": _ANY, "mutation_damaging": _DAMAGING, "mutation_hotspot": _HOTSPOT}


@dataclass
class _Seen:
    """Which genes of which models carry what, one byte a pair, grown as models and genes turn up."""

    samples: dict[str, int] = field(default_factory=dict)
    genes: dict[str, int] = field(default_factory=dict)
    bits: npt.NDArray[np.uint8] = field(default_factory=lambda: np.zeros((64, 1024), dtype=np.uint8))

    def add(self, samples: pa.Array, genes: pa.Array, bits: npt.NDArray[np.uint8]) -> None:
        rows, columns = codes_of(samples, self.samples), codes_of(genes, self.genes)
        shape = tuple(
            max(old, 2 * new if new > old else 0)
            for old, new in zip(self.bits.shape, (len(self.samples), len(self.genes)), strict=True)
        )
        if shape != self.bits.shape:
            grown = np.zeros(shape, dtype=np.uint8)
            grown[: self.bits.shape[0], : self.bits.shape[1]] = self.bits
            self.bits = grown
        np.bitwise_or.at(self.bits, (rows, columns), bits)


def read_depmap_mutations(path: Path | str, *, variants: Path | str | None = None, strict: bool = False) -> Reading:
    """Read DepMap's somatic mutations as matrices of 0 and 1, models × genes, and as a table of variants.

    The parts are ``mutation`` (any listed variant), ``mutation_damaging`` (LikelyLoF), ``mutation_hotspot`` (Hotspot)
    and ``variants`` (sample_id, gene, consequence, protein_change, allele_fraction, damaging, hotspot). The file is
    read in a stream: memory depends on the numbers of models and genes, not on the number of rows.

    Parameters
    ----------
    path
        ``OmicsSomaticMutations.csv`` or the older ``CCLE_mutations.csv``, also gzip or Parquet.
    variants
        A Parquet file to write the table of variants to. If it is not given, the table is a part of the reading, as
        long as it has no more than `halfmax.data.readers.variants.MOST_IN_MEMORY` rows.
    strict
        Raise DataError where something would be put right otherwise.

    Raises
    ------
    DataError
        If it lacks the columns of model or gene, a row cannot be read, or a column of yes and no holds other words.
    """
    path, findings = Path(path), Findings(strict=strict)
    seen, counts = _Seen(), {"rows": 0, "not-default": 0, "no-model": 0, "no-gene": 0}
    with VariantTable(None if variants is None else Path(variants)) as table:
        try:
            found = _columns(columns_of(path), path, findings)
            for batch in text_batches(path, [*dict.fromkeys(found.values())]):
                _take({key: batch.column(name) for key, name in found.items()}, found, seen, table, counts)
            _tell(counts, found, findings)
            if not seen.samples:
                raise DataError(f"none of its {counts['rows']:,} rows names both a model and a gene.")
            parts = list(_matrices(seen, found, findings))
            frame = table.finish(path.name, findings)
        except DataError as error:
            raise DataError(str(error) if str(error).startswith(str(path)) else f"{path}: {error}") from None
    kind = parts[0].id_kind
    if frame is not None:
        parts.append(Part("variants", frame, id_kind=kind))
    return Reading("depmap-mutations", tuple(parts), findings.all())


def _columns(names: tuple[str, ...], path: Path, findings: Findings) -> dict[str, str]:
    """Return the file's name of every column that is read."""
    plain = {plain_name(name): name for name in reversed(names)}
    found = {
        key: next(plain[plain_name(name)] for name in known if plain_name(name) in plain)
        for key, known in COLUMNS.items()
        if any(plain_name(name) in plain for name in known)
    }
    ids = [plain[plain_name(name)] for name in _IDS if plain_name(name) in plain]
    if not ids or "gene" not in found:
        lacking = [what for what, has in (("ModelID", ids), ("HugoSymbol", "gene" in found)) if not has]
        raise DataError(f"it has no column {examples(lacking)}; its columns: {examples(names, 12)}.")
    if len(ids) > 1:
        findings.info("column-choice", f"the column {ids[0]!r} is read as the sample, not these.", ids[1:])
    for key, what in (("damaging", "LikelyLoF"), ("hotspot", "Hotspot")):
        if key not in found:
            findings.warn(f"no-{key}", f"it has no column {what}: there is no matrix of {key} mutations.")
    return {"sample": ids[0], **found}


def _take(
    columns: dict[str, pa.Array],
    found: Mapping[str, str],
    seen: _Seen,
    table: VariantTable,
    counts: dict[str, int],
) -> None:
    """Count in one batch of rows."""
    n_rows = len(columns["sample"])
    counts["rows"] += n_rows
    known: tuple[str, ...] = ("default", "damaging", "hotspot")
    yes = {key: flag_cells(columns[key], found[key]) for key in known if key in columns}
    keep = yes.get("default", np.ones(n_rows, dtype=bool))
    counts["not-default"] += int((~keep).sum())
    for key, name in (("sample", "no-model"), ("gene", "no-gene")):
        has = ~empty_cells(columns[key])
        counts[name] += int((keep & ~has).sum())
        keep &= has
    mask = pa.array(keep)
    columns = {key: column.filter(mask) for key, column in columns.items()}
    yes = {key: flag[keep] for key, flag in yes.items()}
    bits = np.full(int(keep.sum()), _ANY, dtype=np.uint8)
    for key, bit in (("damaging", _DAMAGING), ("hotspot", _HOTSPOT)):
        if key in yes:
            bits |= yes[key].astype(np.uint8) * np.uint8(bit)
    seen.add(columns["sample"], _labels(columns), bits)
    table.add(columns, yes)


def _labels(columns: Mapping[str, pa.Array]) -> pa.Array:
    """Return the gene of each row as ``SYMBOL (entrez)`` where the file has Entrez ids: the id is surer."""
    if "entrez" not in columns:
        return columns["gene"]
    numbers = pc.replace_substring_regex(columns["entrez"], r"\.0$", "")
    both = pc.binary_join_element_wise(columns["gene"], pc.binary_join_element_wise("(", numbers, ")", ""), " ")
    return pc.if_else(pc.match_substring_regex(numbers, r"^[1-9]\d*$"), both, columns["gene"])


def _matrices(seen: _Seen, found: Mapping[str, str], findings: Findings) -> Iterator[Part]:
    """Yield the matrices, genes that are one gene by now put together."""
    mapped = map_genes(seen.genes)
    if mapped.is_mouse:
        raise DataError(str(mapped.findings[0]))
    findings.extend(_without_composites(mapped.findings))
    plain = [label.partition(" (")[0] for label in seen.genes]
    names = [symbol or name for symbol, name in zip(mapped.symbols, plain, strict=True)]
    codes, genes = pd.factorize(np.array(names, dtype=object))
    bits = seen.bits[: len(seen.samples), : len(seen.genes)]
    if len(genes) < len(names):
        findings.info("genes-joined", f"{len(names) - len(genes)} genes are listed under several names; put together.")
        joined = np.zeros((len(bits), len(genes)), dtype=np.uint8)
        np.bitwise_or.at(joined.T, codes, bits.T)
        bits = joined
    index = pd.Index(list(seen.samples), name="sample_id", dtype=object)
    kind = "ach" if sum(ACH.fullmatch(s) is not None for s in index) >= len(index) / 2 else "name"
    for role, bit in _ROLES.items():
        if bit == _ANY or role.removeprefix("mutation_") in found:
            values = ((bits & bit) > 0).astype(np.float32)
            yield Part(role, pd.DataFrame(values, index, pd.Index(genes, dtype=object)), id_kind=kind)


def _without_composites(found: tuple[Finding, ...]) -> list[Finding]:
    """Return what there is to say about gene names; that an id stands beside a symbol is nothing to say."""
    return [finding for finding in found if finding.code != "spelling"]


def _tell(counts: Mapping[str, int], found: Mapping[str, str], findings: Findings) -> None:
    n = counts["rows"]
    if counts["not-default"]:
        message = f"{counts['not-default']:,} of {n:,} variants are of profiles that are not the default of their model"
        findings.info("default-entries", f"{message} ({found['default']}); left out.", count=counts["not-default"])
    for key, what in (("no-model", "model"), ("no-gene", "gene")):
        if counts[key]:
            message = f"{counts[key]:,} of {n:,} variants name no {what} and are left out."
            findings.mended(f"variants-without-{what}", message, count=counts[key])
    findings.info("listed-only", "a model without any listed variant is not in the file, and so in no matrix.")


def _recognise(seen: Glimpse) -> float:
    return 0.95 if seen.has("HugoSymbol") and (seen.has("ModelID") or seen.has("DepMap_ID")) else 0.0


MUTATIONS = FileKind(
    "depmap-mutations",
    "DepMap somatic mutations, one row a variant",
    "DepMap",
    _recognise,
    read_depmap_mutations,
    "DepMap releases: CC BY 4.0",
    ("variants", "strict"),
)
