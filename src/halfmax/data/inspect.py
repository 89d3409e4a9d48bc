"""What a file is: kind, units with the evidence, orientation, genes that match, what is wrong and what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from halfmax.data.dataset import MODALITIES
from halfmax.data.findings import Finding
from halfmax.data.identifiers import map_genes
from halfmax.data.readers.glimpse import glimpse
from halfmax.data.readers.kinds import KINDS, FileKind, Part, Reading, kind_of, recognise
from halfmax.data.units import EXPRESSION_UNITS, RESPONSE_UNITS
from halfmax.errors import DataError, examples

_SEEN_COLUMNS = 8
#: What a person can do about a finding.
_ADVICE: Mapping[str, str] = {
    "duplicate-genes": "Check why genes stand in several columns; they are averaged.",
    "duplicate-pairs": "Check whether repeated pairs are replicates; they are averaged.",
    "excel-dates": "Read gene columns as text in the spreadsheet, so that SEPT2 does not become a date.",
    "excel-dates-unclear": "Write the symbols of the genes that a spreadsheet made dates of.",
    "ambiguous-genes": "Use current symbols, Ensembl ids or Entrez ids for the ambiguous names.",
    "several-names": "Keep one column a gene.",
    "empty-samples": "Leave out the samples without any value.",
    "no-structure": "Add SMILES where you know them; drugs without structure cannot be predicted when unseen.",
    "unit-doubt": "Check the unit that you stated.",
}


@dataclass(frozen=True)
class Inspection:
    """What a first complete reading of a file shows.

    Parameters
    ----------
    path, form, n_bytes
        The file, its form (``text``, ``parquet``, ``workbook``, ``folder``, …) and size; None for a folder.
    columns
        Names of its first columns.
    kind, title, provider, licence
        What it was read as; empty where that is not known.
    candidates
        Kinds that it may be of, with how sure that is, 0 to 1.
    parts
        One dict a table in it: ``role``, ``n_rows``, ``n_columns``, ``ids`` (examples), ``id_kind``, and where it has
        them ``measure``, ``unit``, ``missing`` (share of the values) and ``genes``.
    findings
        What was seen and done, units and orientation with their evidence among it.
    problem
        Why it cannot be read; None where it can.
    advice
        What to do next.
    """

    path: str
    form: str
    n_bytes: int | None
    columns: tuple[str, ...]
    kind: str
    title: str
    provider: str
    licence: str
    candidates: tuple[tuple[str, float], ...]
    parts: tuple[Mapping[str, object], ...]
    findings: tuple[Finding, ...]
    problem: str | None
    advice: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON."""
        return asdict(self) | {"findings": [finding.to_dict() for finding in self.findings]}


def inspect_file(
    path: Path | str, kind: str | None = None, *, measure: str | None = None, unit: str | None = None
) -> Inspection:
    """Return what a file or folder is, after reading it whole; what is wrong with it is part of the answer.

    Parameters
    ----------
    kind
        What to read it as, or a modality for a matrix; recognised if not given.
    measure, unit
        As for `build_dataset`; a response's or an expression's unit.

    Raises
    ------
    DataError
        If it cannot be opened.
    UnknownNameError
        If there is no such kind.
    """
    path = Path(path)
    seen = glimpse(path)
    found = recognise(path)
    chosen, reading, problem = None, None, None
    options: dict[str, object] = {}
    if kind in MODALITIES:
        kind, options = "table-matrix", {"modality": kind}
    try:
        chosen = kind_of(path) if kind is None else KINDS.get(kind)
        offered = {"measure": measure, "unit": unit}
        options |= {k: v for k, v in offered.items() if v is not None and k in chosen.options}
        reading = chosen.read(path, **options)
    except DataError as error:
        problem = str(error)
    return Inspection(
        path=str(path),
        form=seen.form,
        n_bytes=path.stat().st_size if path.is_file() else None,
        columns=seen.columns[:_SEEN_COLUMNS] or seen.members[:_SEEN_COLUMNS],
        kind=chosen.name if chosen else "",
        title=chosen.title if chosen else "",
        provider=chosen.provider if chosen else "",
        licence=chosen.licence if chosen else "",
        candidates=tuple((k.name, round(sure, 2)) for sure, k in found),
        parts=tuple(_about(part) for part in reading.parts) if reading else (),
        findings=reading.findings if reading else (),
        problem=problem,
        advice=tuple(_advice(path, chosen, reading, problem)),
    )


def _about(part: Part) -> dict[str, object]:
    frame = part.frame
    about: dict[str, object] = {"role": part.role, "n_rows": len(frame), "n_columns": frame.shape[1]}
    if part.role == "response":
        about |= {column.replace("_id", "s"): int(frame[column].nunique()) for column in ("sample_id", "drug_id")}
        about |= {
            "ids": [str(i) for i in frame["sample_id"].unique()[:3]],
            "missing": float(frame["value"].isna().mean()),
        }
    else:
        about["ids"] = [str(i) for i in frame.index[:3]]
    about["id_kind"] = part.id_kind
    if part.measure is not None:
        about["measure"] = part.measure.label
    if part.unit is not None:
        about["unit"] = part.unit
        about["unit_means"] = EXPRESSION_UNITS.get(part.unit, RESPONSE_UNITS.get(part.unit, ""))
    if part.role in MODALITIES:
        about["missing"] = float(frame.isna().to_numpy().mean())
        genes = map_genes(map(str, frame.columns))
        if genes.known_share >= 0.5:
            ways = Counter(genes.how)
            known = sum(symbol is not None for symbol in genes.symbols)
            about["genes"] = {"columns": frame.shape[1], "known": known, "ambiguous": ways["ambiguous"],
                              "unknown": ways["unknown"], "unknown_examples": list(genes.unknown[:5])}  # fmt: skip
    return about


def _advice(path: Path, kind: FileKind | None, reading: Reading | None, problem: str | None) -> Sequence[str]:
    """Return what to do next, the pressing things first."""
    if reading is None:
        stated = f"halfmax data inspect {path} --kind KIND"
        choices = f"Kinds: {', '.join(KINDS.names())}; a matrix also by its modality: {', '.join(MODALITIES)}."
        first = "Put right what is said under `wrong`, and inspect it again." if kind else f"Say what it is: {stated}."
        return [first] if kind else [first, choices]
    advice = [_ADVICE[f.code] for f in reading.findings if f.code in _ADVICE]
    roles = [part.role for part in reading.parts]
    for part in reading.parts:
        if part.role == "expression" and part.unit == "unknown":
            advice.append(f"State the unit with --unit, one of {', '.join(EXPRESSION_UNITS)}.")
    if "response" in roles:
        advice.append(f"Make a dataset: halfmax data build --from {path} --from … --out FOLDER.")
    elif "expression" in roles:
        advice.append(
            f"Predict: halfmax predict PREDICTOR --expression {path}; or add it to a dataset with data build."
        )
    elif "wells" in roles:
        advice.append("Fit dose-response curves to the wells before a dataset can be made.")
    else:
        advice.append(f"Add it to a dataset: halfmax data build --from RESPONSES --from {path} --out FOLDER.")
    return list(dict.fromkeys(advice))


def summary(inspection: Inspection) -> list[tuple[str, str]]:
    """Return the rows of a table for a person: what, and what was found."""
    told = inspection
    size = f", {told.n_bytes / 1e6:,.2f} MB" if told.n_bytes is not None else ""
    rows = [("file", f"{told.path} ({told.form}{size})"), ("begins", examples(told.columns, _SEEN_COLUMNS))]
    sure = (
        "" if told.provider == "any" else next((f" ({s:.0%} sure)" for n, s in told.candidates if n == told.kind), "")
    )
    rows.append(("kind", f"{told.kind}: {told.title}{sure}" if told.kind else "not recognised"))
    if others := [f"{name} ({s:.0%})" for name, s in told.candidates if name != told.kind]:
        rows.append(("or perhaps", ", ".join(others)))
    rows += [("licence", told.licence)] if told.licence else []
    for part in told.parts:
        rows.append((str(part["role"]), _part_text(part)))
        if isinstance(genes := part.get("genes"), dict):
            rows.append(("genes", _genes_text(genes)))
    rows += [(finding.level, str(finding)) for finding in told.findings]
    rows += [("wrong", told.problem)] if told.problem else []
    return rows + [("to do", text) for text in told.advice]


def _part_text(part: Mapping[str, object]) -> str:
    text = f"{part['n_rows']:,} × {part['n_columns']:,}"
    if part["role"] == "response":
        text = f"{part['n_rows']:,} pairs of {part['samples']:,} samples and {part['drugs']:,} drugs"
    unit = part.get("measure") or part.get("unit")
    ids = part["ids"] if isinstance(part["ids"], list) else []
    missing = f"; {part['missing']:.2%} missing" if part.get("missing") else ""
    return f"{text}{f'; {unit}' if unit else ''}{missing}; ids by {part['id_kind']}, e.g. {examples(ids)}"


def _genes_text(genes: Mapping[str, object]) -> str:
    text = f"{genes['known']:,} of {genes['columns']:,} columns are genes"
    return f"{text}; {genes['ambiguous']} ambiguous, {genes['unknown']} unknown"
