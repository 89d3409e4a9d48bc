"""The commands on data: list, fetch and describe datasets, inspect files, build a dataset from them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from halfmax.errors import DataError, UnknownNameError, did_you_mean
from halfmax.terminal import console, download_bars

if TYPE_CHECKING:
    from halfmax.data.dataset import ResponseDataset

data_app = typer.Typer(
    help="List, fetch and describe datasets; inspect files and build datasets.", no_args_is_help=True
)


@data_app.command("list")
def data_list() -> None:
    """List the embedded datasets, and the official files that can be fetched."""
    from halfmax.data.readers.embedded import list_datasets
    from halfmax.data.sources import list_sources

    table = Table("dataset", "measures", "about", "here", box=None)
    for entry in list_datasets():
        table.add_row(entry["name"], ", ".join(entry["measures"]), entry["about"], "yes" if entry["cached"] else "no")
    files = Table("file", "provider", "about", "here", box=None)
    for entry in list_sources():
        if not entry["name"].startswith(("tcga-", "xena-")):
            files.add_row(entry["name"], entry["provider"], entry["title"], "yes" if entry["cached"] else "no")
    for name in ("tcga-star-counts", "tcga-maf", "tcga-clinical-drug", "xena-expression", "xena-tpm", "xena-clinical"):
        files.add_row(f"{name}-COHORT", "TCGA", "of one of the 33 cohorts, such as BRCA", "")
    Console().print(table)
    Console().print(files)


@data_app.command("get")
def data_get(
    name: str,
    measure: Annotated[str, typer.Option(help="Of an embedded dataset: ln_ic50 or auc.")] = "ln_ic50",
    accept_terms: Annotated[bool, typer.Option(help="The provider's terms were read and are accepted.")] = False,
    renew: Annotated[bool, typer.Option(help="Fetch an official file again, and trust what comes.")] = False,
) -> None:
    """Fetch an embedded dataset and convert it once, or an official file as its provider has it."""
    from halfmax.data.readers import embedded
    from halfmax.data.sources import fetch

    about = _describe(name)
    console.print(f"licence: {about['licence']}", markup=False, soft_wrap=True)
    with download_bars() as show:
        if name in _embedded():
            dataset = embedded.load(name, measure, progress=show)
        else:
            if about["address_note"]:
                console.print(about["address_note"], style="yellow", markup=False, soft_wrap=True)
            place = fetch(
                name, accept_terms=accept_terms, renew=renew, progress=lambda done, total: show(name, done, total)
            )
    if name in _embedded():
        size = f"{len(dataset.samples)} samples × {len(dataset.drugs)} drugs, {dataset.n_pairs:,} responses"
        console.print(f"{name}: {size}.", markup=False)
    else:
        console.print(f"{place}\nNext: halfmax data inspect {place}", markup=False, soft_wrap=True)


@data_app.command("show")
def data_show(name: str) -> None:
    """Say what a dataset or official file is, where it comes from, its licence and how to cite it."""
    Console().print_json(json.dumps(_describe(name), ensure_ascii=False, default=str))


def _embedded() -> list[str]:
    from halfmax.data.readers.embedded import list_datasets

    return [entry["name"] for entry in list_datasets()]


def _describe(name: str) -> dict[str, Any]:
    from halfmax.data.readers import embedded
    from halfmax.data.sources import describe, sources

    if name in _embedded():
        return embedded.describe(name)
    known = [*_embedded(), *sources()]
    if name not in known:
        raise UnknownNameError(f"Unknown dataset {name!r}.{did_you_mean(name, known)} `halfmax data list` lists them.")
    return describe(name)


@data_app.command("inspect")
def data_inspect(
    file: Annotated[Path, typer.Argument(help="A file or folder.")],
    kind: Annotated[str | None, typer.Option(help="Read it as this kind, or a matrix of this modality.")] = None,
    measure: Annotated[str | None, typer.Option(help="Which quantity of response, where it has several.")] = None,
    unit: Annotated[
        str | None, typer.Option(help="Unit of its responses or expression, where it is not plain.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what a file is: kind, units, orientation, genes that match, what is wrong and what to do.

    The exit status is 2 where the file cannot be used as it is.
    """
    from halfmax.data.inspect import inspect_file, summary

    told = inspect_file(file, kind, measure=measure, unit=unit)
    if as_json:
        Console().print_json(json.dumps(told.to_dict(), ensure_ascii=False))
    else:
        table = _folding("what", "found")
        table.show_header = False
        styles = {"warning": "yellow", "error": "red", "wrong": "red", "to do": "bold"}
        for what, text in summary(told):
            table.add_row(what, _plain(text), style=styles.get(what))
        Console().print(table)
    if told.problem is not None:
        raise typer.Exit(2)


@data_app.command("build")
def data_build(
    files: Annotated[list[Path], typer.Option("--from", help="A file or folder; any number of times.")],
    out: Annotated[Path, typer.Option(help="Dataset folder to write.")],
    kind: Annotated[list[str] | None, typer.Option(help="FILE=KIND, or FILE=MODALITY for a matrix.")] = None,
    option: Annotated[list[str] | None, typer.Option(help="FILE:NAME=VALUE, an option of its reader.")] = None,
    measure: Annotated[str | None, typer.Option(help="Which quantity of response, where there are several.")] = None,
    unit: Annotated[list[str] | None, typer.Option(help="Unit of the responses, and of the expression.")] = None,
    sample_id: Annotated[str, typer.Option(help="What becomes the sample id: name, ach, sidm, cosmic, rrid.")] = "name",
    drug_id: Annotated[str, typer.Option(help="What becomes the drug id: name, inchi_key, gdsc_id, pubchem.")] = "name",
    same: Annotated[list[str] | None, typer.Option(help="GIVEN=ID: what an ambiguous id of a file means.")] = None,
    drop_ambiguous: Annotated[bool, typer.Option(help="Leave ambiguous ids out, counted.")] = False,
    known_lines: Annotated[bool, typer.Option(help="Also use the names of the embedded table of cell lines.")] = False,
    name: Annotated[str | None, typer.Option(help="Name of the dataset.")] = None,
) -> None:
    """Make a dataset folder from any mix of files, and say what was recognised, converted and lost.

    Of files that say the same of a sample or drug, the first counts.
    """
    from halfmax.data.build import build_dataset
    from halfmax.data.readers.embedded_lines import read_embedded_lines

    units = _units(unit or ())
    names_from = {}
    if known_lines:
        with download_bars() as show:
            names_from["embedded cell lines"] = read_embedded_lines(show)
    dataset = build_dataset(
        files,
        kinds=_pairs(kind or (), "--kind"),
        options=_reader_options(option or ()),
        name=name,
        measure=measure,
        unit=units.get("response"),
        expression_unit=units.get("expression"),
        sample_ids=sample_id,
        drug_ids=drug_id,
        same=_pairs(same or (), "--same"),
        drop_ambiguous=drop_ambiguous,
        names_from=names_from,
    )
    dataset.save(out)
    _print_build(dataset)
    console.print(f"dataset    {out}", markup=False)


def _pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    """Return LEFT=RIGHT texts as a mapping; the last = counts, so that a file's name may hold one."""
    wrong = [text for text in texts if not all(text.rpartition("="))]
    if wrong:
        raise DataError(f"{option} {wrong[0]!r} is not of the form LEFT=RIGHT.")
    return {left: right for left, _, right in (text.rpartition("=") for text in texts)}


def _reader_options(texts: Sequence[str]) -> dict[str, dict[str, object]]:
    """Return FILE:NAME=VALUE texts by file; true and false are no text, and commas part several values."""
    options: dict[str, dict[str, object]] = {}
    for left, value in _pairs(texts, "--option").items():
        file, mark, name = left.rpartition(":")
        if not (file and mark and name):
            raise DataError(f"--option '{left}={value}' is not of the form FILE:NAME=VALUE.")
        several = tuple(value.split(",")) if "," in value else value
        options.setdefault(file, {})[name] = {"true": True, "false": False}.get(value.lower(), several)
    return options


def _units(texts: Sequence[str]) -> dict[str, str]:
    """Return units by what they are units of."""
    from halfmax.data.units import EXPRESSION_UNITS, RESPONSE_UNITS

    units: dict[str, str] = {}
    for text in texts:
        if text not in EXPRESSION_UNITS and text not in RESPONSE_UNITS:
            known = [*RESPONSE_UNITS, *EXPRESSION_UNITS]
            raise UnknownNameError(f"there is no unit {text!r}.{did_you_mean(text, known)} Units: {', '.join(known)}.")
        units["response" if text in RESPONSE_UNITS else "expression"] = text
    return units


def _print_build(dataset: ResponseDataset) -> None:
    """Print what each file was taken for, how ids were matched, and what was left out."""
    notes: dict[str, Any] = dict(dataset.notes)
    screen = Console()
    table = _folding("file", "read as", "holds", "samples matched", "drugs matched")
    for file, about in notes["files"].items():
        matched = [_matched(notes["mapping"][side].get(file)) for side in ("samples", "drugs")]
        table.add_row(_plain(file), about["kind"], _plain("\n".join(about["parts"])), *matched)
    screen.print(table)
    if notes["lost"]:
        table = _folding("file", "left out because", "rows", "e.g.")
        for row in notes["lost"]:
            table.add_row(
                _plain(row["file"]), row["cause"], f"{row['n_rows']:,}", _plain(", ".join(row["examples"][:3]))
            )
        screen.print(table)
    for finding in notes["findings"]:
        if finding["level"] != "info":
            console.print(f"{finding['level']}: {finding['message']}", style="yellow", markup=False, soft_wrap=True)
    sizes = ", ".join(f"{m} {len(f):,} × {f.shape[1]:,}" for m, f in dataset.omics.items())
    console.print(
        f"{dataset.name}: {dataset.n_pairs:,} responses [{dataset.measure.label}] of {len(dataset.samples):,} samples "
        f"to {len(dataset.drugs):,} drugs{'; ' if sizes else ''}{sizes}",
        markup=False,
    )


def _folding(*columns: str) -> Table:
    """Return a table that breaks long cells instead of cutting them."""
    table = Table(box=None)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _matched(report: Mapping[str, Any] | None) -> str:
    if report is None:
        return ""
    new = report.get("new", [])
    return f"{report['matched'] + len(new):,} of {report['given']:,}"


def _plain(text: str) -> str:
    """Return a text in which the terminal sees no markup."""
    from rich.markup import escape

    return escape(text)
