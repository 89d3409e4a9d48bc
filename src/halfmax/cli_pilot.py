"""The command on a handful of measurements: which samples or drugs to measure next."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from halfmax.errors import DataError, examples
from halfmax.terminal import check_ending, console, names_of, predictor_folder, say, write_table

if TYPE_CHECKING:
    import pandas as pd

    from halfmax.data.dataset import Measure


def design_pilot(
    predictor: Annotated[Path, typer.Argument(help="A predictor folder, or a run folder that holds one.")],
    drug: Annotated[str | None, typer.Option(help="A new drug: which training samples to measure it on.")] = None,
    sample: Annotated[str | None, typer.Option(help="A new sample: which training drugs to measure it with.")] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="How many measurements to plan.")] = 5,
    measured: Annotated[Path | None, typer.Option(help="What was measured already: sample_id, drug_id, value.")] = None,
    candidates: Annotated[
        str | None, typer.Option(help="Comma-separated ids that can be measured, or a file with one a line.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write .csv, .tsv, .json or .parquet.")] = None,
) -> None:
    """Say what to measure next of a new drug or sample, by expected reduction of the variance of all its values."""
    from halfmax.predictor import Predictor

    if (drug is None) == (sample is None):
        raise DataError("say what is new: --drug NAME for samples to measure it on, or --sample NAME for drugs.")
    check_ending(out)
    loaded = Predictor.load(predictor_folder(predictor))
    panel = loaded.panel("sample" if drug is None else "drug")
    name = str(sample if drug is None else drug)
    done: list[str] = []
    if measured is not None:
        done = _done(read_measured(measured, loaded.measure_), panel.columns, name)
    plan = panel.design(n, measured=done, candidates=names_of(candidates, "--candidates"))
    plan.insert(0, panel.columns[0], name)
    about = f"expected_sd: {loaded.measure_.label}"
    if out is not None:
        write_table(plan, out, about)
        return
    table = Table(*plan.columns[1:], box=None, title=f"{name} · {about}")
    for row in plan.iloc[:, 1:].itertuples(index=False):
        table.add_row(*(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row))
    Console().print(table)


def read_measured(path: Path, measure: Measure) -> pd.DataFrame:
    """Read measured values, one row a pair, in the predictor's measure; say what was found on the way."""
    from halfmax.data.readers.table import read_response

    read = read_response(path, measure=measure)
    say(read.findings)
    if read.measure != measure:
        raise DataError(f"{path} holds {read.measure.label}; this predictor speaks of {measure.label}.")
    return read.frame


def _done(values: pd.DataFrame, columns: tuple[str, str], name: str) -> list[str]:
    """Return the rows that the file has a value of; what it holds of others is said."""
    new, row = columns
    own = values[values[new].astype(str).str.lower() == name.lower()]
    if own.empty:
        raise DataError(f"nothing was measured of {name!r}; the file has {examples(values[new].unique())}.")
    if len(own) < len(values):
        console.print(f"warning: {len(values) - len(own)} values are not of {name}; left out.", style="yellow")
    return list(own.loc[own["value"].notna(), row].astype(str))
