"""Cross-study: no line is scored that was learned from, drugs match by id or structure, doses are asked for."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from halfmax.between_screens import cross_study, read_folds, shared_drugs
from halfmax.cli import main
from halfmax.data.dataset import MEASURES, ResponseDataset
from halfmax.data.findings import Findings
from halfmax.data.synthetic import make_dataset
from halfmax.errors import DataError
from halfmax.evaluate import ModelSpec

TRAIN = make_dataset(90, 8, 40, noise=0.3)
SPECS = [ModelSpec("mean_effects", "mean_effects"), ModelSpec("kernel_ridge", "kernel_ridge")]


def other_screen(offset: float = 2.0, noise: float = 0.3) -> ResponseDataset:
    """Return a second screen: the same lines and genes, six of the drugs, other noise, each drug shifted."""
    again = make_dataset(90, 8, 40, noise=0.0)
    rng = np.random.default_rng(7)
    kept = again.take((again.response["drug_id"] < "D06").to_numpy())
    value = kept.response["value"] + offset + noise * rng.normal(size=kept.n_pairs)
    return replace(kept, name="other", response=kept.response.assign(value=value))


def with_doses(dataset: ResponseDataset, high: float, measure: str = "auc") -> ResponseDataset:
    drugs = dataset.drugs.assign(min_dose=0.01, max_dose=high)
    return replace(dataset, measure=MEASURES[measure], drugs=drugs)


def overall(found, model, metric):
    table = found.results.metrics.query("fold == 'all' and group_by == 'all' and model == @model and metric == @metric")
    return float(table["value"].iloc[0])


def test_planted_effects_carry_over_to_the_other_screen():
    found = cross_study(TRAIN, other_screen(), SPECS, n_folds=3, n_boot=30)
    assert overall(found, "kernel_ridge", "within_drug_pearson") > 0.7
    assert overall(found, "kernel_ridge", "rmse") > 1.5  # the screens' offset is told, not hidden
    assert set(found.results.predictions["drug_id"]) == {f"D0{i}" for i in range(6)}
    scored = found.results.predictions.query("model == 'kernel_ridge'")
    assert len(scored) == other_screen().n_pairs
    assert found.agreement["within_drug_pearson"].iloc[0] > 0.8
    assert found.drugs["n_test"].sum() == other_screen().n_pairs
    assert (found.drugs["how"] == "id").all()


def test_neither_screen_s_values_of_held_out_lines_reach_the_fit():
    other = other_screen()
    folds = {s: str(i % 3) for i, s in enumerate(TRAIN.samples.index)}
    held = {s for s, fold in folds.items() if fold == "0"}
    own = TRAIN.response.copy()
    own.loc[own["sample_id"].isin(held), "value"] = 1e6
    theirs = other.response.assign(value=other.response["value"] * 1e3)
    clean = cross_study(TRAIN, other, SPECS, folds=folds, only=["0"], n_boot=0).results.predictions
    dirty = cross_study(
        replace(TRAIN, response=own), replace(other, response=theirs), SPECS, folds=folds, only=["0"], n_boot=0
    ).results.predictions
    assert set(clean["sample_id"]) == held
    assert np.array_equal(clean["y_pred"], dirty["y_pred"])


def test_a_line_under_another_name_is_not_learned_from():
    names = {s: s.lower() for s in TRAIN.samples.index}
    other = other_screen()
    renamed = replace(
        other,
        response=other.response.assign(sample_id=other.response["sample_id"].map(names)),
        samples=other.samples.rename(index=names),
        omics={k: v.rename(index=names) for k, v in other.omics.items()},
    )
    poisoned = TRAIN.response.copy()
    folds = {s.lower(): str(i % 3) for i, s in enumerate(TRAIN.samples.index)}
    poisoned.loc[poisoned["sample_id"].str.lower().map(folds) == "1", "value"] = -1e6
    clean, dirty = (
        cross_study(d, renamed, SPECS, folds=folds, only=["1"], n_boot=0).results.predictions
        for d in (TRAIN, replace(TRAIN, response=poisoned))
    )
    assert np.array_equal(clean["y_pred"], dirty["y_pred"])


def test_drugs_match_by_structure_where_ids_differ():
    other = other_screen()
    new = {"D00": "ethanol"}
    renamed = replace(
        other,
        response=other.response.assign(drug_id=other.response["drug_id"].replace(new)),
        drugs=other.drugs.rename(index=new),
    )
    table = shared_drugs(TRAIN, renamed).set_index("drug_id")
    assert tuple(table.loc["D00"]) == ("ethanol", "structure")
    one, two = (cross_study(TRAIN, d, SPECS, n_folds=3, n_boot=0).results for d in (other, renamed))
    key = ["model", "sample_id", "drug_id"]
    a, b = (r.predictions.sort_values(key)["y_pred"].to_numpy() for r in (one, two))
    assert np.allclose(a, b, atol=1e-5)


def test_screens_of_other_lines_need_no_common_line():
    half = TRAIN.samples.index[:50]
    ours = TRAIN.take(TRAIN.response["sample_id"].isin(half).to_numpy())
    other = other_screen()
    theirs = other.take((~other.response["sample_id"].isin(half)).to_numpy())
    found = cross_study(ours, theirs, SPECS, n_folds=2, n_boot=0)
    assert len(found.results.predictions) == 2 * theirs.n_pairs
    assert found.agreement.empty


def test_an_area_under_the_curve_needs_alike_doses():
    ours, theirs = with_doses(TRAIN, 10.0), with_doses(other_screen(), 10.0)
    unknown = replace(ours, drugs=TRAIN.drugs)
    with pytest.raises(DataError, match=r"no 'min_dose', 'max_dose' \[µM\].*shared_auc"):
        shared_drugs(unknown, theirs)
    assert len(shared_drugs(ours, theirs)) == 6
    doses = theirs.drugs["max_dose"].copy()
    doses["D01"], doses["D02"] = 100.0, np.nan
    findings = Findings()
    table = shared_drugs(ours, replace(theirs, drugs=theirs.drugs.assign(max_dose=doses)), findings)
    assert list(table["drug_id"]) == ["D00", "D03", "D04", "D05"]
    assert findings.all()[0].code == "other-doses"
    assert findings.all()[0].examples == ("D01", "D02")
    with pytest.raises(DataError, match="none of 6 shared drugs"):
        shared_drugs(ours, with_doses(other_screen(), 100.0))


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(DataError, match="load both as one measure"):
        shared_drugs(TRAIN, with_doses(other_screen(), 10.0))
    stranger = make_dataset(30, 2, 40)
    ids = {"D00": "X", "D01": "Y"}
    stranger = replace(
        stranger,
        response=stranger.response.assign(drug_id=stranger.response["drug_id"].map(ids)),
        drugs=stranger.drugs.rename(index=ids).assign(smiles=None),
    )
    with pytest.raises(DataError, match="share no drug"):
        shared_drugs(TRAIN, stranger)
    with pytest.raises(DataError, match="the folds name no sample"):
        cross_study(TRAIN, other_screen(), SPECS, folds={"nobody": "0"})
    with pytest.raises(DataError, match="only names folds"):
        cross_study(TRAIN, other_screen(), SPECS, n_folds=2, only=["7"])


def test_tables_are_written(tmp_path):
    folds = {s: str(i % 3) for i, s in enumerate(TRAIN.samples.index[:60])}
    found = cross_study(TRAIN, other_screen(), SPECS, folds=folds, n_boot=0)
    found.write(tmp_path)
    assert pd.read_csv(tmp_path / "findings.csv")["code"].tolist() == ["no-fold"]
    assert len(pd.read_csv(tmp_path / "drugs.csv")) == 6
    assert len(pd.read_parquet(tmp_path / "predictions.parquet")) == len(found.results.predictions)


def test_folds_are_read_by_name_and_faults_in_them_refused(tmp_path):
    path = tmp_path / "folds.csv"
    names = list(TRAIN.samples.index)
    table = pd.DataFrame({"cell": [n.replace("S", "s-") for n in names], "fold": [i % 3 for i in range(len(names))]})
    pd.concat([table.assign(drug="D00"), table.assign(drug="D01")]).to_csv(path, index=False)
    assert read_folds(path, [TRAIN, other_screen()]) == {n: str(i % 3) for i, n in enumerate(names)}
    pd.concat([table, table.head(1).assign(fold=2)]).to_csv(path, index=False)
    with pytest.raises(DataError, match="1 cells in more than one fold"):
        read_folds(path, [TRAIN])
    table.assign(cell=table["cell"] + "x").to_csv(path, index=False)
    with pytest.raises(DataError, match="90 of 90 cells"):
        read_folds(path, [TRAIN])


def test_the_command_writes_the_tables_and_tells_the_agreement(tmp_path, capfd):
    TRAIN.save(tmp_path / "one")
    other_screen().save(tmp_path / "two")
    arguments = ["cross-study", str(tmp_path / "one"), str(tmp_path / "two"), "--out", str(tmp_path / "out")]
    quick = ["--models", "drug_mean,kernel_ridge", "--set", "n_boot=2", "--set", "split.n_folds=2"]
    assert main([*arguments, *quick]) == 0
    told = "".join(capfd.readouterr())
    assert "pairs measured in both agree within drugs at r = 0." in told
    assert {p.name for p in (tmp_path / "out").iterdir()} >= {"metrics.csv", "drugs.csv", "predictions.parquet"}
    assert main([*arguments, "--models", "oracle"]) == 2
