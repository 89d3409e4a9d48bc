"""Variants become genes, positions or variants; what is left out is counted; burden and recurrence count right."""

import numpy as np
import pandas as pd
import pytest

from halfmax.errors import DataError
from halfmax.features.blocks import Block
from halfmax.features.mutations import Burden, GeneLevel, Recurrent, encode_mutations

ROWS = pd.DataFrame(
    [
        ("A", "BRAF", "p.V600E", "Missense_Mutation"),
        ("A", "TP53", "p.R175H", "Missense_Mutation"),
        ("B", "BRAF", "p.V600K", "Missense_Mutation"),
        ("B", "BRAF", "p.V600K", "Missense_Mutation"),
        ("B", "TTN", "p.L10L", "Silent"),
        ("C", "TP53", None, "Splice_Site"),
        ("Z", "KRAS", "p.G12D", "Missense_Mutation"),
    ],
    columns=["sample_id", "gene", "protein_change", "consequence"],
)
SAMPLES = ["A", "B", "C", "D"]


@pytest.mark.parametrize(
    ("level", "features", "mutated"),
    [
        ("gene", ["BRAF", "TP53"], {"A": 2, "B": 1, "C": 1, "D": 0}),
        ("position", ["BRAF p.600", "TP53 p.175"], {"A": 2, "B": 1, "C": 0, "D": 0}),
        ("variant", ["BRAF p.V600E", "BRAF p.V600K", "TP53 p.R175H"], {"A": 2, "B": 1, "C": 0, "D": 0}),
    ],
)
def test_levels(level, features, mutated):
    frame, findings = encode_mutations(ROWS, SAMPLES, level=level)
    assert list(frame.columns) == features
    assert frame.sum(axis=1).to_dict() == mutated
    counts = {finding.code: finding.count for finding in findings}
    assert counts == {"variants-silent": 1, "variants-unlisted": 1} | (
        {} if level == "gene" else {"variants-no-change": 1}
    )


def test_what_cannot_be_encoded_is_told():
    with pytest.raises(DataError, match="the variants lack"):
        encode_mutations(ROWS[["sample_id", "gene"]], SAMPLES, level="variant")
    with pytest.raises(DataError, match="no variant of 7 is left"):
        encode_mutations(ROWS, ["nobody"])
    with pytest.raises(DataError, match="one of gene, position, variant"):
        encode_mutations(ROWS, SAMPLES, level="exon")


def test_variants_merge_into_genes():
    frame, _ = encode_mutations(ROWS, SAMPLES, level="variant")
    variants = Block(frame.to_numpy(dtype=np.float32), tuple(frame.columns))
    merged = GeneLevel().fit(variants).transform(variants)
    genes, _ = encode_mutations(ROWS[ROWS["protein_change"].notna()], SAMPLES)
    assert merged.names == tuple(genes.columns)
    assert np.array_equal(merged.values, genes.to_numpy(dtype=np.float32))
    both = Block(np.ones((1, 3), dtype=np.float32), variants.names)
    assert GeneLevel(how="count").fit(variants).transform(both).values.tolist() == [[2.0, 1.0]]
    gaps = Block(np.array([[np.nan, 1, np.nan]], dtype=np.float32), variants.names)
    assert GeneLevel().fit(variants).transform(gaps).values[0] == pytest.approx([1.0, np.nan], nan_ok=True)
    with pytest.raises(DataError, match="any or count"):
        GeneLevel(how="all").fit(variants)


def test_burden_counts_what_is_known():
    values = np.array([[1, 0, 1, 1], [0, 0, 0, 0], [1, np.nan, np.nan, 0], [np.nan] * 4], dtype=np.float32)
    block = Block(values, ("a", "b", "c", "d"))
    burden = Burden(only=True).transform(block).values[:, 0]
    assert burden == pytest.approx([2.0, 0.0, np.log2(3), np.nan], nan_ok=True)
    both = Burden().transform(block)
    assert both.names == (*block.names, "burden")
    assert both.values[:, -1] == pytest.approx(burden, nan_ok=True)


def test_recurrent_features_are_counted_in_training():
    values = np.array([[1, 1, 0], [1, 0, 0], [1, 0, np.nan]], dtype=np.float32)
    block = Block(values, ("often", "once", "never"))
    assert Recurrent(2).fit(block).names_.tolist() == ["often"]
    with pytest.raises(DataError, match="the most frequent is in 3"):
        Recurrent(4).fit(block)
