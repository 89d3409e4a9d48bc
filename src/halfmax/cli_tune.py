"""The command `tune`: search hyper-parameters on inner folds, and go on where a search was cut off."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from halfmax import RESEARCH_USE
from halfmax.terminal import console, download_bars, run_progress

if TYPE_CHECKING:
    from halfmax.tune.result import Tuning


def tune(
    config: Annotated[Path | None, typer.Argument(help="A TOML file as for run, with [tune].")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="section.key=value, as in run.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="A model to tune, any number of times.")] = None,
    search: Annotated[str | None, typer.Option(help="tpe, gp, random or grid.")] = None,
    trials: Annotated[int | None, typer.Option(help="Trials of each model on each outer fold.")] = None,
    inner: Annotated[int | None, typer.Option(help="Inner folds.")] = None,
    metric: Annotated[str | None, typer.Option(help="What is searched for, e.g. rmse.")] = None,
    nested: Annotated[bool, typer.Option("--nested", help="Tune on every outer fold, score each once.")] = False,
    prune: Annotated[str | None, typer.Option(help="none, asha or hyperband: stop trials that are behind.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes, one thread each.")] = None,
    storage: Annotated[str | None, typer.Option(help="postgresql://…, for searches on several machines.")] = None,
    protocol: Annotated[str | None, typer.Option(help="LPO, LCO, LDO or LTO: what is left out.")] = None,
    data: Annotated[str | None, typer.Option(help="An embedded dataset, or a dataset folder.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run, and of its studies.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write; runs/NAME-tuning by default.")] = None,
    fresh: Annotated[bool, typer.Option(help="Forget the studies that there are.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Search hyper-parameters: the same folds and number of trials for every model, kept in a database.

    A search that was cut off goes on when the same command is given again; with more --trials it is extended.
    """
    from halfmax.run import load_data
    from halfmax.tune.search import tune as search_all
    from halfmax.tune.settings import read_plan

    options: dict[str, Any] = {
        "tune__models": [part.strip() for text in model for part in text.split(",") if part.strip()] if model else None,
        "tune__search": search,
        "tune__trials": trials,
        "tune__inner": inner,
        "tune__metric": metric,
        "tune__nested": True if nested else None,
        "tune__prune": prune,
        "tune__workers": workers,
        "tune__storage": storage,
        "split__protocol": protocol,
        "name": name,
    }
    if data is not None:
        options["data__folder" if Path(data).is_dir() else "data__name"] = data
    with download_bars() as fetching:
        plan = read_plan(config, set_ or (), load=lambda checked: load_data(checked, on_download=fetching), **options)
    folder = out or Path("runs") / f"{plan.config.name}-tuning"
    title = f"{plan.config.split.protocol} · {plan.prepared.dataset.name}"
    with run_progress(title, quiet=quiet) as show:
        found = search_all(plan, folder, fresh=fresh, on_progress=show)
        page = found.write(folder)
    _print_studies(found)
    if not plan.settings.nested:
        console.print(f"best       {folder / 'best.toml'}", markup=False)
    console.print(f"page       {page}", markup=False)
    console.print(RESEARCH_USE, style="dim")


def _print_studies(found: Tuning) -> None:
    columns = ["n_complete", "n_pruned", "n_failed", "cpu_s", "inner_default", "inner_best"]
    columns += ["outer_default", "outer_best", "optimism"] if found.plan.settings.nested else []
    table = Table("model", "fold", *(c.removeprefix("n_").replace("_", " ") for c in columns), box=None)
    table.title = found.plan.metric
    for row in found.studies.to_dict("records"):
        cells = [f"{row[c]:.4f}" if isinstance(row[c], float) and c != "cpu_s" else f"{row[c]:.0f}" for c in columns]
        table.add_row(str(row["model"]), str(row["fold"]), *cells)
    Console().print(table)
