"""The commands that hold one thing against another: models side by side, and what a part of the input adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from halfmax import RESEARCH_USE
from halfmax.errors import DataError
from halfmax.terminal import console, download_bars, run_progress

if TYPE_CHECKING:
    import pandas as pd

    from halfmax.ablation import Variant
    from halfmax.config import RunConfig
    from halfmax.data.dataset import ResponseDataset


def compare(
    config: Annotated[Path | None, typer.Argument(help="A TOML file as for run.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="section.key=value, as in run.")] = None,
    models: Annotated[str | None, typer.Option(help="Comma-separated names, naive first.")] = None,
    peer: Annotated[
        list[str] | None, typer.Option(metavar="MODEL[:JSON]", help="A model of drevalpy, any number of times.")
    ] = None,
    peer_python: Annotated[Path | None, typer.Option(help="Python of an environment with drevalpy.")] = None,
    make_peer_env: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Make that environment here first (2 GB).")
    ] = None,
    trials: Annotated[int, typer.Option(min=0, help="Settings tried of each model on each fold; 0 tunes none.")] = 0,
    inner: Annotated[int, typer.Option(min=2, help="Inner folds of the tuning.")] = 3,
    reference: Annotated[str | None, typer.Option(help="What others are held against; the last model.")] = None,
    protocol: Annotated[str | None, typer.Option(help="LPO, LCO, LDO or LTO: what is left out.")] = None,
    folds: Annotated[Path | None, typer.Option(help="Fixed folds: a table with columns cell, drug, fold.")] = None,
    data: Annotated[str | None, typer.Option(help="An embedded dataset, or a dataset folder.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write; runs/NAME-comparison by default.")] = None,
    here: Annotated[bool, typer.Option("--here", help="Run all in this process: quicker, memory is not told.")] = False,
    fresh: Annotated[bool, typer.Option(help="Forget what an unfinished comparison left in the folder.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Hold any models against each other on the same folds, each alone in a process, and write one report.

    Models that other packages register by entry point are named like halfmax's own; drevalpy's run in drevalpy's
    environment. A comparison that was cut off goes on when the same command is given again.
    """
    from halfmax.adapters.peers import Peer, make_environment
    from halfmax.comparison import compare_models
    from halfmax.config import load_config
    from halfmax.run import load_data

    if peer_python is not None and make_peer_env is not None:
        raise DataError("--peer-python names an environment, --make-peer-env makes one; give one of them.")
    options: dict[str, object] = {
        "split__protocol": protocol,
        "split__folds": str(folds) if folds else None,
        "models": _parts(models),
        "name": name,
    }
    checked = load_config(config, set_ or (), **options, **_place(data))
    peers = [Peer.read(text, trials=max(trials, 1)) for text in peer or ()]
    python = peer_python if make_peer_env is None else make_environment(make_peer_env.absolute())
    with download_bars() as fetching:
        dataset = load_data(checked, on_download=fetching)
    folder = out or Path("runs") / f"{checked.name}-comparison"
    with run_progress(f"{checked.split.protocol} · {dataset.name}", quiet=quiet) as show:
        found = compare_models(
            checked,
            folder,
            peers=peers,
            peer_python=python,
            trials=trials,
            inner=inner,
            isolate=not here,
            reference=reference,
            fresh=fresh,
            on_progress=show,
        )
    page = found.write(folder)
    (folder / "config.toml").write_text(checked.to_toml(), encoding="utf-8")
    print_metrics(found.report.metrics, [*checked.models, *(p.label for p in peers)])
    _print_costs(found.costs)
    for note in found.report.notes:
        console.print(f"note: {note}", style="yellow", markup=False)
    console.print(f"report     {page}", markup=False)
    console.print(RESEARCH_USE, style="dim")


def ablate(
    variants: Annotated[
        list[str] | None, typer.Argument(help="The reference, then others: expression expression+proteomics")
    ] = None,
    gene_sets: Annotated[Path | None, typer.Option(help="A GMT file: each set alone, left out, and by chance.")] = None,
    sets: Annotated[str | None, typer.Option(help="Comma-separated names of sets in the file; all by default.")] = None,
    steps: Annotated[str | None, typer.Option(metavar="BLOCK", help="Leave out each step of a block in turn.")] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file that says which data, folds and features.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="section.key=value, as in run.")] = None,
    protocol: Annotated[str | None, typer.Option(help="LPO, LCO (the default), LDO or LTO: what is left out.")] = None,
    models: Annotated[str, typer.Option(help="Comma-separated names.")] = "kernel_ridge",
    require: Annotated[
        str | None, typer.Option(help="Comma-separated modalities that a sample must have; all by default.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="An embedded dataset, or a dataset folder.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write; runs/NAME-ablation by default.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Say what a modality, a gene set or a step adds: variants on the same samples and folds, with paired intervals."""
    from halfmax.ablation import ablate as compare_variants
    from halfmax.config import load_config
    from halfmax.evaluate import ModelSpec
    from halfmax.run import load_data, make_features

    if sum(given is not None and given != [] for given in (variants, gene_sets, steps)) != 1:
        raise DataError(
            "say what to compare: variants by modality, --gene-sets FILE or --steps BLOCK, one of the three."
        )
    if sets is not None and gene_sets is None:
        raise DataError("--sets names sets of a GMT file; give --gene-sets as well.")
    names = _parts(models) or []
    options: dict[str, object] = {"split__protocol": protocol, "models": names, "save": []}
    checked = load_config(config, set_ or (), **options, **_place(data))
    if checked.split.folds is not None or checked.task.kind != "regression":
        raise DataError("ablate cuts its own folds and compares regressions: leave out split.folds and task.kind.")
    with download_bars() as fetching:
        dataset = load_data(checked, on_download=fetching)
    chosen = _variants(checked, dataset, variants or [], gene_sets, _parts(sets) or [], steps)
    with run_progress(f"{checked.split.protocol} · {dataset.name}", quiet=quiet) as show:
        found = compare_variants(
            dataset,
            chosen,
            [ModelSpec(name, name, checked.params_of(name)) for name in names],
            protocol=checked.split.protocol,
            n_folds=checked.split.n_folds,
            require=_parts(require),
            features=lambda modalities: make_features(checked, modalities),
            n_boot=checked.n_boot,
            seed=checked.seed,
            on_progress=show,
        )
    folder = found.write(out or Path("runs") / f"{checked.name}-ablation")
    for lost in found.dropped.to_frame().to_dict("records"):
        console.print(
            f"left out   {lost['n_rows']:,} pairs: {lost['cause']} ({lost['n_ids']:,}, e.g. {lost['examples']})",
            markup=False,
        )
    console.print(
        f"compared   {found.dropped.n_after:,} of {found.dropped.n_before:,} pairs, the same for every variant"
    )
    _print_differences(found.differences)
    console.print(f"tables     {folder}", markup=False)


def _variants(
    config: RunConfig,
    dataset: ResponseDataset,
    texts: Sequence[str],
    gene_sets: Path | None,
    sets: Sequence[str],
    steps: str | None,
) -> Mapping[str, Sequence[str] | Variant]:
    from halfmax.ablation import parse_variants
    from halfmax.ablation_kinds import chosen_sets, gene_set_variants, step_variants
    from halfmax.data.readers.gmt import read_gmt

    if gene_sets is not None:
        return dict(gene_set_variants(config, dataset, chosen_sets(read_gmt(gene_sets), sets), seed=config.seed))
    if steps is not None:
        return dict(step_variants(config, steps))
    return dict(parse_variants(texts))


def print_metrics(metrics: pd.DataFrame, models: Sequence[str]) -> None:
    """Print the best known figures of each model, means over folds."""
    every = metrics.query("fold == 'all' and group_by == 'all'")
    wide = every.pivot(index="model", columns="metric", values="value").reindex(list(models))
    order = ("rmse", "normalized_r2", "within_drug_pearson", "pearson", "roc_auc", "pr_auc", "f1", "accuracy")
    shown = [m for m in order if m in wide.columns]
    table = Table("model", *shown, box=None)
    for model, row in wide.iterrows():
        table.add_row(str(model), *(f"{row[m]:.3f}" for m in shown))
    Console().print(table)


def _print_costs(costs: pd.DataFrame) -> None:
    table = Table("model", "fit [s]", "CPU [s]", "tuning CPU [s]", "peak memory [MB]", box=None)
    table.title = "seconds to fit a fold, CPU of all folds, memory of the process"
    for row in costs.to_dict("records"):
        peak = "–" if row["peak_mb"] != row["peak_mb"] else f"{row['peak_mb']:.0f}"
        table.add_row(str(row["model"]), *(f"{row[c]:.2f}" for c in ("fit_s", "cpu_s", "tuning_cpu_s")), peak)
    Console().print(table)


def _print_differences(differences: pd.DataFrame) -> None:
    table = Table("variant", "model", "metric", "difference", "95 % interval", "samples", box=None)
    table.title = f"each less {differences['reference'].iloc[0]}, mean over folds"
    for row in differences.query("fold == 'all'").to_dict("records"):
        span = f"{row['low']:+.4f} to {row['high']:+.4f}"
        names = [str(row[column]) for column in ("variant", "model", "metric")]
        table.add_row(*names, f"{row['value']:+.4f}", span, str(row["n_samples"]))
    Console().print(table)


def _parts(text: str | None) -> list[str] | None:
    """Return the names of a comma-separated list, or None where there is none."""
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def _place(data: str | None) -> dict[str, object]:
    """Return the option of the configuration that a dataset's name or folder is."""
    return {} if data is None else {"data__folder" if Path(data).is_dir() else "data__name": data}
