"""HTTP under the user's own settings: proxy, certificates, credentials of a host; redirects that stay safe."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit
from urllib.request import url2pathname

import requests
from requests.auth import AuthBase, HTTPBasicAuth
from requests.utils import get_netrc_auth

from halfmax.errors import DownloadError

#: pip's own default for a silent connection [s].
TIMEOUT = 15.0
#: Most redirects of one request.
REDIRECTS = 10
_MOVED = frozenset({301, 302, 303, 307, 308})


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
class WebSettings:
    """How to reach the web.

    Parameters
    ----------
    verify
        A file of certificates; True for the default ones.
    client_cert, proxy
        As pip's options of these names.
    trusted_hosts
        Hosts (with or without port) whose certificates are not checked.
    timeout
        Longest silence of a connection [s].
    """

    verify: str | bool = True
    client_cert: str | None = None
    proxy: str | None = None
    trusted_hosts: tuple[str, ...] = ()
    timeout: float = TIMEOUT

    @property
    def places(self) -> tuple[str, ...]:
        """URLs whose credentials are for every file on the same host."""
        return ()


class Web:
    """Sends requests; one session a thread, so that parts of a file can be fetched side by side.

    Parameters
    ----------
    settings
        How to reach the web.
    """

    def __init__(self, settings: WebSettings) -> None:
        self.settings = settings
        self._local = threading.local()

    def get(self, url: str, headers: Mapping[str, str]) -> requests.Response:
        """Open a URL, following redirects; the body is left to be read.

        Raises
        ------
        DownloadError
            If the address or a redirect is not http(s), if a redirect leaves https for http, or after too many.
        requests.RequestException
            If there is no answer.
        """
        start = url
        _check_scheme(url, "is")
        for _ in range(REDIRECTS + 1):
            response = self._ask(url, headers)
            if response.status_code not in _MOVED:
                return response
            target = response.headers.get("Location", "")
            response.close()
            url = follow(url, target)
        raise DownloadError(f"{redact(start)} redirects more than {REDIRECTS} times; the last was to {redact(url)}.")

    def _ask(self, url: str, headers: Mapping[str, str]) -> requests.Response:
        parts = urlsplit(url)
        trusted = {parts.hostname, parts.netloc.rpartition("@")[2]} & set(self.settings.trusted_hosts)
        return self._session().get(
            _bare(url),
            headers=dict(headers),
            stream=True,
            allow_redirects=False,
            timeout=(min(self.settings.timeout, 30.0), self.settings.timeout),
            verify=False if trusted else self.settings.verify,
            auth=basic_auth(url),
        )

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = requests.Session()
            session.auth = _HostAuth(self.settings.places)
            if self.settings.proxy:
                session.proxies = {"http": self.settings.proxy, "https": self.settings.proxy}
            if self.settings.client_cert:
                session.cert = self.settings.client_cert
            self._local.session = session
        return session


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


def follow(url: str, target: str) -> str:
    """Return where a redirect or a link leads; credentials that it carries are left out.

    Raises
    ------
    DownloadError
        If it leads nowhere, to something that is not http(s), or from https to http.
    """
    if not target:
        raise DownloadError(f"{redact(url)} leads nowhere.")
    new = _bare(urljoin(_bare(url), target))
    _check_scheme(new, f"({redact(url)}) leads to")
    if urlsplit(url).scheme == "https" and urlsplit(new).scheme == "http":
        raise DownloadError(
            f"{redact(url)} leads to {redact(new)}, which is not encrypted: on the way anybody could change "
            "the file. It is not followed."
        )
    return new


def basic_auth(url: str) -> HTTPBasicAuth | None:
    """Return the credentials that stand in a URL, if any."""
    parts = urlsplit(url)
    if parts.username is None or parts.scheme not in ("http", "https"):
        return None
    return HTTPBasicAuth(unquote(parts.username), unquote(parts.password or ""))


def short_reason(error: Exception) -> str:
    """Return an error in one short line."""
    response = getattr(error, "response", None)
    if response is not None:
        return f"HTTP {response.status_code}"
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:160]}"


class _HostAuth(AuthBase):
    """Credentials given in the URL of an index, for files on the same host; else those of ~/.netrc."""

    def __init__(self, urls: tuple[str, ...]) -> None:
        found = {urlsplit(url).netloc.rpartition("@")[2]: basic_auth(url) for url in urls}
        self._by_host = {host: auth for host, auth in found.items() if auth}

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        url = request.url or ""
        auth = self._by_host.get(urlsplit(url).netloc)
        if auth is None and (netrc := get_netrc_auth(url)):
            auth = HTTPBasicAuth(*netrc)
        return request if auth is None else auth(request)


def _check_scheme(url: str, verb: str) -> None:
    scheme = urlsplit(url).scheme
    if scheme not in ("http", "https"):
        raise DownloadError(f"the address {verb} {redact(url)}: only https and http are fetched, not {scheme!r}.")


def _bare(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment=""))
