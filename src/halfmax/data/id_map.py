"""What any table calls a line or a drug, and the one id that it has here; every answer says how it was found."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import pandas as pd

from halfmax.data.cell_lines import normalise_name
from halfmax.data.findings import Finding, Findings
from halfmax.data.id_kinds import IdKind, Scheme
from halfmax.data.linking import Entity, Entry, link
from halfmax.errors import DataError, did_you_mean, examples

_HINTS, _MOST_OF = 20, 0.8
#: R puts an X before a column name that begins with a digit.
_WRITTEN_BY_R = re.compile(r"X\d")


@dataclass(frozen=True)
class Matches:
    """How the ids of one table were matched.

    Parameters
    ----------
    what
        ``sample`` or ``drug``.
    frame
        One row an id: ``given``; ``id`` (None where there is none); ``by`` (kind of id or ``name``); ``how``
        (``id``, ``part``, ``exact``, ``synonym``, ``key``, ``alias``, ``stated``, ``ambiguous``, ``none``); ``why``;
        ``candidates``.
    """

    what: str
    frame: pd.DataFrame

    @property
    def ids(self) -> dict[str, str]:
        """The given ids that are known, each with its id here."""
        known = self.frame[self.frame["id"].notna()]
        return dict(zip(known["given"], known["id"], strict=True))

    @property
    def matched_by(self) -> dict[str, int]:
        """How many ids were matched in which way."""
        known = self.frame[self.frame["id"].notna()]
        ways = Counter(f"{by}, {how}" for by, how in zip(known["by"], known["how"], strict=True))
        return dict(sorted(ways.items()))

    @property
    def ambiguous(self) -> dict[str, tuple[str, ...]]:
        """Ids that may mean several things, with those."""
        found = self.frame[self.frame["how"] == "ambiguous"]
        return dict(zip(found["given"], found["candidates"], strict=True))

    @property
    def unmatched(self) -> dict[str, str]:
        """Ids that no table knows, with the reason."""
        found = self.frame[self.frame["how"] == "none"]
        return dict(zip(found["given"], found["why"], strict=True))

    def require(self, where: str) -> None:
        """Raise DataError if an id is ambiguous, with its candidates."""
        if not self.ambiguous:
            return
        shown = [f"{given} ({' or '.join(choices)})" for given, choices in list(self.ambiguous.items())[:3]]
        why = next(iter(self.frame.loc[self.frame["how"] == "ambiguous", "why"]))
        given, (first, *_) = next(iter(self.ambiguous.items()))
        raise DataError(
            f"{where}: {len(self.ambiguous)} {self.what} ids may mean several {self.what}s: {'; '.join(shown)}. {why}. "
            f"Say which one is meant (same={{{given!r}: {first!r}}}, --same '{given}={first}') "
            "or have them left out (drop_ambiguous=True, --drop-ambiguous)."
        )

    def findings(self, where: str) -> tuple[Finding, ...]:
        """Return what there is to say about how one table's ids were matched."""
        findings, what = Findings(), self.what
        likeness = [f"{r.given} → {r.id}" for r in self.frame.itertuples() if r.how in ("key", "alias", "synonym")]
        if likeness:
            findings.info(
                f"{what}-names", f"{len(likeness)} {what} names of {where} were matched by likeness.", likeness
            )
        if lost := self.unmatched:
            findings.warn(f"{what}-unmatched", f"{len(lost)} {what} ids of {where} are in no other table.", list(lost))
        if several := self.ambiguous:
            shown = [f"{given} ({' or '.join(choices)})" for given, choices in several.items()]
            findings.warn(f"{what}-ambiguous", f"{len(several)} {what} ids of {where} are ambiguous; left out.", shown)
        return findings.all()

    def to_notes(self) -> dict[str, object]:
        """Return the report as plain JSON: counts, and every id that was not matched by an id or its spelling."""
        told = self.frame[self.frame["how"].isin(["synonym", "key", "alias", "stated"])]
        return {
            "given": len(self.frame),
            "matched": len(self.ids),
            "matched_by": self.matched_by,
            "not_by_id_or_spelling": [list(row) for row in told[["given", "id", "by", "how", "why"]].to_numpy()],
            "unmatched": [[given, why] for given, why in self.unmatched.items()],
            "ambiguous": [
                [given, list(choices), str(why)]
                for given, choices, why in self.frame.loc[
                    self.frame["how"] == "ambiguous", ["given", "candidates", "why"]
                ].itertuples(index=False)
            ],
        }


class IdMap:
    """Every name and id that some tables use for samples, or for drugs, and one id for each.

    Parameters
    ----------
    scheme
        How samples or drugs are named.
    entries
        What the rows of the tables call them, table by table.
    label_by
        Kind of id, or ``name``, that becomes the id here; where one has none, the next that it has.
    """

    def __init__(self, scheme: Scheme, entries: Sequence[Entry], label_by: str = "name") -> None:
        if label_by != "name":
            scheme.kind(label_by)
        self.scheme, self.entries, self.label_by = scheme, tuple(entries), label_by
        links = link(self.entries, exclusive=scheme.exclusive, against=scheme.against)
        self.entities, self.entity_of, self.findings = links.entities, links.entity_of, links.findings
        self.labels = self._labels()

    def __len__(self) -> int:
        """Return how many samples or drugs there are."""
        return len(self.entities)

    def with_entries(self, more: Sequence[Entry]) -> Self:
        """Return the map with the rows of further tables, which come last."""
        return type(self)(self.scheme, (*self.entries, *more), self.label_by)

    def rows(self, table: str, part: int = 0) -> pd.Series:
        """Return the id of each row of a table that the map was made from, in its order."""
        placed = zip(self.entries, self.entity_of, strict=True)
        found = [self.labels[at] for entry, at in placed if (entry.table, entry.part) == (table, part)]
        return pd.Series(found, dtype=object)

    def find(self, given: Iterable[str], kind: str | None = None, same: Mapping[str, str] | None = None) -> Matches:
        """Return what each of a table's ids is called here.

        Names are tried by their spelling, then by other names, then by letters and digits alone. A table whose names
        are all bare letters and digits has lost its spellings, so there the first step says nothing. Two names of one
        table never become one by letters and digits alone.

        Parameters
        ----------
        given
            The ids as one table has them.
        kind
            What they are; told from their look if not given.
        same
            Given ids to what they are called here, or to any id or name that is plain: stated by a person.
        """
        texts = list(dict.fromkeys(map(str, given)))
        kind = self._guess(texts) if kind is None else kind
        id_kind = None if kind == "name" else self.scheme.kind(kind)
        names = [text for text in texts if self._kind_of(text, id_kind) is None]
        bare = bool(names) and all(normalise_name(name) == name for name in names)
        rows = [self._match(text, id_kind, bare=bare, same=same or {}) for text in texts]
        self._keep_rivals_apart(rows)
        self._hint(rows)
        columns = ["given", "id", "by", "how", "why", "candidates"]
        return Matches(self.scheme.what, pd.DataFrame([row.values() for row in rows], columns=columns, dtype=object))

    def _guess(self, texts: Sequence[str]) -> str:
        """Return what ids are by their look; numbers are ids of a kind if most of them are known as such."""
        kind = self.scheme.guess(texts)
        numbers = [k for k in self.scheme.kinds if k.telling is None] if kind == "name" and texts else []
        for number in numbers:
            if sum((number.name, number.plain(text)) in self._by_id for text in texts) >= _MOST_OF * len(texts):
                return number.name
        return kind

    def _match(self, text: str, id_kind: IdKind | None, *, bare: bool, same: Mapping[str, str]) -> dict[str, object]:
        if text in same:
            return self._stated(text, same[text])
        kind = self._kind_of(text, id_kind)
        if kind is None:
            return self._by_name(text, text, bare=bare)
        plain = kind.plain(text)
        found = self._by_id.get((kind.name, plain), ()) if plain else ()
        whole = kind.wider(plain) if not found and plain and kind.wider is not None else None
        if whole is not None and (found := self._by_id.get((kind.name, whole), ())):
            answer = self._answer(text, found, kind.name, "part", f"several have {whole}", "")
            return answer if answer["id"] is None else answer | {"why": f"part of {whole}"}
        if not found and kind.name_in is not None and (name := kind.name_in(text)):
            return self._by_name(text, name, bare=True)
        if not found and id_kind is not None and text in self._by_spelling:
            return self._by_name(text, text, bare=False)  # a name among ids
        shared = f"several {self.scheme.what}s have this {kind.title}"
        return self._answer(text, found, kind.name, "id", shared, f"no table has this {kind.title}")

    def _kind_of(self, text: str, id_kind: IdKind | None) -> IdKind | None:
        """Return the kind of one id: what it looks like, else what the table's ids are said to be."""
        for kind in self.scheme.kinds:
            if kind.telling is not None and kind.telling.fullmatch(text):
                return kind
        return id_kind if id_kind is not None and id_kind.plain(text) else None

    def _by_name(self, text: str, name: str, *, bare: bool) -> dict[str, object]:
        if not bare and (found := self._by_spelling.get(name)):
            return self._answer(text, found, "name", "exact", "several have this name", "")
        if not bare and (found := self._by_synonym.get(name)):
            return self._answer(text, found, "name", "synonym", "several have this other name", "")
        key, how = normalise_name(name), "key"
        found = self._by_key.get(key) or self._by_synonym_key.get(key, ())
        if bare and len(found) == 1 and found == self._by_spelling.get(name):
            how = "exact"
        if not found and name in self.scheme.known:
            other, why = self.scheme.known[name]
            found, how = self._by_key.get(normalise_name(other), ()), "alias"
            if len(found) == 1:
                return self._answer(text, found, "name", how, "", "") | {"why": f"{other}: {why}"}
        if not found and _WRITTEN_BY_R.match(name):
            return self._by_name(text, name[1:], bare=bare)
        return self._answer(text, found, "name", how, "these look alike, and nothing says which is meant", "")

    def _answer(self, text: str, found: Sequence[int], by: str, how: str, several: str, none: str) -> dict[str, object]:
        answer: dict[str, object] = {"given": text, "id": None, "by": by, "how": how, "why": "", "candidates": ()}
        if len(found) == 1:
            return answer | {"id": self.labels[found[0]]}
        if not found:
            return answer | {"how": "none", "why": none or "no table has this name"}
        return answer | {"how": "ambiguous", "why": several, "candidates": tuple(self.labels[e] for e in found)}

    def _stated(self, text: str, other: str) -> dict[str, object]:
        entity = self._by_label.get(other)
        if entity is None:
            found = self._match(other, None, bare=False, same={})
            if found["id"] is None:
                choices = examples(_texts(found["candidates"]) or self.labels)
                raise DataError(
                    f"{text!r} is stated to be {other!r}, which is {found['how']} here: {found['why']} ({choices})."
                )
            entity = self._by_label[str(found["id"])]
        return self._answer(text, (entity,), "name", "stated", "", "")

    def _keep_rivals_apart(self, rows: Sequence[dict[str, object]]) -> None:
        """Take back what several names of one table were given by letters and digits alone."""
        groups: dict[object, list[dict[str, object]]] = defaultdict(list)
        for row in rows:
            if row["id"] is not None:
                groups[row["id"]].append(row)
        for label, group in groups.items():
            alike = [row for row in group if row["how"] == "key"]
            if not alike or len(group) == 1:
                continue
            rivals = examples(sorted(str(row["given"]) for row in group))
            proven = [row for row in group if row["how"] != "key"]
            for row in alike:
                if proven:
                    why = f"it looks like {label!r}, which the same table has as {proven[0]['given']!r}"
                    row.update(id=None, how="none", why=why)
                else:
                    row.update(id=None, how="ambiguous", why=f"{rivals} look alike in one table", candidates=(label,))

    def _hint(self, rows: Iterable[dict[str, object]]) -> None:
        lost = [row for row in rows if row["how"] == "none" and row["by"] == "name" and row["why"]]
        for row in lost[:_HINTS]:
            row["why"] = f"{row['why']}.{did_you_mean(str(row['given']), map(str, self._by_spelling))}".removesuffix(
                "."
            )

    def _labels(self) -> tuple[str, ...]:
        order = [self.label_by, "name", *(kind.name for kind in self.scheme.kinds)]
        chosen = []
        for entity in self.entities:
            ids = {**entity.ids, "name": entity.names or entity.aliases}
            chosen.append(next(ids[kind][0] for kind in order if ids.get(kind)))
        counts = Counter(chosen)
        for at, entity in enumerate(self.entities):
            if counts[chosen[at]] > 1:
                own = next((entity.ids[k.name][0] for k in self.scheme.kinds if entity.ids.get(k.name)), None)
                chosen[at] = f"{chosen[at]} ({own or at})"
        return tuple(chosen)

    def _index(self, names: Callable[[Entity], Iterable[object]]) -> dict[object, tuple[int, ...]]:
        found: dict[object, dict[int, None]] = defaultdict(dict)
        for at, entity in enumerate(self.entities):
            for name in names(entity):
                found[name][at] = None
        return {name: tuple(at) for name, at in found.items()}

    @cached_property
    def _by_label(self) -> dict[str, int]:
        return {label: at for at, label in enumerate(self.labels)}

    @cached_property
    def _by_id(self) -> dict[object, tuple[int, ...]]:
        return self._index(lambda e: ((kind, one) for kind, ids in e.ids.items() for one in ids))

    @cached_property
    def _by_spelling(self) -> dict[object, tuple[int, ...]]:
        return self._index(lambda e: e.names)

    @cached_property
    def _by_synonym(self) -> dict[object, tuple[int, ...]]:
        return self._index(lambda e: e.aliases)

    @cached_property
    def _by_key(self) -> dict[object, tuple[int, ...]]:
        return self._index(lambda e: map(normalise_name, e.names))

    @cached_property
    def _by_synonym_key(self) -> dict[object, tuple[int, ...]]:
        return self._index(lambda e: map(normalise_name, e.aliases))


def _texts(found: object) -> tuple[str, ...]:
    return tuple(map(str, found)) if isinstance(found, tuple) else ()
