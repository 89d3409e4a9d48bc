"""Answers as JSON or CSV: tables with what they are, what was found, and what they are for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from starlette.responses import Response

from halfmax import RESEARCH_USE
from halfmax.data.findings import Finding
from halfmax.data.tables import escape_formula


def rows_of_table(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a table's rows as plain JSON: what is missing or not finite is null."""
    columns = [_plain(table.iloc[:, i]) for i in range(table.shape[1])]
    names = [str(c) for c in table.columns]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def json_response(content: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return plain JSON with the research-use sentence first."""
    body = json.dumps({"research_use": RESEARCH_USE, **content}, ensure_ascii=False, allow_nan=False)
    return Response(body.encode("utf-8", "backslashreplace"), status, dict(headers or {}), "application/json")


def table_response(
    table: pd.DataFrame, findings: Iterable[Finding], about: Mapping[str, Any], measure: str, *, csv: bool = False
) -> Response:
    """Return a table as JSON rows, or as CSV whose first line says what it is."""
    if csv:
        return Response(csv_text(table, measure), media_type="text/csv; charset=utf-8")
    return json_response(
        {
            "predictor": about,
            "measure": measure,
            "findings": [finding.to_dict() for finding in findings],
            "rows": rows_of_table(table),
        }
    )


def csv_text(table: pd.DataFrame, measure: str) -> bytes:
    """Return CSV that no spreadsheet program takes for formulas."""
    text = escape_formula(table).to_csv(index=False, float_format="%.6g")
    return f"# {RESEARCH_USE} {measure}\n{text}".encode("utf-8", "backslashreplace")


def _plain(column: pd.Series) -> list[Any]:
    if column.dtype.kind == "f":
        values = column.to_numpy(dtype=np.float64)
        return [v if ok else None for v, ok in zip(values.tolist(), np.isfinite(values).tolist(), strict=True)]
    if column.dtype.kind in "iub":
        return column.tolist()
    return [None if missing else _text(v) for v, missing in zip(column.tolist(), column.isna().tolist(), strict=True)]


def _text(value: object) -> object:
    return value if isinstance(value, (str, bool, int, float)) else str(value)
