"""Where the user's own pip would look: its settings, and the links to one file of a project found there.

Nothing is installed, imported or built. ``pip download`` of a source archive runs the archive's own set-up script,
which is why the links are read here.
"""

from __future__ import annotations

import configparser
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

from platformdirs import site_config_dir, user_config_dir
from pypi_simple import (
    ACCEPT_ANY,
    PYPI_SIMPLE_ENDPOINT,
    ProjectPage,
    UnsupportedContentTypeError,
    UnsupportedRepoVersionError,
)

from halfmax.data.web import TIMEOUT, Link, Web, WebSettings, local_path, redact, short_reason
from halfmax.errors import DownloadError

_TRUE = frozenset({"1", "true", "yes", "on", "y", "t"})


@dataclass(frozen=True)
class IndexSettings(WebSettings):
    """What pip's configuration says of package indexes.

    Parameters
    ----------
    indexes
        Simple indexes, the main one first; empty with ``no-index``.
    find_links
        Folders, and pages with links.
    """

    indexes: tuple[str, ...] = (PYPI_SIMPLE_ENDPOINT,)
    find_links: tuple[str, ...] = ()

    @property
    def places(self) -> tuple[str, ...]:
        """The indexes, folders and pages."""
        return (*self.indexes, *self.find_links)

    @classmethod
    def of_user(cls, environ: Mapping[str, str] = os.environ) -> IndexSettings:
        """Read pip's files and environment variables, the latter first."""
        options = _from_files(environ) | _from_environment(environ)
        main = options.get("index-url", options.get("pypi-url", PYPI_SIMPLE_ENDPOINT))
        indexes = (main, *_words(options, "extra-index-url"))
        try:
            timeout = float(options.get("timeout", options.get("default-timeout", TIMEOUT)))
        except ValueError:
            timeout = TIMEOUT
        return cls(
            indexes=() if options.get("no-index", "").strip().lower() in _TRUE else tuple(dict.fromkeys(indexes)),
            find_links=tuple(_words(options, "find-links")),
            verify=options.get("cert") or True,
            client_cert=options.get("client-cert") or None,
            proxy=options.get("proxy") or None,
            trusted_hosts=tuple(_words(options, "trusted-host")),
            timeout=max(1.0, timeout),
        )


def find_links(web: Web, settings: IndexSettings, project: str, filename: str) -> tuple[list[Link], list[str]]:
    """Return the places that offer `filename` of `project`, and what went wrong elsewhere, as text."""
    links: list[Link] = []
    problems: list[str] = []
    places = [(place, False) for place in settings.find_links]
    places += [(f"{index.rstrip('/')}/{project}/", True) for index in settings.indexes]
    for place, is_index in places:
        try:
            found = list(_offers(web, place, project, filename, is_index=is_index))
        except (OSError, ValueError, UnsupportedContentTypeError, UnsupportedRepoVersionError) as error:
            problems.append(f"{redact(place)}: {short_reason(error)}")
            continue
        if not found:
            problems.append(f"{redact(place)}: does not offer {filename}")
        links += found
    return list(dict.fromkeys(links)), problems


def _offers(web: Web, place: str, project: str, filename: str, *, is_index: bool) -> Iterator[Link]:
    path = local_path(place)
    if path is None:
        response = web.get(place, {"Accept": ACCEPT_ANY if is_index else "text/html"})
        with response:
            response.raise_for_status()
            page, base = ProjectPage.from_response(response, project), response.url
    elif path.is_dir() and (path / filename).is_file():
        yield Link((path / filename).absolute().as_uri())
        return
    else:
        path = path / "index.html" if path.is_dir() and is_index else path
        if path.is_dir():
            return
        base = path.absolute().as_uri()
        page = ProjectPage.from_html(project, path.read_bytes(), base_url=base)
    for package in page.packages:
        if package.filename == filename:
            yield Link(urljoin(base, package.url), package.digests.get("sha256"))


def _from_environment(environ: Mapping[str, str]) -> dict[str, str]:
    prefix = "PIP_"
    return {k[len(prefix) :].lower().replace("_", "-"): v for k, v in environ.items() if k.startswith(prefix) and v}


def _from_files(environ: Mapping[str, str]) -> dict[str, str]:
    options: dict[str, str] = {}
    for path in _files(environ):
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError) as error:
            raise DownloadError(f"pip's settings in {path} cannot be read: {short_reason(error)}.") from None
        for section in ("global", "install", "download"):
            if parser.has_section(section):
                options |= {key.replace("_", "-"): value for key, value in parser.items(section) if value}
    return options


def _files(environ: Mapping[str, str]) -> list[Path]:
    """Return the places of pip's settings, those that count more later."""
    own = environ.get("PIP_CONFIG_FILE")
    if own == os.devnull:
        return []
    name = "pip.ini" if sys.platform == "win32" else "pip.conf"
    shared = site_config_dir("pip", appauthor=False, multipath=True).split(os.pathsep)
    files = [Path(folder) / name for folder in shared]
    if sys.platform != "win32":
        files += [Path("/etc") / name]
    home = Path.home()
    files += [home / ("pip" if sys.platform == "win32" else ".pip") / name]
    if sys.platform == "darwin":
        files += [home / ".config" / "pip" / name]
    files += [Path(user_config_dir("pip", appauthor=False, roaming=True)) / name, Path(sys.prefix) / name]
    return [*files, *([Path(own)] if own else [])]


def _words(options: Mapping[str, str], key: str) -> list[str]:
    return options.get(key, "").split()
