"""The download engine: whatever the server does, the right bytes come whole, or an error that says what to do."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import numpy as np
import pytest

from halfmax.data import download as engine
from halfmax.data import partial as partial_module
from halfmax.data.download import download
from halfmax.data.partial import Partial
from halfmax.data.verify import Expected, wrong_form
from halfmax.data.web import REDIRECTS, Link, Web, WebSettings, follow
from halfmax.errors import DownloadError
from tests.data.faulty_server import CONTENT, Faults, FaultyServer, serving

OTHER = b"PK\x03\x04" + np.random.default_rng(1).bytes(2_500_000)
KNOWN = Expected("file.bin", hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))
UNKNOWN = Expected("file.bin")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyServer]:
    monkeypatch.setattr(engine, "BACKOFF", 0.01)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with serving(Faults()) as made:
        yield made


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(engine, "PARALLEL_FROM", 1_000_000)
    return engine.PARTS


def get(server: FaultyServer, folder: Path, expected: Expected = UNKNOWN, path: str = "/file.bin") -> bytes:
    target = folder / expected.filename
    web = Web(WebSettings(timeout=5.0))
    came = download(web, Link(server.origin + path), expected, target, folder / "quarantine", lambda done, of: None)
    content = target.read_bytes()
    assert came.sha256 == hashlib.sha256(content).hexdigest()
    assert came.size == len(content)
    assert not list(folder.glob("*.part*"))
    return content


def ranges(server: FaultyServer) -> list[str | None]:
    return [asked.get("Range") for asked in server.tricks.asked]


def test_a_large_file_comes_in_parts_of_one_version(server: FaultyServer, tmp_path: Path, parts: int) -> None:
    told: list[tuple[int, int]] = []
    target = tmp_path / "file.bin"
    download(
        Web(WebSettings()), Link(server.origin), UNKNOWN, target, tmp_path, lambda done, of: told.append((done, of))
    )
    assert target.read_bytes() == CONTENT
    first, *others = server.tricks.asked
    assert "Range" not in first
    cuts = [len(CONTENT) * i // parts for i in range(parts)]
    assert sorted(int(asked["Range"][6:].split("-")[0]) for asked in others) == cuts
    assert {asked["If-Range"] for asked in others} == {'"one"'}
    assert told == sorted(told)
    assert told[-1] == (len(CONTENT), len(CONTENT))


@pytest.mark.usefixtures("parts")
def test_each_part_is_resumed_by_itself(server: FaultyServer, tmp_path: Path) -> None:
    server.tricks.cut_after = [0, 100_000, 300_000, 0, 200_000, 50_000]
    assert get(server, tmp_path) == CONTENT
    assert len(server.tricks.asked) == 1 + engine.PARTS + 5


@pytest.mark.usefixtures("parts")
def test_a_server_that_boasts_of_ranges_gets_one_request_for_the_whole(server: FaultyServer, tmp_path: Path) -> None:
    def forget(tricks: Faults) -> None:
        tricks.ranges = len(tricks.asked) < 2

    server.tricks.before = forget
    assert get(server, tmp_path) == CONTENT
    assert ranges(server)[-1] is None


@pytest.mark.usefixtures("parts")
@pytest.mark.parametrize("heed", [True, False])
@pytest.mark.parametrize("at", [2, 3, 4, 5])
def test_parts_of_two_versions_are_never_joined(server: FaultyServer, tmp_path: Path, heed: bool, at: int) -> None:
    def change(tricks: Faults) -> None:
        if len(tricks.asked) >= at:
            tricks.content, tricks.etag = OTHER, '"two"'

    server.tricks.before, server.tricks.heed_if_range = change, heed
    assert get(server, tmp_path) == OTHER


@pytest.mark.parametrize("heed", [True, False])
@pytest.mark.parametrize("date", [True, False])
def test_a_file_that_changes_after_a_cut_is_fetched_whole(
    server: FaultyServer, tmp_path: Path, heed: bool, date: bool
) -> None:
    def change(tricks: Faults) -> None:
        if len(tricks.asked) == 2:
            tricks.content, tricks.etag = OTHER, "" if date else '"two"'
            tricks.last_modified = "Tue, 02 Jan 2024 00:00:00 GMT" if date else ""

    tricks = server.tricks
    tricks.before, tricks.heed_if_range, tricks.cut_after = change, heed, [1_500_000]
    tricks.etag = "" if date else '"one"'
    tricks.last_modified = "Mon, 01 Jan 2024 00:00:00 GMT" if date else ""
    assert get(server, tmp_path) == OTHER
    assert tricks.asked[1]["If-Range"] == ("Mon, 01 Jan 2024 00:00:00 GMT" if date else '"one"')


@pytest.mark.parametrize("in_parts", [False, True])
@pytest.mark.parametrize("by", ["etag", "size"])
def test_each_sign_of_a_change_is_enough(
    server: FaultyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str, in_parts: bool
) -> None:
    other = CONTENT[:4] + CONTENT[:3:-1] + (OTHER if by == "size" else b"")

    def change(tricks: Faults) -> None:
        if len(tricks.asked) >= 2:
            tricks.content, tricks.etag = other, '"two"' if by == "etag" else ""

    monkeypatch.setattr(engine, "PARALLEL_FROM", 1_000_000 if in_parts else 10**9)
    server.tricks.before, server.tricks.heed_if_range, server.tricks.cut_after = change, False, [1_500_000]
    assert get(server, tmp_path) == other


def test_a_continued_file_with_another_digest_is_fetched_whole(server: FaultyServer, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(bytes(1_000_000))
    journal = {"url": f"{server.origin}/file.bin", "size": len(CONTENT), "if_range": '"one"'}
    journal["spans"] = [[0, len(CONTENT), 1_000_000]]
    (tmp_path / "file.bin.part.json").write_text(json.dumps(journal))
    assert get(server, tmp_path, KNOWN) == CONTENT
    assert ranges(server) == ["bytes=1000000-", None]


@pytest.mark.parametrize("etag", ["", 'W/"weak"'])
def test_without_a_digest_and_a_version_nothing_is_continued(server: FaultyServer, tmp_path: Path, etag: str) -> None:
    server.tricks.etag, server.tricks.cut_after = etag, [1_500_000]
    assert get(server, tmp_path) == CONTENT
    assert ranges(server) == [None, None]


def test_with_a_digest_it_is_continued_without_a_version(server: FaultyServer, tmp_path: Path) -> None:
    server.tricks.etag, server.tricks.cut_after = "", [1_500_000]
    assert get(server, tmp_path, KNOWN) == CONTENT
    assert ranges(server) == [None, "bytes=1500000-"]


def test_a_server_that_drips_is_cut_and_asked_again(
    server: FaultyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "STALL_SECONDS", 0.3)
    server.tricks.slow = [(500, 0.05)]
    began = time.monotonic()
    assert get(server, tmp_path) == CONTENT
    assert time.monotonic() - began < 5
    assert int((ranges(server)[1] or "")[6:-1]) < engine.STALL_BYTES


def test_a_server_that_falls_silent_is_asked_again(server: FaultyServer, tmp_path: Path) -> None:
    server.tricks.slow = [(400_000, 1.5)]
    target = tmp_path / "f"
    web = Web(WebSettings(timeout=0.4))
    download(web, Link(server.origin), UNKNOWN, target, tmp_path, lambda done, of: None)
    assert target.read_bytes() == CONTENT
    assert ranges(server) == [None, "bytes=400000-"]


@pytest.mark.parametrize("cut", [[], [1_200_000], [0, 1_200_000, 700_000]])
def test_a_body_in_chunks_is_whole_only_with_its_end(server: FaultyServer, tmp_path: Path, cut: list[int]) -> None:
    server.tricks.chunked, server.tricks.cut_after = True, cut
    assert get(server, tmp_path) == CONTENT


def test_a_body_of_unknown_length_needs_a_size_or_a_digest(server: FaultyServer, tmp_path: Path) -> None:
    server.tricks.length, server.tricks.cut_after = False, [1_200_000]
    assert get(server, tmp_path, KNOWN) == CONTENT
    with pytest.raises(DownloadError, match="does not say how long the file is"):
        get(server, tmp_path)


def test_a_page_in_the_middle_leaves_what_is_here(server: FaultyServer, tmp_path: Path) -> None:
    def captcha(tricks: Faults) -> None:
        tricks.html = b"<html>Are you human?</html>" if len(tricks.asked) == 2 else None

    server.tricks.before, server.tricks.cut_after = captcha, [1_500_000]
    with pytest.raises(DownloadError, match="a web page instead of the file"):
        get(server, tmp_path)
    assert get(server, tmp_path) == CONTENT
    assert ranges(server)[2] == "bytes=1500000-"


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("x.csv", b'{"error": "quota exceeded"}', "a JSON message"),
        ("x.xlsx", b"\n<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "a web page"),
        ("x.csv", b"Access denied\n", "no columns"),
        ("x.tsv", b"\x1f\x8b\x08compressed", "not text"),
        ("x.csv.gz", b"a,b\n1,2\n", "does not begin as a gz file"),
        ("x.zip", b"PK\x03\x04" + bytes(1000), "no directory"),
        ("x.h5ad", b"a,b\n", "does not begin as a hdf5 file"),
        ("x.csv", b"", "empty"),
    ],
)
def test_what_is_not_of_the_form_is_refused(
    server: FaultyServer, tmp_path: Path, name: str, content: bytes, why: str
) -> None:
    server.tricks.content = content
    with pytest.raises(DownloadError, match=why):
        get(server, tmp_path, Expected(name))
    assert not (tmp_path / name).exists()
    for kept in tmp_path.glob("quarantine/*.why.json"):
        reason = json.loads(kept.read_text(encoding="utf-8"))
        assert why in reason["reason"]
        assert reason["sha256"] == hashlib.sha256(content).hexdigest()


def test_good_forms_are_let_through(tmp_path: Path) -> None:
    good = {"a.csv": b"\xef\xbb\xbfa,b\n", "b.maf": b"#version 2.4\nHugo_Symbol\tx\n", "c.tsv": "a\tb".encode("utf-16")}
    for name, content in (good | {"d.json": b'{"a": 1}', "e.gz": b"\x1f\x8b\x08", "f": b"anything"}).items():
        (tmp_path / name).write_bytes(content)
        assert wrong_form(tmp_path / name, Expected(name)) is None


def test_a_busy_server_is_given_the_time_it_asks_for(server: FaultyServer, tmp_path: Path) -> None:
    server.tricks.status, server.tricks.retry_after = [503], "1"
    began = time.monotonic()
    assert get(server, tmp_path) == CONTENT
    assert time.monotonic() - began >= 1.0
    server.tricks.status, server.tricks.retry_after = [429], "3600"
    with pytest.raises(DownloadError, match="come back in 3,600 s"):
        get(server, tmp_path)


def test_retry_after_is_seconds_or_a_date() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert engine._retry_after("7") == 7.0
    assert 55 < engine._retry_after(later) <= 60
    assert engine._retry_after("Mon, 01 Jan 2024 00:00:00 GMT") == 0.0
    assert engine._retry_after("soon") == engine._retry_after("") == 0.0


def test_pauses_double_and_are_spread(server: FaultyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "BACKOFF", 0.02)
    server.tricks.status = [503] * 4
    began = time.monotonic()
    assert get(server, tmp_path) == CONTENT
    assert time.monotonic() - began >= 0.02 * (1 + 2 + 4 + 8) * 0.5


def test_redirects_are_followed_from_the_first_address_each_time(server: FaultyServer, tmp_path: Path) -> None:
    server.tricks.moved = {"/file.bin": "/signed?key=1", "/signed?key=1": f"{server.origin}/last"}
    server.tricks.cut_after = [1_500_000]
    assert get(server, tmp_path) == CONTENT
    assert [asked["path"] for asked in server.tricks.asked] == ["/file.bin", "/signed?key=1", "/last"] * 2
    assert ranges(server)[3:] == ["bytes=1500000-"] * 3


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("/file.bin", f"redirects more than {REDIRECTS} times"),
        ("file:///etc/hostname", "only https and http are fetched, not 'file'"),
        ("ftp://127.0.0.1/x", "not 'ftp'"),
        ("", "leads nowhere"),
    ],
)
def test_bad_redirects_are_refused(server: FaultyServer, tmp_path: Path, target: str, why: str) -> None:
    server.tricks.moved = {"/file.bin": target}
    with pytest.raises(DownloadError, match=why):
        get(server, tmp_path)
    assert len(server.tricks.asked) <= REDIRECTS + 1


def test_https_is_not_left_for_http_and_no_password_is_taken_along() -> None:
    with pytest.raises(DownloadError, match="not encrypted"):
        follow("https://a.example/x", "http://a.example/x")
    assert follow("http://a.example/x", "https://me:pw@b.example/y#z") == "https://b.example/y"


def test_a_disk_without_room_is_found_before_the_body_comes(
    server: FaultyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: real._replace(free=2_000_000))
    with pytest.raises(DownloadError, match=r"3\.0 MB are to come, and the disk of .* has 2\.0 MB left"):
        get(server, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "journal",
    [
        "",
        "[]",
        "{}",
        '{"url": "U", "size": 9, "if_range": "", "spans": [[0, 9, 5]]}',
        '{"url": "U", "size": 4, "if_range": "", "spans": [[0, 2, 2], [3, 4, 4]]}',
        '{"url": "U", "size": 4, "if_range": "", "spans": [[0, 4, 9]]}',
        '{"url": "V", "size": 4, "if_range": "", "spans": [[0, 4, 4]]}',
        '{"url": "U", "size": 4, "if_range": "", "spans": "no"}',
    ],
)
def test_a_journal_that_does_not_fit_is_forgotten(tmp_path: Path, journal: str) -> None:
    (tmp_path / "x.part").write_bytes(b"PKPK")
    (tmp_path / "x.part.json").write_text(journal)
    assert Partial(tmp_path / "x.part", "U").n_bytes == 0
    assert not list(tmp_path.iterdir())


def test_a_journal_that_fits_is_taken_up(tmp_path: Path) -> None:
    (tmp_path / "x.part").write_bytes(b"PKPK")
    (tmp_path / "x.part.json").write_text('{"url": "U", "size": 4, "if_range": "t", "spans": [[0, 2, 2], [2, 4, 3]]}')
    found = Partial(tmp_path / "x.part", "U")
    assert (found.n_bytes, found.validator, len(found.missing())) == (3, "t", 1)


@pytest.mark.parametrize("in_parts", [False, True])
def test_killed_in_the_middle_the_next_one_goes_on(server: FaultyServer, tmp_path: Path, in_parts: bool) -> None:
    program = (
        "import sys, time\nfrom pathlib import Path\n"
        "from halfmax.data import download as engine, partial\n"
        "from halfmax.data.verify import Expected\nfrom halfmax.data.web import Link, Web, WebSettings\n"
        "url, target, limit, stop = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])\n"
        "engine.PARALLEL_FROM, partial.JOURNAL_SECONDS = limit, 0.0\n"
        "def tell(done, of):\n"
        "    if done >= stop:\n"
        "        print(done, flush=True)\n"
        "        time.sleep(600)\n"  # it never gets further, however fast or slow the machine is
        "engine.download(Web(WebSettings()), Link(url), Expected('file.bin'), target, target.parent, tell)\n"
    )
    limit, stop = 1_000_000 if in_parts else 10**9, 2_000_000
    server.tricks.slow = [(50_000, 0.01)] * 6
    command = [sys.executable, "-c", program, f"{server.origin}/file.bin", str(tmp_path / "file.bin")]
    child = subprocess.Popen([*command, str(limit), str(stop)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    reached = int(child.stdout.readline())
    child.kill()
    child.communicate()
    assert not (tmp_path / "file.bin").exists()
    kept = Partial(tmp_path / "file.bin.part", f"{server.origin}/file.bin").n_bytes
    assert kept >= reached - engine.PARTS * engine.CHUNK  # a part may lack the chunk that was on its way to the disk
    n_asked = len(server.tricks.asked)
    server.tricks.slow = []
    assert get(server, tmp_path) == CONTENT
    fresh = server.tricks.asked[n_asked:]
    assert len(fresh) <= engine.PARTS
    assert all("Range" in asked and asked["If-Range"] == '"one"' for asked in fresh)


def test_the_journal_never_claims_what_is_not_on_the_disk(
    server: FaultyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partial_module, "JOURNAL_BYTES", 100_000)
    claims: list[tuple[int, int]] = []
    save = Partial.save

    def spy(self: Partial) -> None:
        claims.append((self.spans[0].safe, self.path.stat().st_size))
        save(self)

    monkeypatch.setattr(Partial, "save", spy)
    assert get(server, tmp_path) == CONTENT
    assert len(claims) > 10
    assert all(safe <= there for safe, there in claims)
