"""Mutated files of DepMap, CCLE, PRISM, CTRP and ProCan: an answer or an error of our own, soon."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from halfmax.data.readers.kinds import KINDS, recognise
from halfmax.errors import HalfmaxError
from tests.data.depmap_files import CTRP, FILES, put, put_ctrp

N_MUTATIONS, SECONDS = 50, 2.0
SPLICES = (
    *(b'"', b"\0", b",", b"\t", b";", b"\n", b"\r", b"\xff", b"\xef\xbb\xbf"),
    *(b"#", b"1e400", b"inf", b",,,", b"-", b"NA", b"_", b"0", b"x"),
)


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """Return a good file with bytes cut out, put in, repeated or changed, most near its beginning."""
    for _ in range(rng.integers(1, 4)):
        start = int(rng.integers(0, min(len(content), rng.choice([80, 600, 1 << 30])) + 1))
        end = min(start + int(rng.integers(0, 40)), len(content))
        middle = [SPLICES[rng.integers(len(SPLICES))], b"", content[start:end] * 2, rng.bytes(4)][rng.integers(4)]
        content = content[:start] + middle + content[end:]
    return content


def survives(path: Path, kind: str) -> bool:
    """Return whether it was read; fail on any error but our own, or if it takes long."""
    started, read = time.process_time(), False
    with suppress(HalfmaxError):
        recognise(path)
    with suppress(HalfmaxError):
        KINDS.get(kind).read(path)
        read = True
    assert time.process_time() - started < SECONDS
    return read


@pytest.mark.parametrize("kind", FILES)
def test_mutated_files(tmp_path: Path, kind: str) -> None:
    name, make = FILES[kind]
    path = put(tmp_path, name, make())
    content = path.read_bytes()
    assert survives(path, kind)
    outcomes = set()
    for seed in range(N_MUTATIONS):
        path.write_bytes(mutated(content, np.random.default_rng(seed)))
        outcomes.add(survives(path, kind))
    assert False in outcomes


def test_mutated_ctrp_tables(tmp_path: Path) -> None:
    assert survives(put_ctrp(tmp_path), "ctrp")
    outcomes = set()
    for seed in range(N_MUTATIONS):
        rng = np.random.default_rng(seed)
        name = list(CTRP)[rng.integers(len(CTRP))]
        (tmp_path / name).write_bytes(mutated(CTRP[name].encode(), rng))
        outcomes.add(survives(tmp_path, "ctrp"))
        put(tmp_path, name, CTRP[name])
    assert False in outcomes
