"""Split: which response rows may be seen in training, and the check that nothing crosses the boundary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.data.cell_lines import normalise_name
from halfmax.data.dataset import ResponseDataset
from halfmax.data.structures import structure_key
from halfmax.errors import DataError, LeakageError, UnknownNameError, did_you_mean, examples

IndexArray = npt.NDArray[np.int64]

#: Protocol to what is left out.
PROTOCOLS: Mapping[str, str] = {
    "LPO": "leave pairs out: samples and drugs are both seen, in other pairs",
    "LCO": "leave cell lines out: no response of a test sample is seen",
    "LDO": "leave drugs out: no response to a test drug is seen",
    "LTO": "leave tissues out: no sample of a test tissue is seen",
}
#: Two samples whose expression profiles correlate above this are taken for one (mislabelled or derived lines).
SAME_PROFILE = 0.96


@dataclass(frozen=True)
class Split:
    """Row numbers of ``dataset.response`` for training, validation (early stopping) and test.

    Parameters
    ----------
    protocol
        One of ``PROTOCOLS``.
    fold
        Name of the fold.
    train, valid, test
        Disjoint int64 row numbers. `valid` is held out of `train` by the same groups as `test`.
    """

    protocol: str
    fold: str
    train: IndexArray
    valid: IndexArray
    test: IndexArray

    @property
    def fit_rows(self) -> IndexArray:
        """Training and validation rows together, for models that do not validate."""
        return np.sort(np.concatenate([self.train, self.valid]))


def sample_groups(dataset: ResponseDataset) -> pd.Series:
    """Return a group number a sample; one group = one biological line.

    Samples are joined if their names differ only in case and punctuation, if a ``cosmic_id`` or ``patient_id`` is
    shared, or if their expression profiles correlate above ``SAME_PROFILE``.
    """
    ids = dataset.samples.index
    links = [_same_value(ids, pd.Series([normalise_name(i) for i in ids], index=ids))]
    for column in ("cosmic_id", "patient_id"):
        if column in dataset.samples:
            links.append(_same_value(ids, dataset.samples[column].replace("", None)))
    if "expression" in dataset.omics:
        links.append(_same_profile(ids, dataset.omics["expression"]))
    return _components(ids, np.concatenate(links))


def drug_groups(dataset: ResponseDataset) -> pd.Series:
    """Return a group number a drug; names of one molecule (same InChIKey skeleton, or same name) share a group."""
    ids = dataset.drugs.index
    links = [_same_value(ids, pd.Series([normalise_name(i) for i in ids], index=ids))]
    if "smiles" in dataset.drugs:
        links.append(_same_value(ids, dataset.drugs["smiles"].map(structure_key, na_action="ignore")))
    return _components(ids, np.concatenate(links))


def row_groups(dataset: ResponseDataset, protocol: str) -> IndexArray:
    """Return for each response row the number of the group that must stay on one side of every boundary."""
    if protocol not in PROTOCOLS:
        raise UnknownNameError(
            f"Unknown protocol {protocol!r}.{did_you_mean(protocol, PROTOCOLS)} Known: {', '.join(PROTOCOLS)}."
        )
    response = dataset.response
    if protocol == "LTO":
        if "tissue" not in dataset.samples:
            raise DataError("LTO needs a column 'tissue' in the samples table.")
        codes = pd.factorize(response["sample_id"].map(dataset.samples["tissue"].fillna("unknown")), sort=True)[0]
        return codes.astype(np.int64)
    by_sample = by_drug = np.zeros(len(response), dtype=np.int64)
    if protocol in ("LCO", "LPO"):
        by_sample = response["sample_id"].map(sample_groups(dataset)).to_numpy(dtype=np.int64)
    if protocol in ("LDO", "LPO"):
        by_drug = response["drug_id"].map(drug_groups(dataset)).to_numpy(dtype=np.int64)
    return np.asarray(by_sample * (by_drug.max() + 1) + by_drug, dtype=np.int64)


def make_splits(
    dataset: ResponseDataset, protocol: str, *, n_folds: int = 5, seed: int = 0, valid_fraction: float = 0.1
) -> list[Split]:
    """Return `n_folds` splits whose test rows cover every row once; groups are dealt at random.

    Raises
    ------
    DataError
        If there are fewer groups than folds.
    """
    if n_folds < 2:
        raise DataError(f"n_folds is {n_folds}; a split needs at least 2 folds.")
    groups = row_groups(dataset, protocol)
    distinct = np.unique(groups)
    if len(distinct) < n_folds:
        advice = f"use n_folds={len(distinct)}" if len(distinct) >= 2 else "give data with more of them"
        raise DataError(
            f"{protocol} has {len(distinct)} groups, fewer than {n_folds} folds; {advice}, or use another protocol."
        )
    dealt = np.random.default_rng(seed).permutation(len(distinct)) % n_folds
    fold = dealt[np.searchsorted(distinct, groups)]
    return [
        _one_split(protocol, str(k), groups, fold == k, seed + k, valid_fraction, np.ones(len(fold), dtype=bool))
        for k in range(n_folds)
    ]


def splits_from_table(
    dataset: ResponseDataset, protocol: str, table: pd.DataFrame, *, seed: int = 0, valid_fraction: float = 0.1
) -> tuple[ResponseDataset, list[Split]]:
    """Return the part of the dataset that a table of fixed folds names, and its splits.

    Parameters
    ----------
    table
        Columns ``cell`` (or ``sample_id``), ``drug`` (or ``drug_id``), ``fold`` and, optionally, ``y``, which must
        agree with the dataset within 1e-4. Cell names may differ in case and punctuation.

    Raises
    ------
    DataError
        If a pair is not in the dataset, a name fits two samples, a pair occurs twice, or a value disagrees.
    """
    table = table.rename(columns={"sample_id": "cell", "drug_id": "drug"})
    if missing := [c for c in ("cell", "drug", "fold") if c not in table]:
        raise DataError(f"the folds table lacks {examples(missing)}; it needs columns cell, drug, fold.")
    wanted = pd.DataFrame(
        {
            "sample_id": _match(table["cell"], dataset.samples.index, "cell"),
            "drug_id": _match(table["drug"], dataset.drugs.index, "drug"),
            "fold": table["fold"].astype(str).to_numpy(),
        }
    )
    if twice := int(wanted.duplicated(["sample_id", "drug_id"]).sum()):
        raise DataError(f"the folds table names {twice} pairs more than once; each pair belongs to one fold.")
    rows = dataset.response[["sample_id", "drug_id", "value"]].assign(row=np.arange(dataset.n_pairs))
    found = wanted.merge(rows, on=["sample_id", "drug_id"], how="left", validate="one_to_one")
    if lost := int(found["row"].isna().sum()):
        pairs = found.loc[found["row"].isna(), ["sample_id", "drug_id"]].head(4).agg(" × ".join, axis=1)
        raise DataError(f"{lost} pairs of the folds table are not in {dataset.name}, e.g. {examples(pairs)}.")
    if "y" in table:
        differs = np.abs(table["y"].to_numpy(dtype=float) - found["value"].to_numpy(dtype=float)) > 1e-4
        if differs.any():
            raise DataError(
                f"{int(differs.sum())} values of the folds table differ from {dataset.name} by more than 1e-4, "
                f"e.g. rows {examples(np.flatnonzero(differs))}; are they the same measure?"
            )
    found = found.sort_values("row", ignore_index=True)
    part = dataset.take(found["row"].to_numpy(dtype=np.int64))
    groups, fold = row_groups(part, protocol), found["fold"].to_numpy(dtype=str)
    names = sorted(set(fold), key=lambda f: (len(f), f))
    everything = np.ones(len(fold), dtype=bool)
    return part, [
        _one_split(protocol, name, groups, fold == name, seed + k, valid_fraction, everything)
        for k, name in enumerate(names)
    ]


def check_split(
    dataset: ResponseDataset, split: Split, *, allow_aliases: bool = False, groups: IndexArray | None = None
) -> list[str]:
    """Raise LeakageError if a group of the protocol is on both sides of a boundary.

    Parameters
    ----------
    allow_aliases
        Return crossings by alias, shared structure or near-identical profile as sentences instead of raising; for
        fixed folds that others made. The same id on both sides always raises.
    groups
        What `row_groups` returned, where many splits of one dataset are checked.
    """
    parts = {"train": split.train, "valid": split.valid, "test": split.test}
    taken = np.concatenate(list(parts.values()))
    if len(np.unique(taken)) != len(taken):
        raise LeakageError(f"fold {split.fold}: some rows are in two of train, valid and test.")
    for part in ("train", "test"):
        if not len(parts[part]):
            raise DataError(f"fold {split.fold} of {split.protocol} has no {part} rows.")
    column = {"LCO": "sample_id", "LTO": "sample_id", "LDO": "drug_id"}.get(split.protocol)
    if column:
        ids = dataset.response[column].to_numpy()
        _raise_if_shared(split, {k: ids[v] for k, v in parts.items()}, column)
    groups = row_groups(dataset, split.protocol) if groups is None else groups
    shared = np.intersect1d(groups[split.fit_rows], groups[split.test])
    if not len(shared):
        _raise_if_shared(split, {"train": groups[split.train], "valid": groups[split.valid]}, "group")
        return []
    in_shared = np.isin(groups, shared)
    names = dataset.response.loc[in_shared, column or "sample_id"].unique()
    message = (
        f"fold {split.fold} of {split.protocol}: {len(shared)} groups (aliases, one structure or near-identical "
        f"profiles) are on both sides, e.g. {examples(names)}"
    )
    if not allow_aliases:
        raise LeakageError(message + "; use make_splits, which keeps them together.")
    return [message]


def _one_split(
    protocol: str,
    fold: str,
    groups: IndexArray,
    is_test: npt.NDArray[np.bool_],
    seed: int,
    valid_fraction: float,
    usable: npt.NDArray[np.bool_],
) -> Split:
    rest = usable & ~is_test
    distinct = np.unique(groups[rest])
    n_valid = round(valid_fraction * len(distinct))
    if valid_fraction > 0 and len(distinct) > 1:
        n_valid = max(1, n_valid)
    chosen = np.random.default_rng(seed).permutation(distinct)[:n_valid]
    is_valid = rest & np.isin(groups, chosen)
    return Split(
        protocol, fold, *(np.flatnonzero(m).astype(np.int64) for m in (rest & ~is_valid, is_valid, is_test & usable))
    )


def _raise_if_shared(split: Split, ids: Mapping[str, npt.NDArray[np.generic]], what: str) -> None:
    names = list(ids)
    for i, left in enumerate(names):
        for right in names[i + 1 :]:
            shared = np.intersect1d(np.unique(ids[left].astype(str)), np.unique(ids[right].astype(str)))
            if len(shared):
                raise LeakageError(
                    f"fold {split.fold} of {split.protocol}: {len(shared)} {what} values are in both {left} and "
                    f"{right}, e.g. {examples(shared)}."
                )


def _same_value(ids: pd.Index, values: pd.Series) -> IndexArray:
    codes = pd.factorize(values.reindex(ids))[0]
    first: dict[int, int] = {}
    links = [(first.setdefault(int(c), i), i) for i, c in enumerate(codes) if c >= 0]
    return np.array([link for link in links if link[0] != link[1]], dtype=np.int64).reshape(-1, 2)


def _same_profile(ids: pd.Index, expression: pd.DataFrame) -> IndexArray:
    known = expression.loc[expression.index.isin(ids)]
    values = np.nan_to_num(known.to_numpy(dtype=np.float32, copy=True))
    if len(values) < 2 or values.shape[1] < 50:
        return np.empty((0, 2), dtype=np.int64)
    values -= values.mean(axis=1, keepdims=True)
    values /= np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    rows = ids.get_indexer(known.index)
    links = []
    for start in range(0, len(values), 2048):
        left, right = np.nonzero(values[start : start + 2048] @ values.T > SAME_PROFILE)
        links.append(np.column_stack([rows[left + start], rows[right]])[left + start < right])
    return np.concatenate(links).astype(np.int64)


def _components(ids: pd.Index, links: IndexArray) -> pd.Series:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ones = np.ones(len(links), dtype=np.int8)
    graph = coo_array((ones, (links[:, 0], links[:, 1])), shape=(len(ids), len(ids)))
    return pd.Series(connected_components(graph, directed=False)[1].astype(np.int64), index=ids)


def _match(names: pd.Series, ids: pd.Index, what: str) -> npt.NDArray[np.object_]:
    by_key: dict[str, list[str]] = {}
    for known in ids:
        by_key.setdefault(normalise_name(known), []).append(known)
    found: dict[str, str] = {}
    for name in map(str, names.unique()):
        candidates = [name] if name in ids else by_key.get(normalise_name(name), [])
        if len(candidates) > 1:
            raise DataError(f"{what} {name!r} of the folds table fits {examples(candidates)}; use the exact name.")
        if not candidates:
            raise DataError(f"{what} {name!r} of the folds table is not in the dataset.{did_you_mean(name, ids)}")
        found[name] = candidates[0]
    return names.astype(str).map(found).to_numpy(dtype=object)
