"""Any user's own tables as a dataset: responses, samples, drugs and omics, with everything that was done said."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from halfmax.data.dataset import Measure, ResponseDataset
from halfmax.data.findings import Finding, Findings
from halfmax.data.readers.entities import drugs_table, read_drugs, read_samples, samples_table
from halfmax.data.readers.matrix import OmicsTable, Orientation, read_omics
from halfmax.data.readers.responses import ResponseTable, read_response
from halfmax.data.storage import sha256_of
from halfmax.data.tables import plain_name
from halfmax.errors import DataError, did_you_mean, examples

__all__ = [
    "OmicsTable",
    "Orientation",
    "ResponseTable",
    "read_dataset",
    "read_drugs",
    "read_omics",
    "read_response",
    "read_samples",
]


def read_dataset(
    response: Path | str,
    *,
    expression: Path | str | None = None,
    mutation: Path | str | None = None,
    copy_number: Path | str | None = None,
    methylation: Path | str | None = None,
    proteomics: Path | str | None = None,
    metabolomics: Path | str | None = None,
    samples: Path | str | None = None,
    drugs: Path | str | None = None,
    name: str | None = None,
    measure: str | Measure | None = None,
    unit: str | None = None,
    expression_unit: str | None = None,
    columns: Mapping[str, str] | None = None,
    strict: bool = False,
) -> ResponseDataset:
    """Read a user's tables as one dataset.

    Expression is put on a log2 scale, unless it is z-scores. What was found goes into ``notes["findings"]``.

    Parameters
    ----------
    response
        Responses, one row a pair.
    expression, mutation, copy_number, methylation, proteomics, metabolomics
        Matrices of samples and features, either way round.
    samples, drugs
        Tables of what is known about them; SMILES among the latter.
    name
        Name of the dataset; the response file's if not given.
    measure, unit
        What the responses are; see `read_response`.
    expression_unit
        Unit of the expression; detected if not given.
    columns
        ``sample``, ``drug`` and ``value`` to the names of these columns in the response table.
    strict
        Raise DataError where something would be put right otherwise.

    Raises
    ------
    DataError
        If a table cannot be read, or no sample of a matrix has a response.
    """
    read = read_response(response, measure=measure, unit=unit, strict=strict, **dict(columns or {}))
    findings = Findings(strict=strict, items=list(read.findings))
    sample_ids, drug_ids = (list(dict.fromkeys(read.frame[c])) for c in ("sample_id", "drug_id"))
    about = _complete(
        samples, sample_ids, "sample", findings, lambda p: samples_table(p, strict=strict, wanted=sample_ids)
    )
    agents = _complete(drugs, drug_ids, "drug", findings, lambda p: drugs_table(p, strict=strict, wanted=drug_ids))
    paths = {
        "expression": expression,
        "mutation": mutation,
        "copy_number": copy_number,
        "methylation": methylation,
        "proteomics": proteomics,
        "metabolomics": metabolomics,
    }
    given = {modality: Path(path) for modality, path in paths.items() if path is not None}
    omics, units = {}, {}
    for modality, path in given.items():
        wanted = expression_unit if modality == "expression" else None
        table = read_omics(path, modality, unit=wanted, sample_ids=sample_ids, strict=strict)
        findings.extend(table.findings)
        omics[modality] = table.frame
        if table.unit is not None:
            omics[modality], done = _logged(table, path)
            findings.extend([done])
            units = {"expression_unit": table.unit.unit}
        _overlap(omics[modality].index, sample_ids, modality, findings)
    files = {"response": Path(response), **given}
    files |= {key: Path(path) for key, path in (("samples", samples), ("drugs", drugs)) if path is not None}
    notes = {
        "source": "user tables",
        "files": {key: {"name": path.name, "sha256": sha256_of(path)} for key, path in files.items()},
        "findings": [finding.to_dict() for finding in findings.all()],
        **units,
    }
    return ResponseDataset(
        name or Path(response).name.split(".")[0], read.measure, read.frame, about, agents, omics, notes=notes
    )


def _complete(
    path: Path | str | None,
    wanted: list[str],
    what: str,
    findings: Findings,
    read: Callable[[Path | str], tuple[pd.DataFrame, Findings]],
) -> pd.DataFrame:
    """Return the table of samples or drugs with a row for every id of the responses."""
    index = pd.Index(wanted, name=f"{what}_id", dtype=object)
    if path is None:
        return pd.DataFrame(index=index)
    frame, found = read(path)
    findings.extend(found.all())
    _overlap(frame.index, wanted, f"{what} table", findings)
    lacking = index.difference(frame.index, sort=False)
    return frame.reindex(frame.index.append(lacking).rename(f"{what}_id")) if len(lacking) else frame


def _overlap(have: pd.Index, wanted: Sequence[str], where: str, findings: Findings) -> None:
    """Report ids of the responses that another table lacks, with the names it has that are close."""
    there = set(have)
    lacking = [name for name in wanted if name not in there]
    if not lacking:
        return
    by_letters = {plain_name(str(name)): str(name) for name in have}
    close = [f"{name} ({by_letters[plain_name(name)]})" for name in lacking if plain_name(name) in by_letters]
    message = f"{len(lacking)} of {len(wanted)} ids of the responses are not in the {where}."
    if close:
        message += f" {len(close)} differ in capitals and signs only, perhaps the same: {examples(close)}."
    if len(lacking) == len(wanted):
        hint = did_you_mean(lacking[0], by_letters.values())
        raise DataError(
            f"{message}{hint} Responses: {examples(wanted)}; {where}: {examples(have)}. They must use the same ids; "
            "columns= says which columns of the responses hold them."
        )
    findings.warn("unmatched-ids", message, lacking)


def _logged(table: OmicsTable, path: Path) -> tuple[pd.DataFrame, Finding]:
    try:
        return table.logged()
    except DataError as error:
        raise DataError(f"{path}: {error} In read_dataset it is expression_unit=.") from None
