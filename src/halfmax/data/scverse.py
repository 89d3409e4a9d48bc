"""A ResponseDataset as MuData and back, without loss: one AnnData a modality, responses and drugs beside them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd

from halfmax.data.dataset import Measure, ResponseDataset
from halfmax.data.readers.tenx import import_or_say
from halfmax.data.storage import atomic_file
from halfmax.errors import DataError, examples

FORMAT, FORMAT_VERSION, KEY = "halfmax-mudata", 1, "halfmax"
_TABLES = ("response", "samples", "drugs")


def to_mudata(dataset: ResponseDataset) -> object:
    """Return the dataset as MuData.

    ``mod`` has one AnnData a modality: ``X`` in the modality's own type, and ``var["feature"]`` with the names of its
    features, of which ``var_names`` are made by adding the modality where two modalities share a name, as MuData wants
    it. ``obs`` has what is known of the samples, ``obsm["response"]`` the samples × drugs grid of responses, NaN where
    there is none, for looking at. The tables that are read back are in ``uns["halfmax"]``: response, samples, drugs,
    drug_features, and what they mean.

    Raises
    ------
    DataError
        If mudata is not installed, there is no modality, or a column holds what neither text nor number is.
    """
    anndata, mudata = import_or_say("anndata"), import_or_say("mudata")
    if not dataset.omics:
        raise DataError("MuData needs at least one modality; this dataset has responses alone: save it as a folder.")
    if strange := [name for name in dataset.omics if "/" in name]:
        raise DataError(f"{len(strange)} modalities have a '/' in their name: {examples(strange)}; rename them.")
    tables = {name: getattr(dataset, name) for name in _TABLES}
    encoded = {name: _encode(frame, name) for name, frame in tables.items()}
    names = [str(feature) for frame in dataset.omics.values() for feature in frame.columns]
    shared = len(set(names)) < len(names)
    with _quiet(mudata):
        mods = {
            name: anndata.AnnData(
                X=frame.to_numpy(copy=True),
                obs=pd.DataFrame(index=pd.Index(frame.index, dtype=object, name=None)),
                var=_var(name, frame.columns, shared=shared),
            )
            for name, frame in dataset.omics.items()
        }
        data = mudata.MuData(mods)
        obs = pd.Index(data.obs_names)
        about = encoded["samples"][0].reindex(obs)
        for column in about:
            data.obs[column] = about[column]
        drugs = pd.Index(dataset.drugs.index)
        data.obsm["response"] = _grid(dataset.response, obs, drugs)
    meta = {
        "name": dataset.name,
        "measure": [dataset.measure.name, dataset.measure.unit, dataset.measure.higher_is_sensitive],
        "notes": dict(dataset.notes),
        "tables": {name: described for name, (_, described) in encoded.items()},
        "modalities": list(dataset.omics),
        "drug_features": list(dataset.drug_features),
        "axes": {name: [frame.index.name, frame.columns.name] for name, frame in _matrices(dataset).items()},
        "samples_in_obs": [str(i) for i in dataset.samples.index.intersection(obs)],
    }
    data.uns[KEY] = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "meta": json.dumps(meta, allow_nan=False, ensure_ascii=False),
        "drug_ids": np.array(drugs, dtype=object),
        **{name: frame for name, (frame, _) in encoded.items()},
        "drug_features": {
            str(i): {
                "values": frame.to_numpy(copy=True),
                "drugs": np.array(frame.index, dtype=object),
                "features": np.array(frame.columns.astype(str), dtype=object),
            }
            for i, frame in enumerate(dataset.drug_features.values())
        },
    }
    return data


def from_mudata(data: object) -> ResponseDataset:
    """Return the dataset in a MuData that `to_mudata` made; of a part of one, the dataset of its samples.

    Raises
    ------
    DataError
        If it was not made by `to_mudata`, is of a newer format, or lacks something.
    """
    mudata: Any = data
    stored = mudata.uns.get(KEY) if hasattr(data, "uns") else None
    if not isinstance(stored, Mapping) or str(stored.get("format")) != FORMAT:
        raise DataError(
            f"it holds no responses of halfmax (uns[{KEY!r}]). Give its modalities as tables to read_dataset, with the "
            "responses: `data.mod['rna'].to_df().to_parquet(…)`."
        )
    if int(stored["format_version"]) > FORMAT_VERSION:
        raise DataError(f"it has format version {stored['format_version']}; this halfmax reads up to {FORMAT_VERSION}.")
    try:
        meta = json.loads(str(stored["meta"]))
        tables = {name: _decode(stored[name], meta["tables"][name]) for name in _TABLES}
        omics = {
            name: _frame(mudata.mod[name], meta["axes"][name]) for name in meta["modalities"] if name in mudata.mod
        }
        drug_features = {
            name: _features(stored["drug_features"][str(i)], meta["axes"][f"drug_features/{name}"])
            for i, name in enumerate(meta["drug_features"])
        }
        in_obs, obs = set(meta["samples_in_obs"]), set(map(str, mudata.obs_names))
        dataset = ResponseDataset(
            meta["name"],
            Measure(*meta["measure"]),
            tables["response"],
            tables["samples"],
            tables["drugs"],
            {},
            drug_features,
            meta["notes"],
        )
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"its uns[{KEY!r}] is damaged ({type(error).__name__}: {error}).") from None
    if gone := in_obs - obs:
        keep = ~dataset.response["sample_id"].isin(gone).to_numpy()
        if not keep.any():
            raise DataError(f"none of its {len(obs)} samples has a response.")
        samples = dataset.samples[~dataset.samples.index.isin(gone)]
        response = dataset.response[keep].reset_index(drop=True)
        dataset = replace(dataset, response=response, samples=samples)
    return replace(dataset, omics=omics)


def write_mudata(dataset: ResponseDataset, path: Path | str) -> Path:
    """Write the dataset as an ``.h5mu`` file, whole or not at all."""
    data: Any = to_mudata(dataset)
    path = Path(path)
    with atomic_file(path) as temporary, _quiet(import_or_say("mudata")):
        data.write_h5mu(temporary)
    return path


def read_mudata(path: Path | str) -> ResponseDataset:
    """Read an ``.h5mu`` file that holds a dataset; raise DataError if it is damaged or not ours."""
    mudata = import_or_say("mudata")
    try:
        with _quiet(mudata):
            data = mudata.read_h5mu(Path(path))
    except Exception as error:  # h5py, anndata and mudata raise many kinds on a damaged file
        raise DataError(f"{path}: it is no MuData file, or a damaged one ({type(error).__name__}: {error}).") from None
    try:
        return from_mudata(data)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


@contextmanager
def _quiet(mudata: ModuleType) -> Iterator[None]:
    """Keep MuData from copying the modalities' columns into each other, and from warning of it."""
    with warnings.catch_warnings(), mudata.set_options(pull_on_update=False):
        warnings.simplefilter("ignore")
        yield


def _var(modality: str, features: pd.Index, *, shared: bool) -> pd.DataFrame:
    names = [str(feature) for feature in features]
    index = pd.Index([f"{modality}:{name}" if shared else name for name in names], dtype=object)
    return pd.DataFrame({"feature": np.array(names, dtype=object)}, index=index)


def _matrices(dataset: ResponseDataset) -> dict[str, pd.DataFrame]:
    return {**dataset.omics, **{f"drug_features/{name}": frame for name, frame in dataset.drug_features.items()}}


def _grid(response: pd.DataFrame, samples: pd.Index, drugs: pd.Index) -> np.ndarray:
    grid = np.full((len(samples), len(drugs)), np.nan)
    rows, columns = (
        axis.get_indexer(pd.Index(response[column])) for axis, column in ((samples, "sample_id"), (drugs, "drug_id"))
    )
    known = (rows >= 0) & (columns >= 0)
    grid[rows[known], columns[known]] = response["value"].to_numpy(dtype=float)[known]
    return grid


def _encode(frame: pd.DataFrame, what: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return a table that HDF5 can hold, and what it takes to make the same table of it again.

    Text with missing cells becomes categorical, which has a place for them; ``/`` in a name would open a group.
    """
    columns: dict[str, Any] = {}
    described: list[list[str]] = []
    for name in frame.columns:
        column, key = frame[name], str(name).replace("%", "%25").replace("/", "%2F")
        dtype = column.dtype
        if isinstance(dtype, pd.CategoricalDtype) or (isinstance(dtype, np.dtype) and dtype.kind in "biuf"):
            columns[key] = column.array
        elif pd.api.types.is_object_dtype(dtype) or pd.api.types.is_string_dtype(dtype):
            missing = column.isna()
            if strange := [value for value in column[~missing].unique() if not isinstance(value, str)]:
                raise DataError(
                    f"the column {name!r} of {what} holds {len(strange)} values that are neither text nor numbers "
                    f"throughout: {examples(strange)}; make it one of them."
                )
            columns[key] = pd.Categorical(column) if missing.any() else column.to_numpy(dtype=object)
        else:
            raise DataError(f"the column {name!r} of {what} holds {dtype}; text, numbers and categories are kept.")
        described.append([key, str(name), "category" if isinstance(dtype, pd.CategoricalDtype) else str(dtype)])
    index = pd.Index(frame.index.astype(str), dtype=object)
    stored = pd.DataFrame(columns, index=index)
    is_range = isinstance(frame.index, pd.RangeIndex)
    return stored, {"columns": described, "index_name": frame.index.name, "is_range": is_range}


def _decode(stored: pd.DataFrame, described: Mapping[str, Any]) -> pd.DataFrame:
    columns: dict[str, Any] = {}
    for key, name, dtype in described["columns"]:
        column = stored[key]
        if dtype == "object":
            columns[name] = np.array([None if pd.isna(text) else text for text in column], dtype=object)
        else:
            columns[name] = column.array if dtype == "category" else column.astype(dtype).array
    index = (
        pd.RangeIndex(len(stored)) if described["is_range"] else pd.Index(list(map(str, stored.index)), dtype=object)
    )
    frame = pd.DataFrame(columns, index=index)
    frame.index.name = described["index_name"]
    return frame


def _frame(mod: Any, names: list[str | None]) -> pd.DataFrame:
    values = mod.X.toarray() if hasattr(mod.X, "toarray") else np.asarray(mod.X)
    index = pd.Index(list(map(str, mod.obs_names)), name=names[0], dtype=object)
    features = list(map(str, mod.var["feature"]))
    return pd.DataFrame(values, index=index, columns=pd.Index(features, name=names[1], dtype=object))


def _features(stored: Mapping[str, Any], names: list[str | None]) -> pd.DataFrame:
    index = pd.Index([str(i) for i in stored["drugs"]], name=names[0], dtype=object)
    columns = pd.Index([str(i) for i in stored["features"]], name=names[1], dtype=object)
    return pd.DataFrame(np.asarray(stored["values"]), index=index, columns=columns)
