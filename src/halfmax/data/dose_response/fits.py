"""Curves of a whole screen: from a table of viabilities to ln IC50, AUC and the rest, with what to distrust."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.data.dataset import MEASURES
from halfmax.data.dose_response.flags import FLAGS, Rules, fall_of, join_flags, make_flags, outliers
from halfmax.data.dose_response.multilevel import fit_multilevel
from halfmax.data.dose_response.packing import Packed, pack
from halfmax.data.dose_response.sigmoid import (
    BOTTOM,
    LN_HILL,
    MIDPOINT,
    TOP,
    Array,
    Limits,
    ln_ic50,
    mean_viability,
    viability,
    viability_and_slopes,
)
from halfmax.data.dose_response.solve import Solution, normal_matrix, robust_spread, solve
from halfmax.data.dose_response.wells import check_wells
from halfmax.data.findings import Finding, Findings
from halfmax.errors import DataError, UnknownNameError, did_you_mean, examples

Model = Literal["sigmoid", "loglogistic4", "multilevel"]
DoseRange = Literal["own", "drug"] | tuple[float, float]
_FREE: Final[Mapping[str, tuple[int, ...]]] = {
    "sigmoid": (MIDPOINT, LN_HILL),
    "loglogistic4": (MIDPOINT, LN_HILL, TOP, BOTTOM),
    "multilevel": (MIDPOINT, LN_HILL),
}
_ENOUGH_SAMPLES = 20
_PAIR = ("sample_id", "drug_id")


@dataclass(frozen=True)
class CurveFits:
    """Fitted curves.

    Parameters
    ----------
    table
        One row a curve, in the order of its ids: the columns that name it; n_wells, n_doses; min_dose, max_dose [µM];
        ln_ic50 and sd_ln_ic50 [ln µM]; auc, aac between auc_low and auc_high [µM]; ec50 [µM]; emax (viability of the
        curve at its highest dose); hill; top, bottom; r2, rmse over the wells; n_outliers; flags (joined by ``;``).
        Numbers are missing where a curve was not fitted.
    flags
        One true or false column for each of `FLAGS`.
    params
        ``(n_curves, 4)``; columns as `sigmoid.PARAMETERS`.
    wells
        The wells that were fitted.
    model
        Name of the model.
    by
        Columns that name a curve.
    spread
        For ``multilevel``: the standard deviations it learned.
    findings
        What was seen and done.
    """

    table: pd.DataFrame
    flags: pd.DataFrame
    params: Array
    wells: pd.DataFrame
    model: str
    by: tuple[str, ...]
    spread: Mapping[str, float] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()

    def area(self, low: float | Array, high: float | Array) -> Array:
        """Return the AUC of every curve between two doses [µM], ``(n_curves,)``; NaN where a curve was not fitted.

        The area is exact, over the logarithm of the dose, and divided by its width; one pair of doses, or one a curve.
        """
        n = len(self.table)
        edges = [np.broadcast_to(np.asarray(edge, dtype=np.float64), n) for edge in (low, high)]
        if any((edge <= 0).any() for edge in edges):
            raise DataError("an AUC needs doses above zero [µM].")
        return mean_viability(self.params, np.log(edges[0]), np.log(edges[1]))

    def predict(self, dose: Array) -> Array:
        """Return the viability of every curve at these doses [µM], ``(n_curves, n_doses)``."""
        x = np.broadcast_to(np.log(np.asarray(dose, dtype=np.float64)), (len(self.params), len(dose)))
        return viability(self.params, x)

    def response(
        self, measure: str = "ln_ic50", *, without: Sequence[str] = (), findings: Findings | None = None
    ) -> pd.DataFrame:
        """Return sample_id, drug_id and value, one row a pair, for a `ResponseDataset`.

        Parameters
        ----------
        measure
            ``ln_ic50``, ``auc``, ``aac`` or ``pic50``.
        without
            Flags whose curves are left out; curves without a value always are.
        findings
            Told how many curves are left out, by cause, and how many pairs are averaged.
        """
        findings = findings or Findings()
        if measure not in MEASURES:
            raise UnknownNameError(f"there is no measure {measure!r}.{did_you_mean(measure, MEASURES)}")
        if unknown := [name for name in without if name not in FLAGS]:
            hint = did_you_mean(unknown[0], FLAGS)
            raise UnknownNameError(f"there is no flag {unknown[0]!r}.{hint} Flags: {', '.join(FLAGS)}.")
        table = self.table
        value = 6 - table["ln_ic50"] / np.log(10) if measure == "pic50" else table[measure]
        frame = table[list(_PAIR)].assign(value=value)
        for name, rows in {f: self.flags[f] for f in without}.items():
            gone = rows & frame["value"].notna()
            if gone.any():
                findings.info(f"curves-{name}", f"{int(gone.sum())} curves are left out: {FLAGS[name]}.")
                frame.loc[gone, "value"] = np.nan
        empty = self.table.index[value.isna()]
        if len(empty):
            shown = frame.loc[empty[:10], list(_PAIR)].agg(" × ".join, axis=1)
            findings.info("curves-without-value", f"{len(empty)} curves have no {measure}.", list(shown), len(empty))
        frame = frame[frame["value"].notna()]
        if frame.duplicated(list(_PAIR)).any():
            n = int(frame.duplicated(list(_PAIR), keep=False).sum())
            findings.mended("duplicate-pairs", f"{n} curves share their pair with others; averaged.", count=n)
            frame = frame.groupby(list(_PAIR), as_index=False, sort=False).agg({"value": "mean"})
        return frame.reset_index(drop=True)


def fit_curves(
    wells: pd.DataFrame,
    model: Model = "sigmoid",
    *,
    by: Sequence[str] = _PAIR,
    dose_range: DoseRange = "own",
    robust: bool = False,
    trim: bool | None = None,
    min_doses: int | None = None,
    limits: Limits | None = None,
    rules: Rules | None = None,
    strict: bool = False,
) -> CurveFits:
    """Fit a curve to every pair of a table of viabilities, all of them at once.

    Parameters
    ----------
    wells
        As `check_wells` describes, with ``viability``. Wells of the roles ``drug`` and ``positive`` that have a drug
        and a dose are fitted.
    model
        ``sigmoid``: slope and midpoint, from 1 to 0; ``loglogistic4``: asymptotes too; ``multilevel``: ``sigmoid``
        shrunk towards the sample's slope and position, as the GDSC screens are published.
    by
        Columns that name a curve; the first is the sample. Add ``plate`` for one curve a plate.
    dose_range
        Between which doses [µM] auc and aac are taken: each curve's ``own``, those that all curves of a ``drug``
        share, or two doses.
    robust
        Whether wells far from the curve count less; not for ``multilevel``.
    trim
        Whether viabilities are cut to 0 and 1 first, as the GDSC screens do; by default for the models whose
        asymptotes are 0 and 1.
    min_doses
        Fewest distinct doses of a curve that is fitted; by default one more than the curve has parameters.
    limits
        Between what parameters must lie.
    rules
        Where flags begin.
    strict
        Whether to raise DataError where something would be left out otherwise.

    Raises
    ------
    DataError
        If the wells cannot be used, or `robust` is asked of ``multilevel``.
    """
    findings = Findings(strict=strict)
    if model not in _FREE:
        raise UnknownNameError(f"there is no curve {model!r}.{did_you_mean(model, _FREE)} Curves: {', '.join(_FREE)}.")
    if robust and model == "multilevel":
        raise DataError("the multilevel model has no robust fit; use model='sigmoid' or leave robust out.")
    limits, rules = limits or Limits(), rules or Rules()
    wells = _to_fit(
        check_wells(wells, findings), by, trim=model != "loglogistic4" if trim is None else trim, to=findings
    )
    together, each = pack(wells, by, together=True), pack(wells, by, together=False)
    points = each if robust else together
    least = len(_FREE[model]) + 1 if min_doses is None else min_doses
    fitted = points.n_doses >= max(least, 1)
    params = np.tile([np.nan, np.nan, 1.0, 0.0], (len(points), 1))
    converged, at_limit = np.zeros(len(points), dtype=bool), np.zeros((len(points), 4), dtype=bool)
    spread: Mapping[str, float] = {}
    sd = np.full(len(points), np.nan)
    if fitted.any():
        part = points.take(fitted)
        found = solve(part, _FREE[model], limits, robust=robust)
        params[fitted], converged[fitted], at_limit[fitted] = found.params, found.converged, found.at_limit
        if model == "multilevel":
            sample = np.asarray(pd.factorize(part.keys[by[0]])[0], dtype=np.int64)
            if (n_samples := int(sample.max()) + 1) < _ENOUGH_SAMPLES:
                message = f"the spread between samples is learned from {n_samples} samples only; better from hundreds."
                findings.warn("few-samples", message, count=n_samples)
            shrunk = fit_multilevel(part, sample, found.params)
            params[fitted], sd[fitted], spread = shrunk.params, shrunk.sd_midpoint, shrunk.spread
            converged[fitted], at_limit[fitted] = shrunk.converged, False
        else:
            sd[fitted] = _sd_ln_ic50(part, found, _FREE[model], robust=robust)
    fit = (params, sd, at_limit)
    table = _table(together, each, *fit, len(_FREE[model]), rules, alone=model != "multilevel")
    _add_area(table, params, by[1], dose_range)
    flags = make_flags(table, together, params, fitted, converged, at_limit, rules)
    table["flags"] = join_flags(flags)
    _tell(flags, findings)
    return CurveFits(table, flags, params, wells, model, tuple(by), spread, findings.all())


def _to_fit(wells: pd.DataFrame, by: Sequence[str], *, trim: bool, to: Findings) -> pd.DataFrame:
    """Return the wells that belong to curves."""
    if "viability" not in wells:
        raise DataError("the table of wells has no viability; call normalise_plates(wells).wells first.")
    if missing := [c for c in by if c not in wells]:
        raise DataError(f"curves are named by {examples(by, 5)}, but the table of wells lacks {examples(missing)}.")
    if len(by) < 2:
        raise DataError("a curve is named by its sample and its drug at least, e.g. by=('sample_id', 'drug_id').")
    use = wells["role"].isin(["drug", "positive"]) & (wells["dose"] > 0) & wells[list(by)].notna().all(axis=1)
    wells = wells[use].reset_index(drop=True)
    value = wells["viability"]
    if value.isna().any():
        to.info("wells-without-viability", f"{int(value.isna().sum())} wells have no viability; not fitted.")
    outside = (value < 0) | (value > 1)
    if trim and outside.any():
        to.info("trimmed", f"{int(outside.sum())} of {len(wells)} viabilities lie outside 0 to 1; cut to these.")
        wells["viability"] = value.clip(0.0, 1.0)
    return wells


def _sd_ln_ic50(points: Packed, found: Solution, free: tuple[int, ...], *, robust: bool) -> Array:
    """Return standard errors of ln IC50 by the delta method; parameters at a limit count as known."""
    columns, params = list(free), found.params
    values, slopes = viability_and_slopes(params, points.x, free)
    weighted = [found.weight * slope for slope in slopes]
    matrix = normal_matrix(weighted, slopes)
    held = found.at_limit[:, columns]
    matrix[held] = 0.0
    matrix.swapaxes(1, 2)[held] = 0.0
    np.einsum("nii->ni", matrix)[held] = 1.0
    if robust:  # what is left of the squares after distrust says too little of the noise
        size = np.where(points.weight > 0, np.abs(points.y - values), np.nan)
        noise = np.square(robust_spread(size, len(free)))
    else:
        squares = np.einsum("np,np,np->n", found.weight, points.y - values, points.y - values) + points.within
        spare = points.n_wells - (~held).sum(axis=1)
        noise = np.where(spare > 0, squares / np.maximum(spare, 1), np.nan)
    slope = np.where(held, 0.0, ln_ic50(params)[1][:, columns])
    firm = np.linalg.cond(matrix) < 1e12
    matrix[~firm] = np.eye(len(free))
    variance = np.einsum("ni,nij,nj->n", slope, np.linalg.inv(matrix), slope) * noise
    return np.sqrt(np.where(firm, variance, np.nan))


def _table(
    together: Packed,
    each: Packed,
    params: Array,
    sd: Array,
    at_limit: npt.NDArray[np.bool_],
    n_free: int,
    rules: Rules,
    *,
    alone: bool,
) -> pd.DataFrame:
    low, high = together.low, together.high
    rest = np.where(each.weight > 0, each.y - viability(params, each.x), 0.0)
    mean = np.einsum("np,np->n", together.weight, together.y) / np.maximum(together.n_wells, 1)
    total = np.einsum("np,np->n", each.weight, np.square(each.y - mean[:, None]))
    squares = np.square(rest).sum(axis=1)
    unknown = at_limit[:, MIDPOINT] | (alone & (fall_of(together, params) < rules.visible))
    half = np.where(unknown, np.nan, ln_ic50(params)[0])
    columns = {
        "n_wells": together.n_wells,
        "n_doses": together.n_doses,
        "min_dose": np.exp(low),
        "max_dose": np.exp(high),
        "ln_ic50": half,
        "sd_ln_ic50": np.where(np.isnan(half), np.nan, sd),
        "ec50": np.where(unknown, np.nan, np.exp(params[:, MIDPOINT])),
        "emax": viability(params, high[:, None])[:, 0],
        "hill": np.exp(params[:, LN_HILL]),
        "top": np.where(np.isnan(params[:, MIDPOINT]), np.nan, params[:, TOP]),
        "bottom": np.where(np.isnan(params[:, MIDPOINT]), np.nan, params[:, BOTTOM]),
        "r2": 1 - squares / np.where(total > 1e-12, total, np.nan),
        "rmse": np.sqrt(squares / np.where(together.n_wells > 0, together.n_wells, np.nan)),
        "n_outliers": outliers(each, params, n_free, rules).sum(axis=1),
    }
    return together.keys.reset_index(drop=True).assign(**columns)


def _add_area(table: pd.DataFrame, params: Array, drug: str, dose_range: str | tuple[float, float]) -> None:
    """Add auc, aac and the doses between which they are."""
    if dose_range == "own":
        low, high = table["min_dose"], table["max_dose"]
    elif dose_range == "drug":
        low, high = table.groupby(drug)["min_dose"].transform("max"), table.groupby(drug)["max_dose"].transform("min")
    elif isinstance(dose_range, tuple) and 0 < dose_range[0] < dose_range[1]:
        low, high = (pd.Series(edge, index=table.index, dtype=np.float64) for edge in dose_range)
    else:
        raise DataError(f"dose_range is {dose_range!r}; give 'own', 'drug', or a lower and a higher dose [µM].")
    auc = mean_viability(params, np.log(low.to_numpy()), np.log(high.to_numpy()))
    at = list(table.columns).index("ec50")
    for name, values in (("auc_high", high), ("auc_low", low), ("aac", 1 - auc), ("auc", auc)):
        table.insert(at, name, values)


def _tell(flags: pd.DataFrame, findings: Findings) -> None:
    counts = {name: int(flags[name].sum()) for name in FLAGS if flags[name].any()}
    told = ", ".join(f"{name} {n:,}" for name, n in counts.items()) or "none"
    findings.info("curves", f"{len(flags):,} curves; flags: {told}.", count=len(flags))
    if (n := counts.get("not_converged", 0)) > 0.01 * len(flags):
        findings.warn("not-converged", f"{n:,} of {len(flags):,} fits had not settled.", count=n)
