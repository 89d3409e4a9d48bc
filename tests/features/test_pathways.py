"""Pathway scores equal the definition step by step and the libraries that have them; gene sets are read with care."""

import numpy as np
import pytest
from sklearn.decomposition import MiniBatchSparsePCA

from halfmax.data.readers.gmt import read_gmt
from halfmax.errors import DataError, UnknownNameError
from halfmax.features.blocks import Block
from halfmax.features.decompose import SparsePCA
from halfmax.features.pathways import Pathways
from tests.features.tables import SETS, filled

RNG = np.random.default_rng(0)
WIDE = Block(RNG.normal(size=(15, 80)).astype(np.float32), tuple(f"G{i}" for i in range(80)))
WIDE_SETS = {"one": [f"G{i}" for i in range(9)], "two": [f"G{i}" for i in range(5, 30)], "three": ["G70", "G71"]}


def walked(values, member, weight):
    """Return ssGSEA as Barbie et al. define it: the sum over a walk down the ranked genes."""
    order = np.argsort(-values)
    rank = np.arange(len(values), 0, -1)
    inside = member[order]
    hit = np.cumsum(np.where(inside, rank**weight, 0)) / np.where(inside, rank**weight, 0).sum()
    miss = np.cumsum(~inside) / (~inside).sum()
    return (hit - miss).sum()


def test_closed_form_equals_the_walk():
    step = Pathways(sets=WIDE_SETS, method="ssgsea", min_genes=2).fit(WIDE)
    found = step.transform(WIDE).values * step.range_
    for column, genes in enumerate(WIDE_SETS.values()):
        member = np.isin(WIDE.names, genes)
        told = [walked(row, member, 0.25) for row in WIDE.values]
        assert found[:, column] == pytest.approx(told, rel=1e-4, abs=1e-3)


def test_mean_z_is_the_mean_of_the_genes_z_scores():
    out = Pathways(sets=SETS, min_genes=2).fit(filled()).transform(filled(seed=1))
    assert out.names == ("low", "high")
    train, new = filled().values, filled(seed=1).values
    z = (new - train.mean(axis=0)) / train.std(axis=0)
    assert out.values == pytest.approx(np.column_stack([z[:, :3].mean(axis=1), z[:, 9:12].mean(axis=1)]), abs=1e-4)


def test_missing_genes_take_no_part():
    values = WIDE.values.copy()
    values[:, [3, 50]] = np.nan
    few = Block(np.delete(WIDE.values, [3, 50], axis=1), tuple(np.delete(np.array(WIDE.names), [3, 50])))
    for method in ("mean_z", "ssgsea"):
        step = Pathways(sets=WIDE_SETS, method=method, min_genes=2)
        gaps = step.fit(Block(values, WIDE.names)).transform(Block(values, WIDE.names)).values
        absent = Pathways(sets=WIDE_SETS, method=method, min_genes=2).fit(few).transform(few).values
        assert gaps == pytest.approx(absent, abs=1e-4)
    values[0, 70:72] = np.nan
    assert np.isnan(Pathways(sets=WIDE_SETS, min_genes=2).fit(WIDE).transform(Block(values, WIDE.names)).values[0, 2])


def test_ssgsea_equals_gseapy():
    pytest.importorskip("gseapy")
    step = Pathways(sets=WIDE_SETS, method="ssgsea", min_genes=2).fit(WIDE)
    own = step.transform(WIDE).values * step.range_
    theirs = Pathways(sets=WIDE_SETS, method="gseapy:ssgsea", min_genes=2).fit(WIDE).transform(WIDE).values
    assert np.corrcoef(own.ravel(), theirs.ravel())[0, 1] > 0.9999


@pytest.mark.slow  # the library compiles itself on first use
@pytest.mark.parametrize("method", ["ulm", "mlm", "aucell"])
def test_decoupler_scores_each_set(method):
    pytest.importorskip("decoupler")
    values = WIDE.values.copy()
    values[0, 5:30] += 5
    step = Pathways(sets=WIDE_SETS, method=f"decoupler:{method}", min_genes=2).fit(WIDE)
    out = step.transform(Block(values, WIDE.names))
    assert out.names == tuple(WIDE_SETS)
    assert out.values[:, 1].argmax() == 0


def test_a_library_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "decoupler", None)
    step = Pathways(sets=SETS, method="decoupler:ulm", min_genes=2).fit(filled())
    with pytest.raises(DataError, match="pip install decoupler"):
        step.transform(filled())


def test_gene_sets_are_read_and_saved_with_the_step(tmp_path):
    path = tmp_path / "sets.gmt"
    lines = ["\t".join([name, "a description", *genes]) for name, genes in SETS.items()]
    path.write_text("\ufeff" + "\n".join(lines) + "\n\n", encoding="utf-8")
    assert read_gmt(path) == {name: tuple(genes) for name, genes in SETS.items()}
    step = Pathways(gmt=str(path), min_genes=2).fit(filled())
    path.unlink()
    again = Pathways(**step.get_params()).set_state(step.get_state())
    assert np.array_equal(again.transform(filled()).values, step.transform(filled()).values)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"one\tabout\tA\tB\none\tabout\tC\n", "named twice"),
        (b"one\tabout\n", "no name or no genes"),
        (b"\n\n", "no gene set"),
        (b"one\tabout\t\xff\n", "not UTF-8"),
    ],
)
def test_bad_gene_sets_are_refused(tmp_path, content, why):
    (tmp_path / "bad.gmt").write_bytes(content)
    with pytest.raises(DataError, match=why):
        read_gmt(tmp_path / "bad.gmt")
    with pytest.raises(DataError, match="cannot read"):
        read_gmt(tmp_path / "absent.gmt")


def test_misuse_is_told():
    with pytest.raises(DataError, match="either a GMT file"):
        Pathways().fit(filled())
    with pytest.raises(UnknownNameError, match="Known: mean_z, ssgsea"):
        Pathways(sets=SETS, method="ssgse").fit(filled())
    with pytest.raises(DataError, match="gene symbols"):
        Pathways(sets={"other": ["ENSG1", "ENSG2"]}, min_genes=2).fit(filled())


def test_sparse_components_equal_scikit_learns():
    block = filled()
    found = SparsePCA(3, alpha=0.5).fit(block).transform(filled(seed=1)).values
    model = MiniBatchSparsePCA(3, alpha=0.5, ridge_alpha=0.01, max_iter=50, random_state=0).fit(
        block.values.astype(np.float64)
    )
    assert found == pytest.approx(model.transform(filled(seed=1).values.astype(np.float64)), abs=1e-4)
    with pytest.raises(DataError, match="every loading"):
        SparsePCA(3, alpha=1e6).fit(block)
