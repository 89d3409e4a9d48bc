"""The table of official downloads: each file's addresses, digest, terms and citation, read from ``sources.toml``."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from importlib import resources
from pathlib import PurePosixPath
from typing import Any

from halfmax.data.verify import FORMS, Expected
from halfmax.errors import DataError, did_you_mean

#: How a file's address is found: in the table, or in a list that the provider keeps.
VIA = ("url", "figshare", "depmap", "gdc")
#: Where an address was taken from.
BASIS = ("documented", "memory")
_TEXTS = ("name", "title", "provider", "kind", "filename", "page", "release", "listing", "unpack")


@dataclass(frozen=True)
class Terms:
    """Terms under which a provider publishes.

    Parameters
    ----------
    key
        Short name.
    licence
        In a few words.
    text
        What they ask, in short; the provider's page has the last word.
    url
        That page.
    accept
        Whether they are to be accepted before anything is fetched.
    """

    key: str
    licence: str
    text: str
    url: str
    accept: bool


@dataclass(frozen=True)
class Source:
    """One official download.

    Parameters
    ----------
    name
        What it is asked for by.
    title, provider, release
        What it is, who publishes it, which release.
    kind
        Kind of file, as in `halfmax.data.readers.kinds`; empty where no reader knows it.
    filename
        Name of the file in the cache; of a set of files, of their list.
    page
        Where a person finds it in a browser.
    terms, citations
        Under which terms, and what to cite.
    urls
        Addresses, tried in this order.
    via, listing, query
        How the address is found otherwise: kind of list, address of the list, what to look for in it.
    sha256, size, md5
        What is known of the file, beforehand.
    form
        One of `halfmax.data.verify.FORMS`; judged by the name if empty.
    unpack, many
        Pattern of the members of an archive that are unpacked; whether they are several.
    verified
        Whether the makers of halfmax have fetched it from this address.
    basis
        Where the address was taken from: ``documented`` (seen in public documentation or code) or ``memory``.
    """

    name: str
    title: str
    provider: str
    kind: str
    filename: str
    page: str
    terms: Terms
    citations: tuple[str, ...]
    release: str = ""
    urls: tuple[str, ...] = ()
    via: str = "url"
    listing: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    sha256: str | None = None
    size: int | None = None
    md5: str | None = None
    form: str = ""
    unpack: str = ""
    many: bool = False
    verified: bool = False
    basis: str = "memory"

    @property
    def expected(self) -> Expected:
        """What is known of the file beforehand."""
        return Expected(self.filename, self.sha256, self.size, self.md5, self.form)

    @property
    def is_set(self) -> bool:
        """Whether it is a folder of files that a list names."""
        return self.via == "gdc"


def shipped_table() -> dict[str, Source]:
    """Return the sources that halfmax knows, by name."""
    return read_table_of_sources(resources.files("halfmax.data").joinpath("sources.toml").read_text(encoding="utf-8"))


def read_table_of_sources(text: str) -> dict[str, Source]:
    """Return the sources of a table.

    A source with ``each = NAME`` stands for one source a value of ``[lists] NAME``, put in the place of ``{each}``.

    Raises
    ------
    DataError
        If the table is not TOML, or a source has a wrong field, an address that is not https, or a name twice.
    """
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"the table of sources is not TOML: {error}.") from None
    terms = {key: Terms(key=key, **value) for key, value in content.get("terms", {}).items()}
    table: dict[str, Source] = {}
    for entry in content.get("source", []):
        for filled in _each(entry, content.get("lists", {})):
            source = _source(filled, terms, content.get("citations", {}))
            if source.name in table:
                raise DataError(f"the table of sources has {source.name!r} twice.")
            table[source.name] = source
    return table


def _each(entry: Mapping[str, Any], lists: Mapping[str, list[str]]) -> Iterator[dict[str, Any]]:
    rest = {key: value for key, value in entry.items() if key != "each"}
    if "each" not in entry:
        yield rest
        return
    for value in lists[entry["each"]]:
        yield {key: _fill(item, value) for key, item in rest.items()}


def _fill(item: Any, value: str) -> Any:
    if isinstance(item, str):
        return item.replace("{each}", value)
    if isinstance(item, list):
        return [_fill(part, value) for part in item]
    if isinstance(item, dict):
        return {key: _fill(part, value) for key, part in item.items()}
    return item


def _source(entry: dict[str, Any], terms: Mapping[str, Terms], citations: Mapping[str, str]) -> Source:
    name = str(entry.get("name"))
    known = {f.name: f for f in fields(Source)}
    if unknown := [key for key in entry if key not in known]:
        raise DataError(f"source {name!r} has a field {unknown[0]!r}.{did_you_mean(unknown[0], known)}")
    required = [key for key, f in known.items() if f.default is MISSING and f.default_factory is MISSING]
    if missing := [key for key in required if key not in entry]:
        raise DataError(f"source {name!r} lacks {', '.join(missing)}.")
    if not all(isinstance(entry.get(key, ""), str) for key in _TEXTS):
        raise DataError(f"source {name!r}: {', '.join(_TEXTS)} are texts.")
    try:
        made = entry | {"terms": terms[entry["terms"]], "urls": tuple(entry.get("urls", ()))}
        source = Source(**made | {"citations": tuple(citations[key] for key in entry["citations"])})
    except KeyError as error:
        raise DataError(f"source {name!r} names terms or a citation that the table lacks: {error}.") from None
    _check(source)
    return source


def _check(source: Source) -> None:
    where = f"source {source.name!r}"
    for url in (*source.urls, source.page, source.terms.url, *([source.listing] if source.listing else [])):
        if not url.startswith("https://"):
            raise DataError(f"{where}: the address {url} is not https.")
    if source.via not in VIA or source.basis not in BASIS or source.form not in ("", *FORMS):
        raise DataError(f"{where}: via is one of {VIA}, basis one of {BASIS}, form one of {FORMS}.")
    if bool(source.urls) == bool(source.listing) or (source.via == "url") != bool(source.urls):
        raise DataError(f"{where} has either urls, or a listing and via.")
    for name in (source.name, source.filename):
        if not name or name != PurePosixPath(name).name or name.startswith("."):
            raise DataError(f"{where}: {name!r} is not the name of a file.")
    if source.sha256 is not None and (len(source.sha256) != 64 or source.size is None):
        raise DataError(f"{where}: a sha256 has 64 digits and comes with the size.")
