"""Tables of new samples under the names that a predictor was trained with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from halfmax.errors import DataError
from halfmax.features.pipeline import FeaturePipeline

if TYPE_CHECKING:
    from halfmax.data.identifiers import GeneMatch


def match_samples(
    features: FeaturePipeline, omics: Mapping[str, pd.DataFrame], least: float | None
) -> tuple[dict[str, pd.DataFrame], dict[str, GeneMatch]]:
    """Return each modality in the features' columns, NaN where one is not in the table, and how they were matched.

    Parameters
    ----------
    features
        A fitted pipeline.
    omics
        Modality to samples × features, in any order, with any extra columns.
    least
        Share of the features below which a table is refused; None = never.

    Raises
    ------
    DataError
        If expression is needed and absent, or too few genes are known.
    """
    from halfmax.data.identifiers import match_genes

    matches, matched = {}, {}
    for modality in features.modalities:
        if modality not in omics:
            continue
        wanted = features.input_names(modality)
        frame = omics[modality]
        match = match_genes(map(str, frame.columns), wanted)
        matches[modality] = match
        values = match.take(frame.to_numpy(dtype=np.float32))
        matched[modality] = pd.DataFrame(values, index=frame.index.astype(str), columns=list(wanted))
    if "expression" in features.modalities and "expression" not in matched:
        raise DataError("this predictor needs expression; give a table of samples × genes.")
    if least is not None:
        for match in matches.values():
            match.require(least)
    return matched, matches
