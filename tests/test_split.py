"""Nothing crosses a boundary: not an id, not an alias, not a profile under two names."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from halfmax.data.synthetic import make_dataset
from halfmax.errors import DataError, LeakageError, UnknownNameError
from halfmax.split import Split, check_split, drug_groups, make_splits, row_groups, sample_groups, splits_from_table

DATASET = make_dataset(60, 10, n_genes=60)


def with_alias(dataset, old, new, *, same_profile=True):
    """Return the dataset with a second name for a sample, holding half of its responses."""
    response = dataset.response.copy()
    rows = np.flatnonzero(response["sample_id"] == old)[::2]
    response.loc[rows, "sample_id"] = new
    samples = pd.concat([dataset.samples, dataset.samples.loc[[old]].rename({old: new})])
    expression = dataset.omics["expression"]
    extra = expression.loc[[old]].rename({old: new})
    if not same_profile:
        extra = extra + np.random.default_rng(0).normal(size=extra.shape).astype(np.float32) * 5
    return replace(dataset, response=response, samples=samples, omics={"expression": pd.concat([expression, extra])})


@pytest.mark.parametrize("protocol", ["LPO", "LCO", "LDO"])
def test_every_row_is_tested_once_and_groups_stay_together(protocol):
    splits = make_splits(DATASET, protocol, n_folds=5, seed=3)
    tested = np.concatenate([s.test for s in splits])
    assert np.array_equal(np.sort(tested), np.arange(DATASET.n_pairs))
    groups = row_groups(DATASET, protocol)
    for split in splits:
        assert check_split(DATASET, split) == []
        parts = [set(groups[r]) for r in (split.train, split.valid, split.test)]
        assert all(parts)
        assert len(set.union(*parts)) == sum(map(len, parts))


def test_tissues_are_left_out_whole():
    for split in make_splits(DATASET, "LTO", n_folds=3):
        tissue = DATASET.response["sample_id"].map(DATASET.samples["tissue"])
        assert not set(tissue.iloc[split.fit_rows]) & set(tissue.iloc[split.test])


@pytest.mark.parametrize(("new", "same_profile"), [("s-000", False), ("other", True)])
def test_aliases_and_twin_profiles_share_a_group(new, same_profile):
    dataset = with_alias(DATASET, "S000", new, same_profile=same_profile)
    groups = sample_groups(dataset)
    assert groups["S000"] == groups[new]
    assert groups.nunique() == 60
    for split in make_splits(dataset, "LCO"):
        check_split(dataset, split)


def test_names_of_one_molecule_share_a_group():
    drugs = DATASET.drugs.copy()
    drugs.loc["D01", "smiles"] = drugs.loc["D02", "smiles"] + ".Cl"
    groups = drug_groups(replace(DATASET, drugs=drugs))
    assert groups["D01"] == groups["D02"]
    assert groups.nunique() == 9


def test_a_leaking_split_is_refused():
    rows = np.arange(DATASET.n_pairs)
    leaking = Split("LCO", "0", rows[::2], rows[:0], rows[1::2])
    with pytest.raises(LeakageError, match="sample_id values are in both train and test"):
        check_split(DATASET, leaking)


def test_an_alias_across_a_boundary_is_refused_or_told():
    dataset = with_alias(DATASET, "S000", "other")
    is_test = (dataset.response["sample_id"] == "other").to_numpy()
    split = Split("LCO", "0", np.flatnonzero(~is_test), np.empty(0, dtype=np.int64), np.flatnonzero(is_test))
    with pytest.raises(LeakageError, match="near-identical"):
        check_split(dataset, split)
    assert "S000" in check_split(dataset, split, allow_aliases=True)[0]


def test_fixed_folds_are_followed_and_values_compared():
    response = DATASET.response
    fold = response["sample_id"].str[1:].astype(int) % 4
    table = pd.DataFrame({"cell": response["sample_id"].str.lower(), "drug": response["drug_id"], "fold": fold})
    part, splits = splits_from_table(DATASET, "LCO", table.assign(y=response["value"]))
    assert part.n_pairs == DATASET.n_pairs
    for split in splits:
        assert set(part.response["sample_id"].iloc[split.test].str[1:].astype(int) % 4) == {int(split.fold)}
    with pytest.raises(DataError, match="differ"):
        splits_from_table(DATASET, "LCO", table.assign(y=response["value"] + 1))
    with pytest.raises(DataError, match="not in the dataset"):
        splits_from_table(DATASET, "LCO", table.assign(cell="nobody"))


def test_impossible_splits_say_why():
    with pytest.raises(DataError, match="10 groups, fewer than 11 folds"):
        make_splits(DATASET, "LDO", n_folds=11)
    with pytest.raises(UnknownNameError, match="Did you mean 'LCO'"):
        make_splits(DATASET, "LCOO")
