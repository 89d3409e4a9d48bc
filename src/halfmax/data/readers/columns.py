"""Which column of a user's table is which: the names that people give to samples, drugs and responses."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from difflib import get_close_matches

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from halfmax.data.findings import Findings
from halfmax.data.tables import Table, plain_name
from halfmax.errors import DataError, did_you_mean, examples

#: Names of columns, the surest first; capitals, blanks and signs do not matter.
SAMPLE = (
    "sample_id", "sample", "cell_line", "cell_line_name", "cell_line_id", "cell", "cell_id", "cell_name", "model_id",
    "depmap_id", "sanger_model_id", "ccle_cell_line_name", "ccle_name", "ccle_id", "cosmic_id", "cosmic_sample_id",
    "cosmic_identifier", "sample_name", "model", "line", "patient_id", "patient", "tumor", "tumour",
)  # fmt: skip
DRUG = (
    "drug_id", "drug", "drug_name", "compound", "compound_name", "compound_id", "treatment", "inhibitor", "agent",
    "cpd_name", "broad_id", "broad_cpd_id", "perturbation", "pert_name", "chemical", "name",
)  # fmt: skip
SMILES = ("smiles", "canonical_smiles", "isomeric_smiles", "cpd_smiles", "structure")
VALUE = ("value", "y", "response", "drug_response", "sensitivity", "label", "target_value")
#: What a dataset calls a column, and what tables call it.
SAMPLE_COLUMNS = {
    "tissue": ("tissue", "gdsc_tissue_descriptor_1", "gdsc_desc1", "oncotree_lineage", "lineage", "site_primary",
               "primary_site", "ccle_primary_site", "tissue_type", "organ"),
    "cancer_type": ("cancer_type", "cancer_type_matching_tcga_label", "tcga_desc", "tcga_classification", "tcga_code",
                    "oncotree_code", "oncotree_primary_disease", "disease", "histology"),
}  # fmt: skip
DRUG_COLUMNS = {
    "name": ("name", "drug_name", "compound_name"),
    "targets": ("targets", "target", "putative_target", "gene_symbol_of_protein_target"),
    "pathway": ("pathway", "pathway_name", "target_pathway", "moa"),
}

_LONG = " One row holds one pair or drug: a table of samples × drugs must be made long first."
_NOT_TEXT = ("", "nan", "NaN", "NA", "N/A", "#N/A", "null", "None")


def pick(
    table: Table,
    what: str,
    names: Sequence[str],
    given: str | None,
    findings: Findings,
    wanted: Collection[str] = (),
) -> int:
    """Return the position of the column that is `what`.

    Parameters
    ----------
    table
        The table.
    what
        Word for messages: sample, drug, value.
    names
        Names to look for, the surest first.
    given
        Exact name that the user gave, which alone counts.
    findings
        Told which of several columns was taken.
    wanted
        Ids that other tables use: of several columns, the one that holds most of them is taken.

    Raises
    ------
    DataError
        If no column, or more than one of the same name, fits.
    """
    if given is not None:
        exact = [i for i, name in enumerate(table.columns) if name == given.strip()] or table.find(given)
        if len(exact) != 1:
            raise DataError(
                f"it has {len(exact)} columns {given!r} for the {what}.{did_you_mean(given, table.columns)} "
                f"Its columns: {examples(table.columns, 12)}."
            )
        return exact[0]
    found = table.find(*names)
    if not found:
        raise DataError(
            f"none of its columns {examples(table.columns, 12)} is known as the {what}; rename one to {names[0]!r}, or "
            f"say which it is.{_closest(table.columns, names)}{_LONG if what == 'drug' else ''}"
        )
    if wanted and len(found) > 1:
        ids_wanted = set(wanted)
        hits = {i: len(ids_wanted.intersection(table.text(i))) for i in found}
        found.sort(key=lambda i: -hits[i])
    same = [i for i in found if plain_name(table.columns[i]) == plain_name(table.columns[found[0]])]
    if len(same) > 1:
        raise DataError(f"it has {len(same)} columns {table.columns[found[0]]!r}; say which one is the {what}.")
    if len(found) > 1:
        others = [table.columns[i] for i in found[1:]]
        findings.info(
            "column-choice", f"the column {table.columns[found[0]]!r} is read as the {what}, not these.", others
        )
    return found[0]


def rows_with_id(table: Table, column: int, what: str, findings: Findings) -> Table:
    """Return the table without rows that have no id, such as a spreadsheet's row of totals."""
    has = np.array([text not in _NOT_TEXT for text in table.text(column)], dtype=bool)
    if has.all() or not has.any():
        return table
    rows = [f"row {table.row_of(int(i))}" for i in np.flatnonzero(~has)]
    findings.mended("rows-without-id", f"{len(rows)} rows have no {what} id and are left out.", rows)
    return replace(table, data=table.data.filter(pa.array(has)))


def ids(table: Table, column: int, what: str, findings: Findings) -> npt.NDArray[np.object_]:
    """Return a column of ids as text; refuse empty ones by row."""
    texts = table.text(column)
    empty = [table.row_of(i) for i, text in enumerate(texts) if text in _NOT_TEXT]
    if empty:
        raise DataError(
            f"{len(empty)} rows have no {what} id, e.g. rows {examples(empty)}; fill them in or remove them."
        )
    if all(re.fullmatch(r"\d+\.0", text) for text in texts):
        findings.info("ids-as-fractions", f"the {what} ids were written as fractions (123.0); read as 123.")
        texts = np.array([text[:-2] for text in texts], dtype=object)
    return texts


def attributes(
    table: Table, columns: Sequence[int], known: dict[str, tuple[str, ...]], findings: Findings
) -> dict[str, npt.NDArray[np.object_]]:
    """Return columns as text with None where empty, known ones under the dataset's own names."""
    renamed: dict[int, str] = {}
    for name, names in known.items():
        found = [i for i in table.find(*names) if i in columns and i not in renamed]
        if found:
            renamed[found[0]] = name
    told = [f"{table.columns[i]} → {name}" for i, name in renamed.items() if table.columns[i] != name]
    if told:
        findings.info("columns-renamed", f"{len(told)} columns are read under their usual names.", told)
    result: dict[str, npt.NDArray[np.object_]] = {}
    for i in columns:
        name = renamed.get(i, table.columns[i])
        if name and name not in result and (i in renamed or name not in renamed.values()):
            texts = table.text(i)
            result[name] = np.array([None if text in _NOT_TEXT else text for text in texts], dtype=object)
    return result


def _closest(columns: Sequence[str], names: Sequence[str]) -> str:
    """Return the column whose name is nearest to a usual one, as a question."""
    original = {column.lower(): column for column in columns}
    for name in names[:3]:
        if close := get_close_matches(name, list(original), n=1, cutoff=0.75):
            return f" Is it {original[close[0]]!r}?"
    return ""
