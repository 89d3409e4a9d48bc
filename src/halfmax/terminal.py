"""What commands say and write: messages and progress to standard error, results to standard output or a file."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from halfmax import RESEARCH_USE
from halfmax.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

    from halfmax.data.findings import Finding

#: Endings of the tables that commands write.
WRITTEN = (".csv", ".tsv", ".json", ".parquet")

console = Console(stderr=True, highlight=False)


def say(findings: Iterable[Finding]) -> None:
    """Print findings, coloured by their level."""
    styles = {"info": "dim", "warning": "yellow", "error": "red"}
    for finding in findings:
        console.print(f"{finding.level}: {finding.message}", style=styles[finding.level], markup=False, soft_wrap=True)


@contextmanager
def download_bars() -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar for each file or task while the block runs."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, TaskID] = {}

        def show(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total)
            bars.update(tasks[name], completed=done, total=total)

        yield show


def predictor_folder(folder: Path) -> Path:
    """Return the predictor's folder, given it or a run's folder that holds one."""
    return folder / "predictor" if (folder / "predictor").is_dir() else folder


def names_of(given: str | None, option: str) -> list[str] | None:
    """Return names separated by commas, or the lines of a file; None where the option was not given."""
    if given is None:
        return None
    path = Path(given)
    text = path.read_text(encoding="utf-8").splitlines() if path.is_file() else given.split(",")
    names = [line.strip() for line in text if line.strip()]
    if not names:
        raise DataError(f"{option} {given!r} holds no name.")
    return names


def check_ending(out: Path | None) -> None:
    """Raise DataError if no table is written to a file of this ending."""
    if out is not None and out.suffix not in WRITTEN:
        raise DataError(f"--out {out}: the ending is {', '.join(WRITTEN)}.")


def write_table(table: pd.DataFrame, out: Path | None, about: str) -> None:
    """Write a table to a file by its ending, or as CSV to standard output, with what it is and what it is for.

    Parameters
    ----------
    about
        What the numbers are, such as ``prediction: ln_ic50 [ln µM]``.
    """
    from halfmax.data.storage import atomic_file
    from halfmax.data.tables import escape_formula

    if out is None:
        sys.stdout.write(f"# {RESEARCH_USE} {about}\n")
        escape_formula(table).to_csv(sys.stdout, index=False, float_format="%.4f")
        return
    what, _, value = about.partition(": ")
    with atomic_file(out) as path:
        if out.suffix == ".parquet":
            table.assign(research_use=RESEARCH_USE).to_parquet(path, index=False)
        elif out.suffix == ".json":
            rows = json.loads(table.to_json(orient="records", double_precision=6))
            content = {"research_use": RESEARCH_USE, what: value, "rows": rows}
            path.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")
        else:
            text = escape_formula(table).to_csv(
                index=False, sep="\t" if out.suffix == ".tsv" else ",", float_format="%.6g"
            )
            path.write_text(f"# {RESEARCH_USE} {about}\n{text}", encoding="utf-8")
    console.print(f"{len(table)} rows written to {out}", markup=False)
