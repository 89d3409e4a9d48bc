"""Lists that providers keep of their files: address, digest and size of what a source names (figshare, DepMap, GDC)."""

from __future__ import annotations

import csv
import fnmatch
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from halfmax.data.cache import quarantine_dir
from halfmax.data.download import download
from halfmax.data.source_table import Source
from halfmax.data.verify import Expected
from halfmax.data.web import Link, Web, follow, redact
from halfmax.errors import DownloadError, did_you_mean, examples

#: Most bytes of a list.
LARGEST = 2**28
PAGE = 1000
_SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,199}")
_MD5 = re.compile(r"[0-9a-f]{32}")
_GDC_FIELDS = (
    *("file_id", "file_name", "md5sum", "file_size", "access", "data_category", "data_type"),
    *("cases.submitter_id", "cases.project.project_id", "cases.samples.submitter_id", "cases.samples.sample_type"),
)
#: Filters of the GDC by the words of a source's query.
_GDC_FILTERS = {
    "project": "cases.project.project_id",
    "data_type": "data_type",
    "workflow": "analysis.workflow_type",
    "data_format": "data_format",
}


@dataclass(frozen=True)
class Listed:
    """A file as its provider lists it.

    Parameters
    ----------
    filename, md5, size
        What it must be; None where the list does not say.
    url
        Its address; empty where the list has none, because a person must fetch it in a browser.
    about
        What a GDC sample sheet says of it.
    """

    filename: str
    url: str
    md5: str | None = None
    size: int | None = None
    about: Mapping[str, str] | None = None


def find_listed(source: Source, web: Web, folder: Path) -> Listed:
    """Return the one file of a source as its provider lists it.

    Raises
    ------
    DownloadError
        If the list cannot be had, is not a list, or does not hold the file.
    """
    if source.via == "figshare":
        return _figshare(source, web, folder)
    return _depmap(source, web, folder)


def _figshare(source: Source, web: Web, folder: Path) -> Listed:
    wanted = source.query.get("file", source.filename)
    rows = _json(web, f"{source.listing}?{urlencode({'page_size': PAGE})}", folder)
    files = {str(row.get("name")): row for row in rows if isinstance(row, dict)} if isinstance(rows, list) else {}
    if wanted not in files:
        raise DownloadError(_lacks(source, wanted, list(files)))
    row = files[wanted]
    md5, size = row.get("computed_md5") or row.get("supplied_md5"), row.get("size")
    url = follow(source.listing, str(row.get("download_url") or ""))
    return Listed(source.filename, url, _md5(md5), size if isinstance(size, int) else None)


def _depmap(source: Source, web: Web, folder: Path) -> Listed:
    wanted, release = source.query.get("file", source.filename), source.query["release"]
    text = _text(web, source.listing, folder, "csv")
    table = csv.DictReader(io.StringIO(text))
    if not {"release", "filename", "md5_hash"} <= set(table.fieldnames or ()):
        raise DownloadError(
            f"{redact(source.listing)} has columns {examples(table.fieldnames or ())}; DepMap's has others."
        )
    rows = [row for row in table if row["release"] == release]
    files = {row["filename"]: row for row in rows}
    if wanted not in files:
        raise DownloadError(_lacks(source, wanted, list(files)))
    url = (files[wanted].get("url") or "").strip()
    return Listed(source.filename, follow(source.listing, url) if url else "", _md5(files[wanted]["md5_hash"]))


def list_gdc(source: Source, web: Web, folder: Path) -> list[Listed]:
    """Return the open files of a GDC query, in the order of their names.

    Raises
    ------
    DownloadError
        If the list cannot be had or is not whole, if there are none, or if a name or digest is not usable.
    """
    filters: list[dict[str, Any]] = [{"op": "=", "content": {"field": "access", "value": "open"}}]
    filters += [
        {"op": "=", "content": {"field": _GDC_FILTERS[key], "value": value}}
        for key, value in source.query.items()
        if key in _GDC_FILTERS
    ]
    asked = {
        "filters": json.dumps({"op": "and", "content": filters}),
        "fields": ",".join(_GDC_FIELDS),
        "format": "json",
        "size": str(PAGE),
        "sort": "file_id:asc",
    }
    hits: list[dict[str, Any]] = []
    while True:
        address = f"{source.listing}/files?{urlencode(asked | {'from': str(len(hits))})}"
        page = _json(web, address, folder)
        try:
            found, total = page["data"]["hits"], int(page["data"]["pagination"]["total"])
        except (KeyError, TypeError, ValueError):
            raise DownloadError(f"{redact(address)} did not answer with a list of files.") from None
        hits += found
        if len(hits) >= total or not found:
            break
    if len(hits) != total:
        raise DownloadError(f"{redact(source.listing)} lists {len(hits):,} files of {total:,}; try again later.")
    pattern = source.query.get("match", "*")
    listed = [_gdc_file(source, hit) for hit in hits if fnmatch.fnmatchcase(str(hit.get("file_name")), pattern)]
    if not listed:
        raise DownloadError(f"{redact(source.listing)} lists no open file for {dict(source.query)}.")
    if len({file.filename for file in listed}) < len(listed):
        raise DownloadError(f"{redact(source.listing)} lists several files of one name for {dict(source.query)}.")
    return sorted(listed, key=lambda file: file.filename)


def _gdc_file(source: Source, hit: Mapping[str, Any]) -> Listed:
    name, number, md5, size = (hit.get(key) for key in ("file_name", "file_id", "md5sum", "file_size"))
    good = isinstance(name, str) and _SAFE_NAME.fullmatch(name) and isinstance(number, str)
    if not good or not _SAFE_NAME.fullmatch(str(number)) or _md5(md5) is None or not isinstance(size, int):
        raise DownloadError(
            f"{redact(source.listing)} lists a file that cannot be used: {name!r}, {number!r}, {md5!r}."
        )
    if hit.get("access") != "open":
        raise DownloadError(f"{name} is not open access; only open files are fetched.")
    cases = [case for case in hit.get("cases", []) if isinstance(case, dict)]
    samples = [sample for case in cases for sample in case.get("samples", []) if isinstance(sample, dict)]
    about = {
        "File ID": str(number),
        "File Name": str(name),
        "Data Category": str(hit.get("data_category", "")),
        "Data Type": str(hit.get("data_type", "")),
        "Project ID": _joined(dict.fromkeys(str(case.get("project", {}).get("project_id", "")) for case in cases)),
        "Case ID": _joined(str(case.get("submitter_id", "")) for case in cases),
        "Sample ID": _joined(str(sample.get("submitter_id", "")) for sample in samples),
        "Sample Type": _joined(str(sample.get("sample_type", "")) for sample in samples),
    }
    return Listed(str(name), f"{source.listing}/data/{number}", _md5(md5), size, about)


def _joined(words: Any) -> str:
    return ", ".join(" ".join(word.split()) for word in words)


def _md5(value: Any) -> str | None:
    text = str(value).lower()
    return text if _MD5.fullmatch(text) else None


def _lacks(source: Source, wanted: str, there: list[str]) -> str:
    place = f"{redact(source.listing)} ({source.release or source.query.get('release', 'all')})"
    return f"{place} lists {len(there):,} files, not {wanted!r}.{did_you_mean(wanted, there)}"


def _json(web: Web, url: str, folder: Path) -> Any:
    try:
        return json.loads(_text(web, url, folder, "json"))
    except ValueError as error:
        raise DownloadError(f"{redact(url)} did not answer with JSON ({error}).") from None


def _text(web: Web, url: str, folder: Path, form: str) -> str:
    """Fetch a list as every other file, and return it."""
    target = folder / f"listing.{form}"
    target.with_name(target.name + ".part").unlink(missing_ok=True)  # the rest of another list is of no use
    download(web, Link(url), Expected(target.name, form=form), target, quarantine_dir(), lambda done, total: None)
    try:
        if (size := target.stat().st_size) > LARGEST:
            raise DownloadError(f"{redact(url)} answered with {size:,} bytes; no list is that long.")
        return target.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DownloadError(f"{redact(url)} did not answer with UTF-8 text.") from None
    finally:
        target.unlink(missing_ok=True)
