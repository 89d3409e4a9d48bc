"""The commands on data: what is printed where, and the exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from halfmax import cli
from halfmax.data.dataset import ResponseDataset
from tests.data.small_tables import matrix, text

RESPONSES = "cell_line,drug,IC50 (nM)\nline-0,x,10\nLine 1,x,20\nother,x,20\n"


def run(*words: object) -> int:
    return cli.main([*map(str, words)])


def test_inspect_prints_json_and_tells_trouble_by_its_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = text(tmp_path, RESPONSES, "r.csv")
    assert run("data", "inspect", path, "--json") == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "table-response"
    assert run("data", "inspect", text(tmp_path, RESPONSES.replace(" (nM)", ""), "s.csv")) == 2
    shown = capsys.readouterr().out
    assert "wrong" in shown
    assert "to do" in shown


def test_build_writes_a_dataset_and_says_what_was_lost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = text(tmp_path, RESPONSES.replace(" (nM)", ""), "[r].csv"), tmp_path / "dataset"
    matrix(3).to_csv(tmp_path / "e.csv")
    words = ("data", "build", "--from", path, "--from", tmp_path / "e.csv", "--out", out, "--unit", "nM")
    assert run(*words, "--unit", "log2", "--kind", "e.csv=expression", "--same", "other=line-0") == 0
    said = capsys.readouterr()
    assert "[r].csv" in said.out
    assert "3 of 3 1 of 1" in " ".join(said.out.split())
    assert "e.csv no other table has the sample id 1 line-2" in " ".join(said.out.split())
    dataset = ResponseDataset.load(out)
    assert dataset.omics["expression"].index.tolist() == ["line-0", "Line 1"]
    assert len(dataset.samples) == 2


def test_build_refuses_what_it_does_not_understand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = text(tmp_path, RESPONSES, "r.csv")
    words = ("data", "build", "--from", path, "--out", tmp_path / "dataset")
    for more, message in (
        (("--kind", "r.csv"), "LEFT=RIGHT"),
        (("--unit", "nanoM"), "no unit 'nanoM'"),
        (("--sample-id", "cosmik"), "Did you mean 'cosmic'"),
        (("--same", "other=nobody"), "stated to be 'nobody'"),
        (("--option", "r.csv=x"), "FILE:NAME=VALUE"),
        (("--option", "r.csv:x=1"), "has no option 'x'"),
    ):
        assert run(*words, *more) == 2
        assert message in " ".join(capsys.readouterr().err.split())
        assert not (tmp_path / "dataset").exists()


@pytest.mark.slow
def test_the_embedded_table_of_cell_lines_is_read_from_the_cache() -> None:
    from halfmax.data.packages import PACKAGES, place_of
    from halfmax.data.readers.embedded_lines import read_embedded_lines

    if not place_of(PACKAGES["gdsctools"]).is_file():
        pytest.skip("not in the cache")
    lines = read_embedded_lines()
    assert lines.loc["HL-60", "cosmic_id"] == "905938"
    assert {"TT", "T-T"} <= set(lines.index)


def test_official_files_are_listed_described_and_not_fetched_before_their_terms(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HALFMAX_HOME", str(tmp_path))
    assert run("data", "list") == 0
    shown = capsys.readouterr().out
    assert "gdsc2-demo" in shown
    assert "gdsc2-fitted" in shown
    assert run("data", "show", "gdsc2-fitted") == 0
    assert json.loads(capsys.readouterr().out)["licence"]
    assert run("data", "get", "gdsc2-fitted") == 2
    assert "terms to accept" in " ".join(capsys.readouterr().err.split())
    assert run("data", "get", "gdsc2-fited") == 2
    assert "gdsc2-fitted" in capsys.readouterr().err
