"""Responses and matrices of several files on one set of ids: one measure, one row a pair, one scale a modality."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from halfmax.data.dataset import PAIR_COLUMNS, Measure
from halfmax.data.findings import Findings
from halfmax.data.join import Joined, as_text
from halfmax.data.readers.kinds import Part
from halfmax.data.tables import plain_name
from halfmax.data.units import EXPRESSION_UNITS, TO_LOG2, to_log
from halfmax.errors import DataError, did_you_mean, examples


@dataclass
class Losses:
    """What was left out, by file and cause."""

    rows: list[dict[str, object]] = field(default_factory=list)

    def add(self, file: str, cause: str, n_rows: int, ids: Iterable[object] = ()) -> None:
        """Count rows that are left out; none is no loss."""
        names = list(dict.fromkeys(map(str, ids)))
        if n_rows:
            row = {"file": file, "cause": cause, "n_rows": n_rows, "n_ids": len(names), "examples": names[:5]}
            self.rows.append(row)


def one_measure(
    responses: Sequence[tuple[str, Part]], wanted: str | None, losses: Losses
) -> tuple[Measure, list[tuple[str, Part]]]:
    """Return the measure of the dataset and the tables that hold it; the others are counted as left out.

    Raises
    ------
    DataError
        If no table holds the measure, or two mean different things by its name.
    """
    there = {part.measure.name: part.measure for _, part in reversed(responses) if part.measure is not None}
    name = wanted or next((part.measure.name for _, part in responses if part.measure is not None), None)
    if name is None or name not in there:
        hint = did_you_mean(name, there) if name else ""
        raise DataError(f"no file holds responses as {name}.{hint} They hold: {', '.join(there) or 'none'}.")
    chosen, kept = there[name], []
    for file, part in responses:
        if part.measure is None or part.measure.name != name:
            held = part.measure.name if part.measure else "no stated measure"
            losses.add(file, f"another measure than {name}: {held}", len(part.frame))
        elif part.measure != chosen:
            raise DataError(
                f"{file} holds {part.measure.label}, and another file {chosen.label}; they cannot be mixed. Give one."
            )
        else:
            kept.append((file, part))
    return chosen, kept


def join_responses(
    responses: Sequence[tuple[str, Part]], samples: Joined, drugs: Joined, findings: Findings, losses: Losses
) -> pd.DataFrame:
    """Return the responses of all files, one row a pair: sample_id, drug_id, value and what else is known of a pair.

    Repeated pairs are averaged, and counted; of what is no number the first is kept.

    Raises
    ------
    DataError
        If an id is ambiguous, or no row is left.
    """
    joined: list[pd.DataFrame] = []
    for file, part in responses:
        frame = _plain_frame(part.frame, samples, drugs)
        for column, side, kind in (("sample_id", samples, part.id_kind), ("drug_id", drugs, "name")):
            given = frame[column].astype(str)
            ids = given.map(side.ids_of(file, given.unique(), kind, new=True))
            if (lost := ids.isna()).any():
                losses.add(file, f"{side.scheme.what} id is ambiguous", int(lost.sum()), given[lost])
            frame = frame.assign(**{column: ids})[~lost]
        joined.append(frame.assign(file=file))
    rows = pd.concat(joined, ignore_index=True)
    if rows.empty:
        raise DataError(f"no response is left: {examples([row['cause'] for row in losses.rows])}.")
    pairs = list(PAIR_COLUMNS)
    if not (twice := rows.duplicated(pairs, keep=False)).any():
        return rows.drop(columns="file")
    _tell_repeats(rows[twice], findings)
    numbers = [c for c in rows if pd.api.types.is_float_dtype(rows[c].dtype)]
    how = {c: "mean" if c in numbers else "first" for c in rows.columns if c not in (*pairs, "file")}
    averaged: pd.DataFrame = rows.groupby(pairs, sort=False, as_index=False).agg(how)
    return averaged


def _plain_frame(frame: pd.DataFrame, samples: Joined, drugs: Joined) -> pd.DataFrame:
    """Return responses without the ids and names that are kept with samples and drugs; texts as text."""
    first = (*PAIR_COLUMNS, "value")
    known = {n for s in (samples.scheme, drugs.scheme) for n in (*s.id_columns, *s.names, *s.aliases)}
    plain: dict[str, pd.Series] = {column: frame[column] for column in first}
    for column in map(str, frame.columns):
        if column in plain or plain_name(column) in known or column in ("file", "smiles"):
            continue
        values = frame[column]
        if pd.api.types.is_bool_dtype(values.dtype):
            plain[column] = values.astype("boolean")
        elif pd.api.types.is_numeric_dtype(values.dtype):
            plain[column] = values.astype(np.float64)
        elif values.notna().any():
            plain[column] = as_text(values)
    return pd.DataFrame(plain).reset_index(drop=True)


def _tell_repeats(rows: pd.DataFrame, findings: Findings) -> None:
    """Say which pairs occur more than once, within a file or in several, and how well several files agree."""
    pairs = list(PAIR_COLUMNS)
    groups = rows.groupby(pairs, sort=False)["file"].nunique()
    shown = [" × ".join(pair) for pair in groups.index[:10]]
    several = int((groups > 1).sum())
    text = f"{len(groups)} pairs occur more than once ({len(rows)} rows); averaged."
    if several:
        wide = rows.groupby([*pairs, "file"])["value"].mean().unstack("file")
        a, b = (wide.iloc[:, at] for at in range(2))
        both = a.notna() & b.notna()
        r = f", Pearson r = {np.corrcoef(a[both], b[both])[0, 1]:.3f} over {int(both.sum())}" if both.sum() > 2 else ""
        text += f" {several} of them stand in several files ({examples(wide.columns)}{r}): screens differ in doses and"
        text += " assay, so build one dataset a screen unless you mean to pool them."
    findings.warn("repeated-pairs", text, shown, len(groups))


def join_omics(
    matrices: Sequence[tuple[str, Part]],
    samples: Joined,
    wanted: Collection[str],
    findings: Findings,
    losses: Losses,
) -> tuple[dict[str, pd.DataFrame], dict[str, str]]:
    """Return each modality of the samples that have responses, and the notes on units.

    Files of one modality are put under each other: features that all have, the first file's row for a sample that
    several have.

    Raises
    ------
    DataError
        If ids are ambiguous, no sample of a matrix has a response, the unit of expression is not known, or files of
        one modality have different units.
    """
    omics: dict[str, pd.DataFrame] = {}
    units: dict[str, str] = {}
    for file, part in matrices:
        frame, unit = _on_one_scale(file, part, findings)
        given = frame.index.astype(str)
        ids = samples.ids_of(file, given, part.id_kind, new=False)
        labels = pd.Series(given.map(ids), dtype=object)
        losses.add(file, "no other table has the sample id", int(labels.isna().sum()), given[labels.isna()])
        without = labels.notna() & ~labels.isin(wanted)
        losses.add(file, "sample has no response", int(without.sum()), labels[without])
        known = labels.isin(wanted)
        if not known.any():
            raise DataError(
                f"{file}: none of its {len(frame)} samples ({examples(given)}) has a response "
                f"({examples(sorted(wanted))}). Give a table of samples that holds the ids of both, "
                "such as DepMap's Model.csv."
            )
        repeated = labels[known].duplicated()
        if repeated.any():
            losses.add(file, "further row of the same sample", int(repeated.sum()), labels[known][repeated])
        rows = np.flatnonzero(known.to_numpy())[~repeated.to_numpy()]
        taken = frame.iloc[rows].set_axis(pd.Index(labels.iloc[rows], name="sample_id", dtype=object))
        if part.role in omics and unit != units.get(part.role):
            raise DataError(
                f"{file}: its {part.role} is {unit}, and that of an earlier file {units.get(part.role)}; they cannot "
                "be mixed. Give one, or bring both to one unit."
            )
        omics[part.role] = _under(omics[part.role], taken, file, losses) if part.role in omics else taken
        if unit is not None:
            units[part.role] = unit
    return omics, {f"{modality}_unit": unit for modality, unit in units.items()}


def _on_one_scale(file: str, part: Part, findings: Findings) -> tuple[pd.DataFrame, str | None]:
    """Return expression on a log2 scale, or as it is where it has no such scale, and its unit."""
    if part.role != "expression" or part.unit is None:
        return part.frame, part.unit
    if part.unit not in EXPRESSION_UNITS:
        raise DataError(
            f"{file}: the unit of its expression is {part.unit}; state it (expression_unit=, --unit), one of "
            f"{', '.join(EXPRESSION_UNITS)}; or, if it is no expression, what it is (kinds=, --kind '{file}=MODALITY')."
        )
    if part.unit not in TO_LOG2:
        return part.frame, part.unit
    frame, done = to_log(part.frame, part.unit)
    findings.info(done.code, f"{file}: {done.message}")
    return frame, "log2"


def _under(first: pd.DataFrame, more: pd.DataFrame, file: str, losses: Losses) -> pd.DataFrame:
    shared = first.columns.intersection(more.columns, sort=False)
    if not len(shared):
        raise DataError(f"{file}: none of its features is in the earlier file of the same modality; give one of them.")
    if lacking := first.shape[1] + more.shape[1] - 2 * len(shared):
        names = first.columns.symmetric_difference(more.columns)
        losses.add(file, "features that not all files of the modality have", lacking, names)
    again = more.index.isin(first.index)
    losses.add(file, "an earlier file has the sample", int(again.sum()), more.index[again])
    return pd.concat([first[shared], more.loc[~again, shared]])


def incomplete(response: pd.DataFrame, omics: Mapping[str, pd.DataFrame]) -> dict[str, int]:
    """Return how many responses lack a value or a modality; they are kept, and `align` leaves them out."""
    lacking = {f"sample without {m}": int((~response["sample_id"].isin(f.index)).sum()) for m, f in omics.items()}
    return {"no measured value": int(response["value"].isna().sum()), **lacking}
