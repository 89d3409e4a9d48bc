"""The heterogeneous graph: no response explains itself, new nodes change nothing, facts and neighbours are used."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from halfmax.data.synthetic import make_dataset
from halfmax.errors import DataError
from halfmax.features.blocks import Block, PairFeatures
from halfmax.features.pipeline import FeaturePipeline
from halfmax.models.base import MODELS
from halfmax.models.networks.knowledge import drug_edges, knowledge_of, shuffled_rows
from tests.models.planted import features, linear_response, renamed

SMALL = {"width": 16, "drug_width": 16, "node_width": 8, "members": 1, "epochs": 8, "batch_size": 16}
GENES = ("EGFR", "BRAF", "MTOR", "CDK4", "PARP1")


def with_targets(x: PairFeatures, target: np.ndarray) -> PairFeatures:
    """Return the features with genes by their symbols, and each drug's one target."""
    block = x.sample_x["expression"]
    names = (*GENES, *block.names[len(GENES) :])
    hit = np.eye(len(GENES), dtype=np.float32)[target]
    return replace(
        x,
        sample_x=dict(x.sample_x) | {"expression": Block(block.values, names)},
        drug_x=dict(x.drug_x)
        | {
            "targets": Block(hit, tuple(f"targets={gene}" for gene in GENES)),
            "pathway": Block(hit[:, :1], ("pathway=EGFR",)),
        },
    )


X = with_targets(features(40, 10, 20), np.arange(10) % 5)
Y = linear_response(X)


def test_the_graph_holds_what_is_known():
    known = knowledge_of(X, {"mine": ["BRAF", "MTOR", "NOSUCH"]})
    assert known.genes == tuple(sorted(GENES))
    assert known.groups == ("pathway=EGFR", "set=mine")
    member = {(known.genes[i], known.groups[j]) for i, j in np.argwhere(known.member)}
    assert {("EGFR", "pathway=EGFR"), ("BRAF", "set=mine"), ("MTOR", "set=mine")} <= member
    assert ("CDK4", "pathway=EGFR") not in member
    edges = drug_edges(X, known)
    assert edges[0].tolist() == [0, 0, 1, 0, 0, 1, 0]  # EGFR and its pathway
    assert edges.sum(axis=1).tolist() == [2, 1, 1, 1, 1] * 2


def test_shuffled_facts_are_a_permutation_that_company_does_not_change():
    ids = np.array([f"d{i}" for i in range(12)])
    rows = shuffled_rows(ids, ids, 0)
    assert sorted(rows) == list(range(12))
    assert not np.array_equal(rows, shuffled_rows(ids, ids, 1))
    new = np.array(["d3", "new", "d0"])
    assert np.array_equal(shuffled_rows(new, ids, 0), [rows[3], shuffled_rows(new[1:2], ids, 0)[0], rows[0]])


def test_a_held_out_response_cannot_reach_its_prediction():
    dataset = make_dataset(30, 6, 20, seed=0)
    held = np.arange(len(dataset.response)) % 7 == 0
    predicted = []
    for shift in (0.0, 100.0):
        response = dataset.response.assign(value=dataset.response["value"] + shift * held)
        changed = replace(dataset, response=response)
        x = FeaturePipeline().fit(changed.take(np.flatnonzero(~held))).transform(changed)
        y = response["value"].to_numpy()
        model = MODELS.get("hetero_graph")(**SMALL).fit(x.take_pairs(~held), y[~held])
        predicted.append(model.predict(x.take_pairs(held)).mean)
    assert np.array_equal(*predicted)


def test_a_hidden_response_does_not_reach_what_is_learned_from_it():
    import torch

    model = MODELS.get("hetero_graph")(**SMALL).fit(X, Y)
    weights = {k: torch.as_tensor(v) for k, v in model._weights().items()}
    rows = np.arange(10)
    known = model._known(weights, rows, None)
    drugs = model._drug_input(X, torch.device("cpu"))
    sample, drug = int(X.sample_index[0]), int(X.drug_index[0])
    for hidden in (True, False):
        shown = known[:, None].repeat(1, 40, 1)
        shown[:, sample, drug] = 0.0 if hidden else 1.0
        states = []
        for value in (-3.0, 3.0):
            model.response_[sample, drug] = value
            inputs = model._sample_input(model._view(X), torch.device("cpu"))
            states.append(model._graph(weights, inputs, drugs, rows, known, shown, None, None))
        assert torch.equal(states[0]["sample"], states[1]["sample"]) == hidden
        assert torch.equal(states[0]["drug"], states[1]["drug"]) == hidden


def test_nobody_changes_the_prediction_of_another():
    model = MODELS.get("hetero_graph")(**SMALL).fit(X, Y)
    grid = model.predict(X.grid()).mean.reshape(40, 10)
    some = X.take_pairs(X.sample_index < 3)
    few = replace(
        some,
        sample_ids=X.sample_ids[:3],
        sample_x={k: b.take(np.arange(3)) for k, b in X.sample_x.items()},
        drug_ids=X.drug_ids[:2],
        drug_x={k: b.take(np.arange(2)) for k, b in X.drug_x.items()},
        drug_text={k: text[:2] for k, text in X.drug_text.items()},
        sample_index=np.array([0, 1, 2]),
        drug_index=np.array([1, 0, 1]),
    )
    np.testing.assert_allclose(model.predict(few).mean, grid[[0, 1, 2], [1, 0, 1]], atol=1e-5)


def test_responses_to_other_drugs_are_read():
    # a sample's sensitivity to every drug, which its expression does not show
    x = features(80, 10, 10, seed=3)
    general = np.random.default_rng(4).normal(size=80)
    y = general[x.sample_index] + np.random.default_rng(5).normal(0, 0.1, x.n_pairs)
    test = np.random.default_rng(6).random(x.n_pairs) < 0.2
    params = SMALL | {"epochs": 60, "learning_rate": 0.01, "cold": 0.2, "focus": 0.0}
    model = MODELS.get("hetero_graph")(**params).fit(x.take_pairs(~test), y[~test])
    own = ((model.predict(x.take_pairs(test)).mean - y[test]) ** 2).mean()
    new = ((model.predict(renamed(x, samples=True).take_pairs(test)).mean - y[test]) ** 2).mean()
    assert own < 0.3
    assert new > 0.6


def test_targets_tell_an_unseen_drug():
    target = np.arange(20) % 5
    x = with_targets(features(60, 20, 12, share=1.0), target)
    y = 1.5 * x.sample("expression")[x.sample_index, target[x.drug_index]]
    seen = x.drug_index < 15
    params = SMALL | {"epochs": 60, "learning_rate": 0.01, "identity_dropout": 0.4, "dropout": 0.0, "drug_dropout": 0.0}
    error = {}
    for name in ("hetero_graph", "hetero_graph_shuffled"):
        model = MODELS.get(name)(**params).fit(x.take_pairs(seen), y[seen])
        error[name] = ((model.predict(renamed(x, drugs=True).take_pairs(~seen)).mean - y[~seen]) ** 2).mean()
    assert error["hetero_graph"] < 0.6 * np.var(y) < error["hetero_graph_shuffled"]


def test_gene_sets_of_a_file_become_groups(tmp_path):
    path = tmp_path / "sets.gmt"
    path.write_text("kinases\t-\tEGFR\tBRAF\tMTOR\nothers\t-\tCDK4\tPARP1\n", encoding="utf-8")
    model = MODELS.get("hetero_graph")(**SMALL, gmt=str(path)).fit(X, Y)
    assert {"set=kinases", "set=others"} <= set(model.groups_.tolist())
    path.unlink()  # what was read is kept
    assert np.isfinite(model.predict(X).mean).all()


def test_mutations_are_edges_where_they_are_given():
    values = np.zeros((40, 2), dtype=np.float32)
    values[::3, 0] = 1
    both = dict(X.sample_x) | {"mutation": Block(values, ("TP53", "RARE"))}
    x = replace(X, sample_x=both, modalities=("expression", "mutation"))
    model = MODELS.get("hetero_graph")(**SMALL).fit(x, Y)
    assert model.genes_[model.mutable_].tolist() == ["TP53"]
    assert np.isfinite(model.predict(x).mean).all()


def test_misuse_is_told():
    with pytest.raises(DataError, match="nothing would be learned"):
        MODELS.get("hetero_graph")(**SMALL, cold=0.0, hidden=0.0).fit(X, Y)
    with pytest.raises(DataError, match="graph_dropout"):
        MODELS.get("hetero_graph")(**SMALL, graph_dropout=1.0).fit(X, Y)
