"""Rows of several tables that are one line or one drug: linked by their ids, then by names, and never on a guess."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from halfmax.data.cell_lines import normalise_name
from halfmax.data.findings import Finding

#: Why rows were kept apart or put together, and what is said of it.
_MESSAGES: Mapping[str, str] = {
    "ids-disagree": "rows share a name or id with another row, and differ in an id of which each has one; kept apart",
    "look-alike": "rows have a name that looks like that of several others, and no id that decides; kept apart",
    "less-sure-ids-differ": "rows share an id with another row and differ in a less sure one; taken as one",
    "same-name-doubtful": "rows have the name of another row and differ in structure or CCLE name; taken as one",
    "joined-by-ids": "rows show by their ids that rows of earlier tables are one",
}


@dataclass(frozen=True)
class Entry:
    """What one row of one table calls a line or a drug.

    Parameters
    ----------
    table
        Name of the table.
    name
        How the table spells it; empty where it has ids only.
    aliases
        Other names that the table gives.
    ids
        Kind of id to the ids of that kind, in their plain form.
    part
        Tells tables of one name apart.
    """

    table: str
    name: str
    aliases: tuple[str, ...] = ()
    ids: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    part: int = 0

    @property
    def label(self) -> str:
        """A word for messages."""
        return f"{self.name or next((i for ids in self.ids.values() for i in ids), '?')} ({self.table})"


@dataclass(frozen=True)
class Entity:
    """One line or drug, under all the names and ids that the tables give it, in the order of the tables."""

    names: tuple[str, ...]
    aliases: tuple[str, ...]
    ids: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Links:
    """The entities, which of them each entry is (in the order of the entries), and what was not plain."""

    entities: tuple[Entity, ...]
    entity_of: tuple[int, ...]
    findings: tuple[Finding, ...]


def link(
    entries: Iterable[Entry], *, exclusive: Sequence[str] = (), against: Mapping[str, int | None] | None = None
) -> Links:
    """Return the entities behind the rows of several tables.

    Tried for each table, in this order: an id in common; the same spelling; a name that one table gives as another
    name of it; the same letters and digits, if only one row and one entity have them. Two rows of one table become
    one only by an id or the same spelling.

    Parameters
    ----------
    entries
        The rows, those of one table together; what stands first gives an entity its first name.
    exclusive
        Kinds of ids of which an entity has one, the surest first: rows that differ there are one only if they share
        an id of a surer kind.
    against
        Kinds of ids that speak against a link by a mere likeness of names, and how many of their first letters do
        so; None: all.
    """
    rows = list(entries)
    tables: dict[tuple[str, int], list[int]] = defaultdict(list)
    for row, entry in enumerate(rows):
        tables[entry.table, entry.part].append(row)
    linker = _Linker(rows, tuple(exclusive), dict(against or {}))
    for members in tables.values():
        linker.add_table(members)
    return linker.links()


class _Linker:
    """The entities so far, and where their names and ids are found."""

    def __init__(self, rows: list[Entry], exclusive: tuple[str, ...], against: dict[str, int | None]) -> None:
        self.rows, self.against = rows, against
        self.exclusive: dict[str, int | None] = dict.fromkeys(exclusive)
        self.place: dict[int, int] = {}
        self.parent: list[int] = []
        self.members: list[list[int]] = []
        self.ids: list[dict[str, set[str]]] = []
        self.by_id: dict[tuple[str, str], set[int]] = defaultdict(set)
        self.by_name: dict[str, set[int]] = defaultdict(set)
        self.by_alias: dict[str, set[int]] = defaultdict(set)
        self.by_key: dict[str, set[int]] = defaultdict(set)
        self.told: dict[str, list[str]] = {code: [] for code in _MESSAGES}

    def add_table(self, members: list[int]) -> None:
        """Place every row of one table."""
        keys = Counter(normalise_name(self.rows[row].name) for row in members if self.rows[row].name)
        claimed: set[int] = set()
        steps: tuple[Callable[[Entry], int | None], ...] = (
            self._by_ids,
            self._by_spelling,
            lambda entry: self._free(self._by_synonym(entry), claimed),
            lambda entry: self._free(self._by_likeness(entry, keys), claimed),
        )
        waiting = list(members)
        for step in steps:
            rest = []
            for row in waiting:
                if (found := step(self.rows[row])) is None:
                    rest.append(row)
                else:
                    self._place(row, found)
                    claimed.add(self._root(found))
            waiting = rest
        for row in waiting:  # none of an earlier table: two rows of this one may still be one
            found = self._by_ids(self.rows[row], quiet=True)
            self._place(row, found if found is not None else self._by_spelling(self.rows[row], quiet=True))

    def links(self) -> Links:
        """Return what was linked."""
        roots = [self._root(self.place[row]) for row in range(len(self.rows))]
        number = {root: at for at, root in enumerate(dict.fromkeys(roots))}
        entities = [self._entity([self.rows[row] for row in self.members[root]]) for root in number]
        findings = tuple(
            Finding(code, "warning", f"{len(shown)} {_MESSAGES[code]}.", tuple(shown[:10]), len(shown))
            for code, shown in self.told.items()
            if shown
        )
        return Links(tuple(entities), tuple(number[root] for root in roots), findings)

    def _entity(self, rows: Sequence[Entry]) -> Entity:
        names = dict.fromkeys(row.name for row in rows if row.name)
        aliases = dict.fromkeys(alias for row in rows for alias in row.aliases if alias not in names)
        ids: dict[str, dict[str, None]] = defaultdict(dict)
        for row in rows:
            for kind, found in row.ids.items():
                ids[kind].update(dict.fromkeys(found))
        return Entity(tuple(names), tuple(aliases), {kind: tuple(found) for kind, found in ids.items()})

    def _root(self, entity: int) -> int:
        while self.parent[entity] != entity:
            self.parent[entity] = self.parent[self.parent[entity]]
            entity = self.parent[entity]
        return entity

    def _roots(self, entities: Iterable[int]) -> list[int]:
        return sorted({self._root(entity) for entity in entities})

    def _place(self, row: int, entity: int | None) -> None:
        """Put a row into an entity, or into a new one."""
        entry = self.rows[row]
        if entity is None:
            entity = len(self.parent)
            self.parent.append(entity)
            self.members.append([])
            self.ids.append(defaultdict(set))
        entity = self._root(entity)
        self.place[row] = entity
        self.members[entity].append(row)
        for kind, found in entry.ids.items():
            self.ids[entity][kind].update(found)
            for one in found:
                self.by_id[kind, one].add(entity)
        if entry.name:
            self.by_name[entry.name].add(entity)
            self.by_key[normalise_name(entry.name)].add(entity)
        for alias in entry.aliases:
            self.by_alias[alias].add(entity)

    def _by_ids(self, entry: Entry, *, quiet: bool = False) -> int | None:
        hits = self._roots(e for kind, ids in entry.ids.items() for one in ids for e in self.by_id.get((kind, one), ()))
        agreeing = [e for e in hits if not self._differ(self.ids[e], entry.ids, self._surer(e, entry))]
        if hits and not agreeing and not quiet:
            self.told["ids-disagree"].append(entry.label)
        if any(self._differ(self.ids[entity], entry.ids, self.exclusive) for entity in agreeing):
            self.told["less-sure-ids-differ"].append(entry.label)
        if len(agreeing) < 2:
            return agreeing[0] if agreeing else None
        kinds = self.exclusive | self.against
        if any(self._differ(self.ids[a], self.ids[b], kinds) for a, b in combinations(agreeing, 2)):
            if not quiet:
                self.told["ids-disagree"].append(entry.label)
            return max(agreeing, key=lambda entity: self._shared(entity, entry))
        self.told["joined-by-ids"].append(entry.label)
        first, *others = agreeing
        for other in others:
            self._join(first, other)
        return first

    def _by_spelling(self, entry: Entry, *, quiet: bool = False) -> int | None:
        hits = self._roots(self.by_name.get(entry.name, ())) if entry.name else []
        agreeing = [entity for entity in hits if not self._differ(self.ids[entity], entry.ids, self.exclusive)]
        if len(agreeing) != 1:
            if hits and not quiet:
                self.told["look-alike" if agreeing else "ids-disagree"].append(entry.label)
            return None
        if self._differ(self.ids[agreeing[0]], entry.ids, self.against):
            self.told["same-name-doubtful"].append(entry.label)
        return agreeing[0]

    def _by_synonym(self, entry: Entry) -> int | None:
        hits = set(self.by_alias.get(entry.name, ())) if entry.name else set()
        hits.update(e for alias in entry.aliases for e in self.by_name.get(alias, ()))
        return self._only(hits, entry)

    def _by_likeness(self, entry: Entry, keys: Mapping[str, int]) -> int | None:
        if not entry.name:
            return None
        key = normalise_name(entry.name)
        hits = self._roots(self.by_key.get(key, ()))
        if len(hits) > 1 or (hits and keys[key] > 1):
            self.told["look-alike"].append(entry.label)
            return None
        return self._only(hits, entry)

    def _only(self, hits: Iterable[int], entry: Entry) -> int | None:
        """Return the one entity of these that nothing speaks against."""
        roots = self._roots(hits)
        kinds = self.exclusive | self.against
        agreeing = [entity for entity in roots if not self._differ(self.ids[entity], entry.ids, kinds)]
        return agreeing[0] if len(agreeing) == len(roots) == 1 else None

    def _free(self, entity: int | None, claimed: set[int]) -> int | None:
        return None if entity is None or self._root(entity) in claimed else entity

    def _surer(self, entity: int, entry: Entry) -> dict[str, int | None]:
        """Return the exclusive kinds before the first that an entity and a row share."""
        kinds = list(self.exclusive)
        shared = (k for k in kinds if self.ids[entity].get(k, set()) & set(entry.ids.get(k, ())))
        first = next(shared, None)
        return {kind: None for kind in (kinds if first is None else kinds[: kinds.index(first)])}

    def _shared(self, entity: int, entry: Entry) -> int:
        return sum(len(self.ids[entity].get(kind, set()) & set(ids)) for kind, ids in entry.ids.items())

    def _join(self, first: int, other: int) -> None:
        self.parent[other] = first
        self.members[first] += self.members[other]
        for kind, found in self.ids[other].items():
            self.ids[first][kind] |= found

    @staticmethod
    def _differ(
        a: Mapping[str, Iterable[str]], b: Mapping[str, Iterable[str]], kinds: Mapping[str, int | None]
    ) -> bool:
        """Return whether both have ids of one of these kinds, and none in common, by their first letters."""

        def cut(ids: Iterable[str], n: int | None) -> set[str]:
            return {one[:n] for one in ids}

        return any(a.get(k) and b.get(k) and not cut(a[k], n) & cut(b[k], n) for k, n in kinds.items())
