"""The records of an annotated VCF a batch at a time: who carries which allele, and what it does to which gene."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from halfmax.data.readers.maf_stream import BLOCK_BYTES, first_line, open_text
from halfmax.errors import DataError, examples

FIXED = ("CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO")
MAX_HEADER_BYTES = 1 << 24
#: INFO fields whose parts are separated by bars: Ensembl VEP, SnpEff, bcftools csq.
BARRED = ("CSQ", "ANN", "BCSQ", "vep")
GENE_FIELDS = ("GENE", "Gene", "SYMBOL", "GENE_NAME", "Gene_Name", "Gene.refGene", "Gene.refGeneWithVer",
               "Gene.knownGene", "Gene.ensGene")  # fmt: skip
EFFECT_FIELDS = ("CONSEQUENCE", "Consequence", "EFFECT", "Effect", "ExonicFunc.refGene", "ExonicFunc.refGeneWithVer",
                 "ExonicFunc.knownGene", "ExonicFunc.ensGene", "Variant_Classification", "VC")  # fmt: skip
_PARTS: Mapping[str, tuple[str, ...]] = {
    "gene": ("symbol", "gene_name", "gene"),
    "gene_id": ("gene", "gene_id"),
    "consequence": ("consequence", "annotation"),
    "allele": ("allele",),
    "allele_number": ("allele_num",),
    "pick": ("pick",),
}


@dataclass(frozen=True)
class Header:
    """What the lines before the records say.

    Parameters
    ----------
    n_lines
        Lines up to and with ``#CHROM``.
    samples
        Names of the genotype columns.
    normals
        Those that the header or their name says are the matched normal.
    annotation
        INFO field that holds gene and consequence, and the names of its parts (none for plain fields).
    """

    n_lines: int
    samples: tuple[str, ...]
    normals: frozenset[str]
    annotation: str
    parts: tuple[str, ...]
    effect_field: str = ""
    reference: str = ""


@dataclass
class Batch:
    """Alleles that passed the filters, one row an allele of a record, and one row each for what it does to a gene.

    Parameters
    ----------
    carried
        Shape ``(n_samples, n_alleles)``: whether a sample has the allele.
    allele_of
        For each annotation, the row of its allele, shape ``(n_annotations,)``.
    genes, consequences
        For each annotation.
    table
        Chromosome, position, reference, alternative of each allele.
    """

    carried: npt.NDArray[np.bool_]
    allele_of: npt.NDArray[np.int64]
    genes: pa.Array
    consequences: pa.Array
    table: pa.Table


@dataclass
class VcfRecords:
    """Iterates over the batches of a VCF; counts what is left out.

    Raises
    ------
    DataError
        If it is no VCF, or has no annotation of genes.
    """

    path: Path
    n_records: int = 0
    n_filtered: int = 0
    n_unfiltered: int = 0
    n_without_genotype: int = 0
    n_without_gene: int = 0
    picked: bool = False
    filters: dict[str, int] = field(default_factory=dict)

    def header(self) -> Header:
        """Return what the header says; raise DataError if it does not declare an annotation."""
        lines: list[str] = []
        try:
            with _reader(self.path) as file:
                size = 0
                for raw in file:
                    size += len(raw)
                    if not raw.startswith(b"#") or size > MAX_HEADER_BYTES:
                        break
                    lines.append(raw.decode("utf-8", errors="replace").rstrip("\r\n"))
                    if raw.startswith(b"#CHROM"):
                        break
        except (OSError, EOFError, zlib.error, ValueError) as error:
            raise DataError(f"it cannot be read ({error}).") from None
        if not lines or not lines[-1].startswith("#CHROM"):
            raise DataError("it is no VCF: there is no line that begins with #CHROM.")
        return _parse_header(lines)

    def batches(self, header: Header) -> Iterator[Batch]:
        """Yield what passed the filters, some thousand records at a time."""
        names = [*FIXED, *(["FORMAT", *(f"s{i}" for i in range(len(header.samples)))] if header.samples else [])]
        try:
            with pyarrow.csv.open_csv(
                open_text(self.path),
                read_options=pyarrow.csv.ReadOptions(
                    column_names=names, skip_rows=header.n_lines, block_size=BLOCK_BYTES, use_threads=False
                ),
                parse_options=pyarrow.csv.ParseOptions(delimiter="\t", quote_char=False),
                convert_options=pyarrow.csv.ConvertOptions(
                    column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
                ),
            ) as reader:
                for records in reader:
                    if (batch := self._batch(pa.table(records).combine_chunks(), header)) is not None:
                        yield batch
        except (pa.ArrowException, OSError, EOFError) as error:
            if "Empty CSV" not in str(error):
                raise DataError(f"its records cannot be read: {first_line(error)}.") from None

    def _batch(self, records: pa.Table, header: Header) -> Batch | None:
        self.n_records += records.num_rows
        passed = pc.is_in(records["FILTER"], value_set=pa.array(["PASS", ".", ""]))
        self.n_unfiltered += pc.sum(pc.invert(pc.equal(records["FILTER"].filter(passed), "PASS"))).as_py() or 0
        for word in pc.value_counts(records["FILTER"].filter(pc.invert(passed))).to_pylist():
            self.filters[word["values"]] = self.filters.get(word["values"], 0) + word["counts"]
            self.n_filtered += word["counts"]
        real = pc.invert(pc.is_in(records["ALT"], value_set=pa.array([".", "", "*", "<NON_REF>"])))
        records = records.filter(pc.and_(passed, real)).combine_chunks()
        if not records.num_rows:
            return None
        alts = pc.split_pattern(_flat(records["ALT"]), ",")
        record_of = pc.list_parent_indices(alts).to_numpy(zero_copy_only=False)
        first = np.r_[0, np.cumsum(pc.list_value_length(alts).to_numpy(zero_copy_only=False))]
        number = np.arange(len(record_of)) - first[record_of] + 1
        carried = self._carried(records, header, record_of, number)
        entries, entry_record = self._entries(records, header)
        allele_of = _allele_of(entries, entry_record, records, first)
        known = allele_of >= 0
        keep = pa.array(known)
        table = pa.table(
            {
                "chromosome": pc.take(_flat(records["CHROM"]), pa.array(record_of)),
                "start": pc.take(_flat(records["POS"]), pa.array(record_of)),
                "reference": pc.take(_flat(records["REF"]), pa.array(record_of)),
                "alternative": pc.list_flatten(alts),
            }
        )
        return Batch(
            carried, allele_of[known], entries["gene"].filter(keep), entries["consequence"].filter(keep), table
        )

    def _carried(
        self, records: pa.Table, header: Header, record_of: npt.NDArray[np.int64], number: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.bool_]:
        """Return who has which allele; without genotypes, every sample has all of them."""
        n = max(len(header.samples), 1)
        carried = np.ones((n, len(record_of)), dtype=bool)
        if not header.samples:
            return carried
        has_genotype = pc.match_substring_regex(records["FORMAT"], "^GT(:|$)").to_numpy()
        self.n_without_genotype += int((~has_genotype).sum())
        for sample in range(n):
            genotype = _flat(pc.list_element(pc.split_pattern(records[f"s{sample}"], ":", max_splits=1), 0))
            encoded = genotype.dictionary_encode()
            sets = [{int(a) for a in re.findall(r"\d{1,3}", text)} for text in encoded.dictionary.to_pylist()]
            table = np.zeros((len(sets), int(number.max()) + 1), dtype=bool)
            for row, alleles in enumerate(sets):
                table[row, [a for a in alleles if a < table.shape[1]]] = True
            found = table[encoded.indices.to_numpy()[record_of], number]
            carried[sample] = np.where(has_genotype[record_of], found, True)
        return carried

    def _entries(self, records: pa.Table, header: Header) -> tuple[dict[str, pa.Array], npt.NDArray[np.int64]]:
        """Return what the annotations say (gene, consequence, allele, …), one each, and the record of each."""
        info = _flat(records["INFO"])
        content = _info(info, header.annotation)
        self.n_without_gene += pc.sum(pc.equal(content, "")).as_py() or 0
        if not header.parts:
            effect = (
                _info(info, header.effect_field) if header.effect_field else pa.array([""] * len(info), pa.string())
            )
            genes = pc.split_pattern_regex(content, r"[,;|&]|\\x3b")
            at = pc.list_parent_indices(genes).to_numpy(zero_copy_only=False)
            nothing = pa.array([""] * len(at), pa.string())
            return {"gene": pc.list_flatten(genes), "consequence": pc.take(effect, pa.array(at)), "allele": nothing,
                    "allele_number": nothing}, at  # fmt: skip
        lists = pc.split_pattern(content, ",")
        at = pc.list_parent_indices(lists).to_numpy(zero_copy_only=False)
        told = ~pc.equal(content, "").to_numpy(zero_copy_only=False)[at]
        padded = pc.binary_join_element_wise(pc.list_flatten(lists), "|" * len(header.parts), "")
        cells = pc.split_pattern(padded, "|")
        lower = [part.lower() for part in header.parts]
        entries: dict[str, pa.Array] = {}
        for name, names in _PARTS.items():
            place = next((lower.index(word) for word in names if word in lower), None)
            column = pa.array([""] * len(at), pa.string()) if place is None else pc.list_element(cells, place)
            entries[name] = _flat(pc.utf8_trim_whitespace(column))
        entries["gene"] = pc.if_else(pc.equal(entries["gene"], ""), entries["gene_id"], entries["gene"])
        picks = pc.equal(entries["pick"], "1").to_numpy(zero_copy_only=False)
        self.picked = self.picked or bool(picks.any())
        with_pick = np.zeros(records.num_rows, dtype=bool)  # of a record with a picked annotation, that one alone
        with_pick[at[picks]] = True
        keep = told & (picks | ~with_pick[at])
        return {name: column.filter(pa.array(keep)) for name, column in entries.items()}, at[keep]


def _reader(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return cast(BinaryIO, gzip.open(path, "rb")) if packed else path.open("rb")


def _parse_header(lines: Sequence[str]) -> Header:
    columns = tuple(lines[-1][1:].split("\t"))
    if columns[: len(FIXED)] != FIXED:
        raise DataError(f"its columns are {examples(columns, 9)}; a VCF has {examples(FIXED, 8)}, separated by tabs.")
    samples = columns[len(FIXED) + 1 :]
    info: dict[str, str] = {}
    for line in lines:
        if found := re.match(r"##INFO=<ID=([^,>]+)(.*)", line):
            info[found[1]] = found[2]
    normals = {m[1] for line in lines if (m := re.match(r"##normal_sample=(\S+)", line))}
    normals |= {name for name in samples if name.upper() in ("NORMAL", "CONTROL", "GERMLINE")}
    reference = next((m[1] for line in lines if (m := re.match(r"##reference=(\S+)", line))), "")
    for name in BARRED:
        if name in info:
            parts = _parts(info[name])
            if parts:
                return Header(len(lines), samples, frozenset(normals), name, parts, reference=reference)
    gene = next((name for name in GENE_FIELDS if name in info), None)
    if gene is None:
        raise DataError(
            "its variants are not annotated with genes: none of the INFO fields CSQ (Ensembl VEP), ANN (SnpEff), BCSQ "
            f"(bcftools csq) or {GENE_FIELDS[0]} is declared; it has {examples(info, 6) or 'no INFO field'}. "
            "Annotate it first, e.g. with `vep --vcf --symbol --pick` or `snpEff ann`."
        )
    effect = next((name for name in EFFECT_FIELDS if name in info), "")
    return Header(len(lines), samples, frozenset(normals), gene, (), effect, reference)


def _parts(declared: str) -> tuple[str, ...]:
    """Return the names of the parts that an INFO line describes; empty if they do not hold gene and consequence."""
    found = re.search(r"(?:Format:|annotations:)\s*'?\"?([^\"'>]+)", declared)
    parts = tuple(part.strip(" []*'\"") for part in found[1].split("|")) if found else ()
    lower = {part.lower() for part in parts}
    return parts if all(lower & set(_PARTS[name]) for name in ("gene", "consequence")) else ()


def _info(info: pa.Array, name: str) -> pa.Array:
    """Return one field of the INFO column; empty where it is not there."""
    found = pc.extract_regex(info, f"(?:^|;){re.escape(name)}=(?P<v>[^;]*)")
    return pc.fill_null(pc.struct_field(found, "v"), "")


def _flat(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _allele_of(
    entries: Mapping[str, pa.Array], record: npt.NDArray[np.int64], records: pa.Table, first: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return the row of the allele that each annotation speaks of; -1 where it names none of the record's alleles."""
    n_alleles = np.diff(first)
    at = first[record].astype(np.int64)
    several = np.flatnonzero(n_alleles[record] > 1)  # the common record has one alternative
    if not len(several):
        return at
    refs, alts = records["REF"], records["ALT"]
    named, numbered = entries["allele"], entries["allele_number"]
    for entry in several:
        row = int(record[entry])
        number = numbered[int(entry)].as_py()
        if number.isdecimal() and 1 <= int(number[:3]) <= n_alleles[row]:
            at[entry] += int(number[:3]) - 1
            continue
        allele = named[int(entry)].as_py().split("-")[0] or named[int(entry)].as_py()
        if not allele:  # a plain gene field speaks of the whole record: of its first alternative
            continue
        names = _names_of(refs[row].as_py(), alts[row].as_py().split(","))
        at[entry] = at[entry] + names[allele] if allele in names else -1
    return at


def _names_of(ref: str, alts: Sequence[str]) -> dict[str, int]:
    """Return how VEP (first base cut off where all share it and lengths differ) and SnpEff call each alternative."""
    names = {alt: i for i, alt in enumerate(alts)}
    if any(len(alt) != len(ref) for alt in alts) and all(alt[:1] == ref[:1] for alt in alts):
        names |= {alt[1:] or "-": i for i, alt in enumerate(alts) if (alt[1:] or "-") not in names}
    return names
