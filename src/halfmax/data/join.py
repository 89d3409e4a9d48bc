"""Tables of several files on one set of sample and drug ids, with a report of every id and of what was lost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import pandas as pd

from halfmax.data.findings import Finding
from halfmax.data.id_kinds import Scheme, entries_of
from halfmax.data.id_map import IdMap, Matches
from halfmax.data.linking import Entry
from halfmax.data.tables import plain_name


@dataclass
class Joined:
    """The samples, or the drugs, of several files.

    Parameters
    ----------
    scheme
        How they are named.
    label_by
        What becomes their id.
    columns
        Kind of id to the column that shows it in the result.
    known
        What the dataset calls a column, and what tables call it.
    same
        Ids that a person has stated.
    drop_ambiguous
        Leave ambiguous ids out instead of refusing them.
    """

    scheme: Scheme
    label_by: str
    columns: Mapping[str, str]
    known: Mapping[str, tuple[str, ...]]
    same: Mapping[str, str] = field(default_factory=dict)
    drop_ambiguous: bool = False
    report: dict[str, object] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    _frames: list[tuple[str, pd.DataFrame]] = field(default_factory=list)
    _entries: list[Entry] = field(default_factory=list)
    _map: IdMap | None = None

    def add(self, file: str, frame: pd.DataFrame, id_kind: str) -> None:
        """Take a table of samples or drugs; tables that stand first give names and facts."""
        self._frames.append((file, frame))
        self._entries += entries_of(frame, file, id_kind, self.scheme, len(self._frames) - 1)
        self._map = None

    @property
    def map(self) -> IdMap:
        """What they are called in all tables so far."""
        if self._map is None:
            self._map = IdMap(self.scheme, self._entries, self.label_by)
        return self._map

    def ids_of(self, file: str, given: Iterable[str], id_kind: str, *, new: bool) -> dict[str, str]:
        """Return what the ids of one file are called here; those that are unknown or ambiguous are not in it.

        Parameters
        ----------
        new
            Whether ids that no table knows become entries of their own, as those of responses do.

        Raises
        ------
        DataError
            If ids are ambiguous, unless `drop_ambiguous`.
        """
        texts = list(dict.fromkeys(map(str, given)))
        found = self._own(file)
        own = {text: found[text] for text in texts if text in found and text not in self.same}
        rest = [text for text in texts if text not in own and text not in self.same]
        kind = None if id_kind == "name" else id_kind
        matches = self.map.find(rest, kind)
        if not self.drop_ambiguous:
            matches.require(file)
        ids = own | matches.ids
        if new and (unknown := sorted(matches.unmatched)):
            index = pd.Index(unknown, name=f"{self.scheme.what}_id", dtype=object)
            self.add(file, pd.DataFrame(index=index), self.scheme.guess(unknown) if kind is None else kind)
            own_now = self._own(file)
            ids |= {text: own_now[text] for text in unknown}
        if stated := [text for text in texts if text in self.same]:  # last, so that new ids can be meant
            found_stated = self.map.find(stated, kind, self.same)
            matches = Matches(matches.what, pd.concat([matches.frame, found_stated.frame], ignore_index=True))
            ids |= found_stated.ids
        self._tell(file, matches, own, new=new)
        self._tell_merged(file, ids)
        return ids

    def table(self, ids: Iterable[str]) -> pd.DataFrame:
        """Return what is known of these ids: the first table that says something counts, for each column."""
        wanted = pd.Index(list(dict.fromkeys(ids)), name=f"{self.scheme.what}_id", dtype=object)
        frames = [self._facts(frame, file, at) for at, (file, frame) in enumerate(self._frames)]
        joined = pd.concat([f for f in frames if f.shape[1]], sort=False) if any(f.shape[1] for f in frames) else None
        facts = pd.DataFrame(index=wanted)
        if joined is not None:
            facts = joined.groupby(level=0, sort=False).first().reindex(wanted)
            for column in facts.columns:
                if pd.api.types.infer_dtype(facts[column], skipna=True).startswith("mixed"):
                    facts[column] = as_text(facts[column])  # numbers in one table, text in another
        entities = dict(zip(self.map.labels, self.map.entities, strict=True))
        for kind, column in self.columns.items():
            shown = ["|".join(entities[label].ids.get(kind, ())) or None for label in wanted]
            if any(shown):
                facts[column] = pd.Series(shown, wanted, dtype=object)
        return facts.rename_axis(f"{self.scheme.what}_id")

    def _facts(self, frame: pd.DataFrame, file: str, part: int) -> pd.DataFrame:
        """Return a table's facts under the dataset's ids and columns; its ids are shown apart."""
        hidden = {*self.scheme.id_columns, *self.scheme.names, *self.scheme.aliases}
        usual = {plain_name(n): name for name, names in self.known.items() for n in names}
        chosen: dict[str, pd.Series] = {}
        for at, column in enumerate(map(str, frame.columns)):
            texts = frame.iloc[:, at]
            name = column if column in self.known else usual.get(plain_name(column), column)
            is_id = name not in self.known and plain_name(column) in hidden
            if is_id or column in self.columns.values() or texts.isna().all():
                continue
            if name not in chosen:
                chosen[name] = texts if pd.api.types.is_numeric_dtype(texts.dtype) else as_text(texts)
        return pd.DataFrame(chosen, index=frame.index).set_axis(pd.Index(self.map.rows(file, part), dtype=object))

    def _tell_merged(self, file: str, ids: Mapping[str, str]) -> None:
        """Say which ids of one file are one here."""
        groups: dict[str, list[str]] = {}
        for text, label in ids.items():
            groups.setdefault(label, []).append(text)
        merged = {label: texts for label, texts in groups.items() if len(texts) > 1}
        report = self.report[file]
        if isinstance(report, dict):
            report["merged"] = [[label, texts] for label, texts in merged.items()]
        if merged:
            what, shown = self.scheme.what, [f"{' = '.join(texts)} ({label})" for label, texts in merged.items()]
            text = f"{sum(map(len, merged.values()))} {what} ids of {file} are {len(merged)} {what}s."
            self.findings.append(Finding(f"{what}s-merged", "warning", text, tuple(shown[:10]), len(merged)))

    def _own(self, file: str) -> dict[str, str]:
        """Return what a file's own tables call their rows, and what these are called here."""
        own: dict[str, str] = {}
        for at, (name, frame) in enumerate(self._frames):
            if name == file:
                own |= dict(zip(map(str, frame.index), self.map.rows(file, at), strict=True))
        return own

    def _tell(self, file: str, matches: Matches, own: Mapping[str, str], *, new: bool) -> None:
        notes = matches.to_notes()
        notes |= {"given": len(own) + len(matches.frame), "matched": len(own) + len(matches.ids)}
        if own:
            notes["matched_by"] = {"the file's own table": len(own), **matches.matched_by}
        if new:
            notes["new"] = [given for given, _ in notes.pop("unmatched")]  # type: ignore[attr-defined]
        self.report[file] = notes
        told = matches.findings(file)
        self.findings += [f for f in told if not (new and f.code.endswith("-unmatched"))]


def as_text(values: pd.Series) -> pd.Series:
    """Return values as text; what is missing stays missing."""
    return values.map(str, na_action="ignore").astype(object)
