"""Mutations of the Sanger cell lines: Cell Model Passports' mutations_all, and GDSC's WES_variants."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from halfmax.data.findings import Findings
from halfmax.data.identifiers import map_genes
from halfmax.data.readers import gdsc_ids as ids
from halfmax.data.readers.effects import NON_SILENT, effect_of
from halfmax.data.readers.gdsc_ids import has_any
from halfmax.data.readers.glimpse import Glimpse, glimpse
from halfmax.data.readers.kinds import FileKind, Part, Reading
from halfmax.data.readers.mutations import Pairs, codes_of, distinct, empty_cells, flag_cells, matrix_of
from halfmax.data.readers.places import naming
from halfmax.data.readers.streams import columns_of, text_batches
from halfmax.data.tables import plain_name, read_table
from halfmax.errors import DataError, UnknownNameError, did_you_mean, examples

Kept = Literal["coding", "driver", "all"]
_KEPT: Mapping[str, str] = {
    "coding": "variants that change a protein",
    "driver": "variants that the file calls cancer drivers",
    "all": "all variants",
}
#: What is read, under our names, and what the two files call it.
_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "sidm": ("model_id", "SANGER_MODEL_ID"),
    "cosmic": ("COSMIC_ID", "COSMIC ID"),
    "name": ("model_name", "SAMPLE", "CELL_LINE_NAME"),
    "gene": ("gene_symbol", "Gene", "symbol"),
    "effect": ("effect", "Classification"),
    "coding": ("coding",),
    "driver": ("cancer_driver",),
    "protein_change": ("protein_mutation", "AA"),
    "cdna_change": ("cdna_mutation", "cDNA"),
    "chromosome": ("chromosome", "chr"),
    "position": ("position",),
    "reference": ("reference",),
    "alternative": ("alternative",),
    "allele_fraction": ("vaf",),
    "source": ("source",),
    "cancer_type": ("Cancer Type",),
}
_VARIANT = ("effect", "protein_change", "cdna_change", "chromosome", "position", "reference", "alternative", "source")
_REPEATED = ("sample_id", "gene", "effect", "chromosome", "reference", "alternative", "source")


@dataclass
class _Tally:
    """What is gathered while the rows go by: memory grows with lines, genes and their pairs."""

    samples: dict[str, int] = field(default_factory=dict)
    genes: dict[str, int] = field(default_factory=dict)
    about: dict[str, dict[str, str]] = field(default_factory=lambda: {"name": {}, "cancer_type": {}, "cosmic": {}})
    effects: Counter[str] = field(default_factory=Counter)
    pairs: Pairs = field(default_factory=Pairs)
    variants: list[pa.Table] = field(default_factory=list)
    n_rows: int = 0
    n_kept: int = 0
    n_no_sample: int = 0
    n_no_gene: int = 0


def read_cmp_mutations(
    path: Path | str, *, keep: Kept = "coding", variants: bool = True, strict: bool = False
) -> Reading:
    """Read ``mutations_all_….csv`` of the Cell Model Passports, in a stream.

    Parameters
    ----------
    path
        CSV, gzip or Parquet.
    keep
        Which variants count: ``coding`` (the file's coding is true, and the effect is damaging or missense in the sense
        of `halfmax.data.readers.effects`; by the effect alone where there is no such column), ``driver`` (cancer_driver
        is true) or ``all``.
    variants
        Whether to return the variants that count one by one.
    strict
        Raise DataError where something would be put right otherwise.

    Returns
    -------
    Reading
        ``mutation``, SIDM ids × current gene symbols, float32: 1 where a variant counts, 0 for every other gene and
        line of the file; ``samples``; ``variants``, as asked for.

    Raises
    ------
    DataError
        If it lacks the columns of model or gene, a row cannot be read, or no variant counts.
    """
    return _read(Path(path), "cmp-mutations", ("sidm", "name"), keep, strict=strict, with_variants=variants)


def read_wes_variants(
    path: Path | str, *, keep: Kept = "coding", variants: bool = True, strict: bool = False
) -> Reading:
    """Read ``WES_variants.xlsx`` of GDSC, or the same as CSV; as `read_cmp_mutations`, under COSMIC ids.

    Parameters
    ----------
    path
        Workbook, CSV, gzip or Parquet.
    keep, variants, strict
        As in `read_cmp_mutations`; the file does not say which variants are drivers.
    """
    return _read(Path(path), "gdsc-wes-variants", ("cosmic", "name"), keep, strict=strict, with_variants=variants)


def _read(
    path: Path, kind: str, id_kinds: tuple[str, ...], keep: Kept, *, strict: bool, with_variants: bool
) -> Reading:
    if keep not in _KEPT:
        raise UnknownNameError(f"keep is {keep!r}.{did_you_mean(keep, _KEPT)} It can be {', '.join(_KEPT)}.")
    findings, tally = Findings(strict=strict), _Tally()
    with naming(path):
        names, batches = _open(path)
        plain = {plain_name(name): name for name in reversed(names)}
        found = {
            key: next(plain[plain_name(name)] for name in known if plain_name(name) in plain)
            for key, known in _COLUMNS.items()
            if any(plain_name(name) in plain for name in known)
        }
        id_kind = next((k for k in id_kinds if k in found), None)
        if id_kind is None or "gene" not in found:
            raise DataError(f"it has no column for the cell line or the gene; its columns: {examples(names, 20)}.")
        if keep == "driver" and "driver" not in found:
            raise DataError("it does not say which variants are drivers (cancer_driver); use keep='coding' or 'all'.")
        if keep == "coding" and "effect" not in found and "coding" not in found:
            raise DataError(
                "it says neither effect nor coding, so what changes a protein is not known; use keep='all'."
            )
        for batch in batches(list(dict.fromkeys(found.values()))):
            columns = {key: batch.column(name) for key, name in found.items()}
            _take(columns, id_kind, keep, tally, with_variants=with_variants)
        _tell(tally, keep, found, findings)
        frame, symbols = _matrix(tally, findings)
        index = frame.index
        about = {ids.ID_COLUMNS.get(k, k): [tally.about[k].get(s) for s in index] for k in tally.about if k in found}
        about.pop(ids.ID_COLUMNS[id_kind], None)
        parts = [Part("mutation", frame, id_kind=id_kind), Part("samples", pd.DataFrame(about, index), id_kind=id_kind)]
        if with_variants:
            parts.append(Part("variants", _variants(tally, symbols), id_kind=id_kind))
    return Reading(kind, tuple(parts), findings.all())


def _open(path: Path) -> tuple[tuple[str, ...], Callable[[list[str]], Iterator[pa.RecordBatch]]]:
    """Return the names of the columns, and a function that yields batches of those it is asked for."""
    if glimpse(path).form != "workbook":
        return columns_of(path), lambda wanted: text_batches(path, wanted)
    table = read_table(path)

    def whole(wanted: list[str]) -> Iterator[pa.RecordBatch]:
        texts = [pa.array(table.text(table.columns.index(name)), pa.string()) for name in wanted]
        yield pa.RecordBatch.from_arrays(texts, wanted)

    return table.columns, whole


def _take(columns: dict[str, pa.Array], id_kind: str, keep: Kept, tally: _Tally, *, with_variants: bool) -> None:
    """Count in one batch of rows."""
    tally.n_rows += len(columns["gene"])
    no_sample, no_gene = empty_cells(columns[id_kind]), empty_cells(columns["gene"])
    tally.n_no_sample += int(no_sample.sum())
    tally.n_no_gene += int((no_gene & ~no_sample).sum())
    rows = pa.array(~no_sample)
    columns = {key: column.filter(rows) for key, column in columns.items()}
    samples = codes_of(columns[id_kind], tally.samples)
    names, first = list(tally.samples), np.unique(samples, return_index=True)
    for key, known in tally.about.items():
        if key in columns:
            texts = columns[key].take(pa.array(first[1])).to_pylist()
            for sample, text in zip(first[0], texts, strict=True):
                if text not in ("", "NA"):
                    known.setdefault(names[int(sample)], text)
    counts = _counting(columns, keep, tally) & ~empty_cells(columns["gene"])
    tally.n_kept += int(counts.sum())
    kept = {key: column.filter(pa.array(counts)) for key, column in columns.items()}
    tally.pairs.add(samples[counts], codes_of(kept["gene"], tally.genes))
    if with_variants:
        tally.variants.append(_variant_rows(kept, id_kind))


def _counting(columns: Mapping[str, pa.Array], keep: Kept, tally: _Tally) -> npt.NDArray[np.bool_]:
    """Return which rows count, and count the effects of all."""
    counts = np.ones(len(columns["gene"]), dtype=bool)
    changes = counts
    if "effect" in columns:
        words, codes = distinct(columns["effect"])
        tally.effects.update(dict(zip(words, np.bincount(codes, minlength=len(words)).tolist(), strict=True)))
        changes = np.array([effect_of(word) in NON_SILENT for word in words], dtype=bool)[codes]
    if keep == "all":
        return counts
    if keep == "driver":
        return flag_cells(columns["driver"], "cancer_driver")
    return changes & flag_cells(columns["coding"], "coding") if "coding" in columns else changes


def _variant_rows(kept: Mapping[str, pa.Array], id_kind: str) -> pa.Table:
    n = len(kept["gene"])
    rows = {"sample_id": kept[id_kind], "gene": kept["gene"]}
    rows |= {key: kept.get(key, pa.nulls(n, pa.string())) for key in _VARIANT}
    rows = {key: column.dictionary_encode() if key in _REPEATED else column for key, column in rows.items()}
    fraction = kept.get("allele_fraction", pa.nulls(n, pa.string()))
    good = pc.match_substring_regex(fraction, r"^\d*\.?\d+(?:[eE][+-]?\d{1,2})?$")
    rows["allele_fraction"] = pc.cast(pc.if_else(good, fraction, pa.scalar(None, pa.string())), pa.float32())
    for key in ("coding", "driver"):
        rows[key] = pa.array(flag_cells(kept[key], key)) if key in kept else pa.nulls(n, pa.bool_())
    return pa.table(rows)


def _tell(tally: _Tally, keep: Kept, found: Mapping[str, str], findings: Findings) -> None:
    for n, what in ((tally.n_no_sample, "cell line"), (tally.n_no_gene, "gene")):
        if n:
            findings.mended("rows-without-id", f"{n:,} of {tally.n_rows:,} rows name no {what}; left out.", count=n)
    if not tally.n_kept:
        raise DataError(f"none of its {tally.n_rows:,} rows counts ({_KEPT[keep]}); keep= takes other ones.")
    rule = {
        "coding": "coding is true, the effect damaging or missense" if "coding" in found else "by their effect"
    }.get(keep)
    message = f"{tally.n_kept:,} of {tally.n_rows:,} rows are {_KEPT[keep]}{f' ({rule})' if rule else ''}; they count."
    findings.info("variants-kept", message, count=tally.n_kept)
    if tally.effects:
        shown = [f"{word or 'no effect'}: {n:,}" for word, n in tally.effects.most_common(10)]
        findings.info("effects", f"the rows have {len(tally.effects)} effects.", shown, len(tally.effects))
    strange = {word: n for word, n in tally.effects.items() if word and effect_of(word) is None}
    if strange and keep == "coding":
        findings.warn(
            "unknown-classification",
            f"{sum(strange.values()):,} rows have an effect that is not known and do not count.",
            [f"{word!r} {n}" for word, n in strange.items()],
        )
    message = "a gene without a variant of a line counts as not mutated, and a line without any row is not in the file."
    findings.info("listed-only", message)


def _matrix(tally: _Tally, findings: Findings) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return lines × genes of 0 and 1, and the current symbol of every name; names of one gene are put together."""
    mapped = map_genes(tally.genes)
    if mapped.is_mouse:
        raise DataError(str(mapped.findings[0]))
    findings.extend(mapped.findings)
    symbols = {name: symbol or name for name, symbol in zip(mapped.names, mapped.symbols, strict=True)}
    codes, genes = pd.factorize(np.array(list(symbols.values()), dtype=object))
    index = pd.Index(list(tally.samples), name="sample_id", dtype=object)
    return matrix_of(tally.pairs, np.arange(len(index)), codes, index, list(genes)), symbols


def _variants(tally: _Tally, symbols: Mapping[str, str]) -> pd.DataFrame:
    """Return the variants that count, one row each, genes under their current symbols."""
    table = pa.concat_tables(tally.variants).unify_dictionaries()
    frame: pd.DataFrame = table.to_pandas()
    names = frame["gene"].cat.categories
    codes, current = pd.factorize(np.array([symbols[name] for name in names], dtype=object))
    frame["gene"] = pd.Categorical.from_codes(codes[frame["gene"].cat.codes], pd.Index(current, dtype=object))
    return frame.dropna(axis=1, how="all")


def _recognise_cmp(seen: Glimpse) -> float:
    if not has_any(seen, _COLUMNS["gene"]) or not seen.has("model_id"):
        return 0.0
    return 0.95 if has_any(seen, _COLUMNS["protein_change"]) or seen.has("effect", "vaf") else 0.0


def _recognise_wes(seen: Glimpse) -> float:
    if not seen.has("SAMPLE", "Gene", "Classification"):
        return 0.0
    return 0.95 if has_any(seen, _COLUMNS["cosmic"]) else 0.7


CMP_MUTATIONS = FileKind(
    "cmp-mutations",
    "Cell Model Passports mutations",
    "Cell Model Passports",
    _recognise_cmp,
    read_cmp_mutations,
    "Cell Model Passports, Wellcome Sanger Institute: free for research; commercial use needs their permission",
    ("keep", "variants", "strict"),
)
WES_VARIANTS = FileKind(
    "gdsc-wes-variants",
    "GDSC variants from whole-exome sequencing",
    "GDSC",
    _recognise_wes,
    read_wes_variants,
    ids.LICENCE,
    ("keep", "variants", "strict"),
)
