"""Archives: members are read by name, unpacked inside one folder, and bombs stop at the limit."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from halfmax.data.archives import read_members, unpack_members
from halfmax.errors import DataError


def make_zip(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_members_are_read_by_name_and_written_nowhere(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.whl", {"data/x.csv": b"1", "../../evil": b"2", "data/y.gz": gzip.compress(b"3")})
    before = sorted(tmp_path.rglob("*"))
    assert read_members(path, ["data/x.csv", "data/y.gz"]) == {"data/x.csv": b"1", "data/y.gz": b"3"}
    assert sorted(tmp_path.rglob("*")) == before


def test_members_of_a_source_archive_are_files_and_not_links(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo("a/x.csv")
        info.size = 3
        archive.addfile(info, io.BytesIO(b"abc"))
        link = tarfile.TarInfo("a/link.csv")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(link)
    assert read_members(path, ["a/x.csv"]) == {"a/x.csv": b"abc"}
    with pytest.raises(DataError, match="is a link or folder"):
        read_members(path, ["a/link.csv"])
    with pytest.raises(DataError, match=r"lacks b\.csv"):
        read_members(path, ["b.csv"])


def test_bombs_stop_at_the_limit(tmp_path: Path) -> None:
    zeros = bytes(2_000_000)
    path = make_zip(tmp_path / "a.whl", {"x": zeros, "y.gz": gzip.compress(zeros)})
    for name in ("x", "y.gz"):
        with pytest.raises(DataError, match="unpacks to more than"):
            read_members(path, [name], max_bytes=1_000_000)


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04rubbish", b"\x1f\x8brubbish", b"plain"])
def test_a_damaged_archive_is_named(damage: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.whl"
    path.write_bytes(damage)
    with pytest.raises(DataError, match="damaged archive"):
        read_members(path, ["x"])


def test_fitting_members_are_unpacked_into_the_folder_and_nowhere_else(tmp_path: Path) -> None:
    members = {
        "a/x_1.csv": b"1",
        "../../x_2.csv": b"2",
        "note.txt": b"3",
        "__MACOSX/x_1.csv": b"4",
        "a/._x_3.csv": b"5",
    }
    path = make_zip(tmp_path / "in" / "a.zip", members)
    made = unpack_members(path, "x_*.csv", tmp_path / "out")
    assert {p.name: p.read_bytes() for p in made} == {"x_1.csv": b"1", "x_2.csv": b"2"}
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.zip", "in", "out", "x_1.csv", "x_2.csv"]


@pytest.mark.parametrize(
    ("members", "why"),
    [({"b.txt": b""}, "no file that fits"), ({"a/x.csv": b"1", "b/x.csv": b"2"}, "several files of one name")],
)
def test_unfitting_members_are_named(members: dict[str, bytes], why: str, tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", members)
    with pytest.raises(DataError, match=why):
        unpack_members(path, "*.csv", tmp_path / "out")


def test_unpacking_stops_at_the_limit_and_at_damage(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"x.csv": bytes(2_000_000)})
    with pytest.raises(DataError, match="unpacks to 2,000,000 bytes"):
        unpack_members(path, "*", tmp_path / "out", max_bytes=1_000_000)
    content = bytearray(path.read_bytes())
    content[60:200] = b"\xff" * 140
    path.write_bytes(content)
    with pytest.raises(DataError, match="damaged archive"):
        unpack_members(path, "*", tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())
