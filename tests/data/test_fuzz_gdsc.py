"""Mutated files of GDSC and the Cell Model Passports: an answer or an error of our own, soon."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.data.gdsc_files import FILES, put
from tests.data.test_fuzz_depmap import N_MUTATIONS, mutated, survives


@pytest.mark.parametrize("name", FILES)
def test_mutated_files(tmp_path: Path, name: str) -> None:
    if name.endswith(".xlsx"):
        pytest.importorskip("openpyxl")
    kind, path = FILES[name][0], put(tmp_path, name)
    content = path.read_bytes()
    assert survives(path, kind)
    outcomes = set()
    for seed in range(N_MUTATIONS):
        path.write_bytes(mutated(content, np.random.default_rng(seed)))
        outcomes.add(survives(path, kind))
    assert False in outcomes
