"""A set of files that a provider lists: every one fetched and checked, several at a time, with its sample sheet."""

from __future__ import annotations

import csv
import threading
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path

from halfmax.data.cache import check_room, quarantine_dir
from halfmax.data.download import OnProgress, download
from halfmax.data.listings import Listed, list_gdc
from halfmax.data.records import FileMark, Record
from halfmax.data.source_table import Source
from halfmax.data.storage import atomic_file
from halfmax.data.verify import Expected, matches
from halfmax.data.web import Link, Web, redact
from halfmax.errors import DownloadError

#: Files under way at a time.
AT_ONCE = 4
SHEET_COLUMNS = (
    *("File ID", "File Name", "Data Category", "Data Type", "Project ID", "Case ID", "Sample ID", "Sample Type"),
)


def fetch_set(source: Source, web: Web, folder: Path, place: Path, progress: OnProgress) -> Record:
    """Bring the files that the GDC lists for a source into `place`; what is there and right stays.

    Beside them lies ``gdc_sample_sheet.NAME.tsv``, with the columns of the GDC's own sample sheets. Files that the
    list no longer names are left out of the record, and refused as a mixture of releases.

    Raises
    ------
    DownloadError
        If the list or a file cannot be had; what has come stays, and the next call goes on.
    """
    try:
        listed = list_gdc(source, web, folder)
    except DownloadError as error:
        raise DownloadError(_by_hand(source, place, str(error))) from None
    place.mkdir(exist_ok=True)
    sheet = place / f"gdc_sample_sheet.{source.name}.tsv"
    named = {file.filename for file in listed} | {sheet.name}
    if odd := sorted(p.name for p in place.iterdir() if p.name not in named and ".part" not in p.suffixes):
        raise DownloadError(
            f"{place} holds {len(odd)} files that the GDC does not list now, e.g. {odd[0]}: another release, or your "
            "own. Move them away, and ask again."
        )
    _fetch_all(source, web, listed, place, progress)
    _write_sheet(sheet, listed)
    files = {path.name: FileMark.of(path) for path in sorted(place.iterdir()) if path.name in named}
    return Record(source.name, redact(source.listing), "md5", files=files)


def _fetch_all(source: Source, web: Web, listed: list[Listed], place: Path, progress: OnProgress) -> None:
    total = sum(file.size or 0 for file in listed)
    done: dict[str, int] = {}
    lock, stop = threading.Lock(), threading.Event()

    def bring(file: Listed) -> None:
        if stop.is_set():
            return
        expected = Expected(file.filename, size=file.size, md5=file.md5)

        def tell(n_bytes: int, of: int) -> None:
            with lock:
                done[file.filename] = n_bytes
                progress(sum(done.values()), total)

        if not matches(place / file.filename, expected):
            download(web, Link(file.url), expected, place / file.filename, quarantine_dir(), tell)
        tell(file.size or 0, total)

    check_room(place, total - sum(p.stat().st_size for p in place.iterdir() if p.is_file()))
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="files") as pool:
        try:
            jobs = [pool.submit(bring, file) for file in listed]
            wait(jobs, return_when=FIRST_EXCEPTION)
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
    failed = [str(error) for job in jobs if not job.cancelled() and (error := job.exception()) is not None]
    if failed:
        here = sum((place / file.filename).is_file() for file in listed)
        raise DownloadError(_by_hand(source, place, f"{failed[0]}\n  - {here:,} of {len(listed):,} files are here"))


def _write_sheet(path: Path, listed: list[Listed]) -> None:
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, SHEET_COLUMNS, delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(dict(file.about or {}) for file in listed)


def _by_hand(source: Source, place: Path, problem: str) -> str:
    return (
        f"{source.title} could not be fetched:\n  - {problem}\n"
        "What has come is kept, and the next call goes on from there. Offline? Choose the files in the portal "
        f"({source.page}), fetch them on another machine with the manifest and the GDC's own client, and put them "
        f"side by side into\n  {place}\nThey are used if their md5 is the one that the GDC lists."
    )
