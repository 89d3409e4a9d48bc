"""The transformer's parts: modules that are there, tokens of structures, attention by hand, what drugs are read by."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from halfmax.errors import DataError
from halfmax.features.blocks import Block
from halfmax.models.networks import attention, smiles
from halfmax.models.networks.modules import completed, correlated_modules, module_bases, pathway_modules
from halfmax.models.networks.parts import normalised
from halfmax.models.networks.transformer import ModuleTransformer
from tests.models.planted import features, linear_response, renamed

SMALL = {
    **{"modules": 4, "components": 4, "token_width": 16, "heads": 2, "slots": 4, "width": 32, "skip": 0},
    **{"drug_width": 16, "members": 1, "epochs": 6, "batch_size": 16},
}
X = features(40, 8, 20)
Y = linear_response(X)


@pytest.fixture(scope="module")
def fitted():
    return ModuleTransformer(**SMALL).fit(X, Y)


def test_genes_that_vary_together_are_one_module():
    rng = np.random.default_rng(0)
    truth = rng.permutation(np.repeat(np.arange(4), 16))
    values = (rng.normal(size=(80, 4))[:, truth] + 0.3 * rng.normal(size=(80, 64))).astype(np.float32)
    found = correlated_modules(values, 4)
    assert sorted(np.concatenate(found).tolist()) == list(range(64))
    assert all(len(set(truth[columns])) == 1 for columns in found)


@pytest.mark.parametrize(("n_genes", "most"), [(1, 1), (3, 8), (50, 6), (64, 64), (200, 32)])
def test_every_gene_is_in_one_module_whatever_their_number(n_genes, most):
    values = np.random.default_rng(0).normal(size=(20, n_genes)).astype(np.float32)
    found = correlated_modules(values, most)
    assert len(found) <= most
    assert sorted(np.concatenate(found).tolist()) == list(range(n_genes))


def test_pathways_are_found_by_name_and_other_columns_join_their_gene():
    names = ["A", "B", "C", "D", "E", "B", "F"]  # the last two: another modality
    sets = {"small": ["A", "B", "Z"], "large": ["A", "B", "C", "A"]}
    modules = pathway_modules(names, sets, 8, least=2)
    assert [columns.tolist() for columns in modules] == [[0, 1, 2, 5], [0, 1, 5]]
    whole = completed([np.array([0, 1, 2])], names)
    assert [columns.tolist() for columns in whole] == [[0, 1, 2, 5], [3, 4, 6]]
    with pytest.raises(DataError, match="none of 2 gene sets"):
        pathway_modules(["X", "Y"], sets, 8)


def test_components_keep_a_modules_share_of_the_variance():
    rng = np.random.default_rng(0)
    values = (rng.normal(size=(60, 12)) * np.repeat([3.0, 1.0], 6)).astype(np.float32)
    gain = np.ones(12, dtype=np.float32)
    basis = module_bases(values, gain, [np.arange(6), np.arange(6, 12)], 6, rng)
    seen = ((values - values.mean(axis=0)) @ basis).reshape(60, 2, 6)
    assert (seen**2).mean() == pytest.approx(1, abs=1e-3)
    power = (seen**2).sum(axis=(0, 2))
    true = values.var(axis=0).reshape(2, 6).sum(axis=1)
    assert power[0] / power[1] == pytest.approx(true[0] / true[1], rel=1e-3)
    assert not basis[:6].reshape(6, 2, 6)[:, 1].any()


def test_structures_become_tokens_and_rare_ones_are_unknown():
    tokens = smiles.smiles_tokens(["ClCCBr", "C[C@H](N)C(=O)O", "", "CCO.Cl"])
    assert tokens[0] == ["Cl", "C", "C", "Br"] or tokens[0] == ["Br", "C", "C", "Cl"]
    assert any(token.startswith("[C@") for token in tokens[1])
    assert tokens[2] == []
    assert tokens[3] == ["C", "C", "O"]
    known = smiles.vocabulary(tokens)
    assert known.tolist() == ["C", "O"]
    numbers = smiles.numbered([["C", "Br", "O", "C"], []], known, 3)
    assert numbers.tolist() == [[2, 1, 3], [0, 0, 0]]


def test_attention_is_what_the_formula_says():
    import torch

    generator = torch.Generator().manual_seed(0)

    def normal(*shape, scale):
        return torch.randn(*shape, generator=generator) * scale

    weights = attention.layer_weights("t", 1, 2, 8, normal)
    assert set(weights) == set(attention.layer_names("t", 1))
    tokens = torch.randn(2, 3, 5, 8, generator=generator)
    present = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0]]).bool()
    options = {"layers": 1, "heads": 2, "dropout": 0.0, "act": "relu", "generator": None}
    found = attention.encode(weights, "t", tokens, present=present, **options)
    h = tokens[1, 1, :2]
    query, key, value = (
        part.reshape(2, 2, 4) for part in (normalised(h, "layer") @ weights["t0_attend"][1]).split(8, 1)
    )
    seen = torch.zeros(2, 2, 4)
    for head in range(2):
        share = torch.softmax(query[:, head] @ key[:, head].T / math.sqrt(4), dim=1)
        seen[:, head] = share @ value[:, head]
    h = h + seen.reshape(2, 8) @ weights["t0_join"][1]
    inner = torch.relu(normalised(h, "layer") @ weights["t0_widen"][1] + weights["bias_t0_widen"][1])
    torch.testing.assert_close(found[1, 1, :2], h + inner @ weights["t0_narrow"][1], atol=1e-5, rtol=1e-4)
    other = tokens.clone()
    other[:, 1, 2:] = 9  # places without a token
    again = attention.encode(weights, "t", other, present=present, **options)
    torch.testing.assert_close(again[:, 1, :2], found[:, 1, :2])


def test_an_unseen_drug_is_its_blocks_and_its_structure_however_it_is_written(fitted):
    new = renamed(X, drugs=True).grid()
    first = fitted.predict(new).mean
    written = np.array([f"{s[-1]}{s[:-1]}" for s in X.drug_text["smiles"]])
    again = replace(new, drug_text=dict(new.drug_text) | {"smiles": written})
    np.testing.assert_allclose(fitted.predict(again).mean, first, atol=1e-5)
    other = replace(new, drug_text=dict(new.drug_text) | {"smiles": np.array(["c1ccccc1CO"] * 8)})
    assert np.abs(fitted.predict(other).mean - first).max() > 1e-5
    block = new.drug_x["fingerprint"]
    turned = replace(new, drug_x={"fingerprint": replace(block, values=block.values[::-1].copy())})
    assert np.abs(fitted.predict(turned).mean - first).max() > 1e-5


def test_a_seen_drug_is_known_by_its_id(fitted):
    first = fitted.predict(X).mean
    other = replace(X, drug_text={"smiles": np.array(["c1ccccc1CO"] * 8)})
    assert np.array_equal(fitted.predict(other).mean, first)


def test_all_scores_of_a_sample_come_from_one_encoding(fitted, monkeypatch):
    asked = []
    real = ModuleTransformer._entry

    def entry(self, weights, x, generator):
        asked.append(len(x))
        return real(self, weights, x, generator)

    monkeypatch.setattr(ModuleTransformer, "_entry", entry)
    fitted.predict(X.grid())
    assert asked == [40]


def test_mutations_join_their_genes_and_pathways_may_stand_in_for_modules(tmp_path):
    rng = np.random.default_rng(0)
    mutation = Block(rng.integers(0, 2, (40, 5)).astype(np.float32), ("G0", "G1", "G2", "other", "more"))
    x = replace(X, sample_x=dict(X.sample_x) | {"mutation": mutation}, modalities=("expression", "mutation"))
    effect = 4 * mutation.values[x.sample_index, 0]
    free = dict.fromkeys(("dropout", "input_dropout", "token_dropout", "identity_dropout"), 0.0)
    model = ModuleTransformer(**SMALL | free | {"epochs": 40}, learning_rate=0.005, refit=False)
    both = np.corrcoef(model.fit(x, Y + effect).predict(x).mean, Y + effect)[0, 1]
    assert both > 0.9
    assert model.n_modules_ == 5  # four of expression, one of mutations in genes without expression
    gmt = tmp_path / "sets.gmt"
    gmt.write_text("one\t\tG0\tG1\tG2\tG3\ntwo\t\tG3\tG4\tG5\n")
    pathways = ModuleTransformer(**SMALL, gmt=str(gmt)).fit(x, Y)
    assert pathways.n_modules_ == 3
    gmt.unlink()
    assert np.isfinite(pathways.predict(x).mean).all()


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"heads": 3}, "does not divide"),
        ({"slots": 5}, "does not divide"),
        ({"modules": 0}, "modules is 0"),
        ({"skip": -1}, "skip"),
    ],
)
def test_misuse_is_told(wrong, reason):
    with pytest.raises(DataError, match=reason):
        ModuleTransformer(**SMALL | wrong).fit(X, Y)
