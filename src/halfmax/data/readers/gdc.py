"""Gene expression of the GDC: STAR count files, one or a folder of them with the sheet that names the samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.csv

from halfmax.data.barcodes import Aliquots, Kind, Which, choose_samples, id_kind_of
from halfmax.data.findings import Findings
from halfmax.data.readers.features import by_feature
from halfmax.data.readers.glimpse import Glimpse, glimpse
from halfmax.data.readers.kinds import FileKind, Part, Reading
from halfmax.data.readers.places import naming
from halfmax.data.tables import read_table
from halfmax.errors import DataError, UnknownNameError, did_you_mean, examples

#: What can be read, the column of the file that holds it, and its unit.
COLUMNS: Mapping[str, tuple[str, str]] = {
    "tpm": ("tpm_unstranded", "tpm"),
    "fpkm": ("fpkm_unstranded", "fpkm"),
    "fpkm_uq": ("fpkm_uq_unstranded", "fpkm"),
    "counts": ("unstranded", "counts"),
}
SHEET_COLUMNS = ("File Name", "Sample ID")
_FILE, _SHEET = "star_gene_counts", "gdc_sample_sheet"
_TUMOUR_WORDS = ("tumor", "tumour", "cancer", "metasta", "neoplas", "primary", "recurrent")


@dataclass(frozen=True)
class _Sample:
    path: Path
    sample_id: str
    kind: Kind = "unknown"
    patient: str | None = None
    project: str | None = None


def read_star_counts(
    path: Path | str,
    *,
    column: str = "tpm",
    sheet: Path | str | None = None,
    samples: Which = "tumour",
    aliquots: Aliquots = "one",
    strict: bool = False,
) -> Reading:
    """Read expression from STAR gene counts.

    Parameters
    ----------
    path
        One ``*.rna_seq.augmented_star_gene_counts.tsv`` (or ``.gz``), or a folder of them, or of folders of them as
        the GDC's transfer tool leaves them.
    column
        ``tpm`` (the default), ``fpkm``, ``fpkm_uq`` or ``counts``; linear, as in the file.
    sheet
        The sample sheet of the same cart; ``gdc_sample_sheet.*.tsv`` in the folder if not given.
    samples, aliquots
        See `choose_samples`.
    strict
        Raise DataError where something would be put right otherwise.

    Returns
    -------
    Reading
        ``expression`` (samples × current symbols, float32) and ``samples``.

    Raises
    ------
    DataError
        If a file is damaged, files are of different gene models, or no sample is left.
    """
    if column not in COLUMNS:
        raise UnknownNameError(f"column is one of {', '.join(COLUMNS)}, not {column!r}.{did_you_mean(column, COLUMNS)}")
    path, findings = Path(path), Findings(strict=strict)
    with naming(path):
        found = _samples_of(path, Path(sheet) if sheet is not None else None, findings)
        found = _one_file_a_sample(found, aliquots, findings)
        ids = [sample.sample_id for sample in found]
        chosen = choose_samples(
            ids,
            findings,
            samples=samples,
            aliquots=aliquots,
            kinds=[sample.kind for sample in found],
            patients=[sample.patient for sample in found],
        )
        kept = [found[row] for row in chosen.rows]
        name, unit = COLUMNS[column]
        genes, values = _matrix([sample.path for sample in kept], name, findings)
        findings.info("column-choice", f"the column {name!r} ({unit}) is read of each of {len(kept)} files.")
        frame, _ = by_feature(list(chosen.ids), genes, values, findings, genes=True)
    codes: list[str | None] = [(sample.project or "").removeprefix("TCGA-") or None for sample in kept]
    about = chosen.samples.assign(cancer_type=pd.Series(codes, index=chosen.ids, dtype=object))
    id_kind = id_kind_of(ids)
    parts = (Part("expression", frame, unit=unit, id_kind=id_kind), Part("samples", about, id_kind=id_kind))
    return Reading("gdc-star-counts", parts, findings.all())


def _samples_of(path: Path, sheet: Path | None, findings: Findings) -> list[_Sample]:
    if not path.is_dir():
        if sheet is not None:
            return _from_sheet({path.name: path}, sheet, findings)
        stem = path.name.split(".")[0]
        findings.warn("no-sheet", f"no sample sheet is given, so the sample is called {stem!r} after its file.")
        return [_Sample(path, stem)]
    try:
        inside = sorted({*path.glob("*.tsv*"), *path.glob("*/*.tsv*")})
    except OSError as error:
        raise DataError(f"it cannot be read ({error.strerror or error}).") from None
    files = {p.name: p for p in inside if _FILE in p.name}
    sheets = [p for p in inside if p.name.startswith(_SHEET)]
    if not files:
        raise DataError(f"it holds no file *{_FILE}.tsv; it holds {examples([p.name for p in inside]) or 'none'}.")
    if sheet is None and len(sheets) > 1:
        raise DataError(
            f"it holds {len(sheets)} sample sheets ({examples([p.name for p in sheets])}); say which: sheet=."
        )
    if sheet is None and not sheets:
        names = [_Sample(p, name.split(".")[0]) for name, p in files.items()]
        findings.warn(
            "no-sheet",
            f"there is no {_SHEET}.*.tsv, so {len(names)} samples are called after their files.",
            list(files),
        )
        return names
    return _from_sheet(files, sheet or sheets[0], findings)


def _from_sheet(files: Mapping[str, Path], sheet: Path, findings: Findings) -> list[_Sample]:
    """Return the samples of the files that the sheet names."""
    with naming(sheet):
        frame = read_table(sheet).frame
        frame = frame.loc[:, ~frame.columns.duplicated()]
        lacking = [name for name in SHEET_COLUMNS if name not in frame]
        if lacking:
            raise DataError(f"a sample sheet has the columns {examples(SHEET_COLUMNS)}; it lacks {examples(lacking)}.")
    rows = frame[frame["File Name"].isin(list(files))].drop_duplicates(["File Name", "Sample ID"])
    if twice := sorted(set(rows.loc[rows["File Name"].duplicated(), "File Name"])):
        raise DataError(f"{sheet}: {len(twice)} files have several samples, e.g. {examples(twice)}.")
    if not len(rows):
        raise DataError(
            f"{sheet}: none of the {len(files)} files is in it: {examples(files)}; the sheet names "
            f"{examples(frame['File Name'])}. Use the sheet of the same download."
        )
    without = sorted(set(files) - set(rows["File Name"]))
    if without:
        findings.mended("not-in-sheet", f"{len(without)} files are not in the sample sheet and are left out.", without)
    wanted = frame[frame["File Name"].str.contains(_FILE, regex=False)]
    absent = sorted(set(wanted["File Name"]) - set(files))
    if absent and len(files) > 1:
        findings.warn("not-in-folder", f"{len(absent)} files of the sample sheet are not in the folder.", absent)
    return [_sample(files[str(row["File Name"])], row) for row in rows.to_dict("records")]


def _sample(path: Path, row: Mapping[object, object]) -> _Sample:
    def cell(name: str) -> str:
        return str(row.get(name, "") or "").split(",")[0].strip()

    if not cell("Sample ID"):
        raise DataError(f"the file {path.name} has no Sample ID in the sample sheet.")
    words = (cell("Tissue Type") or cell("Sample Type")).lower()
    kind: Kind = "unknown"
    if "normal" in words:
        kind = "normal"
    elif any(word in words for word in _TUMOUR_WORDS):
        kind = "tumour"
    return _Sample(path, cell("Sample ID"), kind, cell("Case ID") or None, cell("Project ID") or None)


def _one_file_a_sample(found: list[_Sample], aliquots: Aliquots, findings: Findings) -> list[_Sample]:
    """The sheet names samples down to the vial; files of further aliquots have the same name."""
    by_id: dict[str, list[_Sample]] = {}
    for sample in sorted(found, key=lambda s: s.path.name):
        by_id.setdefault(sample.sample_id, []).append(sample)
    several = {name: group for name, group in by_id.items() if len(group) > 1}
    if not several:
        return found
    if aliquots == "all":
        return [
            replace(s, sample_id=f"{s.sample_id}.{s.path.name.split('.')[0]}") if s.sample_id in several else s
            for s in found
        ]
    left = [sample.path.name for group in several.values() for sample in group[1:]]
    findings.mended(
        "several-aliquots",
        f"{len(several)} samples have several files; the first by name is kept and {len(left)} are left out; "
        "aliquots='all' keeps them.",
        left,
    )
    return [group[0] for group in by_id.values()]


def _matrix(paths: Sequence[Path], column: str, findings: Findings) -> tuple[list[str], npt.NDArray[np.float32]]:
    """Return gene ids, and values of shape ``(n_files, n_genes)``, with the copies on Y added to their genes."""
    ids, first = _read_one(paths[0], column)
    values = np.empty((len(paths), len(first)), dtype=np.float32)
    values[0] = first
    for row, path in enumerate(paths[1:], 1):
        others, numbers = _read_one(path, column)
        if others != ids:
            raise DataError(
                f"{path.name} has other genes ({len(others):,}) than {paths[0].name} ({len(ids):,}); files of one "
                "gene model belong together: the GDC's releases differ in it."
            )
        values[row] = numbers
    is_summary = np.array([gene.startswith("N_") for gene in ids], dtype=bool)
    if is_summary.any():
        names = [gene for gene in ids if gene.startswith("N_")]
        findings.info("summary-rows", f"{len(names)} rows count reads outside genes and are left out.", names)
    genes, values = [g for g, out in zip(ids, is_summary, strict=True) if not out], values[:, ~is_summary]
    _check(values, genes, paths)
    return _without_par_y(genes, values, findings)


def _without_par_y(
    genes: list[str], values: npt.NDArray[np.float32], findings: Findings
) -> tuple[list[str], npt.NDArray[np.float32]]:
    """Add the copies of genes on the pseudo-autosomal region of Y to the same genes on X, to which reads are mapped."""
    stems = {gene: at for at, gene in enumerate(genes)}
    copies = {at: stems[gene[: -len("_PAR_Y")]] for at, gene in enumerate(genes) if gene.endswith("_PAR_Y")
              and gene[: -len("_PAR_Y")] in stems}  # fmt: skip
    if not copies:
        return genes, values
    from_, to = np.array(list(copies)), np.array(list(copies.values()))
    n_expressed = int((np.nan_to_num(values[:, from_]) > 0).any(axis=0).sum())
    values[:, to] += np.nan_to_num(values[:, from_])
    findings.info(
        "par-y",
        f"{len(copies)} genes stand once more for the pseudo-autosomal region of Y ({n_expressed} of these rows have "
        "reads); added to the gene's own row.",
        [genes[at] for at in copies],
    )
    keep = np.ones(len(genes), dtype=bool)
    keep[from_] = False
    return [gene for gene, stays in zip(genes, keep, strict=True) if stays], values[:, keep]


def _check(values: npt.NDArray[np.float32], genes: Sequence[str], paths: Sequence[Path]) -> None:
    if not len(genes):
        raise DataError("it holds no gene.")
    for wrong, what in ((np.isinf(values), "infinite"), (values < 0, "negative"), (np.isnan(values), "missing")):
        if wrong.any():
            shown = [f"{paths[row].name} × {genes[at]}" for row, at in np.argwhere(wrong)[:4]]
            raise DataError(f"{int(wrong.sum())} values are {what}: {examples(shown)}; download these files again.")


def _read_one(path: Path, column: str) -> tuple[list[str], npt.NDArray[np.float32]]:
    """Return gene ids and one column of a file; NaN in rows that count reads outside genes."""
    with naming(path):
        seen = glimpse(path)
        if seen.form == "text" and not seen.has("gene_id", column):
            raise DataError(f"it has no column gene_id or {column!r}; it has {examples(seen.columns, 9)}.")
        n_comments = next((i for i, line in enumerate(seen.lines) if not line.startswith("#")), 0)
        try:
            data = pyarrow.csv.read_csv(
                path,
                read_options=pyarrow.csv.ReadOptions(skip_rows=n_comments, use_threads=False),
                parse_options=pyarrow.csv.ParseOptions(delimiter="\t", quote_char=False),
                convert_options=pyarrow.csv.ConvertOptions(
                    include_columns=["gene_id", column],
                    column_types={"gene_id": pa.string(), column: pa.float64()},
                    null_values=[""],
                ),
            )
            return data.column("gene_id").to_pylist(), _float32(data.column(column).to_numpy())
        except (pa.ArrowException, OSError, KeyError, UnicodeDecodeError):
            return _read_slowly(path, column)  # which says the row and the reason


def _read_slowly(path: Path, column: str) -> tuple[list[str], npt.NDArray[np.float32]]:
    table = read_table(path)
    at = [table.find("gene_id"), table.find(column)]
    if not all(at):
        raise DataError(f"it has no column gene_id or {column!r}; it has {examples(table.columns, 9)}.")
    numbers = table.numbers(at[1][:1], np.float64)
    if numbers.bad:
        shown = [f"row {table.row_of(row)}: {text!r}" for row, _, text in numbers.bad]
        raise DataError(f"{int(numbers.n_bad[0])} cells of {column!r} are no numbers: {examples(shown)}.")
    return list(table.text(at[0][0])), _float32(numbers.values[:, 0])


def _float32(values: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    with np.errstate(over="ignore"):  # 1e40 becomes infinite, which is refused
        return np.asarray(values, dtype=np.float64).astype(np.float32)


def _recognise(seen: Glimpse) -> float:
    if seen.form == "folder":
        try:
            inside = any(_FILE in name for name in seen.members) or any(seen.path.glob(f"*/*{_FILE}*.tsv*"))
        except OSError:
            return 0.0
        return 0.95 if inside else 0.0
    return 0.95 if seen.has("gene_id", "unstranded", "tpm_unstranded") else 0.0


STAR_COUNTS = FileKind(
    "gdc-star-counts",
    "GDC gene expression (STAR counts), a file or a folder with its sample sheet",
    "GDC",
    _recognise,
    read_star_counts,
    licence="TCGA open tier: GDC/NIH; cite TCGA",
    options=("column", "sheet", "samples", "aliquots", "strict"),
)
