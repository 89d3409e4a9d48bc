"""One gene name, as any file may write it, and the current symbol that it means.

The facts are those of the HGNC complete set (Seal et al., Nucleic Acids Research 2023) and of NCBI Gene;
``tools/build_genes.py`` says which copies and makes the table.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from importlib import resources

#: How a name was understood, best first: what stands earlier wins where two names mean the same gene.
HOW = ("exact", "ensembl", "entrez", "case", "previous", "alias", "punctuation", "excel-date")
#: Words for "no value", never taken for a gene, although HGNC has one or two of them as old symbols.
NO_NAMES = frozenset({"", "NA", "N/A", "#N/A", "NAN", "NULL", "NONE", "-", "?", "."})

_ENSEMBL = re.compile(r"(ENSG\d{11})(?:\.\d+)?(?:[_|:;](?!PAR_Y).*)?", re.IGNORECASE)
_ENTREZ = re.compile(r"(?:LOC)?(\d{1,9})(?:\.0)?")
_COMPOSITE = re.compile(r"(?P<first>[^|()\s]+)(?:\|(?P<bar>[^|()\s]+)|\s+\((?P<round>[^|()\s]+)\))")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DATES = (
    re.compile(r"(?P<day>\d{1,2})[-./ ](?P<name>[A-Za-z]{3})(?:[-./ ]\d{2,4})?"),
    re.compile(r"(?P<name>[A-Za-z]{3})[-./ ](?P<day>\d{1,2})(?:[-./ ]\d{2,4})?"),
    re.compile(r"\d{4}[-/.](?P<month>\d{1,2})[-/.](?P<day>\d{1,2})(?:[ T]00:00(?::00)?(?:\.0+)?)?"),
    re.compile(r"(?P<month>\d{1,2})[/.](?P<day>\d{1,2})[/.]\d{2,4}"),
    re.compile(r"(?P<day>\d{1,2})[/.](?P<month>\d{1,2})[/.]\d{2,4}"),
)
#: Beginnings of gene symbols that spreadsheet programs take for a month (Ziemann et al., Genome Biology 2016).
_PREFIXES = {3: ("MARCH", "MARC"), 9: ("SEPT",), 12: ("DEC",)}
_EXCEL_DAY_0 = date(1899, 12, 30)
_EXCEL_SERIALS = range(36526, 50000)  # 2000 to 2036

Found = tuple[tuple[str, ...], str]
Lookup = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class _Genes:
    """The table as look-ups from a name to the symbols that it may mean."""

    symbols: frozenset[str]
    ensembl: Lookup
    entrez: Lookup
    symbol_by_capitals: Lookup
    previous: Lookup
    previous_by_capitals: Lookup
    alias: Lookup
    alias_by_capitals: Lookup
    locus: Mapping[str, str]
    cytoband: Mapping[str, str]


@lru_cache(maxsize=1)
def _genes() -> _Genes:
    text = gzip.decompress(resources.files("halfmax.data").joinpath("genes.tsv.gz").read_bytes()).decode()
    header, *lines = text.rstrip("\n").split("\n")
    columns = dict(zip(header.split("\t"), zip(*(line.split("\t") for line in lines), strict=True), strict=True))
    symbols = columns["symbol"]

    def index(column: str, *, capitals: bool = False) -> Lookup:
        found: dict[str, tuple[str, ...]] = {}
        for symbol, names in zip(symbols, columns[column], strict=True):
            if not names:
                continue
            for name in dict.fromkeys((names.upper() if capitals else names).split("|")):
                found[name] = (*found[name], symbol) if name in found else (symbol,)
        return found

    return _Genes(
        symbols=frozenset(symbols),
        ensembl=index("ensembl"),
        entrez=index("entrez"),
        symbol_by_capitals=index("symbol", capitals=True),
        previous=index("previous"),
        previous_by_capitals=index("previous", capitals=True),
        alias=index("alias"),
        alias_by_capitals=index("alias", capitals=True),
        locus=dict(zip(symbols, columns["locus"], strict=True)),
        cytoband={s: band for s, band in zip(symbols, columns["cytoband"], strict=True) if band},
    )


def cytoband(symbol: str) -> str | None:
    """Return where a gene lies, such as ``17p13.1``, or None where the table does not say."""
    return _genes().cytoband.get(symbol)


def locus(symbol: str) -> str | None:
    """Return the kind of a gene, such as ``protein_coding`` or ``pseudogene``; None for a name that is no symbol."""
    return _genes().locus.get(symbol)


@lru_cache(maxsize=500_000)
def resolve(name: str) -> Found:
    """Return the symbols that a name may mean, and how: one of `HOW`, ``ambiguous``, ``excel-serial`` or ``unknown``.

    A current symbol wins over other genes' old symbols, and an old symbol over aliases.
    """
    if name.upper() in NO_NAMES:
        return (), "unknown"
    if found := _by_id(name) or _by_symbol(name):
        return found
    if (both := _COMPOSITE.fullmatch(name)) and (found := _composite(both)):
        return found
    for other in _unmangled(name):
        found = _by_symbol(other)
        if found and found[1] != "ambiguous":
            return found[0], "punctuation"
    if proposals := date_proposals(name):
        return proposals, "excel-date" if len(proposals) == 1 else "ambiguous"
    if name.isdecimal() and len(name) == 5 and int(name) in _EXCEL_SERIALS:
        day = _EXCEL_DAY_0 + timedelta(days=int(name))
        return _proposals(day.month, day.day), "excel-serial"
    return (), "unknown"


def date_proposals(name: str) -> tuple[str, ...]:
    """Return the genes that a date may have been before a spreadsheet program took it for one; empty if no date."""
    proposals: list[str] = []
    for pattern in _DATES:
        if not (match := pattern.fullmatch(name)):
            continue
        parts = match.groupdict()
        if "month" in parts:
            proposals += _proposals(int(parts["month"]), int(parts["day"]))
        elif parts["name"].lower() in _MONTHS:
            proposals += _proposals(_MONTHS.index(parts["name"].lower()) + 1, int(parts["day"]))
    return tuple(dict.fromkeys(proposals))


def _proposals(month: int, number: int) -> tuple[str, ...]:
    """Return the genes whose old symbol a spreadsheet program takes for this day: MARCH1 for 1 March."""
    found = [_genes().previous.get(f"{prefix}{number}", ()) for prefix in _PREFIXES.get(month, ())]
    return tuple(symbol for symbols in found for symbol in symbols)


def _by_id(name: str) -> Found | None:
    genes = _genes()
    if (match := _ENSEMBL.fullmatch(name)) and (symbols := genes.ensembl.get(match[1].upper())):
        return _one_or_ambiguous(symbols, "ensembl")
    if (match := _ENTREZ.fullmatch(name)) and (symbols := genes.entrez.get(match[1])):
        return _one_or_ambiguous(symbols, "entrez")
    return None


def _by_symbol(name: str) -> Found | None:
    genes, capitals = _genes(), name.upper()
    if name in genes.symbols:
        return (name,), "exact"
    for symbols, way in (
        (genes.previous.get(name), "previous"),
        (genes.symbol_by_capitals.get(capitals), "case"),
        (genes.previous_by_capitals.get(capitals), "previous"),
        (genes.alias.get(name), "alias"),
        (genes.alias_by_capitals.get(capitals), "alias"),
    ):
        if symbols:
            return _one_or_ambiguous(symbols, way)
    return None


def _composite(match: re.Match[str]) -> Found | None:
    """Return what ``SYMBOL|entrez`` or ``SYMBOL (entrez)`` means; the id is surer than the symbol."""
    parts = [part for part in (match["bar"], match["round"], match["first"]) if part and part.upper() not in NO_NAMES]
    ids = next((found for part in parts if (found := _by_id(part))), None)
    if ids and ids[1] != "ambiguous":
        return ids
    return next((found for part in reversed(parts) if (found := _by_symbol(part))), None)


def _one_or_ambiguous(symbols: tuple[str, ...], way: str) -> Found:
    return (symbols, way) if len(symbols) == 1 else (symbols, "ambiguous")


def _unmangled(name: str) -> Iterable[str]:
    """Return what a name may have been before R made it a column name, or a person wrote it in another way."""
    plain = name[1:] if re.match(r"X\d", name) else name
    forms = [plain, *(plain.replace(sign, "-") for sign in "._ ‐‑–")]  # the last three are other hyphens
    return [form for form in dict.fromkeys(forms) if form != name]
