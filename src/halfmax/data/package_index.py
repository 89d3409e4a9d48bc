"""Where the user's own pip would look: its settings, and the links to one file of a project found there.

Nothing is installed, imported or built. ``pip download`` of a source archive runs the archive's own set-up script,
which is why the links are read here.
"""

from __future__ import annotations

import configparser
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit
from urllib.request import url2pathname

import requests
from platformdirs import site_config_dir, user_config_dir
from pypi_simple import (
    ACCEPT_ANY,
    PYPI_SIMPLE_ENDPOINT,
    ProjectPage,
    UnsupportedContentTypeError,
    UnsupportedRepoVersionError,
)
from requests.auth import AuthBase, HTTPBasicAuth
from requests.utils import get_netrc_auth

from halfmax.errors import DownloadError

#: pip's own default for a silent connection [s].
TIMEOUT = 15.0
_TRUE = frozenset({"1", "true", "yes", "on", "y", "t"})


@dataclass(frozen=True)
class Link:
    """A place where a file can be had: a URL, or a path on this machine."""

    url: str
    sha256: str | None = None

    @property
    def path(self) -> Path | None:
        """The local file, if it is one."""
        return local_path(self.url)

    def __str__(self) -> str:
        return redact(self.url)


@dataclass(frozen=True)
class IndexSettings:
    """What pip's configuration says of package indexes.

    Parameters
    ----------
    indexes
        Simple indexes, the main one first; empty with ``no-index``.
    find_links
        Folders, and pages with links.
    verify
        A file of certificates; True for the default ones.
    client_cert, proxy
        As pip's options of these names.
    trusted_hosts
        Hosts (with or without port) whose certificates are not checked.
    """

    indexes: tuple[str, ...] = (PYPI_SIMPLE_ENDPOINT,)
    find_links: tuple[str, ...] = ()
    verify: str | bool = True
    client_cert: str | None = None
    proxy: str | None = None
    trusted_hosts: tuple[str, ...] = ()
    timeout: float = TIMEOUT

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


@dataclass
class Web:
    """HTTP under pip's settings: proxy, certificates, and the credentials that belong to a host."""

    settings: IndexSettings
    session: requests.Session = field(default_factory=requests.Session)

    def __post_init__(self) -> None:
        self.session.auth = _HostAuth((*self.settings.indexes, *self.settings.find_links))
        if self.settings.proxy:
            self.session.proxies = {"http": self.settings.proxy, "https": self.settings.proxy}
        if self.settings.client_cert:
            self.session.cert = self.settings.client_cert

    def get(self, url: str, headers: Mapping[str, str]) -> requests.Response:
        """Open a URL; the body is left to be read."""
        parts = urlsplit(url)
        trusted = {parts.hostname, parts.netloc.rpartition("@")[2]} & set(self.settings.trusted_hosts)
        verify = False if trusted else self.settings.verify
        bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        return self.session.get(
            bare,
            headers=dict(headers),
            stream=True,
            timeout=(min(self.settings.timeout, 30.0), self.settings.timeout),
            verify=verify,
            auth=_basic(url),
        )


def find_links(web: Web, project: str, filename: str) -> tuple[list[Link], list[str]]:
    """Return the places that offer `filename` of `project`, and what went wrong elsewhere, as text."""
    links: list[Link] = []
    problems: list[str] = []
    places = [(place, False) for place in web.settings.find_links]
    places += [(f"{index.rstrip('/')}/{project}/", True) for index in web.settings.indexes]
    for place, is_index in places:
        try:
            found = list(_offers(web, place, project, filename, is_index=is_index))
        except (OSError, ValueError, UnsupportedContentTypeError, UnsupportedRepoVersionError) as error:
            problems.append(f"{redact(place)}: {_short(error)}")
            continue
        if not found:
            problems.append(f"{redact(place)}: does not offer {filename}")
        links += found
    return list(dict.fromkeys(links)), problems


def local_path(url: str) -> Path | None:
    """Return the path of a ``file:`` URL or of a plain path; None for other URLs."""
    parts = urlsplit(url)
    if parts.scheme == "file":
        return Path(url2pathname(parts.path))
    return Path(url).expanduser() if len(parts.scheme) < 2 else None  # one letter is a drive


def redact(url: str) -> str:
    """Return a URL without its password, query and fragment, fit for messages."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    return urlunsplit((parts.scheme, f"{'***' if user else ''}{at}{host}", parts.path, "", ""))


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


class _HostAuth(AuthBase):
    """Credentials given in the URL of an index, for files on the same host; else those of ~/.netrc."""

    def __init__(self, urls: tuple[str, ...]) -> None:
        self._by_host = {urlsplit(url).netloc.rpartition("@")[2]: auth for url in urls if (auth := _basic(url))}

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        url = request.url or ""
        auth = self._by_host.get(urlsplit(url).netloc)
        if auth is None and (netrc := get_netrc_auth(url)):
            auth = HTTPBasicAuth(*netrc)
        return request if auth is None else auth(request)


def _basic(url: str) -> HTTPBasicAuth | None:
    parts = urlsplit(url)
    if parts.username is None or parts.scheme not in ("http", "https"):
        return None
    return HTTPBasicAuth(unquote(parts.username), unquote(parts.password or ""))


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
            raise DownloadError(f"pip's settings in {path} cannot be read: {_short(error)}.") from None
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


def _short(error: Exception) -> str:
    response = getattr(error, "response", None)
    if response is not None:
        return f"HTTP {response.status_code}"
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:160]}"
