"""Random and mutated files: an answer or an error of our own, soon."""

from __future__ import annotations

import gzip
import io
import tempfile
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from halfmax.data.inspect import inspect_file
from halfmax.data.readers.table import read_drugs, read_omics, read_response, read_samples
from halfmax.data.tables import read_table
from halfmax.errors import HalfmaxError

GENES = ["TP53", "EGFR", "KRAS", "BRAF", "MDM2", "FAM134B", "HLA.A", "1-Mar", "ENSG00000141510.3", "NA"]
READERS: list[Callable[[Path], object]] = [
    read_table,
    read_omics,
    read_response,
    read_drugs,
    read_samples,
    inspect_file,
]
SECONDS = 2.0


def matrix_text(sep: str) -> bytes:
    values = np.random.default_rng(0).gamma(2, 2, size=(4, len(GENES))).round(3)
    return pd.DataFrame(values, [f"s{i}" for i in range(4)], GENES).to_csv(sep=sep).encode()


RESPONSES = b"cell,drug,ln_ic50\n" + b"".join(b"c%d,d%d,%.2f\n" % (i, j, i - j) for i in range(5) for j in range(4))
DRUGS = b'drug,smiles,"target, of it"\naspirin,CC(=O)Oc1ccccc1C(=O)O,"PTGS1, PTGS2"\nethanol,CCO,\n'
SEEDS = [matrix_text(","), matrix_text("\t"), RESPONSES, DRUGS, gzip.compress(matrix_text(";"))]
SPLICES = [
    b'"',
    b"\0",
    b",",
    b"\t",
    b";",
    b"\n",
    b"\r",
    b"\xff",
    b"\xef\xbb\xbf",
    b"#",
    b"1e400",
    b"inf",
    b",,,,",
    b"''",
]


def survives(content: bytes, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        for read in READERS:
            started = time.process_time()
            with suppress(HalfmaxError):
                read(path)
            assert time.process_time() - started < SECONDS, f"{read.__name__} took too long"


@st.composite
def mutated(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """Return a good file with bytes cut out, put in, repeated or changed."""
    content = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(1, 5))):
        start = draw(st.integers(0, len(content)))
        end = draw(st.integers(start, min(start + 40, len(content))))
        middle = draw(st.sampled_from([*SPLICES, b"", content[start:end] * 2]) | st.binary(max_size=6))
        content = content[:start] + middle + content[end:]
    return content


slow_start = settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])


@slow_start
@given(st.binary(max_size=400))
def test_random_bytes(content: bytes) -> None:
    survives(content, "x.csv")


@slow_start
@given(st.text(alphabet="ab1.,;\t|\"'\n\r -#=+eE∞é", max_size=200))
def test_random_text(content: str) -> None:
    survives(content.encode(), "x.tsv")


@slow_start
@given(mutated(SEEDS))
def test_mutated_tables(content: bytes) -> None:
    survives(content, "x.csv")


@pytest.fixture(scope="module")
def binary_seeds() -> list[bytes]:
    pytest.importorskip("openpyxl")
    frame = pd.DataFrame({"cell": ["a", "b"], "drug": ["x", "y"], "ln_ic50": [0.5, -1.0]})
    parquet, workbook, archive = io.BytesIO(), io.BytesIO(), io.BytesIO()
    frame.to_parquet(parquet)
    frame.to_excel(workbook, index=False)
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("[Content_Types].xml", "<a/>")
    return [parquet.getvalue(), workbook.getvalue(), archive.getvalue()]


@slow_start
@given(st.data())
def test_mutated_binary_files(binary_seeds: list[bytes], data: st.DataObject) -> None:
    survives(data.draw(mutated(binary_seeds)), "x.bin")
