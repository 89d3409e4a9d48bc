"""One dataset from any mix of files: each read as its kind, joined on one set of ids, with what was lost by cause."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from halfmax.data.dataset import MODALITIES, PAIR_COLUMNS, ResponseDataset
from halfmax.data.drug_names import DRUG_SCHEME, with_structure_keys
from halfmax.data.findings import Finding, Findings
from halfmax.data.id_kinds import Scheme
from halfmax.data.identifiers import map_genes
from halfmax.data.join import Joined
from halfmax.data.join_parts import Losses, incomplete, join_omics, join_responses, one_measure
from halfmax.data.readers.columns import DRUG_COLUMNS, SAMPLE_COLUMNS, SMILES
from halfmax.data.readers.kinds import KINDS, ROLES, Part, Reading, kind_of, read_any
from halfmax.data.readers.matrix import GENE_MODALITIES
from halfmax.data.sample_map import SAMPLE_SCHEME
from halfmax.data.storage import sha256_of
from halfmax.data.tables import plain_name
from halfmax.errors import DataError, UnknownNameError, did_you_mean, examples

#: Kind of id to the column of a dataset that shows it.
SAMPLE_ID_COLUMNS = {
    "cosmic": "cosmic_id", "ach": "depmap_id", "sidm": "sanger_id", "rrid": "rrid", "ccle_name": "ccle_name"
}  # fmt: skip
DRUG_ID_COLUMNS = {"gdsc_id": "gdsc_id", "broad_id": "broad_id", "pubchem": "pubchem_cid"}
#: What samples and drugs are described by, and what tables call it.
_SAMPLE_FACTS = {**SAMPLE_COLUMNS, "patient_id": ("patient_id", "patient")}
_DRUG_FACTS = {**DRUG_COLUMNS, "smiles": SMILES}
#: Kinds whose unit is that of the response; of all others it is that of the expression.
_RESPONSE_UNIT = ("gdsc-fitted", "table-response")
_SHOWN = 50


def build_dataset(
    files: Sequence[Path | str],
    *,
    kinds: Mapping[str, str] | None = None,
    options: Mapping[str, Mapping[str, object]] | None = None,
    name: str | None = None,
    measure: str | None = None,
    unit: str | None = None,
    expression_unit: str | None = None,
    sample_ids: str = "name",
    drug_ids: str = "name",
    same: Mapping[str, str] | None = None,
    drop_ambiguous: bool = False,
    names_from: Mapping[str, pd.DataFrame] | None = None,
) -> ResponseDataset:
    """Read files of any known kinds and join them as one dataset.

    What each file was taken for, how its ids were matched, and what was left out by cause stand in the notes:
    ``files``, ``mapping``, ``lost`` and ``findings``.

    Parameters
    ----------
    files
        Files and folders, at least one with responses. Of tables of samples or drugs that say the same, the first
        counts, and before what files of responses say.
    kinds
        File, by its path or its name, to its kind; or to a modality, for a matrix. Recognised where not given.
    options
        File, by its path or its name, to further options of its reader, such as ``{"screen": "GDSC2"}``.
    name
        Name of the dataset; the first response file's if not given.
    measure
        Which quantity of response, where the files hold several; the first file's first if not given.
    unit, expression_unit
        Units of a user's responses and expression, where the files do not prove them.
    sample_ids, drug_ids
        What becomes the id: ``name``, or a kind of id such as ``ach``, ``cosmic``, ``inchi_key``.
    same
        Ids of the files to what they are, where that is ambiguous.
    drop_ambiguous
        Leave ambiguous ids out, counted, instead of refusing them.
    names_from
        Further tables of samples, for names and ids alone.

    Raises
    ------
    DataError
        If a file is of no known kind or not usable, if there is no response, if ids are ambiguous, or if tables
        contradict each other in measure or unit.
    """
    paths = _named([Path(file) for file in files])
    readings = _read(paths, kinds or {}, options or {}, measure=measure, unit=unit, expression_unit=expression_unit)
    findings, losses = Findings(), Losses()
    for file, reading in readings.items():
        findings.extend([_of(file, finding) for finding in reading.findings])
    stated = dict(same or {})
    samples = Joined(SAMPLE_SCHEME, sample_ids, SAMPLE_ID_COLUMNS, _SAMPLE_FACTS, stated, drop_ambiguous)
    drugs = Joined(DRUG_SCHEME, drug_ids, DRUG_ID_COLUMNS, _DRUG_FACTS, stated, drop_ambiguous)
    _add_tables(readings, samples, drugs, names_from or {})
    parts = [(file, part) for file, reading in readings.items() for part in reading.parts]
    responses = [(file, part) for file, part in parts if part.role == "response"]
    if not responses:
        held = [f"{file} ({', '.join(p.role for p in r.parts) or 'nothing'})" for file, r in readings.items()]
        wells = (
            " Raw wells must be fitted first, with halfmax.data.dose_response."
            if any(part.role == "wells" for _, part in parts)
            else ""
        )
        raise DataError(f"none of the {len(held)} files holds responses: {'; '.join(held)}; give one that does.{wells}")
    chosen, responses = one_measure(responses, measure, losses)
    response = join_responses(responses, samples, drugs, findings, losses)
    matrices = [(file, part) for file, part in parts if part.role not in ROLES]
    omics, units = join_omics(matrices, samples, set(response["sample_id"]), findings, losses)
    for file, part in parts:
        if part.role in ROLES and part.role not in ("response", "samples", "drugs"):
            losses.add(file, f"a dataset of responses holds no {part.role}", len(part.frame))
    for joined in (samples, drugs):
        findings.extend([*joined.map.findings, *joined.findings])
    notes = {
        "source": "built from files",
        "files": {file: _describe(paths[file], reading) for file, reading in readings.items()},
        "licences": sorted({KINDS.get(r.kind).licence for r in readings.values()} - {""}),
        "mapping": {"samples": samples.report, "drugs": drugs.report, "genes": _gene_report(omics)},
        "lost": losses.rows,
        "incomplete": incomplete(response, omics),
        "findings": [finding.to_dict() for finding in findings.all()],
        **units,
    }
    return ResponseDataset(
        name or responses[0][0].split(".")[0],
        chosen,
        response,
        samples.table(response["sample_id"]),
        drugs.table(response["drug_id"]),
        omics,
        notes=notes,
    )


def _named(paths: Sequence[Path]) -> dict[str, Path]:
    """Return the files by their names, or by their paths where names repeat."""
    if not paths:
        raise DataError("no file is given.")
    names = [path.name for path in paths]
    named = {path.name if names.count(path.name) == 1 else str(path): path for path in paths}
    if len(named) < len(paths):
        raise DataError(f"the same file is given twice: {examples([str(p) for p in paths], 12)}.")
    return named


def _read(
    paths: Mapping[str, Path],
    kinds: Mapping[str, str],
    more: Mapping[str, Mapping[str, object]],
    *,
    measure: str | None,
    unit: str | None,
    expression_unit: str | None,
) -> dict[str, Reading]:
    given = {*paths, *map(str, paths.values())}
    if unknown := [file for file in (*kinds, *more) if file not in given]:
        raise DataError(f"kinds or options are stated for files that are not given: {examples(unknown)}.")
    readings = {}
    for file, path in paths.items():
        kind = kinds.get(file, kinds.get(str(path)))
        options: dict[str, object] = {}
        if kind in MODALITIES:
            kind, options = "table-matrix", {"modality": kind}
        kind = kind_of(path).name if kind is None else kind
        accepted = KINDS.get(kind).options
        offered = {"measure": measure, "unit": unit if kind in _RESPONSE_UNIT else expression_unit}
        options |= {key: value for key, value in offered.items() if key in accepted and value is not None}
        if kind == "table-matrix" and options.get("modality", "expression") != "expression":
            options.pop("unit", None)
        options |= _known_options(file, kind, more.get(file, more.get(str(path), {})))
        readings[file] = read_any(path, kind, **options)
    return readings


def _known_options(file: str, kind: str, options: Mapping[str, object]) -> Mapping[str, object]:
    known = KINDS.get(kind).options
    for option in options:
        if option not in known:
            raise UnknownNameError(
                f"{file}: the kind {kind} has no option {option!r}.{did_you_mean(option, known)} "
                f"It has: {', '.join(known) or 'none'}."
            )
    return options


def _add_tables(
    readings: Mapping[str, Reading], samples: Joined, drugs: Joined, names_from: Mapping[str, pd.DataFrame]
) -> None:
    """Take every table of samples and drugs, then what files of responses say of theirs, in an order of their own."""
    about_responses = {file: any(part.role == "response" for part in r.parts) for file, r in readings.items()}
    for file, reading in sorted(readings.items(), key=lambda item: about_responses[item[0]]):
        roles = [part.role for part in reading.parts]
        for part in reading.parts:
            if part.role == "samples":
                samples.add(file, _ordered(part, about_responses[file]), _kind(part, SAMPLE_SCHEME))
            elif part.role == "drugs":
                frame = with_structure_keys(_ordered(part, about_responses[file]))
                drugs.add(file, frame, _kind(part, DRUG_SCHEME))
            elif part.role == "response":
                if "samples" not in roles:
                    _add_carried(samples, file, part.frame, part.id_kind)
                if "drugs" not in roles:
                    _add_carried(drugs, file, part.frame, "name")
    for table, frame in names_from.items():
        samples.add(table, frame, SAMPLE_SCHEME.guess(map(str, frame.index), str(frame.index.name)))


def _ordered(part: Part, by_id: bool) -> pd.DataFrame:
    return part.frame.sort_index() if by_id else part.frame


def _kind(part: Part, scheme: Scheme) -> str:
    """Return what the ids of a table are, by their look where it does not say."""
    return scheme.guess(map(str, part.frame.index), f"{scheme.what}_id") if part.id_kind == "name" else part.id_kind


def _add_carried(joined: Joined, file: str, response: pd.DataFrame, id_kind: str) -> None:
    """Take the ids and names that a table of responses carries of each sample, or drug."""
    scheme, column = joined.scheme, f"{joined.scheme.what}_id"
    known = {*scheme.names, *scheme.aliases, *scheme.id_columns, "smiles"}
    carried = [c for c in response.columns if c not in (*PAIR_COLUMNS, "value") and plain_name(str(c)) in known]
    if carried:
        frame = response[[column, *carried]].groupby(column).first()
        joined.add(file, with_structure_keys(frame), id_kind)


def _of(file: str, finding: Finding) -> Finding:
    return Finding(finding.code, finding.level, f"{file}: {finding.message}", finding.examples, finding.count)


def _describe(path: Path, reading: Reading) -> dict[str, object]:
    kind = KINDS.get(reading.kind)
    told: dict[str, object] = {"kind": kind.name, "title": kind.title, "provider": kind.provider}
    if path.is_file():
        told |= {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
    return told | {"parts": [f"{part.role}: {len(part.frame):,} × {part.frame.shape[1]:,}" for part in reading.parts]}


def _gene_report(omics: Mapping[str, pd.DataFrame]) -> dict[str, object]:
    """Return how many features of each matrix are genes, and those that are not or that are unclear."""
    report: dict[str, object] = {}
    for modality, frame in omics.items():
        genes = map_genes(map(str, frame.columns))
        if modality not in GENE_MODALITIES and genes.known_share < 0.5:
            report[modality] = {"features": frame.shape[1], "genes": None}
            continue
        report[modality] = {
            "features": frame.shape[1],
            "genes": sum(symbol is not None for symbol in genes.symbols),
            "ambiguous": [[name, list(choices)] for name, choices in list(genes.ambiguous.items())[:_SHOWN]],
            "unknown": len(genes.unknown),
            "unknown_examples": list(genes.unknown[:_SHOWN]),
        }
    return report
