"""Variants as changes of sequence vectors: alleles in their windows, pooled by gene, or not applicable."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from halfmax.errors import DataError
from halfmax.features.variant_effects import variant_effects, words

BASES = "".join(np.random.default_rng(0).choice(list("ACGT"), 400))
OTHER = {"A": "C", "C": "G", "G": "T", "T": "A"}


def variant(sample, gene, start, reference=None, alternative=None):
    reference = BASES[start - 1] if reference is None else reference
    alternative = OTHER[reference] if alternative is None else alternative
    return (sample, gene, "1", start, reference, alternative)


def table(*rows):
    columns = ["sample_id", "gene", "chromosome", "start", "reference", "alternative"]
    return pd.DataFrame(rows, columns=columns)


VARIANTS = table(
    variant("s1", "KRAS", 100),
    variant("s1", "TP53", 200),
    variant("s1", "TP53", 210, BASES[209:212], "-"),
    variant("s2", "TP53", 200),
    variant("s2", "EGFR", 300, "-", "ACG"),
)


@pytest.fixture
def genome(tmp_path):
    path = tmp_path / "genome.fa"
    path.write_text(">chr1\n" + "\n".join(BASES[i : i + 60] for i in range(0, 400, 60)) + "\n")
    return path


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    pytest.importorskip("transformers")
    from tests.features.tiny_encoders import BASES as LETTERS
    from tests.features.tiny_encoders import save_tiny_bert

    return str(save_tiny_bert(tmp_path_factory.mktemp("encoders") / "dna", entries=LETTERS, pattern="."))


def test_without_a_genome_it_is_not_applicable():
    with pytest.raises(DataError, match="not applicable"):
        variant_effects(VARIANTS, "anything", None)


def test_effects_are_pooled_by_gene_and_zero_where_nothing_changed(genome, encoder):
    found = variant_effects(VARIANTS, encoder, genome, samples=["s1", "s2", "s3"], flank=20)
    assert found.table.shape == (3, 3)
    assert (found.table > 0).to_numpy().tolist() == [[False, True, True], [True, False, True], [False] * 3]
    assert not found.findings
    single = variant_effects(VARIANTS.iloc[[1]], encoder, genome, flank=20).vectors.iloc[0, 2:]
    deletion = variant_effects(VARIANTS.iloc[[2]], encoder, genome, flank=20).vectors.iloc[0, 2:]
    both = found.vectors.query("sample_id == 's1' and gene == 'TP53'").iloc[0, 2:]
    np.testing.assert_allclose(both.astype(float), (single + deletion).astype(float) / 2, atol=1e-5)
    assert found.table.loc["s1", "TP53"] == pytest.approx(np.linalg.norm(both.astype(float)), rel=1e-4)


def test_the_windows_hold_the_alleles(genome, encoder, monkeypatch):
    from halfmax.features.encoders import Encoder

    seen = []
    real = Encoder.embed

    def embed(self, texts, **options):
        seen.append(list(texts))
        return real(self, texts, **options)

    monkeypatch.setattr(Encoder, "embed", embed)
    variant_effects(VARIANTS.iloc[[0, 4]], encoder, genome, flank=3)
    after, before = seen
    assert before == [BASES[96:103], BASES[297:303]]
    assert after == [BASES[96:99] + OTHER[BASES[99]] + BASES[100:103], BASES[297:300] + "ACG" + BASES[300:303]]


def test_what_cannot_be_placed_is_counted_and_another_build_refused(genome, encoder):
    many = table(*(variant("s", f"G{i}", 20 + i) for i in range(30)))
    odd = table(
        ("s", "G0", "99", 5, "A", "C"),
        ("s", "G1", "1", 50, "A", "<DEL>"),
        variant("s", "G2", 60, OTHER[BASES[59]], BASES[59]),
    )
    found = variant_effects(pd.concat([many, odd]), encoder, genome, flank=10)
    assert {f.code: f.count for f in found.findings} == {"no-sequence": 1, "no-place": 1, "other-allele": 1}
    with pytest.raises(DataError, match="another build"):
        variant_effects(many.assign(start=many["start"] + 1), encoder, genome)
    with pytest.raises(DataError, match="lack 1 columns"):
        variant_effects(many.drop(columns="gene"), encoder, genome)


def test_words_overlap():
    assert words("ACGTA", 3) == "ACG CGT GTA"
    assert words("ACGTA", 0) == "ACGTA"
    assert words("AC", 3) == "AC"
