"""Gene sets over attributions: disjoint sets sum exactly; a gene of several sets is split equally, and counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.errors import DataError, examples

Array = npt.NDArray[np.floating]
#: What is in no set.
NONE = "in no set"


class Groups:
    """Gene sets, by which attributions are added up.

    Parameters
    ----------
    sets
        Name to gene names.

    Notes
    -----
    A gene that stands in k sets gives each 1/k of what it adds; with what is in no set as one more group, the groups
    sum to exactly what the genes do. Sets that overlap are told by the column n_shared.
    """

    def __init__(self, sets: Mapping[str, Sequence[str]]) -> None:
        self.sets = sets

    @classmethod
    def read(cls, path: Path | str) -> Groups:
        """Return the sets of a GMT file."""
        from halfmax.data.readers.gmt import read_gmt

        return cls(read_gmt(path))

    def weights(self, features: npt.NDArray[np.str_]) -> tuple[list[str], Array]:
        """Return the names of the groups and each feature's share of them, shape ``(d, n_groups)``; rows sum to 1.

        Raises
        ------
        DataError
            If no set holds any of the features.
        """
        rows: dict[str, list[int]] = {}
        for i, name in enumerate(features.tolist()):
            rows.setdefault(name, []).append(i)
        member = np.zeros((len(features), len(self.sets)))
        for k, genes in enumerate(self.sets.values()):
            member[[i for gene in set(genes) for i in rows.get(gene, ())], k] = 1
        if not member.any():
            named = dict.fromkeys(gene for genes in self.sets.values() for gene in genes)
            raise DataError(
                f"none of {len(self.sets)} gene sets names any of the {len(features)} features: the sets name "
                f"{examples(named)}, the features are {examples(features)}."
            )
        count = member.sum(axis=1, keepdims=True)
        shares = np.hstack([member / np.maximum(count, 1), count == 0])
        return [*self.sets, NONE], shares

    def table(self, features: npt.NDArray[np.str_], values: Array, top: int | None = 10) -> pd.DataFrame:
        """Return what each group adds, largest first, the rest in one row: set, n_features, n_shared, attribution."""
        names, shares = self.weights(features)
        table = pd.DataFrame(
            {
                "set": names,
                "n_features": (shares > 0).sum(axis=0),
                "n_shared": ((shares > 0) & (shares < 1)).sum(axis=0),
                "attribution": values.astype(np.float64) @ shares,
            }
        )
        table = table[table["n_features"] > 0]
        order = np.argsort(-table["attribution"].abs().to_numpy(), kind="stable")
        table = table.iloc[order].reset_index(drop=True)
        if top is None or len(table) <= top:
            return table
        rest = table.iloc[top:]
        other = {"set": f"other {len(rest):,} sets", "attribution": rest["attribution"].sum()}
        other |= {name: int(rest[name].sum()) for name in ("n_features", "n_shared")}
        return pd.concat([table.iloc[:top], pd.DataFrame([other])], ignore_index=True)
