"""Lists of gene names: what they mean, and how the genes of a file find their places in a model's list."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from halfmax.data.findings import Finding, Level
from halfmax.data.gene_names import HOW, cytoband, date_proposals, locus, resolve
from halfmax.errors import DataError, examples

__all__ = ["HOW", "GeneMap", "GeneMatch", "cytoband", "locus", "map_genes", "match_genes"]

_MOUSE = re.compile(r"ENSMUSG\d{11}(?:\.\d+)?|[A-Z][a-z0-9]*[a-z][a-z0-9]*(?:-[a-z0-9]+)?|\d{7}[A-K]\d{2}Rik")
_SAME_TEXT = -1
#: Share of a model's genes below which `GeneMatch.findings` warns.
WARN_BELOW = 0.95


@dataclass(frozen=True)
class GeneMap:
    """What a list of gene names means.

    Parameters
    ----------
    names
        The names as given.
    symbols
        Current symbol of each, or None.
    how
        One of `HOW` for each; else ``ambiguous``, ``excel-serial`` or ``unknown``.
    candidates
        Name to the symbols that it may mean, where that is more than one or a mere proposal.
    """

    names: tuple[str, ...]
    symbols: npt.NDArray[np.object_]
    how: npt.NDArray[np.object_]
    candidates: Mapping[str, tuple[str, ...]]

    def named(self, *how: str) -> tuple[str, ...]:
        """Return the names that were understood in one of these ways."""
        return tuple(name for name, way in zip(self.names, self.how, strict=True) if way in how)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Names that no table knows."""
        return self.named("unknown")

    @property
    def ambiguous(self) -> Mapping[str, tuple[str, ...]]:
        """Names that may mean several genes, with those genes."""
        return {name: self.candidates[name] for name in self.named("ambiguous")}

    @property
    def known_share(self) -> float:
        """Share of the names that are genes."""
        return sum(s is not None for s in self.symbols) / max(len(self.names), 1)

    @cached_property
    def mouse_share(self) -> float:
        """Share of the names that are written as mouse genes are: ``Trp53``, ``ENSMUSG…``."""
        return sum(_MOUSE.fullmatch(name) is not None for name in self.names) / max(len(self.names), 1)

    @property
    def is_mouse(self) -> bool:
        """Whether most names are written as mouse genes are."""
        return self.mouse_share > 0.5

    def renamed(self, *how: str) -> dict[str, str]:
        """Return names that are neither current symbols nor ids, with the current symbol of each."""
        ways = how or ("case", "previous", "alias", "punctuation", "excel-date")
        return {n: s for n, s, w in zip(self.names, self.symbols, self.how, strict=True) if w in ways and s != n}

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """What there is to say about these names, each kind once."""
        return tuple(_gene_findings(self))


def map_genes(names: Iterable[str]) -> GeneMap:
    """Return the current symbol of every name.

    A current symbol wins over other genes' old symbols, an old symbol over aliases. Accepted besides: Ensembl ids with
    or without version, Entrez ids, ``SYMBOL|entrez``, ``SYMBOL (entrez)``, other capitals, R's dots for hyphens
    (``HLA.A``), and dates made by spreadsheet programs (``2-Sep`` is SEPTIN2; ``1-Mar`` may be two genes). The answer
    for a name depends on that name alone.

    Parameters
    ----------
    names
        Names as a file has them.
    """
    names = tuple(str(name) for name in names)
    symbols, how = np.empty(len(names), dtype=object), np.empty(len(names), dtype=object)
    candidates: dict[str, tuple[str, ...]] = {}
    for row, name in enumerate(names):
        found, how[row] = resolve(name.strip())
        if how[row] in HOW:
            symbols[row] = found[0]
        elif found:
            candidates[name] = found
    return GeneMap(names, symbols, how, candidates)


@dataclass(frozen=True)
class GeneMatch:
    """Where a model's genes are in a file.

    Parameters
    ----------
    positions
        For each wanted gene, its place in the file's list; -1 where it is missing.
    groups
        For wanted genes that several columns of the file give: all their places, which `take` averages.
    have, want
        What the file's and the model's names mean.
    """

    positions: npt.NDArray[np.int64]
    groups: Mapping[int, tuple[int, ...]]
    have: GeneMap
    want: GeneMap

    @property
    def coverage(self) -> float:
        """Share of the wanted genes that the file has."""
        return float((self.positions >= 0).mean()) if len(self.positions) else 0.0

    @property
    def missing(self) -> tuple[str, ...]:
        """Wanted genes that the file lacks."""
        return tuple(self.want.names[row] for row in np.flatnonzero(self.positions < 0))

    def take(self, values: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        """Return the wanted columns, shape ``(n, n_want)``; NaN where missing, the mean where there are several.

        Parameters
        ----------
        values
            The file's values, shape ``(n, n_have)``. The result is the same in whatever order its columns stand.
        """
        taken = np.full((len(values), len(self.positions)), np.nan, dtype=np.float32)
        present = np.flatnonzero(self.positions >= 0)
        taken[:, present] = values[:, self.positions[present]]
        for row, places in self.groups.items():
            taken[:, row] = mean_of_columns(values, places)
        return taken

    def require(self, minimum: float = 0.8) -> None:
        """Raise DataError if fewer than this share of the wanted genes is there."""
        if self.coverage >= minimum:
            return
        reason = " They are written as mouse genes are; map them to human orthologues." if self.have.is_mouse else ""
        raise DataError(
            f"the file has {len(self.positions) - len(self.missing)} of the model's {len(self.positions)} genes "
            f"({self.coverage:.1%}); at least {minimum:.0%} are needed. Missing: {examples(self.missing)}; "
            f"the file's names: {examples(self.have.names)}.{reason} Give the missing genes, or train a new model on "
            "the genes that you have."
        )

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """The coverage, the genes that are missing and those that are averaged."""
        n, missing = len(self.positions), self.missing
        level: Level = "info" if self.coverage >= WARN_BELOW else "warning"
        found = [Finding("gene-coverage", level, f"gene coverage {n - len(missing)}/{n} ({self.coverage:.1%}).")]
        if missing:
            message = f"{len(missing)} of the model's genes are missing and will be imputed."
            found.append(Finding("genes-missing", level, message, missing[:10], len(missing)))
        if self.groups:
            names = tuple(self.want.names[row] for row in self.groups)
            message = f"{len(names)} genes have several columns in the file; averaged."
            found.append(Finding("duplicates-averaged", "warning", message, names[:10], len(names)))
        return tuple(found)


def match_genes(have: Iterable[str], want: Iterable[str]) -> GeneMatch:
    """Find the genes of a model in a file; both lists are taken to current symbols first.

    A column of the very same name comes first, then the best-understood name of the same gene (`HOW`); columns that
    are equally good are averaged. So the answer is the same in whatever order the file's columns stand, and columns
    of other genes or of no gene change nothing.

    Parameters
    ----------
    have
        Names of the file's columns.
    want
        Names of the model's genes, in its order.
    """
    return _match(tuple(map(str, have)), tuple(map(str, want)))


@lru_cache(maxsize=8)  # a service is sent the same list of genes again and again
def _match(have: tuple[str, ...], want: tuple[str, ...]) -> GeneMatch:
    have_map, want_map = map_genes(have), map_genes(want)
    same_text: dict[str, list[int]] = defaultdict(list)
    same_gene: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for place, (name, symbol, how) in enumerate(zip(have_map.names, have_map.symbols, have_map.how, strict=True)):
        same_text[name.strip()].append(place)
        if symbol is not None:
            same_gene[symbol].append((HOW.index(how), place))
    positions = np.full(len(want_map.names), -1, dtype=np.int64)
    groups: dict[int, tuple[int, ...]] = {}
    for row, (name, symbol) in enumerate(zip(want_map.names, want_map.symbols, strict=True)):
        ranked = [(_SAME_TEXT, place) for place in same_text.get(name.strip(), ())] or same_gene.get(symbol, [])
        if not ranked:
            continue
        best = min(rank for rank, _ in ranked)
        places = tuple(place for rank, place in ranked if rank == best)
        positions[row] = places[0]
        if len(places) > 1:
            groups[row] = places
    return GeneMatch(positions, groups, have_map, want_map)


def mean_of_columns(values: npt.NDArray[np.floating], places: Sequence[int]) -> npt.NDArray[np.float64]:
    """Return the row means over these columns, leaving NaN out; the same bits in whatever order they stand."""
    chosen = np.sort(values[:, list(places)].astype(np.float64), axis=1)  # NaN comes last
    counts = (~np.isnan(chosen)).sum(axis=1)
    means = np.full(len(chosen), np.nan)
    np.divide(np.nansum(chosen, axis=1), counts, out=means, where=counts > 0)
    return means


def _gene_findings(genes: GeneMap) -> Iterator[Finding]:
    if genes.is_mouse:
        mouse = tuple(n for n in genes.names if _MOUSE.fullmatch(n))
        message = (
            f"{genes.mouse_share:.0%} of the {len(genes.names)} gene names are written as mouse genes are; "
            "map them to their human orthologues first."
        )
        yield Finding("mouse-genes", "error", message, mouse[:10], len(mouse))
    for code, level, message, ways in _RENAMES:
        if shown := tuple(f"{name} → {symbol}" for name, symbol in genes.renamed(*ways).items()):
            yield Finding(code, level, f"{len(shown)} {message}", shown[:10], len(shown))
    several = dict.fromkeys(genes.named("ambiguous"))
    dates = tuple(n for n in several if date_proposals(n)) + tuple(dict.fromkeys(genes.named("excel-serial")))
    others = tuple(n for n in several if n not in dates)
    for code, level, message, names in (
        ("excel-dates-unclear", "warning", "Excel-date names cannot be mapped to one gene; left as they are.", dates),
        ("ambiguous-genes", "warning", "names may mean several genes; left as they are.", others),
        ("unknown-genes", "info", "names are not known as human genes; left as they are.", genes.unknown),
    ):
        if names:
            shown = tuple(f"{n} ({' or '.join(genes.candidates[n])})" if n in genes.candidates else n for n in names)
            yield Finding(code, level, f"{len(names)} {message}", shown[:10], len(names))


_RENAMES: tuple[tuple[str, Level, str, tuple[str, ...]], ...] = (
    ("retired-symbols", "info", "retired symbols renamed.", ("previous",)),
    ("aliases", "info", "aliases replaced by the current symbol.", ("alias",)),
    ("spelling", "info", "names differ from the symbol in capitals or punctuation only.", ("case", "punctuation")),
    ("excel-dates", "warning", "names are dates made by a spreadsheet program, put back.", ("excel-date",)),
)
