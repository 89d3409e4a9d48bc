"""drevalpy's models on halfmax's folds, in drevalpy's own environment, as rows beside everyone else's.

drevalpy (Bernett et al. 2025) pins other versions of the numerical libraries, so it is never imported here: its own
Python runs one file of this package, through drevalpy's public interface only.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from halfmax.adapters import drevalpy_worker
from halfmax.adapters.alone import in_order, timing_of
from halfmax.adapters.drevalpy_data import most_variable_genes, write_features
from halfmax.adapters.process import run_job
from halfmax.data.dataset import ResponseDataset
from halfmax.data.storage import atomic_file
from halfmax.errors import DataError
from halfmax.resume import Fitted
from halfmax.split import Split

#: What `make_environment` installs.
REQUIREMENTS = ("torch==2.13.0", "drevalpy==1.6.0", "pyarrow")
#: The naive models of drevalpy read no genes.
NAIVE = "Naive"
_NAME = "GDSC2"


@dataclass(frozen=True)
class Peer:
    """A model of drevalpy.

    Parameters
    ----------
    name
        As drevalpy registers it, such as ``RandomForest``.
    settings
        Hyper-parameters over the model's first set.
    genes
        How many of the genes that vary most over the training samples it is given; 0 is all.
    trials
        How many of the model's own hyper-parameter sets are tried on the validation rows; the one of least RMSE is
        fitted on all training rows. 1 takes the first set as it is.
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    genes: int = 0
    trials: int = 1

    @classmethod
    def read(cls, text: str, *, trials: int = 1) -> Peer:
        """Return the peer of ``NAME`` or ``NAME:{"setting": value}``.

        Raises
        ------
        DataError
            If what follows the colon is not a JSON object.
        """
        name, _, settings = text.partition(":")
        try:
            read = json.loads(settings or "{}")
        except json.JSONDecodeError as error:
            raise DataError(f"the settings of {name} are not JSON: {settings!r} ({error}).") from None
        if not isinstance(read, dict):
            raise DataError(f"the settings of {name} are not a JSON object: {settings!r}.")
        return cls(name.strip(), read, trials=trials)

    @property
    def label(self) -> str:
        """The name with what was changed, so that no figure passes for another's."""
        changed = [f"{key}={value}" for key, value in self.settings.items()]
        changed += [f"genes={self.genes}"] if self.genes else []
        return f"drevalpy {self.name}" + (f" ({', '.join(changed)})" if changed else "")


def peer_runner(python: Path, peer: Peer) -> Callable[[ResponseDataset, Split], Fitted]:
    """Return what fits a model of drevalpy on a split; see `halfmax.evaluate.ModelSpec.runner`.

    Its early stopping, scaling and seeds are drevalpy's own.

    Parameters
    ----------
    python
        Python of an environment with drevalpy; `make_environment` makes one.
    """

    def fit(dataset: ResponseDataset, split: Split) -> Fitted:
        with tempfile.TemporaryDirectory(prefix="halfmax-peer-") as place:
            folder, tuning = Path(place), dict[str, float]()
            write_data(dataset, split, folder / "data", peer.genes)
            settings = dict(peer.settings)
            if peer.trials > 1 and len(split.valid):
                settings, tuning = _choose(python, peer, dataset, split, folder)
            told, cost = _job(python, peer, settings, dataset, split.fit_rows, split.test, split.protocol, folder)
            cost["timing"] |= tuning
        return in_order(told, dataset, split, peer.label), timing_of(cost), pd.DataFrame()

    return fit


def write_data(dataset: ResponseDataset, split: Split, folder: Path, genes: int = 0) -> None:
    """Write the features of a dataset in drevalpy's layout; genes are chosen on the training samples."""
    if "expression" not in dataset.omics or "smiles" not in dataset.drugs or dataset.drugs["smiles"].isna().any():
        raise DataError("drevalpy's models read expression of every sample and a structure of every drug.")
    write_features(dataset, folder, _NAME, most_variable_genes(dataset.take(split.fit_rows), genes))


def peer_command(
    python: Path, name: str, settings: Mapping[str, Any], protocol: str, data: Path, pairs: Path
) -> list[Any]:
    """Return the command that fits a model of drevalpy on the pairs of a table; `--out` is added by who runs it."""
    changed = dict(settings) if name.startswith(NAIVE) else {"gene_list": "all_genes"} | dict(settings)
    command = [python, drevalpy_worker.__file__, "--dataset", _NAME, "--data", data, "--pairs", pairs]
    return [*command, "--protocol", protocol, "--model", name, "--set", json.dumps(changed)]


def write_pairs(dataset: ResponseDataset, train: Any, test: Any, path: Path) -> None:
    """Write the table of pairs that the worker reads: training rows, and test rows without their responses."""
    rows = np.concatenate([train, test])
    pairs = dataset.response.iloc[rows].rename(columns={"sample_id": "cell", "drug_id": "drug", "value": "y"})
    known = dataset.samples["tissue"] if "tissue" in dataset.samples else pd.Series(dtype=object)
    is_test = np.arange(len(rows)) >= len(train)
    # drevalpy builds its test set with responses; it is given none that it could learn from
    pairs["y"] = np.where(is_test, 0.0, pairs["y"].to_numpy(dtype=float))
    pairs["tissue"] = pairs["cell"].map(known).fillna("unknown")
    with atomic_file(path) as temporary:
        pairs[["cell", "drug", "y", "tissue"]].assign(test=is_test).to_parquet(temporary, index=False)


def make_environment(folder: Path) -> Path:
    """Make a virtual environment with drevalpy in it (about 2 GB), unless it is there, and return its Python."""
    import venv

    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        venv.create(folder, with_pip=True)
    subprocess.run([python, "-m", "pip", "install", *REQUIREMENTS], check=True)
    return python


def _job(
    python: Path,
    peer: Peer,
    settings: Mapping[str, Any],
    dataset: ResponseDataset,
    train: Any,
    test: Any,
    protocol: str,
    folder: Path,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    write_pairs(dataset, train, test, folder / "pairs.parquet")
    command = peer_command(python, peer.name, settings, protocol, folder / "data", folder / "pairs.parquet")
    told, cost = run_job(command, folder / "out", peer.label, cwd=folder)
    return told.rename(columns={"cell": "sample_id", "drug": "drug_id", "predicted": "y_pred"}), cost


def _choose(
    python: Path, peer: Peer, dataset: ResponseDataset, split: Split, folder: Path
) -> tuple[dict[str, Any], dict[str, float]]:
    """Return the best of the model's first sets on the validation rows, and what it took: tuning_cpu_s, n_trials."""
    listing = [python, drevalpy_worker.__file__, "--list", "--model", peer.name]
    _, found = run_job(listing, folder / "listed", peer.label, cwd=folder)
    inner = Split(split.protocol, split.fold, split.train, np.empty(0, dtype=np.int64), split.valid)
    measured = dataset.response["value"].to_numpy(dtype=np.float64)[split.valid]
    scored, spent = [], 0.0
    for own in found["sets"][: peer.trials]:
        settings = {**own, **peer.settings}
        told, cost = _job(python, peer, settings, dataset, split.train, split.valid, split.protocol, folder)
        error = float(np.sqrt(np.mean((in_order(told, dataset, inner, peer.label) - measured) ** 2)))
        scored.append((error, settings))
        spent += float(cost["timing"]["cpu_s"])
    return min(scored, key=lambda each: each[0])[1], {"tuning_cpu_s": spent, "n_trials": float(len(scored))}
