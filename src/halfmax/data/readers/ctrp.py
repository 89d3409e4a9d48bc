"""CTRP version 2: a folder of tables that name lines and compounds by number (Seashore-Ludlow 2015)."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.data.findings import Findings
from halfmax.data.readers.glimpse import Glimpse
from halfmax.data.readers.kinds import FileKind, Part, Reading
from halfmax.data.readers.screens import entity_part, ln_of, number_column, required, response_parts, text_column
from halfmax.data.tables import Table, read_table
from halfmax.errors import DataError, examples

#: The tables that are read: the end of each file's name, and the column by which another table finds its rows.
TABLES = {
    "curves": ("data.curves_post_qc.txt", ""),
    "experiments": ("meta.per_experiment.txt", "experiment_id"),
    "lines": ("meta.per_cell_line.txt", "master_ccl_id"),
    "compounds": ("meta.per_compound.txt", "master_cpd_id"),
}
_MIXTURE = re.compile(r"\d+:\d+ mol/mol")
_MEASURES = {"ctrp_auc": "ctrp_auc", "ln_ec50": "ln_ec50"}


def read_ctrp(path: Path | str, *, mixtures: bool = False, strict: bool = False) -> Reading:
    """Read the unpacked folder of ``CTRPv2.0_2015_ctd2_ExpandedDataset.zip``.

    The parts are the responses ctrp_auc and ln_ec50, the drugs (under their names) and the samples. ``ctrp_auc`` is
    the area under the curve on CTRP's own scale: the viability added up over about 16 doses, so about 16 without
    effect, and not to be set beside an area of 0 to 1.

    Parameters
    ----------
    path
        Folder with ``v20.data.curves_post_qc.txt`` and the tables that it points to.
    mixtures
        Whether to keep mixtures of two compounds; left out and counted otherwise.
    strict
        Raise DataError where something would be put right otherwise.

    Raises
    ------
    DataError
        If a table or column is not there, numbers are text, or no curve finds its line and compound.
    """
    path, findings = Path(path), Findings(strict=strict)
    if not path.is_dir():
        raise DataError(f"{path} is no folder; unpack the archive and give the folder with its tables.")
    tables = {key: read_table(_file(path, end), strict=strict) for key, (end, _) in TABLES.items()}
    for table in tables.values():
        findings.extend(table.findings)
    try:
        line, compound = _of_curves(
            tables, _entries(tables["lines"], "lines"), _entries(tables["compounds"], "compounds")
        )
        rows = np.flatnonzero(_found(tables["curves"], line, compound, findings))
        samples, drugs = _names(tables["lines"], "ccl_name")[line], _names(tables["compounds"], "cpd_name")[compound]
        rows = rows[_named(samples[rows], drugs[rows], findings)]
        if not mixtures:
            rows = rows[_single(drugs[rows], findings)]
        pairs, measures = _pairs(tables["curves"], samples, drugs, findings)
        pairs = pairs.iloc[rows].reset_index(drop=True)
        parts = response_parts(pairs, measures, findings, id_kind="name")
        entities = (
            _drugs(tables["compounds"], compound[rows], drugs[rows]),
            _samples(tables["lines"], line[rows], samples[rows]),
        )
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    return Reading("ctrp", (*parts, *entities), findings.all())


def _file(folder: Path, end: str) -> Path:
    found = sorted(p for p in folder.iterdir() if p.name.removesuffix(".gz").endswith(end))
    if len(found) != 1:
        there = examples(sorted(p.name for p in folder.iterdir()), 6)
        raise DataError(f"{folder} has {len(found)} files whose names end in {end!r}; it has {there or 'no files'}.")
    return found[0]


def _numbers_of(table: Table, column: str) -> npt.NDArray[np.float64]:
    values = number_column(table, column)
    if values is None:
        raise DataError(f"{table.path.name} has no column {column!r}; its columns: {examples(table.columns, 12)}.")
    return values


def _names(table: Table, column: str) -> npt.NDArray[np.object_]:
    return required(text_column(table, column), column, table)


def _entries(table: Table, key: str) -> pd.Series:
    """Return the row of each number by which other tables call the rows of this one."""
    numbers = _numbers_of(table, TABLES[key][1])
    if (twice := pd.Index(numbers[~np.isnan(numbers)])).has_duplicates:
        shown = [f"{n:g}" for n in twice[twice.duplicated()].unique()]
        raise DataError(f"{table.path.name}: {len(shown)} numbers occur more than once: {examples(shown)}.")
    rows = pd.Series(np.arange(len(numbers)), index=numbers)
    return rows[~np.isnan(numbers)]


def _of_curves(
    tables: dict[str, Table], lines: pd.Series, compounds: pd.Series
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return for each curve the row of its line and of its compound; -1 where there is none."""
    frame = pd.DataFrame({
        "experiment": _numbers_of(tables["experiments"], "experiment_id"),
        "line": _numbers_of(tables["experiments"], "master_ccl_id"),
    }).dropna().drop_duplicates()  # fmt: skip
    several = frame["experiment"].duplicated(keep=False)
    if several.any():
        shown = [f"{n:g}" for n in frame.loc[several, "experiment"].unique()[:4]]
        raise DataError(
            f"{len(set(frame.loc[several, 'experiment']))} experiments have several lines: {examples(shown)}."
        )
    line_of = frame.set_index("experiment")["line"]
    number = line_of.reindex(_numbers_of(tables["curves"], "experiment_id"))
    line = lines.reindex(number.to_numpy()).fillna(-1).to_numpy(dtype=np.int64)
    compound = compounds.reindex(_numbers_of(tables["curves"], "master_cpd_id")).fillna(-1).to_numpy(dtype=np.int64)
    return line, compound


def _found(
    curves: Table, line: npt.NDArray[np.int64], compound: npt.NDArray[np.int64], findings: Findings
) -> npt.NDArray[np.bool_]:
    """Return which curves have both a line and a compound in the tables."""
    keep = np.ones(len(curves), dtype=bool)
    for rows, what in ((line, "cell line"), (compound, "compound")):
        lost = keep & (rows < 0)
        if n := int(lost.sum()):
            shown = [f"row {curves.row_of(int(row))}" for row in np.flatnonzero(lost)[:10]]
            message = f"{n:,} of {len(curves):,} curves point to no {what} of the tables and are left out."
            findings.mended(f"no-{what.replace(' ', '-')}", message, shown, n)
        keep &= ~lost
    if not keep.any():
        raise DataError(f"none of its {len(curves):,} curves points to both a cell line and a compound.")
    return keep


def _named(
    samples: npt.NDArray[np.object_], drugs: npt.NDArray[np.object_], findings: Findings
) -> npt.NDArray[np.bool_]:
    """Return which curves are of a line and a compound that have names."""
    has = np.asarray((samples != "") & (drugs != ""), dtype=bool)
    if n := int((~has).sum()):
        findings.mended("rows-without-id", f"{n:,} curves are of a line or compound without a name; left out.", count=n)
    if not has.any():
        raise DataError(f"none of its {len(has):,} curves is of a line and a compound that have names.")
    return has


def _single(drugs: npt.NDArray[np.object_], findings: Findings) -> npt.NDArray[np.bool_]:
    """Return which curves are of one compound alone."""
    mixed = pd.Series(drugs, dtype=object).str.contains(_MIXTURE, regex=True).to_numpy(dtype=bool)
    if n := int(mixed.sum()):
        shown = sorted(set(drugs[mixed]))
        message = f"{n:,} curves of {len(shown)} mixtures of compounds are left out; mixtures=True keeps them."
        findings.info("mixtures", message, shown, n)
    if mixed.all():
        raise DataError("all of its curves are of mixtures; mixtures=True keeps them.")
    return ~mixed


def _pairs(
    curves: Table, samples: npt.NDArray[np.object_], drugs: npt.NDArray[np.object_], findings: Findings
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return one row a curve, and the measures there are."""
    pairs = pd.DataFrame({"sample_id": samples, "drug_id": drugs}, dtype=object)
    if (area := number_column(curves, "area_under_curve")) is not None:
        pairs["ctrp_auc"] = area
        finite = area[np.isfinite(area)]
        if finite.size:
            span = f"{finite.min():.3g} to {finite.max():.3g}, median {np.median(finite):.3g}"
            message = f"area_under_curve runs from {span}: CTRP's own scale (about 16 without effect), not 0 to 1."
            findings.info("ctrp-auc", message)
    if (ec50 := number_column(curves, "apparent_ec50_umol")) is not None:
        pairs["ln_ec50"] = ln_of(ec50, "EC50", findings)
    if (last := number_column(curves, "pred_pv_high_conc")) is not None:
        pairs["viability_at_highest_dose"] = last
    measures = {column: name for column, name in _MEASURES.items() if column in pairs}
    if not measures:
        raise DataError(f"{curves.path.name} has no column area_under_curve; it has {examples(curves.columns, 12)}.")
    return pairs, measures


def _drugs(table: Table, rows: npt.NDArray[np.int64], names: npt.NDArray[np.object_]) -> Part:
    columns = {
        "name": ("cpd_name",),
        "smiles": ("cpd_smiles",),
        "targets": ("gene_symbol_of_protein_target",),
        "pathway": ("target_or_activity_of_compound",),
        "broad_id": ("broad_cpd_id",),
        "top_dose": ("top_test_conc_umol",),
        "status": ("cpd_status",),
        "master_cpd_id": ("master_cpd_id",),
    }
    return entity_part("drugs", names, {key: _some(table, rows, *found) for key, found in columns.items()})


def _samples(table: Table, rows: npt.NDArray[np.int64], names: npt.NDArray[np.object_]) -> Part:
    columns = {
        "name": ("ccl_name",),
        "tissue": ("ccle_primary_site",),
        "cancer_type": ("ccle_primary_hist",),
        "histology_subtype": ("ccle_hist_subtype_1",),
        "master_ccl_id": ("master_ccl_id",),
    }
    return entity_part("samples", names, {key: _some(table, rows, *found) for key, found in columns.items()})


def _some(table: Table, rows: npt.NDArray[np.int64], *names: str) -> npt.NDArray[np.object_] | None:
    column = text_column(table, *names)
    return None if column is None else column[rows]


def _recognise(seen: Glimpse) -> float:
    if seen.form not in ("folder", "zip"):
        return 0.0
    names = [name.rsplit("/", 1)[-1].removesuffix(".gz") for name in seen.members]
    there = sum(any(name.endswith(end) for name in names) for end, _ in TABLES.values())
    return 0.95 if there == len(TABLES) else 0.6 if there >= 2 else 0.0


CTRP = FileKind(
    "ctrp",
    "CTRPv2, a folder of tables",
    "CTRP",
    _recognise,
    read_ctrp,
    "CTD2 data: open, cite the network and the papers",
    ("mixtures", "strict"),
)
