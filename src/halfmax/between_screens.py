"""Cross-study: learn from one screen, score lines it has not seen in another, on the drugs that both tested."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from halfmax.data.cell_lines import normalise_name
from halfmax.data.dataset import ResponseDataset
from halfmax.data.findings import Finding, Findings
from halfmax.data.storage import atomic_file
from halfmax.data.structures import structure_key
from halfmax.data.tables import read_frame
from halfmax.errors import DataError, examples
from halfmax.evaluate import ModelSpec, Progress, Results, assay_agreement, cross_validate
from halfmax.features.pipeline import FeaturePipeline
from halfmax.labels import Threshold
from halfmax.split import Split, sample_groups

IndexArray = npt.NDArray[np.int64]
#: Measures that depend on which doses a screen tested.
DOSE_BOUND = frozenset({"auc", "aac"})
#: Factor by which either end of two dose ranges may differ for an area under the curve to be compared.
SAME_DOSES = 1.3


@dataclass(frozen=True)
class CrossStudy:
    """What models that learned from one screen are worth in another.

    Parameters
    ----------
    results
        As of `cross_validate`; every test value is the other screen's. Pooled metrics hold the screens' offset, the
        within-drug ones do not.
    drugs
        drug_id (training screen), test_drug_id, how (``id`` or ``structure``), n_train and n_test (measured samples).
    agreement
        comparison, n_pairs, n_drugs, pearson, within_drug_pearson, rmse of the two screens' measurements of the same
        pairs: what a model should be read against. Empty if no pair was measured in both.
    findings
        What was left out, and why.
    """

    results: Results
    drugs: pd.DataFrame
    agreement: pd.DataFrame
    findings: tuple[Finding, ...]

    def write(self, folder: Path | str) -> Path:
        """Write metrics.csv, drugs.csv, agreement.csv, findings.csv and predictions.parquet to `folder`."""
        folder = Path(folder)
        found = pd.DataFrame([f.to_dict() for f in self.findings], columns=["code", "level", "count", "message"])
        tables = {"metrics": self.results.metrics, "drugs": self.drugs, "agreement": self.agreement, "findings": found}
        for name, table in tables.items():
            with atomic_file(folder / f"{name}.csv") as path:
                table.to_csv(path, index=False, float_format="%.6g")
        with atomic_file(folder / "predictions.parquet") as path:
            self.results.predictions.to_parquet(path, index=False, compression="zstd")
        return folder


def cross_study(
    train: ResponseDataset,
    test: ResponseDataset,
    models: Sequence[ModelSpec],
    *,
    folds: Mapping[str, str] | None = None,
    n_folds: int = 5,
    only: Sequence[str] = (),
    features: Callable[[], FeaturePipeline] = FeaturePipeline,
    require: Sequence[str] = ("expression",),
    threshold: Threshold | None = None,
    valid_fraction: float = 0.1,
    n_boot: int = 200,
    seed: int = 0,
    on_progress: Callable[[Progress], None] | None = None,
) -> CrossStudy:
    """Fit every model on `train` without the lines of a fold, and score it on those lines in `test`.

    A line that both screens hold is one line (same id, alias, COSMIC or patient id, or near-identical expression) and
    is never in training when it is scored. Models may learn from all drugs of `train`; scored are those of both.

    Parameters
    ----------
    train, test
        Two screens of the same measure and unit. Omics and names should come from one source, so that a line's profile
        is the same in both.
    folds
        Sample id (of either screen) to fold; samples of `test` that it does not name are not scored. Without it, groups
        of samples are dealt to `n_folds` folds at random by `seed`.
    only
        Folds to score; all by default.
    features, threshold, valid_fraction, n_boot, seed, on_progress
        As in `cross_validate` and `make_splits`.
    require
        Modalities that a sample must have.

    Raises
    ------
    DataError
        If the measures differ, no drug is shared, or the measure is an area under the curve and the doses of the
        screens are unknown or nowhere alike: see `shared_drugs`.

    References
    ----------
    Haibe-Kains et al. (2013), Nature 504, 389–393, for how far screens agree; Xia et al. (2022), Briefings in
    Bioinformatics 23, bbab356, for models that cross from one screen to another.
    """
    findings = Findings()
    drugs = shared_drugs(train, test, findings)
    train, lost_train = train.align(require)
    test, lost_test = _renamed(test, drugs).align(require)
    for name, lost in (("training", lost_train), ("test", lost_test)):
        for cause, (n, ids) in lost.causes.items():
            findings.info("left-out", f"{n} rows of the {name} screen are left out: {cause}.", ids, n)
    groups = _joint_groups(train, test)
    fold_of = _deal(groups, n_folds, seed) if folds is None else _given(groups, folds, findings)
    splits, tests = _cut(train, test, groups, fold_of, only, valid_fraction, seed)
    results = cross_validate(
        train,
        splits,
        models,
        features=features,
        threshold=threshold,
        tests=tests,
        n_boot=n_boot,
        seed=seed,
        on_progress=on_progress,
    )
    return CrossStudy(results, _counted(drugs, train, test), _agreement(train, test), findings.all())


def read_folds(path: Path, screens: Sequence[ResponseDataset]) -> dict[str, str]:
    """Return sample id to fold from a table with columns cell (or sample_id) and fold.

    Names may differ from the screens' in case and punctuation. A drug column is not looked at.

    Raises
    ------
    DataError
        If a column is missing, a cell is in two folds, or most names fit no sample.
    """
    table = read_frame(path).rename(columns={"sample_id": "cell"})
    if missing := [c for c in ("cell", "fold") if c not in table]:
        raise DataError(f"{path.name} lacks {examples(missing)}; it needs columns cell, fold.")
    table = table[["cell", "fold"]].astype(str).drop_duplicates()
    table["key"] = [normalise_name(cell) for cell in table["cell"]]
    n_folds = table.groupby("key")["fold"].nunique()
    if (twice := n_folds.index[n_folds > 1]).size:
        raise DataError(f"{path.name} puts {len(twice)} cells in more than one fold, e.g. {examples(twice)}.")
    by_key = table.drop_duplicates("key").set_index("key")["fold"]
    ids = [str(i) for screen in screens for i in screen.samples.index]
    found = {i: str(by_key[key]) for i in ids if (key := normalise_name(i)) in by_key.index}
    unmatched = by_key.index.difference([normalise_name(i) for i in found])
    if len(unmatched) > len(by_key) / 2:
        raise DataError(
            f"{len(unmatched)} of {len(by_key)} cells of {path.name} are in neither screen, e.g. {examples(unmatched)}."
        )
    return found


def shared_drugs(train: ResponseDataset, test: ResponseDataset, findings: Findings | None = None) -> pd.DataFrame:
    """Return the drugs of both screens: drug_id, test_drug_id, how.

    Drugs match by id, then by structure (the same InChIKey skeleton, if it is one drug's in each screen). An area under
    the curve also needs alike doses: the drug tables of both screens must have ``min_dose`` and ``max_dose`` [µM], and
    drugs whose ends differ by more than a factor `SAME_DOSES` are left out. Over other doses it is another quantity,
    however well the curves agree.

    Raises
    ------
    DataError
        If the measures differ, nothing is shared, or the doses are unknown.
    """
    findings = Findings() if findings is None else findings
    if (train.measure.name, train.measure.unit) != (test.measure.name, test.measure.unit):
        raise DataError(
            f"{train.name} measures {train.measure.label}, {test.name} {test.measure.label}; load both as one measure."
        )
    same = train.drugs.index.intersection(test.drugs.index)
    rows = [(i, i, "id") for i in same]
    ours, theirs = (_by_structure(d.drugs.loc[d.drugs.index.difference(same)]) for d in (train, test))
    rows += [(ours[key], theirs[key], "structure") for key in sorted(set(ours) & set(theirs))]
    table = pd.DataFrame(rows, columns=["drug_id", "test_drug_id", "how"])
    if table.empty:
        raise DataError(
            f"{train.name} and {test.name} share no drug by id or structure: {examples(train.drugs.index)} against "
            f"{examples(test.drugs.index)}."
        )
    if train.measure.name in DOSE_BOUND:
        table = _alike_doses(table, train, test, findings)
    return table


def _alike_doses(
    table: pd.DataFrame, train: ResponseDataset, test: ResponseDataset, findings: Findings
) -> pd.DataFrame:
    advice = (
        "an area under the curve belongs to the doses of its screen. Recompute both over the doses they share "
        "(halfmax.data.dose_response.shared_auc), give the columns, or compare ln_ic50."
    )
    for dataset in (train, test):
        if missing := [c for c in ("min_dose", "max_dose") if c not in dataset.drugs]:
            raise DataError(f"the drug table of {dataset.name} has no {examples(missing)} [µM]; {advice}")
    alike = np.ones(len(table), dtype=bool)
    for column in ("min_dose", "max_dose"):
        ours = train.drugs[column].reindex(table["drug_id"]).to_numpy(dtype=np.float64)
        theirs = test.drugs[column].reindex(table["test_drug_id"]).to_numpy(dtype=np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = ours / theirs
            alike &= (ratio <= SAME_DOSES) & (ratio >= 1 / SAME_DOSES)  # unknown doses are not alike
    other = table.loc[~alike, "drug_id"].tolist()
    if not alike.any():
        raise DataError(
            f"none of {len(table)} shared drugs was tested at alike doses, e.g. {examples(other)}; {advice}"
        )
    if other:
        message = f"{len(other)} of {len(table)} shared drugs were tested at other doses, or doses unknown; left out."
        findings.warn("other-doses", message, other)
    return table[alike].reset_index(drop=True)


def _by_structure(drugs: pd.DataFrame) -> dict[str, str]:
    """Return the structure key of each drug that has one of its own, to its id."""
    if "smiles" not in drugs:
        return {}
    keys = drugs["smiles"].map(structure_key, na_action="ignore").dropna()
    keys = keys[~keys.duplicated(keep=False)]
    return {str(key): str(drug) for drug, key in keys.items()}


def _renamed(test: ResponseDataset, drugs: pd.DataFrame) -> ResponseDataset:
    """Return the shared drugs of the test screen under the training screen's ids."""
    names = drugs.set_index("test_drug_id")["drug_id"]
    shared = test.take(test.response["drug_id"].isin(names.index).to_numpy())

    def rename(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.set_axis(frame.index.map(lambda i: names.get(i, i)).rename(frame.index.name))

    return replace(
        shared,
        response=shared.response.assign(drug_id=shared.response["drug_id"].map(names)),
        drugs=rename(shared.drugs),
        drug_features={k: rename(v) for k, v in shared.drug_features.items()},
    )


def _joint_groups(train: ResponseDataset, test: ResponseDataset) -> pd.Series:
    """Return the group number of every sample of either screen; one id is one sample, whatever else differs."""
    new = test.samples.index.difference(train.samples.index)
    omics = {}
    if "expression" in train.omics and "expression" in test.omics:
        ours, theirs = train.omics["expression"], test.omics["expression"]
        shared = ours.columns.intersection(theirs.columns)
        theirs = theirs.loc[theirs.index.isin(new), shared]
        omics["expression"] = pd.concat([ours[shared], theirs]) if len(theirs) else ours
    samples = pd.concat([train.samples, test.samples.loc[new]])
    return sample_groups(replace(train, samples=samples, omics=omics))


def _deal(groups: pd.Series, n_folds: int, seed: int) -> pd.Series:
    distinct = np.unique(groups)
    if not 2 <= n_folds <= len(distinct):
        raise DataError(f"n_folds is {n_folds}; there are {len(distinct)} groups of samples, and folds are at least 2.")
    dealt = np.random.default_rng(seed).permutation(len(distinct)) % n_folds
    return groups.map(dict(zip(distinct, dealt.astype(str), strict=True)))


def _given(groups: pd.Series, folds: Mapping[str, str], findings: Findings) -> pd.Series:
    fold = pd.Series({str(k): str(v) for k, v in folds.items()}, dtype=object).reindex(groups.index)
    if fold.isna().all():
        raise DataError(f"the folds name no sample of either screen: {examples(list(folds))}.")
    if lacking := fold.index[fold.isna()].tolist():
        findings.info("no-fold", f"{len(lacking)} samples are in no fold; they are trained on, not scored.", lacking)
    return fold


def _cut(
    train: ResponseDataset,
    test: ResponseDataset,
    groups: pd.Series,
    fold_of: pd.Series,
    only: Sequence[str],
    valid_fraction: float,
    seed: int,
) -> tuple[list[Split], list[ResponseDataset]]:
    """Return splits of the training screen, and of each the other screen's part of the same lines."""
    names = sorted(fold_of.dropna().unique(), key=lambda f: (len(f), f))
    if unknown := sorted(set(only) - set(names)):
        raise DataError(f"only names folds {examples(unknown)}; there are {', '.join(names)}.")
    own = train.response["sample_id"].map(groups).to_numpy(dtype=np.int64)
    fold_there = test.response["sample_id"].map(fold_of)
    splits, tests = [], []
    for k, name in enumerate(names):
        rows = np.flatnonzero((fold_there == name).to_numpy())
        if (only and name not in only) or not len(rows):
            continue
        tests.append(test.take(rows))
        held = np.union1d(groups[tests[-1].samples.index], groups[fold_of.index[fold_of == name]])
        seen = ~np.isin(own, held)
        if not seen.any():
            raise DataError(f"fold {name} leaves no sample of {train.name} to learn from.")
        rest = np.unique(own[seen])
        n_valid = min(max(1, round(valid_fraction * len(rest))), len(rest) - 1) if valid_fraction > 0 else 0
        valid = seen & np.isin(own, np.random.default_rng(seed + k).permutation(rest)[:n_valid])
        parts: list[IndexArray] = [np.flatnonzero(m).astype(np.int64) for m in (seen & ~valid, valid, ~seen)]
        splits.append(Split("LCO", name, *parts))
    if not splits:
        raise DataError(f"no response of {test.name} is in any fold.")
    return splits, tests


def _counted(drugs: pd.DataFrame, train: ResponseDataset, test: ResponseDataset) -> pd.DataFrame:
    n_train, n_test = (d.response["drug_id"].value_counts() for d in (train, test))
    counts = {"n_train": drugs["drug_id"].map(n_train), "n_test": drugs["drug_id"].map(n_test)}
    return drugs.assign(**counts).fillna({"n_train": 0, "n_test": 0}).astype({"n_train": int, "n_test": int})


def _agreement(train: ResponseDataset, test: ResponseDataset) -> pd.DataFrame:
    columns = ["comparison", "n_pairs", "n_drugs", "pearson", "within_drug_pearson", "rmse"]
    both = train.response.merge(test.response, on=["sample_id", "drug_id"])
    if len(both) < 3:
        return pd.DataFrame(columns=columns)
    told = assay_agreement(train.response, test.response, f"{train.name} and {test.name}")
    return pd.DataFrame([told], columns=columns)
