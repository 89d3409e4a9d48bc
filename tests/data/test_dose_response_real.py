"""Dose response on real screens: published fits of the same wells come back as far as the wells allow."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from halfmax.data.dose_response import fit_curves, shared_auc, wells_from_ccle

SHARED = os.environ.get("HALFMAX_SHARED_DATA")  # read here: tests run without the settings of the person who runs them
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SHARED, reason="HALFMAX_SHARED_DATA does not say where the real screens are"),
]


@pytest.fixture
def benchmark(root: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(root / "benchmarks"))
    monkeypatch.delitem(sys.modules, "dose_response", raising=False)
    import dose_response

    return dose_response


def correlations(pairs: pd.DataFrame) -> dict[str, float]:
    return {str(drug): group["ln_ic50"].corr(group["published"]) for drug, group in pairs.groupby("drug_id")}


def test_gdsc_wells_agree_with_the_published_ic50s(benchmark: ModuleType) -> None:
    # Not 0.95, the bar: docs/dose_response.md, "How well it agrees", says what is known of the rest.
    wells, truth = benchmark.gdsc_wells(Path(SHARED or "")), benchmark.published()
    shrunk, plain = (benchmark.compare(fit_curves(wells, model), truth) for model in ("multilevel", "sigmoid"))
    found = correlations(shrunk)
    assert set(found) == set(benchmark.DRUGS)
    assert min(found.values()) > 0.74
    assert found["1003"] > 0.92
    same, rival = correlations(shrunk.merge(plain[["sample_id", "drug_id"]])), correlations(plain)
    assert all(same[drug] > rival[drug] for drug in same)


def test_ccle_wells_give_the_published_ic50s_and_areas(benchmark: ModuleType) -> None:
    frame = pd.read_csv(benchmark.ccle_file(Path(SHARED or "")), dtype=str)
    rows = {(fit, group, what): value for _, fit, group, what, value, _ in benchmark.ccle_file_checks(frame)}
    assert rows["loglogistic4", "all", "pearson ln_ic50"] > 0.965
    assert rows["loglogistic4", "published as sigmoid", "pearson ln_ic50"] > 0.99
    assert rows["loglogistic4, top ≤ 1", "all", "pearson area"] > 0.975
    ours = [v for k, v in rows.items() if k[0] == "loglogistic4" and k[2] == "pearson ln_ic50, published as sigmoid"]
    assert len(ours) == 24
    assert sum(value >= 0.95 for value in ours) >= 20


def test_areas_of_gdsc_and_ccle_over_shared_doses(benchmark: ModuleType) -> None:
    import halfmax

    folder = Path(SHARED or "")
    gdsc = fit_curves(benchmark.gdsc_wells(folder))
    ccle = fit_curves(wells_from_ccle(pd.read_csv(benchmark.ccle_file(folder), dtype=str)))
    samples = halfmax.load_dataset("gdsc2-demo").samples
    key = {"".join(c for c in name.upper() if c.isalnum()): str(c) for name, c in samples["cosmic_id"].items()}
    lines = {name: key.get(name.split("_")[0], name) for name in ccle.table["sample_id"].unique()}
    drugs = {"PLX4720": "1036", "PD-0325901": "1060"}
    found = shared_auc(gdsc, ccle, samples=lines, drugs=drugs)
    assert set(found["drug_id"]) == {"1036", "1060"}
    assert len(found) > 400
    assert (found["low"] > 0.002).all()
    for _, pairs in found.groupby("drug_id"):
        assert np.isfinite(pairs[["auc_first", "auc_second"]]).all(axis=None)
        assert pairs["auc_first"].corr(pairs["auc_second"]) > 0.5
