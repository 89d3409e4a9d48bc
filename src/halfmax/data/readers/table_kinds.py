"""Any user's own tables as kinds of files: responses, samples, drugs, and matrices of samples and features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from halfmax.data.dataset import MODALITIES, Measure
from halfmax.data.drug_names import DRUG_SCHEME
from halfmax.data.findings import Findings
from halfmax.data.id_kinds import Scheme
from halfmax.data.identifiers import map_genes
from halfmax.data.readers.columns import DRUG, DRUG_COLUMNS, SAMPLE, SAMPLE_COLUMNS, SMILES, VALUE
from halfmax.data.readers.entities import drugs_table, samples_table
from halfmax.data.readers.glimpse import Glimpse, glimpse
from halfmax.data.readers.kinds import FileKind, Part, Reading
from halfmax.data.readers.matrix import GENE_MODALITIES, Orientation, read_omics
from halfmax.data.readers.responses import read_response
from halfmax.data.sample_map import SAMPLE_SCHEME
from halfmax.data.tables import plain_name, read_table
from halfmax.data.units import TO_LOG2
from halfmax.errors import DataError, examples

#: Just enough to be read without being told; every provider's own kind is surer.
_SURE_RESPONSE, _SURE_ENTITIES, _SURE_MATRIX = 0.56, 0.53, 0.51
_WORDS = ("true", "false")
_GENES_OF_HEAD, _NUMBERS_OF_HEAD, _MOST, _FEW, _WIDE = 0.3, 0.8, 0.5, 5, 60
_FIELDS = frozenset(
    plain_name(n) for known in (SAMPLE_COLUMNS, DRUG_COLUMNS) for names in known.values() for n in names
)

_VALUES = frozenset(("auc", "aac", *map(plain_name, VALUE)))


def _first(seen: Glimpse, names: Sequence[str]) -> str | None:
    """Return the column that is the first of these names that the file has."""
    return next((seen.named[plain] for plain in map(plain_name, names) if plain in seen.named), None)


def _is_response(seen: Glimpse) -> float:
    values = [c for c in seen.plain if "c50" in c or c in _VALUES]
    drug = _first(seen, DRUG[:-1])
    return _SURE_RESPONSE if values and drug and _first(seen, SAMPLE) else 0.0


def _is_drugs(seen: Glimpse) -> float:
    facts = [*SMILES, *(name for names in DRUG_COLUMNS.values() for name in names if name != "name"), "pubchem"]
    if _is_response(seen) or _first(seen, SAMPLE) or not _first(seen, (*DRUG, "compound name")):
        return 0.0
    there = {seen.named[c] for c in {*map(plain_name, facts), *DRUG_SCHEME.aliases} & seen.plain}
    return _SURE_ENTITIES if there - {_first(seen, DRUG)} else 0.0


def _is_samples(seen: Glimpse) -> float:
    column = _first(seen, SAMPLE)
    if column is None or _is_response(seen) or (_first(seen, DRUG[:-1]) is not None):
        return 0.0
    facts = {name for names in SAMPLE_COLUMNS.values() for name in names}
    ids = SAMPLE_SCHEME.id_columns
    others = [c for c in seen.plain if c != plain_name(column)]
    at = seen.columns.index(column)
    texts = [row[at] for row in seen.rows[1:] if len(row) > at and row[at]]
    if len(set(texts)) < len(texts) or (len(others) > _WIDE and _numbers_share(seen) >= _NUMBERS_OF_HEAD):
        return 0.0
    return _SURE_ENTITIES if any(c in ids or c in set(map(plain_name, facts)) for c in others) else 0.0


def _is_matrix(seen: Glimpse) -> float:
    """Say whether names of genes stand along one side, or nearly all else is numbers."""
    if seen.form not in ("text", "parquet", "workbook") or not seen.rows:
        return 0.0
    if _is_response(seen) or _is_samples(seen) or _is_drugs(seen) or seen.has("Hugo_Symbol", "Variant_Classification"):
        return 0.0
    header, numbers = [c for c in seen.columns[1:400] if c], _numbers_share(seen)
    if numbers <= 0.5:
        return 0.0
    if len(header) >= _FEW and map_genes(header).known_share >= _GENES_OF_HEAD:
        return _SURE_MATRIX
    rows = [row for row in seen.rows[1:] if len(row) > 1]
    first = [row[0] for row in rows if row[0]]
    if len(first) >= _FEW and map_genes(first).known_share >= _GENES_OF_HEAD:
        return _SURE_MATRIX
    return _SURE_MATRIX if rows and numbers >= _NUMBERS_OF_HEAD and len(header) >= _FEW else 0.0


def _numbers_share(seen: Glimpse) -> float:
    """Return the share of the cells beside the first column that are numbers; 1 where no row is seen (Parquet)."""
    cells = [cell.strip() for row in seen.rows[1:11] for cell in row[1:400] if cell.strip()]
    return sum(map(_is_number, cells)) / len(cells) if cells else 1.0


def _is_number(cell: str) -> bool:
    try:
        float(cell.replace(",", "."))
    except ValueError:
        return cell.lower() in _WORDS
    return True


def _read_response(path: Path, measure: str | Measure | None = None, unit: str | None = None) -> Reading:
    table = read_response(path, measure=measure, unit=unit)
    seen = glimpse(path)
    sample, drug = _first(seen, SAMPLE) or "", _first(seen, DRUG) or ""
    kind = SAMPLE_SCHEME.guess(table.frame["sample_id"].unique(), sample)
    parts = [Part("response", table.frame, table.measure, table.unit.unit, kind)]
    parts += _facts(path, seen, "samples", sample, SAMPLE_SCHEME, SAMPLE_COLUMNS, kind)
    parts += _facts(path, seen, "drugs", drug, DRUG_SCHEME, {**DRUG_COLUMNS, "smiles": SMILES}, "name")
    return Reading("table-response", tuple(parts), table.findings)


def _facts(
    path: Path, seen: Glimpse, role: str, column: str, scheme: Scheme, known: dict[str, tuple[str, ...]], kind: str
) -> list[Part]:
    """Return what a table of responses says of its samples, or drugs, beside their ids."""
    names = {plain_name(n): name for name, names in known.items() for n in names}
    ids = {*scheme.names, *scheme.aliases, *scheme.id_columns}
    chosen = [c for c in seen.columns if c != column and plain_name(c) in names.keys() | ids]
    if not chosen or (role == "samples" and set(chosen) <= set(filter(None, [_first(seen, DRUG)]))):
        return []
    table = read_table(path)
    at = {" ".join(c.split()): i for i, c in reversed(list(enumerate(table.columns)))}
    index = pd.Index(table.text(at[column]), name=f"{scheme.what}_id", dtype=object)
    columns = {names.get(plain_name(c), c): table.text(at[c]) for c in chosen}
    frame = pd.DataFrame(columns, index=index).replace("", None)
    return [Part(role, frame.groupby(level=0, sort=False).first(), id_kind=kind)]


def _read_samples(path: Path) -> Reading:
    frame, findings = samples_table(path)
    kind = SAMPLE_SCHEME.guess(frame.index, _first(glimpse(path), SAMPLE) or "")
    return Reading("table-samples", (Part("samples", frame, id_kind=kind),), findings.all())


def _read_drugs(path: Path) -> Reading:
    frame, findings = drugs_table(path)
    kind = DRUG_SCHEME.guess(frame.index, _first(glimpse(path), DRUG) or "")
    return Reading("table-drugs", (Part("drugs", frame, id_kind=kind),), findings.all())


def _read_matrix(
    path: Path, modality: str | None = None, unit: str | None = None, orientation: Orientation | None = None
) -> Reading:
    """Read a matrix; which genes' modality it is, the values say, and other modalities must be stated.

    Expression is put on a log2 scale, unless it is z-scores.
    """
    booleans = any(cell.strip().lower() in _WORDS for row in glimpse(path).rows[1:] for cell in row[1:50])
    told = modality or ("mutation" if booleans else "expression")
    try:
        table = read_omics(path, told, unit=unit, orientation=orientation)
    except DataError as error:
        if modality is None and "named by genes" in str(error).replace("\n", " "):
            others = ", ".join(m for m in MODALITIES if m not in GENE_MODALITIES)
            raise DataError(f"{error} Of another modality ({others}), say which (kind=).") from None
        raise
    if modality is None and table.genes is not None and table.genes.known_share < _MOST:
        known = sum(symbol is not None for symbol in table.genes.symbols)
        raise DataError(
            f"{path}: it is a matrix, but only {known} of its {len(table.genes.names)} features are genes "
            f"(others: {examples(table.genes.unknown)}). Say what it is (kind=, --kind): {', '.join(MODALITIES)}."
        )
    findings = Findings(items=list(table.findings))
    frame, modality = table.frame, modality or (told if unit else _modality(table.frame.to_numpy(), told))
    if modality != told:
        findings.items = [f for f in findings.items if f.code != "unit"]
        findings.info("modality", f"read as {modality}, from its values: {_SEEN[modality]}.")
    unit_read = None
    if modality == "expression" and table.unit is not None:
        unit_read = table.unit.unit
        if table.unit.is_known:
            frame, done = table.logged()
            findings.extend([done])
            unit_read = "log2" if unit_read in TO_LOG2 else unit_read
    column = "" if table.orientation == "features_by_samples" else (glimpse(path).columns or ("",))[0]
    kind = SAMPLE_SCHEME.guess(frame.index, column)
    return Reading("table-matrix", (Part(modality, frame, unit=unit_read, id_kind=kind),), findings.all())


_SEEN = {"mutation": "all are 0 or 1", "copy_number": "all are whole, from -2 to 2"}


def _modality(values: np.ndarray, told: str) -> str:
    finite = values[np.isfinite(values)]
    if not finite.size or told != "expression" or (finite[:1000] % 1 != 0).any() or (finite % 1 != 0).any():
        return told
    low, high = finite.min(), finite.max()
    return "mutation" if low >= 0 and high <= 1 else "copy_number" if low >= -2 and high <= 2 else told


_TERMS = "your own"
RESPONSE = FileKind(
    "table-response",
    "table of responses, one row a pair",
    "any",
    _is_response,
    _read_response,
    _TERMS,
    ("measure", "unit"),
)
SAMPLES = FileKind("table-samples", "table of samples", "any", _is_samples, _read_samples, _TERMS)
DRUGS = FileKind("table-drugs", "table of drugs", "any", _is_drugs, _read_drugs, _TERMS)
MATRIX = FileKind(
    "table-matrix", "matrix of samples and features", "any", _is_matrix, _read_matrix, _TERMS,
    ("modality", "unit", "orientation"),
)  # fmt: skip
