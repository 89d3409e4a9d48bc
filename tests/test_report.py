"""The report says what the tables say, loads nothing, and is harmless whatever things are called."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from halfmax import RESEARCH_USE
from halfmax.errors import DataError
from halfmax.report import Report
from halfmax.report.page import Page
from halfmax.report.words import protocol_of

NAN = float("nan")
METRIC_COLUMNS = ["model", "fold", "group_by", "group", "metric", "value", "n", "low", "high"]
MODELS = ("mean", "mean_effects", "mlp")
FOLDS = ("0", "1")


class Outline(HTMLParser):
    """Elements, their attributes and the text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.scripts: list[str] = []
        self._inside: str | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = None if tag == self._inside else self._inside

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts.append(data)
        elif self._inside is None:
            self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).replace("\u00a0", " ").split())


def make_predictions(models: tuple[str, ...] = MODELS, folds: tuple[str, ...] = FOLDS) -> pd.DataFrame:
    """Forty samples by six drugs; better-informed models lie closer to the measured values."""
    rng = np.random.default_rng(0)
    rows = []
    for fold in folds:
        effect, drug = rng.normal(size=(20, 1)), np.arange(6) * 1.5
        y = effect + drug + 0.3 * rng.normal(size=(20, 6))
        for model in models:
            guess = {"mean": np.full_like(y, 4.0), "mean_effects": np.tile(drug, (20, 1))}.get(
                model, 0.6 * effect + drug
            )
            for i, j in np.ndindex(y.shape):
                rows.append((f"S{fold}_{i}", f"D{j}", fold, model, y[i, j], guess[i, j]))
    return pd.DataFrame(rows, columns=["sample_id", "drug_id", "fold", "model", "y_true", "y_pred"])


def make_metrics(predictions: pd.DataFrame) -> pd.DataFrame:
    """A few figures a fold, over folds, by drug and by tissue."""
    rows: list[tuple[object, ...]] = []
    gains = {"mean": -2.5, "mean_effects": 0.0}
    for model, own in predictions.groupby("model", sort=False):
        gain = gains.get(str(model), 0.3456)
        for fold, part in [*own.groupby("fold"), ("all", own)]:
            error = float(np.sqrt(((part["y_true"] - part["y_pred"]) ** 2).mean()))
            for metric, value in {
                "rmse": error,
                "normalized_r2": gain,
                "within_drug_pearson": max(gain, 0) + 0.2,
            }.items():
                rows.append((model, fold, "all", "", metric, value, len(part), value - 0.01, value + 0.01))
            for by, key in (("drug", part["drug_id"]), ("tissue", part["sample_id"].map(tissue_of))):
                for group, inner in part.groupby(key):
                    rmse = float(np.sqrt(((inner["y_true"] - inner["y_pred"]) ** 2).mean()))
                    r = inner["y_true"].corr(inner["y_pred"]) if inner["y_pred"].std() > 0 else 0.0
                    rows.append((model, fold, by, group, "rmse", rmse, len(inner), NAN, NAN))
                    rows.append((model, fold, by, group, "pearson", r, len(inner), NAN, NAN))
    return pd.DataFrame(rows, columns=METRIC_COLUMNS)


def tissue_of(sample: str) -> str:
    return "lung" if int(sample.rsplit("_", 1)[1]) % 2 else "soft_tissue"


@pytest.fixture(scope="module")
def report() -> Report:
    predictions = make_predictions()
    ids = pd.Index(predictions["sample_id"].unique())
    epochs = np.arange(1, 9)
    return Report(
        name="trial",
        config={"seed": 3, "n_boot": 200, "split": {"protocol": "LCO", "n_folds": 2}, "models": list(MODELS)},
        dataset={
            "name": "demo",
            "measure": {"name": "ln_ic50", "unit": "ln µM"},
            "n_samples": 40,
            "n_drugs": 6,
            "n_pairs": 240,
            "modalities": {"expression": 100},
            "notes": {"sources": [{"name": "origin", "licence": "CC-BY-4.0", "sha256": "ab" * 32}]},
        },
        dropped=pd.DataFrame({"cause": ["no expression"], "n_rows": [120], "n_ids": [20], "examples": ["A, B"]}),
        metrics=make_metrics(predictions),
        predictions=predictions,
        curves=pd.DataFrame({
            "model": "mlp", "fold": "0", "member": 0, "epoch": epochs,
            "train_loss": 2 / epochs, "valid_loss": 2.2 / epochs,
        }),
        timings=pd.DataFrame({
            "model": MODELS, "fold": "0", "fit_s": [0.001, 0.01, 12.5], "predict_s": 0.01, "cpu_s": [0.001, 0.01, 20.0],
            "n_train": 120, "n_test": 120,
        }),
        environment={"halfmax": "0.1.0", "python": "3.11.9", "cpus": 2, "packages": {"numpy": "2.1.0"}, "load": NAN},
        ladder=MODELS,
        agreement=pd.DataFrame({
            "comparison": ["demo and other"], "n_pairs": [90079], "n_drugs": [123], "pearson": [0.82],
            "within_drug_pearson": [0.47], "rmse": [1.86],
        }),
        samples=pd.DataFrame({"tissue": [tissue_of(i) for i in ids]}, index=ids),
        drugs=pd.DataFrame({"name": [f"Drug {j}" for j in range(6)]}, index=[f"D{j}" for j in range(6)]),
        notes=("TT and T-T were not merged.",),
    )  # fmt: skip


@pytest.fixture(scope="module")
def written(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    (folder / "config.toml").write_text("seed = 3\n")
    return report.write(folder)


@pytest.fixture(scope="module")
def page(written: Path) -> str:
    return written.read_text(encoding="utf-8")


def without(report: Report, *tables: str) -> Report:
    return replace(report, **{t: pd.DataFrame() for t in tables})


def test_tables_come_back_as_they_were(report: Report, written: Path) -> None:
    folder = written.parent
    assert written.name == "report.html"
    for name in ("metrics", "curves", "timings", "dropped", "agreement"):
        back = pd.read_csv(folder / f"{name}.csv", keep_default_na=True)
        assert list(back.columns) == list(getattr(report, name).columns)
        assert len(back) == len(getattr(report, name))
    back = pd.read_parquet(folder / "predictions.parquet")
    pd.testing.assert_frame_equal(back, report.predictions, check_dtype=False)
    environment = json.loads((folder / "environment.json").read_text(encoding="utf-8"))
    assert environment["notice"] == RESEARCH_USE
    assert environment["load"] is None
    assert (folder / "config.toml").read_text() == "seed = 3\n"
    assert not [p for p in folder.iterdir() if p.name.startswith(".")]


def test_a_page_that_fails_leaves_the_folder_alone(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = without(report, "predictions", "curves", "timings", "samples", "drugs")
    bare = replace(bare, metrics=report.metrics.query("group_by == 'all'"))
    bare.write(tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    monkeypatch.setattr("halfmax.report.plots.ladder", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        replace(bare, metrics=bare.metrics.head(30)).write(tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_the_page_loads_nothing_and_runs_only_its_own_script(page: str) -> None:
    outline = Outline(page)
    policy = next(m["content"] for m in outline.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert len(outline.scripts) == 1
    digest = base64.b64encode(hashlib.sha256(outline.scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    loading = [(tag, k, v) for tag, attrs in outline.tags for k, v in attrs.items() if k in ("src", "srcset", "data")]
    assert not loading
    links = [a["href"] for a in outline.all("link")]
    assert links == ["data:,"]
    assert not re.search(r"@import|url\((?!#)", page)
    assert len(page.encode()) < 3e6


def test_hostile_names_are_harmless(report: Report) -> None:
    bad = "<script>alert('x')</script>\"$x_{1 & y"
    drugs = report.drugs.assign(name=[f"{bad} {i}" for i in range(6)])
    metrics = report.metrics.replace({"model": {"mlp": bad}, "group": {"lung": bad}})
    hostile = replace(
        report,
        name=bad,
        drugs=drugs,
        metrics=metrics,
        predictions=report.predictions.replace({"model": {"mlp": bad}}),
        curves=report.curves.assign(model=bad),
        timings=report.timings.replace({"model": {"mlp": bad}}),
        ladder=("mean", "mean_effects", bad),
        dataset=report.dataset | {"name": bad, "notes": {bad: [bad, {"url": "javascript:alert(1)"}]}},
        dropped=report.dropped.assign(cause=bad, examples=bad),
        environment={bad: bad},
        config={"split": {"protocol": bad}, "data": {"name": bad}},
        agreement=report.agreement.assign(comparison=bad),
        notes=(bad,),
    )
    outline = Outline(hostile.html())
    assert len(outline.all("script")) == 1
    assert not [attrs for _, attrs in outline.tags if any(k.startswith("on") for k in attrs)]
    assert not [a for a in outline.all("a") if (a["href"] or "").startswith("javascript")]
    assert outline.words.count(f"{bad} 5") >= 1
    assert f"halfmax report · run {bad}" in outline.words


def test_summary_names_the_best_model_with_its_figures(report: Report) -> None:
    summary = report.summary.replace("\u00a0", " ")
    assert "On samples never seen in training, MLP removed 34.6 %" in summary
    assert "normalised R² 0.346, 95 % interval 0.336 to 0.356" in summary
    assert "r = 0.55 (0.54 to 0.56; mean effects 0.20)" in summary
    assert "r = 0.47 (demo and other; the model stands 0.08 above)" in summary
    assert "better than the assay" in summary
    below = replace(report, agreement=report.agreement.assign(within_drug_pearson=0.75)).summary
    assert "0.20 below" in below
    assert "better than the assay" not in below


def test_summary_admits_that_no_model_is_better(report: Report) -> None:
    gain = (report.metrics["model"] == "mlp") & (report.metrics["metric"] == "normalized_r2")
    metrics = report.metrics.assign(
        value=report.metrics["value"].mask(gain, 0.01), low=report.metrics["low"].mask(gain, -0.02)
    )
    assert (
        "no model was clearly better than the naive mean-effects baseline" in replace(report, metrics=metrics).summary
    )


def test_every_figure_says_what_it_rests_on(page: str) -> None:
    outline = Outline(page)
    captions = re.findall(r"<figcaption>.*?</figcaption>", page, flags=re.DOTALL)
    assert len(captions) == len(outline.all("figure")) == 11
    for caption in captions:
        assert "Leave cell lines out (LCO), 2 folds, n = 240 test pairs (40 samples × 6 drugs)" in caption
    images = [a for _, a in outline.tags if a.get("role") == "img"]
    assert len(images) == len(captions)
    assert all(image["aria-label"] for image in images)
    assert all(head.get("scope") in ("col", "row") for head in outline.all("th"))
    assert "95 % intervals by cluster bootstrap over samples, 200 draws a fold" in page
    assert outline.words.count("For Research Use Only. Not for use in diagnostic procedures.") >= 2


def test_ids_are_unique_and_anchors_lead_somewhere(page: str) -> None:
    outline = Outline(page)
    ids = Counter(a["id"] for _, a in outline.tags if "id" in a)
    assert [i for i, n in ids.items() if n > 1] == []
    targets = set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', page))
    assert targets
    assert {a or b for a, b in targets} <= set(ids)
    named = {a["aria-labelledby"] for _, a in outline.tags if "aria-labelledby" in a}
    assert named <= set(ids)


def test_page_shows_tables_losses_sources_and_how_to_repeat(page: str) -> None:
    words = Outline(page).words
    for told in (
        "no expression 120 20 A, B",
        "licence CC-BY-4.0",
        "TT and T-T were not merged.",
        "halfmax run --config config.toml",
        'protocol = "LCO"',
        "demo and other: 90,079 pairs, 123 drugs",
        "the share of the mean-effects baseline's squared error that the model removes",
        "soft tissue 20 120",
    ):
        assert told in words


def test_share_between_drugs_is_the_one_computed_by_hand(report: Report, page: str) -> None:
    y = report.predictions.query("model == 'mlp'")
    means = y.groupby("drug_id")["y_true"].transform("mean")
    expected = 100 * float(((means - y["y_true"].mean()) ** 2).sum() / ((y["y_true"] - y["y_true"].mean()) ** 2).sum())
    assert f"{expected:.0f} % lies between drugs" in Outline(page).words


def test_same_report_gives_the_same_page(report: Report, page: str) -> None:
    assert report.html() == page


def test_one_model_one_fold_and_nothing_else(report: Report) -> None:
    predictions = make_predictions(("mlp",), ("0",))
    metrics = make_metrics(predictions).query("fold == '0' and group_by == 'all'")
    small = without(report, "dropped", "curves", "timings", "agreement", "samples", "drugs")
    small = replace(
        small, predictions=predictions, metrics=metrics, ladder=("mlp",), environment={}, config={}, notes=()
    )
    outline = Outline(small.html())
    assert "1 fold, n = 120 test pairs (20 samples × 6 drugs)" in outline.words
    assert "By drug" not in outline.words
    assert "Nothing was lost" in outline.words
    assert "not known for these data" in small.summary
    assert len(outline.all("figure")) == 7


def test_metrics_alone_make_a_report(report: Report, tmp_path: Path) -> None:
    bare = without(report, "dropped", "predictions", "curves", "timings", "agreement", "samples", "drugs")
    bare = replace(bare, dataset={}, environment={}, config={})
    bare.write(tmp_path)
    assert list(pd.read_csv(tmp_path / "curves.csv").columns)[:2] == ["model", "fold"]
    assert list(pd.read_parquet(tmp_path / "predictions.parquet").columns)[:2] == ["sample_id", "drug_id"]
    assert "By drug" in Outline((tmp_path / "report.html").read_text(encoding="utf-8")).words


def test_no_tissue_leaves_the_section_out(report: Report) -> None:
    metrics = report.metrics.query("group_by != 'tissue'")
    page = Page(replace(report, metrics=metrics, samples=pd.DataFrame(index=report.samples.index)))
    titles = [title for _, title in page.contents]
    assert page.tissue_plot() is None
    assert "By tissue" not in titles
    assert "By drug" in titles


def test_classification_shows_its_own_metrics_and_curves(report: Report) -> None:
    predictions = report.predictions.assign(y_true=(report.predictions["y_true"] > 4).astype(float))
    rows = [
        (model, fold, "all", "", metric, value, 240, NAN, NAN)
        for model, auc in (("drug_mean", 0.6), ("mlp", 0.8))
        for fold in ("0", "1", "all")
        for metric, value in (("roc_auc", auc), ("pr_auc", 0.5), ("f1", 0.4), ("accuracy", 0.7))
    ]
    labels = replace(
        report,
        metrics=pd.DataFrame(rows, columns=METRIC_COLUMNS),
        predictions=predictions.replace({"model": {"mean_effects": "drug_mean"}}),
        ladder=("drug_mean", "mlp"),
    )
    assert "MLP did best at telling sensitive from resistant pairs: ROC\u00a0AUC 0.80" in labels.summary
    words = Outline(labels.html()).words
    assert "ROC curve, all folds together" in words
    assert "Residuals" not in words
    assert "Predicting sensitivity on demo" in words


def test_drug_protocol_draws_drugs() -> None:
    assert protocol_of({"split": {"protocol": "LDO"}}).clusters == "drugs"
    assert protocol_of({"protocol": "lto"}).where == "On tissues never seen in training"
    assert protocol_of({}).where == "On held-out pairs"


@pytest.mark.parametrize("table", ["metrics", "predictions", "timings"])
def test_a_missing_column_is_named(report: Report, table: str) -> None:
    frame = getattr(report, table).drop(columns="model")
    with pytest.raises(DataError, match=rf"{table} table lacks 'model'"):
        replace(report, **{table: frame})


def test_no_metrics_is_an_error(report: Report) -> None:
    with pytest.raises(DataError, match="needs metrics"):
        replace(report, metrics=report.metrics.head(0))


def test_importing_the_report_draws_nothing() -> None:
    code = "import sys, halfmax.report.plots; print({'matplotlib', 'jinja2', 'torch'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
