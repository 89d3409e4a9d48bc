"""Official downloads by name: terms first, the first digest for ever after, provider lists, and help when offline."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from halfmax.data import download as engine
from halfmax.data import listings, records
from halfmax.data import sources as module
from halfmax.data.cache import cache_dir
from halfmax.data.readers.glimpse import Glimpse
from halfmax.data.readers.kinds import KINDS, FileKind, Reading
from halfmax.data.source_table import Source, Terms
from halfmax.data.sources import describe, fetch, get_source, list_sources, place_of
from halfmax.data.web import WebSettings
from halfmax.errors import DownloadError, UnknownNameError
from tests.data.faulty_server import Faults, FaultyServer, serving

TABLE = b"sample,drug,ln_ic50\n" + b"A,x,1.5\n" * 200_000
NEWER = TABLE.replace(b"1.5", b"2.5")
OPEN = Terms("open", "CC0", "Do as you like.", "https://example.org/terms", accept=False)
STRICT = Terms("strict", "own", "Research only.", "https://example.org/strict", accept=True)
SETTINGS = WebSettings(timeout=5.0)
Put = Callable[..., Source]


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FaultyServer]:
    monkeypatch.setattr(engine, "BACKOFF", 0.01)
    monkeypatch.setenv("HALFMAX_HOME", str(tmp_path))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with serving(Faults(content=b"", files={"/t.csv": TABLE}, status=[])) as made:
        yield made


@pytest.fixture
def put(server: FaultyServer, monkeypatch: pytest.MonkeyPatch) -> Put:
    """Return a function that makes a source of the server the only one that is known."""

    def add(**change: Any) -> Source:
        base: dict[str, Any] = {"urls": () if "listing" in change else (f"{server.origin}/t.csv",), "terms": OPEN}
        base |= {"name": "thing", "title": "A thing", "provider": "Someone", "kind": "", "filename": "t.csv"}
        source = Source(**base | {"page": "https://example.org/page", "citations": ()} | change)
        monkeypatch.setattr(module, "sources", lambda: {source.name: source})
        return source

    return add


def got(**options: Any) -> Path:
    return fetch("thing", settings=SETTINGS, **options)


def test_the_first_digest_is_recorded_and_holds(server: FaultyServer, put: Put) -> None:
    source = put()
    told: list[tuple[int, int]] = []
    path = got(progress=lambda done, of: told.append((done, of)))
    assert path == place_of(source)
    assert path.read_bytes() == TABLE
    assert told[-1] == (len(TABLE), len(TABLE))
    record = describe("thing")["record"]
    assert record["file"] == {"sha256": sha(TABLE), "size": len(TABLE)}
    assert (record["trust"], record["version"], record["url"]) == ("first", '"one"', source.urls[0])
    assert got() == path
    assert len(server.tricks.asked) == 1
    assert list_sources()[0]["cached"]


def test_a_damaged_file_is_set_aside_and_fetched_again(server: FaultyServer, put: Put, tmp_path: Path) -> None:
    put()
    path = got()
    path.write_bytes(TABLE[:-8] + b"A,x,9.9\n")
    assert got().read_bytes() == TABLE
    assert len(list((tmp_path / "quarantine").glob("*-t.csv"))) == 1
    assert describe("thing")["record"]["trust"] == "recorded"
    assert describe("thing")["record"]["earlier"] == []


def test_a_new_version_upstream_is_refused_until_it_is_asked_for(server: FaultyServer, put: Put) -> None:
    put()
    got().unlink()
    server.tricks.files["/t.csv"], server.tricks.etag = NEWER, '"two"'
    with pytest.raises(DownloadError) as caught:
        got()
    for part in (sha(TABLE), sha(NEWER), "renew=True", "--renew", "recorded on"):
        assert part in str(caught.value)
    assert not place_of(get_source("thing")).exists()
    assert got(renew=True).read_bytes() == NEWER
    record = describe("thing")["record"]
    assert record["file"]["sha256"] == sha(NEWER)
    assert [old["sha256"] for old in record["earlier"]] == [sha(TABLE)]
    assert got().read_bytes() == NEWER


def test_a_shipped_digest_is_not_overruled(server: FaultyServer, put: Put) -> None:
    put(sha256=sha(NEWER), size=len(NEWER))
    for renew in (False, True):
        with pytest.raises(DownloadError) as caught:
            got(renew=renew)
        assert sha(TABLE) in str(caught.value)
        assert sha(NEWER) in str(caught.value)
    assert describe("thing")["record"] is None


def test_a_digest_that_comes_to_be_shipped_holds_for_what_is_here(put: Put, tmp_path: Path) -> None:
    put()
    got()
    put(sha256=sha(NEWER), size=len(NEWER))
    with pytest.raises(DownloadError, match=f"sha256 is {sha(TABLE)} .* instead of {sha(NEWER)}"):
        got()
    assert len(list((tmp_path / "quarantine").glob("*-t.csv"))) == 1


def test_terms_are_asked_once_for_each_wording(server: FaultyServer, put: Put) -> None:
    source = put(terms=STRICT)
    with pytest.raises(DownloadError, match=r"Research only\. Read them at https://example.org/strict.*--accept-terms"):
        got()
    assert server.tricks.asked == []
    assert describe("thing")["terms"]["accepted"] is None
    assert got(accept_terms=True).read_bytes() == TABLE
    kept = json.loads((cache_dir() / "accepted_terms.json").read_text(encoding="utf-8"))["strict"]
    assert kept["text"] == STRICT.text
    assert describe("thing")["terms"]["accepted"] == kept["date"]
    assert got().read_bytes() == TABLE
    put(terms=replace(source.terms, text="Research only, and no swimming."))
    with pytest.raises(DownloadError, match="no swimming"):
        got()


def test_the_next_address_is_tried(server: FaultyServer, put: Put) -> None:
    put(urls=(f"{server.origin}/empty", f"{server.origin}/t.csv"))
    assert got().read_bytes() == TABLE


def test_offline_says_what_to_put_where_and_takes_it(server: FaultyServer, put: Put) -> None:
    source = put(urls=("http://127.0.0.1:9/t.csv",))
    with pytest.raises(DownloadError) as caught:
        got()
    for part in ("t.csv (A thing)", "127.0.0.1:9/t.csv", source.page, str(place_of(source)), "has not been fetched"):
        assert part in str(caught.value)
    place_of(source).write_bytes(b"<html>saved the wrong thing</html>")
    with pytest.raises(DownloadError, match="web page"):
        got()
    place_of(source).write_bytes(TABLE)
    assert got().read_bytes() == TABLE
    record = describe("thing")["record"]
    assert (record["url"], record["file"]["sha256"]) == ("", sha(TABLE))


def test_two_processes_at_once_fetch_it_once(server: FaultyServer, put: Put) -> None:
    go_on = threading.Event()
    server.tricks.before = lambda tricks: go_on.wait(60) and None
    program = (
        "import sys\nfrom halfmax.data import download, package_index, sources\n"
        "from halfmax.data.source_table import Source, Terms\n"
        "terms = Terms('open', '', '', 'https://example.org', False)\n"
        "source = Source('thing', '', '', '', 't.csv', 'https://example.org', terms, (), urls=(sys.argv[1],))\n"
        "sources.sources = lambda: {'thing': source}\n"
        "print('ready', flush=True)\n"
        "print(len(sources.fetch('thing').read_bytes()))\n"
    )
    command = [sys.executable, "-c", program, f"{server.origin}/t.csv"]
    # A patient client: only a second process, never a second attempt, can ask again while the server waits.
    environ = os.environ | {"PIP_CONFIG_FILE": os.devnull, "PIP_DEFAULT_TIMEOUT": "60"}
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) for _ in range(2)]
    assert [child.stdout.readline() for child in both if child.stdout] == ["ready\n"] * 2
    time.sleep(1.5)  # both are inside now: one has asked and is kept waiting, the other must not ask
    go_on.set()
    assert [child.communicate(timeout=60)[0] for child in both] == [f"{len(TABLE)}\n"] * 2
    assert len(server.tricks.asked) == 1


def zipped(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


def test_an_archive_is_unpacked_and_both_are_checked(server: FaultyServer, put: Put) -> None:
    server.tricks.files["/t.csv"] = zipped({"in/v20.a.txt": b"a\tb\n", "in/v20.b.txt": b"c\td\n", "note.docx": b""})
    put(filename="t.zip", unpack="v20.a.txt")
    path = got()
    assert path.read_bytes() == b"a\tb\n"
    path.write_bytes(b"a\tX\n")
    assert got().read_bytes() == b"a\tb\n"
    assert len(server.tricks.asked) == 1
    assert describe("thing")["record"]["trust"] == "first"
    put(name="other", filename="t.zip", unpack="v20.*.txt", many=True)
    folder = fetch("other", settings=SETTINGS)
    assert sorted(p.name for p in folder.iterdir()) == ["v20.a.txt", "v20.b.txt"]
    put(name="third", filename="t.zip", unpack="v20.*.txt")
    with pytest.raises(DownloadError, match="2 files that fit"):
        fetch("third", settings=SETTINGS)


def test_a_file_that_its_reader_does_not_know_gets_a_note(
    server: FaultyServer, put: Put, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def look(seen: Glimpse) -> float:
        return 1.0 if seen.has("LN_IC50_VALUE") else 0.0

    def read(path: Path) -> Reading:
        raise AssertionError

    monkeypatch.setattr(KINDS, "_loaded", {"odd": FileKind("odd", "", "", look, read)})
    put(kind="odd")
    got()
    assert "does not look like odd" in describe("thing")["record"]["note"]
    assert "does not look like odd" in caplog.text


def test_a_damaged_record_is_not_trusted(server: FaultyServer, put: Put) -> None:
    path = put() and got()
    for damage in ("", "[]", '{"name": 1}'):
        (path.parent / records.RECORD).write_text(damage)
        with pytest.raises(DownloadError, match=r"record\.json is damaged"):
            got()


def test_figshare_lists_address_size_and_md5(server: FaultyServer, put: Put) -> None:
    row = {"name": "t.csv", "size": len(TABLE), "computed_md5": md5(TABLE), "download_url": f"{server.origin}/t.csv"}
    files = server.tricks.files
    files["/v2/files"] = json.dumps([row, {"name": "u.csv"}]).encode()
    put(via="figshare", listing=f"{server.origin}/v2/files")
    path = got()
    assert path.read_bytes() == TABLE
    assert describe("thing")["record"]["trust"] == "md5"
    path.unlink()
    (path.parent / records.RECORD).unlink()
    files["/t.csv"] = NEWER
    with pytest.raises(DownloadError, match=f"its md5 is {md5(NEWER)} instead of {md5(TABLE)}"):
        got()
    files["/v2/files"] = json.dumps([row | {"name": "t2.csv"}]).encode()
    with pytest.raises(DownloadError, match=r"lists 1 files, not 't\.csv'\. Did you mean 't2\.csv'"):
        got()
    files["/v2/files"] = b"[broken"
    with pytest.raises(DownloadError, match="did not answer with JSON"):
        got()


def test_depmap_s_files_for_browsers_are_checked_by_its_catalogue(server: FaultyServer, put: Put) -> None:
    lines = "release,release_date,filename,url,md5_hash\n26Q1,2026-04-01,t.csv,{},{}\n25Q4,2025-10-01,t.csv,x,y\n"
    files = server.tricks.files
    files["/list"] = lines.format("", md5(TABLE)).encode()
    source = put(via="depmap", listing=f"{server.origin}/list", query={"release": "26Q1"})
    with pytest.raises(DownloadError) as caught:
        got()
    for part in ("to a browser only", str(place_of(source)), source.page, md5(TABLE)):
        assert part in str(caught.value)
    place_of(source).write_bytes(NEWER)
    with pytest.raises(DownloadError, match=f"its md5 is {md5(NEWER)}"):
        got()
    place_of(source).write_bytes(TABLE)
    assert got().read_bytes() == TABLE
    assert describe("thing")["record"]["trust"] == "md5"
    place_of(source).unlink()
    files["/list"] = lines.format(f"{server.origin}/t.csv?Signature=1", md5(TABLE)).encode()
    assert got().read_bytes() == TABLE
    server.tricks.html = b"<html>captcha</html>"
    with pytest.raises(DownloadError, match="a web page instead of the file"):
        got(renew=True)


class Gdc:
    """Answers like the GDC: a list in pages, and files by their number."""

    def __init__(self, server: FaultyServer, n_files: int) -> None:
        self.server, self.hits = server, []
        for i in range(n_files):
            content = f"# gene-model\ngene_id\tvalue\nENSG{i}\t{i}\n".encode() * 20_000
            server.tricks.files[f"/data/id-{i}"] = content
            case = {"submitter_id": f"TCGA-{i}", "project": {"project_id": "TCGA-ACC"}}
            case["samples"] = [{"submitter_id": f"TCGA-{i}-01A", "sample_type": "Primary Tumor"}]
            hit = {"file_id": f"id-{i}", "file_name": f"f{i}.tsv", "md5sum": md5(content), "file_size": len(content)}
            self.hits.append(hit | {"access": "open", "data_type": "T", "data_category": "C", "cases": [case]})
        server.tricks.before = self.answer

    def answer(self, tricks: Faults) -> None:
        path = tricks.asked[-1]["path"]
        if path.startswith("/files?"):
            start = int(path.rpartition("from=")[2])
            page = {"hits": self.hits[start : start + listings.PAGE], "pagination": {"total": len(self.hits)}}
            tricks.files["/files"] = json.dumps({"data": page}).encode()


@pytest.fixture
def gdc(server: FaultyServer, put: Put, monkeypatch: pytest.MonkeyPatch) -> Gdc:
    monkeypatch.setattr(listings, "PAGE", 3)
    put(via="gdc", filename="files.json", listing=server.origin, query={"project": "TCGA-ACC", "match": "*.tsv"})
    return Gdc(server, 7)


def test_a_set_of_the_gdc_comes_whole_with_its_sample_sheet(gdc: Gdc) -> None:
    told: list[tuple[int, int]] = []
    folder = got(progress=lambda done, of: told.append((done, of)))
    total = sum(hit["file_size"] for hit in gdc.hits)
    assert told[-1] == (total, total)
    for i, hit in enumerate(gdc.hits):
        assert (folder / hit["file_name"]).read_bytes() == gdc.server.tricks.files[f"/data/id-{i}"]
    (sheet,) = folder.glob("gdc_sample_sheet.*.tsv")
    header, first, *_ = sheet.read_text(encoding="utf-8").splitlines()
    assert header.split("\t")[:2] == ["File ID", "File Name"]
    assert first.split("\t") == ["id-0", "f0.tsv", "C", "T", "TCGA-ACC", "TCGA-0", "TCGA-0-01A", "Primary Tumor"]
    n_asked = len(gdc.server.tricks.asked)
    assert got() == folder
    assert len(gdc.server.tricks.asked) == n_asked == 3 + 7
    (folder / "f3.tsv").write_bytes(b"changed")
    got()
    assert [asked["path"] for asked in gdc.server.tricks.asked[n_asked + 3 :]] == ["/data/id-3"]


def test_a_set_goes_on_after_a_failure(gdc: Gdc) -> None:
    good, gdc.server.tricks.files["/data/id-6"] = gdc.server.tricks.files["/data/id-6"], b"# other\na\tb\n"
    with pytest.raises(DownloadError, match=r"f6\.tsv .*it has 12 bytes instead of"):
        got()
    gdc.server.tricks.files["/data/id-6"] = good
    n_asked = len(gdc.server.tricks.asked)
    folder = got()
    assert len(gdc.server.tricks.asked) < n_asked + 3 + 7
    (folder / "mine.txt").touch()
    with pytest.raises(DownloadError, match=r"holds 1 files that the GDC does not list now, e\.g\. mine\.txt"):
        got(renew=True)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"file_name": "../../evil.tsv"}, "cannot be used"),
        ({"file_name": ".hidden.tsv"}, "cannot be used"),
        ({"file_id": "x/../y"}, "cannot be used"),
        ({"md5sum": "0"}, "cannot be used"),
        ({"access": "controlled"}, "not open access"),
        ({"file_name": "f1.tsv"}, "several files of one name"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused(gdc: Gdc, change: dict[str, str], why: str, tmp_path: Path) -> None:
    gdc.hits[0] |= change
    with pytest.raises(DownloadError, match=why):
        got()
    assert not list(tmp_path.rglob("*.tsv"))


def test_an_unknown_name_is_answered_with_the_closest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'gdsc2-fitted'"):
        get_source("gdsc2_fitted")
