"""AUC of two screens over the doses that both tested, so that they can be compared."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from halfmax.data.dose_response.fits import CurveFits
from halfmax.errors import DataError, examples

_PAIR = ["sample_id", "drug_id"]


def shared_auc(
    first: CurveFits,
    second: CurveFits,
    *,
    samples: Mapping[str, str] | None = None,
    drugs: Mapping[str, str] | None = None,
    least_fold: float = 3.0,
) -> pd.DataFrame:
    """Return the AUC of every pair in both screens, over the doses that all its curves of the drug tested.

    AUCs over each screen's own doses differ where the doses do, even if the curves are the same; over shared doses
    they agree better (Pozdeyev et al. 2016, doi:10.18632/oncotarget.10010). The range of a drug goes from the largest
    of the lowest doses to the smallest of the highest, so no curve is extrapolated.

    Parameters
    ----------
    first, second
        Fitted curves, named by sample_id and drug_id.
    samples, drugs
        Id in the second screen to that in the first, where they differ.
    least_fold
        Fewest times that the range's highest dose must be its lowest; a drug below has no AUC.

    Returns
    -------
    DataFrame
        One row a pair: sample_id, drug_id, auc_first, auc_second, low, high [µM].

    Raises
    ------
    DataError
        If the screens share no pair, or a pair has more than one curve in a screen.
    """
    tables = []
    for fits, names in ((first, (None, None)), (second, (samples, drugs))):
        table = fits.table[[*_PAIR, "min_dose", "max_dose"]].assign(curve=np.arange(len(fits.table)))
        for column, mapping in zip(_PAIR, names, strict=True):
            if mapping:
                table[column] = table[column].map(lambda name, m=mapping: m.get(name, name))
        if (twice := table.duplicated(_PAIR)).any():
            raise DataError(
                f"{int(twice.sum())} pairs have more than one curve in a screen, e.g. "
                f"{examples(table.loc[twice, _PAIR].agg(' × '.join, axis=1))}; fit one curve a pair."
            )
        tables.append(table)
    both = tables[0].merge(tables[1], on=_PAIR, suffixes=("_first", "_second"))
    if both.empty:
        raise DataError(
            f"the screens share no pair: samples such as {examples(tables[0]['sample_id'])} and "
            f"{examples(tables[1]['sample_id'])}, drugs such as {examples(tables[0]['drug_id'])} and "
            f"{examples(tables[1]['drug_id'])}; give samples= and drugs= to translate the second's names."
        )
    lowest = both[["min_dose_first", "min_dose_second"]].max(axis=1)
    highest = both[["max_dose_first", "max_dose_second"]].min(axis=1)
    low = lowest.groupby(both["drug_id"]).transform("max")
    high = highest.groupby(both["drug_id"]).transform("min")
    narrow = ~(high >= least_fold * low)
    result = both[_PAIR].copy()
    for name, fits in (("first", first), ("second", second)):
        edges = [np.ones(len(fits.table)), np.ones(len(fits.table))]
        curves = both[f"curve_{name}"].to_numpy()
        for edge, values in zip(edges, (low, high), strict=True):
            edge[curves] = values.to_numpy()
        result[f"auc_{name}"] = np.where(narrow, np.nan, fits.area(*edges)[curves])
    return result.assign(low=low, high=high)
