"""Report: what a run found, as tables, and as one HTML file that a scientist can hand to a colleague."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from halfmax.data.storage import atomic_file
from halfmax.errors import DataError, examples
from halfmax.features.stability import SELECTED_COLUMNS, jaccard_stability, selected_features

#: Columns that each table must have.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "dropped": ("cause", "n_rows", "n_ids", "examples"),
    "metrics": ("model", "fold", "group_by", "group", "metric", "value", "n", "low", "high"),
    "predictions": ("sample_id", "drug_id", "fold", "model", "y_true", "y_pred"),
    "curves": ("model", "fold", "member", "epoch", "train_loss", "valid_loss"),
    "timings": ("model", "fold", "fit_s", "predict_s", "cpu_s", "n_train", "n_test"),
    "agreement": ("comparison", "n_pairs", "n_drugs", "pearson", "within_drug_pearson", "rmse"),
    "selected": SELECTED_COLUMNS,
}


@dataclass(frozen=True)
class Report:
    """What a run found.

    Parameters
    ----------
    name
        Of the run.
    config
        The RunConfig as plain JSON.
    dataset
        name, measure (name, unit), n_samples, n_drugs, n_pairs, modalities (name to number of features) and notes
        (sources, licences, citations, what was averaged or renamed), all plain JSON.
    dropped
        What was lost before training: cause, n_rows, n_ids, examples.
    metrics
        Tidy: model, fold (``"all"`` for the mean over folds), group_by (``"all"``, ``"drug"``, ``"tissue"``, …), group,
        metric, value, n, low, high (95 % cluster bootstrap, NaN where none).
    predictions
        sample_id, drug_id, fold, model, y_true, y_pred [measure.unit] of every test pair.
    curves
        model, fold, member, epoch, train_loss, valid_loss; may be empty.
    timings
        model, fold, fit_s [s], predict_s [s], cpu_s [s], n_train, n_test.
    environment
        Versions, machine, start, seconds, peak memory.
    ladder
        The models in the order from naive to best informed.
    agreement
        How well two measurements of the same pairs agree: comparison, n_pairs, n_drugs, pearson, within_drug_pearson,
        rmse; may be empty.
    selected
        What selecting steps kept in each fold: fold, block, step, feature, n_offered; may be empty.
    samples, drugs
        Tables with tissue, names, …; index = id.
    notes
        Plain sentences to print: warnings, findings.
    command
        What repeats the run in the folder of its report.

    Raises
    ------
    DataError
        If a table lacks a column, or there are no metrics.
    """

    name: str
    config: dict[str, Any]
    dataset: dict[str, Any]
    dropped: pd.DataFrame
    metrics: pd.DataFrame
    predictions: pd.DataFrame
    curves: pd.DataFrame
    timings: pd.DataFrame
    environment: dict[str, Any]
    ladder: tuple[str, ...]
    agreement: pd.DataFrame
    selected: pd.DataFrame = field(default_factory=pd.DataFrame)
    samples: pd.DataFrame = field(default_factory=pd.DataFrame)
    drugs: pd.DataFrame = field(default_factory=pd.DataFrame)
    notes: tuple[str, ...] = ()
    command: str = "halfmax run --config config.toml"

    def __post_init__(self) -> None:
        for table, columns in COLUMNS.items():
            frame: pd.DataFrame = getattr(self, table)
            missing = [c for c in columns if c not in frame.columns]
            if missing and not (frame.empty and table != "metrics"):
                raise DataError(
                    f"the report's {table} table lacks {examples(missing, 9)}; it has {examples(frame.columns, 9)}."
                )
        if self.metrics.empty:
            raise DataError("a report needs metrics; the table has no rows. Evaluate at least one model on one fold.")

    @property
    def summary(self) -> str:
        """What was found, in two or three plain sentences."""
        from halfmax.report.page import Page

        return Page(self).summary

    @property
    def stability(self) -> pd.DataFrame:
        """How alike the folds' selections of features are; see `halfmax.features.stability.jaccard_stability`."""
        return jaccard_stability(self.selected if len(self.selected.columns) else selected_features({}))

    def html(self) -> str:
        """Return the report as one HTML page that loads nothing from elsewhere."""
        from halfmax.report.page import render

        return render(self)

    def write(self, folder: Path | str) -> Path:
        """Write the page and the tables to `folder`, each whole or not at all, and return the path of the page.

        Files: report.html, metrics.csv, predictions.parquet, curves.csv, timings.csv, dropped.csv, agreement.csv,
        selected.csv, stability.csv, environment.json. Other files in the folder are left alone.
        """
        from halfmax import RESEARCH_USE

        folder = Path(folder)
        page = self.html()
        for name in ("metrics", "curves", "timings", "dropped", "agreement", "selected"):
            frame: pd.DataFrame = getattr(self, name)
            table = frame if len(frame.columns) else pd.DataFrame(columns=list(COLUMNS[name]))
            _put(folder / f"{name}.csv", lambda path, t=table: t.to_csv(path, index=False))  # type: ignore[misc]
        _put(folder / "stability.csv", lambda path: self.stability.to_csv(path, index=False))
        _put(folder / "predictions.parquet", lambda path: self._predictions().to_parquet(path, compression="zstd"))
        environment = {"notice": RESEARCH_USE} | _plain(self.environment)
        text = json.dumps(environment, indent=1, ensure_ascii=False, allow_nan=False)
        _put(folder / "environment.json", lambda path: path.write_text(text, encoding="utf-8"))
        _put(folder / "report.html", lambda path: path.write_text(page, encoding="utf-8"))
        return folder / "report.html"

    def _predictions(self) -> pd.DataFrame:
        """Predictions in their documented order of columns, ready for Parquet."""
        from halfmax import RESEARCH_USE

        names = list(COLUMNS["predictions"])
        frame = self.predictions if len(self.predictions.columns) else pd.DataFrame(columns=names)
        frame = frame[names + [c for c in frame.columns if c not in names]].reset_index(drop=True)
        frame.attrs["research_use"] = RESEARCH_USE
        return frame


def _put(path: Path, write: Callable[[Path], object]) -> None:
    with atomic_file(path) as temporary:
        write(temporary)


def _plain(value: Any) -> Any:
    """Return `value` as JSON can hold it: NaN and infinities become null, other objects their text."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int | bool) else str(value)
