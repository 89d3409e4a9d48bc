"""Sums stay exact in every table and file, sets split what they share, known associations are ranked by the rule."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from halfmax import RESEARCH_USE
from halfmax.cli_explain import explain as command
from halfmax.data.synthetic import make_dataset
from halfmax.errors import DataError, UnknownNameError
from halfmax.explain import Explainer
from halfmax.explain.biomarkers import (
    check_biomarkers,
    known_biomarkers,
    rank_of,
    recovery,
    ridge,
    signed_importance,
    spearman,
)
from halfmax.explain.exports import text, to_dict, write
from halfmax.explain.faithful import curves, permuted, randomised, rank_correlation, top_overlap
from halfmax.explain.groups import NONE, Groups
from halfmax.explain.overview import gene_volcano, importance, pathway_volcano, swarm
from halfmax.explain.pictures import beeswarm, volcano, waterfall
from halfmax.explain.recovery import check_predictor, event_lines
from halfmax.explain.what_if import LABEL, interaction, what_if
from halfmax.predictor import Predictor

DATA = make_dataset(120, 6, 30, noise=0.2)
EXPRESSION = DATA.omics["expression"]
NEW = make_dataset(12, 6, 30, seed=7).omics["expression"].set_axis([f"N{i}" for i in range(12)])


@pytest.fixture(scope="module")
def explainer():
    return Explainer(Predictor.of("kernel_ridge").fit(DATA))


@pytest.fixture(scope="module")
def found(explainer):
    return explainer.explain(NEW)


@pytest.fixture(scope="module")
def saved(explainer, tmp_path_factory):
    return explainer.predictor.save(tmp_path_factory.mktemp("run") / "predictor")


def test_the_last_row_keeps_the_sum_exact(found):
    table = found.genes("N1", "d03", 5)
    assert len(table) == 6
    assert table["feature"].iloc[-1] == "other 25 features"
    difference = found.difference[1, 3]
    assert table["attribution"].sum() == pytest.approx(difference, abs=1e-4)
    assert found.modalities("N1", "D03")["attribution"].sum() == pytest.approx(difference, abs=1e-4)
    assert len(found.genes("N1", "D03", None)) == 30
    with pytest.raises(UnknownNameError, match="D09"):
        found.genes("N1", "D09")


def test_sets_sum_exactly_and_split_what_they_share(found):
    disjoint = Groups({"a": ["G0", "G1", "elsewhere"], "b": ["G2", "G3"]})
    table = found.pathways("N1", "D03", disjoint).set_index("set")
    place = {gene: i for i, gene in enumerate(found.feature.tolist())}
    assert table.loc["b", "attribution"] == pytest.approx(found.values[1, 3, [place["G2"], place["G3"]]].sum())
    assert table["n_shared"].sum() == 0
    assert table.loc[NONE, "n_features"] == 26
    overlapping = Groups({"a": ["G2", "G3"], "b": ["G3"], "c": ["G3", "G4"]})
    table = found.pathways("N1", "D03", overlapping).set_index("set")
    assert table.loc["b", "attribution"] == pytest.approx(found.values[1, 3, place["G3"]] / 3)
    assert table.loc["b", "n_shared"] == 1
    for groups in (disjoint, overlapping):
        total = found.pathways("N1", "D03", groups, top=1)["attribution"].sum()
        assert total == pytest.approx(found.difference[1, 3], abs=1e-4)
    with pytest.raises(DataError, match="none of 1 gene sets"):
        found.pathways("N1", "D03", Groups({"a": ["TP53"]}))


def test_every_file_says_unit_method_background_gap_and_limits_of_use(found, explainer, tmp_path):
    one = explainer.explain(NEW.iloc[:1], ["D03"])
    sha = explainer.background.sha256
    for ending in (".csv", ".tsv", ".json", ".svg", ".parquet"):
        path = tmp_path / f"why{ending}"
        write(one, path, top=4)
        if ending == ".parquet":
            table = pd.read_parquet(path)
            assert set(table["research_use"]) == {RESEARCH_USE}
            assert set(table["background_sha256"]) == {sha}
            continue
        written = path.read_text(encoding="utf-8")
        assert RESEARCH_USE in written
        if ending != ".svg":
            assert sha in written
            assert "gap" in written
            assert "ln_ic50 [ln µM]" in written
    table = pd.read_csv(tmp_path / "why.csv", comment="#")
    assert table["attribution"].sum() == pytest.approx(one.difference[0, 0], abs=1e-3)
    content = json.loads((tmp_path / "why.json").read_text(encoding="utf-8"))
    assert content["additivity_gap"] <= 1e-4
    assert sum(row["attribution"] for row in content["pairs"][0]["features"]) == pytest.approx(
        one.difference[0, 0], abs=1e-4
    )
    json.dumps(to_dict(found, groups=Groups({"a": ["G0"]})), allow_nan=False)
    with pytest.raises(DataError, match="one pair"):
        write(found, tmp_path / "many.svg")
    with pytest.raises(DataError, match="ending"):
        write(found, tmp_path / "why.xlsx")
    assert not list(tmp_path.glob("*.part"))
    words = text(one, "N0", "D03", top=3)
    assert RESEARCH_USE in words
    assert "other 27 features" in words


def test_pictures_are_well_formed_and_carry_names_that_look_like_markup(explainer):
    names = NEW.rename(index={"N0": "<b>&N0"})
    one = explainer.explain(names.drop(columns=["G3"]).iloc[:1], ["D03"])
    for picture in (
        waterfall(one, "<b>&N0", "D03", 30),
        beeswarm(swarm(explainer.explain(NEW), "D03"), "D03 & others", "ln µM"),
        volcano(gene_volcano(explainer.explain(NEW), "G3", EXPRESSION, DATA.response), "G3", "ln µM"),
    ):
        root = ElementTree.fromstring(picture)
        assert RESEARCH_USE in "".join(root.itertext())
    assert "url(#filled-in)" in waterfall(one, "<b>&N0", "D03", 30)


def test_importance_has_intervals_and_finds_the_planted_gene(found):
    table = importance(found, "D04")
    assert table["feature"].iloc[0] == "G4"
    assert table["direction"].iloc[0] == -1
    assert (table["low"] <= table["importance"]).all()
    assert (table["importance"] <= table["high"]).all()
    assert swarm(found, "D04", top=3).groupby("feature", sort=False).size().tolist() == [12, 12, 12]


def test_volcanoes_set_the_planted_drug_apart_even_within_tissues(found):
    tissue = DATA.samples["tissue"]
    table = gene_volcano(found, "G3", EXPRESSION, DATA.response, tissue)
    assert table["drug_id"].iloc[0] == "D03"
    assert table["effect"].iloc[0] < -0.3
    assert table["rho"].iloc[0] < -0.8
    assert (table["q"] >= table["p"]).all()
    groups = Groups({"planted": ["G3", "G20"], "other": ["G21"]})
    sets = pathway_volcano(found, "planted", groups, EXPRESSION, DATA.response, tissue)
    assert sets["drug_id"].iloc[0] == "D03"
    # a gene that only follows the tissue loses its correlation when tissue is adjusted for
    shifted = DATA.response.merge(tissue.rename("t"), left_on="sample_id", right_index=True)
    step = shifted["t"].map({"lung": 3.0, "blood": 0.0, "skin": -3.0})
    response = shifted.assign(value=np.where(shifted["drug_id"] == "D05", step, shifted["value"]))
    plain = gene_volcano(found, "G0", EXPRESSION, response).set_index("drug_id").loc["D05", "rho"]
    adjusted = gene_volcano(found, "G0", EXPRESSION, response, tissue).set_index("drug_id").loc["D05", "rho"]
    assert plain < -0.5
    assert not abs(adjusted) > 0.3
    with pytest.raises(UnknownNameError, match=r"(?i)did you mean"):
        gene_volcano(found, "g3", EXPRESSION, DATA.response)


def test_a_changed_gene_moves_the_prediction_within_the_training_range_only(explainer):
    answer = what_if(explainer, NEW, "N2", "D03", "G3")
    assert answer.label == LABEL
    assert answer.table["prediction"].is_monotonic_decreasing
    assert answer.table["value"].between(answer.low, answer.high).all()
    far = what_if(explainer, NEW, "N2", "D03", "G3", [-100.0, 0.0, 100.0])
    assert far.table["value"].tolist() == [answer.low, 0.0, answer.high]
    assert [f.code for f in far.findings] == ["outside-training-range"]
    same = what_if(explainer, NEW, "N2", "D03", "G3", [float(NEW.loc["N2", "G3"])])
    assert abs(same.table["difference"].iloc[0]) < 1e-5
    with pytest.raises(UnknownNameError, match="feature 'G99'"):
        what_if(explainer, NEW, "N2", "D03", "G99")


def test_genes_interact_where_the_model_says_so(explainer):
    x = explainer.predictor.features_.transform(
        explainer.predictor.pairs_of({"expression": NEW}, explainer.predictor.drugs_.iloc[:1], None)
    )
    assert np.abs(interaction(explainer, x, "D03", "G3", "G4")).max() < 1e-5  # a linear model adds up
    bent = Explainer(Predictor.of("kernel_ridge", {"kernel": "rbf"}).fit(DATA))
    assert np.abs(interaction(bent, x, "D03", "G3", "G4")).max() > 1e-3


def test_deleting_by_attribution_beats_random_and_unusual(explainer, found):
    x = explainer.predictor.features_.transform(
        explainer.predictor.pairs_of({"expression": NEW}, explainer.predictor.drugs_.iloc[:1], None)
    )
    table = curves(explainer, x, found, steps=(1, 3, 5))
    area = table.groupby(["kind", "order"])["moved"].sum().unstack()
    assert (area["attribution"] > area["random"] + 0.3).all()
    assert (area["attribution"] > area["unusual"] + 0.3).all()


@pytest.mark.parametrize(("name", "params"), [("kernel_ridge", {}), ("mlp", {"width": 32, "epochs": 20})])
def test_randomised_weights_explain_something_else(name, params):
    predictor = Predictor.of(name, params).fit(DATA)
    true = Explainer(predictor).explain(NEW)
    false = Explainer(randomised(predictor)).explain(NEW)
    assert rank_correlation(true.values.mean(0), true.values.mean(0)) == pytest.approx(1)
    planted = [true.feature.tolist().index(f"G{j}") for j in range(6)]
    size = np.abs(false.values).mean(axis=0)
    assert sum(size[j].argmax() == planted[j] for j in range(6)) <= 1
    assert false.gap.max() < 1e-3


def test_shuffled_labels_hide_the_planted_genes():
    null = permuted(DATA)
    for drug, part in DATA.response.groupby("drug_id"):
        other = null.response[null.response["drug_id"] == drug]
        assert sorted(part["value"]) == sorted(other["value"])
    found = Explainer(Predictor.of("kernel_ridge").fit(null)).explain(NEW)
    told = signed_importance(found)
    assert np.median([rank_of(told[j], found.feature.tolist().index(f"G{j}"), -1.0) for j in range(6)]) > 3


def test_overlap_of_first_features():
    one, other = {"a": np.array([3.0, 2, 1, 0])}, {"a": np.array([-3.0, 0, 1, 2])}
    assert top_overlap(one, one, 2) == 1
    assert top_overlap(one, other, 2) == 0.5
    with pytest.raises(DataError, match="no drug"):
        top_overlap(one, {"b": np.ones(4)})


def test_the_rule_of_ranking():
    told = np.array([-3.0, 2.0, -1.0, 0.0])
    assert rank_of(told, 0, -1.0) == 1
    assert rank_of(told, 2, -1.0) == 2
    assert rank_of(told, 1, -1.0) == 4  # the wrong direction stands behind everything
    assert rank_of(told, 3, 1.0) == 2
    assert rank_of(np.zeros(4), 0, 1.0) == 4  # ties count against it


def test_the_shipped_associations_are_whole():
    table = known_biomarkers()
    assert not table.duplicated(["drug", "feature", "screens", "level"]).any()
    assert set(table["direction"]) == {"sensitive", "resistant"}
    assert set(table["role"]) == {"core", "check"}
    assert set(table["level"]) == {"expression", "mutation", "event"}
    assert table["source"].str.contains(r"\d{4}").all()
    assert table["identifier"].str.match(r"^(doi:10\.\d{4,9}/\S+)?$").all()
    assert {s for screens in table["screens"] for s in screens.split(",")} == {"gdsc1", "gdsc2"}


def test_planted_associations_are_recovered_by_model_ridge_and_spearman(explainer):
    known = pd.DataFrame(
        [(f"D0{j}", f"G{j}", "expression", "sensitive", "core", "gdsc2", "planted", "") for j in range(6)],
        columns=known_biomarkers().columns,
    )
    found = explainer.explain_encoded(explainer.lines)
    own = {d: signed_importance(found)[j] for j, d in enumerate(found.drug_ids)}
    table = check_biomarkers(own, found.feature, known=known)
    assert table["rank"].tolist() == [1] * 6
    assert recovery(table)["top_1"].tolist() == [1.0, 1.0]
    for rule in (ridge, spearman):
        other = {d: rule(EXPRESSION, DATA.response, d) for d in own}
        assert check_biomarkers(other, list(EXPRESSION.columns), known=known)["rank"].tolist() == [1] * 6
    turned = check_biomarkers(own, found.feature, known=known, higher_is_sensitive=True)
    assert not turned["direction_right"].any()
    with pytest.raises(DataError, match="none of the 0"):
        check_biomarkers(own, found.feature, known=known, screen="gdsc1")


@pytest.fixture(scope="module")
def real_names():
    """Return a dataset in which SLFN11 makes sensitive to topotecan and lines with an event resist lapatinib less."""
    names = {"G1": "SLFN11", "G2": "MDM2"}
    data = make_dataset(80, 4, 20)
    drugs = {"D00": "Lapatinib", "D01": "Topotecan", "D02": "Nutlin-3a (-)", "D03": "Docetaxel"}
    from dataclasses import replace

    response = data.response.assign(drug_id=data.response["drug_id"].map(drugs))
    event = (data.omics["expression"][["G0"]] > 1).astype(float)
    event.columns = ["gain_cnaPANCAN301_(CDK12,ERBB2,MED24)"]
    return replace(
        data,
        name="gdsc2-like",
        response=response,
        drugs=data.drugs.rename(index=drugs),
        omics={"expression": data.omics["expression"].rename(columns=names), "events": event},
    )


def test_a_predictor_is_checked_beside_ridge_and_spearman(real_names):
    found = check_predictor(Explainer(Predictor.of("kernel_ridge").fit(real_names)), real_names)
    assert found.associations.groupby("by").size().to_dict() == {"model": 2, "ridge": 2, "spearman": 2}
    assert (found.associations["rank"] == 1).all()
    assert "100.0% of 2 core" in found.verdict
    assert "reaches" in found.verdict
    lines = event_lines(real_names, real_names.response.rename(columns={"value": "prediction"}))
    assert lines["drug"].tolist() == ["Lapatinib"]
    assert lines["auc"].iloc[0] > 0.95
    assert lines["direction_right"].iloc[0]


def run(*arguments):
    app = typer.Typer()
    app.command()(command)
    return CliRunner().invoke(app, [str(a) for a in arguments], terminal_width=200)


def test_the_command_explains_a_file_and_the_background(saved, explainer, tmp_path):
    NEW.to_csv(tmp_path / "new.csv")
    told = run(saved, "--expression", tmp_path / "new.csv", "--unit", "zscore_gene", "--sample", "n1", "--drug", "D03")
    assert told.exit_code == 0, told.output
    assert RESEARCH_USE in told.output
    assert "other 10 features" in told.output
    one = explainer.background.sample_ids[0]
    (tmp_path / "sets.gmt").write_text("some\t\tG0\tG3\n", encoding="utf-8")
    told = run(
        saved, "--sample", one, "--drug", "D03", "--pathways", tmp_path / "sets.gmt", "--out", tmp_path / "w.json"
    )
    assert told.exit_code == 0, told.output
    pair = json.loads((tmp_path / "w.json").read_text(encoding="utf-8"))["pairs"][0]
    assert sum(row["attribution"] for row in pair["pathways"]) == pytest.approx(pair["difference"], abs=1e-4)
    assert isinstance(run(saved, "--sample", "nobody", "--drug", "D03").exception, UnknownNameError)
    assert isinstance(run(saved, "--drug", "D03").exception, DataError)
    assert isinstance(run(saved, "--out", tmp_path / "w.xlsx").exception, DataError)


def test_the_command_checks_biomarkers(real_names, tmp_path):
    folder = Predictor.of("kernel_ridge").fit(real_names).save(tmp_path / "p")
    data = real_names.save(tmp_path / "d")
    told = run(folder, "--check-biomarkers", "--data", data, "--out", tmp_path / "known.csv")
    assert told.exit_code == 0, (told.output, told.exception)
    assert "reaches the bar" in told.output
    table = pd.read_csv(tmp_path / "known.csv", comment="#")
    assert set(table["by"]) == {"model", "ridge", "spearman"}
    assert RESEARCH_USE in (tmp_path / "known.csv").read_text(encoding="utf-8")
