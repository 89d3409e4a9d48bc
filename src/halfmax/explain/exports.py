"""What of an explanation is written down: JSON, tables, text, each with its unit, background, gap and limits of use."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from halfmax import RESEARCH_USE
from halfmax.data.storage import atomic_file
from halfmax.data.tables import escape_formula
from halfmax.errors import DataError
from halfmax.explain.explanation import Explanation
from halfmax.explain.groups import Groups

#: What an attribution is not; stands in every export.
CAUTION = (
    "Attributions describe the model, not the biology: correlated genes share or take each other's credit, and tissue "
    "is behind many of them."
)
WRITTEN = (".csv", ".tsv", ".json", ".parquet", ".svg")


def about(found: Explanation) -> dict[str, Any]:
    """Return what every export says beside its numbers."""
    gap = float(found.gap.max(initial=0))
    return {
        "research_use": RESEARCH_USE,
        "measure": found.measure.label,
        "method": found.method,
        "explained": "prediction less the drug's mean prediction over the background",
        "background": dict(found.background),
        "additivity_gap": float(f"{gap:.3g}"),
        "caution": CAUTION,
        "findings": [finding.to_dict() for finding in found.findings],
    }


def to_dict(found: Explanation, *, top: int | None = 20, groups: Groups | None = None) -> dict[str, Any]:
    """Return an explanation as plain JSON, a record a pair, with the sum kept exact in each of its tables."""
    pairs = []
    summary = found.summary().to_dict("records")
    for row in summary:
        sample, drug = str(row["sample_id"]), str(row["drug_id"])
        tables = {"features": found.genes(sample, drug, top), "modalities": found.modalities(sample, drug)}
        if groups is not None:
            tables["pathways"] = found.pathways(sample, drug, groups)
        pairs.append(_plain(row) | {name: [_plain(r) for r in t.to_dict("records")] for name, t in tables.items()})
    return about(found) | {"pairs": pairs}


def write(found: Explanation, path: Path, *, top: int | None = 20, groups: Groups | None = None) -> None:
    """Write an explanation as its file's ending says: .csv, .tsv, .json, .parquet or .svg (of one pair).

    Raises
    ------
    DataError
        If the ending is another, or a picture is asked of several pairs.
    """
    if path.suffix not in WRITTEN:
        raise DataError(f"{path}: the ending is {', '.join(WRITTEN)}.")
    table = found.frame(top) if path.suffix not in (".json", ".svg") else pd.DataFrame()
    with atomic_file(path) as temporary:
        if path.suffix == ".json":
            text = json.dumps(to_dict(found, top=top, groups=groups), ensure_ascii=False, indent=1, allow_nan=False)
            temporary.write_text(text, encoding="utf-8")
        elif path.suffix == ".svg":
            from halfmax.explain.pictures import waterfall

            if found.prediction.size != 1:
                raise DataError(f"a picture shows one pair, and there are {found.prediction.size}; name one.")
            temporary.write_text(waterfall(found, found.sample_ids[0], found.drug_ids[0], top or 20), encoding="utf-8")
        elif path.suffix == ".parquet":
            told = about(found)
            table.assign(
                research_use=RESEARCH_USE,
                measure=told["measure"],
                background_sha256=found.background["sha256"],
                additivity_gap=told["additivity_gap"],
            ).to_parquet(temporary, index=False)
        else:
            separator = "\t" if path.suffix == ".tsv" else ","
            body = escape_formula(table).to_csv(index=False, sep=separator, float_format="%.6g")
            temporary.write_text("\n".join(f"# {line}" for line in heading(found)) + f"\n{body}", encoding="utf-8")


def heading(found: Explanation) -> list[str]:
    """Return the lines that stand above a table."""
    told = about(found)
    tissue = "" if found.background["tissue"] is None else f" of {found.background['tissue']}"
    return [
        RESEARCH_USE,
        f"attribution: {told['measure']}; {told['explained']}",
        f"method: {told['method']}; additivity gap {told['additivity_gap']:.1e}",
        f"background: {found.background['samples']} training samples{tissue}, sha256 {found.background['sha256']}",
        CAUTION,
    ]


def text(found: Explanation, sample: str, drug: str, *, top: int = 10, groups: Groups | None = None) -> str:
    """Return why a pair is predicted as it is, in words and columns."""
    i, j = found.at(sample, drug)
    unit = found.measure.unit
    higher = found.measure.higher_is_sensitive
    step = float(found.difference[i, j])
    side = "more sensitive" if (step > 0) == higher else "more resistant"
    lines = [
        f"{found.sample_ids[i]} × {found.drug_ids[j]}: {found.prediction[i, j]:.3f} {unit}, {step:+.3f} against the "
        f"background's mean of {found.base[j]:.3f}: predicted {side} than the average line.",
        "",
        *_columns(found.genes(sample, drug, top)),
        "",
        *_columns(found.modalities(sample, drug)),
    ]
    if groups is not None:
        lines += ["", *_columns(found.pathways(sample, drug, groups))]
    return "\n".join([*lines, "", *heading(found)])


def _columns(table: pd.DataFrame) -> Sequence[str]:
    shown = table.copy()
    for name in shown.columns:
        if shown[name].dtype.kind == "f":
            sign = "+" if name not in ("input", "sd") else ""
            shown[name] = [f"{v:{sign}.3f}" if np.isfinite(v) else "" for v in shown[name]]
    if "imputed" in shown:
        shown["imputed"] = np.where(shown["imputed"], "filled in", "")
    return shown.to_string(index=False).splitlines()


def _plain(row: dict[Any, Any]) -> dict[str, Any]:
    """Return a record of Python's own types, None in place of what is not a number."""
    out: dict[str, Any] = {}
    for key, value in row.items():
        item = value.item() if isinstance(value, np.generic) else value
        out[str(key)] = None if isinstance(item, float) and not np.isfinite(item) else item
    return out
