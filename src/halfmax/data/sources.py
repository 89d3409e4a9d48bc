"""Official downloads by name: what each is, and how it comes into the cache, checked now and every time after."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from halfmax.data.archives import unpack_members
from halfmax.data.cache import downloads_dir, held, quarantine_dir
from halfmax.data.records import FileMark, Record, accept_terms, accepted, read_record
from halfmax.data.source_table import Source, shipped_table
from halfmax.data.verify import Expected, accept
from halfmax.errors import DownloadError, UnknownNameError, did_you_mean

if TYPE_CHECKING:  # the web is imported when something is fetched
    from halfmax.data.download import OnProgress
    from halfmax.data.listings import Listed
    from halfmax.data.web import Web, WebSettings

log = logging.getLogger(__name__)


@cache
def sources() -> Mapping[str, Source]:
    """Return the sources that halfmax knows, by name."""
    return shipped_table()


def get_source(name: str) -> Source:
    """Return a known source; raise UnknownNameError with the closest names otherwise."""
    known = sources()
    if name not in known:
        providers = ", ".join(sorted({source.provider for source in known.values()}))
        raise UnknownNameError(
            f"Unknown source {name!r}.{did_you_mean(name, known)} There are {len(known)}, of {providers}; "
            "list_sources() lists them."
        )
    return known[name]


def list_sources() -> list[dict[str, Any]]:
    """Return name, title, provider, kind, release and cached (whether it is here) of each source."""
    return [
        {"name": s.name, "title": s.title, "provider": s.provider, "kind": s.kind, "release": s.release}
        | {"cached": (folder_of(s) / "record.json").is_file()}
        for s in sources().values()
    ]


def folder_of(source: Source) -> Path:
    """Return the folder in the cache that is the source's own."""
    return downloads_dir() / source.name


def place_of(source: Source) -> Path:
    """Return where its file lies, or is to be put by hand; of a set of files, their folder."""
    return folder_of(source) / ("files" if source.is_set else source.filename)


def describe(name: str) -> dict[str, Any]:
    """Return what is known of a source without fetching anything, as plain data.

    Returns
    -------
    dict
        ``name``, ``title``, ``provider``, ``kind``, ``release``, ``licence``, ``terms`` (text, url, whether they are
        to be accepted and when they were), ``citations``, ``page``, ``urls``, ``verified``, ``address_note``,
        ``place``, ``sha256`` (shipped or recorded; None before the first download) and ``record`` (None likewise).
    """
    source = get_source(name)
    record = read_record(folder_of(source))
    known = source.sha256 or (record.file.sha256 if record is not None and record.file is not None else None)
    terms = {"text": source.terms.text, "url": source.terms.url, "to_accept": source.terms.accept}
    return {
        "name": source.name,
        "title": source.title,
        "provider": source.provider,
        "kind": source.kind,
        "release": source.release,
        "licence": source.terms.licence,
        "terms": terms | {"accepted": accepted(source.terms)},
        "citations": list(source.citations),
        "page": source.page,
        "urls": list(source.urls) or [source.listing],
        "verified": source.verified,
        "address_note": address_note(source),
        "place": str(place_of(source)),
        "sha256": known,
        "record": None if record is None else record.to_dict(),
    }


def address_note(source: Source) -> str:
    """Return how far the address of a source can be relied on; empty if halfmax's makers have fetched it."""
    if source.verified:
        return ""
    basis = "seen in public documentation or code" if source.basis == "documented" else "written from memory"
    return f"This address was {basis} and has not been fetched by halfmax's makers; if it fails, see {source.page}."


def fetch(
    name: str,
    *,
    accept_terms: bool = False,
    progress: OnProgress | None = None,
    renew: bool = False,
    settings: WebSettings | None = None,
) -> Path:
    """Return the file (or folder of files) of a source, from the cache or else from its provider.

    Several processes may ask at once: one fetches, the others wait for it. The sha256 of what comes first is
    recorded, unless it is shipped with halfmax, and every later file must have it.

    Parameters
    ----------
    accept_terms
        The user has read the provider's terms and accepts them; recorded, and asked once for each wording.
    progress
        Told (bytes here, bytes in all; 0 = not known yet) as they come, from any thread.
    renew
        Fetch again what is here, and trust what comes: the provider has published a new version.
    settings
        How to reach the web; pip's own proxy and certificates by default.

    Raises
    ------
    UnknownNameError
        If there is no such source.
    DownloadError
        If the terms are not accepted, or the file cannot be had or is not the one that is known; the message says
        where to put it by hand.
    DataError
        If an archive that came is damaged or lacks what was to be unpacked.
    """
    source = get_source(name)
    _check_terms(source, accept=accept_terms)
    if not renew and (found := _kept(source)) is not None:
        return found
    with held(folder_of(source)):
        if not renew and (found := _kept(source)) is not None:  # another process fetched it meanwhile
            return found
        folder_of(source).mkdir(exist_ok=True)
        _fetch_held(source, progress or _silent, settings, renew=renew)
    found = _kept(source)
    if found is None:
        raise DownloadError(f"{place_of(source)} was changed while it was fetched; ask again.")
    return found


def _check_terms(source: Source, *, accept: bool) -> None:
    terms = source.terms
    if accept:
        accept_terms(terms)
    elif terms.accept and accepted(terms) is None:
        raise DownloadError(
            f"{source.name} ({source.title}) has terms to accept: {terms.text} Read them at {terms.url}. If you "
            "accept them, ask again with --accept-terms (accept_terms=True); it is recorded, and asked once."
        )


def _kept(source: Source) -> Path | None:
    """Return what was fetched earlier if it is whole and as recorded."""
    record = read_record(folder_of(source))
    if record is None or (record.file is not None and not record.file.fits(place_of(source))):
        return None
    if source.sha256 is not None and record.file is not None and record.file.sha256 != source.sha256:
        return None
    folder = place_of(source) if source.is_set else folder_of(source) / "unpacked"
    if not all(mark.fits(folder / name) for name, mark in record.files.items()):
        return None
    return _result(source, record)


def _result(source: Source, record: Record) -> Path:
    if source.is_set or not source.unpack:
        return place_of(source)
    folder = folder_of(source) / "unpacked"
    return folder if source.many else folder / next(iter(record.files))


def _fetch_held(source: Source, progress: OnProgress, settings: WebSettings | None, *, renew: bool) -> None:
    from halfmax.data.package_index import IndexSettings
    from halfmax.data.web import Web

    web = Web(settings or IndexSettings.of_user())
    before = read_record(folder_of(source))
    if source.is_set:
        from halfmax.data.file_sets import fetch_set

        record = fetch_set(source, web, folder_of(source), place_of(source), progress)
    else:
        record = _fetch_file(source, web, before, progress, renew=renew)
    if source.unpack:
        made = unpack_members(place_of(source), source.unpack, folder_of(source) / "unpacked")
        if not source.many and len(made) > 1:
            raise DownloadError(f"{place_of(source)} holds {len(made)} files that fit {source.unpack!r}, not one.")
        record = replace(record, files={path.name: FileMark.of(path) for path in made})
    if before is not None and before.file != record.file and before.file is not None:
        record = replace(record, earlier=(*before.earlier, {"sha256": before.file.sha256, "fetched": before.fetched}))
    note = _odd_kind(source, _result(source, record))
    replace(record, note=note).save(folder_of(source))


def _fetch_file(source: Source, web: Web, before: Record | None, progress: OnProgress, *, renew: bool) -> Record:
    """Bring the file to its place: the one that was put there by hand, or else from the first address that has it."""
    from halfmax.data.download import download
    from halfmax.data.web import Link, redact

    place, problems, known = place_of(source), [], source.expected
    if before is not None and before.file is not None and not renew:
        if before.file.fits(place) and source.sha256 in (None, before.file.sha256):
            return before
        if known.sha256 is None:
            known = replace(known, sha256=before.file.sha256, size=before.file.size)
    urls = source.urls
    if source.listing:
        listed, problem = _listed(source, web)
        problems += [problem] if problem else []
        urls = (listed.url,) if listed is not None and listed.url else ()
        if listed is not None and known.sha256 is None:
            known = replace(known, md5=listed.md5, size=listed.size)
    trust = _trust(source, known)
    if place.is_file() and not renew:
        try:
            return Record(source.name, "", trust, file=_taken(place, known))
        except DownloadError as error:
            log.warning("%s", error)
            problems.append(str(error))
    for url in urls:
        try:
            came = download(web, Link(url), known, place, quarantine_dir(), progress)
            return Record(source.name, redact(url), trust, came.version, FileMark(came.sha256, came.size))
        except DownloadError as error:
            problems.append(str(error))
    raise DownloadError(_by_hand(source, known, trust, before, problems))


def _taken(place: Path, known: Expected) -> FileMark:
    """Return the mark of a file that was put there by hand, if it is the right one."""
    return FileMark(accept(place, known, place, quarantine_dir(), str(place)), place.stat().st_size)


def _listed(source: Source, web: Web) -> tuple[Listed | None, str]:
    from halfmax.data.listings import find_listed

    try:
        listed = find_listed(source, web, folder_of(source))
    except DownloadError as error:
        return None, str(error)
    return listed, "" if listed.url else f"{source.provider} gives its address to a browser only"


def _trust(source: Source, known: Expected) -> str:
    if source.sha256 is not None:
        return "sha256"
    return "recorded" if known.sha256 is not None else "md5" if known.md5 is not None else "first"


def _odd_kind(source: Source, path: Path) -> str:
    """Return a note if the reader of its kind does not recognise what came."""
    from halfmax.data.readers.kinds import KINDS, SURE, recognise
    from halfmax.errors import DataError

    if source.kind not in KINDS.names():
        return ""
    try:
        sure = {kind.name: value for value, kind in recognise(path)}
    except DataError as error:
        note = f"{path.name} does not open as {source.kind}: {error}"
    else:
        if sure.get(source.kind, 0.0) >= SURE:
            return ""
        note = f"{path.name} does not look like {source.kind}; the provider may have changed its layout."
    log.warning("%s", note)
    return note


def _by_hand(source: Source, known: Expected, trust: str, before: Record | None, problems: list[str]) -> str:
    tried = "\n".join(f"  - {problem}" for problem in problems)
    digest = f"sha256 is {known.sha256}" if known.sha256 else f"md5 is {known.md5}" if known.md5 else ""
    used = f"It is used if its {digest}." if digest else "Its sha256 is recorded then, and checked ever after."
    lines = [
        f"{source.filename} ({source.title}) could not be fetched:",
        tried,
        f"Offline, or the site asks for a browser? Get it from {source.page} and put it at",
        f"  {place_of(source)}",
        used,
        address_note(source),
    ]
    if trust == "recorded" and before is not None:
        lines.append(
            f"That sha256 was recorded on {before.fetched}, when it was first fetched. If {source.provider} has "
            "published a new version since and you want that one, ask again with renew=True (--renew)."
        )
    return "\n".join(line for line in lines if line)


def _silent(done: int, total: int) -> None:
    pass
