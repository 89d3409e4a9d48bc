"""The GDSC tables inside the two packages: bytes of their data files in, frames with one name a line out."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from halfmax.data.cell_lines import CELL_LINE_ALIASES, DRUG_ALIASES, Owner, match_names, normalise_name
from halfmax.data.safe_pickle import loads
from halfmax.errors import DataError, examples

UNKNOWN = "unknown"
#: Measure to the suffix of its file and the column of its values.
MEASURE_COLUMNS: Mapping[str, tuple[str, str]] = {"ln_ic50": ("IC50", "LN_IC50"), "auc": ("AUC", "AUC")}
#: Modality to its file, and how its numbers are kept.
OMICS: Mapping[str, tuple[str, str]] = {
    "expression": ("GDSC_EXP.pkl", "float32"),
    "mutation": ("GDSC_MUT.pkl", "int8"),
    "copy_number": ("GDSC_CNV.pkl", "int8"),
}

#: Whose the entries are that two lines could claim, as the wheel's tables keep names without punctuation. Each was
#: compared with the genome-wide matrices that GDSC published under COSMIC ids; r is the correlation over the genes.
_OWNERS: Mapping[str, Mapping[str, Owner]] = {
    "expression": {
        "KMH2": Owner("KM-H2", "the profile is that of KM-H2 (r = 0.96 with its array); none was measured of KMH-2"),
        "TT": Owner("TT", "the profile is that of TT, a thyroid carcinoma (r = 0.97 with its array, 0.59 with T-T's)"),
    },
    "mutation": {
        "KMH2": Owner("KM-H2", "the mutations are those of KM-H2 (r = 0.68, any other line below 0.10)"),
        "TT": Owner("T-T", "the mutations are those of T-T, an oesophageal carcinoma (r = 0.55; TT 0.06)"),
    },
    "copy_number": {
        "KMH2": Owner("KM-H2", "the copy numbers are those of KM-H2 (r = 0.77, any other line below 0.26)"),
        "TT": Owner("TT", "the copy numbers are those of TT, a thyroid carcinoma (r = 0.84; T-T 0.25)"),
    },
}
_NOT_MEASURED = "COSMIC lists no expression array of this line"
#: The archive's tissue descriptor 1 lumps these; its table of events splits them by descriptor 2.
_LUMPED = ("digestive_system", "urogenital_system")
_RESPELT = {"Bladder": "bladder", "Lung_other": "lung_other"}


def read_rows(data: bytes, measure: str) -> pd.DataFrame:
    """Return sample_id, drug_id and value of every row of a screen's table, in its order."""
    column = MEASURE_COLUMNS[measure][1]
    table = _read_csv(data, ("CELL_LINE_NAME", "DRUG_NAME", column))
    value = pd.to_numeric(table[column], errors="coerce").astype(float)
    if (bad := ~np.isfinite(value.to_numpy())).any():
        found = examples(table.loc[bad, column])
        raise DataError(f"{int(bad.sum())} of {len(bad)} {column} values are not finite numbers, e.g. {found}.")
    ids = {"sample_id": table["CELL_LINE_NAME"].str.strip(), "drug_id": table["DRUG_NAME"].str.strip()}
    return pd.DataFrame(ids | {"value": value})


def average(rows: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, object]]:
    """Return one row a (sample, drug) pair, sorted, and counts of what was averaged.

    Repeats of a pair are screens of the same drug under a second number; their mean is kept, and their spread is the
    assay's own noise.
    """
    groups = rows.groupby(["sample_id", "drug_id"], sort=True)["value"]
    stats = groups.agg(["mean", "size", "var"]).reset_index()
    repeated = stats[stats["size"] > 1]
    counts: dict[str, object] = {
        "rows": len(rows),
        "pairs": len(stats),
        "pairs_measured_more_than_once": len(repeated),
        "rows_averaged_away": len(rows) - len(stats),
        "drugs_measured_more_than_once": sorted(repeated["drug_id"].unique().tolist()),
    }
    if len(repeated):
        counts["sd_of_repeats"] = float(np.sqrt(np.average(repeated["var"], weights=repeated["size"] - 1)))
    return stats[["sample_id", "drug_id"]].assign(value=stats["mean"]), counts


def read_omics(
    data: bytes, modality: str, lines: Sequence[str], genes: Sequence[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return a samples × genes frame for the lines that have one, and how each line was matched."""
    file, dtype = OMICS[modality]
    table = loads(data, file)
    if not isinstance(table, dict) or not all(isinstance(k, str) for k in table):
        raise DataError(f"{file} does not hold one profile a cell line.")
    matches = match_names(lines, table, aliases=CELL_LINE_ALIASES, owners=_OWNERS[modality])
    found = matches.dropna(subset=["entry"])
    odd = [entry for entry in found["entry"] if len(table[entry]) != len(genes)]
    if odd:
        raise DataError(f"{len(odd)} profiles of {file} do not have {len(genes)} genes, e.g. {examples(odd)}.")
    rows = np.empty((len(found), len(genes)), dtype=dtype)
    for i, entry in enumerate(found["entry"]):
        rows[i] = table[entry]
    if dtype == "float32" and not np.isfinite(rows).all():
        raise DataError(f"{int((~np.isfinite(rows)).sum())} values of {file} are not finite numbers.")
    return pd.DataFrame(rows, index=_index(found["name"], "sample_id"), columns=list(genes)), matches


def read_samples(data: bytes, lines: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return cosmic_id, cancer_type, msi, tcga and two descriptors of each line, and how each was matched.

    The table's columns GDSC1 and GDSC2 are GDSC's tissue descriptors 1 and 2, not the two screens.
    """
    table = _read_csv(data, ("SAMPLE_NAME", "COSMIC_ID", "GENE_EXPRESSION", "GDSC1", "GDSC2", "TCGA", "MMR"))
    table = table.set_index("SAMPLE_NAME")
    matches = match_names(lines, table.index, aliases=CELL_LINE_ALIASES)
    rows = table.reindex(matches["entry"]).fillna("").set_axis(_index(matches["name"], "sample_id"))
    samples = pd.DataFrame(
        {
            "cosmic_id": rows["COSMIC_ID"],
            "tissue": _tidy(rows["GDSC1"].where(~rows["GDSC1"].isin(_LUMPED), rows["GDSC2"])),
            "cancer_type": _tidy(rows["GDSC2"]),
            "msi": _tidy(rows["MMR"]),
            "tcga": _tidy(rows["TCGA"].replace("UNABLE TO CLASSIFY", "")),
            "has_array": rows["GENE_EXPRESSION"] == "1",
        }
    )
    return samples, matches


def read_events(data: bytes, samples: pd.DataFrame) -> tuple[pd.DataFrame, pd.Series]:
    """Return mutated drivers and gained or lost segments (0/1) of the lines that COSMIC knows, and their tissue."""
    table = _read_csv(data, ("COSMIC_ID", "TISSUE_FACTOR")).set_index("COSMIC_ID")
    known = samples["cosmic_id"][samples["cosmic_id"].isin(table.index)]
    rows = table.loc[known].set_axis(_index(known.index, "sample_id"))
    events = rows.drop(columns=["TISSUE_FACTOR", "MSI_FACTOR"]).astype("int8")
    return events, _tidy(rows["TISSUE_FACTOR"])


def read_drugs(data: bytes, drugs: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return name and SMILES (None where unknown) of each drug, and how each was matched."""
    table = loads(data, "SMILES_dict.pkl")
    if not isinstance(table, dict) or not all(isinstance(t, str) for pair in table.items() for t in pair):
        raise DataError("SMILES_dict.pkl does not map names to SMILES.")
    by_name = _one_spelling({str(k): str(v) for k, v in table.items()})
    matches = match_names(drugs, by_name, aliases=DRUG_ALIASES)
    smiles = [by_name.get(entry) if entry else None for entry in matches["entry"]]
    frame = pd.DataFrame({"name": list(drugs), "smiles": pd.Series(smiles, dtype=object)})
    return frame.set_axis(_index(drugs, "drug_id")), matches


def explain_missing_expression(matches: pd.DataFrame, samples: pd.DataFrame) -> pd.DataFrame:
    """Return `matches` with the reason COSMIC gives for a line without expression."""
    absent = matches["name"].map(~samples["has_array"]).astype(bool) & (matches["how"] == "none")
    return matches.assign(why=matches["why"].mask(absent, _NOT_MEASURED))


def _one_spelling(smiles: Mapping[str, str]) -> dict[str, str]:
    """Keep every name; add nothing. Spellings of one key must carry one structure, or the file contradicts itself."""
    by_key: dict[str, set[str]] = {}
    for name, structure in smiles.items():
        by_key.setdefault(normalise_name(name), set()).add(structure)
    if clash := [key for key, structures in by_key.items() if len(structures) > 1]:
        raise DataError(f"{len(clash)} drugs have two structures in SMILES_dict.pkl, e.g. {examples(clash)}.")
    return dict(smiles)


def _read_csv(data: bytes, needed: Sequence[str]) -> pd.DataFrame:
    table = pd.read_csv(io.BytesIO(data), dtype=str, keep_default_na=False, encoding="utf-8")
    if missing := [c for c in needed if c not in table.columns]:
        raise DataError(f"a table of the package lacks {examples(missing)}; it has {examples(table.columns, 6)}.")
    return table


def _tidy(labels: pd.Series) -> pd.Series:
    return labels.replace(_RESPELT).str.replace(" ", "_").replace("", UNKNOWN)


def _index(names: Sequence[str] | pd.Series | pd.Index, name: str) -> pd.Index:
    return pd.Index(list(names), name=name)
