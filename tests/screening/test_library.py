"""Libraries are read in shards with the lines of the file; structures are read where they can do no harm."""

from __future__ import annotations

import gzip
import os
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from halfmax.cluster.cores import WorkerLost
from halfmax.data.structures import inchi_key
from halfmax.errors import DataError
from halfmax.features.drugs import drug_table_block
from halfmax.screening.library import MAX_LINE, Compounds, read_library
from halfmax.screening.structures import STRUCTURE_BLOCKS, StructureJob, StructureReader, _limit
from halfmax.state import State

SMILES = ["CC(=O)Oc1ccccc1C(=O)O", "CN1C=NC2=C1C(=O)N(C)C(=O)N2C", "CCN(CC)CC.Cl", "OC1CCCCC1"]


def all_of(path: Path, size: int = 100) -> list[Compounds]:
    return list(read_library(path, size))


def test_lines_names_and_shards(tmp_path: Path) -> None:
    path = tmp_path / "x.smi"
    path.write_text("smiles name\nCCO ethanol pure\n\n# note\nCC\nCCC\tpropane\r\n", encoding="utf-8")
    one, two = all_of(path, 2)
    assert (one.number, one.lines, one.ids, one.smiles) == (0, [2, 5], ["ethanol pure", "line 5"], ["CCO", "CC"])
    assert (two.number, two.lines, two.ids, two.smiles) == (1, [6], ["propane"], ["CCC"])


@pytest.mark.parametrize("name", ["x.csv", "x.tsv", "x.csv.gz"])
def test_tables_are_read_by_their_header(name: str, tmp_path: Path) -> None:
    sign = "\t" if "tsv" in name else ","
    text = "\ufeff" + "\n".join(
        sign.join(row) for row in [("ID", "SMILES", "x"), ("a", "CCO", "1"), ("b",), ("", "CC")]
    )
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
    (found,) = all_of(path)
    assert found.smiles == ["CCO", "", "CC"]
    assert found.ids == ["a", "b", "line 4"]


def test_what_is_no_library_is_refused(tmp_path: Path) -> None:
    for name, text, message in [
        ("x.sdf", "", "a library is a .smi"),
        ("x.csv", "id,structure\n", r"no column smiles; its columns are 'id', 'structure'"),
        ("x.smi", "\n# nothing\n", "holds no compound"),
    ]:
        (tmp_path / name).write_text(text)
        with pytest.raises(DataError, match=message):
            all_of(tmp_path / name)


def test_an_endless_line_is_cut_and_other_bytes_are_kept_out(tmp_path: Path) -> None:
    path = tmp_path / "x.smi"
    path.write_bytes(b"C" * (3 * MAX_LINE) + b"\nCCO\n\xff\xfeC\n")
    (found,) = all_of(path)
    assert found.lines == [1, 2, 3]
    assert len(found.smiles[0]) == MAX_LINE
    assert found.smiles[1:] == ["CCO", "\ufffd\ufffdC"]


@pytest.fixture(scope="module")
def reader():
    made = StructureReader(STRUCTURE_BLOCKS)
    yield made
    made.close()


def test_structures_are_encoded_as_those_of_the_training_drugs(reader: StructureReader) -> None:
    found = reader.read([SMILES[0], "nonsense", *SMILES[1:]])
    assert [bool(reason) for reason in found.reasons] == [False, True, False, False, False]
    assert found.good.tolist() == [0, 2, 3, 4]
    drugs = pd.DataFrame({"smiles": SMILES})
    for name in STRUCTURE_BLOCKS:
        np.testing.assert_array_equal(found.values[name], drug_table_block(name, drugs).values)
    assert found.keys == [inchi_key(s) for s in SMILES]
    assert found.skeletons == [key[:14] for key in found.keys]


def test_batches_are_joined_in_order(reader: StructureReader, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = reader.read(["", *SMILES, "C("])
    monkeypatch.setattr("halfmax.screening.structures._BATCH", 1)
    parts = reader.read(["", *SMILES, "C("])
    assert parts.reasons == whole.reasons
    assert parts.keys == whole.keys
    np.testing.assert_array_equal(parts.good, whole.good)
    np.testing.assert_array_equal(parts.values["fingerprint"], whole.values["fingerprint"])
    nothing = reader.read(["", "C("])
    assert not len(nothing.good)
    assert all(nothing.reasons)


def test_one_that_ends_the_process_is_found_and_the_others_are_read(
    reader: StructureReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask, calls = reader._worker.ask, []

    def fails(frame: bytes) -> bytes:
        calls.append(len(frame))
        if SMILES[2].encode() in frame:
            pid = reader._worker.pid
            if pid is not None:
                os.kill(pid, signal.SIGKILL)
                ask(frame)
            raise WorkerLost("signal SIGXCPU")
        return ask(frame)

    monkeypatch.setattr(reader._worker, "ask", fails)
    found = reader.read([*SMILES[:2], SMILES[2], SMILES[3]])
    assert found.good.tolist() == [0, 1, 3]
    assert "took more than 2 s" in found.reasons[2]
    assert found.keys == [inchi_key(s) for s in (*SMILES[:2], SMILES[3])]


def test_processor_time_is_limited_by_the_system() -> None:
    pytest.importorskip("resource")
    child = os.fork()
    if child == 0:
        _limit(0.2)
        while True:
            pass
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGXCPU


def test_one_that_cannot_be_encoded_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = drug_table_block

    def fails(name: str, drugs: pd.DataFrame) -> object:
        if "CCO" in set(drugs["smiles"]):
            raise RuntimeError("division by zero")
        return real(name, drugs)

    monkeypatch.setattr("halfmax.features.drugs.drug_table_block", fails)
    monkeypatch.setattr("halfmax.screening.structures._limit", lambda seconds: None)
    task = State(meta={"smiles": ["CC", "CCO", "CCC"], "blocks": ["fingerprint"], "seconds": 2.0})
    found = StructureJob(State()).run(task)
    assert found.arrays["good"].tolist() == [0, 2]
    assert "cannot be encoded (RuntimeError: division by zero)" in found.meta["reasons"][1]  # type: ignore[index,operator]
