"""Places of genes: the chromosomes' order, and a plane learned from correlation."""

from __future__ import annotations

import numpy as np

from halfmax.models.networks.layout import chromosome_order, correlation_layout


def test_genes_stand_from_the_short_arm_to_the_long_one_whatever_their_order():
    names = ["TP53", "NO_SUCH_GENE", "ERBB2", "AGRN", "BRCA1", "EGFR"]
    order, unplaced = chromosome_order(names)
    assert [names[i] for i in order] == ["AGRN", "EGFR", "TP53", "ERBB2", "BRCA1", "NO_SUCH_GENE"]
    assert unplaced == 1
    again, _ = chromosome_order(names[::-1])
    assert [names[::-1][i] for i in again] == [names[i] for i in order]


def test_every_gene_has_one_cell_and_correlated_genes_are_neighbours():
    rng = np.random.default_rng(0)
    module = np.arange(61) % 4  # interleaved: columns that stand side by side in the table do not belong together
    values = (rng.normal(size=(50, 4))[:, module] + 0.3 * rng.normal(size=(50, 61))).astype(np.float32)
    grid = correlation_layout(values)
    assert sorted(grid[grid >= 0]) == list(range(61))
    assert np.array_equal(grid, correlation_layout(values))
    left, right = grid[:, :-1].ravel(), grid[:, 1:].ravel()
    both = (left >= 0) & (right >= 0)
    assert (module[left[both]] == module[right[both]]).mean() > 0.6  # by chance 0.25


def test_one_gene_and_constant_genes_have_places():
    assert correlation_layout(np.ones((3, 1), dtype=np.float32)).tolist() == [[0]]
    assert sorted(correlation_layout(np.ones((1, 5), dtype=np.float32)).ravel())[-5:] == list(range(5))
