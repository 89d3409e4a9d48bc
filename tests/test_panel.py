"""A panel of measured values corrects a predictor's other answers, says what it left out, and lives in the folder."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from halfmax.cli import main
from halfmax.config import RunConfig
from halfmax.data.dataset import ResponseDataset
from halfmax.data.storage import write_json
from halfmax.data.synthetic import make_dataset
from halfmax.errors import DataError, ModelFileError, UnknownNameError
from halfmax.evaluate import ModelSpec, cross_validate
from halfmax.panel import Panel, learn_panel
from halfmax.predictor import Predictor
from halfmax.run import fit_final, prepare
from halfmax.split import make_splits
from tests.data.small_tables import SYMBOLS

RNG = np.random.default_rng(3)
PLAIN = make_dataset(n_samples=60, n_drugs=16, n_genes=40)


def planted() -> ResponseDataset:
    """Responses with one shift and one hidden factor a sample and a drug, which no profile tells."""
    samples, drugs = PLAIN.samples.index, PLAIN.drugs.index
    hidden = np.outer(RNG.normal(size=len(samples)), RNG.normal(size=len(drugs)))
    shift = RNG.normal(size=(len(samples), 1)) + 2 * RNG.normal(size=len(drugs))
    grid = pd.DataFrame(hidden + shift + 0.2 * RNG.normal(size=hidden.shape), index=samples, columns=drugs)
    pairs = PLAIN.response[["sample_id", "drug_id"]]
    value = grid.to_numpy()[samples.get_indexer(pairs["sample_id"]), drugs.get_indexer(pairs["drug_id"])]
    expression = PLAIN.omics["expression"].set_axis(SYMBOLS[:40], axis=1)
    return replace(PLAIN, response=pairs.assign(value=value), omics={"expression": expression})


DATASET = planted()
IDS = sorted(DATASET.samples.index)
OLD = DATASET.take(np.flatnonzero(DATASET.response["sample_id"].isin(IDS[:45]).to_numpy()))
NEW = DATASET.response[DATASET.response["sample_id"].isin(IDS[45:])]
EXPRESSION = DATASET.omics["expression"].loc[IDS[45:]]


def errors(protocol: str) -> pd.DataFrame:
    spec = ModelSpec("kernel_ridge", "kernel_ridge")
    return cross_validate(OLD, make_splits(OLD, protocol, n_folds=3), [spec], n_boot=0).predictions


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    fitted = Predictor.of("kernel_ridge").fit(OLD)
    fitted.panels_ = {"sample": learn_panel(errors("LCO"), "sample"), "drug": learn_panel(errors("LDO"), "drug")}
    return fitted


def taken(n: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return n values of each new sample, and the rest."""
    place = NEW.groupby("sample_id").cumcount()
    return NEW[place < n], NEW[place >= n]


def error(table: pd.DataFrame, rest: pd.DataFrame, column: str = "prediction") -> float:
    both = rest.merge(table, on=["sample_id", "drug_id"])
    assert len(both) == len(rest)
    return float(((both["value"] - both[column]) ** 2).mean())


def test_measured_drugs_correct_the_others_of_a_new_sample(predictor: Predictor) -> None:
    table, _ = predictor.predict_samples({"expression": EXPRESSION})
    known, rest = taken(6)
    after, findings = predictor.add_measured(table, known)
    assert error(after, rest) < 0.4 * error(after, rest, "before")
    assert after["measured"].sum() == len(known)
    assert findings[-1].count == 0
    assert "15 samples (6 to 6 each)" in findings[-1].message
    told = [float(x) for x in re.findall(r"([0-9.]+) with", findings[-1].message)]
    assert told[0] > 1.4 * told[1] > 0, "what the values are expected to bring is said"
    assert (after["rank"] == after.groupby("sample_id").cumcount() + 1).all()
    np.testing.assert_allclose(after["difference"], after["prediction"] - after["drug_mean"])
    squares = after.merge(rest, on=["sample_id", "drug_id"])
    ratio = ((squares["value"] - squares["prediction"]) / squares["sd"]) ** 2
    assert 0.5 < ratio.mean() < 2, "the stated sd is that of the errors"


def test_values_of_another_assay_need_and_use_a_bridge(predictor: Predictor) -> None:
    bias = pd.Series(3 * np.random.default_rng(0).normal(size=len(DATASET.drugs)), index=DATASET.drugs.index)

    def elsewhere(frame: pd.DataFrame, times: float = 1.0) -> pd.DataFrame:
        noise = 0.3 * np.random.default_rng(1).normal(size=len(frame))
        return frame.assign(value=frame["value"] + times * frame["drug_id"].map(bias).to_numpy() + noise)

    known, rest = taken(6)
    table, _ = predictor.predict_samples({"expression": EXPRESSION})
    other = elsewhere(known)
    bridged, _ = predictor.add_measured(table, other, bridge=elsewhere(OLD.response))
    assert error(bridged, rest) < error(bridged, rest, "before")
    farther, _ = predictor.add_measured(table, elsewhere(known, 9), bridge=elsewhere(OLD.response, 9))
    order = ["sample_id", "drug_id"]
    for column in ("prediction", "sd"):  # what differs a drug on average means nothing
        one, two = (t.sort_values(order)[column].to_numpy() for t in (bridged, farther))
        np.testing.assert_allclose(one, two, rtol=1e-6)
    straight, _ = predictor.add_measured(table, known)
    assert error(straight, rest) < error(bridged, rest), "another assay is trusted less"
    thin = elsewhere(OLD.response)
    first = known["drug_id"].iloc[0]
    thin = thin[(thin["drug_id"] != first) | (thin.groupby("drug_id").cumcount() < 3)]
    _, said = predictor.add_measured(table, other, bridge=thin)
    assert [f.examples for f in said if f.code == "thin-bridge"] == [(first,)]
    with pytest.raises(DataError, match="fewer than 10 values in the bridge"):
        predictor.add_measured(table, other, bridge=thin.head(5))


def test_measured_samples_correct_the_others_of_a_new_drug() -> None:
    names = sorted(DATASET.drugs.index)
    is_new = DATASET.response["drug_id"].isin(names[-3:]).to_numpy()
    old, new = DATASET.take(np.flatnonzero(~is_new)), DATASET.take(np.flatnonzero(is_new))
    spec = ModelSpec("kernel_ridge", "kernel_ridge")
    found = cross_validate(old, make_splits(old, "LDO", n_folds=3), [spec], n_boot=0).predictions
    fitted = Predictor.of("kernel_ridge").fit(old)
    fitted.panels_ = {"drug": learn_panel(found, "drug", like=old.omics["expression"])}
    plan = list(fitted.panel("drug").design(5)["sample_id"])
    table = fitted.predict(new)
    pilot = new.response[new.response["sample_id"].isin(plan)]
    after, _ = fitted.add_measured(table, pilot, new="drug")
    rest = new.response[~new.response["sample_id"].isin(plan)]
    assert error(after, rest) < 0.5 * error(after, rest, "before")


def test_what_cannot_be_used_is_said(predictor: Predictor) -> None:
    table, _ = predictor.predict_samples({"expression": EXPRESSION.iloc[:2]})
    sample = EXPRESSION.index[0]
    good = NEW[NEW["sample_id"] == sample].head(3)
    odd = pd.DataFrame(
        [
            (sample, "Nonesuch", 1.0),
            ("nobody", good["drug_id"].iloc[0], 1.0),
            (sample, good["drug_id"].iloc[1], np.nan),
        ],
        columns=["sample_id", "drug_id", "value"],
    )
    lower = good.assign(drug_id=good["drug_id"].str.lower())
    after, said = predictor.add_measured(table, pd.concat([lower.iloc[[0, 2]], odd]))
    assert [(f.code, f.count) for f in said[:3]] == [
        ("values-missing", 1),
        ("unknown-rows", 1),
        ("unpredicted-pairs", 1),
    ]
    assert after["measured"].sum() == 2
    untouched = after["sample_id"] != sample
    assert (after.loc[untouched, "prediction"] == after.loc[untouched, "before"]).all()
    with pytest.raises(DataError, match="none of the 3 measured values can be used"):
        predictor.add_measured(table, odd)
    with pytest.raises(DataError, match="more than once"):
        predictor.add_measured(table, pd.concat([good, good]))
    _, said = predictor.add_measured(table, good.assign(value=good["value"] + 100))
    assert "same measure and unit" in next(f.message for f in said if f.code == "strange-values")


def test_a_predictor_without_a_panel_says_how_to_get_one() -> None:
    with pytest.raises(DataError, match="--protocol LDO"):
        Predictor.of("mean_effects").fit(OLD).panel("drug")


def test_save_and_load_give_the_same_bits(predictor: Predictor, tmp_path: Path) -> None:
    again = Predictor.load(predictor.save(tmp_path / "p"))
    table, _ = predictor.predict_samples({"expression": EXPRESSION})
    left, right = (p.add_measured(table, taken(4)[0])[0] for p in (predictor, again))
    pd.testing.assert_frame_equal(left, right, check_exact=True)
    for new in ("sample", "drug"):
        one, other = (p.panels_[new].design(6) for p in (predictor, again))
        pd.testing.assert_frame_equal(one, other, check_exact=True)


def test_a_folder_of_before_loads_and_has_no_panel(predictor: Predictor, tmp_path: Path) -> None:
    plain = Predictor.of("mean_effects").fit(OLD)
    folder = plain.save(tmp_path / "p")
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest.pop("panels") == {}
    write_json(folder / "manifest.json", manifest, hash_siblings=True)
    again = Predictor.load(folder)
    pd.testing.assert_frame_equal(plain.predict(OLD), again.predict(OLD), check_exact=True)
    with pytest.raises(DataError, match="--protocol LCO"):
        again.panel("sample")


def test_a_panel_that_does_not_fit_is_refused(predictor: Predictor) -> None:
    panel = predictor.panels_["sample"]
    with pytest.raises(ModelFileError, match="does not fit"):
        Panel.from_arrays("sample", panel.ids.tolist()[1:], panel.arrays())
    with pytest.raises(ModelFileError, match="does not fit"):
        Panel.from_arrays("tissue", panel.ids.tolist(), panel.arrays())
    with pytest.raises(ModelFileError, match="not positive"):
        Panel.from_arrays("sample", panel.ids.tolist(), panel.arrays() | {"noise": 0 * panel.prior.noise})


def test_a_design_names_rows_and_what_they_bring(predictor: Predictor) -> None:
    panel = predictor.panels_["drug"]
    plan = panel.design(4, measured=[panel.ids[0]])
    assert list(plan.columns) == ["step", "sample_id", "expected_sd", "reduction", "coverage"]
    assert (np.diff(plan["expected_sd"]) < 0).all()
    assert plan["reduction"].between(0, 1).all()
    assert panel.ids[0] not in set(plan["sample_id"])
    two = list(panel.ids[:2])
    assert set(panel.design(2, candidates=[name.lower() for name in two])["sample_id"]) == set(two)
    with pytest.raises(UnknownNameError, match="1 of 1 ids"):
        panel.design(2, candidates=["nowhere"])
    with pytest.raises(DataError, match="can be measured"):
        panel.design(3, candidates=two)


@pytest.fixture(scope="module")
def folder(predictor: Predictor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved predictor that knows both panels."""
    return predictor.save(tmp_path_factory.mktemp("panel") / "predictor")


def test_the_commands(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    EXPRESSION.to_csv(tmp_path / "new.csv")
    known, rest = taken(5)
    known.rename(columns={"value": "ln_ic50"}).to_csv(tmp_path / "panel.csv", index=False)
    given = ["predict", str(folder), "--expression", str(tmp_path / "new.csv"), "--unit", "zscore_gene"]
    out = tmp_path / "out.csv"
    asked = str(rest["drug_id"].iloc[0])
    options = ["--measured", str(tmp_path / "panel.csv"), "--out", str(out), "--drugs", asked]
    assert main([*given, *options]) == 0
    table = pd.read_csv(out, comment="#")
    assert set(table["drug_id"]) == {asked}
    assert error(table, rest[rest["drug_id"] == asked]) < error(table, rest[rest["drug_id"] == asked], "before")
    assert main(["design-pilot", str(folder), "--drug", "new", "--n", "3", "--out", str(out)]) == 0
    plan = pd.read_csv(out, comment="#")
    assert plan["drug_id"].tolist() == ["new"] * 3
    assert plan["reduction"].is_monotonic_increasing
    capsys.readouterr()
    done = ["--measured", str(tmp_path / "panel.csv"), "--sample", str(EXPRESSION.index[0])]
    assert main(["design-pilot", str(folder), *done, "--n", "2"]) == 0
    shown = capsys.readouterr().out
    assert "expected_sd" in shown
    mine = known.loc[known["sample_id"] == EXPRESSION.index[0], "drug_id"]
    assert not [name for name in mine if re.search(rf"\b{name}\b", shown)]


def test_mistakes_are_answered_in_words(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def told(*arguments: str) -> str:
        assert main(list(arguments)) == 2
        return " ".join(capsys.readouterr().err.split())

    assert "--drug NAME" in told("design-pilot", str(folder))
    less = Predictor.load(folder)
    less.panels_ = {"sample": less.panels_["sample"]}
    assert "--protocol LDO" in told("design-pilot", str(less.save(tmp_path / "less")), "--drug", "new")
    auc = tmp_path / "auc.csv"
    NEW.head(3).assign(value=0.5).rename(columns={"value": "auc"}).to_csv(auc, index=False)
    message = told("design-pilot", str(folder), "--drug", "new", "--measured", str(auc))
    assert "rename one to one of ln_ic50" in message
    other = tmp_path / "other.csv"
    NEW.head(3).rename(columns={"value": "ln_ic50"}).to_csv(other, index=False)
    assert "nothing was measured of 'new'" in told(
        "design-pilot", str(folder), "--drug", "new", "--measured", str(other)
    )


@pytest.mark.parametrize(("protocol", "new"), [("LCO", ["sample"]), ("LDO", ["drug"]), ("LPO", [])])
def test_a_run_learns_what_its_folds_can_teach(protocol: str, new: list[str]) -> None:
    config = RunConfig.model_validate({"models": ["mean_effects"], "split": {"protocol": protocol, "n_folds": 3}})
    prepared = prepare(config, OLD)
    results = cross_validate(prepared.dataset, prepared.splits, [ModelSpec("mean_effects", "mean_effects")], n_boot=0)
    assert list(fit_final(config, prepared, "mean_effects", results).panels_) == new
