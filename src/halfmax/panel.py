"""Panel: what a predictor knows of its own errors, by id, so that a few measured values correct the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.data.findings import Finding, Findings
from halfmax.errors import DataError, ModelFileError, UnknownNameError, did_you_mean, examples
from halfmax.features.blocks import rows_of
from halfmax.models.few import Array, AssayLink, ResponsePrior
from halfmax.models.few_learn import learn_prior

#: What is new: a sample measured with some of the training drugs, or a drug measured on some of the training samples.
New = Literal["sample", "drug"]
#: What a cross-validation left out → what its predictions can teach about.
NEW_OF_PROTOCOL: dict[str, New] = {"LCO": "sample", "LTO": "sample", "LDO": "drug"}
#: Rows measured in fewer of the training columns than this share of the best are not proposed for a pilot.
LEAST_COVERAGE = 0.9
#: Values of another assay that a row needs before its mean difference is known.
LEAST_BRIDGE = 10
#: Mean standard deviations from the prediction beyond which values look like another unit.
_STRANGE = 4.0


@dataclass(frozen=True)
class Panel:
    """A prior over known rows for a new column.

    Parameters
    ----------
    new
        What the new column is: ``sample`` (rows are drugs) or ``drug`` (rows are samples).
    ids
        The rows, shape ``(n,)``.
    prior
        What is known of the predictor's errors in them.
    """

    new: New
    ids: npt.NDArray[np.str_]
    prior: ResponsePrior

    @property
    def columns(self) -> tuple[str, str]:
        """Names of the id columns: of what is new, and of the rows."""
        return ("sample_id", "drug_id") if self.new == "sample" else ("drug_id", "sample_id")

    def design(self, n: int, *, measured: Sequence[str] = (), candidates: Sequence[str] | None = None) -> pd.DataFrame:
        """Return the `n` rows to measure next, best first.

        Parameters
        ----------
        measured
            Ids that have been measured already.
        candidates
            Ids that can be measured; by default those that most training columns were measured in.

        Returns
        -------
        Columns step, the row's id, expected_sd (of the error that rows share, root mean square over all rows, after
        this measurement, in the measure's unit), reduction (share of the variance before any new measurement that is
        gone by then) and coverage (share of the training columns measured in this row).

        Raises
        ------
        UnknownNameError
            If an id is not among the rows.
        DataError
            If fewer than `n` candidates are left.
        """
        allowed = np.flatnonzero(self.prior.coverage >= LEAST_COVERAGE * self.prior.coverage.max())
        if candidates is not None:
            allowed = self._rows(candidates)
        rows, variance = self.prior.design(n, measured=self._rows(measured), candidates=allowed)
        return pd.DataFrame(
            {
                "step": np.arange(1, n + 1),
                self.columns[1]: self.ids[rows].astype(object),
                "expected_sd": np.sqrt(variance[1:]),
                "reduction": 1 - variance[1:] / max(variance[0], 1e-300),
                "coverage": self.prior.coverage[rows],
            }
        )

    def condition(
        self, table: pd.DataFrame, measured: pd.DataFrame, *, bridge: pd.DataFrame | None = None
    ) -> tuple[pd.DataFrame, tuple[Finding, ...]]:
        """Return the predictions of `table` corrected by measured values, and what was found.

        Parameters
        ----------
        table
            Columns sample_id, drug_id, prediction; all rows of the panel should be there for each new column.
        measured
            Columns sample_id, drug_id, value [the predictor's measure].
        bridge
            Values of the assay that `measured` comes from, for training samples, where that is not the assay of
            training: same columns. They say by how much each drug differs on average; see `AssayLink` for the rest.

        Returns
        -------
        The table with prediction and sd replaced where something was measured, and the columns before (the prediction
        without it) and measured (whether the pair itself was). Its own value is not copied into a measured pair.

        Raises
        ------
        DataError
            If no value can be used, or a pair of `measured` occurs twice.
        """
        findings = Findings()
        new, row = self.columns
        known = self._usable(table, measured, findings)
        link, bias = None, np.zeros(len(self.ids))
        if bridge is not None:
            link, bias = AssayLink(), self._bias(bridge)
            known = self._bridged(known, bias, findings)
        before = table["prediction"].to_numpy(dtype=np.float64)
        prediction, own = before.copy(), np.zeros(len(table), dtype=bool)
        sd = table["sd"].to_numpy(dtype=np.float64, copy=True) if "sd" in table else np.full(len(table), np.nan)
        columns = table[new].astype(str).to_numpy()
        place = rows_of(table[row].to_numpy(dtype=str), self.ids)
        strange: list[str] = []
        expected = np.zeros(3)  # variance before, after, and the number of pairs that were not measured
        for name, values in known.groupby(new, sort=False):
            at = np.flatnonzero((columns == name) & (place >= 0))
            mean = np.full(len(self.ids), np.nan)
            mean[place[at]] = before[at]
            rows = rows_of(values[row].to_numpy(dtype=str), self.ids)
            value = values["value"].to_numpy(dtype=np.float64) - bias[rows]
            if self._is_strange(rows, value, mean):
                strange.append(str(name))
            after, variance = self.prior.condition(rows, value, mean=mean, link=link)
            _, unmeasured = self.prior.condition(rows[:0], value[:0], mean=mean)
            others = np.setdiff1d(place[at], rows)
            expected += unmeasured[others].sum(), variance[others].sum(), len(others)
            prediction[at], sd[at], own[at] = after[place[at]], np.sqrt(variance[place[at]]), np.isin(place[at], rows)
        if strange:
            findings.warn(
                "strange-values",
                f"the values measured for {len(strange)} of {known[new].nunique()} {self.new}s lie more than "
                f"{_STRANGE:g} standard deviations from the predictions on average; is it the same measure and unit?",
                strange,
            )
        n = known.groupby(new).size()
        message = f"{len(known)} measured values correct {len(n)} {self.new}s ({n.min()} to {n.max()} each)."
        if expected[2]:
            error = np.sqrt(expected[:2] / expected[2])
            message += (
                f" Expected error of the other pairs, RMSE: {error[0]:.3g} without them, {error[1]:.3g} with them."
            )
        findings.info("measured", message)
        out = table.assign(prediction=prediction, sd=sd, before=before, measured=own)
        return out, findings.all()

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return the arrays that a model folder keeps."""
        prior = self.prior
        return {
            "centre": prior.centre,
            "factors": prior.factors.astype(np.float32),
            "noise": prior.noise,
            "coverage": prior.coverage,
            "amplitude": np.array([prior.amplitude]),
        }

    @classmethod
    def from_arrays(cls, new: str, ids: Sequence[str], arrays: dict[str, npt.NDArray[Any]]) -> Panel:
        """Return what `arrays` was made from; raise ModelFileError where it does not fit together."""
        parts = {name: arrays[name].astype(np.float64) for name in ("centre", "factors", "noise", "coverage")}
        if (
            new not in ("sample", "drug")
            or {len(a) for a in parts.values()} != {len(ids)}
            or arrays["amplitude"].size != 1
        ):
            raise ModelFileError(f"the panel for a new {new} does not fit its {len(ids)} ids")
        if (parts["noise"] <= 0).any():
            raise ModelFileError(f"the panel for a new {new} holds noise that is not positive")
        prior = ResponsePrior(**parts, amplitude=float(arrays["amplitude"][0]))
        return cls("sample" if new == "sample" else "drug", np.array(ids, dtype=str), prior)

    def _rows(self, ids: Sequence[str]) -> npt.NDArray[np.int64]:
        by_name = {name.lower(): i for i, name in enumerate(self.ids.tolist())}
        unknown = [name for name in ids if name.lower() not in by_name]
        if unknown:
            raise UnknownNameError(
                f"{len(unknown)} of {len(ids)} ids are not among the {len(self.ids)} that this predictor knows: "
                f"{examples(unknown)}.{did_you_mean(unknown[0], map(str, self.ids))}"
            )
        return np.array(list(dict.fromkeys(by_name[name.lower()] for name in ids)), dtype=np.int64)

    def _usable(self, table: pd.DataFrame, measured: pd.DataFrame, findings: Findings) -> pd.DataFrame:
        """Return the finite values of columns that `table` predicts and rows that the panel knows, in its letters."""
        new, row = self.columns
        names = {i.lower(): i for i in self.ids.tolist()}
        rows = measured[row].astype(str)
        known = measured.assign(**{new: measured[new].astype(str), row: rows.str.lower().map(names)})
        value = known["value"].to_numpy(dtype=np.float64)
        pairs = pd.MultiIndex.from_frame(table[[new, row]].astype(str))
        unknown = known[row].isna().to_numpy()
        unasked = ~pd.MultiIndex.from_frame(known[[new, row]]).isin(pairs) & ~unknown
        for code, bad, words in (
            ("values-missing", ~np.isfinite(value), "are missing or infinite"),
            ("unknown-rows", unknown, f"are of a {row[:-3]} that was not in training"),
            ("unpredicted-pairs", unasked, "are of pairs that are not among those predicted"),
        ):
            if bad.any():
                shown = (measured.loc[bad, new].astype(str) + " × " + rows[bad]).tolist()
                findings.warn(code, f"{int(bad.sum())} of {len(measured)} measured values {words}; left out.", shown)
        kept: pd.DataFrame = known[np.isfinite(value) & ~unknown & ~unasked]
        if kept.empty:
            said = " ".join(str(f) for f in findings.all())
            raise DataError(f"none of the {len(measured)} measured values can be used. {said}")
        twice = kept.duplicated([new, row], keep=False)
        if twice.any():
            shown = kept.loc[twice, [new, row]].drop_duplicates().agg(" × ".join, axis=1)
            raise DataError(f"{len(shown)} pairs were measured more than once: {examples(shown)}; average them first.")
        return kept

    def _bias(self, bridge: pd.DataFrame) -> Array:
        """Return each drug's mean in the bridge less its mean in training; NaN where too few values are there."""
        if self.new != "sample":
            raise DataError("a bridge serves new samples; values of a new drug must be of the training assay.")
        rows = bridge["drug_id"].astype(str).str.lower().map({i.lower(): k for k, i in enumerate(self.ids.tolist())})
        value = bridge["value"].to_numpy(dtype=np.float64)
        good = rows.notna().to_numpy() & np.isfinite(value)
        at = rows[good].to_numpy(dtype=np.int64)
        count = np.bincount(at, minlength=len(self.ids))
        mean = np.bincount(at, weights=value[good], minlength=len(self.ids)) / np.maximum(count, 1)
        return np.where(count >= LEAST_BRIDGE, mean - self.prior.centre, np.nan)

    def _bridged(self, known: pd.DataFrame, bias: Array, findings: Findings) -> pd.DataFrame:
        """Return the values of drugs whose mean difference between the assays is known."""
        lacks = ~np.isfinite(bias[rows_of(known["drug_id"].to_numpy(dtype=str), self.ids)])
        if lacks.any():
            names = sorted(set(known.loc[lacks, "drug_id"]))
            message = (
                f"{int(lacks.sum())} measured values are of {len(names)} drugs with fewer than {LEAST_BRIDGE} values"
            )
            if lacks.all():
                raise DataError(f"all {message} in the bridge, e.g. {examples(names)}; give more of them.")
            findings.warn("thin-bridge", f"{message} in the bridge; left out.", names)
        return known[~lacks]

    def _is_strange(self, rows: npt.NDArray[np.int64], value: Array, mean: Array) -> bool:
        spread = np.sqrt((self.prior.factors[rows] ** 2).sum(axis=1) + self.prior.noise[rows])
        return bool((np.abs(value - mean[rows]) / spread).mean() > _STRANGE)


def learn_panel(predictions: pd.DataFrame, new: New, *, like: pd.DataFrame | None = None) -> Panel:
    """Learn a panel from predictions of a cross-validation that left out whole samples, or whole drugs.

    Parameters
    ----------
    predictions
        Columns sample_id, drug_id, y_true, y_pred, each pair once, as `Results.predictions` has them for one model.
    new
        ``sample`` for predictions of left-out samples (LCO, LTO), ``drug`` for left-out drugs (LDO).
    like
        Profiles of the rows (samples × features), which need not cover all of them: rows with like profiles have like
        errors. Only for a new drug.

    Raises
    ------
    DataError
        If there is too little to learn from.
    """
    column, row = ("sample_id", "drug_id") if new == "sample" else ("drug_id", "sample_id")
    table = predictions[np.isfinite(predictions["y_true"].to_numpy(dtype=np.float64))]
    response = table.pivot(index=row, columns=column, values="y_true")
    predicted = table.pivot(index=row, columns=column, values="y_pred").to_numpy(dtype=np.float64)
    values = response.to_numpy(dtype=np.float64)
    ids = response.index.to_numpy(dtype=str)
    kernel = None if like is None else _likeness(like.reindex(response.index))
    return Panel(new, ids, learn_prior(values - predicted, predicted, values, like=kernel))


def _likeness(profiles: pd.DataFrame) -> Array | None:
    """Return the linear kernel of standardised profiles, double-centred, mean diagonal 1; 0 for rows without one."""
    values = profiles.to_numpy(dtype=np.float64)
    known = np.isfinite(values).any(axis=1)
    if known.sum() < 2:
        return None
    mean = np.nanmean(values[known], axis=0)
    spread = np.nanstd(values[known], axis=0)
    scaled = np.clip((values[known] - mean) / np.where(spread > 1e-9, spread, np.inf), -5, 5)
    scaled = np.nan_to_num(scaled)
    scaled -= scaled.mean(axis=0)
    gram = scaled @ scaled.T
    power = float(np.diag(gram).mean())
    out = np.zeros((len(values), len(values)))
    out[np.ix_(known, known)] = gram / (power if power > 0 else np.inf)
    return out
