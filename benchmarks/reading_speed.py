"""How long a GDSC workbook of full size takes to read, beside pandas' readers, in one run.

The workbook is made up: 240,000 rows × 19 columns in the layout of GDSC2_fitted_dose_response, 970 lines × 295 drugs,
written as Excel writes it. Figures are CPU seconds of this process.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import RESULTS, machine, now, peak_memory_mb, set_threads

if TYPE_CHECKING:
    import pandas as pd

N_ROWS, N_LINES, N_DRUGS = 240_000, 970, 295
BAR_S = 20.0
_XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_RELS = "http://schemas.openxmlformats.org/package/2006/relationships"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_TYPES = "application/vnd.openxmlformats-officedocument.spreadsheetml"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--section", choices=["xlsx"], default="xlsx")
    parser.add_argument("--rows", type=int, default=N_ROWS)
    parser.add_argument("--without", nargs="*", default=[], help="readers to leave out, such as pandas_openpyxl")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    set_threads(1)

    from halfmax.data.storage import write_json

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "GDSC2_fitted_dose_response.xlsx"
        write_workbook(path, fitted(args.rows))
        report: dict[str, Any] = {"run": now(), "machine": machine(), "rows": args.rows, "bytes": path.stat().st_size}
        report["cpu_s"] = {}
        for name, read in readers(path).items():
            if name in args.without:
                continue
            seconds = cpu_seconds(read)
            report["cpu_s"][name] = seconds
            print(f"{name}: {'not installed' if seconds is None else f'{seconds:.1f} s of CPU'}", flush=True)
        ours = report["cpu_s"]["halfmax_reading"]
        report["bar_s"], report["bar_met"] = BAR_S, ours <= BAR_S
        report["ratio_to"] = {k: round(v / ours, 2) for k, v in report["cpu_s"].items() if v and k != "halfmax_reading"}
        report["peak_rss_mb"] = peak_memory_mb()
        print(f"bar of {BAR_S:g} s {'met' if report['bar_met'] else 'NOT MET'}; times ours: {report['ratio_to']}")
    args.out.mkdir(parents=True, exist_ok=True)
    write_json(args.out / "reading_speed_xlsx.json", report)


def readers(path: Path) -> dict[str, Callable[[], object]]:
    """Return what is compared: the whole reading with its checks, its table alone, and pandas with both libraries."""
    import pandas as pd

    from halfmax.data.readers.kinds import read_any
    from halfmax.data.tables import read_table

    return {
        "halfmax_reading": lambda: read_any(path),
        "halfmax_table": lambda: read_table(path),
        "pandas_calamine": lambda: pd.read_excel(path, engine="calamine"),
        "pandas_openpyxl": lambda: pd.read_excel(path, engine="openpyxl"),
    }


def cpu_seconds(read: Callable[[], object]) -> float | None:
    """Return the CPU time of one call, or None where its library is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = time.process_time()
        try:
            read()
        except ImportError:
            return None
        return round(time.process_time() - start, 2)


def fitted(n_rows: int) -> pd.DataFrame:
    """Return a made-up screen in GDSC's layout."""
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(0)
    pair = np.arange(n_rows)
    line, drug = pair // N_DRUGS % N_LINES, pair % N_DRUGS
    return pd.DataFrame(
        {
            "DATASET": "GDSC2",
            "NLME_RESULT_ID": 343,
            "NLME_CURVE_ID": 15_946_310 + pair,
            "COSMIC_ID": 683_665 + line,
            "CELL_LINE_NAME": pd.Series(line).map("LINE-{}".format),
            "SANGER_MODEL_ID": pd.Series(line).map("SIDM{:05d}".format),
            "TCGA_DESC": pd.Series(line % 30).map("TYPE{}".format),
            "DRUG_ID": 1003 + drug,
            "DRUG_NAME": pd.Series(drug).map("Drug {}".format),
            "PUTATIVE_TARGET": pd.Series(drug).map("TARGET{0}, TARGET{0}B".format),
            "PATHWAY_NAME": pd.Series(drug % 24).map("Pathway {}".format),
            "COMPANY_ID": 1046,
            "WEBRELEASE": "Y",
            "MIN_CONC": 0.010005,
            "MAX_CONC": 10.0,
            "LN_IC50": rng.normal(2.8, 2.7, n_rows).round(6),
            "AUC": rng.uniform(0.2, 1, n_rows).round(6),
            "RMSE": rng.uniform(0, 0.3, n_rows).round(6),
            "Z_SCORE": rng.normal(0, 1, n_rows).round(6),
        }
    )


def write_workbook(path: Path, frame: pd.DataFrame) -> None:
    """Write a sheet as Excel does, texts in a shared table; openpyxl would take minutes."""
    import pandas as pd

    shared: dict[str, int] = {}
    columns = []
    for place, name in enumerate(frame.columns):
        letter, column = chr(65 + place), frame[name]
        top = f'<c r="{letter}1" t="s"><v>{shared.setdefault(str(name), len(shared))}</v></c>'
        is_number = pd.api.types.is_numeric_dtype(column.dtype)
        values = column.tolist() if is_number else [shared.setdefault(t, len(shared)) for t in column]
        kind = "" if is_number else ' t="s"'
        columns.append([top, *(f'<c r="{letter}{row}"{kind}><v>{v}</v></c>' for row, v in enumerate(values, start=2))])
    rows = (f'<row r="{number}">{"".join(cells)}</row>' for number, cells in enumerate(zip(*columns, strict=True), 1))
    strings = "".join(f"<si><t>{text}</t></si>" for text in shared)
    kinds = (
        ("xl/workbook.xml", "sheet.main"),
        ("xl/worksheets/sheet1.xml", "worksheet"),
        ("xl/sharedStrings.xml", "sharedStrings"),
    )
    types = "".join(f'<Override PartName="/{part}" ContentType="{_TYPES}.{kind}+xml"/>' for part, kind in kinds)
    book = '<sheets><sheet name="Sheet 1" sheetId="1" r:id="rId1"/></sheets>'
    parts = {
        "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default '
        'Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        + types
        + "</Types>",
        "_rels/.rels": _relations(("officeDocument", "xl/workbook.xml")),
        "xl/workbook.xml": f'<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}">{book}</workbook>',
        "xl/_rels/workbook.xml.rels": _relations(
            ("worksheet", "worksheets/sheet1.xml"), ("sharedStrings", "sharedStrings.xml")
        ),
        "xl/sharedStrings.xml": f'<sst xmlns="{_MAIN}">{strings}</sst>',
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{_MAIN}"><sheetData>{"".join(rows)}</sheetData></worksheet>',
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in parts.items():
            archive.writestr(name, _XML + part)


def _relations(*targets: tuple[str, str]) -> str:
    each = (f'<Relationship Id="rId{i}" Type="{_OFFICE}/{k}" Target="{t}"/>' for i, (k, t) in enumerate(targets, 1))
    return f'<Relationships xmlns="{_RELS}">{"".join(each)}</Relationships>'


if __name__ == "__main__":
    main()
