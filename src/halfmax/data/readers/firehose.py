"""Gene expression of Firehose: RNAseqV2 tables with rows SYMBOL|entrez and a second header row, as log2(x + 1)."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from halfmax.data.barcodes import Aliquots, Which, choose_samples, id_kind_of, share_of_barcodes
from halfmax.data.findings import Findings
from halfmax.data.readers.features import by_feature
from halfmax.data.readers.glimpse import Glimpse
from halfmax.data.readers.kinds import FileKind, Part, Reading
from halfmax.data.readers.places import naming
from halfmax.data.tables import Table, read_table
from halfmax.errors import DataError, UnknownNameError, examples

#: Values that the second header row can name, the one to read first; a scaled estimate is TPM / 10⁶.
VALUES = ("normalized_count", "scaled_estimate", "raw_count")
_GENE = re.compile(r"[^|]+\|\d+")
_LARGEST_LOG2, _SURELY_LINEAR = 25.0, 50.0


def read_rsem(
    path: Path | str,
    *,
    value: str | None = None,
    scale: str | None = None,
    samples: Which = "tumour",
    aliquots: Aliquots = "one",
    strict: bool = False,
) -> Reading:
    """Read an RNAseqV2 table of RSEM values.

    Genes are named by their Entrez id where the table of genes knows it, so ``?|10431`` finds its symbol.

    Parameters
    ----------
    path
        ``…RSEM_genes_normalized…data.txt``, ``…RSEM_genes…data.txt``, or the same table with samples in rows.
    value
        One of `VALUES`, where the file holds several; the first that it has if not given.
    scale
        ``linear`` or ``log2``: what the values in the file are; told from the second header row or the range if not
        given.
    samples, aliquots
        See `choose_samples`.
    strict
        Raise DataError where something would be put right otherwise.

    Returns
    -------
    Reading
        ``expression`` (samples × current symbols, float32, log2(x + 1)) and ``samples``.

    Raises
    ------
    DataError
        If it is no such table, or holds text among the numbers, or negative or infinite values.
    """
    for name, given, known in (("value", value, VALUES), ("scale", scale, ("linear", "log2"))):
        if given is not None and given not in known:
            raise UnknownNameError(f"{name} is one of {', '.join(known)}, not {given!r}.")
    path, findings = Path(path), Findings(strict=strict)
    with naming(path):
        table = read_table(path, strict=strict)
        findings.extend(table.findings)
        genes, ids, values, read = _values(table, value, findings)
        values = _on_log2(values, read, scale, findings)
        _check(values, ids, genes)
        chosen = choose_samples(ids, findings, samples=samples, aliquots=aliquots)
        frame, _ = by_feature(list(chosen.ids), genes, values[chosen.rows], findings, genes=True)
    id_kind = id_kind_of(ids)
    parts = (Part("expression", frame, unit="log2", id_kind=id_kind), Part("samples", chosen.samples, id_kind=id_kind))
    return Reading("firehose-rsem", parts, findings.all())


def _values(
    table: Table, wanted: str | None, findings: Findings
) -> tuple[list[str], list[str], npt.NDArray[np.float32], str | None]:
    """Return genes, sample ids, values of shape ``(n_samples, n_genes)``, and which value the header says it is."""
    as_columns = [i for i, name in enumerate(table.columns) if _GENE.fullmatch(name)]
    if len(as_columns) > len(table.columns) / 2:
        texts = [i for i in range(len(table.columns)) if i not in set(as_columns)]
        named = [i for i in texts if share_of_barcodes(table.text(i)) > 0.5]
        if not named:
            raise DataError(f"no column of {examples([table.columns[i] for i in texts])} holds TCGA barcodes.")
        longest = max(named, key=lambda i: max(map(len, table.text(i))))
        values = _numbers(table, as_columns)
        if others := [table.columns[i] for i in texts if i != longest]:
            findings.info("annotations", f"{len(others)} columns describe the samples and are left out.", others)
        return [table.columns[i] for i in as_columns], list(table.text(longest)), values, None
    columns, read = list(range(1, len(table.columns))), None
    genes = list(table.text(0))
    if genes[0].lower() in ("gene_id", "gene"):
        kinds = {i: table.text(i)[0].lower() for i in columns}
        there = [v for v in VALUES if v in kinds.values()]
        if not there or (wanted is not None and wanted not in there):
            raise DataError(
                f"its second row names {examples(sorted(set(kinds.values())))}, not {wanted or ' or '.join(VALUES)}."
            )
        read = wanted or there[0]
        columns = [i for i in columns if kinds[i] == read]
        table = replace(table, data=table.data.slice(1), first_row=table.first_row + 1)
        genes = genes[1:]
    if sum(_GENE.fullmatch(gene) is not None for gene in genes) <= len(genes) / 2 or not columns:
        raise DataError(f"its rows are not named SYMBOL|entrez but {examples(genes)}.")
    values = np.ascontiguousarray(_numbers(table, columns).T)
    return genes, [table.columns[i] for i in columns], values, read


def _numbers(table: Table, columns: list[int]) -> npt.NDArray[np.float32]:
    numbers = table.numbers(columns, np.float32)
    if numbers.bad:
        shown = [
            f"row {table.row_of(row)}, column {table.columns[columns[at]]}: {text!r}" for row, at, text in numbers.bad
        ]
        raise DataError(f"{int(numbers.n_bad.sum())} cells are no numbers: {examples(shown)}.")
    return np.asarray(numbers.values, dtype=np.float32)


def _on_log2(
    values: npt.NDArray[np.float32], read: str | None, scale: str | None, findings: Findings
) -> npt.NDArray[np.float32]:
    high = float(np.nanmax(values)) if np.isfinite(values).any() else np.nan
    low = float(np.nanmin(values)) if np.isfinite(values).any() else np.nan
    if scale is None:
        if read is None and not (high <= _LARGEST_LOG2 or high > _SURELY_LINEAR):
            raise DataError(
                f"values run from {low:.4g} to {high:.4g}, and no second header row says what they are; state "
                "scale='linear' or scale='log2'."
            )
        scale = "linear" if read is not None or high > _SURELY_LINEAR else "log2"
    why = f"the second row says {read!r}" if read else f"values run from {low:.4g} to {high:.4g}"
    if scale == "log2":
        findings.info("unit", f"unit: log2(RSEM + 1), left as it is; {why}.")
        return values
    if negative := int((values < 0).sum()):
        raise DataError(f"{negative} values are negative, e.g. {low:.4g}; RSEM estimates never are.")
    name = {"scaled_estimate": "TPM (scaled estimate × 10⁶)", "raw_count": "RSEM raw count"}.get(
        read or "", "RSEM normalised count"
    )
    findings.info("unit", f"unit: {name}, linear, converted to log2(x + 1); {why}.")
    factor = 1e6 if read == "scaled_estimate" else 1.0
    return np.asarray(np.log2(values.astype(np.float64) * factor + 1), dtype=np.float32)


def _check(values: npt.NDArray[np.float32], ids: list[str], genes: list[str]) -> None:
    for wrong, what in ((np.isinf(values), "infinite"), (np.isnan(values), "missing")):
        if wrong.any():
            shown = [f"{ids[row]} × {genes[at]}" for row, at in np.argwhere(wrong)[:4]]
            raise DataError(f"{int(wrong.sum())} values are {what}: {examples(shown)}; download the file again.")


def _recognise(seen: Glimpse) -> float:
    if seen.form not in ("text", "parquet", "workbook") or not seen.rows:
        return 0.0
    if seen.form == "text":
        rows = seen.rows[1:]
        second = rows[0] if rows else ()
        if second and second[0].lower() == "gene_id" and set(map(str.lower, second)) & set(VALUES):
            return 0.95
        named = sum(_GENE.fullmatch(row[0]) is not None for row in rows if row)
        if named > len(rows) / 2 and share_of_barcodes(seen.columns[1:]) > 0.5:
            return 0.9
    n_genes = sum(_GENE.fullmatch(name) is not None for name in seen.columns)
    return 0.85 if n_genes > len(seen.columns) / 2 else 0.0


FIREHOSE_RSEM = FileKind(
    "firehose-rsem",
    "Firehose gene expression (RNAseqV2, RSEM)",
    "Broad GDAC Firehose",
    _recognise,
    read_rsem,
    licence="TCGA open tier: GDC/NIH; cite TCGA and the Broad Institute's GDAC",
    options=("value", "scale", "samples", "aliquots", "strict"),
)
