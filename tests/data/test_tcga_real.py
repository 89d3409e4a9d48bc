"""Real files of TCGA, where they are at hand: every one is recognised, and what is known of them comes out."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from halfmax.data.readers.kinds import Reading, read_any

PLACE = os.environ.get("HALFMAX_SHARED_DATA", "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PLACE, reason="HALFMAX_SHARED_DATA names no folder of real data"),
]


def read(name: str, **options: object) -> Reading:
    return read_any(Path(PLACE) / name, **options)


@pytest.mark.parametrize(
    ("name", "kind", "role", "shape"),
    [
        ("formats/GDC_star_counts_sample.tsv", "gdc-star-counts", "expression", (1, 3)),
        ("formats/TCGA_firehose_MAF_head_BRCA.tsv", "maf", "mutation", (3, 45)),
        ("formats/TCGA_firehose_MAF_head_LGG.tsv", "maf", "mutation", (2, 39)),
        ("formats/TCGA_firehose_MAF_head_PAAD.tsv", "maf", "mutation", (1, 45)),
        ("formats/TCGA_firehose_RNAseqV2_RSEM_head_ACC.tsv", "firehose-rsem", "expression", (5, 200)),
        ("formats/Xena_BRCA_clinicalMatrix.tsv", "xena-clinical", "clinical", (959, 4)),
        ("formats/Xena_STAD_clinicalMatrix.tsv", "xena-clinical", "clinical", (401, 4)),
        ("tcga/tcga_drug_response.tsv", "tcga-biotab-drug", "response", (1441, 8)),
        ("tcga/tcga_meta_survival_13cohorts.csv", "tcga-survival", "clinical", (5240, 7)),
    ],
)
def test_every_real_file_is_recognised(name: str, kind: str, role: str, shape: tuple[int, int]) -> None:
    reading = read(name)
    assert reading.kind == kind
    assert reading.part(role).shape == shape


def test_the_mutations_of_a_cohort_agree_with_another_source() -> None:
    frame = read("tcga/tcga_maf_lite_25cohorts.parquet").part("mutation")
    assert frame.shape == (5431, 19887)
    other = pd.read_parquet(Path(PLACE) / "tcga/tcga_mut_recurrent_porpoise.parquet")
    other = other.set_index("patient") if "patient" in other else other
    ours = frame.set_axis(frame.index.str[:12], axis=0)
    ours = ours[~ours.index.duplicated()]
    patients = other.index.intersection(ours.index)
    for gene in ("TP53", "PIK3CA"):
        known = other.loc[patients, gene].dropna()
        assert len(known) > 500
        assert (known == ours.loc[known.index, gene]).mean() > 0.9


def test_logarithms_of_rsem_stay_and_agree_with_the_linear_file() -> None:
    logged = read("tcga/tcga_expr_log2rsem_6cohorts.parquet").part("expression")
    linear = read("formats/TCGA_firehose_RNAseqV2_RSEM_head_ACC.tsv").part("expression")
    shared = linear.columns.intersection(logged.columns)
    assert len(shared) > 190
    np.testing.assert_allclose(logged.loc[linear.index, shared], linear[shared], atol=1e-3)
