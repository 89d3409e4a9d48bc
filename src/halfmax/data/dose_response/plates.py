"""Raw signals of wells as viability, plate by plate, with what the controls say of each plate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from halfmax.data.dose_response.wells import check_wells
from halfmax.data.findings import Finding, Findings
from halfmax.errors import DataError, examples

_EDGE = 2
_POLISH_ROUNDS = 6
_LEAST_CONTROLS = 3


@dataclass(frozen=True)
class Plates:
    """Normalised wells.

    Parameters
    ----------
    wells
        The wells with ``viability`` beside ``intensity``.
    quality
        One row a plate (index): number, mean and CV of the controls, Z' factors, edge_ratio, passed, reason.
    findings
        What was seen and done.
    """

    wells: pd.DataFrame
    quality: pd.DataFrame
    findings: tuple[Finding, ...]


def normalise_plates(
    wells: pd.DataFrame,
    *,
    zero: Literal["blank", "positive", "none"] = "blank",
    centre: Literal["mean", "median"] = "mean",
    polish: bool = False,
    max_cv: float = 0.3,
    min_z_prime: float = 0.0,
    drop_failed: bool = False,
    strict: bool = False,
) -> Plates:
    """Return viabilities: (signal - zero) / (negative controls - zero) of the same plate.

    Parameters
    ----------
    wells
        As `check_wells` describes, with ``intensity``.
    zero
        What no live cells look like: the blanks, the positive controls at their highest dose, or a signal of 0.
    centre
        How the controls of a plate are put together.
    polish
        Whether trends over rows and columns are taken out first, by median polish (Tukey 1977; Brideau et al. 2003,
        doi:10.1177/1087057103258285) of the logarithm of the negative controls. Doses of a drug often lie along a
        row or column, so drug wells are not used to find the trend, but corrected by it.
    max_cv, min_z_prime
        A plate with a larger coefficient of variation of its negative controls, or a smaller Z' factor (Zhang et al.
        1999, doi:10.1177/108705719900400206), does not pass. Below 0 the controls overlap.
    drop_failed
        Whether wells of plates that do not pass are left out; else they are only told of.
    strict
        Whether to raise DataError where something would be left out otherwise.

    Raises
    ------
    DataError
        If no plate has negative controls, or none has the zero asked for.
    """
    findings = Findings(strict=strict)
    wells = check_wells(wells, findings)
    if missing := [c for c in ("intensity", "plate") if c not in wells]:
        raise DataError(f"to normalise plates, the table of wells needs {examples(missing)}.")
    if polish:
        wells["intensity"] = _without_trends(wells, findings)
    quality = _quality(wells, zero, centre)
    _judge(quality, zero, max_cv, min_z_prime, findings)
    plate = wells["plate"].map
    base = plate(quality["zero"])
    wells["viability"] = (wells["intensity"] - base) / (plate(quality["negative"]) - base)
    if drop_failed and not quality["passed"].all():
        failed = ~plate(quality["passed"]).astype(bool)
        message = f"{int(failed.sum())} wells lie on plates that did not pass; left out."
        findings.mended("failed-plates-dropped", message, list(quality.index[~quality["passed"]]), int(failed.sum()))
        wells = wells[~failed].reset_index(drop=True)
        if not (wells["role"] == "drug").any():
            raise DataError(f"none of the {len(quality)} plates passed; {_reasons(quality)}.")
    return Plates(wells, quality, findings.all())


def _quality(wells: pd.DataFrame, zero: str, centre: str) -> pd.DataFrame:
    plates = pd.Index(sorted(wells["plate"].dropna().unique()), name="plate")
    highest = wells["dose"] == wells.groupby(["plate", "role"], observed=True)["dose"].transform("max")
    positive = (wells["role"] == "positive") & (highest | wells["dose"].isna())
    chosen = {"negative": wells["role"] == "negative", "blank": wells["role"] == "blank", "positive": positive}
    quality = pd.DataFrame(index=plates)
    for name, rows in chosen.items():
        groups = wells[rows].groupby("plate")["intensity"]
        quality[f"n_{name}"] = groups.count().reindex(plates, fill_value=0)
        quality[name] = groups.agg(centre).reindex(plates)
        quality[f"sd_{name}"] = groups.std().reindex(plates)
    quality["zero"] = 0.0 if zero == "none" else quality[zero]
    window = quality["negative"] - quality["zero"]
    quality.loc[~(window > 0), "zero"] = np.nan
    quality["cv_negative"] = quality["sd_negative"] / quality["negative"]
    for name in ("blank", "positive"):
        distance = (quality["negative"] - quality[name]).abs().replace(0.0, np.nan)
        quality[f"z_prime_{name}"] = 1 - 3 * (quality["sd_negative"] + quality[f"sd_{name}"]) / distance
    quality["edge_ratio"] = _edge_ratio(wells, plates)
    return quality


def _edge_ratio(wells: pd.DataFrame, plates: pd.Index) -> pd.Series:
    """Return the median negative control in the outer two rows and columns over that of the inner ones."""
    if not {"row", "column"}.issubset(wells.columns):
        return pd.Series(np.nan, index=plates)
    edge = pd.Series(False, index=wells.index)
    for axis in ("row", "column"):
        edge |= (wells[axis] <= wells[axis].min() + _EDGE - 1) | (wells[axis] > wells[axis].max() - _EDGE)
    controls = wells[wells["role"] == "negative"].assign(edge=edge)
    medians = controls.groupby(["plate", "edge"])["intensity"].median().unstack("edge").reindex(plates)
    return (
        medians[True] / medians[False] if {True, False}.issubset(medians.columns) else pd.Series(np.nan, index=plates)
    )


def _judge(quality: pd.DataFrame, zero: str, max_cv: float, min_z_prime: float, findings: Findings) -> None:
    """Add `passed` and `reason`; tell of plates that did not pass, and refuse if none can be normalised."""
    z_prime = quality["z_prime_positive"] if zero == "positive" else quality["z_prime_blank"]
    causes = {
        "no negative controls": quality["n_negative"] == 0,
        f"no {zero} wells": (quality["n_blank"] if zero != "positive" else quality["n_positive"]) == 0,
        "controls not above zero": ~(quality["negative"] > quality["zero"]) & (quality["n_negative"] > 0),
        f"CV of negative controls above {max_cv:g}": quality["cv_negative"] > max_cv,
        f"Z' below {min_z_prime:g}": z_prime < min_z_prime,
    }
    if zero == "none":
        del causes["no none wells"]
    reason = pd.Series("", index=quality.index)
    for words, rows in causes.items():
        reason = reason.mask(rows & (reason != ""), reason + "; " + words).mask(rows & (reason == ""), words)
    quality["passed"], quality["reason"] = reason == "", reason
    lost = quality["negative"].isna() | quality["zero"].isna()
    if lost.all():
        raise DataError(f"none of the {len(quality)} plates can be normalised; {_reasons(quality)}.")
    if lost.any():
        message = f"{int(lost.sum())} plates cannot be normalised; their viabilities are missing. {_reasons(quality)}."
        findings.mended("plates-without-controls", message, list(quality.index[lost]))
    if not quality["passed"].all():
        message = f"{int((~quality['passed']).sum())} of {len(quality)} plates did not pass: {_reasons(quality)}."
        findings.warn("failed-plates", message, list(quality.index[~quality["passed"]]))


def _reasons(quality: pd.DataFrame) -> str:
    counts = quality.loc[~quality["passed"], "reason"].str.split("; ").explode().value_counts()
    return ", ".join(f"{reason} ({n})" for reason, n in counts.items())


def _without_trends(wells: pd.DataFrame, findings: Findings) -> pd.Series:
    """Return intensities divided by row and column effects, estimated from negative controls."""
    if not {"row", "column"}.issubset(wells.columns):
        raise DataError("a median polish needs the columns row and column of the wells; add them or leave it out.")
    controls = wells[(wells["role"] == "negative") & (wells["intensity"] > 0)]
    rest = np.log(controls["intensity"])
    rest = rest - rest.groupby(controls["plate"]).transform("median")
    groups = {axis: [controls["plate"], controls[axis]] for axis in ("row", "column")}
    counts = {axis: rest.groupby(keys).size() for axis, keys in groups.items()}
    effects = {axis: counts[axis] * 0.0 for axis in groups}
    for _ in range(_POLISH_ROUNDS):
        for axis, keys in groups.items():
            effects[axis] = effects[axis] + rest.groupby(keys).median()
            rest = rest - rest.groupby(keys).transform("median")
    effect = pd.Series(0.0, index=wells.index)
    for axis, found in effects.items():
        # A median of a few wells is mostly noise: held back in proportion, and not used at all below three.
        known = np.where(counts[axis] >= _LEAST_CONTROLS, counts[axis] / (counts[axis] + _LEAST_CONTROLS), 0.0)
        named = (found * known).rename("effect")
        effect = effect + wells[["plate", axis]].join(named, on=["plate", axis])["effect"].fillna(0.0)
    size = float(np.exp(effect.abs().quantile(0.95)) - 1)
    findings.info(
        "median-polish", f"row and column trends taken out; 95 % of the wells change by less than {size:.1%}."
    )
    return wells["intensity"] / np.exp(effect)
